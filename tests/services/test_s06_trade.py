"""What a trade is, from its documents alone."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.documents import Fill, IntentRecord, Order, PersonsStop
from chimera.contracts.enums import Intent, IntentState, Market, OrderStatus, OrderType, Purpose, Side, TradeStatus
from chimera.contracts.messages.orders import StopSpec, TargetSpec
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.positions.manage import ManageParams
from chimera.domain.positions.roe import roe
from chimera.services.s06_positions.trade import Facts, covering_stop, to_cover_qty, trade_of, view_of
from tests.domain.builders import BTC_FUT

D = Decimal
FEE = D("0.0005")


def intent(name: str, purpose: Purpose, qty: str, state: IntentState, at: int, **more: Any) -> IntentRecord:
    wanted = OrderIntent(
        intent_id=name,
        client_order_id=f"s3-{name.lower()}",
        ts=at,
        market=Market.FUT,
        symbol="BTCUSDT",
        side=Side.BUY,
        intent=Intent(purpose.value),
        purpose=purpose,
        qty=D(qty),
        leverage=20,
        **more,
    )
    return IntentRecord(
        intent_id=name,
        state=state,
        intent=wanted,
        body_hash=wanted.body_hash(),
        market=Market.FUT,
        symbol="BTCUSDT",
        purpose=purpose,
        created_at=at,
        updated_at=at,
    )


def order(name: str, purpose: Purpose, qty: str, *, of: str, at: int, **more: Any) -> Order:
    entry = purpose in (Purpose.ENTRY, Purpose.ADD)
    told: dict[str, Any] = {
        "order_id": name,
        "market": Market.FUT,
        "symbol": "BTCUSDT",
        "side": Side.BUY if entry else Side.SELL,
        "type": OrderType.MARKET if entry else OrderType.STOP_MARKET,
        "quantity": D(qty),
        "status": OrderStatus.FILLED if entry else OrderStatus.NEW,
        "rcu_rev": 1,
        "created_at": at,
        "intent_id": of,
        "parent_id": None if of == "E1" else "E1",
        "purpose": purpose,
        "filled_qty": D(qty) if entry else D(0),
    }
    return Order(**(told | ({} if entry else {"venue_algo_id": name}) | more))


def fill(name: str, of: str, side: Side, price: str, qty: str, at: int) -> Fill:
    return Fill(
        fill_id=name,
        order_id=of,
        market=Market.FUT,
        symbol="BTCUSDT",
        side=side,
        price=D(price),
        qty=D(qty),
        timestamp=at,
    )


FIRST = Facts(
    record=intent(
        "E1",
        Purpose.ENTRY,
        "0.010",
        IntentState.DONE,
        100,
        sl=StopSpec(distance=D(600)),
        tp=TargetSpec(ratio=D("0.10")),
    ),
    orders=(
        order("e1", Purpose.ENTRY, "0.010", of="E1", at=100),
        order("e1-1", Purpose.SL, "0.010", of="E1", at=110, stop_price=D(59_400)),
        order("e1-2", Purpose.TP, "0.005", of="E1", at=120, stop_price=D("60361.2")),
    ),
    fills=(fill("F1", "e1", Side.BUY, "60000", "0.010", 100),),
    instrument=BTC_FUT,
    params=ManageParams(),
    fee_ratio=FEE,
    leverage=20,
)
GROWING = replace(
    FIRST,
    orders=(
        *FIRST.orders,
        order("a1", Purpose.ADD, "0.005", of="E1-ADD-1", at=200),
        order("a1-1", Purpose.SL, "0.005", of="E1-ADD-1", at=210, stop_price=D(59_900)),
    ),
    fills=(*FIRST.fills, fill("F2", "a1", Side.BUY, "60300", "0.005", 200)),
    adds=(intent("E1-ADD-1", Purpose.ADD, "0.005", IntentState.PROTECTING, 220),),
)
GROWN = replace(GROWING, adds=(intent("E1-ADD-1", Purpose.ADD, "0.005", IntentState.DONE, 220),))


def trade(facts: Facts, put: PersonsStop | None = None) -> Any:
    before = None
    if put is not None:
        before = trade_of(facts, before=None, funding_usdt=D(0), now_ms=900)
        assert before is not None
        before = before.but(persons_stop=put)
    made = trade_of(facts, before=before, funding_usdt=D(0), now_ms=1_000)
    assert made is not None
    return made


def test_what_was_added_counts_as_entered() -> None:
    grown = trade(GROWN)

    assert (grown.qty_open, grown.add_on_count) == (D("0.015"), 1)
    assert grown.entry_price_avg == D(60_100)
    assert [each.purpose for each in grown.entries] == [Purpose.ENTRY, Purpose.ADD]
    assert (grown.first_loss_usdt, trade(FIRST).first_loss_usdt) == (D(6), D(6))


def test_while_it_grows_the_routers_part_is_the_routers() -> None:
    growing = trade(GROWING)
    view = view_of(GROWING, growing)

    assert (growing.qty_open, growing.add_on_count, growing.stop_price) == (D("0.015"), 0, D(59_400))
    assert to_cover_qty(GROWING, growing) == D("0.010")
    assert (view.add_pending, view.stop_qty, view.to_cover_qty) == (True, D("0.010"), D("0.010"))
    covering = covering_stop(GROWING, growing)
    assert covering is not None
    assert covering.order_id == "e1-1"


def test_once_it_has_grown_its_stops_are_the_trades_own() -> None:
    grown = trade(GROWN)
    view = view_of(GROWN, grown)

    assert (grown.stop_price, grown.stop_order_id) == (D(59_900), "a1-1")
    assert covering_stop(GROWN, grown) is None
    assert (view.stop_qty, view.cover_qty, view.target_stale) == (D("0.005"), D("0.015"), True)


def test_the_target_of_the_whole_keeps_the_share_of_the_margin() -> None:
    price = view_of(GROWN, trade(GROWN)).first_target_price

    assert price is not None
    earned = roe(side=Side.BUY, entry_price=D(60_100), mark=price, leverage=20, fee_ratio=FEE)
    assert D("0.10") <= earned < D("0.1001")


def test_what_the_router_sold_of_an_add_under_way_is_not_its_any_more() -> None:
    sold = replace(
        GROWING,
        orders=(
            *GROWING.orders,
            order(
                "a1-3",
                Purpose.EXIT,
                "0.005",
                of="E1-ADD-1",
                at=230,
                type=OrderType.MARKET,
                status=OrderStatus.FILLED,
                filled_qty=D("0.005"),
            ),
        ),
        fills=(*GROWING.fills, fill("F3", "a1-3", Side.SELL, "60200", "0.005", 230)),
    )

    assert to_cover_qty(sold, trade(sold)) == D("0.010")


@pytest.mark.parametrize(("facts", "status"), [(GROWING, TradeStatus.PENDING_CLOSING), (GROWN, TradeStatus.CLOSED)])
def test_a_trade_has_not_ended_while_something_may_still_be_bought(facts: Facts, status: TradeStatus) -> None:
    gone = tuple(each if each.is_entry else each.but(status=OrderStatus.CANCELED) for each in facts.orders)
    out = order(
        "x1",
        Purpose.EXIT,
        "0.015",
        of="E1-EXIT-1",
        at=300,
        type=OrderType.MARKET,
        status=OrderStatus.FILLED,
        filled_qty=D("0.015"),
    )
    flat = replace(facts, orders=(*gone, out), fills=(*facts.fills, fill("F9", "x1", Side.SELL, "60000", "0.015", 300)))

    assert trade(flat).status is status


def test_where_a_person_put_the_stop_it_is_until_a_tighter_one_is_listed() -> None:
    put = PersonsStop(price=D(59_000), tier=1, instead_of=("e1-1",), by="ada", at=500)
    later = replace(
        FIRST, orders=(*FIRST.orders, order("e1-s1", Purpose.SL, "0.010", of="E1-SL-1", at=600, stop_price=D(59_500)))
    )

    assert (trade(FIRST, put).stop_price, trade(FIRST, put).tier) == (D(59_000), 1)
    assert trade(later, put).stop_price == D(59_500)
    assert trade(later).stop_price == D(59_500)


def test_an_add_after_a_person_put_the_stop_begins_the_tiers_anew() -> None:
    put = PersonsStop(price=D(59_000), tier=3, instead_of=("e1-1",), by="ada", at=150)

    assert trade(GROWN, put).tier == 0
