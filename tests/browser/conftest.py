"""A running system and a browser that is logged in at it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.loopback import free_ports

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
START_S = 150
LINK = re.compile(r"http://[^\s/]+/login\?token=[0-9a-f]{64}")


@dataclass
class System:
    """`chimera up` as a process of its own. Slower than usual, so that a position lives long enough to be looked at."""

    data: Path
    port: int = field(default_factory=free_ports)
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        said = (self.data.parent / "said.log").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "chimera", "up", "--data", str(self.data), "--port", str(self.port)),
                *("--warmup-days", "2", "--speed", "10", "--seed", "7"),
            ],
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "400"},
        )

    @property
    def said(self) -> str:
        return (self.data.parent / "said.log").read_text(encoding="utf-8")

    def wait_for(self, pattern: re.Pattern[str]) -> str:
        """What the process printed, as soon as it did."""
        assert self.process is not None
        ends_at = time.monotonic() + START_S
        while time.monotonic() < ends_at:
            found = pattern.search(self.said)
            if found is not None:
                return found.group(0)
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.said}"
            time.sleep(0.1)
        raise AssertionError(f"{pattern.pattern} was not printed within {START_S} s: {self.said}")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def decide(self, symbol: str, market: str, side: str) -> dict[str, Any]:
        """POST /decide with a side hint."""
        return self._post("/api/s3/decide", {"symbol": symbol, "market": market, "sideHint": side})

    def new_link(self) -> str:
        """A one-time link for one more browser."""
        return self.address + str(self._post("/auth/links", {})["path"])

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """As a program on this machine does, with the token in the data folder."""
        token = (self.data / "api-token").read_text(encoding="utf-8").strip()
        request = urllib.request.Request(
            self.address + path,
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("system") / "data")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def page(system: System, browser: Browser) -> Iterator[Page]:
    """Logged in by the printed link, which was opened while the system still warmed up; dark, as its system says."""
    context = browser.new_context(viewport={"width": 1440, "height": 1100}, color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(system.wait_for(LINK))
    page.wait_for_url("**/ui/", timeout=START_S * 1_000)
    yield page
    context.close()
