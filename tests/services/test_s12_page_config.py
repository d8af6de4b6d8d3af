"""The configuration page: each flag with what it means, changes in words, findings at their line, S10's own answers."""

from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.base import Contract
from chimera.contracts.documents import ConfigBundle
from chimera.contracts.enums import BundleStatus, Market
from chimera.contracts.flags import Flags
from chimera.contracts.http.config import (
    DryRunAnswer,
    DryRunDay,
    DryRunInstrument,
    DryRunLimit,
    DryRunRule,
    LintFinding,
)
from chimera.domain.config.bundle import default_bundle, hash_of
from chimera.services.s12_gateway.page import config_rows, dry_run
from chimera.services.s12_gateway.page.configuration import Configuration, Refusal, text_of
from chimera.services.s12_gateway.page.rows import Row, Section
from tests.services.config_desk import Config

DEFAULT = default_bundle(0)


def with_flags(**groups: Contract) -> ConfigBundle:
    bundle = DEFAULT.but(flags=DEFAULT.flags.but(**groups))
    return bundle.but(hash=hash_of(bundle))


def texts(row: Row) -> list[str]:
    return [cell.get("t", "") for cell in row["cells"]]


def rows_of(sections: list[Section]) -> dict[str, Row]:
    return {row["key"]: row for section in sections for row in section.rows}


def paths(value: Any, prefix: str = "") -> list[str]:
    """Every number, word and list of a model, as its JSON has it."""
    if isinstance(value, dict) and value:
        return [path for name, part in value.items() for path in paths(part, f"{prefix}.{name}" if prefix else name)]
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return [f"{prefix}[{place}]" for place in range(len(value))]
    return [prefix]


# --- what is read


@pytest.mark.parametrize("group", list(Flags.model_fields))
def test_every_flag_of_a_group_is_shown_once_with_what_it_means(group: str) -> None:
    shown = next(
        section
        for section in config_rows.sections(DEFAULT)
        if section.title == group.replace("_", " ").capitalize() and section.style == "flags"
    )

    meant = [path for path in paths(DEFAULT.flags.to_dict()[group]) if not path.startswith("markets.")]
    meant += ["markets"] if group == "strategy" else []
    assert sorted(row["key"] for row in shown.rows) == sorted(meant)
    assert [row["key"] for row in shown.rows if not row["cells"][-1].get("t")] == []
    assert [row["key"] for row in shown.rows if row["tone"]] == []


def test_a_flag_tells_value_unit_range_and_its_default_where_it_is_another() -> None:
    risk = DEFAULT.flags.risk.but(slip_bp_max=6.0, drawdown_pct_max=0.2)
    rows = rows_of(config_rows.sections(with_flags(risk=risk)))

    assert texts(rows["slip_bp_max"])[:5] == ["slip_bp_max", "6", "bps", "8", "from 0 to 1,000"]
    assert rows["slip_bp_max"]["tone"] == "changed"
    assert rows["drawdown_pct_max"]["cells"][1] == {"t": "0.2", "c": "strong", "s": "20 %"}
    assert texts(rows["budget.fut_margin_usdt_max"])[:4] == ["fut_margin_usdt_max", "600", "USDT", ""]
    assert texts(rows["routing.taker.fallback"])[4] == "DIRECT, AFTER_CANCEL"


def test_a_row_that_a_table_gained_or_lost_is_shown_as_changed() -> None:
    tiers = DEFAULT.flags.position.tiers
    shorter = rows_of(config_rows.sections(with_flags(position=DEFAULT.flags.position.but(tiers=tiers[:1]))))

    assert texts(shorter["tiers[1]"])[1] == "not told"
    assert "roe_min 0.1" in texts(shorter["tiers[1]"])[3]
    assert (shorter["tiers[1]"]["tone"], shorter["tiers[0]"]["tone"]) == ("changed", "")


def test_only_what_was_changed_is_shown_on_request() -> None:
    changed = with_flags(spot=DEFAULT.flags.spot.but(quote_usdt=Decimal(70)))

    shown = [section for section in config_rows.sections(changed, only_changed=True) if section.style == "flags"]

    assert [row["key"] for section in shown for row in section.rows] == ["quote_usdt"]
    assert config_rows.sections(DEFAULT, only_changed=True)[-1].empty == "Every flag stands as in the defaults."


def test_rules_are_read_in_words_in_the_order_in_which_they_are_asked() -> None:
    rules = config_rows.sections(DEFAULT)[0]

    assert [texts(row)[0] for row in rules.rows] == ["R-001", "R-023"]
    assert "spread_bps above 1.5" in texts(rules.rows[0])[3]
    assert texts(rules.rows[1])[2] == "off"
    assert rules.note == "1 of 2 on"


