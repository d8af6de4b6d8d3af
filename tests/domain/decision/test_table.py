"""The decision as a table says of every row what the decision itself says."""

from dataclasses import replace
from decimal import Decimal
from math import isnan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.contracts.enums import Market, Side, SideMode
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.decision.decide import Decision, DecisionConfig, decide
from chimera.domain.decision.facts import Facts, Quote
from chimera.domain.decision.gates import Limits, gates
from chimera.domain.decision.rules import compile_rules
from chimera.domain.decision.sizing import SizingParams
from chimera.domain.decision.sizing_table import E8
from chimera.domain.decision.table import DecisionTable, SignalTable, decide_table
from chimera.domain.exact import exact
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.listing import listed
from tests.domain.builders import BTC_FUT, BTC_SPOT
from tests.domain.decision.worlds import CONTROLS, EXPOSURE, FACTS, parsed, rule

FACTORS = ("mid", "spread_bps", "depth_top1_usdt", "atr_14", "funding_next", "xmkt_signal", "rv_1d")
ETH_FUT = listed(InstrumentKey(Market.FUT, "ETHUSDT"))

RULES = tuple(
    {**each, "applies": {"symbols": [], "services": []}}
    for each in (
        rule("R-1", priority=1, when={"f": "rv_1d", "op": ">", "v": 0.9}, action={"type": "skip_entry", "value": True}),
        rule(
            "R-2", priority=2, when={"f": "spread_bps", "op": ">", "v": 1.5}, action={"type": "size_mult", "value": 0.8}
        ),
        rule("R-3", priority=3, when={"f": "rv_1d", "op": "<", "v": 0.3}, action={"type": "size_mult", "value": 1.2}),
        rule(
            "R-4",
            priority=4,
            when={"anyOf": [{"f": "rv_1d", "op": "<=", "v": 0.2}, {"not": {"f": "xmkt_signal", "op": ">=", "v": 0}}]},
            action={"type": "tp_mult", "value": 1.5},
        ),
        rule("R-5", priority=5, when={"f": "rv_1d", "op": ">=", "v": 0.6}, action={"type": "sl_mult", "value": 1.3}),
    )
)
ACCOUNT = {
    "KILL_SWITCH": ("controls", "kill_switch_on"),
    "WINDOW": ("controls", "window_open"),
    "OPEN_POSITION": ("exposure", "open_position"),
    "UNFINISHED_INTENT": ("exposure", "unfinished_intents"),
    "CONCURRENCY": ("exposure", "concurrency"),
    "DAILY_LOSS": ("exposure", "daily_loss_usdt"),
    "DRAWDOWN": ("exposure", "drawdown_ratio"),
    "BUDGET": ("exposure", "budget_used_usdt"),
}


def config_of(
    instrument: Instrument, *rules: dict[str, Any], limits: Limits | None = None, **sizing: Any
) -> DecisionConfig:
    return DecisionConfig(
        limits=limits or Limits(),
        rules=compile_rules(parsed(*rules), symbol=instrument.symbol),
        sizing=SizingParams(**sizing),
        rev=3,
    )


def row_of(table: SignalTable, i: int, instrument: Instrument, fee: Decimal) -> Facts:
    """The same moment as `decide` is asked about it."""
    features = {name: float(column[i]) for name, column in table.columns.items() if not isnan(column[i])}
    parts: dict[str, dict[str, Any]] = {"controls": {}, "exposure": {}}
    for code, column in table.account.items():
        part, name = ACCOUNT[code]
        value: Any = None if isnan(column[i]) else float(column[i])
        if value is not None and code in ("KILL_SWITCH", "WINDOW", "OPEN_POSITION"):
            value = bool(value)
        if value is not None and code == "BUDGET":
            value = exact(value)
        parts[part][name] = value
    if table.health_size_mult is not None:
        parts["controls"]["health_size_mult"] = float(table.health_size_mult[i])
    p = table.model_p if isinstance(table.model_p, float | None) else float(table.model_p[i])
    hint = 0 if table.hint is None else int(table.hint[i])
    age = 0 if table.feature_age_ms is None else table.feature_age_ms[i]
    return replace(
        FACTS,
        instrument=instrument,
        controls=replace(CONTROLS, **parts["controls"]),
        exposure=replace(EXPOSURE, **parts["exposure"]),
        quote=Quote(
            bid=exact(float(table.bid[i])),
            ask=exact(float(table.ask[i])),
            features=features,
            feature_age_ms=None if isnan(age) else int(age),
        ),
        taker_fee_ratio=fee,
        model_p=None if p is None or isnan(p) else p,
        side_hint=None if hint == 0 else Side.BUY if hint > 0 else Side.SELL,
    )


