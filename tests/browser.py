"""A headless Chromium, driven through its pipe by the Chrome DevTools Protocol."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_SECONDS = 60  # for what takes one, on a machine that has other work
# The browser reads from descriptor 3 and writes to 4, whatever numbers the pipes have here.
_LAUNCH = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for ours, theirs in zip(pipes, (3, 4)):
    os.dup2(ours, theirs)
os.execv(sys.argv[3], sys.argv[3:])
"""


@contextmanager
def browsing(folder, width=1200, height=900, scheme="light"):
    """A page of a browser whose own files are in a folder."""
    there, write = os.pipe()
    read, back = os.pipe()
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
    command = [sys.executable, "-c", _LAUNCH, str(there), str(back), CHROMIUM, *flags, f"--user-data-dir={folder}"]
    with (
        subprocess.Popen(
            command, pass_fds=(there, back), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
        os.fdopen(write, "wb", 0) as commands,
        os.fdopen(read, "rb") as answers,
    ):
        os.close(there)
        os.close(back)
        try:
            tab = Tab(commands, answers)
            tab.resize(width, height)
            tab.prefer(scheme)
            yield tab
        finally:
            process.kill()


class Tab:
    """A page; ``errors`` are those that its console shows."""

    def __init__(self, commands, answers):
        self._commands, self._answers, self._number, self._session = commands, answers, 0, None
        self._unread = b""
        self.errors = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        """Send a command and return its result."""
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": parameters, **session}
        self._commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _read(self):
        while b"\0" not in self._unread:
            block = self._answers.read1(1 << 16)
            assert block, "the browser has ended"
            self._unread += block
        message, _, self._unread = self._unread.partition(b"\0")
        return message

    def _note(self, event):
        method, parameters = event["method"], event["params"]
        is_error = method == "Runtime.exceptionThrown" or "error" in (
            parameters.get("entry", {}).get("level"),
            parameters.get("type") if method == "Runtime.consoleAPICalled" else None,
        )
        if is_error:
            self.errors.append(event)

    def resize(self, width, height):
        """Give the page another size."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme):
        """Ask for a light or a dark page."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url):
        """Open a page and wait until it is there."""
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression):
        """What an expression of JavaScript is on the page."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression):
        """Wait until an expression is true."""
        end = time.monotonic() + _SECONDS
        while not self.value(expression):
            assert time.monotonic() < end, f"not so after {_SECONDS} s: {expression}"
            time.sleep(0.05)

    def screenshot(self):
        """The whole page as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def pdf(self):
        """The page as it is printed."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])
