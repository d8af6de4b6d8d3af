"""What a run earned, from the documents alone, and whether the exchange's own ledger says the same.

Owns the reckoning of a run that has ended. Every figure comes from what our services wrote (`fills`, `trades`,
`funding_records`, `orders`, `metrics_timeseries`); the exchange is asked only for the other side of each check, and for
the last price at which open positions are marked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from chimera.contracts.collections import FILLS, FUNDING_RECORDS, METRICS_TIMESERIES, ORDERS, TRADES, system_state
from chimera.contracts.documents import Fill, FundingRecord, HaltsState, Order, Trade
from chimera.contracts.enums import Market, Side, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.exact import money
from chimera.domain.market.instrument import Instrument
from chimera.domain.matching.records import Flow
from chimera.ports.documents import Query
from chimera.simulation.simulator import Ended, Setup

HALTS = system_state(HaltsState)

CENT = Decimal("0.01")
EXACT = Decimal("0.00000001")

_ZERO = Decimal(0)


class Decided(NamedTuple):
    """One kind of decision: `open` or `skip`, the word of `Reason`, and the code behind it."""

    action: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure, as our documents have it and as the exchange has it.

    `apart_max` is how far they may differ: nothing for what is counted or held, less than a cent for money, because
    documents keep eight places.
    """

    name: str
    documents: Decimal
    venue: Decimal
    apart_max: Decimal

    @property
    def agree(self) -> bool:
        return abs(self.documents - self.venue) <= self.apart_max


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPosition:
    """What was still open at the end. `price` is the mark (FUT) or the mid (SPOT); `pnl_usdt` is at that price."""

    key: InstrumentKey
    side: Side
    qty: Decimal
    entry_price_avg: Decimal
    price: Decimal
    pnl_usdt: Decimal
    stop_price: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The result. Money in USDT; `fees_usdt` > 0 was paid, `funding_usdt` received +, paid -.

    net_pnl = realized_pnl - fees + funding + open_pnl = equity_end - equity_start. `max_drawdown` is a fraction of the
    peak before it.
    """

    trades: tuple[Trade, ...]
    open_positions: tuple[OpenPosition, ...]
    net_pnl_usdt: Decimal
    realized_pnl_usdt: Decimal
    open_pnl_usdt: Decimal
    fees_usdt: Decimal
    funding_usdt: Decimal
    equity_start_usdt: Decimal
    equity_end_usdt: Decimal
    max_drawdown: float
    max_drawdown_usdt: float
    decided: Mapping[Decided, int]
    checks: tuple[Check, ...]
    halted: tuple[str, ...] = ()
    """Limits that stopped all entries from some time on: in a replay nobody is there to release them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """Everything on file that the figures need."""

    trades: Sequence[Trade]
    fills: Sequence[Fill]
    orders: Sequence[Order]
    funding: Sequence[FundingRecord]
    equity: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """What moved an account, from one side's own records. `held` is by instrument: signed FUT, base asset SPOT."""

    fut_pnl: Decimal
    fut_fees: Decimal
    spot_cash: Decimal
    """SPOT sales less purchases and less fees paid in USDT."""
    spot_fees: Decimal
    """In USDT; a fee taken in the base asset at the price of its fill."""
    funding: Decimal
    held: Mapping[InstrumentKey, Decimal]


async def figures(ended: Ended, setup: Setup, decided: Mapping[Decided, int]) -> Figures:
    """Reckon a run that has ended and whose documents are still open."""
    instruments = setup.rules.instruments
    written = await _read(ended, instruments)
    prices = await _last_prices(ended, instruments)
    start = setup.spot_usdt + setup.fut_usdt
    ours = _sums_of_documents(written, instruments)
    opens = _open_positions(written.trades, prices)
    left = _left_open_usdt(written.trades, prices)
    spot_value = sum((ours.held[key] * price for key, price in prices.items() if key.market is Market.SPOT), _ZERO)
    fut_open = sum((each.pnl_usdt for each in opens if each.key.market is Market.FUT), _ZERO)
    net = ours.fut_pnl - ours.fut_fees + ours.funding + fut_open + ours.spot_cash + spot_value
    fees = ours.fut_fees + ours.spot_fees
    drawdown, drawdown_usdt = max_drawdown(float(start), written.equity)
    return Figures(
        trades=tuple(written.trades),
        open_positions=opens,
        net_pnl_usdt=money(net),
        realized_pnl_usdt=money(net + fees - ours.funding - left),
        open_pnl_usdt=money(left),
        fees_usdt=money(fees),
        funding_usdt=money(ours.funding),
        equity_start_usdt=start,
        equity_end_usdt=money(start + net),
        max_drawdown=drawdown,
        max_drawdown_usdt=drawdown_usdt,
        decided=dict(decided),
        checks=_checks(ended, instruments, written, ours, prices, start, net, fees, left),
        halted=await _halted(ended),
    )


