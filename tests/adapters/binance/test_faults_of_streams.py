"""What reaches whoever listens when the exchange's streams lie, double, shuffle, stall, end, or leave things out."""

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest

from chimera.adapters.binance.market_streams import MarketStreams
from chimera.contracts.enums import Market, OrderStatus, Side, WorkingType
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import PositionChanged, VenueOrder
from chimera.domain.market.quotes import Bar, BookTop
from chimera.domain.matching.faults import FaultKind
from chimera.venue_server.streams.names import Group
from tests.adapters.binance.wire import BOTH, Counter, Wire, quick, shows, wired
from tests.ports.test_venue import FUT, SPOT, D, order, stop

MINUTE_MS = 60_000


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with wired() as made:
        await made.listen()
        yield made


def assert_never_back(told: Sequence[VenueOrder]) -> None:
    """A quantity that was filled stays filled, and what has ended stays so."""
    for before, after in pairwise(told):
        assert after.filled_qty >= before.filled_qty
        assert after.triggered >= before.triggered
        assert not before.status.is_final or (after.status.is_final and after.filled_qty > before.filled_qty)


def assert_sane(wire: Wire) -> None:
    """Around 60000, as the market is; whatever else was said of it."""
    for shown in wire.shown:
        if isinstance(shown, BookTop):
            assert 59_000 < shown.bid < shown.ask < 61_000
            assert all(59_000 < price < 61_000 for price, _ in (*shown.bids, *shown.asks))
            assert 59_000 < shown.last < 61_000
    assert all(59_000 < mark.mark < 61_000 for mark in wire.marks)


def heard_of(wire: Wire) -> MarketStreams:
    source = wire.connector.market_source
    assert isinstance(source, MarketStreams)
    return source


# --- the account's events


@shows(FaultKind.EVENTS_DOUBLED)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_events_that_come_twice_are_told_once(wire: Wire, key: InstrumentKey) -> None:
    await wire.arm(FaultKind.EVENTS_DOUBLED, count=50, params={"last": 10})

    for number in range(3):
        await wire.venue.place(order(f"buy-{number}", "0.01", key=key))
    for number in range(3):
        await wire.fill_of(f"buy-{number}")
    await wire.venue.place(order("last", "0.01", key=key))
    await wire.fill_of("last")

    for number in range(3):
        assert len(wire.fills_told(f"buy-{number}")) == 1
        told = wire.orders_told(f"buy-{number}")
        assert [each.status for each in told] == [OrderStatus.NEW, OrderStatus.FILLED]


@shows(FaultKind.EVENTS_SHUFFLED, FaultKind.PARTIAL_FILLS)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_events_in_any_order_never_take_an_order_back(wire: Wire, key: InstrumentKey) -> None:
    await wire.arm(FaultKind.EVENTS_SHUFFLED, count=200, params={"window_ms": 200})
    await wire.arm(FaultKind.PARTIAL_FILLS, params={"pieces": 5})

    await wire.venue.place(order("pieces", "0.05", key=key))
    await wire.until(lambda: len(wire.fills_told("pieces")) == 5)
    told = wire.orders_told("pieces")

    assert told[-1].status is OrderStatus.FILLED
    assert_never_back([each for each, after in pairwise([*told, None]) if after is None or each != after])
    assert sum(fill.qty for fill in wire.fills_told("pieces")) == D("0.05")
    assert len({fill.trade_id for fill in wire.fills_told("pieces")}) == 5


@shows(FaultKind.EVENTS_SHUFFLED)
async def test_a_stop_whose_end_is_told_before_its_fill_is_one_order(wire: Wire) -> None:
    await wire.venue.place(order("open", "0.01"))
    await wire.venue.place(stop("sl", "59500"))
    await wire.fill_of("open")
    await wire.arm(FaultKind.EVENTS_SHUFFLED, count=200, params={"window_ms": 200})

    wire.price("59400.0")
    fill = await wire.fill_of("sl")
    await wire.pass_ms(300)

    told = [each for each, after in pairwise([*wire.orders_told("sl"), None]) if after is None or each != after]
    assert_never_back(told)
    assert (told[-1].status, told[-1].filled_qty, told[-1].conditional) == (OrderStatus.FILLED, D("0.01"), True)
    assert len(wire.fills_told("sl")) == 1
    assert fill.client_order_id == "sl"


