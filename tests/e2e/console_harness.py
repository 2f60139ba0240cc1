"""A real Chromium, driven through chromedriver's WebDriver protocol with nothing but the standard library.

As a program it takes the screenshots that a change of the page is judged by:

    python3 tests/e2e/console_harness.py http://127.0.0.1:8001 /tmp/shots
"""
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004", "Shift": "\ue008"}
LAPTOP = (1366, 800)
PHONE = (360, 740)


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

    # -- the page of ragd -------------------------------------------------------------------------------
    def ask(self, question):
        """Types the question, presses Enter, waits for the end of the answer."""
        self.js("const q = document.getElementById('q'); q.value = ''; q.focus()")
        self.type("#q", question)
        self.press("Enter")
        self.settled(question)

    def settled(self, question):
        self.wait("document.getElementById('ansq').textContent === %s"
                  " && document.getElementById('text').getAttribute('aria-busy') === 'false'"
                  " && document.getElementById('go').checkVisibility()" % json.dumps(question),
                  what="the answer to " + question)


def shots(url, out):
    os.makedirs(out, exist_ok=True)
    for lang, question in (("zh-CN", "白金卡的年费是多少？"),
                           ("en-US", "What is the annual fee of the Platinum Card?")):
        b = Browser(lang)
        try:
            for scheme in ("light", "dark"):
                for name, size in (("laptop", LAPTOP), ("phone", PHONE)):
                    tag = "%s/%s-%s-%s-" % (out, lang[:2], name, scheme)
                    b.media(scheme)
                    b.size(*size)
                    b.open(url)
                    b.wait("document.querySelector('#coll').options.length")
                    b.screenshot(tag + "1home.png")
                    b.ask(question)
                    b.js("scrollTo(0, 0)")
                    b.screenshot(tag + "2answer.png")
                    if b.count("#text .cite"):
                        b.click("#text .cite")
                        b.wait("document.querySelector('#hit')")
                        b.screenshot(tag + "3passage.png")
                        b.press("Escape")
            print("\n".join(b.console()))
        finally:
            b.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: console_harness.py URL FOLDER")
    if missing():
        sys.exit("console_harness.py: " + missing())
    shots(sys.argv[1], sys.argv[2])
