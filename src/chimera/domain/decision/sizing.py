"""How much to buy or sell, where the stop and the target belong, and what is reserved for it.

Owns SERVICES S3's numbers: size, stop distance, target. Prices come out on the exchange's grid, rounded so that a stop
loses less and a target earns more than was meant. A size that may not be traded is a refusal with a reason.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.enums import Market, Reason, Side
from chimera.domain.exact import exact, money, money_down
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.budget import futures_usage, spot_reservation
from chimera.domain.positions.liquidation import inside_buffer, liquidation_price
from chimera.domain.positions.roe import exit_price
from chimera.domain.positions.stops import first_stop

_BPS = Decimal(10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizingParams:
    """Names as in E and in the bundle's `strategy` and `spot` groups.

    `max_loss_usdt` and `leverage_default` are hard caps. `base_exit_net_pct` is what tp_mult multiplies, and
    `min_exit_net_pct` what it never goes below. `spot_tp_bps` and `spot_sl_bps` above 0 are fixed distances instead.
    """

    margin_base_usdt: Decimal = Decimal(20)
    leverage_default: int = 20
    max_loss_usdt: Decimal = Decimal("1.2")
    atr_mult: Decimal = Decimal("1.5")
    min_exit_net_pct: Decimal = Decimal("0.10")
    base_exit_net_pct: Decimal = Decimal("0.10")
    margin_over_plan_max: Decimal = Decimal("1.05")
    stop_ticks_min: int = 2
    liquidation_buffer: Decimal = Decimal("0.25")
    spot_quote_usdt: Decimal = Decimal(50)
    spot_tp_net_pct: Decimal = Decimal("0.01")
    spot_tp_bps: Decimal = Decimal(0)
    spot_sl_bps: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is to be sized. `entry_price` is the touch that a market order would meet; `spread` in quote currency."""

    instrument: Instrument
    side: Side
    entry_price: Decimal
    spread: Decimal
    atr: float
    size_mult: float
    tp_mult: float
    sl_mult: float
    free_budget_usdt: Decimal
    taker_fee_ratio: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A trade that may be placed.

    `margin_usdt` is of the rounded quantity (SPOT: its whole cost); `reserve_usdt` adds the entry fee. `stop_distance`
    is what S4 keeps when it derives the stop from the average fill; `target_ratio` is the target's share of
    `margin_usdt`, which S4 keeps too. `first_loss_usdt` is the price loss at the stop, before fees.
    """

    qty: Decimal
    leverage: int
    margin_usdt: Decimal
    reserve_usdt: Decimal
    stop_distance: Decimal
    stop_price: Decimal
    tp_price: Decimal
    target_ratio: Decimal
    first_loss_usdt: Decimal


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: Reason
    detail: str


Tell = Callable[[str, Decimal, str, str], object]
"""Hears each step of the reckoning: its name, what came out, the unit, and how it was reckoned."""


def _nobody(step: str, value: Decimal, unit: str, how: str) -> None:
    """Nobody listens."""


def size(ask: Ask, params: SizingParams, tell: Tell = _nobody) -> Plan | Refusal:
    """The plan for `ask`, by its instrument's market."""
    return size_futures(ask, params, tell) if ask.instrument.market is Market.FUT else size_spot(ask, params, tell)


