import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from chimera.adapters.binance.local_book import DepthSnapshot
from chimera.adapters.binance.market_streams import MarketStreams
from chimera.adapters.binance.ws import ConnectGate, SocketLimits
from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.quotes import Bar, BookTop, MarketEvent, MarkPrice
from chimera.ports.venue import VenueUnavailable
from tests.adapters.binance.stream_server import StreamServer, serving

T0 = 1_789_117_320_000
MINUTE_MS = 60_000
FUT = InstrumentKey(Market.FUT, "BTCUSDT")
SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")
TICKER, DEPTH, TRADE, KLINE, MARK = (
    f"btcusdt@{kind}" for kind in ("bookTicker", "depth@100ms", "aggTrade", "kline_1m", "markPrice@1s")
)


def ticker(update_id: int, bid: str = "100", ask: str = "101", **more: Any) -> dict[str, Any]:
    said = {"e": "bookTicker", "u": update_id, "s": "BTCUSDT", "b": bid, "B": "1", "a": ask, "A": "2", "E": T0}
    return said | more


def depth(first: int, last: int, previous: int, bids: Any = (), asks: Any = ()) -> dict[str, Any]:
    said = {"e": "depthUpdate", "E": T0 + last, "T": T0 + last, "s": "BTCUSDT", "st": 1}
    return said | {"U": first, "u": last, "pu": previous, "b": bids, "a": asks}


def trade(price: str = "100.5", **more: Any) -> dict[str, Any]:
    return {"e": "aggTrade", "E": T0, "s": "BTCUSDT", "a": 1, "p": price, "q": "1", "T": T0, "m": True} | more


def kline(minute: int, *, closed: bool = True, close: str = "1.5", **more: Any) -> dict[str, Any]:
    k = {"t": T0 + minute * MINUTE_MS, "s": "BTCUSDT", "i": "1m", "o": "1.2", "c": close, "h": "1.6", "l": "1.1"}
    return {"e": "kline", "E": T0, "s": "BTCUSDT", "k": k | {"v": "3", "x": closed} | more}


def mark(ts: int = T0, price: str = "100", **more: Any) -> dict[str, Any]:
    said = {"e": "markPriceUpdate", "E": ts, "s": "BTCUSDT", "p": price, "i": price, "P": price, "r": "0.0001"}
    return said | {"T": T0 + 3_600_000, "st": 1} | more


def bar(minute: int) -> Bar:
    return Bar(Market.FUT, "BTCUSDT", "1m", T0 + minute * MINUTE_MS, 1.2, 1.6, 1.1, 1.5, 3.0)


