"""Size, stop and target of many entries at once: the figures of `sizing`, to the last digit.

Owns nothing that `sizing` does not: it reckons in doubles and whole numbers, knows where a double could have rounded to
the other side, and asks `sizing` itself about those rows. Prices and distances are whole numbers of 1e-8.
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from chimera.contracts.enums import Market, Reason, Side
from chimera.domain.decision.condition import Bools, Floats
from chimera.domain.decision.sizing import Ask, Refusal, SizingParams, size
from chimera.domain.exact import exact, money_down
from chimera.domain.market.instrument import Instrument

Ints = NDArray[np.int64]

E8 = 100_000_000

REFUSALS = (
    Refusal(Reason.GATE, "NO_BRACKETS"),
    Refusal(Reason.RISK_BUDGET, "MIN_NOTIONAL"),
    Refusal(Reason.RISK_BUDGET, "BUDGET"),
    Refusal(Reason.GATE, "STOP_TOO_CLOSE"),
    Refusal(Reason.GATE, "STOP_BELOW_ZERO"),
    Refusal(Reason.GATE, "STOP_BEYOND_LIQUIDATION"),
)
"""Every refusal of `sizing`, in its order of asking."""
NO_BRACKETS, MIN_NOTIONAL, BUDGET, STOP_TOO_CLOSE, STOP_BELOW_ZERO, STOP_BEYOND_LIQUIDATION = range(len(REFUSALS))
PLANNED = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asks:
    """What is to be sized, in columns of equal length. `is_buy` False: sell. Prices are on the instrument's tick."""

    is_buy: Bools
    bid: Floats
    ask: Floats
    atr: Floats
    size_mult: Floats
    tp_mult: Floats
    sl_mult: Floats
    free_budget_usdt: Floats

    def row(self, i: int, instrument: Instrument, taker_fee_ratio: Decimal) -> Ask:
        bid, ask = exact(float(self.bid[i])), exact(float(self.ask[i]))
        is_buy = bool(self.is_buy[i])
        return Ask(
            instrument=instrument,
            side=Side.BUY if is_buy else Side.SELL,
            entry_price=ask if is_buy else bid,
            spread=ask - bid,
            atr=float(self.atr[i]),
            size_mult=float(self.size_mult[i]),
            tp_mult=float(self.tp_mult[i]),
            sl_mult=float(self.sl_mult[i]),
            free_budget_usdt=exact(float(self.free_budget_usdt[i])),
            taker_fee_ratio=taker_fee_ratio,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plans:
    """One row for each ask. `refusal`: PLANNED, else an index into REFUSALS; the rest counts where it is PLANNED.

    `qty` in steps of the instrument, prices and the stop's distance in 1e-8. `asked_again` is how many rows were left
    to `sizing` itself.
    """

    refusal: NDArray[np.int8]
    qty_steps: Ints
    stop_distance: Ints
    stop_price: Ints
    tp_price: Ints
    asked_again: int


def size_table(asks: Asks, instrument: Instrument, taker_fee_ratio: Decimal, params: SizingParams) -> Plans:
    """`sizing.size` of every row."""
    work = _Reckoning(asks, instrument, taker_fee_ratio, params)
    if instrument.market is Market.FUT:
        work.futures()
    else:
        work.spot()
    return work.settle()


class _Reckoning:
    """The columns while they are being reckoned. `unsure`: a double may have come down on the wrong side here."""

    def __init__(self, asks: Asks, instrument: Instrument, fee: Decimal, params: SizingParams) -> None:
        n = len(asks.is_buy)
        self.asks, self.instrument, self.fee_exact, self.params = asks, instrument, fee, params
        self.fee, self.step, self.tick = float(fee), float(instrument.step_size), float(instrument.tick_size)
        self.price = np.where(asks.is_buy, asks.ask, asks.bid)
        self.sign = np.where(asks.is_buy, 1, -1)
        self.unsure = np.zeros(n, dtype=np.bool_)
        self.refusal = np.full(n, PLANNED, dtype=np.int8)
        self.qty_steps = np.zeros(n, dtype=np.int64)
        self.distance = np.zeros(n, dtype=np.int64)
        self.stop_price = np.zeros(n, dtype=np.int64)
        self.tp_price = np.zeros(n, dtype=np.int64)
        # A bundle knows few multipliers, however many rows there are: what depends on them alone is exact.
        self.mults, self.mult_at = np.unique(asks.size_mult, return_inverse=True)

    def futures(self) -> None:
        instrument, params, price = self.instrument, self.params, self.price
        if not instrument.brackets:
            self.refusal[:] = NO_BRACKETS
            return
        planned_exact = [params.margin_base_usdt * exact(mult) for mult in self.mults.tolist()]
        tiers = [instrument.bracket_for(planned * params.leverage_default) for planned in planned_exact]
        leverages = [min(params.leverage_default, tier.initial_leverage) for tier in tiers]
        planned, leverage = self._each(planned_exact), self._each([Decimal(each) for each in leverages])

        wanted = planned * leverage / (price * self.step)
        steps = np.rint(wanted)
        self._doubt(np.abs(np.abs(wanted - steps) - 0.5) < 1e-9 + 1e-14 * wanted)
        steps = self._capped(steps)
        margin = steps * self.step * price / leverage
        too_much = self._above(margin, float(params.margin_over_plan_max) * planned)
        steps = steps - (too_much | self._reserves_too_much(steps, leverage))
        self._set_qty(steps)
        self._refuse(self._reserves_too_much(steps, leverage), BUDGET)

        self._set_distance(self._stop_distance())
        self._refuse(self._too_close(), STOP_TOO_CLOSE)
        qty = steps * self.step
        margin = qty * price / leverage
        maint, cum = self._brackets(qty * price)
        with np.errstate(divide="ignore", invalid="ignore"):
            liquidation = (margin + cum - self.sign * qty * price) / (qty * maint - self.sign * qty)
            way = price - liquidation
            left = (self.stop_price / E8 - liquidation) / way
        buffer = float(params.liquidation_buffer)
        self._doubt((np.abs(left - buffer) < 1e-9) | (np.abs(way) < 1e-9 * price))
        self._refuse(left < buffer, STOP_BEYOND_LIQUIDATION)
        ratio = np.maximum(float(params.min_exit_net_pct), float(params.base_exit_net_pct) * self.asks.tp_mult)
        self._set_target(ratio * price / leverage)

    def spot(self) -> None:
        params, price = self.params, self.price
        quote = self._each([params.spot_quote_usdt * exact(mult) for mult in self.mults.tolist()])
        wanted = quote / (price * self.step)
        steps = np.floor(wanted)
        self._doubt(_near_whole(wanted))
        steps = self._capped(steps)
        self._set_qty(steps)
        self._refuse(self._reserves_too_much(steps, np.inf), BUDGET)

        if params.spot_sl_bps == 0:
            self._set_distance(self._stop_distance())
        else:
            self._set_distance(self._floor_e8(price * (float(params.spot_sl_bps) / 1e4)))
        below_zero = self.stop_price <= 0
        self._refuse(below_zero, STOP_BELOW_ZERO)
        self._refuse(self._too_close(), STOP_TOO_CLOSE)
        if params.spot_tp_bps == 0:
            with np.errstate(divide="ignore", invalid="ignore"):
                self._set_target(float(params.spot_tp_net_pct) * quote / (steps * self.step))
        else:
            self._set_target_price(price * (1 + float(params.spot_tp_bps) / 1e4), up=np.ones(len(price), np.bool_))

    def settle(self) -> Plans:
        """Ask `sizing` about the rows that a double cannot settle."""
        rows = np.flatnonzero(self.unsure)
        step, e8 = self.instrument.step_size, Decimal(E8)
        for i in rows.tolist():
            plan = size(self.asks.row(i, self.instrument, self.fee_exact), self.params)
            if isinstance(plan, Refusal):
                self.refusal[i] = REFUSALS.index(plan)
                continue
            self.refusal[i] = PLANNED
            self.qty_steps[i] = int(plan.qty / step)
            self.distance[i] = int(plan.stop_distance * e8)
            self.stop_price[i] = int(plan.stop_price * e8)
            self.tp_price[i] = int(plan.tp_price * e8)
        return Plans(
            refusal=self.refusal,
            qty_steps=self.qty_steps,
            stop_distance=self.distance,
            stop_price=self.stop_price,
            tp_price=self.tp_price,
            asked_again=len(rows),
        )

    # --- parts of both markets

    def _each(self, by_mult: list[Decimal]) -> Floats:
        values: Floats = np.array([float(value) for value in by_mult])[self.mult_at]
        return values

    def _brackets(self, notional: Floats) -> tuple[Floats, Floats]:
        """Maintenance ratio and amount of the bracket that holds `notional`; the last one above every cap."""
        brackets = self.instrument.brackets
        caps = np.array([float(each.notional_cap) for each in brackets])
        for cap in caps.tolist():
            self._doubt(np.abs(notional - cap) < 1e-9 * cap)
        at = np.minimum(np.searchsorted(caps, notional, side="left"), len(brackets) - 1)
        ratios = np.array([float(each.maint_margin_ratio) for each in brackets])
        return ratios[at], np.array([float(each.cum) for each in brackets])[at]

    def _doubt(self, where: Bools) -> None:
        self.unsure |= where & (self.refusal == PLANNED)

    def _refuse(self, where: Bools, code: int) -> None:
        self.refusal[where & (self.refusal == PLANNED)] = code

    def _above(self, value: Floats, limit: Floats) -> Bools:
        self._doubt(np.abs(value - limit) < 1e-9 * np.abs(limit))
        above: Bools = value > limit
        return above

    def _capped(self, steps: Floats) -> Floats:
        cap = float(self.instrument.market_max_qty / self.instrument.step_size)
        # The exchange's largest quantity may lie off the grid.
        self._doubt(steps > cap - 1)
        return np.minimum(steps, cap)

    def _reserves_too_much(self, steps: Floats, leverage: Floats | float) -> Bools:
        """Whether what is reserved for so many steps is more than is free; `leverage` inf: the whole cost."""
        notional = steps * self.step * self.price
        share = 1.0 if np.isscalar(leverage) else 1.0 / leverage
        reserve = notional * share + notional * self.fee
        free = self.asks.free_budget_usdt
        self._doubt(np.abs(reserve - free) < 1e-7 + 1e-12 * np.abs(free))
        too_much: Bools = reserve > free
        return too_much

    def _set_qty(self, steps: Floats) -> None:
        instrument = self.instrument
        self.qty_steps = steps.astype(np.int64)
        notional, limit = steps * self.step * self.price, float(instrument.min_notional)
        self._doubt(np.abs(notional - limit) < 1e-9 * max(limit, 1.0))
        fewest = -(-instrument.min_qty // instrument.step_size)
        self._refuse((steps <= 0) | (steps < float(fewest)) | (notional < limit), MIN_NOTIONAL)

    def _floor_e8(self, value: Floats) -> Ints:
        scaled = value * E8
        self._doubt(_near_whole(scaled))
        return _whole(np.floor(scaled))

    def _stop_distance(self) -> Ints:
        params, asks = self.params, self.asks
        by_atr = float(params.atr_mult) * asks.sl_mult * asks.atr * E8
        # The loss cap over a quantity is often a round number, where a double is of no use; but there are few of them.
        pairs, at = np.unique(self.qty_steps * len(self.mults) + self.mult_at, return_inverse=True)
        exact_mults = [exact(mult) for mult in self.mults.tolist()]
        distances = []
        for pair in pairs.tolist():
            steps, mult = divmod(pair, len(self.mults))
            if steps <= 0:
                distances.append(0)
                continue
            loss = params.max_loss_usdt * min(Decimal(1), exact_mults[mult])
            distances.append(int(money_down(loss / (steps * self.instrument.step_size)) * E8))
        by_loss = np.array(distances, dtype=np.int64)[at]
        self._doubt(_near_whole(by_atr) & (by_atr < by_loss + 1.0))
        return np.minimum(_whole(np.floor(by_atr)), by_loss)

    def _set_distance(self, distance: Ints) -> None:
        """And the stop's price: towards profit, so that it only loses less."""
        tick = int(self.instrument.tick_size * E8)
        entry = _whole(np.rint(self.price * E8))
        raw = entry - self.sign * distance
        self.distance = distance
        self.stop_price = np.where(self.asks.is_buy, -(-raw // tick), raw // tick) * tick

    def _too_close(self) -> Bools:
        spread = _whole(np.rint(self.asks.ask * E8)) - _whole(np.rint(self.asks.bid * E8))
        least = int(self.params.stop_ticks_min * self.instrument.tick_size * E8)
        too_close: Bools = self.distance < np.maximum(least, spread)
        return too_close

    def _set_target(self, net_per_unit: Floats) -> None:
        long = (net_per_unit + self.price * (1 + self.fee)) / (1 - self.fee)
        short = (self.price * (1 - self.fee) - net_per_unit) / (1 + self.fee)
        self._set_target_price(np.where(self.asks.is_buy, long, short), up=self.asks.is_buy)

    def _set_target_price(self, price: Floats, *, up: Bools) -> None:
        ticks = price / self.tick
        self._doubt(_near_whole(ticks))
        whole = np.where(up, np.ceil(ticks), np.floor(ticks))
        self.tp_price = _whole(whole) * int(self.instrument.tick_size * E8)


def _near_whole(value: Floats) -> Bools:
    """Where a few roundings may have carried `value` over a whole number."""
    near: Bools = ~(np.abs(value - np.rint(value)) > 1e-6 + 1e-14 * np.abs(value))
    return near


def _whole(value: Floats) -> Ints:
    """To whole numbers; what is none (a row that is refused anyway) becomes 0."""
    return np.where(np.isfinite(value) & (np.abs(value) < 9e18), value, 0.0).astype(np.int64)