def size_futures(ask: Ask, params: SizingParams, tell: Tell = _nobody) -> Plan | Refusal:
    """Margin times leverage, to the nearest step, one step down where that is too much."""
    instrument, price = ask.instrument, ask.entry_price
    if not instrument.brackets:
        # Without the exchange's table neither leverage nor liquidation is known.
        return Refusal(Reason.GATE, "NO_BRACKETS")
    planned_margin = params.margin_base_usdt * exact(ask.size_mult)
    tier = instrument.bracket_for(planned_margin * params.leverage_default)
    leverage = min(params.leverage_default, tier.initial_leverage)
    qty = min(instrument.nearest_qty(planned_margin * leverage / price), instrument.market_max_qty)
    tell("planned_margin", planned_margin, "USDT", "margin_base_usdt * size_mult")
    tell("leverage", Decimal(leverage), "x", "the smaller of leverage_default and the bracket's")
    tell("nearest_qty", qty, instrument.base_asset, "planned margin * leverage / price, to the nearest step")

    def reserve(of: Decimal) -> Decimal:
        return futures_usage(qty=of, entry_price=price, leverage=leverage, fee_ratio=ask.taker_fee_ratio)

    too_much = qty * price / leverage > params.margin_over_plan_max * planned_margin
    if too_much or reserve(qty) > ask.free_budget_usdt:
        qty -= instrument.step_size
        why = "the margin is above 1.05 of the plan" if too_much else "the free budget is smaller"
        tell("qty", qty, instrument.base_asset, f"one step down: {why}")
    tell("notional", qty * price, "USDT", "qty * price")
    refusal = _tradable(instrument, qty, price)
    if refusal is not None:
        return refusal
    held = reserve(qty)
    tell("reserve", held, "USDT", "margin and entry fee")
    tell("free_budget", ask.free_budget_usdt, "USDT", "the market's budget less what is in use")
    if held > ask.free_budget_usdt:
        return Refusal(Reason.RISK_BUDGET, "BUDGET")

    distance = stop_distance(ask, qty, params, tell)
    stop_price = first_stop(instrument, ask.side, price, distance)
    tell("stop_price", stop_price, "USDT", "price less the distance, to the tick that loses less")
    if _stop_too_close(ask, distance, params):
        return Refusal(Reason.GATE, "STOP_TOO_CLOSE")
    margin = qty * price / leverage
    tell("margin", margin, "USDT", "qty * price / leverage")
    # Of what is really ordered: a step down, or less leverage, may lead into a lower bracket than was planned for.
    held_in = instrument.bracket_for(qty * price)
    liquidation = liquidation_price(
        side=ask.side,
        qty=qty,
        entry_price=price,
        wallet_usdt=margin,
        maint_margin_ratio=held_in.maint_margin_ratio,
        cum=held_in.cum,
    )
    tell("liquidation_price", liquidation, "USDT", "isolated, at this margin and bracket")
    if inside_buffer(price=stop_price, entry_price=price, liquidation=liquidation, ratio=params.liquidation_buffer):
        return Refusal(Reason.GATE, "STOP_BEYOND_LIQUIDATION")
    ratio = max(params.min_exit_net_pct, params.base_exit_net_pct * exact(ask.tp_mult))
    tp_price = target_price(
        instrument,
        side=ask.side,
        qty=qty,
        entry_price=price,
        fee_ratio=ask.taker_fee_ratio,
        target_usdt=ratio * margin,
    )
    tell("target", ratio * margin, "USDT", "the larger of min_exit_net_pct and 0.10 * tp_mult, of the margin, net")
    tell("tp_price", tp_price, "USDT", "nets the target after both fees, to the tick that earns more")
    return Plan(
        qty=qty,
        leverage=leverage,
        margin_usdt=money(margin),
        reserve_usdt=held,
        stop_distance=distance,
        stop_price=stop_price,
        tp_price=tp_price,
        target_ratio=ratio,
        first_loss_usdt=money(distance * qty),
    )