def test_findings_stand_by_line_errors_first() -> None:
    findings = (
        LintFinding(level="warning", path="rules", message="[]", remedy="enable one", line=1),
        LintFinding(level="error", path="flags.risk", message="9", remedy="less", line=7),
        LintFinding(level="error", path="", message="", remedy="no YAML"),
    )

    rows = config_rows.finding_rows(findings)

    assert [texts(row)[:2] for row in rows] == [["–", "the text"], ["7", "flags.risk"], ["1", "rules"]]
    assert [row["key"].partition("#")[0] for row in rows] == ["0", "7", "1"]
    assert config_rows.findings_text(findings) == ("2 errors, 1 warning.", "bad")
    assert config_rows.findings_text(()) == ("No finding: it may be staged.", "good")


# --- what S10 answers


class Desk:
    """The page's side of a real S10."""

    def __init__(self, config: Config) -> None:
        self.s10 = config
        self.page = Configuration(config.here.world.peers)

    @classmethod
    async def open(cls) -> "Desk":
        return cls(await Config().start())

    async def text(self) -> str:
        bundle = await self.page.bundle("active")
        assert isinstance(bundle, ConfigBundle)
        return text_of(bundle)

    async def saved(self, old: str, new: str) -> str:
        """The id of a draft that is the active bundle's text with one thing changed."""
        await self.s10.here.clock.advance(1_000)
        text = await self.text()
        assert text.count(old) == 1
        told = await self.page.save(text.replace(old, new), "ada")
        assert not isinstance(told, Refusal), told
        return told.bundle_id

    async def staged(self, old: str, new: str) -> str:
        bundle_id = await self.saved(old, new)
        assert not isinstance(await self.page.stage(bundle_id, "ada"), Refusal)
        return bundle_id


async def test_the_text_of_what_is_in_force_is_taken_back_as_the_same() -> None:
    desk = await Desk.open()

    told = await desk.page.check(await desk.text(), "ada")

    assert not isinstance(told, Refusal)
    active = await desk.page.active()
    assert not isinstance(active, Refusal)
    assert (told.hash, [each for each in told.findings if each.level == "error"]) == (active.hash, [])


async def test_a_fault_is_found_at_its_line_and_a_check_stores_nothing() -> None:
    desk = await Desk.open()
    text = (await desk.text()).replace("slip_bp_hard: 24", "slip_bp_hard: 2")

    told = await desk.page.check(text, "ada")

    assert not isinstance(told, Refusal)
    (found,) = [each for each in told.findings if each.level == "error"]
    assert found.path == "flags.risk.slip_bp_hard"
    assert found.line is not None
    assert text.splitlines()[found.line - 1].strip() == "slip_bp_hard: 2"
    listed = await desk.page.bundles()
    assert not isinstance(listed, Refusal)
    assert len(listed.bundles) == 1


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        pytest.param("slip_bp_max: 8", "slip_bp_max: eight", "flags.risk.slip_bp_max", id="no number"),
        pytest.param("slip_bp_max: 8", "slip_bp_mx: 8", "flags.risk.slip_bp_mx", id="a name that means nothing"),
        pytest.param("slip_bp_max: 8", "slip_bp_max: [8", "", id="no YAML"),
    ],
)
async def test_a_text_that_is_no_configuration_is_refused_with_its_line(old: str, new: str, path: str) -> None:
    desk = await Desk.open()
    text = (await desk.text()).replace(old, new)

    told = await desk.page.check(text, "ada")

    assert isinstance(told, Refusal)
    found = told.findings[0]
    assert found.path == path
    assert found.line is not None
    assert found.line >= next(n for n, line in enumerate(text.splitlines(), 1) if new in line)


async def test_a_draft_becomes_staged_shows_what_it_changes_and_comes_into_force() -> None:
    desk = await Desk.open()
    bundle_id = await desk.staged("slip_bp_max: 8", "slip_bp_max: 6")

    diff = await desk.page.diff(bundle_id, "active")
    assert not isinstance(diff, Refusal)
    (section,) = config_rows.change_sections(diff)
    told = await desk.page.promote(bundle_id, 1, "calmer", "ada")

    assert (section.title, section.note) == ("Flags", "1 change")
    assert texts(section.rows[0])[1:] == ["8", "6"]
    assert not isinstance(told, Refusal)
    assert (told.to_rev, told.seq) == (2, 2)
    listed = await desk.page.bundles()
    assert not isinstance(listed, Refusal)
    assert [texts(row)[:2] for row in config_rows.bundle_rows(listed.bundles)] == [
        ["2", "in force"],
        ["1", "was in force"],
    ]


