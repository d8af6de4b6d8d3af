"""The market as the exchange streams it: best prices and books, marks, and closed bars, of both markets.

Owns what of it leaves: of prices the newest, one top an instrument in a batch; of marks every one; of bars every one,
in order. Bars that the stream left out, or that it cannot be believed about, are asked for before newer ones leave;
books begin with a snapshot and begin again after a gap. What cannot be true is refused, counted and logged.

    futures /public    bookTicker, depth@100ms
    futures /market    aggTrade (the last price), kline_1m, markPrice@1s
    spot               bookTicker, depth@100ms, aggTrade, kline_1m

A stream of the wrong group connects and stays silent, so that every stream is watched by itself; one that is silent
alone is borne with for longer, as a new connection costs all books of its group. Trades are not watched: on a quiet
market there are none.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

import aiohttp
import structlog

from chimera.adapters.binance.bar_line import MINUTE_MS, BarLine
from chimera.adapters.binance.local_book import BadLevel, DepthSnapshot, Diff, Step
from chimera.adapters.binance.parse_events import bar_of, is_ours, mark_of, price_of, ticker_of
from chimera.adapters.binance.quotes_slot import BELIEVED_MS, LEVELS, STALE_MS, PriceGuard, QuotesSlot
from chimera.adapters.binance.refused import UNREADABLE, BadEvent, RefusedEvents
from chimera.adapters.binance.ws import (
    STREAMS_MAX,
    ConnectGate,
    Line,
    Socket,
    SocketLimits,
    Watch,
    WontOpen,
    failures,
    stop,
)
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.quotes import Bar, MarketEvent, MarkPrice
from chimera.ports.clock import Clock
from chimera.ports.randomness import Randomness
from chimera.ports.venue import VenueError
from chimera.runtime.retry import Backoff
from chimera.runtime.waiting import Changed

SUBSCRIBED_AT_ONCE = 200
"""Streams of one request."""
SILENT_TICKS = 2.5
"""No stream is called silent before it has missed so many of the venue's ticks. Source: SERVICES S1."""
LATE_BAR_MS = 10_000
"""Market time after its end at which a bar that did not come is asked for."""
LATE_WORK_MS = 3_000
"""... and at least so much of ours."""
RENEW_BOOK_MS = 60_000
"""Between two snapshots of a book that is not lost: the market moved beyond what the one before showed."""
AGAIN_MS = 500
AGAIN_MAX_MS = 30_000
"""First and longest wait of our own before the same thing is asked for again."""
MARKS_MAX = 10_000
"""Marks that wait for a consumer that does not come; then the oldest go."""

DepthSource = Callable[[InstrumentKey], Awaitable[DepthSnapshot]]
KlineSource = Callable[[InstrumentKey, str, int, int], Awaitable[Sequence[Bar]]]
PriceSource = Callable[[InstrumentKey], Awaitable[Decimal]]

log = structlog.get_logger(__name__)


class _Instrument:
    """One instrument of one listener."""

    def __init__(self, key: InstrumentKey, clock: Clock) -> None:
        now_ms = clock.now_ms()
        self.key = key
        self.symbol = key.symbol
        believed_ms, stale_ms = clock.work_ms(BELIEVED_MS), max(STALE_MS, clock.work_ms(STALE_MS))
        self.slot = QuotesSlot(key, PriceGuard(believed_ms, stale_ms))
        self.bars = BarLine(now_ms)
        self.mark_guard = PriceGuard(believed_ms, stale_ms)
        self.marked_ms = 0
        self.bars_suspect = False
        """A bar may have been missed or was refused: the next is asked for when it has closed, not when it is late."""
        self.bars_tries = 0
        self.ask_bars_ms = now_ms
        """Not before."""
        self.book_tries = 0
        self.asked_book_ms = 0
        self.ask_book_ms = now_ms
        """Not before."""


