#!/usr/bin/python3
"""Files per second of ingestion by format, over the command and over HTTP, and what the server's memory does.

    bench/ingest_mixed.py --data DIR [--ragd build/ragd] [--files 500] [--runs 3] [--work DIR]

DIR holds corpus.jsonl (BEIR form: _id, title, text). The files are the same in every run: txt, md, html, csv, json,
xlsx, docx and pdf in equal shares, each with about four texts of the corpus. Each format is ingested into a folder of
its own, without vectors; the figures are medians."""
import argparse
import csv
import html
import http.client
import io
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import docx_writer  # noqa: E402
import pdf_writer  # noqa: E402

FORMATS = ("txt", "md", "html", "csv", "json", "xlsx", "docx", "pdf")
PER_FILE = 4
SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELS = "http://schemas.openxmlformats.org/package/2006/relationships"


def corpus(folder, n):
    docs = []
    with open(pathlib.Path(folder) / "corpus.jsonl", encoding="utf-8") as f:
        for line in f:
            d = json.loads(line)
            docs.append((d.get("title") or d["_id"], re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", " ", d["text"])))
            if len(docs) == n:
                break
    if not docs:
        sys.exit("ingest_mixed: the corpus is empty")
    return [docs[i % len(docs)] for i in range(n)]


def txt(docs):
    return "\n\n".join(f"{t}\n\n{x}" for t, x in docs).encode()


def md(docs):
    return "\n\n".join(f"# {t}\n\n{x}" for t, x in docs).encode()


def page(docs):
    body = "".join(f"<h2>{html.escape(t)}</h2><p>{html.escape(x)}</p>" for t, x in docs)
    return (f"<!DOCTYPE html><html><head><meta charset=utf-8><title>{html.escape(docs[0][0])}</title></head><body><nav><a href=/>home</a></nav>"
            f"<main>{body}</main><footer>imprint</footer></body></html>").encode()


def table(docs):
    out = io.StringIO()
    csv.writer(out).writerows([("title", "text"), *docs])
    return out.getvalue().encode()


def objects(docs):
    return json.dumps([{"title": t, "text": x} for t, x in docs], ensure_ascii=False).encode()


def xlsx(docs):
    out = io.BytesIO()
    cells = [("title", "text"), *docs]
    rows = "".join(f'<row r="{r}">' + "".join(f'<c r="{"AB"[c]}{r}" t="inlineStr"><is><t>{html.escape(v[:32000])}</t></is></c>'
                                              for c, v in enumerate(row)) + "</row>" for r, row in enumerate(cells, 1))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, text in (("xl/workbook.xml", f'<workbook xmlns="{SHEET}" xmlns:r="{OFFICE}"><sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>'),
                           ("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{RELS}"><Relationship Id="rId1" Type="{OFFICE}/worksheet" '
                            'Target="worksheets/sheet1.xml"/></Relationships>'),
                           ("xl/worksheets/sheet1.xml", f'<worksheet xmlns="{SHEET}"><sheetData>{rows}</sheetData></worksheet>')):
            z.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def docx(docs):
    out = io.BytesIO()
    docx_writer.docx(out, "".join(docx_writer.paragraph(t, "Heading1") + docx_writer.paragraph(x) for t, x in docs))
    return out.getvalue()


def lines_of(text, width):
    """Cut at `width` half-width columns; ideographs take two."""
    line, used = "", 0
    for ch in " ".join(text.split()):
        w = 2 if ord(ch) > 0x2E80 else 1
        if used + w > width:
            yield line
            line, used = "", 0
        line += ch
        used += w
    yield line


def pdf(docs):
    doc = pdf_writer.Pdf(title=docs[0][0])
    sheet, y = doc.page(), 780
    for title, text in docs:
        for size, line in [(16, title[:40]), *((10, part) for part in lines_of(text, 84))]:
            if y < 60:
                sheet, y = doc.page(), 780
            sheet.text(72, y, line, size=size)
            y -= size * 1.4
    return doc.build()


WRITERS = dict(zip(FORMATS, (txt, md, page, table, objects, xlsx, docx, pdf)))


def make_files(docs, n, folder):
    """{format: [path]}"""
    made = {f: [] for f in FORMATS}
    for i in range(n):
        f = FORMATS[i % len(FORMATS)]
        path = folder / f / f"{i:05}.{f}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(WRITERS[f](docs[i * PER_FILE:(i + 1) * PER_FILE]))
        made[f].append(path)
    return made


def by_command(ragd, paths, work):
    data = work / "data"
    shutil.rmtree(data, ignore_errors=True)
    began = time.perf_counter()
    p = subprocess.run([ragd, "ingest", "--data", data, "--json", "--no-embed", paths[0].parent], capture_output=True, text=True)
    took = time.perf_counter() - began
    o = json.loads(p.stdout)
    if o["failed"]:
        print(f"  {o['failed']} failed, first: {o['errors'][0]['reason']}", file=sys.stderr)
    return (o["added"] + o["failed"]) / took


class Server:
    def __init__(self, ragd, work):
        data, log = work / "served", work / "served.log"
        shutil.rmtree(data, ignore_errors=True)
        config = work / "ragd.yaml"
        config.write_text("embedding: {provider: none}\n")
        self.log = open(log, "wb")
        self.process = subprocess.Popen([ragd, "serve", "--config", config, "--data", data, "--listen", "127.0.0.1:0"], stdout=self.log,
                                        stderr=self.log, stdin=subprocess.DEVNULL)
        end, found = time.monotonic() + 30, None
        while not found:
            found = re.search(r'"url":"http://127\.0\.0\.1:(\d+)"', log.read_text("utf-8", "replace"))
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit("ingest_mixed: the server did not start: " + log.read_text("utf-8", "replace"))
            time.sleep(.02)
        self.port = int(found.group(1))

    def memory_mb(self, what):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{what}:\s+(\d+)", status, re.M).group(1)) / 1024

    def upload_all(self, paths):
        """One after the other over one connection: what a single client gets."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        began, failed = time.perf_counter(), 0
        for path in paths:
            body = (f'--xyz\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'.encode() + path.read_bytes()
                    + b"\r\n--xyz--\r\n")
            c.request("POST", "/v1/collections/default/documents", body, {"Content-Type": "multipart/form-data; boundary=xyz"})
            r = c.getresponse()
            r.read()
            failed += r.status not in (200, 201)
        took = time.perf_counter() - began
        c.close()
        if failed:
            print(f"  {failed} failed over HTTP", file=sys.stderr)
        return len(paths) / took

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def cpu_name():
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--data", required=True)
    a.add_argument("--ragd", default=str(ROOT / "build" / "ragd"))
    a.add_argument("--files", type=int, default=500)
    a.add_argument("--runs", type=int, default=3)
    a.add_argument("--work", help="where to write (default: a temporary folder)")
    a = a.parse_args()
    with tempfile.TemporaryDirectory(dir=a.work) as tmp:
        work = pathlib.Path(tmp)
        files = make_files(corpus(a.data, a.files * PER_FILE), a.files, work / "files")
        size = sum(p.stat().st_size for ps in files.values() for p in ps)
        print(f"{a.files} files, {size / 1e6:.1f} MB; {cpu_name()}, {os.cpu_count()} CPUs; median of {a.runs}")
        rates = {f: ([], []) for f in FORMATS}
        memory = []
        for _ in range(a.runs):
            server = Server(a.ragd, work)
            before = server.memory_mb("VmRSS")
            for f in FORMATS:
                if files[f]:
                    rates[f][0].append(by_command(a.ragd, files[f], work))
                    rates[f][1].append(server.upload_all(files[f]))
            memory.append((before, server.memory_mb("VmRSS"), server.memory_mb("VmHWM")))
            server.stop()
        print(f"{'format':8}{'files':>7}{'command/s':>12}{'HTTP/s':>10}")
        for f in FORMATS:
            if files[f]:
                print(f"{f:8}{len(files[f]):7}{statistics.median(rates[f][0]):12.0f}{statistics.median(rates[f][1]):10.0f}")
        before, after, peak = (statistics.median(column) for column in zip(*memory))
        print(f"server's memory: {before:.0f} MB before, {after:.0f} MB after, {peak:.0f} MB peak")


if __name__ == "__main__":
    main()