def max_drawdown(start: float, equity: Iterable[float]) -> tuple[float, float]:
    """The deepest fall below the peak before it: as a fraction of that peak, and in USDT; each its own deepest.

    A reading may be torn, because a fill reaches wallet and holding one after the other: as in S6 the peak counts the
    lower of two readings in a row, the fall the higher.
    """
    peak = last = start
    ratio = usdt = 0.0
    for value in equity:
        peak = max(peak, min(value, last))
        fall = peak - max(value, last)
        last = value
        usdt = max(usdt, fall)
        ratio = max(ratio, fall / peak if peak > 0 else 0.0)
    return ratio, usdt


# --- our side


async def _read(ended: Ended, instruments: Sequence[Instrument]) -> _Written:
    documents = ended.documents
    funding: list[FundingRecord] = []
    for instrument in instruments:
        if instrument.market is Market.FUT:
            of_symbol = (("symbol", instrument.symbol),)
            funding += await documents.find(Query(collection=FUNDING_RECORDS, index="by_sym_time", equal=of_symbol))
    points = await documents.find(
        Query(collection=METRICS_TIMESERIES, index="by_metric", equal=(("metric", "equity_usdt"),))
    )
    trades = await documents.find(Query(collection=TRADES, index="by_time"))
    return _Written(
        trades=sorted(trades, key=lambda trade: (trade.opened_at, trade.trade_id)),
        fills=await documents.find(Query(collection=FILLS, index="by_time")),
        orders=await documents.find(Query(collection=ORDERS, index="by_time")),
        funding=funding,
        equity=[point.value for point in points],
    )


async def _halted(ended: Ended) -> tuple[str, ...]:
    state = await ended.documents.get(HALTS, "halts")
    halts = {} if state is None else state.halts
    return tuple(
        f"no entry after {datetime.fromtimestamp(halt.at / 1_000, UTC):%Y-%m-%d %H:%M} UTC: {halt.reason}, and nobody "
        "releases a halt here"
        for _, halt in sorted(halts.items())
    )


def _sums_of_documents(written: _Written, instruments: Sequence[Instrument]) -> _Sums:
    base_of = {instrument.key: instrument.base_asset for instrument in instruments}
    held = {instrument.key: _ZERO for instrument in instruments}
    fut_pnl = fut_fees = spot_cash = spot_fees = _ZERO
    for fill in written.fills:
        assert fill.side is not None, f"fill {fill.fill_id} has no side"
        key, fee = InstrumentKey(fill.market, fill.symbol), fill.fee_usdt or _ZERO
        held[key] += fill.side.sign * fill.qty
        if fill.market is Market.FUT:
            fut_pnl += fill.realized_pnl_usdt or _ZERO
            fut_fees += fee
            continue
        spot_fees += fee
        spot_cash -= fill.side.sign * fill.price * fill.qty
        if fill.fee_asset == base_of[key]:
            held[key] -= fill.fee_qty or _ZERO
        else:
            spot_cash -= fee
    return _Sums(
        fut_pnl=fut_pnl,
        fut_fees=fut_fees,
        spot_cash=spot_cash,
        spot_fees=spot_fees,
        funding=sum((record.amount_usdt for record in written.funding), _ZERO),
        held=held,
    )


def _open_positions(trades: Sequence[Trade], prices: Mapping[InstrumentKey, Decimal]) -> tuple[OpenPosition, ...]:
    return tuple(
        OpenPosition(
            key=(key := InstrumentKey(trade.market, trade.symbol)),
            side=trade.side,
            qty=trade.qty_open,
            entry_price_avg=trade.entry_price_avg,
            price=prices[key],
            pnl_usdt=_marked_usdt(trade, prices[key]),
            stop_price=trade.stop_price,
        )
        for trade in trades
        if trade.status is TradeStatus.ACTIVE
    )


def _left_open_usdt(trades: Sequence[Trade], prices: Mapping[InstrumentKey, Decimal]) -> Decimal:
    """Unrealised PnL of all that was not sold, dust of closed spot trades included."""
    return sum((_marked_usdt(trade, prices[InstrumentKey(trade.market, trade.symbol)]) for trade in trades), _ZERO)


def _marked_usdt(trade: Trade, price: Decimal) -> Decimal:
    return money(trade.side.sign * (price - trade.entry_price_avg) * trade.qty_open)


async def _last_prices(ended: Ended, instruments: Sequence[Instrument]) -> dict[InstrumentKey, Decimal]:
    prices: dict[InstrumentKey, Decimal] = {}
    for instrument in instruments:
        if instrument.market is Market.FUT:
            prices[instrument.key] = (await ended.venue.mark(instrument.symbol)).mark
        else:
            prices[instrument.key] = (await ended.venue.book(instrument.key)).mid
    return prices


