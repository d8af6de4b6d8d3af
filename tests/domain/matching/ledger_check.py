"""The exchange's books, checked from the outside: fills, ledger lines and orders against balances and positions.

Keeps nothing and trusts nothing but what the questions of the facade answer.
"""

import json
from collections import defaultdict
from decimal import Decimal

from chimera.contracts.enums import Market, OrderStatus, Side
from chimera.domain.execution.orders import VenueOrder
from chimera.domain.matching.exchange import Exchange
from tests.domain.matching.venue import SYMBOL, D

ZERO = Decimal(0)


def check_books(venue: Exchange, *, usdt: Decimal, spot_usdt: Decimal, btc: Decimal, deposited: Decimal = ZERO) -> None:
    """Everything the exchange owes is explained to the last digit by what it reported.

    `deposited` reached the futures wallet later: unlike what it began with, it stands in its ledger.
    """
    _check_spot(venue, spot_usdt, btc)
    _check_futures(venue, usdt, deposited)
    _check_orders(venue)
    for balance in venue.balances():
        assert balance.free >= 0, f"{balance} is negative"
        assert balance.locked >= 0, f"{balance} is negative"
        assert balance.free == balance.free.quantize(D("1e-8")), f"{balance} owes less than the smallest unit"
        flows = venue.flows(balance.market, balance.asset)
        assert sum(flows.values(), ZERO) == balance.free + balance.locked


def _check_spot(venue: Exchange, usdt: Decimal, btc: Decimal) -> None:
    for transfer in venue.transfers():
        usdt += transfer.amount if transfer.target is Market.SPOT else -transfer.amount
    for fill in venue.fills(Market.SPOT, SYMBOL):
        sign = fill.side.sign
        usdt -= sign * fill.price * fill.qty
        btc += sign * fill.qty
        if fill.fee_asset == "BTC":
            btc -= fill.fee
        else:
            usdt -= fill.fee
    held = {balance.asset: balance for balance in venue.balances(Market.SPOT)}
    assert held["USDT"].free + held["USDT"].locked == usdt
    assert held["BTC"].free + held["BTC"].locked == btc
    needs = {"USDT": ZERO, "BTC": ZERO}
    for need, side in _spot_needs(venue):
        needs["USDT" if side is Side.BUY else "BTC"] += need
    assert needs == {asset: held[asset].locked for asset in needs}


def _spot_needs(venue: Exchange) -> list[tuple[Decimal, Side]]:
    """What each open order needs; the legs of one list need the dearer of both, once."""
    groups: dict[str, list[VenueOrder]] = defaultdict(list)
    for order in venue.open_orders(Market.SPOT):
        groups[f"list {order.order_list_id}" if order.order_list_id else order.venue_order_id].append(order)
    needs = []
    for legs in groups.values():
        prices = [leg.price if leg.price is not None else leg.stop_price for leg in legs]
        amounts = [
            (leg.qty - leg.filled_qty) * (price if leg.side is Side.BUY and price is not None else 1)
            for leg, price in zip(legs, prices, strict=True)
        ]
        needs.append((max(amounts), legs[0].side))
    return needs


def _check_futures(venue: Exchange, usdt: Decimal, deposited: Decimal) -> None:
    moved_in = (t.amount if t.target is Market.FUT else -t.amount for t in venue.transfers())
    fills = venue.fills(Market.FUT, SYMBOL)
    incomes = venue.income()
    (held,) = venue.balances(Market.FUT)
    expected = usdt + sum((income.amount for income in incomes), ZERO)
    assert held.free + held.locked == expected
    for kind, booked in (
        ("REALIZED_PNL", sum((fill.realized_pnl_usdt for fill in fills), ZERO)),
        ("COMMISSION", -sum((fill.fee for fill in fills), ZERO)),
        ("TRANSFER", sum(moved_in, deposited)),
    ):
        assert sum((income.amount for income in incomes if income.kind == kind), ZERO) == booked, kind
    losses = {income.ts for income in incomes if income.amount < 0 and income.kind in ("REALIZED_PNL", "FUNDING_FEE")}
    gifts = [income for income in incomes if income.kind == "INSURANCE_CLEAR" and income.amount > 0]
    assert all(gift.ts in losses for gift in gifts), "the fund paid for something that was no loss"
    positions = venue.positions()
    qty = sum((fill.side.sign * fill.qty for fill in fills), ZERO)
    assert (positions[0].qty if positions else ZERO) == qty
    isolated = sum((position.isolated_wallet_usdt for position in positions), ZERO)
    assert all(position.isolated_wallet_usdt >= 0 for position in positions)
    leverage = venue.leverage(SYMBOL)
    resting = [order for order in venue.open_orders(Market.FUT) if not order.reduce_only]
    needs = ZERO
    for order in resting:
        assert order.price is not None
        notional = (order.qty - order.filled_qty) * order.price
        needs += _up(notional / leverage) + _up(notional * D("0.0005"))
    assert held.locked == isolated + needs
    for order in venue.open_orders(Market.FUT):
        if order.reduce_only:
            assert 0 < order.qty - order.filled_qty <= max(ZERO, -order.side.sign * qty), "nothing left to reduce"


def _check_orders(venue: Exchange) -> None:
    for market in Market:
        filled: dict[str, Decimal] = defaultdict(Decimal)
        for fill in venue.fills(market, SYMBOL):
            assert fill.qty > 0
            filled[fill.venue_order_id] += fill.qty
        trade_ids = [fill.trade_id for fill in venue.fills(market, SYMBOL)]
        assert trade_ids == sorted(set(trade_ids))
        still_open = {order.client_order_id for order in (*venue.open_orders(market), *venue.open_conditional())}
        for order in venue.orders(market):
            assert filled.get(order.venue_order_id, ZERO) == order.filled_qty <= order.qty or order.qty == 0
            assert (order.status is OrderStatus.FILLED) == (order.filled_qty == order.qty > 0)
            if not order.status.is_final:
                assert order.client_order_id in still_open


def as_json(venue: Exchange) -> str:
    return json.dumps(venue.export_state(), sort_keys=True)


def _up(amount: Decimal) -> Decimal:
    return amount.quantize(D("1e-8"), rounding="ROUND_CEILING")