def size_spot(ask: Ask, params: SizingParams, tell: Tell = _nobody) -> Plan | Refusal:
    """The quote, floored to step; sold again is what is left of it after the fee in the base asset."""
    instrument, price, fee = ask.instrument, ask.entry_price, ask.taker_fee_ratio
    quote = params.spot_quote_usdt * exact(ask.size_mult)
    qty = min(instrument.floor_qty(quote / price), instrument.market_max_qty)
    tell("planned_quote", quote, "USDT", "spot.quote_usdt * size_mult")
    tell("qty", qty, instrument.base_asset, "planned quote / price, down to the step")
    tell("notional", qty * price, "USDT", "qty * price")
    refusal = _tradable(instrument, qty, price)
    if refusal is not None:
        return refusal
    reserve = spot_reservation(qty=qty, price=price, fee_ratio=fee)
    tell("reserve", reserve, "USDT", "cost and fee")
    tell("free_budget", ask.free_budget_usdt, "USDT", "the market's budget less what is in use")
    if reserve > ask.free_budget_usdt:
        return Refusal(Reason.RISK_BUDGET, "BUDGET")

    if params.spot_sl_bps == 0:
        distance = stop_distance(ask, qty, params, tell)
    else:
        distance = money_down(price * params.spot_sl_bps / _BPS)
        tell("stop_distance", distance, "USDT", "price * spot.sl_bps")
    stop_price = first_stop(instrument, ask.side, price, distance)
    tell("stop_price", stop_price, "USDT", "price less the distance, to the tick that loses less")
    if _stop_too_close(ask, distance, params) or stop_price <= 0:
        return Refusal(Reason.GATE, "STOP_TOO_CLOSE" if stop_price > 0 else "STOP_BELOW_ZERO")
    cost = qty * price
    ratio = params.spot_tp_net_pct * quote / cost
    if params.spot_tp_bps == 0:
        tp_price = target_price(
            instrument, side=ask.side, qty=qty, entry_price=price, fee_ratio=fee, target_usdt=ratio * cost
        )
        tell("target", ratio * cost, "USDT", "spot.tp_net_pct of the planned quote, net")
        tell("tp_price", tp_price, "USDT", "nets the target after both fees, to the tick that earns more")
    else:
        tp_price = instrument.ceil_price(price * (1 + params.spot_tp_bps / _BPS))
        tell("tp_price", tp_price, "USDT", "price and spot.tp_bps more, up to the tick")
    return Plan(
        qty=qty,
        leverage=1,
        margin_usdt=money(cost),
        reserve_usdt=reserve,
        stop_distance=distance,
        stop_price=stop_price,
        tp_price=tp_price,
        target_ratio=money(ratio),
        first_loss_usdt=money(distance * qty),
    )


def stop_distance(ask: Ask, qty: Decimal, params: SizingParams, tell: Tell = _nobody) -> Decimal:
    """min(atr_mult * sl_mult * atr, max_loss * min(1, size_mult) / qty): price loss per unit before fees."""
    # The loss budget wins in a storm: ATR widens just when a wide stop costs the most.
    by_atr = params.atr_mult * exact(ask.sl_mult) * exact(ask.atr)
    by_loss = params.max_loss_usdt * min(Decimal(1), exact(ask.size_mult)) / qty
    distance = money_down(min(by_atr, by_loss))
    tell("distance_by_atr", by_atr, "USDT", "atr_mult * sl_mult * atr_14")
    tell("distance_by_loss", by_loss, "USDT", "max_loss_usdt * min(1, size_mult) / qty")
    tell("stop_distance", distance, "USDT", "the smaller of the two")
    return distance


def target_price(
    instrument: Instrument,
    *,
    side: Side,
    qty: Decimal,
    entry_price: Decimal,
    fee_ratio: Decimal,
    target_usdt: Decimal,
) -> Decimal:
    """Where closing `qty` nets `target_usdt` after both fees: long (target + qty*entry*(1+fee)) / (qty*(1-fee)), up."""
    price = exit_price(side=side, entry_price=entry_price, fee_ratio=fee_ratio, net_per_unit=target_usdt / qty)
    return instrument.ceil_price(price) if side is Side.BUY else instrument.floor_price(price)


def _tradable(instrument: Instrument, qty: Decimal, price: Decimal) -> Refusal | None:
    if qty <= 0 or qty < instrument.min_qty or qty * price < instrument.min_notional:
        return Refusal(Reason.RISK_BUDGET, "MIN_NOTIONAL")
    return None


def _stop_too_close(ask: Ask, distance: Decimal, params: SizingParams) -> bool:
    return distance < max(params.stop_ticks_min * ask.instrument.tick_size, ask.spread)
