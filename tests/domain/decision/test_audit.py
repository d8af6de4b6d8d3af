"""The second opinion finds what the gates find, by other code; and nothing where all is well."""

from dataclasses import replace
from decimal import Decimal
from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import HealthLevel, Side
from chimera.domain.decision.audit import violations
from chimera.domain.decision.decide import DecisionConfig, decide
from chimera.domain.decision.gates import Limits
from tests.domain.builders import BTC_SPOT
from tests.domain.decision.worlds import config, facts, rule

WELL = config()

SPOILT: list[tuple[str, dict[str, Any]]] = [
    ("KILL_SWITCH", {"kill_switch_on": True}),
    ("KILL_SWITCH", {"kill_switch_on": None}),
    ("PAUSED", {"paused": True}),
    ("PAUSED", {"paused": None}),
    ("WINDOW", {"window_open": False}),
    ("WINDOW", {"window_open": None}),
    ("HEALTH", {"health_level": HealthLevel.RED}),
    ("HEALTH", {"health_level": None}),
    ("HEALTH", {"health_age_ms": 180_001}),
    ("HEALTH", {"health_age_ms": None}),
    ("HALT", {"halts": ("daily_loss",)}),
    ("HALT", {"halts": None}),
    ("NOT_RECONCILED", {"reconciled": False}),
    ("NOT_RECONCILED", {"reconciled": None}),
    ("STALE", {"feature_age_ms": 5_001}),
    ("STALE", {"feature_age_ms": None}),
    ("STALE", {"features": {"atr_14": None}}),
    ("STALE", {"features": {"mid": nan}}),
    ("FUNDING", {"features": {"funding_next": 0.00051}}),
    ("FUNDING", {"features": {"funding_next": -0.00051}}),
    ("SPREAD", {"features": {"spread_bps": 3.01}}),
    ("DEPTH", {"features": {"depth_top1_usdt": 199.9}}),
    ("SLIPPAGE", {"features": {"spread_bps": 2.9, "depth_top1_usdt": 210.0}, "slip_bp_hard": 2.5}),
    ("OPEN_POSITION", {"open_position": True}),
    ("OPEN_POSITION", {"open_position": None}),
    ("UNFINISHED_INTENT", {"unfinished_intents": 1}),
    ("UNFINISHED_INTENT", {"unfinished_intents": None}),
    ("MAX_ENTRIES", {"entries_this_signal_day": 1}),
    ("MAX_ENTRIES", {"entries_this_signal_day": None}),
    ("COOLDOWN", {"minutes_since_stop_out": 59.9}),
    ("COOLDOWN", {"cooldown_known": False}),
    ("BUDGET", {"budget_used_usdt": Decimal(600)}),
    ("BUDGET", {"budget_used_usdt": None}),
    ("CONCURRENCY", {"concurrency": 2}),
    ("CONCURRENCY", {"concurrency": None}),
    ("DAILY_LOSS", {"daily_loss_usdt": 6.0}),
    ("DAILY_LOSS", {"daily_loss_usdt": None}),
    ("DRAWDOWN", {"drawdown_ratio": 0.1}),
    ("DRAWDOWN", {"drawdown_ratio": nan}),
]


def test_nothing_is_found_where_all_is_well() -> None:
    assert violations(facts(), WELL) == ()


@pytest.mark.parametrize(("name", "spoilt"), SPOILT, ids=[f"{name} {spoilt}" for name, spoilt in SPOILT])
def test_each_thing_that_forbids_an_entry_is_found_by_its_name(name: str, spoilt: dict[str, Any]) -> None:
    spoilt = dict(spoilt)
    hard = spoilt.pop("slip_bp_hard", 24.0)

    found = violations(facts(**spoilt), config(limits=Limits(slip_bp_hard=hard)))

    assert name in found
    assert set(found) <= {name, "SLIPPAGE", "DEPTH", "SPREAD", "FACTOR_MISSING"}


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(config(rule(when={"f": "rv_1d", "op": "<", "v": 1})), id="of a rule"),
        pytest.param(config(model_factors=("rv_1d",)), id="of the model"),
        pytest.param(replace(WELL, rules=replace(WELL.rules, disabled_factors=("spread_bps",))), id="not enabled"),
    ],
)
def test_a_factor_that_is_missing_is_found(changed: DecisionConfig) -> None:
    assert violations(facts(), changed) == ("FACTOR_MISSING",)


def test_a_hint_is_not_counted_and_a_rule_may_read_a_word() -> None:
    assert violations(facts(entries_this_signal_day=5, side_hint=Side.BUY), WELL) == ()
    words = config(rule(when={"f": "mood", "op": "==", "v": "calm"}))
    assert violations(facts(features={"mood": "calm"}), words) == ()


def test_a_second_symbol_of_spot_is_found_where_only_one_may_be_held() -> None:
    held = facts(instrument=BTC_SPOT, other_spot_symbol_held=True)

    assert violations(held, config(limits=Limits(spot_multi_symbols=False))) == ("SPOT_SINGLE",)
    assert violations(held, WELL) == ()


numbers = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from((0.0, 1.0, 6.0, 60.0)))
maybe = st.sampled_from((True, False, None))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "kill_switch_on": maybe,
            "paused": maybe,
            "window_open": maybe,
            "reconciled": maybe,
            "open_position": maybe,
            "cooldown_known": st.booleans(),
            "health_level": st.sampled_from((*HealthLevel, None)),
            "health_age_ms": st.one_of(st.none(), st.sampled_from((0, 180_000, 180_001))),
            "halts": st.sampled_from(((), ("drawdown",), None)),
            "feature_age_ms": st.one_of(st.none(), st.sampled_from((0, 5_000, 5_001))),
            "unfinished_intents": st.one_of(st.none(), st.integers(0, 2)),
            "entries_this_signal_day": st.one_of(st.none(), st.integers(0, 2)),
            "minutes_since_stop_out": numbers,
            "daily_loss_usdt": numbers,
            "daily_loss_base_usdt": st.sampled_from((0.0, 3.3, 0.1)),
            "drawdown_ratio": numbers,
            "drawdown_base_ratio": st.sampled_from((0.0, 0.1, 0.3)),
            "concurrency": st.one_of(st.none(), st.integers(0, 3)),
            "budget_used_usdt": st.one_of(st.none(), st.decimals(0, 700, places=8)),
            "side_hint": st.sampled_from((None, Side.BUY, Side.SELL)),
            "features": st.fixed_dictionaries(
                {},
                optional=dict.fromkeys(
                    ("mid", "spread_bps", "depth_top1_usdt", "atr_14", "funding_next", "xmkt_signal"), numbers
                ),
            ),
        },
    )
)
def test_what_the_gates_let_pass_is_never_objected_to_and_what_they_refuse_always_is(spoilt: dict[str, Any]) -> None:
    known = facts(**spoilt)

    passed = all(gate.passed for gate in decide(known, WELL).gates)

    # A false alarm would refuse a good entry, silence would let a bad one pass.
    assert passed == (violations(known, WELL) == ())
