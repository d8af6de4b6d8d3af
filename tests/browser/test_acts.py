"""What a person does from the page, in a real browser: stop, cancel, pause, close, flatten, on a desk and a phone.

In this order: each test goes on where the one before it left the system.
"""

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import CHROMIUM, Watched
from tests.browser.test_page import LIVE_MS, ask_until_open, table

pytestmark = [
    pytest.mark.browser,
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


def ask_box(page: Page) -> Locator:
    return page.locator(".ask")


def stop_price(system: Watched) -> float:
    positions = system.told("GET", "/s6/positions")["positions"]
    return float(
        next(each for each in positions if each["symbol"] == "BTCUSDT" and each["market"] == "FUT")["stop_price"]
    )


def until_stop_is(system: Watched, price: float) -> None:
    ends_at = time.monotonic() + 20
    while abs(stop_price(system) - price) > 1e-6:
        assert time.monotonic() < ends_at, f"the stop is at {stop_price(system)}, not at {price}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def held(page: Page, system: Watched) -> Page:
    """A futures position of BTC is open and on the page."""
    told = ask_until_open(system)
    assert told["decision"] == "open", told
    positions = table(page, "open positions")
    expect(positions.get_by_role("button", name="Close BTC FUT")).to_be_visible(timeout=LIVE_MS)
    expect(positions).not_to_contain_text("none listed", timeout=LIVE_MS)
    return page


def test_a_stop_shows_its_loss_while_it_is_written_and_moves(held: Page, system: Watched) -> None:
    before = stop_price(system)
    moved = round(before + 20, 1)
    table(held, "open positions").get_by_role("button", name="Move stop BTC FUT").click()
    box = ask_box(held)
    expect(box).to_contain_text("USDT there, before fees")
    box.get_by_label("New stop price, USDT").fill("much")
    expect(box).to_contain_text("Write a price")
    box.get_by_label("New stop price, USDT").fill("9999999")
    expect(box).to_contain_text("would trigger at once")
    box.get_by_label("New stop price, USDT").fill(f"{moved:.1f}")
    expect(box).to_contain_text("Nearer to profit")
    box.get_by_role("button", name="Move the stop").click()

    expect(box).to_be_hidden()
    until_stop_is(system, moved)


def test_a_stop_beyond_the_budget_moves_only_with_the_box_ticked(held: Page, system: Watched) -> None:
    before = stop_price(system)
    beyond = round(before - 400, 1)
    buttons = table(held, "open positions").get_by_role("button", name="Move stop BTC FUT")
    box = ask_box(held)

    buttons.click()
    box.get_by_label("New stop price, USDT").fill(f"{beyond:.1f}")
    expect(box).to_contain_text("More than allowed")
    box.get_by_role("button", name="Move the stop").click()
    expect(box).to_contain_text("Lose more than was allowed?")
    box.get_by_role("button", name="Cancel").click()
    expect(box).to_be_hidden()
    assert stop_price(system) == before

    buttons.click()
    box.get_by_label("New stop price, USDT").fill(f"{beyond:.1f}")
    box.get_by_text("I allow a larger loss").click()
    box.get_by_role("button", name="Move the stop").click()
    expect(box).to_be_hidden()
    until_stop_is(system, beyond)


def test_every_intent_has_its_life_and_a_target_can_be_canceled(held: Page, system: Watched) -> None:
    held.get_by_role("link", name="Orders").click()
    held.wait_for_url("**/ui/orders")
    resting = table(held, "resting orders")
    expect(resting).to_contain_text("take profit market", timeout=LIVE_MS)
    table(held, "intents").get_by_role("button").first.click()
    life = held.get_by_role("region", name="life", exact=True)
    expect(life).to_contain_text("The intent")
    expect(life).to_contain_text("Its orders")
    expect(life).to_contain_text("Its life")

    resting.get_by_role("button", name=re.compile("Cancel TP BTC FUT")).first.click()
    expect(ask_box(held)).to_contain_text("is taken back at the exchange")
    ask_box(held).get_by_role("button", name="Cancel the order").click()
    expect(held.locator(".q-notification", has_text="Canceled")).to_be_visible(timeout=LIVE_MS)


def test_a_pause_is_shown_with_the_way_out_and_ends(held: Page, system: Watched) -> None:
    held.get_by_role("link", name="Overview").click()
    held.wait_for_url("**/ui/")
    held.get_by_role("button", name="Pause entries").click()
    ask_box(held).get_by_label("What to pause").select_option("SPOT")
    ask_box(held).get_by_label("Why").fill("lunch")
    ask_box(held).get_by_role("button", name="Pause", exact=True).click()

    bar = held.locator(".held-bar")
    expect(bar).to_contain_text("PAUSED SPOT", timeout=LIVE_MS)
    expect(bar).to_contain_text("admin paused new entries: lunch")
    expect(bar).to_contain_text("chimera resume SPOT")
    bar.get_by_role("button", name="Resume").click()
    ask_box(held).get_by_role("button", name="Resume").click()
    expect(bar).not_to_contain_text("PAUSED", timeout=LIVE_MS)


@pytest.mark.parametrize("path", ["/ui/", "/ui/orders"])
def test_on_a_phone_every_act_is_within_reach(
    browser: Browser, system: Watched, held: Page, path: str, tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    phone = context.new_page()
    phone.goto(system.new_link())
    phone.wait_for_url("**/ui/")
    phone.goto(system.address + path)
    acts = phone.locator(".acts button")
    expect(acts.first).to_be_visible(timeout=LIVE_MS)

    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    for button in acts.all():
        place = button.bounding_box()
        assert place is not None
        assert place["x"] + place["width"] <= 390, button.inner_text()
    if path == "/ui/":
        flatten = phone.get_by_role("button", name="Flatten everything").bounding_box()
        assert flatten is not None
        assert flatten["x"] + flatten["width"] <= 390
        stop = phone.locator("th", has_text=re.compile("^Stop$")).bounding_box()
        assert stop is not None
        assert stop["x"] + stop["width"] <= 390, "the stop is off to the right"
    phone.screenshot(path=tmp_path / "phone.png")
    context.close()


def test_a_position_is_closed_after_it_was_said_what_that_earns(held: Page, system: Watched) -> None:
    table(held, "open positions").get_by_role("button", name="Close BTC FUT").click()
    expect(ask_box(held)).to_contain_text("sold at market now")
    ask_box(held).get_by_label("Why").fill("enough")
    ask_box(held).get_by_role("button", name="Close the position").click()

    expect(held.locator(".q-notification", has_text="BTC FUT is")).to_be_visible(timeout=LIVE_MS)
    expect(table(held, "open positions")).not_to_contain_text("BTC FUT▲", timeout=LIVE_MS)


def test_flattening_wants_the_word_and_pulls_the_kill_switch(held: Page, system: Watched) -> None:
    box = ask_box(held)
    held.get_by_role("button", name="Flatten everything").click()
    box.get_by_role("button", name="Flatten", exact=True).click()
    expect(held.locator(".q-notification", has_text="Nothing was done")).to_be_visible()
    expect(held.locator(".kill-bar")).to_be_hidden()

    held.get_by_role("button", name="Flatten everything").click()
    box.get_by_label("Type FLATTEN to go on").fill("FLATTEN")
    box.get_by_role("button", name="Flatten", exact=True).click()

    expect(held.locator(".kill-bar")).to_contain_text("flatten", timeout=LIVE_MS)
    expect(table(held, "open positions")).to_contain_text("No open position", timeout=LIVE_MS)
    held.locator(".kill-bar").get_by_role("button", name="Release").click()
    box.get_by_role("button", name="Release").click()
    expect(held.locator(".kill-bar")).to_be_hidden(timeout=LIVE_MS)


def test_a_large_entry_is_asked_for_and_allowed_on_the_page(held: Page, system: Watched) -> None:
    system.promote(compliance={"enabled": True, "large_order_usdt_threshold": 100})
    try:
        held.get_by_role("link", name="Orders").click()
        held.wait_for_url("**/ui/orders")
        approvals = table(held, "approvals")
        expect(held.locator(".approvals")).to_contain_text("needed above 100.00 USDT", timeout=LIVE_MS)
        held.get_by_role("button", name="Ask for one").click()
        ask_box(held).get_by_label("Worth at most, USDT").fill("9000")
        ask_box(held).get_by_label("Why").fill("the dip")
        ask_box(held).get_by_role("button", name="Ask", exact=True).click()
        expect(approvals).to_contain_text("pending", timeout=LIVE_MS)
        expect(approvals).to_contain_text("at most 9,000.00 USDT")
        approvals.get_by_role("button", name="Allow BTC FUT").click()
        ask_box(held).get_by_role("button", name="Allow").click()
        expect(approvals).to_contain_text(re.compile("approved.*[0-9a-f]{32}", re.DOTALL), timeout=LIVE_MS)
        approvals.get_by_role("button", name="Revoke BTC FUT").click()
        ask_box(held).get_by_role("button", name="Revoke").click()
        expect(approvals).to_contain_text("revoked", timeout=LIVE_MS)
        expect(approvals.get_by_role("button")).to_have_count(0)
    finally:
        system.promote(compliance={"enabled": False})