class _Group:
    """One connection's streams: what to subscribe, and who takes what comes."""

    def __init__(self, owner: "_Listener", name: str, root: str) -> None:
        self.name = name
        self._owner = owner
        self._root = root
        self.routes: dict[str, tuple[Callable[[_Instrument, Any, int], None], _Instrument, Watch | None]] = {}
        self.watches: list[Watch] = []

    async def url(self) -> str:
        return self._root

    async def subscribe(self, socket: Socket) -> None:
        limits, clock = self._owner.limits, self._owner.clock
        streams = list(self.routes)
        for at in range(0, len(streams), SUBSCRIBED_AT_ONCE):
            deadline_ms = clock.now_ms() + clock.work_ms(limits.ack_ms)
            answer = await socket.ask("SUBSCRIBE", streams[at : at + SUBSCRIBED_AT_ONCE], deadline_ms)
            if answer.get("error") or answer.get("result") is not None:
                raise WontOpen(f"not subscribed: {answer.get('error', answer)!r}"[:200])

    def hear(self, data: Any, now_ms: int, socket: Socket) -> None:
        stream = data.get("stream")
        route = self.routes.get(stream)
        if route is None:
            if stream is not None:
                self._owner.refused.note(self.name, "a stream nobody asked for", data)
            return
        self._owner.streams.heard += 1
        take, instrument, watch = route
        if watch is not None:
            watch.hear(now_ms)
        event = data["data"]
        try:
            take(instrument, event, now_ms)
        except UNREADABLE as error:
            self._owner.refused.note(stream, error, event)

    def misheard(self, error: Exception, data: Any) -> None:
        self._owner.refused.note(self.name, error, data)

    def lost(self) -> None:
        self._owner.lost(self)

    def opened(self, *, missed: bool) -> None:
        if missed:
            self._owner.missed(self)

    async def probe(self, socket: Socket) -> bool:
        clock = self._owner.clock
        deadline_ms = clock.now_ms() + clock.work_ms(self._owner.limits.ack_ms)
        listed = (await socket.ask("LIST_SUBSCRIPTIONS", None, deadline_ms)).get("result")
        return not isinstance(listed, list) or set(self.routes) <= set(listed)


