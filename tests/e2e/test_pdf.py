"""PDF files, written here byte by byte: the page down to the citation, and every way in which a PDF can be bad."""
import json
import os
import pathlib
import shutil
import threading

import pytest
from conftest import ragd

import pdf_writer
from pdf_writer import Pdf

DOCS = "/v1/collections/default/documents"

pytestmark = pytest.mark.skipif(not any(os.path.exists(p) for p in ("/usr/bin/pdftotext", "/usr/local/bin/pdftotext")),
                                reason="pdftotext is not installed")


def upload(s, data, name="file.pdf", doc_id=None, timeout=60):
    b = "xxBOUNDARYxx"
    body = (f'--{b}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n').encode() + data + b"\r\n"
    if doc_id:
        body += f'--{b}\r\nContent-Disposition: form-data; name="id"\r\n\r\n{doc_id}\r\n'.encode()
    return s.request("POST", DOCS, body + f"--{b}--\r\n".encode(),
                     {"Content-Type": f"multipart/form-data; boundary={b}"}, timeout=timeout)


def search(s, query):
    status, o = s.request("POST", "/v1/search", {"query": query, "top_k": 20})
    assert status == 200, o
    return o["hits"]


def documents(s):
    return s.request("GET", DOCS)[1]["documents"]


def text_of(s, doc_id):
    status, d = s.request("GET", f"{DOCS}/{doc_id}")
    assert status == 200, d
    return d["text"]


def alive(s):
    assert s.request("GET", "/health/live")[0] == 200
    status, d = s.request("POST", DOCS, {"id": "alive", "text": "Still alive and well."})
    assert status in (200, 201), d


FILLER = ["Every customer gets a letter in the first week of the year that tells what the",
          "account costs, which services are free, and whom to ask when something is wrong."]


def price_list():
    """Four pages with a running head and page numbers; one fact each."""
    pdf = Pdf(title="Price list of the bank")
    facts = [("Accounts", "A current account costs 4 euro a month and is free for students."),
             ("Platinum card", "The platinum card costs 3600 euro a year including lounge access."),
             ("Gold card", "The gold card costs 300 euro a year without lounge access."),
             ("Locker", "A locker in the vault costs 77 euro a year for customers.")]
    for n, (head, fact) in enumerate(facts, 1):
        p = pdf.page()
        p.text(72, 810, "Price list 2026 - internal", size=8)
        p.text(290, 30, f"Page {n} of {len(facts)}", size=8)
        p.text(72, 740, f"{n} {head}", size=18, bold=True)
        y = p.lines(72, 700, FILLER, size=10)
        p.text(72, y - 14, fact, size=10)
    return pdf.build()


def test_the_page_reaches_every_answer(serve):
    s = serve().ready()
    status, d = upload(s, price_list(), doc_id="prices")
    assert status == 201 and d["chunks"] == 4, d
    for query, page in (("platinum card lounge", 2), ("locker vault", 4), ("current account students", 1)):
        hit = search(s, query)[0]
        assert hit["page"] == page and hit["title"] == "Price list of the bank", hit
        status, a = s.request("POST", "/v1/query", {"query": query + " costs?"})
        assert status == 200 and a["found"] and a["citations"][0]["page"] == page, a
        assert a["contexts"][0]["page"] == page
    assert search(s, "gold card")[0]["heading_path"][-1] == "3 Gold card"
    text = text_of(s, "prices")
    assert "internal" not in text and "Page 2" not in text
    assert [c["page"] for c in s.request("GET", f"{DOCS}/prices")[1]["chunk_spans"]] == [1, 2, 3, 4]
    s.request("POST", DOCS, {"id": "plain", "text": "A text without pages about zeppelins."})
    assert "page" not in search(s, "zeppelins")[0]


def test_pages_outlive_restarts_and_lost_segments(data, tmp_path, serve):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "prices.pdf").write_bytes(price_list())
    p = ragd("ingest", "--data", data, "--json", tmp_path / "files")
    assert p.returncode == 0 and json.loads(p.out.splitlines()[-1])["added"] == 1, p.err
    p = ragd("ingest", "--data", data, "--json", tmp_path / "files")
    assert json.loads(p.out.splitlines()[-1])["unchanged"] == 1
    p = ragd("query", "--data", data, "--json", "locker in the vault")
    assert json.loads(p.out)["citations"][0]["page"] == 4
    p = ragd("query", "--data", data, "locker in the vault")
    assert "page 4" in p.out
    shutil.rmtree(data / "segments", ignore_errors=True)
    s = serve().ready()
    assert search(s, "locker vault")[0]["page"] == 4


