"""An entry that the account cannot pay for is made smaller, a few times, or given up.

Owns the steps of SERVICES S4 (funds): INIT, PRECHECK, SUBMIT, INSUFF, DOWNSIZE, RETRY, OK or GIVEUP. Pure: whoever
sends asks `precheck` before the first try and `downsized` after each refusal.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from chimera.contracts.enums import Grade, Market
from chimera.domain.market.instrument import Instrument

INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
"""Why an intent failed that the account cannot pay for."""

FUT_TRIES_MAX = 1
"""-2019 on futures is answered once. Source: SERVICES S4."""

DELAYS_DOUBLE_MAX = 10
"""Beyond this the wait between tries does not grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What an entry of `qty` at `price` takes from the account.

    Attributes:
        price: What one may cost: the touch, and for a market order better a little more.
        leverage: 1 for SPOT.
        min_slice_usdt: Of the bucket, in notional; 0 sets no bound but the exchange's.
    """

    qty: Decimal
    price: Decimal
    fee_ratio: Decimal
    leverage: int
    instrument: Instrument
    min_slice_usdt: Decimal

    @property
    def each_usdt(self) -> Decimal:
        """What one unit takes: its margin (SPOT: its price) and the fee on its notional."""
        return self.price * (1 / Decimal(self.leverage) + self.fee_ratio)

    @property
    def least_qty(self) -> Decimal:
        """The smallest order that the exchange takes and that is not below the least slice."""
        step = self.instrument.step_size
        worth = max(self.instrument.min_notional, self.min_slice_usdt)
        steps = max(worth / self.price, self.instrument.min_qty) / step
        return steps.to_integral_value(ROUND_CEILING) * step

    def affordable(self, free_usdt: Decimal) -> Decimal:
        """On the step, never negative."""
        return self.instrument.floor_qty(max(Decimal(0), free_usdt) / self.each_usdt)


@dataclass(frozen=True, slots=True)
class Fits:
    """Send it as it is."""


@dataclass(frozen=True, slots=True)
class Smaller:
    """Send so much instead, `after_ms` of our own work later."""

    qty: Decimal
    after_ms: int
    why: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: str


def precheck(want: Want, free_usdt: Decimal | None) -> Fits | Smaller | GiveUp:
    """Before the first try. What is not known is left to the exchange to say."""
    if free_usdt is None or want.qty * want.each_usdt <= free_usdt:
        return Fits()
    return _fitted(want, free_usdt, want.affordable(free_usdt), 0)


def downsized(
    want: Want, free_usdt: Decimal | None, *, refusals: int, tries_max: int, retry_ms: int
) -> Smaller | GiveUp:
    """After a refusal for lack of funds: what is there, or half where that is not known or should have been enough.

    Args:
        want: what was refused.
        refusals: how many there were, this one included.
        tries_max: S4_FUNDS_TRIES_MAX, of which FUT takes `FUT_TRIES_MAX` at most.
        retry_ms: the wait before the first retry; it doubles.
    """
    most = min(tries_max, FUT_TRIES_MAX) if want.instrument.market is Market.FUT else tries_max
    if refusals > most:
        return GiveUp(f"{INSUFFICIENT_FUNDS} refused {refusals} times, the last time {want.qty}")
    after_ms = retry_ms << min(refusals - 1, DELAYS_DOUBLE_MAX)
    half = want.instrument.floor_qty(want.qty / 2)
    if free_usdt is None:
        return _fitted(want, None, max(half, min(want.least_qty, want.qty)), after_ms)
    affordable = want.affordable(free_usdt)
    # The exchange knows better than we: what it refused is not offered again, whatever we believe to be free.
    wanted = affordable if affordable < want.qty else max(half, min(want.least_qty, want.qty))
    return _fitted(want, free_usdt, wanted, after_ms)


def _fitted(want: Want, free_usdt: Decimal | None, qty: Decimal, after_ms: int) -> Smaller | GiveUp:
    stands = "what is free is not known" if free_usdt is None else f"{free_usdt:.2f} USDT are free"
    if qty >= want.qty or qty < want.least_qty:
        return GiveUp(f"{INSUFFICIENT_FUNDS} {stands}, the least order is {want.least_qty}")
    return Smaller(qty, after_ms, f"{stands}: {want.qty} becomes {qty}")


def spot_entries_stopped(ib_rate: Grade | None) -> bool:
    """New SPOT entries end where too many were refused for lack of balance. Source: SERVICES S4, S11."""
    return ib_rate in (Grade.ORANGE, Grade.RED)
