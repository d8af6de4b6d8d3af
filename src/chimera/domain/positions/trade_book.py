"""What a trade is worth, from its fills alone.

Owns how fills become quantity, average entry, realised PnL and fees of one trade. Told the same fills in any order,
once or twice, it says the same; nothing else is remembered. What the exchange itself booked for a futures close is
taken as it is, because its ledger is what we are measured against.

    FUT    PnL of a close = side * (exit price - average cost) * qty
    SPOT   a fee taken in the base asset lessens what is held; PnL of a sale = (price - WAC) * qty
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.documents import Fill
from chimera.contracts.enums import Market, Side
from chimera.domain.exact import average, money

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BookFill:
    """One fill. `fee_usdt` > 0 was paid; `fee_base_qty` is the part of it taken in the base asset.

    `told_pnl_usdt`: what the exchange booked for a close, before fees; None where it books nothing (SPOT).
    `foreign_qty`: the part of an entry that closed what somebody else held: the exchange has one position.
    """

    fill_id: str
    order_id: str
    side: Side
    price: Decimal
    qty: Decimal
    fee_usdt: Decimal
    ts: int
    fee_base_qty: Decimal = _ZERO
    told_pnl_usdt: Decimal | None = None
    foreign_qty: Decimal = _ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class BookExit:
    """What one order took out of the trade: `price` its average, `ts` its last fill, `pnl_usdt` before fees.

    `qty` is the trade's part of `filled_qty`: what is sold beyond it opens something, or is dust.
    """

    order_id: str
    qty: Decimal
    price: Decimal
    pnl_usdt: Decimal
    fee_usdt: Decimal
    ts: int
    filled_qty: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeBook:
    """`qty_opened` is what was received (SPOT: net of fees in the base asset); `qty_open` what is left of it.

    `entry_price_avg` is the average cost of what is open, and after the end that of what was last open.
    `realized_pnl_usdt` is before fees, and holds what the exchange booked where an entry closed somebody else's
    (`netted_qty` of it); `fees_usdt` holds all of them, `entry_fees_usdt` those of the entries.
    """

    qty_opened: Decimal
    qty_open: Decimal
    netted_qty: Decimal
    entry_price_avg: Decimal
    realized_pnl_usdt: Decimal
    fees_usdt: Decimal
    entry_fees_usdt: Decimal
    entries: tuple[BookFill, ...]
    exits: tuple[BookExit, ...]
    opened_at: int
    last_fill_at: int


def in_order(fills: Iterable[BookFill]) -> list[BookFill]:
    """By time, then by the exchange's number; each once."""
    unique = {fill.fill_id: fill for fill in fills}
    return sorted(unique.values(), key=lambda fill: ids.fill_order(fill.ts, fill.fill_id))


def book_of(market: Market, side: Side, fills: Iterable[BookFill]) -> TradeBook | None:
    """The trade that `side` opened; None before its first entry fill.

    What is sold beyond the trade's own quantity was never its own: it earns the trade nothing.
    """
    ordered = in_order(fills)
    entries = tuple(fill for fill in ordered if fill.side is side)
    if not entries:
        return None
    opened = sum((_received(fill) for fill in entries), _ZERO)
    held = cost = avg = _ZERO
    exits: dict[str, BookExit] = {}
    for fill in ordered:
        if fill.side is side:
            held += _received(fill)
            cost += _received(fill) * fill.price
            avg = cost / held if held else avg
            continue
        closed = min(fill.qty, held)
        share = cost if closed == held else cost * closed / held
        held -= closed
        cost -= share
        if market is Market.FUT and fill.told_pnl_usdt is not None:
            pnl = fill.told_pnl_usdt
        else:
            pnl = money(side.sign * (closed * fill.price - share))
        exits[fill.order_id] = _joined(
            exits.get(fill.order_id), fill, closed if market is Market.FUT else fill.qty, pnl
        )
    exited = sum((exit.qty for exit in exits.values()), _ZERO)
    entry_fees = sum((fill.fee_usdt for fill in entries), _ZERO)
    netted_pnl = sum((fill.told_pnl_usdt or _ZERO for fill in entries), _ZERO)
    return TradeBook(
        qty_opened=opened,
        qty_open=max(_ZERO, opened - exited),
        netted_qty=sum((fill.foreign_qty for fill in entries), _ZERO),
        entry_price_avg=average(avg or entries[-1].price),
        realized_pnl_usdt=netted_pnl + sum((exit.pnl_usdt for exit in exits.values()), _ZERO),
        fees_usdt=entry_fees + sum((exit.fee_usdt for exit in exits.values()), _ZERO),
        entry_fees_usdt=entry_fees,
        entries=entries,
        exits=tuple(exits.values()),
        opened_at=entries[0].ts,
        last_fill_at=ordered[-1].ts,
    )


def _received(fill: BookFill) -> Decimal:
    return fill.qty - fill.fee_base_qty - fill.foreign_qty


def _joined(before: BookExit | None, fill: BookFill, qty: Decimal, pnl: Decimal) -> BookExit:
    if before is None:
        return BookExit(
            order_id=fill.order_id,
            qty=qty,
            price=average(fill.price),
            pnl_usdt=pnl,
            fee_usdt=fill.fee_usdt,
            ts=fill.ts,
            filled_qty=fill.qty,
        )
    filled_qty = before.filled_qty + fill.qty
    return BookExit(
        order_id=fill.order_id,
        qty=before.qty + qty,
        price=average((before.price * before.filled_qty + fill.price * fill.qty) / filled_qty),
        pnl_usdt=before.pnl_usdt + pnl,
        fee_usdt=before.fee_usdt + fill.fee_usdt,
        ts=fill.ts,
        filled_qty=filled_qty,
    )


def part_of(fill: Fill, qty: Decimal) -> Fill:
    """`qty` of a fill, with its part of the fee and of what the exchange booked."""
    if qty == fill.qty:
        return fill
    share = qty / fill.qty
    return fill.but(
        qty=qty,
        fee_usdt=money((fill.fee_usdt or Decimal(0)) * share),
        realized_pnl_usdt=money((fill.realized_pnl_usdt or Decimal(0)) * share),
    )