def test_columns_tables_and_broken_words(serve):
    pdf = Pdf()
    p = pdf.page()
    p.text(72, 780, "Terms of the savings account", size=20)
    p.lines(50, 730, ["The left column speaks of interest,", "which is paid on the last day of De-", "cember and not before that day has",
                      "come, and it also speaks of taxes", "that the bank pays on the custom-"], size=10)
    p.lines(310, 730, ["er's behalf. The right column is", "about closing the account, which is",
                       "possible at any time and at every", "branch without a reason being given", "by anybody."], size=10)
    for i, row in enumerate([("Amount", "Interest", "Notice"), ("up to 5000", "1.5 percent", "none"),
                             ("up to 20000", "2.25 percent", "30 days"), ("above", "2.75 percent", "90 days")]):
        for j, cell in enumerate(row):
            p.text(60 + 160 * j, 560 - 16 * i, cell, size=10)
    s = serve().ready()
    status, d = upload(s, pdf.build(), doc_id="terms")
    assert status == 201, d
    text = text_of(s, "terms")
    assert "last day of December and not before" in text
    assert "pays on the customer's behalf. The right column is about closing" in text
    assert "Amount: up to 20000; Interest: 2.25 percent; Notice: 30 days" in text
    assert search(s, "interest up to 20000")[0]["title"] == "Terms of the savings account"


def test_chinese(serve):
    pdf = Pdf(title="未命名")
    for n, (head, lines) in enumerate([("第一章 年费", ["白金卡的年费为每年三千六百元，客户在一个自然年度内刷卡消费满十八", "次，可以免除次年的年费。"]),
                                       ("第二章 积分", ["积分可以兑换航空里程，每十八积分换一里，兑换以后不能撤销，剩余的", "积分在两年之内有效。"])], 1):
        p = pdf.page()
        p.text(250, 810, "某银行内部资料", size=9)
        p.text(290, 30, f"第 {n} 页", size=9)
        p.text(72, 760, head, size=18)
        p.lines(93, 720, lines[:1], size=12)
        p.lines(72, 700, lines[1:], size=12)
    s = serve().ready()
    status, d = upload(s, pdf.build(), name="白金卡手册.pdf", doc_id="zh")
    assert status == 201, d
    text = text_of(s, "zh")
    assert "刷卡消费满十八次，可以免除次年的年费。" in text and "内部资料" not in text and "第 1 页" not in text
    status, a = s.request("POST", "/v1/query", {"query": "积分可以换航空里程吗？"})
    assert a["found"] and a["citations"][0]["page"] == 2 and a["citations"][0]["heading_path"] == ["第二章 积分"], a


def encrypted():
    pdf = Pdf()
    pdf.page().text(72, 700, "The secret word is zanzibar.")
    pdf.encrypt()
    return pdf.build()


def many_pages(n, words):
    """Pages that all show one content stream: a small file, much text."""
    pdf = Pdf()
    fonts, tree = pdf.fonts(), pdf.add(None)
    content = pdf.add_stream(b"".join(b"BT /FL 8 Tf %d %d Td (%s) Tj ET\n" % (20 + i % 10 * 55, 820 - i // 10 * 9, b"word%d" % i)
                                      for i in range(words)))
    kids = [pdf.add(b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
                    b" /Resources << /Font %s >> >>" % (tree, content, fonts)) for _ in range(n)]
    pdf.objects[tree] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (n, b" ".join(b"%d 0 R" % k for k in kids))
    return pdf.write(pdf.add(b"<< /Type /Catalog /Pages %d 0 R >>" % tree))


BAD = {
    "password.pdf": (encrypted, 422, "encrypted"),
    "cut.pdf": (lambda: price_list()[:-700], 422, "truncated"),
    "half.pdf": (lambda: price_list()[:900], 422, "truncated"),
    "picture.pdf": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(5000), 422, "is a PNG image, not a PDF"),
    "zip.pdf": (lambda: b"PK\x03\x04" + bytes(5000), 422, "not a PDF"),
    "empty.pdf": (lambda: b"", 422, ""),
    "head-only.pdf": (lambda: b"%PDF-1.7\n%%EOF\n", 422, "damaged"),
    "noise.pdf": (lambda: b"%PDF-1.7\n" + bytes(i * 7919 % 251 for i in range(9000)) + b"\n%%EOF\n", 422, "damaged"),
    "scan.pdf": (lambda: pdf_writer.image_only(3), 422, "image only: 3 pages without text; run OCR first"),
    "tree-loop.pdf": (pdf_writer.page_tree_loop, 422, "damaged"),
    "form-loop.pdf": (pdf_writer.form_loop, 422, "image only"),
    "too-many-pages.pdf": (lambda: many_pages(10001, 1), 413, "more than 10000 pages"),
}


