"""What the connector does when a call goes wrong: lost, late, refused, limited, or answered by something else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from chimera.adapters.binance.hosts import Site
from chimera.contracts.enums import Market, OrderStatus, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import NewOco
from chimera.domain.matching.faults import FaultKind
from chimera.ports.venue import (
    OutcomeUnknown,
    RateLimited,
    Refused,
    UnknownOrder,
    VenueUnavailable,
)
from tests.adapters.binance.wire import BOTH, Wire, resting, shows, wired
from tests.ports.test_venue import FUT, SPOT, D, order, stop


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with wired() as made:
        yield made


async def orders_named(wire: Wire, name: str) -> list[Any]:
    return [each for each in (await wire.ledger())["orders"] if each["client_order_id"] == name]


# --- answers that do not come


@shows(FaultKind.ANSWER_LOST)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_an_order_whose_answer_is_lost_is_found_by_its_id_and_there_once(wire: Wire, key: InstrumentKey) -> None:
    await wire.arm(FaultKind.ANSWER_LOST, calls="order.place", params={"how": "reset"})

    with pytest.raises(OutcomeUnknown):
        await wire.venue.place(resting("lost", key))

    assert (await wire.venue.order(key, "lost", conditional=False)).status is OrderStatus.NEW
    assert [each.client_order_id for each in await wire.venue.open_orders()] == ["lost"]
    assert len(await orders_named(wire, "lost")) == 1


@shows(FaultKind.ANSWER_LOST)
async def test_a_stop_whose_answer_is_lost_is_listed_at_once(wire: Wire) -> None:
    await wire.venue.place(order("open", "0.01"))
    await wire.arm(FaultKind.ANSWER_LOST, calls="algo.place", params={"how": "reset"})

    with pytest.raises(OutcomeUnknown):
        await wire.venue.place(stop("sl", "59000"))

    assert [each.client_order_id for each in await wire.venue.open_orders()] == ["sl"]
    assert (await wire.venue.order(FUT, "sl", conditional=True)).status is OrderStatus.NEW


@shows(FaultKind.ANSWER_LOST)
async def test_a_pair_whose_answer_is_lost_is_found_by_its_legs(wire: Wire) -> None:
    await wire.venue.place(order("hold", "0.02", key=SPOT))
    await wire.arm(FaultKind.ANSWER_LOST, calls="orderList.place", params={"how": "reset"})

    with pytest.raises(OutcomeUnknown):
        await wire.venue.place_oco(
            NewOco(
                list_client_id="pair",
                symbol="BTCUSDT",
                side=Side.SELL,
                qty=D("0.01"),
                target_client_id="pair-tp",
                target_price=D("61000"),
                stop_client_id="pair-sl",
                stop_price=D("59000"),
            )
        )

    assert {each.client_order_id for each in await wire.venue.open_orders()} == {"pair-tp", "pair-sl"}
    assert (await wire.venue.order(SPOT, "pair-sl", conditional=False)).status is OrderStatus.NEW


@shows(FaultKind.ANSWER_LOST)
async def test_an_exchange_that_says_nothing_is_given_up_on_in_time() -> None:
    async with wired(timeout_ms=1_000) as wire:
        await wire.arm(FaultKind.ANSWER_LOST, calls="order.place", params={"how": "silence"})

        with pytest.raises(OutcomeUnknown, match="not answered within"):
            await wire.venue.place(resting("lost"))

        assert (await wire.venue.order(FUT, "lost", conditional=False)).status is OrderStatus.NEW


@shows(FaultKind.ANSWER_LOST_FILLED)
async def test_an_order_that_filled_while_its_answer_was_lost_is_found_with_its_fill(wire: Wire) -> None:
    await wire.arm(FaultKind.ANSWER_LOST_FILLED, params={"how": "reset"})
    since_ms = wire.clock.now_ms() - 1

    with pytest.raises(OutcomeUnknown):
        await wire.venue.place(resting("gone"))

    assert (await wire.venue.order(FUT, "gone", conditional=False)).status is OrderStatus.FILLED
    (fill,) = await wire.venue.fills(FUT, since_ms)
    assert (fill.client_order_id, fill.qty) == ("gone", D("0.01"))


@shows(FaultKind.REQUEST_LOST)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_an_order_that_never_arrived_is_unknown_and_may_be_sent_again(wire: Wire, key: InstrumentKey) -> None:
    await wire.arm(FaultKind.REQUEST_LOST, calls="order.place", params={"how": "reset"})

    with pytest.raises(OutcomeUnknown):
        await wire.venue.place(resting("never", key))
    with pytest.raises(UnknownOrder):
        await wire.venue.order(key, "never", conditional=False)
    await wire.venue.place(resting("never", key))

    assert len(await orders_named(wire, "never")) == 1


@shows(FaultKind.REQUEST_LOST)
async def test_a_question_that_is_lost_is_no_answer() -> None:
    async with wired(timeout_ms=1_000) as wire:
        for how, count in (("reset", 2), ("silence", 1)):  # asked once more where the connection breaks
            await wire.arm(FaultKind.REQUEST_LOST, calls="positionRisk", count=count, params={"how": how})
            with pytest.raises(VenueUnavailable):
                await wire.venue.positions()

        assert list(await wire.venue.positions()) == []


@shows(FaultKind.ANSWER_5XX)
@pytest.mark.parametrize("answer", ["503_unknown", "502_html", "504_html", "408_timeout", "500_bus"])
async def test_an_error_of_the_gateway_says_nothing_about_the_order(wire: Wire, answer: str) -> None:
    await wire.arm(FaultKind.ANSWER_5XX, calls="*.place", count=2, params={"answer": answer})
    await wire.arm(FaultKind.ANSWER_5XX, calls="order.cancel", params={"answer": answer})

    with pytest.raises(OutcomeUnknown):
        await wire.venue.place(resting("both"))
    with pytest.raises(OutcomeUnknown):
        await wire.venue.place(resting("spot", SPOT))
    with pytest.raises(OutcomeUnknown):
        await wire.venue.cancel(FUT, "both", conditional=False)

    assert (await wire.venue.order(FUT, "both", conditional=False)).status is OrderStatus.CANCELED
    assert (await wire.venue.order(SPOT, "spot", conditional=False)).status is OrderStatus.NEW


@shows(FaultKind.HTML_BODY)
async def test_a_page_instead_of_an_answer_breaks_nothing(wire: Wire) -> None:
    await wire.arm(FaultKind.HTML_BODY, calls="order.place")
    await wire.arm(FaultKind.HTML_BODY, calls="balance")

    with pytest.raises(VenueUnavailable):
        await wire.venue.place(resting("blocked"))
    with pytest.raises(VenueUnavailable):
        await wire.venue.balances()

    assert await orders_named(wire, "blocked") == []
    assert await wire.venue.balances()


@shows(FaultKind.REFUSED_503)
@pytest.mark.parametrize("answer", ["unavailable", "throttled"])
async def test_an_exchange_that_is_busy_takes_exits_and_cancels_and_nothing_new(wire: Wire, answer: str) -> None:
    await wire.venue.place(order("open", "0.01"))
    await wire.venue.place(resting("rest"))
    await wire.arm(FaultKind.REFUSED_503, count=9, params={"answer": answer})

    with pytest.raises(VenueUnavailable):
        await wire.venue.place(resting("more"))
    await wire.venue.cancel(FUT, "rest", conditional=False)
    await wire.venue.place(order("close", "0.01", Side.SELL, reduce_only=True))

    assert await orders_named(wire, "more") == []
    assert list(await wire.venue.positions()) == []


@shows(FaultKind.LATE)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_the_account_stream_may_tell_of_an_order_before_its_answer_does(wire: Wire, key: InstrumentKey) -> None:
    await wire.listen()
    await wire.arm(FaultKind.LATE, calls="order.place", params={"delay_ms": 1_000})

    sending = asyncio.ensure_future(wire.venue.place(order("late", "0.01", key=key)))
    fill = await wire.fill_of("late")

    assert not sending.done()
    assert (await wire.venue.order(key, "late", conditional=False)).status is OrderStatus.FILLED
    placed = await sending
    assert (placed.status, placed.venue_order_id) == (OrderStatus.FILLED, fill.venue_order_id)
    assert len(wire.fills_told("late")) == len(await orders_named(wire, "late")) == 1


@shows(FaultKind.CANCEL_ANSWER_LOST)
@pytest.mark.parametrize("conditional", [False, True], ids=["regular", "stop"])
async def test_a_cancel_whose_answer_is_lost_is_looked_up(wire: Wire, conditional: bool) -> None:
    await wire.venue.place(order("open", "0.01"))
    await wire.venue.place(stop("it", "59000") if conditional else resting("it"))
    await wire.arm(FaultKind.CANCEL_ANSWER_LOST, params={"how": "reset"})

    with pytest.raises(OutcomeUnknown):
        await wire.venue.cancel(FUT, "it", conditional=conditional)

    assert (await wire.venue.order(FUT, "it", conditional=conditional)).status is OrderStatus.CANCELED
    assert list(await wire.venue.open_orders()) == []


@shows(FaultKind.TRANSFER_ANSWER_LOST)
async def test_a_transfer_whose_answer_is_lost_stands_in_the_history_once(wire: Wire) -> None:
    since_ms = wire.clock.now_ms() - 1
    await wire.arm(FaultKind.TRANSFER_ANSWER_LOST, params={"how": "reset"})

    with pytest.raises(OutcomeUnknown):
        await wire.venue.transfer(Market.SPOT, Market.FUT, D("12.5"))

    (moved,) = await wire.venue.transfers(since_ms)
    assert (moved.source, moved.target, moved.amount) == (Market.SPOT, Market.FUT, D("12.5"))


# --- limits


@shows(FaultKind.RATE_429)
async def test_after_a_429_only_what_protects_is_sent(wire: Wire) -> None:
    await wire.venue.place(order("open", "0.01"))
    await wire.arm(FaultKind.RATE_429, calls="order.place", params={"retry_after_s": 2})

    with pytest.raises(RateLimited) as limited:
        await wire.venue.place(resting("more"))
    sent = await wire.counting()
    held: list[Callable[[], Awaitable[Any]]] = [
        lambda: wire.venue.place(resting("more")),
        lambda: wire.venue.income(wire.clock.now_ms()),
        lambda: wire.venue.book(FUT),
    ]
    for ask in held:
        with pytest.raises(RateLimited) as ours:
            await ask()
        assert 0 < ours.value.retry_after_ms <= 2_000
    held_back = await sent.read()
    await wire.venue.place(stop("sl", "59000"))
    await wire.venue.cancel(FUT, "sl", conditional=True)
    await wire.venue.place(order("close", "0.01", Side.SELL, reduce_only=True))

    assert limited.value.retry_after_ms == 2_000
    assert held_back == 0
    assert list(await wire.venue.positions()) == []
    await wire.venue.book(SPOT)
    await wire.pass_ms(2_100)
    assert (await wire.venue.place(resting("more"))).status is OrderStatus.NEW


@shows(FaultKind.BAN_418)
async def test_a_banned_address_asks_nothing_until_the_ban_is_over(wire: Wire) -> None:
    await wire.venue.place(order("open", "0.01"))
    await wire.venue.place(stop("sl", "59000"))
    await wire.arm(FaultKind.BAN_418, calls="openOrders", params={"ban_s": 2})

    with pytest.raises(RateLimited) as banned:
        await wire.connector.futures.open_orders()
    sent = await wire.counting()
    asked: list[Callable[[], Awaitable[Any]]] = [
        lambda: wire.venue.place(order("close", "0.01", Side.SELL, reduce_only=True)),
        lambda: wire.venue.cancel(FUT, "sl", conditional=True),
        lambda: wire.venue.positions(),
        lambda: wire.venue.book(FUT),
        lambda: wire.venue.server_time_ms(),
    ]
    for ask in asked:
        with pytest.raises(RateLimited):
            await ask()

    assert 1_000 <= banned.value.retry_after_ms <= 2_000
    assert await sent.read() == 0
    await wire.pass_ms(2_100)
    assert [each.client_order_id for each in await wire.venue.open_orders()] == ["sl"]


# --- time


@shows(FaultKind.CLOCK_OFFSET)
@pytest.mark.parametrize("offset_ms", [1_300, -1_300, 3_600_000, -3_600_000])
async def test_a_clock_that_was_moved_is_measured_once_and_the_order_goes(wire: Wire, offset_ms: int) -> None:
    asked = await wire.counting("time")
    await wire.arm(FaultKind.CLOCK_OFFSET, params={"offset_ms": offset_ms})

    placed = await wire.venue.place(resting("fut"))
    await wire.venue.place(resting("spot", SPOT))
    measured = await asked.read()
    await wire.venue.cancel(FUT, "fut", conditional=False)

    assert placed.status is OrderStatus.NEW
    # -1300 is ahead of the exchange by more than it allows, +1300 is within its window.
    if offset_ms == 1_300:
        assert measured == 0
    else:
        assert abs(wire.connector.rest.clocks[Site.FUTURES].offset_ms - offset_ms) < 1_000
        assert 0 < measured <= 6
    assert await asked.read() == measured
    assert len((await wire.ledger())["orders"]) == 2


@shows(FaultKind.ENGINE_TOO_LATE)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_an_order_that_was_too_late_for_the_engine_is_sent_once_more(wire: Wire, key: InstrumentKey) -> None:
    sent = await wire.counting("order.place")
    await wire.arm(FaultKind.ENGINE_TOO_LATE)

    assert (await wire.venue.place(resting("late", key))).status is OrderStatus.NEW

    assert await sent.read() == 2
    assert len(await orders_named(wire, "late")) == 1


@shows(FaultKind.ENGINE_TOO_LATE)
async def test_an_order_that_is_too_late_again_was_definitely_not_accepted(wire: Wire) -> None:
    sent = await wire.counting("order.place")
    await wire.arm(FaultKind.ENGINE_TOO_LATE, count=2)

    with pytest.raises(VenueUnavailable):
        await wire.venue.place(resting("late"))

    assert await sent.read() == 2
    assert await orders_named(wire, "late") == []


# --- keys


@shows(FaultKind.KEY_REVOKED, FaultKind.IP_CHANGED, FaultKind.BAD_SIGNATURE)
@pytest.mark.parametrize(
    ("kind", "code"),
    [(FaultKind.KEY_REVOKED, -2015), (FaultKind.IP_CHANGED, -2015), (FaultKind.BAD_SIGNATURE, -1022)],
)
async def test_a_key_that_is_refused_is_not_tried_again_by_itself(wire: Wire, kind: FaultKind, code: int) -> None:
    sent = await wire.counting()
    await wire.arm(kind, duration_ms=600_000)

    for key in BOTH:
        with pytest.raises(Refused) as refused:
            await wire.venue.place(resting("mine", key))
        assert refused.value.code == code
    with pytest.raises(VenueUnavailable) as unknown:
        await wire.venue.positions()
    with pytest.raises(VenueUnavailable):
        await wire.venue.order(FUT, "mine", conditional=False)

    assert isinstance(unknown.value.__cause__, Refused)
    assert unknown.value.__cause__.code == code
    assert await sent.read() == 4
    assert (await wire.venue.book(FUT)).bid == D("59999.5")


@shows(FaultKind.KEY_REVOKED)
async def test_account_streams_do_not_hammer_with_a_key_that_is_refused(wire: Wire) -> None:
    await wire.listen()
    sent = await wire.counting()
    fault = await wire.arm(FaultKind.KEY_REVOKED, duration_ms=600_000)
    await wire.arm(FaultKind.STREAM_CLOSED, params={"streams": "account"})

    await wire.pass_ms(2_000)
    tries = await sent.read()
    before = wire.resets
    await wire.disarm(fault)
    await wire.until(lambda: wire.resets >= before + 2)

    # Two streams, each waiting 50 ms at first and 400 ms at most: at least half of that between two tries.
    assert 2 <= tries <= 24
    await wire.venue.place(order("again", "0.01"))
    await wire.fill_of("again")


# --- nothing at all


@shows(FaultKind.OUTAGE)
@pytest.mark.parametrize("how", ["closed", "gateway"])
async def test_an_exchange_that_is_away_comes_back_without_a_burst(wire: Wire, how: str) -> None:
    await wire.listen()
    await wire.venue.place(order("open", "0.01"))
    await wire.fill_of("open")
    before = wire.resets
    fault = await wire.arm(FaultKind.OUTAGE, params={"how": how, "bps": -200})
    wire.price("60000.0")

    for ask in (wire.venue.positions, wire.venue.instruments, wire.venue.server_time_ms):
        with pytest.raises(VenueUnavailable):
            await ask()
    with pytest.raises((OutcomeUnknown, VenueUnavailable)):
        await wire.venue.place(resting("away"))
    await wire.pass_ms(1_000)
    after = await wire.counting()
    await wire.disarm(fault)
    async with wire.moving():
        await wire.until(lambda: wire.resets >= before + 2)
        await wire.until(lambda: any(top.bid < 59_000 for top in wire.tops(Market.FUT)))
        await wire.pass_ms(500)

    # A listen key, a snapshot of each book, a last price; and the account, once each.
    assert await after.read() <= 12
    with pytest.raises(UnknownOrder):
        await wire.venue.order(FUT, "away", conditional=False)
    (position,) = await wire.venue.positions()
    assert position.qty == D("0.01")