class World:
    """One listener on one small exchange, which answers REST as well."""

    def __init__(
        self, server: StreamServer, session: aiohttp.ClientSession, start_ms: int, speed: float, limits: Any
    ) -> None:
        self.server = server
        self.clock = LoopClock(start_ms, speed)
        self.snapshots: list[DepthSnapshot | Exception] = []
        self.snapshots_asked = 0
        self.klines_asked: list[range] = []
        self.klines_fail = 0
        self.last: Decimal | Exception = VenueUnavailable("no last price here")
        randomness = SeededRandomness(1)
        self.streams = MarketStreams(
            futures_ws=server.url,
            spot_ws=server.url,
            session=session,
            clock=self.clock,
            randomness=randomness,
            gate=ConnectGate(self.clock, most=10_000),
            snapshot=self._snapshot,
            klines=self._klines,
            last_price=self._last,
            interval_h=lambda symbol: 8,
            limits=SocketLimits(**({"backoff_first_ms": 10, "overlap_ms": 20, "stall_ms": 60_000} | limits)),
        )
        self.heard: list[MarketEvent] = []
        self._listening: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        return self.streams.refused.counts

    async def _snapshot(self, key: InstrumentKey) -> DepthSnapshot:
        self.snapshots_asked += 1
        answer = self.snapshots.pop(0) if self.snapshots else VenueUnavailable("no depth")
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        asked = range((start_ms - T0) // MINUTE_MS, (end_ms - T0) // MINUTE_MS)
        self.klines_asked.append(asked)
        if self.klines_fail:
            self.klines_fail -= 1
            raise VenueUnavailable("no klines")
        return [bar(minute) for minute in asked]

    async def _last(self, key: InstrumentKey) -> Decimal:
        if isinstance(self.last, Exception):
            raise self.last
        return self.last

    async def listen(self, *keys: InstrumentKey) -> None:
        """Until subscribed."""

        async def run() -> None:
            async with aclosing(self.streams.events(keys)) as events:
                async for batch in events:
                    self.heard.extend(batch)
                    self._changed.set()

        self._listening = asyncio.ensure_future(run())
        groups = {"/public/stream", "/market/stream"} if FUT in keys else set()
        groups |= {"/stream"} if SPOT in keys else set()
        await self.server.until(
            lambda: {peer.path for peer in self.server.open_peers() if peer.streams} == groups,
        )

    async def until(self, is_so: Any) -> None:
        async with asyncio.timeout(10):
            while not is_so():
                assert self._listening is not None
                assert not self._listening.done(), self._listening
                self._changed.clear()
                waiting = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait([waiting, self._listening], timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()

    async def stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]

    @property
    def minutes(self) -> list[int]:
        return [(each.open_time - T0) // MINUTE_MS for each in self.of(Bar)]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def world_of(session: aiohttp.ClientSession) -> AsyncIterator[Any]:
    async with serving() as server:
        worlds: list[World] = []

        def build(start_ms: int = T0 + 30_000, speed: float = 1.0, **limits: Any) -> World:
            worlds.append(World(server, session, start_ms, speed, limits))
            return worlds[-1]

        yield build
        for world in worlds:
            await world.stop()


async def test_each_stream_is_asked_of_its_group(world_of: Any) -> None:
    world = world_of()

    await world.listen(FUT, SPOT)

    assert {peer.path: peer.streams for peer in world.server.open_peers()} == {
        "/public/stream": [TICKER, DEPTH],
        "/market/stream": [TRADE, KLINE, MARK],
        "/stream": [TICKER, DEPTH, TRADE, KLINE],
    }


async def test_best_prices_newer_than_the_book_are_its_top(world_of: Any) -> None:
    world = world_of()
    world.snapshots = [DepthSnapshot(10, [["100", "5"], ["99", "6"]], [["101", "7"], ["102", "8"]])]
    await world.listen(FUT)

    await world.server.say(TRADE, trade("100.5"))
    await world.server.say(DEPTH, depth(9, 11, 8, bids=[["98", "1"]]))
    await world.until(lambda: world.of(BookTop))
    await world.server.say(TICKER, ticker(15, "101", "101.5"))
    await world.until(lambda: world.of(BookTop)[-1].bid == 101)

    first, *_, newest = world.of(BookTop)
    assert [price for price, _ in first.bids] == [100, 99, 98]
    assert first.last == Decimal("100.5")
    assert [price for price, _ in newest.bids] == [101, 100, 99, 98]
    assert [price for price, _ in newest.asks] == [Decimal("101.5"), 102]


async def test_a_book_newer_than_the_best_prices_is_believed(world_of: Any) -> None:
    world = world_of()
    world.snapshots = [DepthSnapshot(20, [["90", "5"]], [["91", "7"]])]
    await world.listen(FUT)

    await world.server.say(TRADE, trade("90"))
    await world.server.say(TICKER, ticker(15, "100", "101"))
    await world.server.say(DEPTH, depth(19, 21, 18))

    await world.until(lambda: world.of(BookTop) and world.of(BookTop)[-1].bid == 90)


async def test_nothing_is_told_before_a_last_price_is_known(world_of: Any) -> None:
    world = world_of()
    await world.listen(FUT)
    await world.server.say(TICKER, ticker(15))
    await world.server.say(MARK, mark())
    await world.until(lambda: world.of(MarkPrice))
    assert not world.of(BookTop)

    world.last = Decimal("100.25")

    await world.until(lambda: world.of(BookTop))
    assert world.of(BookTop)[0].last == Decimal("100.25")


async def test_a_gap_in_the_book_is_mended_by_another_snapshot(world_of: Any) -> None:
    world = world_of()
    world.snapshots = [
        DepthSnapshot(10, [["100", "5"]], [["101", "7"]]),
        DepthSnapshot(30, [["96", "5"]], [["97", "7"]]),
    ]
    await world.listen(FUT)
    await world.server.say(TRADE, trade("100"))
    await world.server.say(DEPTH, depth(9, 11, 8))
    await world.until(lambda: world.of(BookTop))

    await world.server.say(DEPTH, depth(28, 31, 27, bids=[["95", "1"]]))

    await world.until(lambda: world.of(BookTop)[-1].bid == 96)
    assert world.of(BookTop)[-1].bids == ((Decimal(96), Decimal(5)), (Decimal(95), Decimal(1)))
    assert world.snapshots_asked == 2


async def test_a_stream_that_falls_silent_is_opened_again_though_others_speak(world_of: Any) -> None:
    world = world_of(stall_ms=300)
    await world.listen(FUT)
    [first] = world.server.open_peers("/public")
    first.streams.remove(TICKER)

    async def others() -> None:
        for update in range(1_000):
            await world.server.say(DEPTH, depth(update, update, update - 1))
            await world.server.say(MARK, mark(T0 + update))
            await asyncio.sleep(0.02)

    speaking = asyncio.ensure_future(others())
    await world.server.until(lambda: first not in world.server.peers)
    await world.server.until(lambda: any(peer.streams for peer in world.server.open_peers("/public")))
    await world.server.say(TRADE, trade())
    await world.server.say(TICKER, ticker(99))
    await world.until(lambda: world.of(BookTop))
    speaking.cancel()

    assert len(world.server.open_peers("/market")) == 1


async def test_a_quiet_stream_does_not_cost_its_group_the_connection(world_of: Any) -> None:
    world = world_of(stall_ms=1_000)
    await world.listen(FUT)
    [first] = world.server.open_peers("/public")

    for update in range(45):
        await world.server.say(DEPTH, depth(update, update, update - 1))
        await world.server.say(MARK, mark(T0 + update))
        if update % 14 == 13:
            await world.server.say(TICKER, ticker(update))
        await asyncio.sleep(0.1)

    assert world.server.open_peers("/public") == [first]
    assert {"LIST_SUBSCRIPTIONS"} == {asked["method"] for asked in first.asked[1:]}


async def test_a_connection_on_which_nothing_is_received_is_replaced_though_it_answers(world_of: Any) -> None:
    world = world_of(stall_ms=500)
    await world.listen(FUT)
    [first] = world.server.open_peers("/public")
    await world.server.say(TICKER, ticker(1))
    await world.server.say(DEPTH, depth(1, 1, 0))

    await world.server.until(lambda: first not in world.server.peers)

    assert [asked["method"] for asked in first.asked] == ["SUBSCRIBE"]


async def test_a_stream_that_stays_silent_alone_is_asked_for_again_in_the_end(world_of: Any) -> None:
    world = world_of(stall_ms=300)
    await world.listen(FUT)
    [first] = world.server.open_peers("/public")

    async def others() -> None:
        for update in range(1_000):
            await world.server.say(DEPTH, depth(update, update, update - 1))
            await asyncio.sleep(0.02)

    speaking = asyncio.ensure_future(others())
    await world.server.until(lambda: first not in world.server.peers)
    speaking.cancel()

    assert [asked["method"] for asked in first.asked[1:]] == ["LIST_SUBSCRIPTIONS"] * 2


async def test_missed_bars_are_fetched_before_newer_ones_leave(world_of: Any) -> None:
    """A minute takes 100 ms here. The connection is away for several; the first question for them fails."""
    world = world_of(speed=600)
    world.klines_fail = 1
    await world.listen(FUT)
    await world.clock.sleep_until_ms(T0 + MINUTE_MS)
    await world.server.say(KLINE, kline(0))
    await world.until(lambda: world.minutes == [0])

    [market] = world.server.open_peers("/market")
    market.streams.clear()
    await world.clock.sleep_until_ms(T0 + 4 * MINUTE_MS)
    await market.ws.close()
    await world.server.until(lambda: any(peer.streams for peer in world.server.open_peers("/market")))
    await world.clock.sleep_until_ms(T0 + 7 * MINUTE_MS)
    await world.server.say(KLINE, kline(6, close="1.55"))
    await world.until(lambda: 6 in world.minutes)

    assert world.minutes == list(range(len(world.minutes)))
    assert len(world.klines_asked) >= 2


async def test_a_bar_that_does_not_come_is_asked_for(world_of: Any) -> None:
    world = world_of(speed=600, kline_stall_ms=600_000)
    await world.listen(FUT)

    await world.until(lambda: world.minutes)

    assert world.minutes == list(range(len(world.minutes)))
    assert world.klines_asked[0].start == 0


async def test_a_bar_far_from_the_last_price_is_asked_for(world_of: Any) -> None:
    world = world_of(start_ms=T0 + MINUTE_MS - 200)
    await world.listen(FUT)

    await world.server.say(TRADE, trade("1.5"))
    await world.server.say(KLINE, kline(0, h="15.5"))
    await world.until(lambda: world.minutes)

    assert world.of(Bar) == [bar(0)]
    assert world.counts == {(KLINE, "a price jumped"): 1}


async def test_open_bars_and_repeats_do_not_leave(world_of: Any) -> None:
    world = world_of(start_ms=T0 + MINUTE_MS + 30_000)
    await world.listen(FUT)

    for said in (kline(0, closed=False), kline(0), kline(0), kline(1, closed=False), kline(1), kline(0)):
        await world.server.say(KLINE, said)
    await world.server.say(MARK, mark())
    await world.until(lambda: world.of(MarkPrice))

    assert world.minutes == [0, 1]


async def test_a_bar_that_cannot_be_believed_is_asked_for(world_of: Any) -> None:
    world = world_of(start_ms=T0 + MINUTE_MS - 200)
    await world.listen(FUT)
    await world.server.say(KLINE, kline(0, h="NaN"))
    await world.until(lambda: world.minutes)

    assert world.minutes == [0]
    assert world.klines_asked == [range(1)]
    assert world.counts[KLINE, "a bar's prices contradict each other"] == 1


@pytest.mark.parametrize(
    ("stream", "said", "reason"),
    [
        pytest.param(TICKER, ticker(9, bid="NaN"), "a price is not positive", id="no number"),
        pytest.param(TICKER, ticker(9, bid="0"), "a price is not positive", id="zero"),
        pytest.param(TICKER, ticker(9, bid="-1"), "a price is not positive", id="negative"),
        pytest.param(TICKER, ticker(9, bid="1000", ask="1010"), "a price jumped", id="ten times"),
        pytest.param(TICKER, ticker(9, bid="101", ask="100"), "crossed", id="crossed"),
        pytest.param(TICKER, ticker(9, B="0"), "a quantity is not positive", id="no quantity"),
        pytest.param(TICKER, {"u": 9, "s": "BTCUSDT"}, "b is missing", id="missing field"),
        pytest.param(TICKER, ticker(9, s="ETHUSDT"), "another symbol", id="another symbol"),
        pytest.param(TICKER, ticker(9, st=2), "a coin-margined symbol", id="coin-margined"),
        pytest.param(TICKER, ticker(9, b=None), "unreadable: TypeError", id="null"),
        pytest.param(TICKER, [], "unreadable: TypeError", id="a list"),
        pytest.param(TRADE, trade("1005"), "a price jumped", id="trade at ten times"),
        pytest.param(TRADE, trade("1e999"), "a price is not positive", id="infinite"),
        pytest.param(MARK, mark(p="0"), "p is not above 0", id="mark of nothing"),
        pytest.param(MARK, mark(p="x"), "p is no number", id="mark of letters"),
        pytest.param(MARK, mark(r=""), "unreadable: ValueError", id="no rate"),
        pytest.param(DEPTH, depth(12, 13, 11, bids=[["-5", "1"]]), "unreadable: BadLevel", id="negative level"),
        pytest.param(KLINE, kline(0, i="3m"), "not a bar of one minute", id="another interval"),
        pytest.param(KLINE, kline(0, t=T0 + 5), "a bar does not begin with a minute", id="crooked bar"),
        pytest.param(KLINE, kline(9), "a bar of the future", id="bar of the future"),
    ],
)
async def test_what_cannot_be_true_is_refused_and_counted(world_of: Any, stream: str, said: Any, reason: str) -> None:
    world = world_of()
    world.snapshots = [DepthSnapshot(10, [["100", "5"]], [["101", "7"]])]
    await world.listen(FUT)
    await world.server.say(TRADE, trade("100"))
    await world.server.say(TICKER, ticker(8))
    await world.server.say(DEPTH, depth(9, 11, 8))
    await world.until(lambda: world.of(BookTop) and world.of(BookTop)[-1].ts == T0 + 11)

    await world.server.say(stream, said)
    await world.server.say(TICKER, ticker(50, "99", "102"))
    await world.server.say(MARK, mark(T0 + 1))
    await world.until(lambda: world.of(BookTop)[-1].bid == 99 and world.of(MarkPrice))

    assert world.counts == {(stream, reason): 1}
    assert {top.bid for top in world.of(BookTop)} == {Decimal(100), Decimal(99)}


@pytest.mark.parametrize("said", ["{", "[]", '"x"', "NaN", '{"stream":"btcusdt@bookTicker"}', '{"stream":"unheard"}'])
async def test_what_cannot_be_read_ends_nothing(world_of: Any, said: str) -> None:
    world = world_of()
    await world.listen(FUT)

    await world.server.open_peers("/public")[0].say(said)
    await world.server.say(TRADE, trade())
    await world.server.say(TICKER, ticker(9))
    await world.until(lambda: world.of(BookTop))

    assert sum(world.counts.values()) == 1


async def test_unknown_fields_and_answers_are_let_pass(world_of: Any) -> None:
    world = world_of()
    await world.listen(FUT)

    await world.server.open_peers("/public")[0].say({"id": 77, "result": None})
    await world.server.say(TRADE, trade(nq="3", news={"a": 1}))
    await world.server.say(TICKER, ticker(9, ps="BTCUSDT", st=1))
    await world.until(lambda: world.of(BookTop))

    assert not world.counts


async def test_a_connection_is_renewed_without_a_gap(world_of: Any) -> None:
    """Every mark that the exchange says to whoever is connected arrives once, in order, through several renewals."""
    world = world_of(lifetime_ms=300, stable_ms=100, kline_stall_ms=60_000)
    await world.listen(FUT)

    said = 0
    while world.server.ended < 6:
        said += 1
        await world.server.say(MARK, mark(T0 + said))
        await asyncio.sleep(0.005)
    await world.until(lambda: len(world.of(MarkPrice)) == said)

    assert [each.ts - T0 for each in world.of(MarkPrice)] == list(range(1, said + 1))


async def test_the_rate_announced_for_a_settlement_is_remembered(world_of: Any) -> None:
    world = world_of()
    await world.listen(FUT)
    hour_ms = 3_600_000

    await world.server.say(MARK, mark(T0 + 1, r="0.0002"))
    await world.server.say(MARK, mark(T0 + 2, r="-0.0003", T=T0 + 2 * hour_ms))
    await world.until(lambda: len(world.of(MarkPrice)) == 2)

    assert world.streams.rate_at("BTCUSDT", T0 + hour_ms + 2) == 0.0002
    assert world.streams.rate_at("BTCUSDT", T0 + 2 * hour_ms) == -0.0003
    assert world.streams.rate_at("BTCUSDT", T0) is None
    assert world.streams.rate_at("ETHUSDT", T0) is None


async def test_spot_says_no_time_of_best_prices_and_gets_ours(world_of: Any) -> None:
    world = world_of()
    await world.listen(SPOT)

    await world.server.say(TRADE, trade("100", M=True))
    await world.server.say(TICKER, {"u": 5, "s": "BTCUSDT", "b": "100", "B": "1", "a": "101", "A": "1"})
    await world.until(lambda: world.of(BookTop))

    assert T0 + 30_000 <= world.of(BookTop)[0].ts <= world.clock.now_ms()


async def test_a_subscription_that_is_refused_is_tried_again(world_of: Any) -> None:
    world = world_of()
    usual = world.server._usual_answer
    refused = []

    def answer(peer: Any, asked: Any) -> Any:
        if len(refused) < 2:
            refused.append(peer)
            return {"error": {"code": 2, "msg": "Invalid request"}, "id": asked["id"]}
        return usual(peer, asked)

    world.server.answer = answer

    await world.listen(SPOT)

    assert len(refused) == 2


async def test_many_reconnects_leave_nothing_behind(world_of: Any) -> None:
    world = world_of(backoff_first_ms=1, backoff_max_ms=2, overlap_ms=0)
    await world.listen(SPOT)

    async def reconnect(times: int) -> int:
        for _ in range(times):
            await world.server.until(lambda: any(peer.streams for peer in world.server.open_peers()))
            [peer] = world.server.open_peers()
            await world.server.say(DEPTH, depth(1, 2, 0, bids=[["1", "1"]] * 100))
            await peer.ws.close()
            await world.server.until(lambda peer=peer: peer not in world.server.peers)
        gc.collect()
        return len(gc.get_objects())

    before = await reconnect(40)
    after = await reconnect(80)

    assert world.server.ended == 120
    assert after - before < 400
    assert len(asyncio.all_tasks()) < 20