@shows(FaultKind.EVENTS_SHUFFLED)
async def test_balances_told_in_any_order_end_with_the_newest(wire: Wire) -> None:
    await wire.arm(FaultKind.EVENTS_SHUFFLED, count=200, params={"window_ms": 1_000})

    for number in range(3):
        await wire.venue.place(order(f"buy-{number}", "0.01", key=SPOT))
        await wire.pass_ms(10)
    for number in range(3):
        await wire.fill_of(f"buy-{number}")
    await wire.pass_ms(100)

    there = {each.asset: each for each in await wire.venue.balances() if each.market is Market.SPOT}
    for asset in ("USDT", "BTC"):
        assert wire.balances_told(Market.SPOT, asset)[-1] == there[asset]


@shows(FaultKind.EVENTS_SHUFFLED)
@pytest.mark.parametrize("ends", ["flat", "open"])
async def test_positions_told_in_any_order_end_with_the_newest(wire: Wire, ends: str) -> None:
    await wire.venue.place(order("open", "0.01"))
    await wire.fill_of("open")
    await wire.until(lambda: any(isinstance(each, PositionChanged) for each in wire.told))
    await wire.arm(FaultKind.EVENTS_SHUFFLED, count=200, params={"window_ms": 1_000})

    for name, side in (("close", Side.SELL), ("again", Side.BUY), ("flat", Side.SELL))[: 3 if ends == "flat" else 2]:
        await wire.venue.place(order(name, "0.01", side))
        await wire.pass_ms(10)
    await wire.fill_of("close")
    await wire.pass_ms(2_500)

    told = [each.position for each in wire.told if isinstance(each, PositionChanged)]
    assert [told[-1]] == (list(await wire.venue.positions()) or [None])


@shows(FaultKind.EVENTS_LOST)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_a_fill_that_was_never_told_is_among_the_fills(wire: Wire, key: InstrumentKey) -> None:
    fault = await wire.arm(FaultKind.EVENTS_LOST, duration_ms=600_000)
    since_ms = wire.clock.now_ms() - 1

    await wire.venue.place(order("quiet", "0.01", key=key))
    await wire.pass_ms(200)
    untold = list(wire.orders_told("quiet"))
    (found,) = await wire.venue.fills(key, since_ms)
    await wire.disarm(fault)
    await wire.venue.place(order("loud", "0.01", key=key))
    told = await wire.fill_of("loud")

    assert untold == []
    assert (found.client_order_id, found.qty) == ("quiet", D("0.01"))
    assert (await wire.venue.order(key, "quiet", conditional=False)).status is OrderStatus.FILLED
    assert list(await wire.venue.fills(key, since_ms)) == [found, told]


@shows(FaultKind.LISTEN_KEY_EXPIRED)
async def test_a_listen_key_that_expired_is_replaced_and_said_so(wire: Wire) -> None:
    asked = await wire.counting("listenKey.create")
    await wire.until(lambda: wire.resets == 2)

    await wire.arm(FaultKind.LISTEN_KEY_EXPIRED)
    await wire.venue.place(order("meanwhile", "0.01"))
    await wire.until(lambda: wire.resets == 3)
    await wire.venue.place(order("after", "0.01"))

    assert (await wire.fill_of("after")).qty == D("0.01")
    assert await asked.read() == 1
    await wire.eventually(lambda: _are_open(wire, 1, Group.PRIVATE))


@shows(FaultKind.LISTEN_KEY_EXPIRED, FaultKind.STREAM_STALLED)
async def test_a_listen_key_that_expired_unheard_is_found_out_when_it_is_to_be_extended() -> None:
    async with wired(limits=quick(keep_key_ms=600)) as wire:
        await wire.listen()
        await wire.until(lambda: wire.resets == 2)
        await wire.arm(FaultKind.STREAM_STALLED, duration_ms=600_000, params={"streams": "account"})
        await wire.arm(FaultKind.LISTEN_KEY_EXPIRED)

        await wire.until(lambda: wire.resets == 3)
        await wire.venue.place(order("after", "0.01"))

        assert (await wire.fill_of("after")).qty == D("0.01")


