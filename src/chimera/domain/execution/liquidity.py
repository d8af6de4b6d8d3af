"""Whether an entry slice may leave into the book as it is now.

Owns the order of patience: look again until `max_delay_ms`, then halve the slice down to the least, then give up with
LIQUIDITY. Spread and depth have the limits of L0, slippage those of `risk.slip_bp_max` and `slip_bp_hard`. Exits never
come here. Pure. Source: SERVICES S4 (before each entry slice), 003 section 6.
"""

from dataclasses import dataclass
from decimal import Decimal

from chimera.domain.execution.cost import Book, CostModel, slippage_of
from chimera.domain.market.instrument import Instrument

LIQUIDITY = "LIQUIDITY"
"""Why an intent failed for which the book stayed too wide or too thin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`spread_bp_limit` and `depth_top1_usdt_min` are the instrument's, or S3's defaults: those that L0 gated by.
    `min_slice_usdt` 0 sets no bound but the exchange's."""

    spread_bp_limit: float
    depth_top1_usdt_min: float
    slip_bp_max: float
    slip_bp_hard: float
    recheck_ms: int
    max_delay_ms: int
    min_slice_usdt: Decimal


@dataclass(frozen=True, slots=True)
class Go:
    """Send it. `slippage_bps` is what it is expected to cost as taker; None as in `Look`."""

    slippage_bps: float | None


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Wait until so long after the first look, ms of market time: it is the market that is waited for."""

    at_waited_ms: int
    why: str


@dataclass(frozen=True, slots=True)
class Halve:
    """Ask for this much instead at the next look, `recheck_ms` later. The other half is still to be sent."""

    qty: Decimal
    why: str


@dataclass(frozen=True, slots=True)
class Fail:
    reason: str


Verdict = Go | LookAgain | Halve | Fail


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What would be sent. `price` is the touch it would take; None: not known, and then it does not leave."""

    qty: Decimal
    price: Decimal | None
    instrument: Instrument


def look(piece: Slice, book: Book, model: CostModel, limits: Limits, *, waited_ms: int) -> Verdict:
    """One look at the book.

    Above `slip_bp_hard`, and at a spread or depth beyond L0's limits, nothing is sent. From `slip_bp_max` on the slice
    waits and is halved as well, but leaves where it cannot be halved: L0 lets such an entry in.

    Args:
        book: its `notional_usdt` is that of `piece`.
        waited_ms: since the first look at this slice, ms of market time.
    """
    slippage_bps = slippage_of(model, book)
    closed = _closed(book, slippage_bps, limits)
    dear = slippage_bps is not None and slippage_bps > limits.slip_bp_max
    if closed is None and not dear:
        return Go(slippage_bps)
    why = closed or f"slippage {slippage_bps:.2f} bps above slip_bp_max {limits.slip_bp_max:g}"
    next_ms = waited_ms + limits.recheck_ms
    if waited_ms < limits.max_delay_ms:
        return LookAgain(min(next_ms, limits.max_delay_ms), why)
    half = _half(piece, limits)
    if half is not None:
        return Halve(half, why)
    return Fail(f"{LIQUIDITY} {why}") if closed is not None else Go(slippage_bps)


def _closed(book: Book, slippage_bps: float | None, limits: Limits) -> str | None:
    """Why nothing may be sent into this book. NaN fails each comparison."""
    spread, depth = book.spread_bps, book.depth_top1_usdt
    if spread is None or depth is None or slippage_bps is None:
        return "the book is not known"
    if not spread <= limits.spread_bp_limit:
        return f"spread {spread:.2f} bps above {limits.spread_bp_limit:g}"
    if not depth >= limits.depth_top1_usdt_min:
        return f"top-1 depth {depth:.0f} USDT below {limits.depth_top1_usdt_min:g}"
    if not slippage_bps <= limits.slip_bp_hard:
        return f"slippage {slippage_bps:.2f} bps above slip_bp_hard {limits.slip_bp_hard:g}"
    return None


def _half(piece: Slice, limits: Limits) -> Decimal | None:
    """Half of it on the step; None where that could not be sent, or is less than a slice may be."""
    if piece.price is None:
        return None
    instrument = piece.instrument
    half = instrument.floor_qty(piece.qty / 2)
    worth = half * piece.price
    if half < instrument.min_qty or half <= 0 or worth < max(instrument.min_notional, limits.min_slice_usdt):
        return None
    return half
