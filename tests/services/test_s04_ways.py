"""The ways an entry is carried out: maker first, in slices, smaller, later or not at all."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from chimera.adapters.simulated_venue.feed import Tick
from chimera.contracts.collections import INTENTS, ORDERS, STRATEGY_EVENTS
from chimera.contracts.documents import IntentRecord, Order
from chimera.contracts.enums import (
    ExecStyle,
    Intent,
    IntentState,
    Market,
    OrderStatus,
    OrderType,
    Purpose,
    Refusal,
    Routing,
    Side,
)
from chimera.contracts.http import CancelRequest
from chimera.contracts.keys import DELAY_ORD, TWAP_QUEUE
from chimera.contracts.messages import RouterEvent
from chimera.contracts.messages.orders import ExecPolicy, Oco, StopSpec, Twap
from chimera.contracts.order_intent import OrderIntent
from chimera.contracts.settings import S4Settings
from chimera.domain.execution.orders import NewOrder
from chimera.ports.documents import Query
from chimera.ports.venue import WouldTake
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled, meddled_floor
from tests.services.trading_floor import ENV, FUT, Floor, tick

D = Decimal
HOUSE = ("s10", "s1", "s4", "s5", "s6")
UNDER = ("s4", "s5", "s6")


def entry(floor: Floor, name: str = "E1", *, qty: str = "0.004", **more: Any) -> OrderIntent:
    """Worth 240 USDT: one slice by the buckets."""
    now_ms = floor.world.clock.now_ms()
    return OrderIntent(
        **{
            "intent_id": name,
            "client_order_id": f"s3-btc-{name.lower()}",
            "ts": now_ms,
            "expires_at": now_ms + 5_000,
            "market": Market.FUT,
            "symbol": "BTCUSDT",
            "side": Side.BUY,
            "intent": Intent.ENTRY,
            "purpose": Purpose.ENTRY,
            "qty": D(qty),
            "sl": StopSpec(price=D(59000)),
            "leverage": 20,
            **more,
        }
    )


async def order(floor: Floor, intent: OrderIntent) -> Any:
    answer = await floor.call("s4", "POST", "/orders", intent)
    assert answer.ok, answer.body
    return answer


async def record_of(floor: Floor, intent_id: str = "E1") -> IntentRecord:
    record = await floor.world.documents.get(INTENTS, intent_id)
    assert record is not None
    return record


async def orders_of(floor: Floor, intent_id: str = "E1") -> list[Order]:
    found = await floor.world.documents.find(
        Query(collection=ORDERS, index="by_intent", equal=(("intent_id", intent_id),))
    )
    return sorted(found, key=lambda each: (each.created_at, each.order_id))


async def entries_of(floor: Floor, intent_id: str = "E1") -> list[Order]:
    return [each for each in await orders_of(floor, intent_id) if each.purpose is Purpose.ENTRY]


def thin(floor: Floor, *, spread: str = "1", qty: str = "50") -> Tick:
    """The market as it stands, with another spread (to either side of the mid) and another size at each level."""
    assert floor.price is not None
    shown = tick(floor.price, floor.world.clock.now_ms())
    books = tuple(
        replace(
            book,
            bids=tuple((floor.price - D(spread) - step, D(qty)) for step in range(3)),
            asks=tuple((floor.price + D(spread) + step, D(qty)) for step in range(3)),
        )
        for book in shown.books
    )
    return replace(shown, books=books)


# --- maker first


def test_a_quote_rests_at_the_touch_and_fills_as_maker() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        answer = await order(floor, entry(floor))

        assert answer.body["status"] == "ACCEPTED"
        assert (await record_of(floor)).execution.style is ExecStyle.MAKER
        assert floor.resting() == {"s3-btc-e1": ("LIMIT", D("0.004"), D(59999))}
        await floor.move("59990")

        (quote,) = await entries_of(floor)
        assert (quote.status, quote.avg_price, quote.type) == (OrderStatus.FILLED, D(59999), OrderType.LIMIT)
        (fill,) = floor.venue.exchange.fills(Market.FUT, "BTCUSDT")
        assert fill.maker
        stops = [what for what in floor.resting().values() if what[0] == "STOP_MARKET"]
        assert stops == [("STOP_MARKET", D("0.004"), D(59000))]
        assert "chimera_maker_fill_ratio 1.0" in floor.world.metrics.render()
        await floor.stop()

    run_virtual(scenario())


def test_what_has_not_filled_at_the_end_of_the_wait_is_taken() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await order(floor, entry(floor, exec_policy=ExecPolicy(maker_wait_ms=1_000)))
        await floor.settle(400)
        assert floor.position_qty() == 0
        await floor.settle(3_000)

        quote, taken = await entries_of(floor)
        assert (quote.status, taken.status, taken.type) == (OrderStatus.CANCELED, OrderStatus.FILLED, OrderType.MARKET)
        assert taken.created_at - quote.created_at >= 1_000
        assert floor.position_qty() == D("0.004")
        assert "chimera_maker_timeout_count 1.0" in floor.world.metrics.render()
        await floor.stop()

    run_virtual(scenario())


def test_a_quote_that_somebody_else_takes_back_is_not_bought_at_market() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await order(floor, entry(floor, exec_policy=ExecPolicy(maker_wait_ms=1_000)))
        canceled = floor.venue.exchange.cancel_all(Market.FUT, "BTCUSDT", floor.world.clock.now_ms())
        floor.venue.settle(canceled)
        await floor.settle(3_000)

        record = await record_of(floor)
        assert (record.state, record.reason) == (IntentState.CANCELED, "CANCELED_ELSEWHERE")
        assert len(await entries_of(floor)) == 1
        assert floor.position_qty() == 0
        await floor.stop()

    run_virtual(scenario())


def test_a_quote_that_would_take_is_quoted_again_three_times_and_then_taken() -> None:
    async def scenario() -> None:
        floor = await meddled_floor(*UNDER, venue=Meddled)
        venue: Any = floor.world.venue

        async def place(call: Any, new: NewOrder) -> Any:
            if new.price is not None and not new.reduce_only:
                raise WouldTake(-5022, "Post Only order will be rejected.")
            return await call(new)

        venue.instead["place"] = place
        await order(floor, entry(floor))
        await floor.settle()

        sent = await entries_of(floor)
        assert [each.refusal for each in sent] == [Refusal.WOULD_TAKE] * 4 + [None]
        assert sent[-1].status is OrderStatus.FILLED
        assert len({each.order_id for each in sent}) == 5
        await floor.stop()

    run_virtual(scenario())


def test_maker_only_gives_up_what_did_not_fill() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await order(floor, entry(floor, exec_policy=ExecPolicy(routing=Routing.MAKER_ONLY)))
        await floor.settle(6_000)

        record = await record_of(floor)
        assert (record.state, record.filled_qty) == (IntentState.CANCELED, 0)
        assert len(await entries_of(floor)) == 1
        assert floor.resting() == {}
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("hit", [False, True], ids=["no fill", "most of it filled"])
def test_the_wait_goes_on_to_the_cap_where_most_has_filled(hit: bool) -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        policy = ExecPolicy(maker_wait_ms=1_000, need_fill_ratio=0.5)
        await order(floor, entry(floor, exec_policy=policy))
        if hit:
            # The outside stands at our price with little: a share of it reaches us.
            await _partly(floor, "0.003")
        await floor.settle(1_500)
        quote = (await entries_of(floor))[0]
        assert quote.status.is_final is not hit
        await floor.settle(5_000)
        assert floor.position_qty() == D("0.004")
        await floor.stop()

    run_virtual(scenario())


async def _partly(floor: Floor, qty: str) -> None:
    """A seller meets our resting bid with `qty`: a quarter of what stands there reaches us."""
    assert floor.price is not None
    price = floor.price - 1
    shown = tick(floor.price, floor.world.clock.now_ms())
    books = tuple(
        replace(book, asks=((price, 4 * D(qty)), *book.asks[1:]), bids=tuple((price - 1 - n, D(50)) for n in range(3)))
        for book in shown.books
    )
    floor.venue.apply(replace(shown, books=books))
    await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 100)
    assert floor.position_qty() == D(qty)


# --- limit orders


def test_a_limit_order_rests_until_it_fills_and_each_part_has_its_stop() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await order(floor, entry(floor, type=OrderType.LIMIT, price=D(59500)))
        await floor.settle(120_000)
        assert floor.resting() == {"s3-btc-e1": ("LIMIT", D("0.004"), D(59500))}

        await floor.move("59490")

        assert floor.position_qty() == D("0.004")
        assert [what[:2] for what in floor.resting().values() if what[0] == "STOP_MARKET"] == [
            ("STOP_MARKET", D("0.004"))
        ]
        assert (await record_of(floor)).state is IntentState.DONE
        await floor.stop()

    run_virtual(scenario())


def test_a_limit_order_that_a_person_takes_back_ends_its_intent() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await order(floor, entry(floor, type=OrderType.LIMIT, price=D(59500)))
        answer = await floor.call("s4", "POST", "/cancel", {"intent_id": "E1"})
        assert answer.ok, answer.body
        await floor.settle()

        record = await record_of(floor)
        assert (record.state, record.reason) == (IntentState.CANCELED, "CANCELED MANUAL")
        assert floor.resting() == {}
        await floor.stop()

    run_virtual(scenario())


def test_a_fill_that_the_stream_does_not_tell_has_its_stop_within_two_seconds() -> None:
    async def scenario() -> None:
        floor = await meddled_floor(*UNDER, venue=Deaf)
        await order(floor, entry(floor, type=OrderType.LIMIT, price=D(59500)))
        await floor.settle(5_000)
        floor.price = D(59490)
        floor.venue.apply(tick(floor.price, floor.world.clock.now_ms()))
        assert floor.position_qty() == D("0.004")
        await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 2_000)

        assert [what[:2] for what in floor.resting().values() if what[0] == "STOP_MARKET"] == [
            ("STOP_MARKET", D("0.004"))
        ]
        await floor.stop()

    run_virtual(scenario())


class Deaf(Meddled):
    """An exchange whose account stream is open and says nothing."""

    async def account_events(self) -> Any:
        await asyncio.get_running_loop().create_future()
        yield ()


# --- slices


def test_slices_leave_one_after_the_other_and_the_stop_grows_with_them() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        twap = Twap(enabled=True, slices=3, gap_ms=1_000, jitter_ms=0, min_slice_usdt=D(0))
        policy = ExecPolicy(routing=Routing.DIRECT_TAKER, twap=twap)
        await order(floor, entry(floor, qty="0.010", exec_policy=policy))
        assert await floor.world.due.size(TWAP_QUEUE.name(ENV)) == 2
        await floor.settle(1_200)
        assert floor.position_qty() == D("0.006")
        covered = max(what[1] for what in floor.resting().values() if what[0] == "STOP_MARKET")
        assert covered == D("0.006")
        await floor.settle(4_000)

        sent = await entries_of(floor)
        assert [each.quantity for each in sent] == [D("0.003"), D("0.003"), D("0.004")]
        assert sum((each.filled_qty or D(0) for each in sent), D(0)) == D("0.010")
        assert all(b.created_at - a.created_at >= 1_000 for a, b in pairwise(sent))
        stops = [what for what in floor.resting().values() if what[0] == "STOP_MARKET"]
        assert stops == [("STOP_MARKET", D("0.010"), D(59000))]
        assert await floor.world.due.size(TWAP_QUEUE.name(ENV)) == 0
        told = [event.kind for event in floor.messages(RouterEvent)]
        assert told.count("TWAP_SLICE_SENT") == 3
        assert told.count("TWAP_DONE") == 1
        await floor.stop()

    run_virtual(scenario())


def test_large_orders_are_cut_by_the_buckets_and_never_beyond_the_hard_cap() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE, usdt="20000", variables=S4Settings(twap_max_slices=4))
        await order(floor, entry(floor, qty="0.080"))
        record = await record_of(floor)
        assert record.execution is not None
        assert len(record.execution.slices) == 4
        assert sum((part.qty for part in record.execution.slices), D(0)) == D("0.080")
        await floor.settle(30_000)
        assert floor.position_qty() == D("0.080")
        await floor.stop()

    run_virtual(scenario())


def test_a_kill_switch_amid_the_slices_stops_the_rest_and_what_filled_keeps_its_stop() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        twap = Twap(enabled=True, slices=3, gap_ms=2_000, jitter_ms=0, min_slice_usdt=D(0))
        policy = ExecPolicy(routing=Routing.DIRECT_TAKER, twap=twap)
        await order(floor, entry(floor, qty="0.009", exec_policy=policy))
        await floor.settle(500)
        await floor.world.snapshots.set(f"{ENV}:kill_switch", "ON")
        await floor.settle(10_000)

        record = await record_of(floor)
        assert (record.state, record.filled_qty, record.reason) == (IntentState.DONE, D("0.003"), "KILL_SWITCH")
        assert floor.position_qty() == D("0.003")
        assert [what[:2] for what in floor.resting().values() if what[0] == "STOP_MARKET"] == [
            ("STOP_MARKET", D("0.003"))
        ]
        await floor.stop()

    run_virtual(scenario())


def test_a_kill_switch_takes_a_resting_quote_back() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await order(floor, entry(floor, type=OrderType.LIMIT, price=D(59500)))
        await floor.world.snapshots.set(f"{ENV}:kill_switch", "ON")
        await floor.settle(2_000)

        assert floor.resting() == {}
        assert (await record_of(floor)).reason == "KILL_SWITCH"
        await floor.stop()

    run_virtual(scenario())


# --- a book that is not fit


def test_a_wide_book_delays_a_slice_until_it_is_better() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        floor.venue.apply(thin(floor, spread="20"))
        await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 50)
        await floor.call("s4", "POST", "/orders", entry(floor, exec_policy=ExecPolicy(routing=Routing.DIRECT_TAKER)))
        assert await entries_of(floor) == []
        assert await floor.world.due.size(DELAY_ORD.name(ENV, FUT)) == 1
        await floor.settle(3_000)

        (taken,) = await entries_of(floor)
        assert taken.status is OrderStatus.FILLED
        record = await record_of(floor)
        assert record.execution is not None
        assert "DELAYED" in [note.what for note in record.execution.notes]
        assert await floor.world.due.size(DELAY_ORD.name(ENV, FUT)) == 0
        await floor.stop()

    run_virtual(scenario())


def test_a_book_that_stays_too_thin_is_given_up_and_said_so() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        policy = ExecPolicy(routing=Routing.DIRECT_TAKER)
        floor.venue.apply(thin(floor, spread="20"))
        await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 50)
        await floor.call("s4", "POST", "/orders", entry(floor, qty="0.002", exec_policy=policy))
        for _ in range(30):
            floor.venue.apply(thin(floor, spread="20"))
            await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 500)

        record = await record_of(floor)
        assert record.state is IntentState.REJECTED
        assert (record.reason or "").startswith("LIQUIDITY")
        assert floor.position_qty() == 0
        canceled = await floor.call("s4", "POST", "/cancel", CancelRequest(intent_id="E1"))
        assert (canceled.status, canceled.body["status"], canceled.body["canceled_ids"]) == (200, "REJECTED", [])
        assert "LIQUIDITY" in canceled.body["message"]
        await floor.stop()

    run_virtual(scenario())


def test_exits_never_wait_for_the_book() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter(sl="59000", tp=None)
        floor.venue.apply(thin(floor, spread="300", qty="0.001"))
        await floor.world.clock.sleep_until_ms(floor.world.clock.now_ms() + 50)
        answer = await floor.call(
            "s4",
            "POST",
            "/orders",
            entry(
                floor,
                "X1",
                qty="0.010",
                parent_id="E1",
                side=Side.SELL,
                intent=Intent.EXIT,
                purpose=Purpose.EXIT,
                reduce_only=True,
                sl=None,
                leverage=None,
                expires_at=None,
            ),
        )
        assert answer.body["status"] in ("FILLED", "PARTIALLY_FILLED"), answer.body
        await floor.stop()

    run_virtual(scenario())


# --- money that is not there


def test_a_spot_buy_that_cannot_be_paid_is_made_smaller() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE, usdt="100")
        oco = Oco(enabled=True, tp=D(60600), sl=D(59400))
        intent = entry(
            floor,
            qty="0.00300",
            market=Market.SPOT,
            leverage=None,
            sl=None,
            exec_policy=ExecPolicy(routing=Routing.DIRECT_TAKER, oco=oco),
        )
        await order(floor, intent)
        await floor.settle()

        record = await record_of(floor)
        assert record.state is IntentState.DONE
        assert D(0) < record.filled_qty < D("0.00300")
        assert record.filled_qty * 60_001 <= 100
        pair = {what[1] for what in floor.resting().values()}
        assert len(pair) == 1
        await floor.stop()

    run_virtual(scenario())


def test_events_of_an_intent_are_on_file() -> None:
    async def scenario() -> None:
        floor = await Floor.open(*HOUSE)
        await floor.enter()
        kinds = set()
        for kind in ("ROUTER_ORDER_ACCEPTED", "ROUTER_ORDER_EXECUTED", "TP_SL_PLACED"):
            found = await floor.world.documents.find(
                Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", kind),))
            )
            kinds |= {each.kind.value for each in found if each.detail["subject"] == "E1"}
        assert kinds == {"ROUTER_ORDER_ACCEPTED", "ROUTER_ORDER_EXECUTED", "TP_SL_PLACED"}
        answer = await floor.call("s4", "GET", "/orders/E1")
        told = [entry["what"] for entry in answer.body["timeline"]]
        assert told[0] == "ACCEPTED", told
        assert len(told) >= 6
        await floor.stop()

    run_virtual(scenario())