@shows(FaultKind.LISTEN_KEY_EXPIRED, FaultKind.HTML_BODY)
async def test_a_new_listen_key_is_asked_for_until_it_is_given(wire: Wire) -> None:
    await wire.until(lambda: wire.resets == 2)
    await wire.arm(FaultKind.HTML_BODY, calls="listenKey.create", count=2)
    await wire.arm(FaultKind.LISTEN_KEY_EXPIRED)

    await wire.until(lambda: wire.resets == 3)
    await wire.venue.place(order("after", "0.01"))

    assert (await wire.fill_of("after")).qty == D("0.01")


async def _are_open(wire: Wire, count: int, *groups: Group) -> bool:
    """What is replaced is heard for a moment longer."""
    return len(wire.sockets(*groups)) == count


# --- connections


@shows(FaultKind.STREAM_STALLED)
async def test_market_streams_that_fall_silent_are_opened_anew() -> None:
    async with wired(limits=quick(stall_ms=2_500)) as wire, wire.moving():
        await wire.listen()
        await wire.until(lambda: all(wire.tops(key.market) for key in BOTH) and bool(wire.marks))
        before = wire.sockets(Group.PUBLIC, Group.MARKET, Group.SPOT)
        await wire.arm(FaultKind.STREAM_STALLED, duration_ms=600_000, params={"streams": "market"})
        at_ms = wire.clock.now_ms()

        await wire.until(lambda: all(wire.tops(key.market)[-1].ts > at_ms + 1_000 for key in BOTH))
        await wire.until(lambda: wire.marks[-1].ts > at_ms + 1_000)

        assert len(before) == 3
        assert not before & wire.sockets()
        assert wire.resets == 2
        assert_sane(wire)


@shows(FaultKind.STREAM_STALLED)
async def test_account_streams_that_fall_silent_are_opened_anew_and_said_so() -> None:
    async with wired(limits=quick(probe_ms=400, dead_ms=1_500)) as wire:
        await wire.listen()
        await wire.until(lambda: wire.resets == 2)
        await wire.arm(FaultKind.STREAM_STALLED, duration_ms=600_000, params={"streams": "account"})

        await wire.venue.place(order("silent", "0.01"))
        await wire.until(lambda: wire.resets == 4)
        for key in BOTH:
            await wire.venue.place(order(f"told-{key.market}", "0.01", key=key))
            await wire.fill_of(f"told-{key.market}")

        assert wire.fills_told("silent") == []


@shows(FaultKind.STREAM_CLOSED)
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_connections_that_end_are_opened_anew_and_said_so(wire: Wire, how: str) -> None:
    async with wire.moving():
        await wire.until(lambda: wire.resets == 2 and all(wire.tops(key.market) for key in BOTH))
        before = wire.sockets()
        await wire.arm(FaultKind.STREAM_CLOSED, duration_ms=1_000, params={"how": how})
        await wire.venue.place(order("meanwhile", "0.01"))
        at_ms = wire.clock.now_ms()

        await wire.until(lambda: wire.resets == 4)
        await wire.until(lambda: all(wire.tops(key.market)[-1].ts > at_ms + 1_000 for key in BOTH))
        for key in BOTH:
            await wire.venue.place(order(f"told-{key.market}", "0.01", key=key))
            await wire.fill_of(f"told-{key.market}")

        await wire.eventually(lambda: _are_open(wire, 5))

    assert len(before) == 5
    assert not before & wire.sockets()
    assert_sane(wire)


# --- the market


@shows(FaultKind.DEPTH_GAP)
@pytest.mark.parametrize("key", BOTH, ids=str)
@pytest.mark.parametrize("how", ["gap", "crossed", "stale"])
async def test_a_book_whose_differences_cannot_be_followed_begins_again(
    wire: Wire, key: InstrumentKey, how: str
) -> None:
    async with wire.moving():
        await wire.until(lambda: _whole_books(wire, key) > 0)
        asked = await wire.counting("depth")
        await wire.arm(FaultKind.DEPTH_GAP, market=key.market.value, params={"how": how})
        await wire.eventually(lambda: _met(wire, FaultKind.DEPTH_GAP))
        if how == "stale":
            await wire.pass_ms(1_300)
        else:
            await wire.eventually(lambda: _counted(asked))
        whole = _whole_books(wire, key)
        await wire.until(lambda: _whole_books(wire, key) > whole)

    await wire.eventually(lambda: _shows_all_of(wire, key))
    assert_sane(wire)
    assert await asked.read() in ((0,) if how == "stale" else (1, 2))


