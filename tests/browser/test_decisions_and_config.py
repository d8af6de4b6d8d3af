"""The pages of decisions and configuration in a real browser: why something was skipped, and the way of a bundle."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from chimera.adapters.clocks import LoopClock, wall_ms
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.data_folder import open_folder
from chimera.contracts.enums import Role
from chimera.services.s12_gateway.passwords import Passwords
from tests.browser.conftest import CHROMIUM, LINK, Watched

pytestmark = [
    pytest.mark.browser,
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]

LIVE_MS = 20_000
VIEWER = ("vera", "only looks at things 9")
CAREFUL = "flags:\n  risk:\n    slip_bp_max: {}\nnote: {}\n"
FAULTY = "flags:\n  risk:\n    # the hard limit lies below the soft one\n    slip_bp_hard: 2\n"
PAGES = ("/ui/", "/ui/decisions", "/ui/config")


async def _add_viewer(running: Watched) -> None:
    folder = open_folder(running.data)
    documents = SqliteDocuments.in_thread(folder.documents)
    try:
        await Passwords(documents, LoopClock(wall_ms())).set(*VIEWER, Role.VIEWER)
    finally:
        await documents.close()
        folder.close()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """As usual, and besides the admin somebody who may only look."""
    running = Watched(tmp_path_factory.mktemp("system") / "data")
    running.start()
    running.wait_for(re.compile("The page is live"))
    running.stop()
    asyncio.run(_add_viewer(running))
    running.log.write_text("", encoding="utf-8")
    running.start()
    running.wait_for(LINK)
    running.wait_for(re.compile("The page is live"))
    running.wait_reconciled()
    yield running
    running.stop()


def table(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def write(page: Page, text: str) -> None:
    """Replace what stands in the editor, as pasting does."""
    content = page.locator(".cm-content")
    content.click()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    # A person who types would be indented by the editor; what is pasted comes as it is.
    for number, line in enumerate(text.splitlines()):
        if number:
            page.keyboard.press("Enter")
            page.keyboard.press("Home")
            page.keyboard.press("Shift+End")
            page.keyboard.press("Delete")
        page.keyboard.insert_text(line)


def active(system: Watched) -> Any:
    return system.told("GET", "/s10/active")


def rev_shown(page: Page) -> Locator:
    return page.locator(".top .fact", has_text="rev").locator(".strong")


def test_a_skipped_signal_shows_the_gate_that_refused_with_value_and_limit(page: Page, system: Watched) -> None:
    system.promote(risk={"slip_bp_max": 0, "slip_bp_hard": 0})
    try:
        told = system.decide("ETHUSDT", "FUT", "BUY")
    finally:
        system.promote(risk={"slip_bp_max": 8, "slip_bp_hard": 24})
    assert (told["decision"], told["detail"]) == ("skip", "SLIPPAGE"), told

    page.get_by_role("link", name="Decisions").click()
    page.get_by_label("Reason or rule").fill("SLIPPAGE")
    page.keyboard.press("Enter")
    row = table(page, "decisions").locator("tbody tr").first
    expect(row).to_contain_text("ETH FUT")
    expect(row).to_contain_text(re.compile(r"expected slippage [\d.]+ bps above the limit 0 bps"))
    row.click()

    trail = table(page, "trail")
    # What S6 has not told yet right after a start refuses as well, and is less severe.
    refused = trail.locator("tr.refused").first
    expect(refused).to_have_text(re.compile(r"✕ expected slippage\s*0\.\d+\s*≤ 0\s*bps"))
    expect(trail.get_by_role("region", name="Gates").locator("tbody tr").first).to_have_class("refused")
    expect(trail).to_contain_text("R-001")
    expect(trail).to_contain_text("spread_bps")
    trail.get_by_role("link", name=re.compile(r"rev \d+")).click()
    page.wait_for_url(f"**/ui/config?rev={told['config_rev']}")
    expect(page.locator(".whole .title")).to_have_text(f"Revision {told['config_rev']}")


def test_filters_leave_only_what_is_asked_for_and_a_row_opens_by_keyboard(page: Page, system: Watched) -> None:
    page.goto(system.address + "/ui/decisions")
    decisions = table(page, "decisions")
    expect(decisions).to_contain_text("SPOT")
    page.get_by_label("Instrument").select_option(label="ETH FUT")
    expect(decisions).not_to_contain_text("SPOT")
    page.get_by_label("Action").select_option(label="skipped")
    expect(decisions.locator("td.open")).to_have_count(0)
    page.get_by_label("UTC day").fill("2001-01-01")
    expect(decisions).to_contain_text("No decision is like that.")
    page.get_by_label("UTC day").fill("")
    expect(decisions.locator("tbody tr").first).to_contain_text("ETH FUT")

    decisions.locator(".lt-pick").first.focus()
    page.keyboard.press("Enter")

    expect(decisions.locator("tr.picked")).to_have_count(1)
    expect(table(page, "trail")).to_contain_text("kill switch")


def test_a_fault_is_marked_at_its_line(page: Page, system: Watched) -> None:
    page.goto(system.address + "/ui/config")
    page.get_by_role("button", name="Edit", exact=True).click()
    expect(page.locator(".cm-content")).to_contain_text("flags:")
    write(page, FAULTY)
    page.get_by_role("button", name="Check").click()

    found = table(page, "findings")
    expect(found.locator("tbody tr")).to_have_count(1)
    expect(found.locator("tbody tr td").first).to_have_text("4")
    expect(found).to_contain_text("flags.risk.slip_bp_hard")
    marked = page.locator(".cm-line.found-error")
    expect(marked).to_have_count(1)
    expect(marked).to_have_text("    slip_bp_hard: 2")
    assert len(system.told("GET", "/s10/bundles")["bundles"]) == 3, "a check stores nothing"


def test_what_somebody_writes_is_kept_while_he_looks_at_another_bundle(page: Page) -> None:
    """The text of the test before still stands in the editor."""
    table(page, "bundles").locator("tbody tr").last.click()
    expect(page.locator(".whole .title")).to_have_text("Revision 1")
    expect(page.locator(".tools .note:visible")).to_contain_text("still what you wrote")
    expect(page.locator(".cm-content")).to_contain_text("slip_bp_hard: 2")

    page.get_by_role("button", name="Start over").click()

    expect(page.locator(".cm-content")).to_contain_text("slip_bp_hard: 24")
    expect(page.locator(".cm-line.found-error")).to_have_count(0)


def saved(page: Page, system: Watched, value: int, note: str) -> None:
    """A draft from the editor, opened."""
    page.goto(system.address + "/ui/config")
    page.get_by_role("button", name="Edit", exact=True).click()
    expect(page.locator(".cm-content")).to_contain_text("flags:")
    write(page, CAREFUL.format(value, note))
    page.get_by_role("button", name="Save as draft").click()
    expect(page.locator(".whole .pill")).to_have_text(re.compile("draft"))


def test_a_draft_is_staged_compared_activated_and_taken_back(page: Page, system: Watched) -> None:
    before = active(system)
    saved(page, system, 6, "calmer")
    page.get_by_role("button", name="Changes").click()
    expect(table(page, "changes")).to_contain_text(re.compile(r"slip_bp_max is 6 bps, before 8 bps"))

    page.get_by_role("button", name="Stage", exact=True).click()
    expect(page.locator(".whole .pill")).to_have_text("staged")
    assert active(system) == before
    page.get_by_role("button", name="Activate…").click()
    ask = page.locator(".ask")
    expect(ask).to_contain_text(f"(switch {before['seq']})")
    expect(ask).to_contain_text("Asked by admin")
    expect(ask).to_contain_text(re.compile(r"slip_bp_max is 6 bps, before 8 bps"))
    page.get_by_label("Why").fill("calmer for the night")
    ask.get_by_role("button", name=re.compile("Activate revision")).click()

    expect(page.locator(".whole .pill")).to_have_text("in force")
    now = active(system)
    assert now["seq"] == before["seq"] + 1
    expect(rev_shown(page)).to_have_text(str(now["rev"]), timeout=LIVE_MS)
    expect(page.locator(".figures")).to_contain_text(f"rev {now['rev']}")

    page.get_by_role("button", name="Roll back…").click()
    expect(ask).to_contain_text(re.compile(r"slip_bp_max is 8 bps, before 6 bps"))
    ask.get_by_role("button", name=re.compile("Roll back to revision")).click()
    expect(rev_shown(page)).to_have_text(str(before["rev"]), timeout=LIVE_MS)
    assert active(system)["rev"] == before["rev"]


def test_who_confirms_what_somebody_else_has_changed_meanwhile_changes_nothing(page: Page, system: Watched) -> None:
    saved(page, system, 5, "too late")
    page.get_by_role("button", name="Stage", exact=True).click()
    page.get_by_role("button", name="Activate…").click()
    ask = page.locator(".ask")
    expect(ask).to_contain_text("slip_bp_max")
    system.promote(risk={"slip_bp_max": 7})
    theirs = active(system)

    ask.get_by_role("button", name=re.compile("Activate revision")).click()

    expect(page.locator(".q-notification", has_text="Nothing was changed")).to_contain_text("somebody else switched")
    assert active(system) == theirs
    expect(page.locator(".figures")).to_contain_text(f"rev {theirs['rev']}", timeout=LIVE_MS)


def test_a_dry_run_is_drawn(page: Page, system: Watched) -> None:
    page.goto(system.address + "/ui/config")
    page.get_by_role("button", name="Dry run").click()
    page.get_by_role("button", name="Run on stored signals").click()

    expect(page.locator(".tools .note:visible")).to_contain_text("reached the rules", timeout=LIVE_MS)
    expect(page.locator(".rates-chart canvas")).to_be_visible()
    expect(table(page, "dry run")).to_contain_text("By instrument")


def test_who_only_looks_can_neither_save_nor_activate(browser: Browser, system: Watched, page: Page) -> None:
    context = browser.new_context()
    viewer = context.new_page()
    viewer.goto(system.address + "/login")
    viewer.get_by_label("Name").fill(VIEWER[0])
    viewer.get_by_label("Password").fill(VIEWER[1])
    viewer.keyboard.press("Enter")
    viewer.wait_for_url("**/ui/", timeout=LIVE_MS)
    viewer.get_by_role("link", name="Configuration").click()
    staged = table(viewer, "bundles").locator("tbody tr", has_text="staged").first
    staged.click(timeout=LIVE_MS)

    expect(viewer.locator(".whole .pill")).to_have_text("staged")
    expect(viewer.get_by_role("button", name="Activate…")).to_be_hidden()
    expect(viewer.get_by_role("button", name="Roll back…")).to_be_hidden()
    viewer.get_by_role("button", name="Edit", exact=True).click()
    expect(viewer.get_by_role("button", name="Save as draft")).to_be_disabled()
    status = viewer.evaluate(
        """async () => {
            const me = await (await fetch('/auth/me')).json();
            const headers = {'X-CSRF-Token': me.csrf_token, 'Content-Type': 'application/json'};
            return (await fetch('/api/s10/promote', {method: 'POST', headers, body: '{"bundle_id": "x"}'})).status;
        }"""
    )
    assert status == 403
    context.close()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_is_wider_than_a_phone_and_the_kill_switch_is_on_every_page(
    browser: Browser, system: Watched, page: Page, theme: Any
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=theme)
    phone = context.new_page()
    errors: list[str] = []
    phone.on("pageerror", lambda error: errors.append(str(error)))
    phone.goto(system.new_link())
    phone.wait_for_url("**/ui/")
    for path in PAGES:
        phone.goto(system.address + path)
        expect(phone.get_by_role("button", name="KILL SWITCH")).to_be_visible()
        expect(phone.locator("table.lt tbody tr:visible").first).to_be_visible(timeout=LIVE_MS)
        if path == "/ui/decisions":
            table(phone, "decisions").locator("tbody tr").first.click()
            expect(table(phone, "trail")).to_contain_text("Gates")
            assert phone.evaluate("document.documentElement.scrollWidth") <= 390
            phone.get_by_role("button", name="Back to the list").click()
            expect(table(phone, "decisions")).to_be_visible()
        if path == "/ui/config":
            phone.get_by_role("button", name="Edit", exact=True).click()
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390, path
    assert errors == []
    context.close()
