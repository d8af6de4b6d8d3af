"""Depth: a book rebuilt from a snapshot and the diffs after it is the book, whenever one joins."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.listing import listed
from chimera.domain.market.quotes import BookTop, Level
from chimera.domain.matching.rules import ExchangeRules
from chimera.venue_server.streams.depth import DepthBooks, DiffChain
from tests.venue_server.listening import listening
from tests.venue_server.running import running_venue

D = Decimal
KEYS = {Market.FUT: InstrumentKey(Market.FUT, "BTCUSDT"), Market.SPOT: InstrumentKey(Market.SPOT, "BTCUSDT")}


class Local:
    """A client's book by the documented rule of its market; `synced` is False until it could join."""

    def __init__(self, market: Market, last_update_id: int, bids: Any, asks: Any) -> None:
        self.market = market
        self.last_id = last_update_id
        self.bids = {D(price): D(qty) for price, qty in bids}
        self.asks = {D(price): D(qty) for price, qty in asks}
        self.joined = False

    def apply(self, event: dict[str, Any]) -> None:
        first, last = event["U"], event["u"]
        if self.market is Market.FUT:
            if last < self.last_id:
                return
            if self.joined:
                assert event["pu"] == self.last_id, "a gap"
            else:
                assert first <= self.last_id <= last, "cannot join"
        else:
            if last <= self.last_id:
                return
            assert first == self.last_id + 1 if self.joined else first <= self.last_id + 1 <= last, "a gap"
        self.joined = True
        self.last_id = last
        for side, rows in ((self.bids, event["b"]), (self.asks, event["a"])):
            for price, qty in rows:
                if D(qty):
                    side[D(price)] = D(qty)
                else:
                    side.pop(D(price), None)

    @property
    def best(self) -> tuple[Level, Level]:
        bid, ask = max(self.bids), min(self.asks)
        return (bid, self.bids[bid]), (ask, self.asks[ask])


class _Host:
    """What depth needs of an exchange: its rules and the last books."""

    def __init__(self) -> None:
        self.rules = ExchangeRules(instruments=tuple(listed(key) for key in KEYS.values()))
        self.books: dict[InstrumentKey, BookTop] = {}


def book(market: Market, ts: int, bid_ticks: int, spread: int, sizes: Sequence[int]) -> BookTop:
    instrument = listed(KEYS[market])
    tick, step = instrument.tick_size, instrument.step_size
    bids = tuple((tick * (bid_ticks - 2 * row), step * sizes[row]) for row in range(3))
    asks = tuple((tick * (bid_ticks + spread + 3 * row), step * sizes[row + 3]) for row in range(3))
    return BookTop(ts, market, "BTCUSDT", bids, asks, bids[0][0])


pictures = st.lists(
    st.tuples(st.integers(600_000, 600_006), st.integers(1, 4), st.tuples(*[st.integers(1, 5)] * 6)),
    min_size=2,
    max_size=12,
)


@pytest.mark.parametrize("market", list(Market))
@settings(max_examples=60, deadline=None)
@given(shown=pictures, every=st.integers(1, 4), joins=st.integers(0, 20))
def test_a_rebuilt_book_is_the_book_whenever_one_joins(
    market: Market, shown: list[tuple[int, int, tuple[int, ...]]], every: int, joins: int
) -> None:
    host, key = _Host(), KEYS[market]
    books = DepthBooks(host)
    chain = books.chain(key)
    buffered: list[dict[str, Any]] = []
    local: Local | None = None
    for number, (bid, spread, sizes) in enumerate(shown):
        host.books[key] = book(market, 1_000 + 250 * number, bid, spread, sizes)
        rows = books.rows(key)
        assert rows is not None
        if number == 0:
            chain.begin(*rows)
        else:
            chain.see(*rows)
            diff = chain.advance() if number % every == 0 else None
            if diff is not None:
                event = {"U": chain.first_id(diff), "u": diff.last_id, "pu": diff.previous_id}
                buffered.append({**event, "b": diff.bids, "a": diff.asks})
                if local is not None:
                    local.apply(buffered[-1])
        if number == joins % len(shown):
            local = Local(market, *rows)
            for event in buffered:
                local.apply(event)
        if local is not None and chain.known_id == host.books[key].ts:
            depth = books.snapshot(key, 1_000)
            assert depth is not None
            assert local.best == (host.books[key].bids[0], host.books[key].asks[0])
            assert sorted(local.bids.items(), reverse=True) == list(depth.bids)
            assert sorted(local.asks.items()) == list(depth.asks)


