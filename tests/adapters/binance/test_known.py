from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal

from chimera.adapters.binance.known import KnownOrders
from chimera.adapters.binance.parse_futures import algo_order_of, order_of
from chimera.adapters.binance.venue import BinanceVenue
from chimera.contracts.enums import Market, OrderStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import AccountChange, OrderUpdated, StreamReset

from .canned import Canned
from .conftest import START_MS
from .test_futures import algo_row, order_row, trade_row

FUT = Market.FUT


def test_what_a_trigger_made_is_known_by_the_stop_behind_it() -> None:
    known = KnownOrders()
    known.see(algo_order_of(algo_row("s-1", createTime=START_MS)))

    seen = known.see(order_of(order_row("s-1", 77, status="FILLED", executedQty="0.010", updateTime=START_MS + 9)))

    assert (seen.conditional, seen.triggered, seen.venue_algo_id) == (True, True, "900")
    assert (seen.venue_order_id, seen.status, seen.created_at_ms) == ("77", OrderStatus.FILLED, START_MS)
    assert known.client_id(FUT, "BTCUSDT", "77") == "s-1"


def test_a_name_that_is_used_again_names_the_new_order() -> None:
    known = KnownOrders()
    known.see(order_of({**order_row("a-1", 11), "time": START_MS - 90_000}))

    seen = known.see(order_of({**order_row("a-1", 12), "time": START_MS}))

    assert (seen.venue_order_id, seen.created_at_ms) == ("12", START_MS)


def test_the_orders_longest_untouched_are_forgotten() -> None:
    known = KnownOrders(most=2)
    for number in (1, 2, 1, 3):
        known.see(order_of(order_row(f"a-{number}", number)))

    assert known.get(FUT, "BTCUSDT", "a-2") is None
    assert [known.client_id(FUT, "BTCUSDT", str(number)) for number in (1, 2, 3)] == ["a-1", None, "a-3"]


async def test_orders_that_the_stream_told_need_not_be_asked_for(venue: BinanceVenue, exchange: Canned) -> None:
    manual = order_of({**order_row("manual", 12), "time": START_MS})

    class Told:
        async def events(self) -> AsyncIterator[Sequence[AccountChange]]:
            yield [StreamReset(START_MS), OrderUpdated(START_MS, manual)]
            yield [OrderUpdated(START_MS + 1, replace(manual, status=OrderStatus.FILLED, filled_qty=Decimal("0.010")))]

    venue.account_source = Told()
    exchange.say("GET /fapi/v1/userTrades", [trade_row(2, START_MS + 2, 12)])

    told = [change async for changes in venue.account_events() for change in changes]
    fills = await venue.fills(InstrumentKey(FUT, "BTCUSDT"), START_MS)

    assert len(told) == 3
    assert [fill.client_order_id for fill in fills] == ["manual"]
    assert [asked.path for asked in exchange.asked] == ["/fapi/v1/userTrades"]
