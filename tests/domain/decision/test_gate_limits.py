"""Every gate at its limit, one representable step below it, one above it, and where it cannot be evaluated, in both
markets, through the whole decision: what is refused, what is named, and that every gate's verdict is there to store."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from math import inf, nan, nextafter
from typing import Any

import pytest

from chimera.contracts.enums import HealthLevel, Market, Reason, Side
from chimera.domain.decision.decide import Decision, DecisionConfig, decide
from chimera.domain.decision.gates import Limits
from chimera.domain.decision.trail import trail_of
from tests.domain.builders import BTC_FUT, BTC_SPOT
from tests.domain.decision.worlds import config, facts, rule

D = Decimal
BOTH = (Market.FUT, Market.SPOT)
LIMITS = Limits(spread_bp_limit=100.0, spot_multi_symbols=False)
"""The spread's limit stands far away, so that slippage can be brought to its own."""
UNREADABLE: tuple[Any, ...] = (None, nan, inf, -inf)


def up(value: float) -> float:
    return nextafter(value, inf)


def down(value: float) -> float:
    return nextafter(value, -inf)


@dataclass(frozen=True)
class GateCase:
    """Which values of one fact pass, which are refused, and which nobody can judge. A `factor` stands in `features`."""

    code: str
    fact: str
    passes: tuple[Any, ...]
    refuses: tuple[Any, ...]
    unknown: tuple[Any, ...]
    factor: bool = False
    markets: tuple[Market, ...] = BOTH
    others: dict[str, Any] = field(default_factory=dict)
    """What else must be so for this gate to be the only one that is near its limit."""
    unknown_is: str | None = None
    """The gate that a fact which cannot be read falls to, where that is not this one."""

    def changes(self, value: Any) -> dict[str, Any]:
        others = dict(self.others)
        if not self.factor:
            return {**others, self.fact: value}
        return {**others, "features": {**others.pop("features", {}), self.fact: value}}


GATES: tuple[GateCase, ...] = (
    GateCase("KILL_SWITCH", "kill_switch_on", (False,), (True,), (None,)),
    GateCase("PAUSED", "paused", (False,), (True,), (None,)),
    GateCase("WINDOW", "window_open", (True,), (False,), (None,)),
    GateCase(
        "HEALTH",
        "health_level",
        (HealthLevel.GREEN, HealthLevel.YELLOW, HealthLevel.ORANGE),
        (HealthLevel.RED,),
        (None,),
    ),
    GateCase("HEALTH", "health_age_ms", (0, 179_999, 180_000), (180_001, 10**12), (None,)),
    GateCase("HALT", "halts", ((),), (("backtest_guard",), ("daily_loss", "drawdown")), (None,)),
    GateCase("NOT_RECONCILED", "reconciled", (True,), (False,), (None,)),
    GateCase("STALE", "feature_age_ms", (0, 4_999, 5_000), (5_001, 10**12), (None,)),
    GateCase("STALE", "atr_14", (10.0, 350.0), (), UNREADABLE, factor=True),
    GateCase("STALE", "mid", (65_399.95,), (), UNREADABLE, factor=True),
    GateCase("FACTOR_MISSING", "rv_pctile_30d", (0.0, 0.5, -1.0), (), UNREADABLE, factor=True),
    GateCase(
        "FUNDING",
        "funding_next",
        (0.0005, -0.0005, down(0.0005), up(-0.0005), 0.0),
        (up(0.0005), down(-0.0005), 0.01),
        UNREADABLE,
        factor=True,
        markets=(Market.FUT,),
        unknown_is="STALE",
    ),
    GateCase("SPREAD", "spread_bps", (0.0,), (up(100.0), 101.0), UNREADABLE, factor=True, unknown_is="STALE"),
    GateCase(
        "DEPTH",
        "depth_top1_usdt",
        (200.0, up(200.0), 1e9),
        (down(200.0), 1.0, 0.0, -200.0),
        UNREADABLE,
        factor=True,
        unknown_is="STALE",
    ),
    # Half a spread of 48 bps is the hard limit of 24, where the first level takes the whole order …
    GateCase("SLIPPAGE", "spread_bps", (48.0, down(48.0)), (up(48.0), 99.0), (), factor=True),
    # … and of 24 bps where it takes two such levels.
    GateCase(
        "SLIPPAGE",
        "depth_top1_usdt",
        (200.0, up(200.0)),
        (),
        (),
        factor=True,
        others={"features": {"spread_bps": 24.0}},
    ),
    GateCase("OPEN_POSITION", "open_position", (False,), (True,), (None,)),
    GateCase("UNFINISHED_INTENT", "unfinished_intents", (0,), (1, 9), (None,)),
    GateCase("MAX_ENTRIES", "entries_this_signal_day", (0,), (1, 2), (None,)),
    GateCase(
        "COOLDOWN",
        "minutes_since_stop_out",
        (None, 60.0, up(60.0), 1e6),
        (down(60.0), 0.0, -1.0),
        (nan,),
    ),
    GateCase("COOLDOWN", "cooldown_known", (True,), (), (False,)),
    GateCase(
        "SPOT_SINGLE",
        "other_spot_symbol_held",
        (False,),
        (True,),
        (None,),
        markets=(Market.SPOT,),
    ),
    GateCase("BUDGET", "budget_used_usdt", (D(0), D(500)), (D(600), D("600.00000001")), (None,)),
    GateCase("CONCURRENCY", "concurrency", (0, 1), (2, 3), (None,)),
    GateCase("DAILY_LOSS", "daily_loss_usdt", (down(6.0), 0.0, -9.0), (6.0, up(6.0), 1e6, inf), (None, nan)),
    GateCase(
        "DAILY_LOSS",
        "daily_loss_usdt",
        (down(14.0), 8.0),
        (14.0, up(14.0)),
        (None, nan),
        others={"daily_loss_base_usdt": 8.0},
    ),
    GateCase("DRAWDOWN", "drawdown_ratio", (down(0.1), 0.0, -0.2), (0.1, up(0.1), 1.0, inf), (None, nan)),
    GateCase(
        "DRAWDOWN",
        "drawdown_ratio",
        (down(0.35), 0.25),
        (0.35, up(0.35)),
        (None, nan),
        others={"drawdown_base_ratio": 0.25},
    ),
)