def assert_alike(found: DecisionTable, i: int, wanted: Decision, instrument: Instrument) -> None:
    assert (found.reason(i), found.detail(i)) == (wanted.reason, wanted.detail)
    assert bool(found.opens[i]) is wanted.opens
    sign = 0 if wanted.side is None else wanted.side.sign
    assert found.side[i] == sign
    if wanted.rules is not None:
        assert (found.size_mult[i], found.tp_mult[i], found.sl_mult[i]) == (
            wanted.size_mult,
            wanted.tp_mult,
            wanted.sl_mult,
        )
    assert bool(found.asked[i]) is (wanted.rules is not None)
    assert tuple(name for name, fired in found.rule_fired.items() if fired[i]) == wanted.rules_fired
    if wanted.plan is not None:
        assert found.plans is not None
        k = found.opened_at.tolist().index(i)
        plans = found.plans
        assert plans.qty_steps[k] * instrument.step_size == wanted.plan.qty
        assert Decimal(int(plans.stop_distance[k])) / E8 == wanted.plan.stop_distance
        assert Decimal(int(plans.stop_price[k])) / E8 == wanted.plan.stop_price
        assert Decimal(int(plans.tp_price[k])) / E8 == wanted.plan.tp_price


def compare(table: SignalTable, config: DecisionConfig, instrument: Instrument, fee: Decimal) -> DecisionTable:
    found = decide_table(table, config, instrument, fee)
    for i in range(len(table)):
        assert_alike(found, i, decide(row_of(table, i, instrument, fee), config), instrument)
    return found


def random_table(seed: int, n: int, instrument: Instrument, *, price: float, messy: bool) -> SignalTable:
    """Rows round about every limit. `messy`: figures are missing, and an account that forbids this and that."""
    chance = np.random.default_rng(seed)

    def pick(values: list[Any], shares: list[float] | None = None) -> Any:
        return chance.choice(values, n, p=shares)

    tick = float(instrument.tick_size)
    ticks = np.rint(price * np.exp(chance.normal(0.0, 0.05, n)) / tick)
    spread_ticks = chance.integers(0, 4, n)
    bid, ask = np.round(ticks * tick, 8), np.round((ticks + spread_ticks) * tick, 8)
    columns = {
        "mid": (bid + ask) / 2,
        "spread_bps": pick([0.0, 0.5, 1.5, 1.6, 3.0, np.nextafter(3.0, 4), 5.0], [0.3, 0.3, 0.1, 0.1, 0.1, 0.05, 0.05]),
        "depth_top1_usdt": pick([50_000.0, 300.0, 200.0, np.nextafter(200.0, 0), 10.0], [0.7, 0.1, 0.1, 0.05, 0.05]),
        "atr_14": price * np.exp(chance.normal(-5.0, 1.5, n)),
        "funding_next": pick([0.0001, -0.0005, 0.0005, 0.00051], [0.7, 0.1, 0.1, 0.1]),
        "xmkt_signal": pick([1.0, -1.0, 0.0], [0.45, 0.45, 0.1]),
        "rv_1d": pick([0.1, 0.2, 0.25, 0.5, 0.6, 0.95]),
    }
    account: dict[str, Any] = {}
    health = age = hint = None
    model_p: Any = 0.65
    if messy:
        for name in FACTORS:
            columns[name] = np.where(chance.random(n) < 0.02, np.nan, columns[name])
        columns["rv_1d"] = np.where(chance.random(n) < 0.01, np.inf, columns["rv_1d"])
        columns["spread_bps"] = np.where(chance.random(n) < 0.01, -5.0, columns["spread_bps"])
        bid = np.where(chance.random(n) < 0.01, 0.0, bid)
        ask = np.where(chance.random(n) < 0.01, bid - tick, ask)
        account = {
            "KILL_SWITCH": pick([0.0, 1.0, np.nan], [0.97, 0.02, 0.01]),
            "WINDOW": pick([1.0, 0.0], [0.98, 0.02]),
            "OPEN_POSITION": pick([0.0, 1.0], [0.97, 0.03]),
            "UNFINISHED_INTENT": pick([0.0, 1.0], [0.98, 0.02]),
            "CONCURRENCY": pick([0.0, 1.0, 2.0], [0.7, 0.28, 0.02]),
            "DAILY_LOSS": pick([0.0, -3.0, 5.999999, 6.0, np.nan, -np.inf], [0.6, 0.2, 0.16, 0.02, 0.01, 0.01]),
            "DRAWDOWN": pick([0.0, 0.0999, 0.10], [0.8, 0.18, 0.02]),
            "BUDGET": pick([0.0, 560.0, 579.5, 579.7, 590.0, 600.0], [0.6, 0.1, 0.1, 0.1, 0.08, 0.02]),
        }
        health = pick([1.0, 0.8, 0.5, 0.0], [0.7, 0.15, 0.13, 0.02])
        age = pick([0.0, 4_999.0, 5_000.0, 5_001.0, np.nan, -6_000.0, -20.0], [0.6, 0.2, 0.15, 0.02, 0.01, 0.01, 0.01])
        hint = pick([0, 1, -1], [0.8, 0.1, 0.1]).astype(np.int8)
        model_p = pick([np.nan, 0.9, 0.85, 0.6, 0.5, 0.4, 0.39, 1.0, 0.0, 1.5, -0.1])
    return SignalTable(
        t0=np.arange(n, dtype=np.int64) * 60_000,
        columns=columns,
        bid=bid,
        ask=ask,
        account=account,
        health_size_mult=health,
        feature_age_ms=age,
        model_p=model_p,
        hint=hint,
    )


