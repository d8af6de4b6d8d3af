"""How an intent stands, as POST /orders and GET /orders answer it: from the documents, so a repeat reads the same."""

from decimal import Decimal

from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import AnswerStatus, IntentState, Result
from chimera.contracts.http import IntentAnswer, OrderAnswer, OrderView
from chimera.domain.execution.machine.flow import STOP_N, TARGET_N, leg_name
from chimera.domain.execution.slippage import slippage_bps
from chimera.services.s04_router.ledger import Ledger


async def answer_of(record: IntentRecord, ledger: Ledger) -> OrderAnswer:
    orders = [order for order_id in record.order_ids if (order := await ledger.order(order_id)) is not None]
    entry = next((order for order in orders if order.order_id == record.intent.client_order_id), None)
    failed = record.state in (IntentState.REJECTED, IntentState.FAILED)
    base = record.intent.client_order_id
    pair = {leg_name(base, TARGET_N), leg_name(base, STOP_N)}
    return OrderAnswer(
        result=Result.FAIL if failed else Result.OK,
        status=status_of(record, entry),
        intent_id=record.intent_id,
        order_id=base,
        order_ids=tuple(order.order_id for order in orders) or (base,),
        oco_legs=tuple(order.order_id for order in orders if order.oco_pair_id and order.order_id in pair),
        avg_price=entry.avg_price if entry else None,
        filled_qty=entry.filled_qty if entry else Decimal(0),
        slippage_bps=slippage_of(entry),
        message=record.reason,
    )


def status_of(record: IntentRecord, entry: Order | None) -> AnswerStatus:
    if record.state in (IntentState.REJECTED, IntentState.FAILED):
        return AnswerStatus.REJECTED
    if not record.state.is_final:
        return AnswerStatus.ACCEPTED
    return AnswerStatus(entry.status.value) if entry else AnswerStatus.CANCELED


def slippage_of(entry: Order | None) -> float | None:
    if entry is None or entry.avg_price is None or not entry.mid_at_send:
        return None
    return slippage_bps(entry.side, entry.avg_price, entry.mid_at_send)


async def intent_answer_of(record: IntentRecord, ledger: Ledger) -> IntentAnswer:
    orders = [order for order_id in record.order_ids if (order := await ledger.order(order_id)) is not None]
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
        updated_at=record.updated_at,
    )