@shows(FaultKind.DEPTH_GAP, FaultKind.RATE_429)
async def test_a_book_that_may_not_be_asked_for_yet_leaves_the_best_prices(wire: Wire) -> None:
    async with wire.moving():
        await wire.until(lambda: _whole_books(wire, FUT) > 0)
        await wire.arm(FaultKind.RATE_429, calls="depth", market="FUT", params={"retry_after_s": 2})
        await wire.arm(FaultKind.DEPTH_GAP, market="FUT")
        await wire.eventually(lambda: _met(wire, FaultKind.RATE_429))
        at_ms, whole = wire.clock.now_ms(), _whole_books(wire, FUT)
        await wire.until(lambda: wire.tops(Market.FUT)[-1].ts > at_ms)

        assert len(wire.tops(Market.FUT)[-1].bids) == 1
        await wire.until(lambda: _whole_books(wire, FUT) > whole)
    assert_sane(wire)


def _whole_books(wire: Wire, key: InstrumentKey) -> int:
    return sum(len(top.bids) == len(top.asks) == 5 for top in wire.tops(key.market))


async def _shows_all_of(wire: Wire, key: InstrumentKey) -> bool:
    """The newest top is the exchange's own book, level by level; depth is told with the next tick after 100 ms."""
    wire.price("60100.0")
    await wire.pass_ms(120)
    top, book = wire.tops(key.market)[-1], wire.host.books[key]
    return (top.bids, top.asks) == (book.bids, book.asks)


async def _met(wire: Wire, kind: FaultKind) -> bool:
    await wire.look()
    return wire.hits.get(kind, 0) > 0


async def _counted(counter: Counter) -> bool:
    return await counter.read() > 0


@shows(FaultKind.BAD_DATA)
@pytest.mark.parametrize(
    "what", ["x10", "nan", "zero", "negative", "scientific", "missing", "extra", "unknown", "broken"]
)
async def test_what_cannot_be_true_is_refused_and_the_stream_goes_on(wire: Wire, what: str) -> None:
    sources = [(stream, key.market) for key in BOTH for stream in ("bookTicker", "depth", "aggTrade")]
    sources.append(("markPrice", Market.FUT))
    refused = heard_of(wire).refused.counts
    async with wire.moving():
        await wire.until(lambda: all(_whole_books(wire, key) for key in BOTH) and bool(wire.marks))
        before = wire.sockets()
        for stream, market in sources:
            counted = refused.total()
            fault = await wire.arm(FaultKind.BAD_DATA, calls=stream, market=market.value, params={"what": what})
            await wire.eventually(lambda fault=fault: _met_one(wire, fault))
            if what not in ("scientific", "extra", "unknown") and (stream, what) != ("depth", "x10"):
                await wire.eventually(lambda counted=counted: _more(refused.total(), counted))
        heard = {key: _whole_books(wire, key) for key in BOTH}
        marked = len(wire.marks)
        await wire.until(lambda: all(_whole_books(wire, key) > heard[key] for key in BOTH) and len(wire.marks) > marked)

    assert wire.sockets() == before
    assert_sane(wire)


async def _met_one(wire: Wire, fault: int) -> bool:
    return await wire.seen(fault) > 0


async def _more(now: int, before: int) -> bool:
    return now > before


