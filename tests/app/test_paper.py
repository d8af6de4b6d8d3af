"""Paper trading: a real market's prices move the simulated exchange, and nothing fills by a price that is none."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from chimera.adapters.simulated_venue.journal import FileJournal, NoJournal
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.data_folder import DataFolder, DataFolderProblem, open_folder
from chimera.app.embedded import up
from chimera.app.paper import START_USDT, PaperSide, PaperVenue, tick_of
from chimera.app.sides import UpOptions, UpProblem, Waiting
from chimera.contracts.collections import ORDERS
from chimera.contracts.documents import Order
from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, WorkingType
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import IncomeKind, NewOrder
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Bar, BookTop, Level, MarketEvent, MarkPrice
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.venue import Refused, VenueUnavailable
from tests.domain.builders import BTC_FUT, BTC_SPOT
from tests.loopback import free_ports
from tests.ports.hand_clock import START_MS, HandClock
from tests.venue_server.running import BEGINS_MS, running_venue

D = Decimal
FUT = BTC_FUT.key
HOUR_MS = 3_600_000


def top(price: str, *, bids: Sequence[Level] | None = None, asks: Sequence[Level] | None = None, **but: Any) -> BookTop:
    """A book around `price`, half a unit either side."""
    mid = D(price)
    sound = BookTop(
        ts=START_MS,
        market=Market.FUT,
        symbol="BTCUSDT",
        bids=((mid - D("0.5"), D(1)), (mid - 1, D(2))),
        asks=((mid + D("0.5"), D(1)), (mid + 1, D(2))),
        last=mid,
    )
    sides = {name: tuple(side) for name, side in (("bids", bids), ("asks", asks)) if side is not None}
    return replace(sound, **sides, **but)


def mark(price: str, **but: Any) -> MarkPrice:
    return replace(MarkPrice(START_MS, "BTCUSDT", D(price), 0.0001, START_MS + HOUR_MS, 8), **but)


def order(name: str, side: Side, **but: Any) -> NewOrder:
    asked: dict[str, Any] = {"type": OrderType.MARKET, "qty": D("0.004")} | but
    return NewOrder(client_order_id=name, market=Market.FUT, symbol="BTCUSDT", side=side, **asked)


def stop(name: str, price: str, **but: Any) -> NewOrder:
    asked: dict[str, Any] = {"type": OrderType.STOP_MARKET, "stop_price": D(price), "reduce_only": True} | but
    return order(name, Side.SELL, **asked)


@dataclass
class RealMarket:
    """A source whose answers a test writes."""

    listed: list[Instrument] = field(default_factory=lambda: [BTC_FUT, BTC_SPOT])
    batches: list[Sequence[MarketEvent]] = field(default_factory=list)
    book_now: BookTop | None = None
    mark_now: MarkPrice | None = None
    asked: int = 0
    while_asked: Any = None
    tick_interval_ms: int = 250

    async def book(self, key: InstrumentKey) -> BookTop:
        self.asked += 1
        if self.while_asked is not None:
            self.while_asked()
        if self.book_now is None:
            raise VenueUnavailable("the source is down")
        return self.book_now

    async def mark(self, symbol: str) -> MarkPrice:
        if self.mark_now is None:
            raise VenueUnavailable("the source is down")
        return self.mark_now

    async def instruments(self) -> Sequence[Instrument]:
        return self.listed

    async def market_events(self, keys: Sequence[InstrumentKey]) -> AsyncIterator[Sequence[MarketEvent]]:
        for batch in self.batches:
            yield batch


@dataclass
class Paper:
    venue: PaperVenue
    source: RealMarket
    clock: HandClock

    def show(self, *events: MarketEvent) -> None:
        self.venue.show(events)

    async def status(self, name: str) -> OrderStatus:
        return (await self.venue.order(FUT, name, conditional=False)).status

    def prices(self) -> list[Decimal]:
        return [fill.price for fill in self.venue.exchange.fills(Market.FUT, "BTCUSDT")]


def paper_on(journal: Any = None, exchange: Exchange | None = None) -> Paper:
    rules = ExchangeRules(instruments=(BTC_FUT, BTC_SPOT))
    source, clock = RealMarket(), HandClock()
    made = exchange or Exchange(rules, spot_balances={"USDT": D(1_000)}, fut_balances={"USDT": D(1_000)})
    live: Any = source
    venue = PaperVenue(live, exchange=made, rules=rules, clock=clock, journal=journal or NoJournal())
    return Paper(venue, source, clock)


# --- a batch of the real market


def test_a_batch_keeps_every_price_in_its_order() -> None:
    bar = Bar(Market.FUT, "BTCUSDT", "1m", START_MS, 1.0, 1.0, 1.0, 1.0, 1.0)
    marks = (mark("50000"), mark("49000"), mark("50000"))

    tick = tick_of([top("50000"), *marks, top("50001"), bar], START_MS)

    assert [book.last for book in tick.books] == [D(50_000), D(50_001)]
    assert tick.marks == marks, "a stop listens to each of them"
    assert tick.bars == (bar,)
    assert tick.ts == START_MS


ONE = (D(50_000), D(1))


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(top("50000", bids=[ONE], asks=[(D(49_999), D(1))]), id="crossed"),
        pytest.param(top("50000", bids=[ONE], asks=[ONE]), id="touching"),
        pytest.param(top("50000", bids=[]), id="no bid"),
        pytest.param(top("50000", asks=[]), id="no ask"),
        pytest.param(top("50000", bids=[(D(0), D(1))]), id="a bid of nothing"),
        pytest.param(top("50000", asks=[(D(50_001), D(0))]), id="nothing offered"),
        pytest.param(top("50000", bids=[(D(49_998), D(1)), (D(49_999), D(1))]), id="worst first"),
        pytest.param(top("50000", last=D(0)), id="a last price of nothing"),
        pytest.param(mark("0"), id="a mark of nothing"),
    ],
)
def test_what_no_market_can_show_is_left_out(event: MarketEvent) -> None:
    tick = tick_of([event], START_MS)

    assert (tick.books, tick.marks) == ((), ())


async def test_a_crossed_top_fills_and_triggers_nothing() -> None:
    paper = paper_on()
    paper.show(top("50000"), mark("50000"))
    await paper.venue.place(order("in", Side.BUY))
    await paper.venue.place(stop("stop", "49000", working_type=WorkingType.CONTRACT_PRICE, qty=D("0.004")))
    await paper.venue.place(order("rests", Side.BUY, type=OrderType.LIMIT, price=D(49_500)))

    paper.show(top("48000", bids=[(D(48_001), D(9))], asks=[(D(48_000), D(9))]))

    assert paper.prices() == [D("50000.5")]
    assert (await paper.venue.book(FUT)).last == D(50_000)


# --- fills


async def test_entry_stop_and_target_fill_where_the_real_price_is_with_the_fees_of_the_rules() -> None:
    paper = paper_on()
    paper.show(top("50000"), mark("50000"))
    await paper.venue.ensure_isolated("BTCUSDT", 20)
    await paper.venue.place(order("in", Side.BUY))
    await paper.venue.place(stop("stop", "49000", qty=D("0.002")))
    await paper.venue.place(stop("target", "51000", qty=D("0.002"), type=OrderType.TAKE_PROFIT_MARKET))

    paper.show(top("50900"), mark("50900"))
    before = await paper.status("target")
    paper.show(top("51010"), mark("51000"))
    after = await paper.status("target")
    paper.show(top("48900"), mark("49000"))

    assert (before, after) == (OrderStatus.NEW, OrderStatus.FILLED)
    assert paper.prices() == [D("50000.5"), D("51009.5"), D("48899.5")]
    assert await paper.status("stop") is OrderStatus.FILLED
    fills = await paper.venue.fills(FUT, 0)
    taker = await paper.venue.taker_fee_ratio(Market.FUT)
    assert [fill.fee for fill in fills] == [fill.price * fill.qty * taker for fill in fills]
    assert not await paper.venue.positions()


async def test_funding_is_settled_when_its_time_has_come() -> None:
    paper = paper_on()
    due_ms = START_MS + 60_000
    paper.show(top("50000"), mark("50000", funding_time=due_ms))
    await paper.venue.place(order("in", Side.BUY))

    await paper.clock.advance(60_000)
    paper.show(mark("50000", ts=due_ms, funding_time=due_ms + 8 * HOUR_MS, funding_rate=0.0002))

    income = [each for each in await paper.venue.income(0) if each.kind is IncomeKind.FUNDING_FEE]
    assert [each.amount for each in income] == [D("-0.004") * 50_000 * D("0.0001")]


# --- a source that is silent


async def test_an_order_into_an_old_book_meets_the_one_that_is_there_now() -> None:
    paper = paper_on()
    paper.show(top("50000"), mark("50000"))
    await paper.clock.advance(5_000)
    paper.source.book_now = top("48000")

    await paper.venue.place(order("in", Side.BUY))
    await paper.venue.place(order("more", Side.BUY))

    assert paper.prices() == [D("48000.5"), D("48000.5")]
    assert paper.source.asked == 1


@pytest.mark.parametrize(
    "book_now",
    [pytest.param(None, id="source down"), pytest.param(top("48000", asks=[]), id="source without offers")],
)
async def test_where_no_price_can_be_had_nothing_fills_and_a_stop_still_rests(book_now: BookTop | None) -> None:
    paper = paper_on()
    paper.show(top("50000"), mark("50000"))
    await paper.venue.place(order("in", Side.BUY))
    await paper.clock.advance(5_000)
    paper.source.book_now = book_now

    with pytest.raises(VenueUnavailable):
        await paper.venue.place(order("out", Side.SELL, reduce_only=True))
    with pytest.raises(VenueUnavailable):
        await paper.venue.book(FUT)
    with pytest.raises(VenueUnavailable):
        await paper.venue.mark("BTCUSDT")
    await paper.venue.place(stop("stop", "49000", qty=D("0.004")))

    assert paper.prices() == [D("50000.5")]
    assert await paper.status("stop") is OrderStatus.NEW
    paper.show(top("47000"), mark("47000"))
    assert paper.prices()[1:] == [D("46999.5")], "after the silence it fills where the price is, not where it was asked"


async def test_an_answer_that_the_stream_has_overtaken_is_not_shown() -> None:
    paper = paper_on()
    paper.show(top("50000"), mark("50000"))
    await paper.clock.advance(5_000)
    paper.source.book_now = top("48000")
    paper.source.while_asked = lambda: paper.show(top("49000"))

    await paper.venue.place(order("in", Side.BUY))

    assert paper.prices() == [D("49000.5")]


async def test_the_mark_is_asked_for_when_it_is_old() -> None:
    paper = paper_on()
    paper.source.mark_now = mark("51000")

    assert (await paper.venue.mark("BTCUSDT")).mark == D(51_000)
    paper.source.mark_now = mark("52000")
    assert (await paper.venue.mark("BTCUSDT")).mark == D(51_000)


async def test_a_market_that_ends_is_told() -> None:
    paper = paper_on()
    paper.source.batches = [[top("50000")], [top("50010")]]

    with pytest.raises(VenueUnavailable, match="ended"):
        await paper.venue.follow([FUT])

    assert paper.venue.books[FUT].last == D(50_010)


async def test_what_is_shown_is_what_listeners_hear() -> None:
    paper = paper_on()
    heard: list[MarketEvent] = []

    async def listen() -> None:
        async for events in paper.venue.market_events([FUT]):
            heard.extend(events)

    task = asyncio.ensure_future(listen())
    await asyncio.sleep(0)
    paper.show(top("50000"), top("50000", asks=[]), mark("50000"))
    await asyncio.sleep(0.01)
    task.cancel()

    assert heard == [top("50000"), mark("50000")]


# --- rules


async def test_the_rules_of_the_source_bind_once_they_were_asked_for() -> None:
    paper = paper_on()
    paper.show(top("50000"), mark("50000"))
    paper.source.listed = [replace(BTC_FUT, tick_size=D(1), min_notional=D(500)), BTC_SPOT]

    listed = await paper.venue.instruments()

    assert [each.tick_size for each in listed] == [D(1), D("0.01")]
    assert paper.venue.rules.instruments == tuple(listed)
    with pytest.raises(Refused, match="500"):
        await paper.venue.place(order("small", Side.BUY))


async def test_what_is_halted_at_the_source_fills_nothing_here() -> None:
    paper = paper_on()
    paper.show(top("50000"), mark("50000"))
    paper.source.listed = [replace(BTC_FUT, status="SETTLING"), BTC_SPOT]
    await paper.venue.instruments()

    with pytest.raises(Refused):
        await paper.venue.place(order("in", Side.BUY))


async def test_what_is_not_listed_any_more_is_left_out_and_keeps_its_rules() -> None:
    paper = paper_on()
    paper.show(top("50000"), mark("50000"))
    await paper.venue.place(order("in", Side.BUY))
    paper.source.listed = [BTC_SPOT]

    assert await paper.venue.instruments() == (BTC_SPOT,)
    await paper.venue.place(order("out", Side.SELL, reduce_only=True))
    assert not await paper.venue.positions()


async def test_rules_that_cannot_be_traded_by_leave_those_before() -> None:
    paper = paper_on()
    paper.source.listed = [replace(BTC_FUT, quote_asset="USDC"), BTC_SPOT]

    assert await paper.venue.instruments() == (BTC_FUT, BTC_SPOT)


# --- the account


async def test_the_account_is_found_again_with_its_stop_and_fills_it_at_the_first_price(tmp_path: Path) -> None:
    gone = FileJournal(tmp_path)
    first = paper_on(gone)
    first.show(top("50000"), mark("50000"))
    await first.venue.place(order("in", Side.BUY))
    await first.venue.place(stop("stop", "49000", qty=D("0.004")))
    os.close(gone._clock)  # no close: the process is gone, and with it its hold on the folder

    journal = FileJournal(tmp_path)
    rules = ExchangeRules(instruments=(BTC_FUT, BTC_SPOT))
    again = paper_on(journal, Exchange.restore(rules, journal.state()))
    held = await again.venue.positions()
    again.show(top("48000"), mark("48000"))

    assert [position.qty for position in held] == [D("0.004")]
    assert again.prices() == [D("50000.5"), D("47999.5")]
    assert not await again.venue.positions()


@asynccontextmanager
async def side_on(data: Path, url: str, waiting: Waiting = lambda note: None, **but: Any) -> AsyncIterator[PaperSide]:
    """As `up` opens it."""
    async with documents_of(data) as (folder, documents):
        options = UpOptions(data=data, venue="paper", market_data=url, **but)
        side = await PaperSide.open(options, folder, documents, waiting)
        try:
            yield side
        finally:
            await side.close()


@asynccontextmanager
async def documents_of(data: Path) -> AsyncIterator[tuple[DataFolder, SqliteDocuments]]:
    folder = open_folder(data)
    folder.claim("paper", exchange_inside=False)
    documents = SqliteDocuments.in_thread(folder.documents)
    try:
        yield folder, documents
    finally:
        await documents.close()
        folder.close()


@asynccontextmanager
async def trading_on(data: Path, url: str) -> AsyncIterator[PaperSide]:
    """A side that hears the market and holds BTCUSDT, which is on file too."""
    async with side_on(data, url) as side:
        running = asyncio.ensure_future(side.venue.follow(side.watched))
        await following(side, FUT)
        await side.venue.place(order("in", Side.BUY, qty=D("0.002")))
        yield side
        running.cancel()
    async with documents_of(data) as (_, documents):
        await documents.put(
            ORDERS,
            Order(
                order_id="in",
                market=Market.FUT,
                symbol="BTCUSDT",
                side=Side.BUY,
                type=OrderType.MARKET,
                status=OrderStatus.FILLED,
                rcu_rev=1,
                created_at=BEGINS_MS,
            ),
        )


async def following(side: PaperSide, key: InstrumentKey, since_ms: int = 0) -> BookTop:
    """The first top shown after `since_ms`."""
    async with asyncio.timeout(20):
        async for events in side.venue.market_events([key]):
            for event in events:
                if isinstance(event, BookTop) and event.ts > since_ms:
                    return event
    raise AssertionError


async def test_a_new_account_trades_on_the_prices_of_a_server_and_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running_venue() as source:
        async with trading_on(tmp_path / "data", source.url) as side:
            balances = {(each.market, each.free + each.locked) for each in await side.venue.balances()}
            price = source.venue.hosted.host.books[FUT].mid
        async with side_on(tmp_path / "data", source.url) as side:
            held = await side.venue.positions()
            apart_ms = side.clock.now_ms() - source.now_ms

    assert (Market.SPOT, START_USDT) in balances
    assert [position.qty for position in held] == [D("0.002")]
    assert abs(held[0].entry_price / price - 1) < D("0.02")
    assert abs(apart_ms) < 1_000


async def test_half_of_a_system_is_refused_whichever_half_it_is(tmp_path: Path) -> None:
    async with running_venue() as source:
        async with trading_on(tmp_path / "data", source.url):
            pass
        for lost in ("documents.sqlite", "venue"):
            data = tmp_path / f"without {lost}"
            shutil.copytree(tmp_path / "data", data)
            for path in data.glob(f"{lost}*" if lost != "venue" else "venue/*"):
                path.unlink()
            with pytest.raises(UpProblem, match=f"half of a system: what was in {lost} is missing"):
                async with side_on(data, source.url):
                    pass


async def test_what_is_open_has_to_be_named(tmp_path: Path) -> None:
    async with running_venue() as source:
        async with trading_on(tmp_path / "data", source.url):
            pass
        with pytest.raises(UpProblem, match=r"--symbols: .* has BTCUSDT open"):
            async with side_on(tmp_path / "data", source.url, symbols=("ETHUSDT",)):
                pass


async def test_an_account_goes_on_with_the_market_it_had_and_not_before_its_own_time(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running_venue() as source, trading_on(data, source.url):
        pass
    async with running_venue(start_ms=BEGINS_MS - HOUR_MS) as earlier:
        with pytest.raises(UpProblem, match=r"stands 3\d{3}\.\d s after that market"):
            async with side_on(data, earlier.url):
                pass
    with pytest.raises(UpProblem, match=r"--market-data testnet: the paper account .* follows the local market"):
        async with side_on(data, "testnet"):
            pass


async def test_a_stream_that_was_closed_comes_back(tmp_path: Path) -> None:
    async with running_venue() as source, side_on(tmp_path / "data", source.url) as side:
        running = asyncio.ensure_future(side.venue.follow(side.watched))
        await following(side, FUT)
        reply = await source.session.post(
            f"{source.url}/admin/faults", json={"kind": "STREAM_CLOSED", "in_ms": 0, "params": {"streams": "market"}}
        )
        assert reply.status == 200
        closed_ms = side.clock.now_ms() + 100

        assert (await following(side, FUT, closed_ms)).ts > closed_ms
        assert not running.done()
        running.cancel()


@pytest.mark.parametrize(
    ("symbols", "url", "says"),
    [
        pytest.param(("NOPEUSDT",), None, r"FUT:NOPEUSDT.*does not list it.*--symbols", id="symbol"),
        pytest.param(("BTCUSDT",), "http://127.0.0.1:1", r"127\.0\.0\.1:1.*does not answer", id="nobody there"),
        pytest.param(("BTCUSDT",), "sim", r"--market-data: 'sim' is no address", id="no address"),
    ],
)
async def test_a_source_that_cannot_be_followed_is_refused_and_may_be_corrected(
    tmp_path: Path, symbols: tuple[str, ...], url: str | None, says: str
) -> None:
    async with running_venue() as source:
        with pytest.raises(UpProblem, match=says):
            async with side_on(tmp_path / "data", url or source.url, symbols=symbols):
                pass

        async with side_on(tmp_path / "data", source.url) as side:
            assert not await side.venue.positions()


async def test_a_source_that_is_not_real_time_is_refused(tmp_path: Path) -> None:
    async with running_venue(speed=10) as source:
        with pytest.raises(UpProblem, match="runs at 10, and paper follows one at 1"):
            async with side_on(tmp_path / "data", source.url):
                pass


async def test_a_start_waits_while_this_address_has_asked_the_source_too_much(tmp_path: Path) -> None:
    async with running_venue() as source:
        await source.session.post(
            f"{source.url}/admin/faults", json={"kind": "RATE_429", "in_ms": 0, "duration_ms": 2_000}
        )
        notes: list[str | None] = []
        with capture_logs() as said:
            async with side_on(tmp_path / "data", source.url, notes.append) as side:
                assert not await side.venue.positions()

    assert "asked too much" in said[0]["event"]
    assert "429" in said[0]["why"]
    assert "the exchange limits this address; asked again at " in (notes[0] or "")
    assert notes[-1] is None


async def test_speed_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UpProblem, match=r"--speed 10: paper .* runs at 1"):
        await up(UpOptions(data=tmp_path / "data", venue="paper", speed=10.0), {}, print)

    assert list(tmp_path.iterdir()) == []


async def test_a_start_that_the_source_refuses_leaves_no_folder_behind_and_claims_none(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_ports()}"
    there = tmp_path / "there"
    there.mkdir()
    for data in (tmp_path / "data", there):
        for asked in ({"venue": "paper", "market_data": nobody}, {"venue": nobody}):
            with pytest.raises(UpProblem, match="does not answer"):
                await up(UpOptions(data=data, port=free_ports(), **asked), {}, print)

    assert list(tmp_path.iterdir()) == [there]
    assert not list((there / "venue").iterdir())
    async with running_venue() as source, side_on(there, source.url) as side:
        assert not await side.venue.positions()


async def test_a_folder_in_use_is_not_forgotten_when_its_source_is_away(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running_venue() as source, trading_on(data, source.url):
        pass
    with pytest.raises(UpProblem, match="does not answer"):
        await up(UpOptions(data=data, venue="paper", market_data=source.url, port=free_ports()), {}, print)

    with pytest.raises(DataFolderProblem, match="belongs to --venue paper"):
        await up(UpOptions(data=data, venue="sim", port=free_ports()), {}, print)
    async with documents_of(data) as (_, documents):
        assert await documents.get(ORDERS, "in") is not None
