"""How an entry is cut into slices: how many, how large, and when each is due.

Owns TWAP's numbers. Who sends them, and that none is lost or sent twice, is the machine's business. Pure: chance is
passed in.

    fineness_of   what health and the backtest guard make of it
    parts_for     the rule that holds for an order: bucket, table or what was asked for
    cut           the quantities
    due_offsets   when each is due
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from chimera.contracts.enums import Grade, Market, SliceShape
from chimera.contracts.flags import TwapBucket, TwapFlags
from chimera.contracts.messages.orders import Twap
from chimera.domain.execution.route import GAP_MS_MAX, SLICES_MAX, Route, RouteTable
from chimera.domain.market.instrument import Instrument


class Fineness(StrEnum):
    """What health and the backtest guard ask for beyond the usual slices."""

    USUAL = "USUAL"
    FINER = "FINER"
    FINEST = "FINEST"


_BAD = (Grade.ORANGE, Grade.RED)


def fineness_of(grades: Mapping[str, Grade], market: Market, *, conservative: bool) -> Fineness:
    """Of the grades in `health:rolling`; a metric that is not among them asks for nothing. Source: SERVICES S11."""
    if market is Market.SPOT and grades.get("ib_rate") in _BAD:
        # Only spot runs short of balance, and only spot pays for it.
        return Fineness.FINEST
    late = grades.get("router_e2e_latency_p95") in (Grade.YELLOW, *_BAD)
    if conservative or late or grades.get("maker_fill_ratio") in _BAD:
        return Fineness.FINER
    return Fineness.USUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The rule for one order, before its own size and the hard cap bound it. `min_slice_usdt` 0 sets no bound."""

    slices: int
    min_slice_usdt: Decimal
    gap_ms: int
    jitter_ms: int
    shape: SliceShape


def slices_for(slippage_bps: float, slip_bp_max: float) -> int:
    """As many as it takes for one of them to stay within `slip_bp_max`: what a level costs grows with its share."""
    if not slippage_bps > slip_bp_max:
        return 1
    return min(SLICES_MAX, math.ceil(slippage_bps / slip_bp_max)) if slip_bp_max > 0.0 else SLICES_MAX


def bucket_for(notional_usdt: Decimal, buckets: Sequence[TwapBucket]) -> TwapBucket | None:
    """The last bucket that begins below `notional_usdt`, so that above the last one its slices hold, and in a gap
    between two those of the lower one. None below all of them: one slice."""
    found = None
    for bucket in buckets:
        if notional_usdt > bucket.range[0]:
            found = bucket
    return found


def misasked(twap: Twap | None) -> tuple[str, str] | None:
    """(field, why) of the first number in what was asked for that makes no sense, or None."""
    if twap is None:
        return None
    for name, value, low, high in (
        ("slices", twap.slices, 1, SLICES_MAX),
        ("gap_ms", twap.gap_ms, 0, GAP_MS_MAX),
        ("jitter_ms", twap.jitter_ms, 0, GAP_MS_MAX),
    ):
        if value is not None and not low <= value <= high:
            return f"exec_policy.twap.{name}", f"{value} must be from {low} to {high}"
    if twap.min_slice_usdt is not None and twap.min_slice_usdt < 0:
        return "exec_policy.twap.min_slice_usdt", f"{twap.min_slice_usdt} must not be negative; 0 sets no bound"
    return None