@shows(FaultKind.MARK_DIVERGES)
async def test_a_mark_far_from_the_price_is_told_and_triggers_by_mark_only(wire: Wire) -> None:
    await wire.venue.place(order("open", "0.02"))
    await wire.venue.place(stop("by-mark", "58000"))
    await wire.venue.place(stop("by-price", "58000", working_type=WorkingType.CONTRACT_PRICE))

    fault = await wire.arm(FaultKind.MARK_DIVERGES, symbol="BTCUSDT", params={"bps": -600})
    wire.price("60000.0")
    fill = await wire.fill_of("by-mark")
    await wire.until(lambda: any(mark.mark == 56_400 for mark in wire.marks))
    asked = await wire.venue.mark("BTCUSDT")
    await wire.disarm(fault)

    assert fill.price > 59_000
    assert asked.mark == 56_400
    assert all(59_000 < top.bid < 61_000 for top in wire.tops(Market.FUT))
    assert wire.fills_told("by-price") == []
    assert [each.client_order_id for each in await wire.venue.open_orders()] == ["by-price"]


# --- bars


SPEED = 180.0
"""Three bars a second."""


@shows(FaultKind.KLINE_LATE)
@pytest.mark.parametrize("how", ["late", "lost"])
async def test_bars_leave_in_order_each_once_though_one_is_missing(how: str) -> None:
    async with wired(speed=SPEED, still=False) as wire:
        await wire.listen()
        await wire.until(lambda: all(_bars(wire, key) for key in BOTH))
        for key in BOTH:
            await wire.arm(
                FaultKind.KLINE_LATE, market=key.market.value, symbol="BTCUSDT", params={"how": how, "delay_ms": 1_200}
            )
        await _six_more_bars(wire)


@shows(FaultKind.KLINE_LATE, FaultKind.HTML_BODY, FaultKind.REQUEST_LOST)
async def test_a_bar_that_is_missing_is_asked_for_until_it_is_there() -> None:
    async with wired(speed=SPEED, still=False) as wire:
        await wire.listen()
        await wire.until(lambda: all(_bars(wire, key) for key in BOTH))
        await wire.arm(FaultKind.HTML_BODY, calls="klines", count=2)
        await wire.arm(FaultKind.REQUEST_LOST, calls="klines", count=2, params={"how": "reset"})
        for key in BOTH:
            await wire.arm(FaultKind.KLINE_LATE, market=key.market.value, symbol="BTCUSDT", params={"how": "lost"})
        await _six_more_bars(wire)


@shows(FaultKind.BAD_DATA)
@pytest.mark.parametrize("what", ["x10", "nan", "missing"])
async def test_a_bar_that_cannot_be_true_is_asked_for_again(what: str) -> None:
    async with wired(speed=SPEED, still=False) as wire:
        await wire.listen()
        await wire.until(lambda: all(_bars(wire, key) for key in BOTH))
        for key in BOTH:
            await wire.arm(
                FaultKind.BAD_DATA,
                calls="kline",
                market=key.market.value,
                symbol="BTCUSDT",
                params={"what": what},
            )
        await _six_more_bars(wire)
        assert heard_of(wire).refused.counts.total() == 2


@shows(FaultKind.STREAM_CLOSED, FaultKind.OUTAGE)
@pytest.mark.parametrize("kind", [FaultKind.STREAM_CLOSED, FaultKind.OUTAGE])
async def test_bars_of_a_time_without_a_connection_are_asked_for(kind: FaultKind) -> None:
    async with wired(speed=SPEED, still=False) as wire:
        await wire.listen()
        await wire.until(lambda: all(_bars(wire, key) for key in BOTH))
        await wire.arm(kind, duration_ms=4 * MINUTE_MS)
        await _six_more_bars(wire)


async def _six_more_bars(wire: Wire) -> None:
    counts = {key: len(_bars(wire, key)) for key in BOTH}
    await wire.until(lambda: all(len(_bars(wire, key)) >= counts[key] + 6 for key in BOTH))
    for key in BOTH:
        bars = _bars(wire, key)
        assert all(after.open_time == before.close_time for before, after in pairwise(bars))
        asked = await wire.venue.klines(key, "1m", bars[0].open_time, bars[-1].close_time)
        assert [_known(bar) for bar in bars] == [_known(bar) for bar in asked]


def _bars(wire: Wire, key: InstrumentKey) -> list[Bar]:
    return [bar for bar in wire.bars if (bar.market, bar.symbol) == (key.market, key.symbol)]


def _known(bar: Bar) -> tuple[float, ...]:
    return bar.open_time, bar.open, bar.high, bar.low, bar.close
