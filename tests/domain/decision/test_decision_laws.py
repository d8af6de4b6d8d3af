"""What no bundle, no rule and no market can do to a decision: laws over the whole of `decide`."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from chimera.contracts.enums import HealthLevel, Market, Side, SideMode
from chimera.domain.decision.decide import Decision, DecisionConfig, decide
from chimera.domain.decision.facts import Facts
from chimera.domain.decision.gates import Limits
from chimera.domain.decision.rules import MULT_RANGES, SIZE_MULT_RANGE, SL_MULT_RANGE, TP_MULT_RANGE
from chimera.domain.decision.sizing import SizingParams
from tests.domain.builders import BTC_FUT, BTC_SPOT
from tests.domain.decision.worlds import config, facts, mostly, rule

D = Decimal
FACTORS = ("spread_bps", "depth_top1_usdt", "atr_14", "funding_next", "rv_1d", "rho_usdttwd_14")


@st.composite
def worlds(draw: st.DrawFn) -> Facts:
    """Facts of which about half open something."""
    changed = facts(
        side_hint=draw(mostly(None, Side.BUY, or_else=st.just(Side.SELL))),
        model_p=draw(mostly(None, 0.65, 0.9, 0.5, or_else=st.floats(0.3, 1.0))),
        health_level=draw(st.sampled_from([HealthLevel.GREEN, HealthLevel.ORANGE])),
        health_size_mult=draw(st.sampled_from([1.0, 1.0, 0.8, 0.5])),
        health_age_ms=draw(mostly(0, 100_000, or_else=st.integers(0, 200_000))),
        feature_age_ms=draw(mostly(0, 2_000, or_else=st.integers(0, 6_000))),
        minutes_since_stop_out=draw(mostly(None, 600.0, or_else=st.floats(0, 100))),
        budget_used_usdt=draw(mostly(D(0), D(100), or_else=st.decimals("0", "600", places=2))),
        concurrency=draw(mostly(0, 1, or_else=st.just(2))),
        daily_loss_usdt=draw(mostly(0.0, 2.0, or_else=st.floats(0, 8.0))),
        drawdown_ratio=draw(mostly(0.0, 0.04, or_else=st.floats(0, 0.2))),
        features={
            "spread_bps": draw(mostly(0.02, 0.4, or_else=st.floats(0, 4.0))),
            "depth_top1_usdt": draw(mostly(5_000.0, 1e6, or_else=st.floats(50, 5_000))),
            "atr_14": draw(mostly(100.0, 350.0, or_else=st.floats(0, 2_000))),
            "funding_next": draw(mostly(0.0001, -0.0002, or_else=st.floats(-0.0006, 0.0006))),
            "rv_1d": draw(st.floats(0, 2)),
            "rho_usdttwd_14": draw(st.floats(-1, 1)),
            "xmkt_signal": draw(mostly(1.0, or_else=st.sampled_from([-1.0, 0.0]))),
        },
    )
    return replace(changed, instrument=draw(st.sampled_from([BTC_FUT, BTC_SPOT])))


leaves = st.one_of(
    st.builds(
        lambda f, op, v: {"f": f, "op": op, "v": v},
        st.sampled_from(["rv_1d", "rho_usdttwd_14", "spread_bps"]),
        st.sampled_from(["<", "<=", ">", ">="]),
        st.floats(-1, 2),
    ),
    st.just({"f": "spread_bps", "op": ">=", "v": 0}),
)
multipliers = st.one_of(
    *(
        st.builds(lambda kind, value: {"type": kind, "value": value}, st.just(kind), st.floats(*bounds))
        for kind, bounds in MULT_RANGES.items()
    )
)
actions = st.one_of(
    multipliers,
    multipliers,
    multipliers,
    multipliers,
    st.sampled_from([True, False, False, False]).map(lambda skips: {"type": "skip_entry", "value": skips}),
    st.integers(0, 2).map(lambda adds: {"type": "max_adds_override", "value": adds}),
)


@st.composite
def rule_lists(draw: st.DrawFn, least: int = 1, most: int = 6) -> list[dict[str, Any]]:
    return [
        rule(f"R-{number:03}", priority=draw(st.integers(0, 2)), when=draw(leaves), action=draw(actions))
        for number in range(draw(st.integers(least, most)))
    ]


limit_sets = st.builds(
    Limits,
    max_funding_abs=st.sampled_from([0.0005, 0.0003]),
    spread_bp_limit=mostly(3.0, or_else=st.floats(0.01, 3.0)),
    depth_top1_usdt_min=mostly(200.0, or_else=st.floats(100, 1_000)),
    slip_bp_max=st.sampled_from([0.1, 8.0]),
    slip_bp_hard=mostly(24.0, or_else=st.just(0.15)),
    budget_usdt_max=mostly(D(600), D(200), or_else=st.decimals("10", "60", places=2)),
)


def told(found: Decision) -> Decision:
    event("opens" if found.opens else "skips")
    return found


@settings(max_examples=400)
@given(seen=worlds(), rules=rule_lists(), limits=limit_sets, mode=st.sampled_from(SideMode), order=st.randoms())
def test_the_order_in_which_rules_are_stored_changes_nothing(
    seen: Facts, rules: list[dict[str, Any]], limits: Limits, mode: SideMode, order: Any
) -> None:
    shuffled = list(rules)
    order.shuffle(shuffled)

    found = told(decide(seen, config(*rules, limits=limits, side_mode=mode)))

    assert decide(seen, config(*shuffled, limits=limits, side_mode=mode)) == found


@settings(max_examples=400)
@given(seen=worlds(), rules=rule_lists(), limits=limit_sets, when=leaves, priority=st.integers(-1, 3))
def test_one_more_skip_rule_opens_nothing(
    seen: Facts, rules: list[dict[str, Any]], limits: Limits, when: dict[str, Any], priority: int
) -> None:
    one_more = [*rules, rule("R-NEW", priority=priority, when=when, action={"type": "skip_entry", "value": True})]

    before, after = decide(seen, config(*rules, limits=limits)), told(decide(seen, config(*one_more, limits=limits)))

    assert before.opens or not after.opens
    if after.opens:
        # It did not fire, so that nothing else has changed either.
        assert after == before


@settings(max_examples=400)
@given(seen=worlds(), rules=rule_lists(), gone=st.sets(st.sampled_from(FACTORS), min_size=1))
def test_what_is_not_known_any_more_opens_nothing(seen: Facts, rules: list[dict[str, Any]], gone: set[str]) -> None:
    left = {name: value for name, value in seen.quote.features.items() if name not in gone}
    poorer = replace(seen, quote=replace(seen.quote, features=left))

    before, after = decide(seen, config(*rules)), told(decide(poorer, config(*rules)))

    assert before.opens or not after.opens
    if after.opens:
        assert after == before


TIGHTER: dict[str, Callable[[Limits, float], Limits]] = {
    "max_feature_age_ms": lambda limits, by: replace(limits, max_feature_age_ms=int(5_000 * by)),
    "health_age_ms_max": lambda limits, by: replace(limits, health_age_ms_max=int(180_000 * by)),
    "max_funding_abs": lambda limits, by: replace(limits, max_funding_abs=limits.max_funding_abs * by),
    "spread_bp_limit": lambda limits, by: replace(limits, spread_bp_limit=limits.spread_bp_limit * by),
    "depth_top1_usdt_min": lambda limits, by: replace(limits, depth_top1_usdt_min=limits.depth_top1_usdt_min / by),
    "slip_bp_hard": lambda limits, by: replace(limits, slip_bp_hard=limits.slip_bp_hard * by),
    "max_entries_per_signal": lambda limits, by: replace(limits, max_entries_per_signal=0),
    "cooldown_min": lambda limits, by: replace(limits, cooldown_min=limits.cooldown_min / by),
    "concurrent_entries_per_market": lambda limits, by: replace(limits, concurrent_entries_per_market=1),
    "daily_loss_usdt_max": lambda limits, by: replace(limits, daily_loss_usdt_max=limits.daily_loss_usdt_max * by),
    "drawdown_pct_max": lambda limits, by: replace(limits, drawdown_pct_max=limits.drawdown_pct_max * by),
    "spot_multi_symbols": lambda limits, by: replace(limits, spot_multi_symbols=False),
    "planned_notional_usdt": lambda limits, by: replace(limits, planned_notional_usdt=400.0 / by),
    "budget_usdt_max": lambda limits, by: replace(
        limits, budget_usdt_max=(limits.budget_usdt_max * D(repr(by))).quantize(D("0.01"))
    ),
}


@pytest.mark.parametrize("name", TIGHTER)
@settings(max_examples=120)
@given(seen=worlds(), limits=limit_sets, by=st.floats(0.05, 1.0))
def test_a_tighter_limit_opens_nothing(name: str, seen: Facts, limits: Limits, by: float) -> None:
    before = decide(seen, config(limits=limits))
    after = told(decide(seen, config(limits=TIGHTER[name](limits, by))))

    assert before.opens or not after.opens


WORSE: dict[str, Callable[[Facts, float], Facts]] = {
    "spread": lambda seen, by: _with(seen, "spread_bps", lambda value: value / by),
    "depth": lambda seen, by: _with(seen, "depth_top1_usdt", lambda value: value * by),
    "funding": lambda seen, by: _with(seen, "funding_next", lambda value: value / by),
    "budget": lambda seen, by: replace(
        seen,
        exposure=replace(seen.exposure, budget_used_usdt=(seen.exposure.budget_used_usdt or D(0)) + int(600 * by)),
    ),
    "concurrency": lambda seen, by: replace(
        seen, exposure=replace(seen.exposure, concurrency=(seen.exposure.concurrency or 0) + 1)
    ),
    "loss": lambda seen, by: replace(
        seen, exposure=replace(seen.exposure, daily_loss_usdt=(seen.exposure.daily_loss_usdt or 0.0) + 1 / by)
    ),
    "drawdown": lambda seen, by: replace(
        seen, exposure=replace(seen.exposure, drawdown_ratio=(seen.exposure.drawdown_ratio or 0.0) + by / 10)
    ),
    "age": lambda seen, by: replace(
        seen, quote=replace(seen.quote, feature_age_ms=(seen.quote.feature_age_ms or 0) + int(5_000 * by))
    ),
}


def _with(seen: Facts, factor: str, worse: Callable[[float], float]) -> Facts:
    features = {**seen.quote.features, factor: worse(seen.quote.features[factor])}
    return replace(seen, quote=replace(seen.quote, features=features))


@pytest.mark.parametrize("name", WORSE)
@settings(max_examples=120)
@given(seen=worlds(), limits=limit_sets, by=st.floats(0.05, 1.0))
def test_a_worse_market_or_account_opens_nothing(name: str, seen: Facts, limits: Limits, by: float) -> None:
    before = decide(seen, config(limits=limits))
    after = told(decide(WORSE[name](seen, by), config(limits=limits)))

    assert before.opens or not after.opens


@settings(max_examples=400)
@given(seen=worlds(), rules=rule_lists(most=12), limits=limit_sets)
def test_no_pile_of_rules_moves_a_multiplier_out_of_its_bounds(
    seen: Facts, rules: list[dict[str, Any]], limits: Limits
) -> None:
    settings_: DecisionConfig = config(*rules, limits=limits)
    found = told(decide(seen, settings_))

    assert TP_MULT_RANGE[0] <= found.tp_mult <= TP_MULT_RANGE[1]
    assert SL_MULT_RANGE[0] <= found.sl_mult <= SL_MULT_RANGE[1]
    assert 0.0 <= found.size_mult <= 1.2
    if not found.opens:
        return
    assert found.plan is not None
    # Rules, then the model, then health: the least of each is the least of all.
    assert found.size_mult >= SIZE_MULT_RANGE[0] * 0.5 * 0.5
    base = SizingParams()
    if seen.instrument.market is Market.FUT:
        assert found.plan.margin_usdt <= D("1.05") * D("1.2") * base.margin_base_usdt
    else:
        assert found.plan.margin_usdt <= D("1.2") * base.spot_quote_usdt
    used = seen.exposure.budget_used_usdt
    assert used is not None
    assert used + found.plan.reserve_usdt <= limits.budget_usdt_max