def parts_for(
    notional_usdt: Decimal,
    flags: TwapFlags,
    *,
    route: Route | None = None,
    asked: Twap | None = None,
    fineness: Fineness = Fineness.USUAL,
) -> Parts:
    """The rule for an order of `notional_usdt`.

    A row of the route table stands before the bucket. Slices that were asked for are at least so many: S3 asks because
    one would cost too much, and a caller who wants fewer than the bucket turns slicing off by `enabled` false. What
    health asks for comes last and wins.
    """
    bucket = bucket_for(notional_usdt, flags.buckets)
    row = route.row_for(notional_usdt) if isinstance(route, RouteTable) else None
    slices = bucket.slices if bucket is not None else 1
    min_slice_usdt = bucket.min_slice_usdt if bucket is not None else Decimal(0)
    gap_ms = flags.gap_ms
    if row is not None and row.slices is not None:
        slices = row.slices
    if row is not None and row.gap_ms is not None:
        gap_ms = row.gap_ms
    jitter_ms = None
    if asked is not None:
        slices = max(slices, asked.slices or 1) if asked.enabled else 1
        gap_ms = gap_ms if asked.gap_ms is None else asked.gap_ms
        min_slice_usdt = min_slice_usdt if asked.min_slice_usdt is None else asked.min_slice_usdt
        jitter_ms = asked.jitter_ms
    if fineness is Fineness.FINER:
        slices = math.ceil(slices * flags.finer_mult)
    elif fineness is Fineness.FINEST:
        slices = SLICES_MAX
    return Parts(
        slices=min(slices, SLICES_MAX),
        min_slice_usdt=min_slice_usdt,
        gap_ms=gap_ms,
        jitter_ms=int(gap_ms * flags.jitter_ratio) if jitter_ms is None else jitter_ms,
        shape=flags.shape,
    )


def how_many(parts: Parts, notional_usdt: Decimal, slices_max: int) -> int:
    """n = min(slices, floor(notional / min_slice_usdt), slices_max), at least 1. Source: SERVICES S4."""
    most = min(parts.slices, slices_max)
    if parts.min_slice_usdt > 0:
        most = min(most, int(notional_usdt // parts.min_slice_usdt))
    return max(1, most)


def cut(qty: Decimal, price: Decimal, instrument: Instrument, parts: Parts, slices_max: int) -> tuple[Decimal, ...]:
    """The quantities in the order they are sent, smallest first where they grow. Their sum is exactly `qty`.

    Each is on stepSize, the last takes what is left; none is below min_qty or, at `price`, below minNotional: then
    there are fewer. An order that is itself below them stays whole, and so does one whose price is not known (0).

    Args:
        price: what the smallest is worth is judged by it: the lower of what the slices may be sent at.
        slices_max: S4_TWAP_MAX_SLICES, which no bundle and no caller exceeds.
    """
    for slices in range(how_many(parts, qty * price, slices_max), 1, -1):
        found = _shares(qty, slices, instrument, parts.shape)
        # The last is never the smallest: it has the remainder of all the others.
        if found[0] >= instrument.min_qty and found[0] > 0 and found[0] * price >= instrument.min_notional:
            return found
    return (qty,)


def _shares(qty: Decimal, slices: int, instrument: Instrument, shape: SliceShape) -> tuple[Decimal, ...]:
    if shape is SliceShape.EQUAL:
        head = [instrument.floor_qty(qty / slices)] * (slices - 1)
    else:
        weights = [Decimal(number).sqrt() for number in range(1, slices + 1)]
        whole = sum(weights, Decimal(0))
        head = [instrument.floor_qty(qty * weight / whole) for weight in weights[:-1]]
    return (*head, qty - sum(head, Decimal(0)))


def due_offsets_ms(slices: int, parts: Parts, chances: Sequence[float]) -> tuple[int, ...]:
    """When each slice is due, ms after the first, which is due at once. Never decreasing.

    Args:
        chances: one for each gap, in [0, 1): 0 makes it shorter by `jitter_ms`, 1 would make it longer by as much.

    Raises:
        ValueError: fewer chances than gaps.
    """
    if len(chances) < slices - 1:
        raise ValueError(f"{slices} slices have {slices - 1} gaps, and {len(chances)} chances were given")
    offsets = [0]
    for chance in chances[: slices - 1]:
        moved = parts.gap_ms + round((2.0 * chance - 1.0) * parts.jitter_ms)
        offsets.append(offsets[-1] + max(0, moved))
    return tuple(offsets)