CASES = [
    pytest.param(BTC_FUT, 65_400.0, Decimal("0.0005"), id="BTC FUT"),
    pytest.param(ETH_FUT, 3_210.0, Decimal("0.0005"), id="ETH FUT"),
    pytest.param(BTC_SPOT, 65_400.0, Decimal("0.001"), id="BTC SPOT"),
]


@pytest.mark.parametrize(("instrument", "price", "fee"), CASES)
@given(seed=st.integers(0, 2**32 - 1), messy=st.booleans())
@settings(max_examples=15)
def test_every_row_is_decided_as_the_decision_itself_does(
    instrument: Instrument, price: float, fee: Decimal, seed: int, messy: bool
) -> None:
    table = random_table(seed, 120, instrument, price=price, messy=messy)
    compare(table, config_of(instrument, *RULES), instrument, fee)


@pytest.mark.parametrize(("instrument", "price", "fee"), CASES)
def test_what_was_tried_holds_every_outcome(instrument: Instrument, price: float, fee: Decimal) -> None:
    """The property above says little unless its rows reach the far ends."""
    table = random_table(7, 6_000, instrument, price=price, messy=True)
    found = compare(table, config_of(instrument, *RULES), instrument, fee)
    details = {detail for _, detail in found.count()}
    wanted = {
        "OK",
        "KILL_SWITCH",
        "WINDOW",
        "STALE",
        "FACTOR_MISSING",
        "SPREAD",
        "DEPTH",
        "OPEN_POSITION",
        "DAILY_LOSS",
    }
    wanted |= {"DRAWDOWN", "CONCURRENCY", "NO_SIGNAL", "R-1", "MODEL_INVALID", "P_TOO_LOW", "SIZE_ZERO"}
    assert wanted <= details
    assert ("FUNDING" in details) is (instrument.market is Market.FUT)
    assert ("SPOT_BUY_ONLY" in details) is (instrument.market is Market.SPOT)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"max_loss_usdt": Decimal(40)}, id="liquidation is near"),
        pytest.param({"max_loss_usdt": Decimal("0.001")}, id="stop too close"),
        pytest.param({"margin_base_usdt": Decimal("0.2")}, id="too small"),
        pytest.param({"margin_base_usdt": Decimal(650)}, id="beyond the budget"),
        pytest.param({"leverage_default": 7, "atr_mult": Decimal("0.3")}, id="another leverage"),
        pytest.param({"min_exit_net_pct": Decimal("0.35")}, id="a far target"),
    ],
)
def test_other_sizes_and_stops(changes: dict[str, Any]) -> None:
    for seed, (instrument, price) in enumerate(((BTC_FUT, 65_400.0), (ETH_FUT, 3_210.0))):
        table = random_table(seed, 400, instrument, price=price, messy=False)
        compare(table, config_of(instrument, *RULES, **changes), instrument, Decimal("0.0005"))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"spot_tp_bps": Decimal(120), "spot_sl_bps": Decimal(80)}, id="fixed distances"),
        pytest.param({"spot_sl_bps": Decimal(9_999)}, id="a stop at the bottom"),
        pytest.param({"spot_quote_usdt": Decimal(3)}, id="too small"),
        pytest.param({"spot_quote_usdt": Decimal(2_500)}, id="beyond the budget"),
    ],
)
def test_other_spot_sizes(changes: dict[str, Any]) -> None:
    table = random_table(3, 400, BTC_SPOT, price=65_400.0, messy=False)
    compare(table, config_of(BTC_SPOT, *RULES, **changes), BTC_SPOT, Decimal("0.001"))