NAMED_AFTER_STALE = frozenset({"FUNDING", "SPREAD", "DEPTH", "SLIPPAGE", "FACTOR_MISSING"})
"""What STALE makes unknowable too."""


def judged(market: Market, changes: dict[str, Any]) -> Decision:
    changed = dict(changes)
    changed["features"] = {"rv_pctile_30d": 0.5, **changed.get("features", {})}
    return decide(replace(facts(**changed), instrument=BTC_FUT if market is Market.FUT else BTC_SPOT), settings())


def settings() -> DecisionConfig:
    return config(rule(when={"f": "rv_pctile_30d", "op": ">=", "v": 0}), limits=LIMITS)


def cases(which: str) -> Iterator[Any]:
    for case in GATES:
        for market in case.markets:
            for value in getattr(case, which):
                yield pytest.param(case, market, value, id=f"{market.value} {case.code} {case.fact}={value!r}")


@pytest.mark.parametrize(("case", "market", "value"), cases("passes"))
def test_up_to_its_limit_a_gate_passes_and_the_entry_opens(case: GateCase, market: Market, value: Any) -> None:
    found = judged(market, case.changes(value))

    assert all(gate.passed for gate in found.gates), found
    assert found.opens, found.detail


@pytest.mark.parametrize(("case", "market", "value"), cases("refuses"))
def test_beyond_its_limit_a_gate_refuses_and_no_other_does(case: GateCase, market: Market, value: Any) -> None:
    found = judged(market, case.changes(value))

    refused = [gate.code for gate in found.gates if not gate.passed]
    assert refused[:1] == [case.code]
    # A thin or wide book costs more, too.
    assert set(refused[1:]) <= {"SLIPPAGE"}
    assert (found.opens, found.detail, found.plan) == (False, case.code, None)
    assert found.reason is (Reason.RISK_BUDGET if case.code in ("BUDGET", "CONCURRENCY") else Reason.GATE)


@pytest.mark.parametrize(("case", "market", "value"), cases("unknown"))
def test_what_cannot_be_evaluated_refuses(case: GateCase, market: Market, value: Any) -> None:
    found = judged(market, case.changes(value))

    refused = [gate.code for gate in found.gates if not gate.passed]
    assert refused[:1] == [case.unknown_is or case.code]
    assert set(refused[1:]) <= (NAMED_AFTER_STALE if refused[0] == "STALE" else frozenset())
    assert (found.opens, found.detail) == (False, refused[0])


@pytest.mark.parametrize("market", BOTH)
def test_the_tables_above_leave_no_gate_out(market: Market) -> None:
    codes = [gate.code for gate in judged(market, {}).gates]

    assert len(codes) == len(set(codes))
    for which in ("passes", "refuses", "unknown"):
        told = {case.code for case in GATES if market in case.markets and getattr(case, which)}
        # What nobody can read is STALE before it is thin, wide or dear; a missing factor has no number to be beyond.
        assert set(codes) - told <= {"refuses": {"FACTOR_MISSING"}, "unknown": {"SLIPPAGE"}}.get(which, set())
        assert told <= set(codes)


@pytest.mark.parametrize("market", BOTH)
def test_each_pair_of_refusals_names_the_more_severe_and_all_gates_are_there_to_store(market: Market) -> None:
    order = [gate.code for gate in judged(market, {}).gates]
    spoilers = {
        case.code: case.changes((case.refuses or case.unknown)[0])
        for case in reversed(GATES)
        if market in case.markets and (case.refuses or case.unknown) and case.code != "SLIPPAGE"
    }
    for first in spoilers:
        for second in spoilers:
            both = {**spoilers[first], **spoilers[second]}
            both["features"] = {**spoilers[first].get("features", {}), **spoilers[second].get("features", {})}

            found = judged(market, both)

            assert found.detail == min(first, second, key=order.index)
            assert [gate.code for gate in found.gates] == order
            stored = {gate["code"]: gate["passed"] for gate in trail_of(found)["gates"]}
            assert list(stored) == order
            assert not stored[first]
            assert not stored[second]


def test_a_hint_lifts_the_days_entries_and_nothing_else() -> None:
    hinted = {"side_hint": Side.BUY}
    for case in GATES:
        for value in case.refuses:
            found = judged(case.markets[0], {**case.changes(value), **hinted})

            assert found.opens is (case.code == "MAX_ENTRIES"), case
