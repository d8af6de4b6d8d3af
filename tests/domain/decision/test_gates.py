"""Every gate refuses beyond its limit, refuses what it cannot know, and the most severe one is named."""

from dataclasses import replace
from decimal import Decimal
from math import inf, nan
from typing import Any

import pytest

from chimera.contracts.enums import HealthLevel, Reason, Side
from chimera.contracts.flags import TradingWindow
from chimera.domain.decision.gates import Limits, first_refusal, gates, reason_of
from chimera.domain.decision.windows import window_open
from tests.domain.builders import BTC_SPOT
from tests.domain.decision.worlds import FACTS, facts

FUT_ORDER = [
    "KILL_SWITCH",
    "PAUSED",
    "WINDOW",
    "HEALTH",
    "HALT",
    "NOT_RECONCILED",
    "STALE",
    "FACTOR_MISSING",
    "FUNDING",
    "SPREAD",
    "DEPTH",
    "SLIPPAGE",
    "OPEN_POSITION",
    "UNFINISHED_INTENT",
    "MAX_ENTRIES",
    "COOLDOWN",
    "BUDGET",
    "CONCURRENCY",
    "DAILY_LOSS",
    "DRAWDOWN",
]


def refusal(limits: Limits | None = None, **changes: Any) -> str | None:
    result = first_refusal(gates(facts(**changes), limits or Limits(), 0))
    return None if result is None else result.code


def test_all_is_well() -> None:
    results = gates(FACTS, Limits(), 0)

    assert first_refusal(results) is None
    assert [result.code for result in results] == FUT_ORDER


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("KILL_SWITCH", {"kill_switch_on": True}),
        ("PAUSED", {"paused": True}),
        ("WINDOW", {"window_open": False}),
        ("HEALTH", {"health_level": HealthLevel.RED}),
        ("HEALTH", {"health_age_ms": 180_001}),
        ("HALT", {"halts": ("drawdown",)}),
        ("NOT_RECONCILED", {"reconciled": False}),
        ("STALE", {"feature_age_ms": 5_001}),
        ("FUNDING", {"features": {"funding_next": 0.00051}}),
        ("FUNDING", {"features": {"funding_next": -0.00051}}),
        ("SPREAD", {"features": {"spread_bps": 3.01}}),
        ("DEPTH", {"features": {"depth_top1_usdt": 199.0}}),
        ("OPEN_POSITION", {"open_position": True}),
        ("UNFINISHED_INTENT", {"unfinished_intents": 1}),
        ("MAX_ENTRIES", {"entries_this_signal_day": 1}),
        ("COOLDOWN", {"minutes_since_stop_out": 59.9}),
        ("BUDGET", {"budget_used_usdt": Decimal(600)}),
        ("CONCURRENCY", {"concurrency": 2}),
        ("DAILY_LOSS", {"daily_loss_usdt": 6.0}),
        ("DAILY_LOSS", {"daily_loss_usdt": 12.5, "daily_loss_base_usdt": 6.5}),
        ("DRAWDOWN", {"drawdown_ratio": 0.1}),
    ],
)
def test_a_gate_refuses_beyond_its_limit(code: str, changes: dict[str, Any]) -> None:
    assert refusal(**changes) == code


@pytest.mark.parametrize(
    "changes",
    [
        {"health_level": HealthLevel.ORANGE},
        {"health_age_ms": 180_000},
        {"feature_age_ms": 5_000},
        {"features": {"funding_next": -0.0005}},
        {"features": {"spread_bps": 3.0}},
        {"features": {"depth_top1_usdt": 200.0}},
        {"minutes_since_stop_out": 60.0},
        {"budget_used_usdt": Decimal("599.99")},
        {"concurrency": 1},
        {"daily_loss_usdt": 5.99},
        {"daily_loss_usdt": 12.0, "daily_loss_base_usdt": 6.1},
        {"drawdown_ratio": 0.19, "drawdown_base_ratio": 0.1},
        {"drawdown_ratio": 0.0999},
    ],
    ids=str,
)
def test_a_gate_passes_at_its_limit(changes: dict[str, Any]) -> None:
    assert refusal(**changes) is None


