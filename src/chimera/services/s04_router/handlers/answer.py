"""How an intent stands, as POST /orders and GET /orders answer it: from the documents, so a repeat reads the same."""

from collections.abc import Sequence
from decimal import Decimal

from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import AnswerStatus, IntentState, LegRole, Result
from chimera.contracts.http import IntentAnswer, OrderAnswer, OrderView
from chimera.domain.exact import average
from chimera.domain.execution.machine.flow import STOP_N, TARGET_N, WORKING, leg_name
from chimera.domain.execution.slippage import slippage_bps, vwap
from chimera.domain.execution.timeline import timeline_of
from chimera.services.s04_router.ledger import Ledger


async def answer_of(record: IntentRecord, ledger: Ledger) -> OrderAnswer:
    orders = [order for order_id in record.order_ids if (order := await ledger.order(order_id)) is not None]
    own = [order for order in orders if order.order_id in _working(record)]
    failed = record.state in (IntentState.REJECTED, IntentState.FAILED)
    base = record.intent.client_order_id
    pair = {leg_name(base, TARGET_N), leg_name(base, STOP_N)}
    filled = [(order.avg_price, order.filled_qty) for order in own if order.avg_price and order.filled_qty]
    avg_price = average(vwap(filled)) if filled else None
    return OrderAnswer(
        result=Result.FAIL if failed else Result.OK,
        status=status_of(record, own),
        intent_id=record.intent_id,
        order_id=base,
        order_ids=tuple(order.order_id for order in orders) or (base,),
        oco_legs=tuple(order.order_id for order in orders if order.oco_pair_id and order.order_id in pair),
        avg_price=avg_price,
        filled_qty=sum((qty for _, qty in filled), Decimal(0)),
        slippage_bps=slippage_of(own, avg_price),
        message=record.reason,
    )


def _working(record: IntentRecord) -> set[str]:
    """Names of the orders that work the intent's own quantity."""
    legs = record.execution.legs if record.execution is not None else ()
    names = {leg_name(record.intent.client_order_id, leg.n) for leg in legs if leg.role in (*WORKING, LegRole.REST)}
    return names or {record.intent.client_order_id}


def status_of(record: IntentRecord, own: Sequence[Order]) -> AnswerStatus:
    if record.state in (IntentState.REJECTED, IntentState.FAILED):
        return AnswerStatus.REJECTED
    if not record.state.is_final:
        return AnswerStatus.ACCEPTED
    if record.state is IntentState.CANCELED or not own:
        return AnswerStatus.CANCELED
    if len(own) == 1:
        return AnswerStatus(own[0].status.value)
    planned = sum((part.qty for part in record.execution.slices), Decimal(0)) if record.execution else record.intent.qty
    return AnswerStatus.FILLED if record.filled_qty >= planned else AnswerStatus.PARTIALLY_FILLED


def slippage_of(own: Sequence[Order], avg_price: Decimal | None) -> float | None:
    """Against the market as it was when the first order left."""
    mid = own[0].mid_at_send if own else None
    return slippage_bps(own[0].side, avg_price, mid) if own and avg_price is not None and mid else None


async def intent_answer_of(record: IntentRecord, ledger: Ledger) -> IntentAnswer:
    orders = [order for order_id in record.order_ids if (order := await ledger.order(order_id)) is not None]
    fills = [fill for order in orders for fill in await ledger.fills(order.order_id)]
    return IntentAnswer(
        intent_id=record.intent_id,
        state=record.state,
        market=record.market,
        symbol=record.symbol,
        purpose=record.purpose,
        filled_qty=record.filled_qty,
        avg_price=record.avg_price,
        reason=record.reason,
        orders=tuple(
            OrderView(
                order_id=order.order_id,
                type=order.type,
                side=order.side,
                purpose=order.purpose,
                status=order.status,
                quantity=order.quantity,
                filled_qty=order.filled_qty,
                price=order.price,
                stop_price=order.stop_price,
                avg_price=order.avg_price,
                reason=order.reason,
            )
            for order in orders
        ),
        timeline=timeline_of(record, orders, fills),
        updated_at=record.updated_at,
    )
