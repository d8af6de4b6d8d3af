"""The page in a real browser, driven as a trader would. Each test leaves the running system as it found it."""

import re
import signal
import time
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import CHROMIUM, Watched

pytestmark = [
    pytest.mark.browser,
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]

LIVE_MS = 20_000


def table(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def distinct_colors(page: Page, selector: str) -> int:
    """How many colours a chart's canvas shows; an empty one has one."""
    return int(
        page.evaluate(
            """selector => {
                const canvas = document.querySelector(selector + " canvas");
                const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                const seen = new Set();
                for (let i = 0; i < data.length; i += 4) seen.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
                return seen.size;
            }""",
            selector,
        )
    )


def background(page: Page) -> int:
    """Brightness of the ground, 0 to 255."""
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", color)[:3])) // 3


def ask_until_open(system: Watched) -> Any:
    """A hint is refused while the start is not over: not reconciled yet, figures too old."""
    ends_at = time.monotonic() + 40
    while True:
        told = system.decide("BTCUSDT", "FUT", "BUY")
        if told["decision"] == "open" or time.monotonic() > ends_at:
            return told
        time.sleep(1)


def test_the_link_opens_the_overview_with_live_figures(page: Page) -> None:
    expect(page.locator(".pill.simulated")).to_have_text("SIMULATED")
    expect(page.locator(".pill", has_text="10×")).to_be_visible()
    expect(page.locator(".figures")).to_contain_text(re.compile(r"Equity, USDT\d"), timeout=LIVE_MS)
    expect(page.get_by_role("button", name=re.compile(r"BTC FUT\s*[\d,]+\.\d"))).to_be_visible(timeout=LIVE_MS)
    expect(table(page, "services")).to_contain_text("S4 Order router")

    before = page.locator(".time").inner_text()
    expect(page.locator(".time")).not_to_have_text(before)


def test_dark_and_light_are_both_drawn_and_the_choice_is_remembered(page: Page) -> None:
    dark, colors_in_dark = background(page), distinct_colors(page, ".price-chart")
    page.get_by_role("button", name="dark or light").click()
    light, colors_in_light = background(page), distinct_colors(page, ".price-chart")

    assert (dark < 60, light > 200) == (True, True)
    assert min(colors_in_dark, colors_in_light) > 20
    assert len(page.screenshot()) > 40_000
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.get_by_role("button", name="dark or light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_trade_that_was_asked_for_appears_without_a_reload(page: Page, system: Watched) -> None:
    told = ask_until_open(system)

    assert told["decision"] == "open", told
    positions = table(page, "open positions")
    expect(positions).to_contain_text("BTC FUT", timeout=LIVE_MS)
    expect(positions).to_contain_text("▲ LONG")
    expect(positions).not_to_contain_text("none listed", timeout=LIVE_MS)
    page.get_by_role("button", name="Orders").click()
    expect(table(page, "orders")).to_contain_text("ENTRY", timeout=LIVE_MS)
    expect(table(page, "orders")).to_contain_text("stop market", timeout=LIVE_MS)
    expect(table(page, "decisions")).to_contain_text("OPEN")


def test_a_decision_opens_to_show_its_gates(page: Page) -> None:
    decisions = table(page, "decisions")
    decisions.locator("tbody tr").first.click(timeout=LIVE_MS)

    expect(decisions.locator(".lt-detail").first).to_contain_text(re.compile("[✓✕] KILL_SWITCH(not )?pulled"))
    decisions.locator("tbody tr").first.click()
    expect(decisions.locator(".lt-detail")).to_have_count(0)


def test_the_kill_switch_is_asked_about_refuses_the_next_decision_and_is_released(page: Page, system: Watched) -> None:
    bar = page.locator(".kill-bar")
    page.get_by_role("button", name="KILL SWITCH", exact=True).click()
    page.get_by_role("button", name="Cancel").click()
    expect(bar).to_be_hidden()

    page.get_by_role("button", name="KILL SWITCH", exact=True).click()
    page.get_by_label("Why").fill("a storm <b>comes</b>")
    page.get_by_role("button", name="Pull the kill switch").click()

    expect(bar).to_contain_text("KILL SWITCH ON")
    expect(bar).to_contain_text("by admin")
    expect(bar).to_contain_text("a storm <b>comes</b>")
    told = system.decide("ETHUSDT", "FUT", "BUY")
    assert (told["decision"], told["reason"], told["detail"]) == ("skip", "GATE", "KILL_SWITCH")
    expect(table(page, "decisions")).to_contain_text("the kill switch is pulled", timeout=LIVE_MS)

    bar.get_by_role("button", name="Release").click()
    page.locator(".ask").get_by_role("button", name="Release").click()
    expect(bar).to_be_hidden()


def test_a_halt_is_shown_and_released_for_a_reason(page: Page, system: Watched) -> None:
    """The entry that an earlier test asked for has paid its fee, which is more than the limit now allows."""
    bar = page.locator(".held-bar")
    system.promote(risk={"daily_loss_usdt_max": 0.01})
    expect(bar).to_contain_text("HALT DAILY_LOSS", timeout=LIVE_MS)
    assert system.decide("ETHUSDT", "FUT", "BUY")["detail"] in ("DAILY_LOSS", "HALT")
    system.promote(risk={"daily_loss_usdt_max": 900})

    bar.get_by_role("button", name="Release").click()
    page.locator(".ask").get_by_role("button", name="Release the halt").click()
    expect(page.locator(".q-notification")).to_contain_text("say why")
    expect(bar).to_contain_text("HALT DAILY_LOSS")
    bar.get_by_role("button", name="Release").click()
    page.get_by_label("Why").fill("looked at")
    page.locator(".ask").get_by_role("button", name="Release the halt").click()

    expect(bar).not_to_contain_text("HALT", timeout=LIVE_MS)
    assert system.decide("ETHUSDT", "FUT", "BUY")["detail"] != "HALT"


def test_a_silent_server_is_said_so_on_the_page_until_it_speaks_again(page: Page, system: Watched) -> None:
    lost = page.locator(".link-lost")
    expect(lost).to_be_hidden()

    system.signal(signal.SIGSTOP)
    try:
        expect(lost).to_contain_text("CONNECTION LOST", timeout=LIVE_MS)
    finally:
        system.signal(signal.SIGCONT)

    expect(lost).to_be_hidden()


def test_who_logged_out_is_out_of_an_open_page_too(browser: Browser, system: Watched, page: Page) -> None:
    context = browser.new_context()
    left_open, other = context.new_page(), context.new_page()
    left_open.goto(system.new_link())
    left_open.wait_for_url("**/ui/")
    other.goto(system.address + "/ui/")
    me = other.evaluate("fetch('/auth/me').then(answer => answer.json())")

    status = other.evaluate(
        """token => fetch('/auth/logout', {method: 'POST', headers: {'X-CSRF-Token': token}}).then(a => a.status)""",
        me["csrf_token"],
    )

    assert status == 204
    left_open.wait_for_url("**/login", timeout=30_000)
    context.close()


def test_nothing_is_loaded_from_elsewhere(browser: Browser, system: Watched, page: Page) -> None:
    context = browser.new_context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    visitor = context.new_page()
    errors: list[str] = []
    visitor.on("pageerror", lambda error: errors.append(str(error)))
    visitor.goto(system.new_link())
    visitor.wait_for_url("**/ui/")
    expect(visitor.locator(".figures")).to_be_visible()

    assert [url for url in asked if not url.startswith((system.address, "data:", "blob:"))] == []
    assert errors == []
    context.close()