def test_what_is_shown_is_what_a_taker_would_meet() -> None:
    host, key = _Host(), KEYS[Market.FUT]
    host.books[key] = book(Market.FUT, 1_000, 600_000, 1, (1, 2, 3, 4, 5, 6))
    depth = DepthBooks(host).snapshot(key, 1_000)

    assert depth is not None
    assert depth.last_update_id == 1_000
    assert len(depth.bids) == len(depth.asks) == 3 + host.rules.synthetic_levels
    assert depth.bids[:3] == host.books[key].bids
    assert depth.asks[-1][0] > depth.asks[-2][0] > host.books[key].asks[-1][0]


def test_before_the_first_tick_there_is_no_depth() -> None:
    assert DepthBooks(_Host()).snapshot(KEYS[Market.FUT], 5) is None


@pytest.mark.parametrize(
    ("market", "socket_path", "depth_path", "ticker"),
    [
        pytest.param(Market.FUT, "/public/ws/btcusdt@depth@100ms/btcusdt@bookTicker", "/fapi/v1/depth", "b", id="FUT"),
        pytest.param(Market.SPOT, "/ws/btcusdt@depth@100ms/btcusdt@bookTicker", "/api/v3/depth", "b", id="SPOT"),
    ],
)
async def test_a_client_rebuilds_the_book_over_the_wire_by_the_documents(
    market: Market, socket_path: str, depth_path: str, ticker: str
) -> None:
    async with running_venue(speed=60) as venue, listening(venue, socket_path) as socket:
        await socket.event("depthUpdate")  # the documents ask for a buffer first
        snapshot = (await venue.get(depth_path, symbol="BTCUSDT", limit=1_000)).body
        assert len(snapshot["bids"]) == len(snapshot["asks"]) > 20
        local = Local(market, snapshot["lastUpdateId"], snapshot["bids"], snapshot["asks"])
        compared = 0
        for told in socket.said:
            if told.get("e") == "depthUpdate":
                local.apply(told)
        while compared < 5:
            told = await socket.next()
            if told.get("e") == "depthUpdate":
                local.apply(told)
            elif told["u"] == local.last_id:
                compared += 1
                best = (D(told["b"]), D(told["B"])), (D(told["a"]), D(told["A"]))
                assert local.best == best


async def test_slow_streams_join_too() -> None:
    async with running_venue(speed=2) as venue, listening(venue, "/public/ws/btcusdt@depth@500ms") as socket:
        first = await socket.event("depthUpdate")
        second = await socket.event("depthUpdate")

    assert second["pu"] == first["u"]
    assert second["U"] <= first["u"] + 1
    assert second["u"] - first["u"] >= 500


def test_a_book_that_stands_still_is_not_told() -> None:
    chain = DiffChain(Market.FUT, "0")
    chain.begin(1_000, [("1", "1")], [("2", "1")])
    chain.see(1_000, [("1", "1")], [("2", "1")])
    chain.see(1_250, [("1", "1")], [("2", "1")])

    assert chain.advance() is None


def test_a_level_that_changed_and_changed_back_is_told() -> None:
    chain = DiffChain(Market.SPOT, "0.0")
    chain.begin(1_000, [("1", "1.0")], [("2", "1.0")])
    chain.see(1_250, [("1", "1.0")], [("2", "5.0")])
    chain.see(1_500, [("1", "1.0")], [("2", "1.0")])

    diff = chain.advance()

    assert diff is not None
    assert (diff.previous_id, diff.last_id, diff.bids, diff.asks) == (1_000, 1_500, [], [("2", "1.0")])
    assert chain.first_id(diff) == 1_001