def test_bad_files_over_http(serve):
    s = serve().ready()
    for name, (make, want, reason) in BAD.items():
        status, e = upload(s, make(), name=name)
        assert status == want, (name, status, e)
        assert reason in e["error"]["message"], (name, e)
    assert documents(s) == []
    alive(s)


def test_bad_files_of_a_folder(data, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for name, (make, _, _) in BAD.items():
        (folder / name).write_bytes(make())
    (folder / "good.pdf").write_bytes(price_list())
    (folder / "a pdf in truth.txt").write_bytes(price_list())
    p = ragd("ingest", "--data", data, "--json", folder, timeout=240)
    o = json.loads(p.out.splitlines()[-1])
    assert p.returncode == 1 and o["added"] == 1 and o["failed"] == len(BAD) + 1, o
    reasons = {pathlib.Path(e["path"]).name: e["reason"] for e in o["errors"]}
    for name, (_, _, reason) in BAD.items():
        assert reason in reasons[name], (name, reasons[name])
    assert "is a PDF, not text" in reasons["a pdf in truth.txt"]
    assert "zanzibar" not in ragd("query", "--data", data, "secret word zanzibar").out


def rss_kib(pid, field="VmHWM"):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field))


def test_bombs_cost_their_limits_only(serve):
    """Gigabytes of nothing, a page of endless text, and pages without end: each refused, others served meanwhile."""
    s = serve().ready()
    bombs = {"spaces": pdf_writer.bomb(b" " * 64, 64, times=96),
             "text": pdf_writer.bomb(b"BT /FL 9 Tf 1 1 Td (bomb bomb) Tj ET\n", 200),
             "pages": many_pages(9000, 900)}
    assert all(len(b) < 4 << 20 for b in bombs.values())
    before, answers = rss_kib(s.process.pid), {}
    threads = [threading.Thread(target=lambda k=k, b=b: answers.update({k: upload(s, b, name=k + ".pdf", timeout=180)}))
               for k, b in bombs.items()]
    for t in threads:
        t.start()
    alive(s)
    for t in threads:
        t.join(180)
    for k in bombs:
        status, e = answers[k]
        assert status == 413, (k, status, e)
        assert any(w in e["error"]["message"] for w in ("too much", "longer than", "more text")), (k, e)
    assert [d["id"] for d in documents(s)] == ["alive"]
    assert rss_kib(s.process.pid) - before < 64 << 10
    alive(s)


def processes_with(word):
    found = []
    for p in pathlib.Path("/proc").iterdir():
        try:
            if p.name.isdigit() and word.encode() in (p / "cmdline").read_bytes():
                found.append(int(p.name))
        except OSError:
            pass
    return found


def test_a_reader_that_hangs_is_ended(serve, tmp_path):
    nap = str(80000 + os.getpid() % 10000 / 10000)
    script = tmp_path / "pdftotext"
    script.write_text(f"#!/bin/sh\nexec sleep {nap}\n")
    script.chmod(0o755)
    s = serve(env={"RAGD_PDFTOTEXT": str(script)}).ready()
    status, e = upload(s, price_list(), timeout=90)
    assert status == 413 and "longer than" in e["error"]["message"], e
    assert processes_with(nap) == [] and documents(s) == []


def test_without_pdftotext(serve, data, tmp_path):
    env = {"RAGD_PDFTOTEXT": "/nonexistent/pdftotext"}
    s = serve(env=env).ready()
    status, e = upload(s, price_list())
    assert status == 415 and "poppler-utils" in e["error"]["message"], e
    s.stop()
    (tmp_path / "a.pdf").write_bytes(price_list())
    p = ragd("ingest", "--data", data, "--json", tmp_path / "a.pdf", env=env)
    assert p.returncode == 1 and "poppler-utils" in json.loads(p.out.splitlines()[-1])["errors"][0]["reason"]


def test_a_pdf_that_needs_no_password_is_read(serve):
    pdf = Pdf()
    pdf.page().text(72, 700, "Anybody may read of zanzibar.")
    pdf.encrypt(user="")
    s = serve().ready()
    status, d = upload(s, pdf.build(), name="open.pdf", doc_id="open")
    assert status == 201 and "zanzibar" in text_of(s, "open"), d
