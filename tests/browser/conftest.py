"""A running system and a browser that is logged in at it."""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.process.system import System

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
START_S = 150
LINK = re.compile(r"http://[^\s/]+/login\?token=[0-9a-f]{64}")


@dataclass(slots=True)
class Watched(System):
    """A system that somebody looks at. Slower than usual, so that a position lives long enough to be seen."""

    speed: int = 10
    seed: int = 7
    warmup_days: int = 2

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

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

    def decide(self, symbol: str, market: str, side: str) -> Any:
        """POST /decide with a side hint, as soon as S3 answers such and has seen the instrument's first features."""
        ends_at = time.monotonic() + START_S
        while True:
            status, told = self.call("POST", "/s3/decide", {"symbol": symbol, "market": market, "sideHint": side})
            if status < 300:
                return told
            assert time.monotonic() < ends_at, told
            time.sleep(0.5)

    def new_link(self) -> str:
        """A one-time link for one more browser."""
        return self.address + str(self.told("POST", "/auth/links", {})["path"])

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
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    running = Watched(tmp_path_factory.mktemp("system") / "data")
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
def page(system: Watched, browser: Browser) -> Iterator[Page]:
    """Logged in by the printed link, which was opened while the system still warmed up; dark, as its system says."""
    context = browser.new_context(viewport={"width": 1440, "height": 1100}, color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(system.wait_for(LINK))
    page.wait_for_url("**/ui/", timeout=START_S * 1_000)
    yield page
    context.close()