async def test_who_looked_at_another_switch_is_told_so_and_changes_nothing() -> None:
    desk = await Desk.open()
    mine, theirs = await desk.staged("slip_bp_max: 8", "slip_bp_max: 6"), await desk.staged("hard: 24", "hard: 20")
    assert not isinstance(await desk.page.promote(theirs, 1, "", "bob"), Refusal)

    told = await desk.page.promote(mine, 1, "", "ada")

    assert isinstance(told, Refusal)
    assert told.is_switched
    assert "somebody else switched" in told.why
    active = await desk.page.active()
    assert not isinstance(active, Refusal)
    assert active.bundle_id == theirs


async def test_the_way_back_leads_to_what_was_in_force_before() -> None:
    desk = await Desk.open()
    bundle_id = await desk.staged("slip_bp_max: 8", "slip_bp_max: 6")
    assert not isinstance(await desk.page.promote(bundle_id, 1, "", "ada"), Refusal)
    active = await desk.page.active()
    assert not isinstance(active, Refusal)
    assert active.way_back == (1,)

    told = await desk.page.roll_back(active.way_back[0], active.seq, "worse", "ada")

    assert not isinstance(told, Refusal)
    assert (told.to_rev, told.seq) == (1, 3)


async def test_a_service_that_is_gone_is_said_so() -> None:
    told = await Configuration(Config().here.world.peers).active()

    assert isinstance(told, Refusal)
    assert told.why


# --- the dry run


def answer(**changes: Any) -> DryRunAnswer:
    figures: dict[str, Any] = {
        "signals": 1_000,
        "asked": 600,
        "skipped": 60,
        "sized_up": 420,
        "opened": 50,
        "opened_by_reference": 60,
        "opened_by_both": 40,
        "skip_entry_ratio": 0.1,
        "size_up_ratio": 0.7,
        "jaccard": 40 / 70,
    }
    return DryRunAnswer(
        **{
            **figures,
            "bundle_id": "b",
            "against": "a",
            "against_rev": 3,
            "days": 30,
            "from_ms": 0,
            "to_ms": 86_400_000,
            "passed": False,
            "limits": (
                DryRunLimit(name="asked", value=600, limit=500, passed=True, words="600 reached the rules"),
                DryRunLimit(name="size_up_ratio", value=0.7, limit=0.5, passed=False, words="70 % are sized up"),
                DryRunLimit(name="jaccard", value=0.57, limit=0.35, passed=True, words="57 % alike"),
            ),
            "instruments": (DryRunInstrument(market=Market.FUT, symbol="BTCUSDT", **figures),),
            "rules": (DryRunRule(rule_id="R-1", hits=420, hits_of_reference=0),),
            "per_day": (
                DryRunDay(day="2025-11-18", signals=500, opened=30, opened_by_reference=25, opened_by_both=20),
                DryRunDay(day="2025-11-19", signals=500, opened=20, opened_by_reference=35, opened_by_both=20),
            ),
            "notes": ("flat at every moment",),
            "duration_ms": 12,
            **changes,
        }
    )


def test_what_both_open_and_what_one_alone_opens_are_stacked_by_day() -> None:
    patch = dry_run.day_patch(answer())

    assert patch["xAxis"]["data"] == ["11-18", "11-19"]
    assert {each["name"]: each["data"] for each in patch["series"]} == {
        "opened by both": [20, 20],
        "only by this bundle": [10, 0],
        "only by the other": [5, 15],
    }


def test_a_share_beyond_its_limit_is_drawn_in_red_beside_the_limit() -> None:
    patch = dry_run.rate_patch(answer())

    bars, limits = patch["series"]
    assert patch["yAxis"]["data"] == ["sized up (max)", "opened alike (min)"]
    assert [(bar["value"], bar["itemStyle"]["color"]) for bar in bars["data"]] == [
        (70.0, dry_run.STOP),
        (57.0, dry_run.TARGET),
    ]
    assert limits["data"] == [[50.0, "sized up (max)"], [35.0, "opened alike (min)"]]


def test_the_verdict_names_what_is_broken() -> None:
    assert dry_run.verdict(answer()) == (
        "Does not keep its limits: 70 % are sized up (1,000 signals of 30 days, 600 of them reached the rules).",
        "bad",
    )
    assert dry_run.verdict(answer(passed=True))[1] == "good"


def test_a_dry_run_is_told_by_limit_instrument_and_rule() -> None:
    shown = {section.title: [texts(row) for row in section.rows] for section in dry_run.sections(answer())}

    assert ["✕ 70 % are sized up", "70.0 %", "≤ 50.0 %"] in shown["Limits"]
    assert ["✓ 600 reached the rules", "600", "≥ 500"] in shown["Limits"]
    assert shown["By instrument"][0] == ["BTC FUT", "1,000", "600", "10.0 %", "70.0 %", "50", "60", "40", "57.1 %"]
    assert shown["By rule"] == [["R-1", "420", "0"]]
    assert "Findings" not in shown


def test_a_bundle_of_each_state_has_a_word_for_it() -> None:
    assert set(config_rows.STATUS_WORDS) == set(BundleStatus)
