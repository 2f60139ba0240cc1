"""A real Chromium, driven through chromedriver's WebDriver protocol with nothing but the standard library.

As a program it takes the screenshots that a change of the console is judged by, of a server that holds the sample, or the
one picture of README.md, of a server with an empty collection, into which it puts the sample's documents:

    python3 tests/e2e/console_harness.py http://127.0.0.1:8001 shots
    python3 tests/e2e/console_harness.py http://127.0.0.1:8001 docs/images/console-ask.png
"""
import base64
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
import zlib

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004", "Shift": "\ue008"}
LAPTOP = (1280, 800)
PHONE = (390, 800)
ROOT = pathlib.Path(__file__).resolve().parents[2]


def missing():
    """Why no browser can be started here; an empty string when one can."""
    if not chromium():
        return "chromium is not installed (Debian package chromium)"
    if not shutil.which("chromedriver"):
        return "chromedriver is not installed (Debian package chromium-driver)"
    return ""


def chromium():
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


class WebDriverError(Exception):
    pass


class Browser:
    def __init__(self, lang="zh-CN"):
        self.profile = tempfile.mkdtemp(prefix="ragd-chromium-")
        self.session = None
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            self.base = "http://127.0.0.1:%d" % self._port()
            flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync",
                     "--disable-dev-shm-usage", "--user-data-dir=" + self.profile,
                     "--lang=" + lang, "--accept-lang=" + lang]
            answer = self._http("POST", "/session", {"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "goog:loggingPrefs": {"browser": "ALL"},
                "goog:chromeOptions": {"binary": chromium(), "args": flags,
                                       "prefs": {"intl.accept_languages": lang}}}}})
            self.session = "/session/" + answer["sessionId"]
            self.size(*LAPTOP)
        except BaseException:
            self.close()
            raise

    def _port(self):
        for line in self.driver.stdout:
            m = re.search(r"started successfully on port (\d+)", line)
            if m:
                return int(m.group(1))
        raise WebDriverError("chromedriver ended without naming its port")

    def _http(self, method, path, body=None):
        data = None if method == "GET" else json.dumps(body or {}).encode()
        req = urllib.request.Request(self.base + path, data=data, method=method,
                                     headers={"Content-Type": "application/json; charset=utf-8"})
        try:
            with urllib.request.urlopen(req, timeout=60) as r:
                return json.load(r)["value"]
        except urllib.error.HTTPError as e:
            value = json.load(e)["value"]
            raise WebDriverError("%s: %s" % (value.get("error"), value.get("message"))) from None

    def close(self):
        try:
            if self.session:
                self._http("DELETE", self.session)
        except (OSError, WebDriverError):
            pass
        self.driver.terminate()
        try:
            self.driver.wait(10)
        except subprocess.TimeoutExpired:
            self.driver.kill()
            self.driver.wait()
        self.driver.stdout.close()
        shutil.rmtree(self.profile, ignore_errors=True)

    # -- pages ------------------------------------------------------------------------------------------
    def open(self, url):
        self._http("POST", self.session + "/url", {"url": url})

    def js(self, script, *args):
        return self._http("POST", self.session + "/execute/sync", {"script": script, "args": list(args)})

    def js_async(self, script, *args):
        return self._http("POST", self.session + "/execute/async", {"script": script, "args": list(args)})

    def cdp(self, cmd, **params):
        return self._http("POST", self.session + "/goog/cdp/execute", {"cmd": cmd, "params": params})

    def size(self, width, height, scale=1):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=scale, mobile=width < 600)

    def media(self, scheme="light", motion="reduce"):
        self.cdp("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion}])

    # -- elements ---------------------------------------------------------------------------------------
    def find(self, css):
        value = self._http("POST", self.session + "/element", {"using": "css selector", "value": css})
        return value[ELEMENT]

    def click(self, css):
        # Out from under what is fixed at the top or the bottom; the driver itself would not look there.
        self.js("const e = document.querySelector(arguments[0]), r = e && e.getBoundingClientRect();"
                "if (r && (r.top < 60 || r.bottom > innerHeight - 80)) e.scrollIntoView({block: 'center'})", css)
        try:
            self._http("POST", self.session + "/element/%s/click" % self.find(css))
        except WebDriverError as e:  # drawn anew between the two steps
            if "stale element" not in str(e):
                raise
            self._http("POST", self.session + "/element/%s/click" % self.find(css))

    def type(self, css, text):
        self._http("POST", self.session + "/element/%s/value" % self.find(css), {"text": text})

    def press(self, *keys):
        """Real key events to whatever has the focus: characters or names in KEYS."""
        actions = []
        for key in keys:
            value = KEYS.get(key, key)
            actions += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        self._http("POST", self.session + "/actions",
                   {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def text(self, css):
        return self.js("const e = document.querySelector(arguments[0]); return e ? e.textContent : null", css)

    def count(self, css):
        return self.js("return document.querySelectorAll(arguments[0]).length", css)

    def visible(self, css):
        return self.js("const e = document.querySelector(arguments[0]);"
                       "return !!e && e.checkVisibility({visibilityProperty: true})", css)

    def wait(self, expression, seconds=20, what=None):
        """Waits until a JavaScript expression is true and returns its value."""
        end = time.monotonic() + seconds
        while True:
            value = self.js("return (%s)" % expression)
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError("waited %d s for: %s\npage says: %s" % (
                    seconds, what or expression, self.js("return document.body.innerText")[:1500]))
            time.sleep(0.03)

    def screenshot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self._http("GET", self.session + "/screenshot")))

    def console(self):
        """Console messages since the last call, except plain notes."""
        log = self._http("POST", self.session + "/se/log", {"type": "browser"})
        return [m["message"] for m in log if m["level"] in ("SEVERE", "WARNING")]

    # -- the console of ragd ----------------------------------------------------------------------------
    def go(self, hash_, ready):
        """To a page of the console; `ready` is a selector that says that it is drawn."""
        self.js("location.hash = arguments[0]", hash_)
        self.wait("document.querySelector(%s)" % json.dumps(ready), what="%s on %s" % (ready, hash_))

    def ask(self, question):
        """Types the question, presses Enter, waits for the end of the answer."""
        self.js("const q = document.getElementById('q'); q.value = ''; q.focus()")
        self.type("#q", question)
        self.press("Enter")
        self.settled(question)

    def settled(self, question):
        self.wait("document.getElementById('asked') && document.getElementById('asked').textContent === %s"
                  " && document.getElementById('text').getAttribute('aria-busy') === 'false'"
                  " && document.getElementById('go').checkVisibility()" % json.dumps(question),
                  what="the answer to " + question)

    def open_citation(self):
        self.wait("document.querySelector('#text button.cite')", what="a citation")
        self.click("#text button.cite")
        self.wait("document.getElementById('panel').open && document.getElementById('hit')", what="the passage")


def upload(url, folder, collection="default"):
    """The files of a folder as documents, each named by its path in the folder."""
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        name, edge = str(file.relative_to(folder)), uuid.uuid4().hex
        part = lambda head: ("--%s\r\nContent-Disposition: form-data; %s\r\n\r\n" % (edge, head)).encode()
        body = (part('name="id"') + name.replace("/", ":").encode() + b"\r\n" + part('name="source"') + name.encode() + b"\r\n"
                + part('name="file"; filename="%s"' % file.name) + file.read_bytes() + ("\r\n--%s--\r\n" % edge).encode())
        request = urllib.request.Request("%s/v1/collections/%s/documents" % (url, collection), body,
                                         {"Content-Type": "multipart/form-data; boundary=" + edge})
        urllib.request.urlopen(request, timeout=60).close()


QUESTIONS = {"zh-CN": "白金卡的年费是多少？", "en-US": "What is the annual fee of the Platinum Card?"}


def pack_png(path):
    """The same picture, compressed as far as zlib can: the browser compresses for speed."""
    data, at, chunks = pathlib.Path(path).read_bytes(), 8, []
    while at < len(data):
        size = struct.unpack(">I", data[at:at + 4])[0]
        chunks.append((data[at + 4:at + 8], data[at + 8:at + 8 + size]))
        at += 12 + size
    pixels = zlib.compress(zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT")), 9)
    kept = [c for c in chunks if c[0] == b"IHDR"] + [(b"IDAT", pixels), (b"IEND", b"")]
    with open(path, "wb") as f:
        f.write(data[:8] + b"".join(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in kept))


def readme_picture(url, path):
    upload(url, ROOT / "sample" / "docs")
    while True:
        with urllib.request.urlopen(url + "/v1/collections/default", timeout=30) as r:
            c = json.load(r)
        if c["vectors"] in (None, c["chunks"]):
            break
        time.sleep(0.5)
    b = Browser("zh-CN")
    try:
        b.media("light")
        b.size(1280, 640)
        b.open(url)
        b.wait("document.querySelector('.examples')")
        b.ask(QUESTIONS["zh-CN"])
        b.open_citation()
        b.js("scrollTo(0, 0)")
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        b.screenshot(path)
        pack_png(path)
    finally:
        b.close()


def shots(url, out):
    os.makedirs(out, exist_ok=True)
    for lang, question in QUESTIONS.items():
        b = Browser(lang)
        try:
            for scheme in ("light", "dark"):
                for name, size in (("laptop", LAPTOP), ("phone", PHONE)):
                    tag = "%s/%s-%s-%s-" % (out, lang[:2], name, scheme)
                    b.media(scheme)
                    b.size(*size)
                    b.open(url)
                    b.wait("document.querySelector('.examples')")
                    b.screenshot(tag + "1home.png")
                    b.ask(question)
                    b.js("scrollTo(0, 0)")
                    b.screenshot(tag + "2answer.png")
                    if b.count("#text .cite"):
                        b.open_citation()
                        b.screenshot(tag + "3passage.png")
                        b.press("Escape")
                    b.go("#/documents", "#documents tbody tr")
                    b.screenshot(tag + "4documents.png")
                    b.click("#documents tbody button.link")
                    b.wait("document.querySelector('.doc-text pre')")
                    b.screenshot(tag + "5document.png")
                    for page in ("try", "evaluate", "health"):
                        b.go("#/" + page, ".page-%s h1" % page)
                        time.sleep(1)
                        b.screenshot(tag + "6%s.png" % page)
                    b.go("#/ask", "#q")
            print("\n".join(b.console()))
        finally:
            b.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: console_harness.py URL FOLDER | console_harness.py URL FILE.png")
    if missing():
        sys.exit("console_harness.py: " + missing())
    (readme_picture if sys.argv[2].endswith(".png") else shots)(sys.argv[1].rstrip("/"), sys.argv[2])
