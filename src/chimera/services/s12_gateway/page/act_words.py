"""What an act of a person would do, said before it is done. Pure.

The router and the keeper decide; what stands here is what a person sees while they think about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from chimera.contracts.documents import Order, Trade
from chimera.contracts.enums import Market, PositionSide
from chimera.contracts.http.positions import PositionView
from chimera.contracts.instrument_key import InstrumentKey
from chimera.services.s12_gateway.page.words import instrument_name, number, quantity, signed

FLATTEN_WORD = "FLATTEN"


@dataclass(frozen=True, slots=True)
class Preview:
    """`tone` as in the tables; `needs_confirm`: more would be lost than the first stop allowed; `price` None: it cannot
    be sent as it is written."""

    text: str
    tone: str = ""
    needs_confirm: bool = False
    price: Decimal | None = None


def name_of(position: PositionView) -> str:
    return instrument_name(str(InstrumentKey(position.market, position.symbol)))


def result_at(position: PositionView, price: Decimal) -> Decimal:
    """USDT that the position's price would have earned at `price`, before fees; a loss below 0."""
    sign = 1 if position.side is PositionSide.LONG else -1
    return (price - position.entry_price_avg) * position.qty * sign


def loss_budget(position: PositionView, trades: Sequence[Trade]) -> Decimal | None:
    """USDT that the first stop allowed to lose; None: nobody said."""
    return next((trade.first_loss_usdt for trade in trades if trade.trade_id == position.trade_id), None)


def close_text(position: PositionView, places: int) -> str:
    """What closing it would do."""
    verb = "sold" if position.side is PositionSide.LONG else "bought back"
    text = f"{quantity(position.qty)} are {verb} at market now; its stop and target are taken back once it is flat."
    if position.mark_price is None:
        return text
    result = signed(result_at(position, position.mark_price))
    return f"{text} At the mark of {number(position.mark_price, places)} that is {result} USDT before fees."


def stop_now_text(position: PositionView, budget_usdt: Decimal | None, places: int) -> str:
    """Where the stop is, and what it means."""
    if position.stop_price is None:
        return "No stop is listed for it now."
    result = signed(result_at(position, position.stop_price))
    allowed = "" if budget_usdt is None else f" The first stop allowed a loss of {number(budget_usdt, 2)} USDT."
    return f"It is at {number(position.stop_price, places)}: {result} USDT there, before fees.{allowed}"


def stop_preview(position: PositionView, text: str, budget_usdt: Decimal | None, places: int) -> Preview:
    """What a stop at the price that somebody writes would mean."""
    try:
        price = Decimal(text.replace(",", "").strip())
    except InvalidOperation:
        return Preview("Write a price in USDT.", "dim")
    if not price.is_finite() or price <= 0:
        return Preview("Write a price above 0.", "bad")
    is_long = position.side is PositionSide.LONG
    mark = position.mark_price
    if mark is not None and (price >= mark if is_long else price <= mark):
        where = "above" if is_long else "below"
        return Preview(
            f"That is {where} the mark of {number(mark, places)}: it would trigger at once. Close it instead.", "bad"
        )
    result = result_at(position, price)
    would = f"A stop there: {signed(result)} USDT, before fees."
    now = position.stop_price
    if now is not None and (price >= now if is_long else price <= now):
        return Preview(f"{would} Nearer to profit than now.", "good", price=price)
    if budget_usdt is not None and -result <= budget_usdt:
        return Preview(f"{would} Further away than now, and within what the first stop allowed.", "warn", price=price)
    allowed = "nobody said how much may be lost" if budget_usdt is None else f"only {number(budget_usdt, 2)} were"
    return Preview(
        f"{would} More than allowed: {allowed}. Tick the box below if you mean it.",
        "bad",
        needs_confirm=True,
        price=price,
    )


def cancel_text(order: Order) -> str:
    """What canceling it would do."""
    if not order.protects:
        return f"{order.order_id} is taken back at the exchange. What has filled of it stays."
    if order.market is Market.SPOT:
        return (
            "Stop and target of a spot trade go together. A guard of ours watches the same prices in their place; to be"
            " rid of them, close the position."
        )
    return "It is a position's stop: it is placed again, or the position closed. To have it elsewhere, move it."


def flatten_text(positions: Sequence[PositionView]) -> str:
    """What flattening would do."""
    first = "The kill switch is pulled, entries under way are taken back"
    if not positions:
        return f"{first}. Nothing is open now."
    names = ", ".join(name_of(position) for position in positions)
    open_usdt = sum((position.unrealized_pnl_usdt or Decimal(0) for position in positions), Decimal(0))
    return f"{first}, and {names} are closed at market: {signed(open_usdt)} USDT at the marks, before fees."
