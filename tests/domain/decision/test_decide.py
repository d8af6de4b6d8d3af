"""One decision from its facts: the order of the questions, and what is said about each answer."""

import json
from dataclasses import replace
from decimal import Decimal
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Action, HealthLevel, Reason, Side, SideMode
from chimera.domain.decision.decide import Decision, decide
from chimera.domain.decision.gates import Limits
from chimera.domain.decision.model import judge
from chimera.domain.decision.trail import trail_of
from tests.domain.builders import BTC_SPOT
from tests.domain.decision.worlds import FACTS, config, facts, rule


def said(decision: Decision) -> tuple[Action, Reason, str]:
    return decision.action, decision.reason, decision.detail


def test_when_all_is_well_the_signal_is_followed() -> None:
    found = decide(FACTS, config())

    assert said(found) == (Action.OPEN, Reason.OK, "OK")
    assert found.side is Side.BUY
    assert found.plan is not None
    assert found.plan.qty == Decimal("0.006")
    assert found.entry_ref_price == Decimal(65_400)
    assert found.rules_fired == ("R-001",)
    assert (found.config_rev, found.model_p) == (7, 0.65)


@pytest.mark.parametrize(
    ("signal", "mode", "hint", "side"),
    [
        pytest.param(1.0, SideMode.FOLLOW, None, Side.BUY, id="follow up"),
        pytest.param(-1.0, SideMode.FOLLOW, None, Side.SELL, id="follow down"),
        pytest.param(1.0, SideMode.FADE, None, Side.SELL, id="fade up"),
        pytest.param(-1.0, SideMode.FADE, None, Side.BUY, id="fade down"),
        pytest.param(1.0, SideMode.FOLLOW, Side.SELL, Side.SELL, id="the hint wins"),
        pytest.param(0.0, SideMode.FOLLOW, Side.BUY, Side.BUY, id="a hint needs no signal"),
        pytest.param(None, SideMode.FOLLOW, Side.BUY, Side.BUY, id="nor a fresh one"),
    ],
)
def test_the_side(signal: float | None, mode: SideMode, hint: Side | None, side: Side) -> None:
    found = decide(facts(features={"xmkt_signal": signal}, side_hint=hint), config(side_mode=mode))

    assert found.side is side
    assert found.entry_ref_price == (FACTS.quote.ask if side is Side.BUY else FACTS.quote.bid)


SKIP_RULE = rule("R-SKIP", action={"type": "skip_entry", "value": True})
CASES: list[Any] = [
    pytest.param({"kill_switch_on": True}, [], Reason.GATE, "KILL_SWITCH", id="a gate"),
    pytest.param({"concurrency": 2}, [], Reason.RISK_BUDGET, "CONCURRENCY", id="concurrency is budget"),
    pytest.param({"features": {"xmkt_signal": 0.0}}, [], Reason.RULE, "NO_SIGNAL", id="no signal"),
    pytest.param({"features": {"xmkt_signal": None}}, [], Reason.RULE, "NO_SIGNAL", id="a stale signal is none"),
    pytest.param({"features": {"xmkt_signal": nan}}, [], Reason.RULE, "NO_SIGNAL", id="a signal that is no number"),
    pytest.param({}, [rule(status="DISABLED")], Reason.RULE, "NO_ENABLED_RULE", id="no enabled rule"),
    pytest.param(
        {},
        [rule(when={"f": "rv_pctile_30d", "op": "<", "v": 1})],
        Reason.GATE,
        "FACTOR_MISSING",
        id="a rule's factor is missing",
    ),
    pytest.param({}, [SKIP_RULE], Reason.RULE, "R-SKIP", id="a rule says skip"),
    pytest.param({"model_p": 0.39}, [], Reason.MODEL, "P_TOO_LOW", id="the model doubts"),
    pytest.param({"model_p": nan}, [], Reason.MODEL, "MODEL_INVALID", id="the model is broken"),
    pytest.param({"model_p": 1.1}, [], Reason.MODEL, "MODEL_INVALID", id="that is no probability"),
    pytest.param({"health_size_mult": 0.0}, [], Reason.GATE, "SIZE_ZERO", id="health leaves nothing"),
    pytest.param({"health_size_mult": nan}, [], Reason.GATE, "SIZE_ZERO", id="health is no number"),
    pytest.param(
        {"budget_used_usdt": Decimal(595)}, [], Reason.RISK_BUDGET, "BUDGET", id="what is left does not suffice"
    ),
    pytest.param({"features": {"atr_14": 0.05}}, [], Reason.GATE, "STOP_TOO_CLOSE", id="a stop too close"),
]


@pytest.mark.parametrize(("changes", "rules", "reason", "detail"), CASES)
def test_every_refusal_has_its_reason(
    changes: dict[str, Any], rules: list[dict[str, Any]], reason: Reason, detail: str
) -> None:
    found = decide(facts(**changes), config(*rules))

    assert said(found) == (Action.SKIP, reason, detail)
    assert found.plan is None


def test_a_missing_factor_is_named() -> None:
    found = decide(FACTS, config(rule(when={"f": "rv_pctile_30d", "op": "<", "v": 1})))
    stale = decide(facts(features={"atr_14": None, "mid": nan}), config())

    assert found.missing == ("rv_pctile_30d",)
    assert (stale.detail, stale.missing) == ("STALE", ("mid", "atr_14"))


def test_spot_opens_buy_only() -> None:
    spot = replace(facts(features={"xmkt_signal": -1.0, "funding_next": None}), instrument=BTC_SPOT)

    assert said(decide(spot, config())) == (Action.SKIP, Reason.RULE, "SPOT_BUY_ONLY")
    assert decide(replace(spot, side_hint=Side.BUY), config()).opens