# --- the exchange's side


def _sums_of_venue(ended: Ended, instruments: Sequence[Instrument]) -> _Sums:
    exchange = ended.venue.exchange
    futures, spot = exchange.flows(Market.FUT, "USDT"), exchange.flows(Market.SPOT, "USDT")
    positions = {InstrumentKey(Market.FUT, each.symbol): each.qty for each in exchange.positions()}
    held: dict[InstrumentKey, Decimal] = {}
    spot_fees = _ZERO
    for instrument in instruments:
        if instrument.market is Market.FUT:
            held[instrument.key] = positions.get(instrument.key, _ZERO)
            continue
        held[instrument.key] = sum(exchange.flows(Market.SPOT, instrument.base_asset).values(), _ZERO)
        for fill in exchange.fills(Market.SPOT, instrument.symbol):
            spot_fees += fill.fee * fill.price if fill.fee_asset == instrument.base_asset else fill.fee
    return _Sums(
        fut_pnl=futures.get(Flow.REALIZED_PNL, _ZERO) + futures.get(Flow.INSURANCE_CLEAR, _ZERO),
        fut_fees=-futures.get(Flow.COMMISSION, _ZERO),
        spot_cash=spot.get(Flow.TRADE, _ZERO) + spot.get(Flow.COMMISSION, _ZERO),
        spot_fees=spot_fees,
        funding=futures.get(Flow.FUNDING_FEE, _ZERO),
        held=held,
    )


def _checks(
    ended: Ended,
    instruments: Sequence[Instrument],
    written: _Written,
    ours: _Sums,
    prices: Mapping[InstrumentKey, Decimal],
    start: Decimal,
    net: Decimal,
    fees: Decimal,
    left: Decimal,
) -> tuple[Check, ...]:
    exchange = ended.venue.exchange
    theirs = _sums_of_venue(ended, instruments)
    spot_value = sum((theirs.held[key] * price for key, price in prices.items() if key.market is Market.SPOT), _ZERO)
    wallets = sum((each.free + each.locked for each in exchange.balances() if each.asset == "USDT"), _ZERO)
    equity = wallets + sum((each.unrealized_pnl_usdt for each in exchange.positions()), _ZERO) + spot_value
    their_fees = theirs.fut_fees + theirs.spot_fees
    of_trades = sum((trade.realized_pnl_usdt for trade in written.trades), _ZERO) + left
    orders = [order for market in Market for order in exchange.orders(market)]
    fills = [fill for each in instruments for fill in exchange.fills(each.market, each.symbol)]
    on_file = {order.order_id: order for order in written.orders}
    fill_ids = {fill.fill_id for fill in written.fills}
    same_orders = sum(
        1
        for order in orders
        if (known := on_file.get(order.client_order_id)) is not None
        and known.status is order.status
        and known.filled_qty == money(order.filled_qty)
    )
    same_fills = sum(1 for fill in fills if fill.fill_id in fill_ids)
    open_on_file = sum(1 for order in written.orders if not order.status.is_final)
    open_there = sum(1 for order in orders if not order.status.is_final)
    return (
        _money("equity_end_usdt", start + net, equity),
        _money("net_pnl_usdt", net, equity - start),
        _money("fees_usdt", fees, their_fees),
        _money("funding_usdt", ours.funding, theirs.funding),
        _money("fut_realized_pnl_usdt", ours.fut_pnl, theirs.fut_pnl),
        _money("fut_fees_usdt", ours.fut_fees, theirs.fut_fees),
        _money("spot_cash_usdt", ours.spot_cash, theirs.spot_cash),
        # What the trades say of themselves must be what the account earned.
        _money("trades_pnl_usdt", of_trades, equity - start + their_fees - theirs.funding),
        _money("trades_fees_usdt", sum((trade.fees_usdt for trade in written.trades), _ZERO), their_fees),
        _money("trades_funding_usdt", sum((trade.funding_usdt for trade in written.trades), _ZERO), theirs.funding),
        *(
            Check(name=f"open_qty {key}", documents=ours.held[key], venue=theirs.held[key], apart_max=EXACT)
            for key in ours.held
        ),
        _count("fills", same_fills, len(fills)),
        _count("fills_on_file", len(written.fills), len(fills)),
        _count("orders", same_orders, len(orders)),
        _count("open_orders", open_on_file, open_there),
    )


def _money(name: str, documents: Decimal, venue: Decimal) -> Check:
    return Check(name=name, documents=documents, venue=venue, apart_max=CENT / 2)


def _count(name: str, documents: int, venue: int) -> Check:
    return Check(name=name, documents=Decimal(documents), venue=Decimal(venue), apart_max=_ZERO)
