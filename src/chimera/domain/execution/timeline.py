"""The life of one intent, moment by moment, from what is on file about it. Pure.

Owns which moments are told and in which words (`contracts.http.orders.TIMELINE_WORDS`); an intent's record, its orders
and their fills hold all of it, so a restart tells the same life. Moments of one millisecond stand in the order in which
they follow from one another. Fills have the exchange's time, everything else has ours.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from chimera.contracts.documents import Fill, IntentRecord, Order
from chimera.contracts.enums import OrderStatus, Purpose
from chimera.contracts.http.orders import TimelineEntry

_BEGUN, _NOTED, _FILED, _SENT, _LISTED, _FILLED, _OVER, _ENDED = range(8)

_WORDS_OF_NOTES = {
    "DELAYED": "SLICE_DELAYED",
    "HALVED": "SPLIT",
    "ARMED": "PROTECTED",
    "SELL": "OCO_FALLBACK",
}
"""The router's own notes, where people have another word for it; any other note is told as it is."""

_LISTED_WORDS = {
    Purpose.SL: "STOP_PLACED",
    Purpose.TP: "TARGET_PLACED",
}
_OVER_WORDS = {
    OrderStatus.CANCELED: "ORDER_CANCELED",
    OrderStatus.REJECTED: "ORDER_REFUSED",
}

Moment = tuple[tuple[int, int, int], TimelineEntry]
"""When, whose and which: what is sorted by. Whose is the number of the order, so that within one millisecond an entry
fills before its stop is filed."""
_OF_INTENT, _LAST = -1, 1_000_000


def timeline_of(record: IntentRecord, orders: Sequence[Order], fills: Iterable[Fill]) -> tuple[TimelineEntry, ...]:
    """From the oldest to the newest; what its stop and target did after it had ended stands after the end.

    Args:
        orders: of this intent, in the order of their numbers.
        fills: of those orders, in any order.
    """
    numbers = {order.order_id: number for number, order in enumerate(orders)}
    moments = [*_begun(record), *(moment for n, order in enumerate(orders) for moment in _of_order(n, order))]
    moments += [_filled(numbers.get(fill.order_id, _LAST), fill) for fill in fills]
    if record.state.is_final:
        moments.append(_end(record))
    moments.sort(key=lambda moment: moment[0])
    return tuple(entry for _, entry in moments)


def _begun(record: IntentRecord) -> Iterator[Moment]:
    intent = record.intent
    yield _moment(
        record.created_at,
        (_OF_INTENT, _BEGUN),
        "ACCEPTED",
        purpose=record.purpose.value,
        side=intent.side.value,
        qty=intent.qty or None,
        quote_usdt=intent.quote_qty,
        type=intent.type.value,
        price=intent.price,
        stop_price=intent.sl.price if intent.sl is not None else None,
        target_price=intent.tp.price if intent.tp is not None else None,
        routing=intent.exec_policy.routing.value if record.purpose.is_new_entry else None,
        config_rev=intent.risk.rcu_rev,
        signal=intent.signal_id,
        parent=intent.parent_id,
    )
    execution = record.execution
    if execution is None:
        return
    for note in execution.notes:
        detail = dict(note.detail)
        if note.what == "PLANNED":
            detail |= {"slices": execution.slices_planned, **({"why": execution.why} if execution.why else {})}
        yield _moment(note.ts, (_OF_INTENT, _NOTED), _WORDS_OF_NOTES.get(note.what, note.what), **detail)


def _of_order(n: int, order: Order) -> Iterator[Moment]:
    yield _moment(
        order.created_at,
        (n, _FILED),
        "ORDER_FILED",
        order.order_id,
        purpose=order.purpose.value if order.purpose is not None else None,
        side=order.side.value,
        type=order.type.value,
        qty=order.quantity,
        price=order.price,
        stop_price=order.stop_price,
    )
    venue_id = order.venue_algo_id or order.venue_order_id
    if order.sent_at is not None:
        yield _moment(order.sent_at, (n, _SENT), "ORDER_SENT", order.order_id, mid=order.mid_at_send, known_as=venue_id)
    changed_at = order.updated_at or order.sent_at or order.created_at
    if not order.status.is_final and order.is_listed:
        word = _LISTED_WORDS.get(order.purpose, "ORDER_ACKNOWLEDGED") if order.purpose else "ORDER_ACKNOWLEDGED"
        yield _moment(
            changed_at, (n, _LISTED), word, order.order_id, qty=order.quantity, price=order.stop_price or order.price
        )
    elif order.status in _OVER_WORDS:
        yield _moment(
            changed_at,
            (n, _OVER),
            _OVER_WORDS[order.status],
            order.order_id,
            filled_qty=order.filled_qty or None,
            of_qty=order.quantity,
            reason=order.reason,
        )


def _filled(n: int, fill: Fill) -> Moment:
    liquidity = None if fill.maker is None else "maker" if fill.maker else "taker"
    return _moment(
        fill.timestamp,
        (n, _FILLED),
        "ORDER_FILLED",
        fill.order_id,
        qty=fill.qty,
        price=fill.price,
        slippage_bps=fill.slippage_bps,
        fee_usdt=fill.fee_usdt,
        liquidity=liquidity,
        realised_usdt=fill.realized_pnl_usdt or None,
    )


def _end(record: IntentRecord) -> Moment:
    stopped = record.execution.stopped if record.execution is not None else None
    return _moment(
        record.updated_at,
        (_LAST, _ENDED),
        "ENDED",
        state=record.state.value,
        filled_qty=record.filled_qty,
        avg_price=record.avg_price,
        reason=record.reason or stopped,
    )


def _moment(ts: int, place: tuple[int, int], what: str, order_id: str | None = None, **detail: Any) -> Moment:
    told = {name: _plain(value) for name, value in detail.items() if value is not None}
    return (ts, *place), TimelineEntry(ts=ts, what=what, order_id=order_id, detail=told)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value
