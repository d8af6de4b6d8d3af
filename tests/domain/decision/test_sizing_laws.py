"""What holds for every plan, whatever the instrument, the price, the fee and the bundle: all of it counted again here
from fills and fees, in Decimal, by nothing that sizing itself uses."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from hypothesis import event, given, settings
from hypothesis import strategies as st

from chimera.contracts.enums import Market, Reason, Side
from chimera.domain.decision.sizing import Ask, Plan, Refusal, SizingParams, size
from chimera.domain.market.instrument import Bracket, Instrument
from tests.domain.decision.worlds import mostly

D = Decimal
PLACE = D("1e-8")
"""Money is kept to eight places."""
FEES = ("0", "0.0001", "0.0002", "0.0004", "0.00045", "0.0005", "0.00075", "0.001", "0.002")


def decimals(low: str, high: str, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(low, high, places=places, allow_nan=False, allow_infinity=False)


def floats(low: str, high: str) -> st.SearchStrategy[float]:
    """As they are written in a bundle: a few digits, which a float holds exactly enough to be read again."""
    return decimals(low, high, 4).map(float)


@st.composite
def brackets(draw: st.DrawFn) -> tuple[Bracket, ...]:
    made: list[Bracket] = []
    floor, cum, ratio_before = D(0), D(0), D(0)
    leverages = draw(st.sampled_from([(125, 75, 20), (50, 10), (20, 5, 2), (8,), (75, 25)]))
    for number, leverage in enumerate(leverages, start=1):
        cap = floor + draw(st.sampled_from([D(50_000), D(2_000), D(300), D(10_000_000)]))
        # Half of the initial margin, as the exchange has it in its first tiers.
        ratio = D(1) / (2 * leverage)
        cum += floor * (ratio - ratio_before)
        made.append(
            Bracket(
                bracket=number,
                initial_leverage=leverage,
                notional_floor=floor,
                notional_cap=cap,
                maint_margin_ratio=ratio,
                cum=cum,
            )
        )
        floor, ratio_before = cap, ratio
    return tuple(made)


@st.composite
def asks(draw: st.DrawFn, market: Market) -> Ask:
    """An instrument of which a step costs from a cent to thirty dollars, and what is asked of it."""
    price = draw(decimals("0.5", "120000", 4))
    step = D(10) ** (draw(st.sampled_from([0, -1, 1, -2])) - int(price.log10()))
    tick = draw(st.sampled_from([D(1), D("0.1"), D(5)])) * D(10) ** (int(price.log10()) - 5)
    price = (price / tick).to_integral_value() * tick
    futures = market is Market.FUT
    tiers = draw(brackets()) if futures else ()
    instrument = Instrument(
        market=market,
        symbol="XYZUSDT",
        base_asset="XYZ",
        quote_asset="USDT",
        tick_size=tick,
        step_size=step,
        min_qty=step * draw(mostly(1, or_else=st.integers(2, 50))),
        max_qty=step * 10**9,
        market_step=step,
        market_max_qty=step * draw(mostly(10**8, or_else=st.integers(1, 1_000))),
        min_notional=D(draw(st.sampled_from([5, 20, 50]))),
        percent_up=D("1.05"),
        percent_down=D("0.95"),
        max_leverage=tiers[0].initial_leverage if tiers else 1,
        brackets=tiers,
    )
    distance = draw(mostly(D("0.004"), D("0.0012"), D("0.02"), or_else=decimals("0", "0.1", 6)))
    return Ask(
        instrument=instrument,
        side=draw(st.sampled_from(Side)) if futures else Side.BUY,
        entry_price=price,
        spread=tick * draw(mostly(1, 3, or_else=st.integers(0, 2_000))),
        atr=float((price * distance).quantize(D("1e-6"))),
        size_mult=draw(mostly(1.0, 0.8, 1.2, or_else=floats("0.05", "1.2"))),
        tp_mult=draw(floats("0.5", "1.5")),
        sl_mult=draw(floats("0.8", "2.5")),
        free_budget_usdt=draw(mostly(D(2_000), D("123.456789"), or_else=decimals("0.01", "200", 8))),
        taker_fee_ratio=D(draw(st.sampled_from(FEES))),
    )


@st.composite
def bundles(draw: st.DrawFn) -> SizingParams:
    fixed = draw(st.booleans())
    return SizingParams(
        margin_base_usdt=draw(st.sampled_from([D(20), D(35), D("7.5"), D(150)])),
        leverage_default=draw(st.sampled_from([20, 10, 75])),
        max_loss_usdt=draw(st.sampled_from([D("1.2"), D("2.35"), D(9)])),
        atr_mult=draw(decimals("0.5", "4", 2)),
        min_exit_net_pct=draw(st.sampled_from([D("0.10"), D(0), D("0.137")])),
        spot_quote_usdt=draw(st.sampled_from([D(50), D(110), D("23.7"), D(700)])),
        spot_tp_net_pct=draw(st.sampled_from([D("0.01"), D("0.0333"), D(0)])),
        spot_tp_bps=draw(decimals("1", "500", 1)) if fixed else D(0),
        spot_sl_bps=draw(decimals("1", "500", 1)) if fixed else D(0),
    )


@dataclass(frozen=True)
class Fill:
    """One side of a round trip, as an exchange books it."""

    side: Side
    price: Decimal
    qty: Decimal
    fee_ratio: Decimal

    @property
    def cash_usdt(self) -> Decimal:
        return -self.side.sign * self.price * self.qty - self.price * self.qty * self.fee_ratio


def net_usdt(ask: Ask, plan: Plan, exit_price: Decimal) -> Decimal:
    """What the account gained by entering at the reference price and closing everything at `exit_price`."""
    entry = Fill(ask.side, ask.entry_price, plan.qty, ask.taker_fee_ratio)
    closing = Side.SELL if ask.side is Side.BUY else Side.BUY
    return entry.cash_usdt + Fill(closing, exit_price, plan.qty, ask.taker_fee_ratio).cash_usdt


def told(found: Plan | Refusal) -> Plan | None:
    event(found.detail if isinstance(found, Refusal) else "a plan")
    return found if isinstance(found, Plan) else None


@settings(max_examples=600)
@given(ask=asks(Market.FUT), params=bundles())
def test_a_futures_size_stays_within_plan_budget_and_what_the_exchange_trades(ask: Ask, params: SizingParams) -> None:
    plan = told(size(ask, params))
    if plan is None:
        return
    rules, notional = ask.instrument, plan.qty * ask.entry_price
    planned = params.margin_base_usdt * D(repr(ask.size_mult))

    assert plan.qty % rules.step_size == 0
    assert rules.min_qty <= plan.qty <= rules.market_max_qty
    assert notional >= rules.min_notional
    assert 1 <= plan.leverage <= params.leverage_default
    assert plan.leverage <= next(
        (tier.initial_leverage for tier in rules.brackets if notional <= tier.notional_cap),
        rules.brackets[-1].initial_leverage,
    )
    assert notional / plan.leverage <= D("1.05") * planned
    assert abs(plan.margin_usdt - notional / plan.leverage) <= PLACE
    owed = notional / plan.leverage + notional * ask.taker_fee_ratio
    assert owed <= plan.reserve_usdt < owed + PLACE
    assert plan.reserve_usdt <= ask.free_budget_usdt


@settings(max_examples=300)
@given(ask=asks(Market.FUT), params=bundles())
def test_a_futures_size_is_never_more_than_a_step_below_what_plan_and_exchange_allow(
    ask: Ask, params: SizingParams
) -> None:
    plan = told(size(ask, params))
    if plan is None:
        return
    planned = params.margin_base_usdt * D(repr(ask.size_mult))
    wanted = planned * plan.leverage / ask.entry_price

    assert plan.qty > min(wanted, ask.instrument.market_max_qty) - D("1.5") * ask.instrument.step_size


@settings(max_examples=600)
@given(ask=asks(Market.FUT), params=bundles())
def test_rounding_never_loses_protection(ask: Ask, params: SizingParams) -> None:
    plan = told(size(ask, params))
    if plan is None:
        return
    away = ask.side.sign * (ask.entry_price - plan.stop_price)
    budget = params.max_loss_usdt * min(D(1), D(repr(ask.size_mult)))

    assert plan.stop_price % ask.instrument.tick_size == 0
    # Towards profit, and by less than a tick.
    assert plan.stop_distance - ask.instrument.tick_size < away <= plan.stop_distance
    assert 0 < away * plan.qty <= plan.stop_distance * plan.qty <= budget
    assert plan.stop_distance <= params.atr_mult * D(repr(ask.sl_mult)) * D(repr(ask.atr))
    assert plan.stop_distance >= max(2 * ask.instrument.tick_size, ask.spread)
    assert abs(plan.first_loss_usdt - plan.stop_distance * plan.qty) <= PLACE
    # The whole of either limit is used: a stop nearer than meant would be hit by noise.
    nearer = min(params.atr_mult * D(repr(ask.sl_mult)) * D(repr(ask.atr)), budget / plan.qty)
    assert nearer - plan.stop_distance <= PLACE


@settings(max_examples=300)
@given(ask=asks(Market.FUT), params=bundles())
def test_a_stop_leaves_a_quarter_of_the_way_to_liquidation(ask: Ask, params: SizingParams) -> None:
    plan = told(size(ask, params))
    if plan is None:
        return
    notional = plan.qty * ask.entry_price
    tier = next((t for t in ask.instrument.brackets if notional <= t.notional_cap), ask.instrument.brackets[-1])
    margin = notional / plan.leverage

    # At the stop the margin left is more than what the exchange asks to keep the position.
    loss = ask.side.sign * (ask.entry_price - plan.stop_price) * plan.qty
    maintenance = plan.qty * plan.stop_price * tier.maint_margin_ratio - tier.cum
    assert margin - loss > maintenance
    # And three quarters of what may be lost before that are not.
    assert loss <= D("0.75") * (margin - maintenance) + loss * tier.maint_margin_ratio


@settings(max_examples=600)
@given(ask=asks(Market.FUT), params=bundles())
def test_a_futures_target_nets_what_is_stated_when_filled_where_it_stands(ask: Ask, params: SizingParams) -> None:
    plan = told(size(ask, params))
    if plan is None:
        return
    tick = ask.instrument.tick_size
    ratio = max(params.min_exit_net_pct, D("0.10") * D(repr(ask.tp_mult)))
    target = ratio * plan.qty * ask.entry_price / plan.leverage

    assert plan.target_ratio == ratio
    assert plan.tp_price % tick == 0
    assert net_usdt(ask, plan, plan.tp_price) >= target - D("1e-18")
    assert net_usdt(ask, plan, plan.tp_price - ask.side.sign * tick) < target
    assert net_usdt(ask, plan, plan.stop_price) < 0


@settings(max_examples=600)
@given(ask=asks(Market.SPOT), params=bundles())
def test_a_spot_buy_keeps_every_promise(ask: Ask, params: SizingParams) -> None:
    plan = told(size(ask, params))
    if plan is None:
        return
    rules, price = ask.instrument, ask.entry_price
    quote = params.spot_quote_usdt * D(repr(ask.size_mult))
    cost = plan.qty * price

    assert plan.qty % rules.step_size == 0
    assert rules.min_qty <= plan.qty <= rules.market_max_qty
    assert rules.min_notional <= cost <= quote
    assert plan.leverage == 1
    owed = cost * (1 + ask.taker_fee_ratio)
    assert owed <= plan.reserve_usdt < owed + PLACE
    assert plan.reserve_usdt <= ask.free_budget_usdt
    assert 0 < plan.stop_price < price
    assert plan.stop_price % rules.tick_size == 0
    assert price - plan.stop_price <= plan.stop_distance
    assert plan.tp_price % rules.tick_size == 0
    if params.spot_tp_bps == 0:
        assert price - plan.stop_price <= params.max_loss_usdt * min(D(1), D(repr(ask.size_mult))) / plan.qty
        assert net_usdt(ask, plan, plan.tp_price) >= params.spot_tp_net_pct * quote - D("1e-18")
        assert net_usdt(ask, plan, plan.tp_price - rules.tick_size) < params.spot_tp_net_pct * quote
    else:
        fixed = price * (1 + params.spot_tp_bps / 10_000) / rules.tick_size
        assert plan.tp_price == fixed.to_integral_value(ROUND_CEILING) * rules.tick_size
        assert plan.stop_distance <= price * params.spot_sl_bps / 10_000


@settings(max_examples=300)
@given(ask=asks(Market.FUT), params=bundles())
def test_a_size_is_refused_only_for_what_is_so(ask: Ask, params: SizingParams) -> None:
    found = size(ask, params)
    if isinstance(found, Plan):
        return
    event(found.detail)
    rules, price, fee = ask.instrument, ask.entry_price, ask.taker_fee_ratio
    planned = params.margin_base_usdt * D(repr(ask.size_mult))
    leverage = min(params.leverage_default, rules.bracket_for(planned * params.leverage_default).initial_leverage)
    wanted = planned * leverage / price
    # To the nearest step, then perhaps one down, and never above what one market order may carry.
    least = min(wanted - D("1.5") * rules.step_size, rules.market_max_qty - rules.step_size)
    most = min(wanted + rules.step_size / 2, rules.market_max_qty)

    match found.detail:
        case "MIN_NOTIONAL":
            assert found.reason is Reason.RISK_BUDGET
            assert least < rules.min_qty or least * price < rules.min_notional
        case "BUDGET":
            assert found.reason is Reason.RISK_BUDGET
            assert (most - rules.step_size) * price * (1 / D(leverage) + fee) + PLACE > ask.free_budget_usdt
        case "STOP_TOO_CLOSE":
            assert found.reason is Reason.GATE
            by_loss = params.max_loss_usdt * min(D(1), D(repr(ask.size_mult))) / most
            by_atr = params.atr_mult * D(repr(ask.sl_mult)) * D(repr(ask.atr))
            assert min(by_atr, by_loss) - PLACE < max(2 * rules.tick_size, ask.spread)
        case "STOP_BEYOND_LIQUIDATION":
            assert found.reason is Reason.GATE
            # Liquidation is never farther away than the whole margin.
            by_loss = params.max_loss_usdt * min(D(1), D(repr(ask.size_mult))) / max(least, rules.min_qty)
            assert by_loss > D("0.2") * price / leverage
        case other:
            raise AssertionError(f"{other} is no refusal of a futures size")