UNKNOWN: list[tuple[str, dict[str, Any]]] = [
    ("KILL_SWITCH", {"kill_switch_on": None}),
    ("PAUSED", {"paused": None}),
    ("WINDOW", {"window_open": None}),
    ("HEALTH", {"health_level": None}),
    ("HEALTH", {"health_age_ms": None}),
    ("HALT", {"halts": None}),
    ("NOT_RECONCILED", {"reconciled": None}),
    ("STALE", {"feature_age_ms": None}),
    ("OPEN_POSITION", {"open_position": None}),
    ("UNFINISHED_INTENT", {"unfinished_intents": None}),
    ("MAX_ENTRIES", {"entries_this_signal_day": None}),
    ("COOLDOWN", {"cooldown_known": False}),
    ("COOLDOWN", {"minutes_since_stop_out": nan}),
    ("BUDGET", {"budget_used_usdt": None}),
    ("CONCURRENCY", {"concurrency": None}),
    ("DAILY_LOSS", {"daily_loss_usdt": None}),
    ("DAILY_LOSS", {"daily_loss_usdt": nan}),
    ("DRAWDOWN", {"drawdown_ratio": nan}),
    *(
        ("STALE", {"features": {factor: value}})
        for factor in ("mid", "spread_bps", "depth_top1_usdt", "atr_14", "funding_next")
        for value in (None, nan, inf)
    ),
]


@pytest.mark.parametrize(("code", "changes"), UNKNOWN, ids=str)
def test_a_gate_that_cannot_be_evaluated_refuses(code: str, changes: dict[str, Any]) -> None:
    assert refusal(**changes) == code


def test_the_most_severe_gate_names_the_reason_and_all_are_told() -> None:
    spoilt = facts(kill_switch_on=True, reconciled=False, drawdown_ratio=1.0, features={"spread_bps": 9.0})

    results = gates(spoilt, Limits(), 1)

    assert [result.code for result in results if not result.passed] == [
        "KILL_SWITCH",
        "NOT_RECONCILED",
        "FACTOR_MISSING",
        "SPREAD",
        "DRAWDOWN",
    ]
    found = first_refusal(results)
    assert found is not None
    assert (found.code, found.value, found.limit) == ("KILL_SWITCH", 1.0, 0.0)


def test_slippage_beyond_the_hard_limit_is_refused() -> None:
    limits = Limits(spread_bp_limit=100.0, planned_notional_usdt=4_000.0)

    assert refusal(limits, features={"spread_bps": 2.4, "depth_top1_usdt": 200.0}) is None
    assert refusal(limits, features={"spread_bps": 2.5, "depth_top1_usdt": 200.0}) == "SLIPPAGE"


def test_a_hint_is_not_counted_against_the_entries_of_a_signal() -> None:
    assert refusal(entries_this_signal_day=5, side_hint=Side.SELL) is None


def test_spot_asks_for_no_funding_and_may_hold_one_symbol_only() -> None:
    spot = replace(facts(features={"funding_next": None}, other_spot_symbol_held=True), instrument=BTC_SPOT)

    assert first_refusal(gates(spot, Limits(spot_multi_symbols=True), 0)) is None
    refused = first_refusal(gates(spot, Limits(spot_multi_symbols=False), 0))
    assert refused is not None
    assert refused.code == "SPOT_SINGLE"


def test_budget_and_concurrency_are_a_matter_of_budget_and_the_rest_of_gates() -> None:
    reasons = {result.code: reason_of(result) for result in gates(FACTS, Limits(), 0)}

    assert [code for code, reason in reasons.items() if reason is Reason.RISK_BUDGET] == ["BUDGET", "CONCURRENCY"]


MONDAY = 1_700_438_400_000 - 1_700_438_400_000 % 86_400_000
HOUR = 3_600_000


@pytest.mark.parametrize(
    ("windows", "at_ms", "is_open"),
    [
        pytest.param((), MONDAY, True, id="no window means always"),
        pytest.param(({"from_minute": 480, "to_minute": 600},), MONDAY + 8 * HOUR, True, id="at its start"),
        pytest.param(({"from_minute": 480, "to_minute": 600},), MONDAY + 10 * HOUR, False, id="not at its end"),
        pytest.param(({"days": (2,)},), MONDAY, False, id="another day"),
        pytest.param(({"days": (1,)},), MONDAY, True, id="this day"),
        pytest.param(
            ({"days": (1,), "from_minute": 1_320, "to_minute": 120},),
            MONDAY + 25 * HOUR,
            True,
            id="over midnight it belongs to the day before",
        ),
        pytest.param(
            ({"days": (1,), "from_minute": 1_320, "to_minute": 120},),
            MONDAY + 1 * HOUR,
            False,
            id="and not to the morning of its own day",
        ),
        pytest.param(({"days": (2,)}, {"days": (1,)}), MONDAY, True, id="any of several"),
    ],
)
def test_entries_are_allowed_inside_a_window(windows: tuple[dict[str, Any], ...], at_ms: int, is_open: bool) -> None:
    assert window_open([TradingWindow(**window) for window in windows], at_ms) is is_open
