"""I2: every open futures position has listed reduce-only stops for its full quantity within 2 s, or is being closed.

Both halves ask the exchange's rows: `check` how it stands now, `naked_spans` how it ever stood. The documents only say
since when a naked position was being closed at market. The exchange's clock stands still while its process is down, so
what a start took is told to `stops_in_time` as downtime.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.collections import ORDERS
from chimera.contracts.enums import Market, OrderType
from chimera.domain.matching.records import OrderRecord
from chimera.simulation.checkers.evidence import Evidence

WITHIN_MS = 2_000
"""Of venue time. Source: SERVICES, I2."""

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NakedSpan:
    """`qty` of the position (without sign) that no stop covered; `to_ms` None: until now."""

    symbol: str
    qty: Decimal
    from_ms: int
    to_ms: int | None


Downtime = tuple[int, int]
"""From the exchange's clock at a kill to its clock when the system was ready again."""


def check(evidence: Evidence) -> list[str]:
    """What is naked now, and has been for longer than it may."""
    return [
        f"{span.symbol} has {span.qty} without a stop since {evidence.now_ms - span.from_ms} ms"
        for span in naked_spans(evidence)
        if span.to_ms is None and evidence.now_ms - span.from_ms > WITHIN_MS and _closing_since(evidence, span) is None
    ]


def stops_in_time(
    evidence: Evidence, downtimes: Sequence[Downtime] = (), *, since_ms: int = 0, within_ms: int = WITHIN_MS
) -> list[str]:
    """Every time since `since_ms` that a position was naked for too long while the system was up."""
    findings = []
    for span in naked_spans(evidence):
        to_ms = _closing_since(evidence, span) or (evidence.now_ms if span.to_ms is None else span.to_ms)
        up_ms = to_ms - span.from_ms - downtime_of(span.from_ms, to_ms, downtimes)
        if span.from_ms >= since_ms and up_ms > within_ms:
            findings.append(f"{span.symbol} had {span.qty} without a stop for {up_ms} ms from {span.from_ms} on")
    return findings


def downtime_of(from_ms: int, to_ms: int, downtimes: Sequence[Downtime]) -> int:
    """How much of the span the system was down."""
    return sum(max(0, min(to_ms, up_ms) - max(from_ms, down_ms)) for down_ms, up_ms in downtimes)


def _closing_since(evidence: Evidence, span: NakedSpan) -> int | None:
    """When our order that closes the naked position was put on file; one that ended unfilled closes nothing."""
    return min(
        (
            order.created_at
            for order in evidence.on_file(ORDERS)
            if (order.market, order.symbol, order.type) == (Market.FUT, span.symbol, OrderType.MARKET)
            and order.reduce_only
            and (order.filled_qty or not order.status.is_final)
            and span.from_ms <= order.created_at <= (evidence.now_ms if span.to_ms is None else span.to_ms)
        ),
        default=None,
    )


def naked_spans(evidence: Evidence) -> list[NakedSpan]:
    """Every span of positive length in which a position was larger than its listed stops."""
    spans: list[NakedSpan] = []
    symbols = sorted({fill.symbol for fill in evidence.fills if fill.market is Market.FUT})
    asked = {order.order_id: order.quantity or _ZERO for order in evidence.on_file(ORDERS)}
    for symbol in symbols:
        spans += _spans_of(evidence, symbol, asked)
    return sorted(spans, key=lambda span: (span.from_ms, span.symbol))


def _spans_of(evidence: Evidence, symbol: str, asked: dict[str, Decimal]) -> list[NakedSpan]:
    moved: dict[int, Decimal] = defaultdict(Decimal)
    for fill in evidence.fills:
        if fill.market is Market.FUT and fill.symbol == symbol:
            moved[fill.ts] += fill.side.sign * fill.qty
    stops = [order for order in evidence.orders if order.symbol == symbol and _is_stop(order)]
    instants = sorted({*moved, *(order.created_at_ms for order in stops), *(order.updated_at_ms for order in stops)})
    spans: list[NakedSpan] = []
    qty, since_ms, naked = _ZERO, 0, _ZERO
    for ts in instants:
        qty += moved.get(ts, _ZERO)
        bare = max(_ZERO, abs(qty) - sum((_covers(stop, qty, ts, asked) for stop in stops), _ZERO))
        if bare == naked:
            continue
        if naked:
            spans.append(NakedSpan(symbol=symbol, qty=naked, from_ms=since_ms, to_ms=ts))
        since_ms, naked = ts, bare
    if naked:
        spans.append(NakedSpan(symbol=symbol, qty=naked, from_ms=since_ms, to_ms=None))
    return _joined(spans)


def _joined(spans: list[NakedSpan]) -> list[NakedSpan]:
    """A position that grows while it is naked has been naked since it began to be."""
    joined: list[NakedSpan] = []
    for span in spans:
        last = joined[-1] if joined else None
        if last is not None and last.to_ms == span.from_ms:
            joined[-1] = NakedSpan(
                symbol=span.symbol, qty=max(last.qty, span.qty), from_ms=last.from_ms, to_ms=span.to_ms
            )
        else:
            joined.append(span)
    return joined


def _is_stop(order: OrderRecord) -> bool:
    return (
        order.market is Market.FUT
        and order.type is OrderType.STOP_MARKET
        and (order.reduce_only or order.close_position)
    )


def _covers(stop: OrderRecord, qty: Decimal, ts: int, asked: dict[str, Decimal]) -> Decimal:
    """What `stop` covered of a position of `qty` from `ts` on."""
    listed = stop.created_at_ms <= ts and (not (stop.status.is_final or stop.triggered) or ts < stop.updated_at_ms)
    if not listed or stop.side.sign * qty >= 0:
        return _ZERO
    # A trigger cuts the exchange's own quantity down to what was left to close; what was asked stands on our file.
    return abs(qty) if stop.close_position else max(stop.qty, asked.get(stop.client_order_id, _ZERO))