def test_round_numbers_where_doubles_fail_are_settled_exactly() -> None:
    """1.2 / 0.006 is 200 and in doubles it is a hair less: a stop would be a tick off."""
    n = 200
    ones = np.ones(n)
    bid = 65_000.0 + np.arange(n) * 0.1
    bid = np.round(bid, 1)
    table = SignalTable(
        t0=np.arange(n, dtype=np.int64),
        columns={**{name: ones * value for name, value in FACTS.quote.features.items()}, "atr_14": ones * 5_000.0},
        bid=bid,
        ask=np.round(bid + 0.1, 1),
        model_p=0.65,
    )
    found = compare(table, config_of(BTC_FUT, rule()), BTC_FUT, Decimal("0.0005"))
    assert found.opens.all()


def test_sides_fade_and_no_rules() -> None:
    table = random_table(1, 200, BTC_FUT, price=65_400.0, messy=False)
    fading = replace(config_of(BTC_FUT, *RULES), side_mode=SideMode.FADE)
    compare(table, fading, BTC_FUT, Decimal("0.0005"))
    found = compare(table, config_of(BTC_FUT), BTC_FUT, Decimal("0.0005"))
    assert "NO_ENABLED_RULE" in {detail for _, detail in found.count()}


def test_a_factor_that_is_not_enabled_and_one_without_a_column_refuse() -> None:
    table = random_table(1, 50, BTC_FUT, price=65_400.0, messy=False)
    not_enabled = replace(
        config_of(BTC_FUT), rules=compile_rules(parsed(*RULES), symbol="BTCUSDT", enabled_factors=["spread_bps"])
    )
    assert not compare(table, not_enabled, BTC_FUT, Decimal("0.0005")).opens.any()
    bare = replace(table, columns={name: each for name, each in table.columns.items() if name != "rv_1d"})
    assert not compare(bare, config_of(BTC_FUT, *RULES), BTC_FUT, Decimal("0.0005")).opens.any()
    of_model = replace(config_of(BTC_FUT, rule()), model_factors=("rv_1d",))
    assert not compare(bare, of_model, BTC_FUT, Decimal("0.0005")).opens.any()


def test_futures_without_brackets_open_nothing_in_either_form() -> None:
    bare = replace(BTC_FUT, brackets=())
    table = random_table(1, 50, bare, price=65_400.0, messy=False)
    assert "NO_BRACKETS" in {detail for _, detail in compare(table, config_of(bare, *RULES), bare, Decimal(0)).count()}


def test_an_empty_table_is_decided() -> None:
    none = np.empty(0)
    table = SignalTable(t0=np.empty(0, dtype=np.int64), columns={}, bid=none, ask=none)
    found = decide_table(table, config_of(BTC_FUT, *RULES), BTC_FUT, Decimal("0.0005"))
    assert found.count() == {}
    assert len(found.opens) == 0


def test_each_gate_of_an_account_can_be_given_as_a_column() -> None:
    """A gate that the table would not know under its code would pass in silence."""
    for instrument in (BTC_FUT, BTC_SPOT):
        known = [gate.code for gate in gates(replace(FACTS, instrument=instrument), Limits(), 0)]
        for code in known:
            if code in ("STALE", "FACTOR_MISSING", "FUNDING", "SPREAD", "DEPTH", "SLIPPAGE"):
                continue
            table = random_table(1, 5, instrument, price=65_400.0, messy=False)
            unknown = replace(table, account={code: np.full(5, np.nan)})
            found = decide_table(unknown, config_of(instrument, rule()), instrument, Decimal("0.0005"))
            assert code in {detail for _, detail in found.count()}
            assert not found.opens.any()


def test_an_account_column_that_is_no_gate_is_refused() -> None:
    table = replace(random_table(1, 5, BTC_SPOT, price=65_400.0, messy=False), account={"DAYLY_LOSS": np.zeros(5)})
    with pytest.raises(ValueError, match="account: 'DAYLY_LOSS' is no gate of SPOT"):
        decide_table(table, config_of(BTC_SPOT, *RULES), BTC_SPOT, Decimal("0.001"))