@pytest.mark.parametrize(
    ("p", "size_mult", "skip", "note"),
    [
        pytest.param(None, 1.0, False, "NO_MODEL", id="no model is neutral and said"),
        pytest.param(1.0, 1.2, False, "P_HIGH", id="certain"),
        pytest.param(0.8500001, 1.2, False, "P_HIGH", id="above 0.85"),
        pytest.param(0.85, 1.0, False, "P_NORMAL", id="0.85 itself"),
        pytest.param(0.6, 1.0, False, "P_NORMAL", id="0.6 itself"),
        pytest.param(0.5999, 0.5, False, "P_LOW", id="below 0.6"),
        pytest.param(0.4, 0.5, False, "P_LOW", id="0.4 itself"),
        pytest.param(0.3999, 0.0, True, "P_TOO_LOW", id="below 0.4"),
        pytest.param(0.0, 0.0, True, "P_TOO_LOW", id="never"),
    ],
)
def test_the_bands_of_the_model(p: float | None, size_mult: float, skip: bool, note: str) -> None:
    found = judge(p)

    assert (found.size_mult, found.skip, found.note) == (size_mult, skip, note)


def test_the_size_multipliers_of_rules_model_and_health_multiply_and_clamp() -> None:
    bigger = rule(action={"type": "size_mult", "value": 1.2})

    assert decide(facts(model_p=0.9), config(bigger)).size_mult == 1.2
    assert decide(facts(model_p=0.5, health_size_mult=0.8), config(bigger)).size_mult == pytest.approx(0.48)


def test_an_expensive_book_asks_for_finer_slices() -> None:
    limits = Limits(planned_notional_usdt=4_000.0)
    thin = facts(features={"spread_bps": 2.0, "depth_top1_usdt": 400.0})

    # Half of 2 bps for each of the ten first levels that it needs are 10 bps, and 8 are allowed.
    assert decide(thin, config(limits=limits)).slices == 2
    assert decide(FACTS, config(limits=limits)).slices == 1


def test_the_same_facts_give_the_same_decision() -> None:
    assert decide(FACTS, config()) == decide(facts(), config())


def test_the_trail_is_plain_json_and_holds_every_gate() -> None:
    for found in (decide(FACTS, config()), decide(facts(model_p=nan, drawdown_ratio=nan), config())):
        trail = json.loads(json.dumps(trail_of(found), allow_nan=False))

        assert len(trail["gates"]) == len(found.gates)
        assert (trail["plan"] is None) is (found.plan is None)


numbers = st.one_of(st.none(), st.floats(), st.sampled_from([nan, inf, -inf, 0.0, -1.0]))


@given(
    features=st.dictionaries(
        st.sampled_from(["mid", "spread_bps", "depth_top1_usdt", "atr_14", "funding_next", "xmkt_signal"]), numbers
    ),
    model_p=numbers,
    health_size_mult=st.floats(),
    health_level=st.one_of(st.none(), st.sampled_from(HealthLevel)),
    daily_loss_usdt=numbers,
    drawdown_ratio=numbers,
    budget=st.one_of(st.none(), st.decimals("0", "700", places=2)),
    hint=st.one_of(st.none(), st.sampled_from(Side)),
)
def test_no_market_and_no_model_makes_the_decision_fail(
    features: dict[str, float | None],
    model_p: float | None,
    health_size_mult: float,
    health_level: HealthLevel | None,
    daily_loss_usdt: float | None,
    drawdown_ratio: float | None,
    budget: Decimal | None,
    hint: Side | None,
) -> None:
    found = decide(
        facts(
            features=features,
            model_p=model_p,
            health_size_mult=health_size_mult,
            health_level=health_level,
            daily_loss_usdt=daily_loss_usdt,
            drawdown_ratio=drawdown_ratio,
            budget_used_usdt=budget,
            side_hint=hint,
        ),
        config(),
    )

    assert found.opens == (found.reason is Reason.OK) == (found.plan is not None)
    if found.opens:
        assert all(gate.passed for gate in found.gates)
        assert 0.0 < found.size_mult <= 1.2
    json.dumps(trail_of(found), allow_nan=False)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"daily_loss_usdt": -inf}, id="a loss of minus infinity"),
        pytest.param({"drawdown_ratio": -inf}, id="a drawdown of minus infinity"),
        pytest.param({"daily_loss_base_usdt": inf}, id="a limit without end"),
        pytest.param({"bid": Decimal(65_500), "ask": Decimal(65_400)}, id="a crossed market"),
        pytest.param({"bid": Decimal(0), "ask": Decimal(0)}, id="no price"),
        pytest.param({"bid": Decimal("NaN"), "ask": Decimal("NaN")}, id="prices that are none"),
        pytest.param({"features": {"spread_bps": -5.0}}, id="a negative spread"),
        pytest.param({"features": {"mid": -1.0}}, id="a negative price"),
        pytest.param({"features": {"spread_bps": "wide"}}, id="a word for a number"),
        pytest.param({"features": {"xmkt_signal": "up"}}, id="a word for the signal"),
        pytest.param({"feature_age_ms": -(10**9)}, id="features of the future"),
    ],
)
def test_nonsense_opens_nothing_and_does_not_raise(bad: dict[str, Any]) -> None:
    found = decide(facts(**bad), config())

    assert not found.opens
    json.dumps(trail_of(found), allow_nan=False)


def test_a_clock_that_is_a_little_behind_does_not_refuse() -> None:
    assert decide(facts(feature_age_ms=-20), config()).opens


def test_futures_without_the_exchanges_brackets_are_refused() -> None:
    found = decide(facts(instrument=replace(FACTS.instrument, brackets=())), config())

    assert (found.reason, found.detail) == (Reason.GATE, "NO_BRACKETS")