class _Listener:
    """What one consumer hears. Everything is in the loop's one thread; nothing waits while an event is taken in."""

    def __init__(self, streams: "MarketStreams", keys: Sequence[InstrumentKey]) -> None:
        self.clock = streams.clock
        self.limits = streams.limits
        self.refused = streams.refused
        self.streams = streams
        self.instruments = {key: _Instrument(key, streams.clock) for key in keys}
        self.groups = self._build_groups()
        self.waiting: deque[MarkPrice | Bar] = deque()
        self.marks_waiting = 0
        self._wake: asyncio.Future[None] | None = None
        self.bars_wanted = Changed()
        self.books_wanted = Changed()

    def _build_groups(self) -> list[_Group]:
        limits, clock = self.limits, self.clock
        tick_ms = int(SILENT_TICKS * self.streams.tick_interval_ms)
        quick_ms = max(clock.work_ms(limits.stall_ms), tick_ms)
        # Marks and bars come by the market's time: slow as it may be, it is given as much of its own.
        mark_ms = max(quick_ms, limits.stall_ms)
        slow_ms = max(clock.work_ms(limits.kline_stall_ms), limits.kline_stall_ms, tick_ms)
        groups: list[_Group] = []
        open_groups: dict[str, _Group] = {}

        def put(kind: str, instrument: _Instrument, stream: str, take: Any, limit_ms: int | None) -> None:
            group = open_groups.get(kind)
            if group is None or len(group.routes) >= STREAMS_MAX:
                groups.append(group := _Group(self, kind, self.streams.root_of(kind)))
                open_groups[kind] = group
            watch = None
            if limit_ms is not None:
                watch = Watch(f"{kind} {stream}", limit_ms)
                group.watches.append(watch)
            group.routes[stream] = (take, instrument, watch)

        for instrument in self.instruments.values():
            symbol = instrument.symbol.lower()
            futures = instrument.key.market is Market.FUT
            prices, trades = ("futures public", "futures market") if futures else ("spot", "spot")
            put(prices, instrument, f"{symbol}@bookTicker", self._ticker, quick_ms)
            put(prices, instrument, f"{symbol}@depth@100ms", self._depth, quick_ms)
            put(trades, instrument, f"{symbol}@aggTrade", self._trade, None)
            put(trades, instrument, f"{symbol}@kline_1m", self._kline, slow_ms)
            if futures:
                put(trades, instrument, f"{symbol}@markPrice@1s", self._mark, mark_ms)
        return groups

    # --- events

    def _ticker(self, instrument: _Instrument, data: Any, now_ms: int) -> None:
        _check_symbol(instrument, data)
        ticker = ticker_of(data, now_ms)
        slot = instrument.slot
        slot.guard.check(ticker.mid, now_ms)
        slot.hear_ticker(ticker)
        self.ring()

    def _depth(self, instrument: _Instrument, data: Any, now_ms: int) -> None:
        _check_symbol(instrument, data)
        slot = instrument.slot
        book = slot.book
        previous = data.get("pu")
        step = book.diff(
            Diff(
                int(data["U"]),
                int(data["u"]),
                None if previous is None else int(previous),
                data["b"],
                data["a"],
            )
        )
        if step is not Step.STALE:
            slot.book_ts = int(data["E"])
        if step is Step.APPLIED:
            slot.dirty = True
            self.ring()
        elif step is Step.GAP or step is Step.CROSSED:
            log.info("a book was lost", key=str(instrument.key), why=step.name)
        if not book.ready:
            self.books_wanted.tell()

    def _trade(self, instrument: _Instrument, data: Any, now_ms: int) -> None:
        _check_symbol(instrument, data)
        slot = instrument.slot
        price = data["p"]
        slot.guard.check(price_of(price), now_ms)
        if price != slot.last:
            slot.last = price
            slot.dirty = True
            self.ring()

    def _kline(self, instrument: _Instrument, data: Any, now_ms: int) -> None:
        _check_symbol(instrument, data)
        k = data["k"]
        if k["x"] is not True:
            return
        try:
            bar = bar_of(instrument.key.market, instrument.symbol, k)
            if bar.close_time > now_ms + MINUTE_MS:
                raise BadEvent("a bar of the future")
            for price in (bar.high, bar.low, bar.close):
                instrument.slot.guard.check(price, now_ms)
        except UNREADABLE:
            self._suspect(instrument)
            raise
        self._release(instrument.bars.hear(bar))
        if instrument.bars.missing:
            self.bars_wanted.tell()

    def _suspect(self, instrument: _Instrument) -> None:
        instrument.bars_suspect = True
        self.bars_wanted.tell()

    def _mark(self, instrument: _Instrument, data: Any, now_ms: int) -> None:
        _check_symbol(instrument, data)
        mark = mark_of(data, self.streams.interval_h(instrument.symbol))
        if mark.ts <= instrument.marked_ms:
            return
        instrument.mark_guard.check(float(mark.mark), now_ms)
        instrument.marked_ms = mark.ts
        self.streams.announce(mark)
        if self.marks_waiting >= MARKS_MAX:
            self._drop_oldest_mark()
        self.waiting.append(mark)
        self.marks_waiting += 1
        self.ring()

    def _drop_oldest_mark(self) -> None:
        for at, event in enumerate(self.waiting):
            if isinstance(event, MarkPrice):
                del self.waiting[at]
                self.marks_waiting -= 1
                self.refused.note("markPrice", "nobody took it", event)
                return

    def lost(self, group: _Group) -> None:
        for take, instrument, _ in group.routes.values():
            if take == self._depth:
                instrument.slot.forget()

    def missed(self, group: _Group) -> None:
        """A bar that closed while there was no connection will not be told again."""
        for take, instrument, _ in group.routes.values():
            if take == self._kline and self.clock.now_ms() >= instrument.bars.closes_ms:
                self._suspect(instrument)

    # --- what is asked for

    async def fill_bars(self) -> None:
        """For ever: fetch the bars that are missing, and those that are late."""
        clock = self.clock
        late_ms = max(LATE_BAR_MS, clock.work_ms(LATE_WORK_MS))
        while True:
            due_ms = clock.now_ms() + MINUTE_MS
            for instrument in self.instruments.values():
                if clock.now_ms() >= self._bars_due_ms(instrument, late_ms):
                    await self._fill(instrument)
                due_ms = min(due_ms, self._bars_due_ms(instrument, late_ms))
            if due_ms > clock.now_ms():
                await self.bars_wanted.wait_until(clock, due_ms)

    def _bars_due_ms(self, instrument: _Instrument, late_ms: int) -> int:
        """When to ask for bars. Their close is the earliest: there is nothing to be had before."""
        due_ms = instrument.bars.closes_ms
        if not instrument.bars.missing and not instrument.bars_suspect:
            due_ms += late_ms
        return max(due_ms, instrument.ask_bars_ms)

    async def _fill(self, instrument: _Instrument) -> None:
        clock, line = self.clock, instrument.bars
        start_ms, end_ms = line.next_open, clock.now_ms() - clock.now_ms() % MINUTE_MS
        skipped = line.skipped
        try:
            bars = await self.streams.klines(instrument.key, "1m", start_ms, end_ms)
        except VenueError as error:
            log.warning("missing bars cannot be had", key=str(instrument.key), why=str(error))
        else:
            self._release(line.fill(bars, end_ms))
            if line.skipped > skipped:
                log.warning("the exchange has no such bars", key=str(instrument.key), since_ms=start_ms)
            if line.next_open >= end_ms and not line.missing:
                instrument.bars_suspect = False
                instrument.bars_tries = 0
                return
        instrument.ask_bars_ms = clock.now_ms() + self._wait_ms(instrument.bars_tries)
        instrument.bars_tries += 1

    def _release(self, bars: Sequence[Bar]) -> None:
        if bars:
            self.waiting.extend(bars)
            self.ring()

    def _wait_ms(self, tries: int) -> int:
        return self.clock.work_ms(min(AGAIN_MAX_MS, AGAIN_MS * 2 ** min(tries, 10)))

    async def fetch_books(self) -> None:
        """For ever: a snapshot for every book that is lost, or that has become thin."""
        clock = self.clock
        renew_ms = clock.work_ms(RENEW_BOOK_MS)
        while True:
            due_ms = clock.now_ms() + renew_ms
            for instrument in self.instruments.values():
                book = instrument.slot.book
                if book.ready and clock.now_ms() - instrument.asked_book_ms >= renew_ms:
                    instrument.book_tries = 0
                    if book.thin(LEVELS):
                        await self._fetch_book(instrument)
                elif book.wants_snapshot and clock.now_ms() >= instrument.ask_book_ms:
                    await self._fetch_book(instrument)
                if book.wants_snapshot:
                    due_ms = min(due_ms, instrument.ask_book_ms)
            if due_ms > clock.now_ms():
                await self.books_wanted.wait_until(clock, due_ms)

    async def _fetch_book(self, instrument: _Instrument) -> None:
        """A snapshot is dear: the more often it was asked for of late, the longer until it is again."""
        slot, clock = instrument.slot, self.clock
        try:
            if slot.book.snapshot(await self.streams.snapshot(instrument.key)):
                slot.dirty = True
                self.ring()
        except VenueError as error:
            log.warning("a book cannot be had", key=str(instrument.key), why=str(error))
        except BadLevel as error:
            self.refused.note(f"{instrument.key} snapshot", error, None)
        instrument.asked_book_ms = clock.now_ms()
        instrument.ask_book_ms = clock.now_ms() + self._wait_ms(instrument.book_tries)
        instrument.book_tries += 1

    async def ask_last_prices(self) -> None:
        """Until every instrument has a last price, from a trade or from here."""
        backoff = Backoff(self.clock, self.streams.randomness, first_ms=500)
        while True:
            without = [each for each in self.instruments.values() if each.slot.last is None]
            if not without:
                return
            for instrument in without:
                try:
                    price = await self.streams.last_price(instrument.key)
                except VenueError as error:
                    log.info("no last price yet", key=str(instrument.key), why=str(error))
                    continue
                if instrument.slot.last is None:
                    instrument.slot.last = str(price)
                    self.ring()
            await backoff.wait()

    # --- the consumer

    def ring(self) -> None:
        wake = self._wake
        if wake is not None and not wake.done():
            wake.set_result(None)

    def take(self) -> list[MarketEvent]:
        events: list[MarketEvent] = []
        for instrument in self.instruments.values():
            if instrument.slot.dirty:
                top = instrument.slot.take()
                if top is not None:
                    events.append(top)
        events.extend(self.waiting)
        self.waiting.clear()
        self.marks_waiting = 0
        return events

    async def rung(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake


def _check_symbol(instrument: _Instrument, data: Any) -> None:
    if data["s"] != instrument.symbol or data.get("st", 1) != 1:
        raise BadEvent("another symbol" if is_ours(data) else "a coin-margined symbol")


class MarketStreams:
    """The streaming half of the venue port's market. `futures_ws` or `spot_ws` empty: that market is not served.

    `klines` answers closed bars with start <= open_time < end, `snapshot` a depth of some 1,000 levels, `interval_h`
    the hours between two fundings of a symbol. `tick_interval_ms` is the venue's, in market time.
    """

    def __init__(
        self,
        *,
        futures_ws: str,
        spot_ws: str,
        session: aiohttp.ClientSession,
        clock: Clock,
        randomness: Randomness,
        gate: ConnectGate,
        snapshot: DepthSource,
        klines: KlineSource,
        last_price: PriceSource,
        interval_h: Callable[[str], int],
        tick_interval_ms: int = 0,
        limits: SocketLimits | None = None,
    ) -> None:
        self.clock = clock
        self.randomness = randomness
        self.snapshot = snapshot
        self.klines = klines
        self.last_price = last_price
        self.interval_h = interval_h
        self.tick_interval_ms = tick_interval_ms
        self.limits = limits or SocketLimits()
        self.refused = RefusedEvents()
        self.heard = 0
        """Events that came in, before tops are coalesced."""
        self._futures_ws = futures_ws
        self._spot_ws = spot_ws
        self._session = session
        self._gate = gate
        self._announced: dict[str, deque[MarkPrice]] = {}

    def root_of(self, kind: str) -> str:
        return {
            "futures public": f"{self._futures_ws}/public/stream",
            "futures market": f"{self._futures_ws}/market/stream",
            "spot": f"{self._spot_ws}/stream",
        }[kind]

    def announce(self, mark: MarkPrice) -> None:
        announced = self._announced.setdefault(mark.symbol, deque(maxlen=2))
        if announced and announced[-1].funding_time == mark.funding_time:
            announced[-1] = mark
        else:
            announced.append(mark)

    def rate_at(self, symbol: str, funding_time_ms: int) -> float | None:
        """The rate last announced for that settlement, as far as it was heard here; times may carry some ms."""
        for mark in self._announced.get(symbol, ()):
            if abs(mark.funding_time - funding_time_ms) < MINUTE_MS:
                return mark.funding_rate
        return None

    async def events(self, keys: Sequence[InstrumentKey]) -> AsyncIterator[Sequence[MarketEvent]]:
        """Batches, tops first; from now on. Has connections of its own, which end with it."""
        listener = _Listener(self, keys)
        lines = [
            Line(
                reader=group,
                session=self._session,
                clock=self.clock,
                randomness=self.randomness,
                gate=self._gate,
                limits=self.limits,
            )
            for group in listener.groups
        ]
        work = [line.run() for line in lines]
        work += [listener.fill_bars(), listener.fetch_books(), listener.ask_last_prices()]
        tasks = [asyncio.ensure_future(each) for each in work]
        failed = failures(tasks, listener.ring)
        try:
            while True:
                events = listener.take()
                if events:
                    yield events
                elif failed:
                    raise failed[0]
                else:
                    await listener.rung()
        finally:
            await stop(tasks)
