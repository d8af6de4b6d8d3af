"""I2 on spot: what a trade holds is always watched by its pair at the exchange, by a guard, or is being sold.

The pair is asked of the exchange's rows, and only guards and exits, which rest nowhere, of the documents. Before its
entry has ended a trade is the router's, which watches the stop while it buys.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chimera.contracts.collections import INTENTS, ORDERS, TRADES
from chimera.contracts.documents import Trade
from chimera.contracts.enums import Market, Purpose, TradeStatus
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.stops_listed import Downtime, downtime_of

WITHIN_MS = 12_000
"""2 s, as for futures, from when we can know: where the account stream is silent, the list of open orders is looked at
every 10 s. Source: SERVICES, I2 and S5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BareSpan:
    """A trade that nothing watched; `to_ms` None: until now."""

    trade_id: str
    from_ms: int
    to_ms: int | None


def check(evidence: Evidence) -> list[str]:
    """What is bare now, and has been for longer than it may."""
    return [
        f"{span.trade_id} has neither pair nor guard since {evidence.now_ms - span.from_ms} ms"
        for span in bare_spans(evidence)
        if span.to_ms is None and evidence.now_ms - span.from_ms > WITHIN_MS
    ]


def watched_in_time(evidence: Evidence, downtimes: Sequence[Downtime] = (), *, within_ms: int = WITHIN_MS) -> list[str]:
    """Every time that a trade was bare for too long while the system was up."""
    findings = []
    for span in bare_spans(evidence):
        to_ms = evidence.now_ms if span.to_ms is None else span.to_ms
        up_ms = to_ms - span.from_ms - downtime_of(span.from_ms, to_ms, downtimes)
        if up_ms > within_ms:
            findings.append(f"{span.trade_id} had neither pair nor guard for {up_ms} ms from {span.from_ms} on")
    return findings


def bare_spans(evidence: Evidence) -> list[BareSpan]:
    """Every span of positive length in which a trade held something and nothing watched it."""
    spans: list[BareSpan] = []
    for trade in evidence.on_file(TRADES):
        if trade.market is Market.SPOT:
            spans += _spans_of(evidence, trade)
    return sorted(spans, key=lambda span: (span.from_ms, span.trade_id))


def _spans_of(evidence: Evidence, trade: Trade) -> list[BareSpan]:
    entry = next((each for each in evidence.on_file(INTENTS) if each.intent_id == trade.trade_id), None)
    if entry is None or not entry.state.is_final:
        return []
    held_to_ms = None if trade.status is TradeStatus.ACTIVE else max((exit.ts for exit in trade.exits), default=0)
    spans: list[BareSpan] = []
    bare_from_ms = entry.updated_at
    for from_ms, to_ms in sorted(_watches(evidence, trade), key=lambda watch: watch[0]):
        if from_ms > bare_from_ms:
            spans.append(BareSpan(trade_id=trade.trade_id, from_ms=bare_from_ms, to_ms=from_ms))
        if to_ms is None:
            return [span for span in spans if held_to_ms is None or span.from_ms < held_to_ms]
        bare_from_ms = max(bare_from_ms, to_ms)
    if held_to_ms is None or bare_from_ms < held_to_ms:
        spans.append(BareSpan(trade_id=trade.trade_id, from_ms=bare_from_ms, to_ms=held_to_ms))
    return [span for span in spans if held_to_ms is None or span.from_ms < held_to_ms]


def _watches(evidence: Evidence, trade: Trade) -> list[tuple[int, int | None]]:
    """When what watched it began and ended; None: it has not ended."""
    stops = {
        order.order_id
        for order in evidence.on_file(ORDERS)
        if order.intent_id == trade.trade_id and order.oco_pair_id is not None and order.purpose is Purpose.SL
    }
    at_exchange = [
        (order.created_at_ms, order.updated_at_ms if order.status.is_final else None)
        for order in evidence.orders
        if order.market is Market.SPOT and order.client_order_id in stops
    ]
    ours = [
        (record.created_at, record.updated_at if record.state.is_final else None)
        for record in evidence.on_file(INTENTS)
        if record.intent.parent_id == trade.trade_id and record.purpose in (Purpose.GUARD, Purpose.EXIT)
    ]
    return at_exchange + ours
