"""Market streams: which exist, and what a tick says on each.

Owns one writer for each stream that somebody listens to; a stream without listeners costs nothing. Paces (`@1s`,
`@100ms`) are market time: a market that runs ten times as fast tells ten times as often.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from chimera.adapters.simulated_venue.feed import Tick
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import OrderUpdated, VenueFill, VenueOrder
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import BookTop, MarkPrice
from chimera.venue_server.floor import Floor
from chimera.venue_server.futures.market import FOREVER_MS, ONBOARD_MS
from chimera.venue_server.streams.depth import DepthBooks, Row
from chimera.venue_server.streams.names import Group, Kind, Wanted, wanted
from chimera.venue_server.streams.spelling import Spelling
from chimera.venue_server.streams.topics import Listener, Topic
from chimera.venue_server.tape import Candle, Trade, close_of, open_of

MINUTE_MS = 60_000
DAY_HOURS = 24
FUT_MARK = {"st": 1}
"""USDT-M, in every futures market event since 2026-06-30."""

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """A tick as it is told: `now_ms` is the `E` of its events."""

    tick: Tick
    ts: int
    now_ms: int
    books: dict[InstrumentKey, BookTop]


Writer = Callable[[Moment], Iterable[Event | list[Event]]]
"""What a tick says on one stream."""


class MarketStreams:
    def __init__(self, floor: Floor) -> None:
        self.spoilt = False
        """True while market data goes wrong on purpose."""
        self._floor = floor
        self._books = floor.depth
        self._keys = {each.key for each in floor.host.rules.instruments}
        self._spelling = {each.key: Spelling(each) for each in floor.host.rules.instruments}
        self._topics: dict[tuple[Group, str], Topic] = {}
        self._writers: dict[tuple[Group, str], Writer] = {}
        self._forced: dict[tuple[Group, str], str | None] = {}

    @property
    def listened(self) -> int:
        """How many streams have a listener."""
        return len(self._topics)

    def listen(self, group: Group, name: str, listener: Listener) -> None:
        """Silent, as the exchange is, where the group has no such stream."""
        topic = self._topics.get((group, name))
        if topic is None:
            asked = wanted(group, name)
            if asked is None or not self._listed(group, asked):
                return
            topic = self._topics[group, name] = Topic(name)
            if asked.kind is Kind.FORCE_ORDER:
                self._forced[group, name] = asked.symbol
            else:
                self._writers[group, name] = self._writer(group, asked)
        topic.listeners[listener] = None

    def leave(self, group: Group, name: str, listener: Listener) -> None:
        topic = self._topics.get((group, name))
        if topic is None:
            return
        topic.listeners.pop(listener, None)
        if not topic.listeners:
            del self._topics[group, name]
            self._writers.pop((group, name), None)
            self._forced.pop((group, name), None)

    def on_tick(self, tick: Tick) -> None:
        if not self._writers:
            return
        moment = Moment(tick, tick.ts, self._floor.now_ms(), {book.key: book for book in tick.books})
        for name, write in list(self._writers.items()):
            for event in write(moment):
                self._publish(name, event)

    def traded(self) -> None:
        """The account has traded between two ticks, and the tape has it."""
        now_ms = self._floor.now_ms()
        for name, write in list(self._writers.items()):
            if isinstance(write, _Trades):
                for event in write.fresh(now_ms):
                    self._publish(name, event)

    def liquidated(self, change: OrderUpdated, now_ms: int) -> None:
        """A forced order of the account traded: everybody may know."""
        order, fill = change.order, change.fill
        if fill is None:
            return
        spell = self._spelling[order.key]
        for name, symbol in list(self._forced.items()):
            if symbol in (None, order.symbol):
                self._publish(name, _force_order(order, fill, spell, now_ms))

    def _publish(self, name: tuple[Group, str], event: Event | list[Event]) -> None:
        topic = self._topics.get(name)
        if topic is not None:
            topic.spoilt = self.spoilt
            topic.publish(orjson.dumps(event).decode())

    def _listed(self, group: Group, asked: Wanted) -> bool:
        return asked.symbol is None or InstrumentKey(_market(group), asked.symbol) in self._keys

    def _writer(self, group: Group, asked: Wanted) -> Writer:
        market = _market(group)
        if asked.symbol is None:
            keys = tuple(key for key in sorted(self._keys) if key.market is market)
        else:
            keys = (InstrumentKey(market, asked.symbol),)
        spell = self._spelling[keys[0]]
        match asked.kind:
            case Kind.BOOK_TICKER:
                return _BookTickers(keys, self._spelling, asked)
            case Kind.DEPTH:
                return _Diffs(keys[0], self._books, asked)
            case Kind.PARTIAL_DEPTH:
                return _Partials(keys[0], self._books, asked)
            case Kind.AGG_TRADE | Kind.TRADE:
                return _Trades(keys[0], self._floor, spell, raw=asked.kind is Kind.TRADE)
            case Kind.KLINE:
                return _Klines(keys[0], self._floor, spell, asked)
            case Kind.MARK_PRICE:
                return _Marks(keys, self._floor, asked)
            case Kind.CONTRACT_INFO:
                return _Contracts(self._floor)
            case _:
                return _Tickers(keys, self._floor, self._spelling, asked)


def _market(group: Group) -> Market:
    return Market.SPOT if group is Group.SPOT else Market.FUT


class _Pace:
    """True with the first tick of every `every_ms`; always for 0."""

    __slots__ = ("_every_ms", "_told")

    def __init__(self, every_ms: int) -> None:
        self._every_ms = every_ms
        self._told = -1

    def due(self, ts: int) -> bool:
        if not self._every_ms:
            return True
        turn = ts // self._every_ms
        if turn == self._told:
            return False
        self._told = turn
        return True


def _told(moment: Moment, keys: Sequence[InstrumentKey]) -> Iterator[BookTop]:
    for key in keys:
        book = moment.books.get(key)
        if book is not None:
            yield book


class _BookTickers:
    """Only where price or quantity of a best level is another than was told."""

    def __init__(self, keys: tuple[InstrumentKey, ...], spelling: dict[InstrumentKey, Spelling], asked: Wanted) -> None:
        self._keys = keys
        self._spelling = spelling
        self._pace = _Pace(asked.every_ms)
        self._told: dict[InstrumentKey, tuple[tuple[Decimal, Decimal], tuple[Decimal, Decimal]]] = {}

    def __call__(self, moment: Moment) -> Iterator[Event]:
        if not self._pace.due(moment.ts):
            return
        for book in _told(moment, self._keys):
            best = (book.bids[0], book.asks[0])
            if self._told.get(book.key) == best:
                continue
            self._told[book.key] = best
            spell = self._spelling[book.key]
            (bid, bid_qty), (ask, ask_qty) = best
            sides = {"b": spell.price(bid), "B": spell.qty(bid_qty), "a": spell.price(ask), "A": spell.qty(ask_qty)}
            if book.market is Market.SPOT:
                yield {"u": book.ts, "s": book.symbol, **sides}
            else:
                yield {
                    "e": "bookTicker",
                    "u": book.ts,
                    "s": book.symbol,
                    "ps": book.symbol,
                    **sides,
                    "T": book.ts,
                    "E": moment.now_ms,
                    **FUT_MARK,
                }


class _Diffs:
    def __init__(self, key: InstrumentKey, books: DepthBooks, asked: Wanted) -> None:
        self._key = key
        self._books = books
        self._pace = _Pace(asked.every_ms)
        self._chain = books.chain(key)
        shown = books.rows(key)
        if shown is not None:
            self._chain.begin(*shown)

    def __call__(self, moment: Moment) -> Iterator[Event]:
        shown = self._books.rows(self._key)
        if shown is None:
            return
        if not self._chain.known_id:
            self._chain.begin(*shown)
            return
        self._chain.see(*shown)
        diff = self._chain.advance() if self._pace.due(moment.ts) else None
        if diff is None:
            return
        first_id = self._chain.first_id(diff)
        if self._key.market is Market.SPOT:
            yield {
                "e": "depthUpdate",
                "E": moment.now_ms,
                "s": self._key.symbol,
                "U": first_id,
                "u": diff.last_id,
                "b": diff.bids,
                "a": diff.asks,
            }
        else:
            yield _futures_depth(
                self._key.symbol, moment.now_ms, first_id, diff.last_id, diff.previous_id, diff.bids, diff.asks
            )


class _Partials:
    def __init__(self, key: InstrumentKey, books: DepthBooks, asked: Wanted) -> None:
        self._key = key
        self._books = books
        self._levels = asked.levels
        self._pace = _Pace(asked.every_ms)
        self._told_id = 0

    def __call__(self, moment: Moment) -> Iterator[Event]:
        shown = self._books.rows(self._key)
        if shown is None or not self._pace.due(moment.ts):
            return
        last_id, bids, asks = shown[0], shown[1][: self._levels], shown[2][: self._levels]
        if last_id == self._told_id:
            return
        before_id, self._told_id = self._told_id or last_id - 1, last_id
        if self._key.market is Market.SPOT:
            yield {"lastUpdateId": last_id, "bids": bids, "asks": asks}
        else:
            yield _futures_depth(self._key.symbol, moment.now_ms, before_id, last_id, before_id, bids, asks)


def _futures_depth(
    symbol: str, now_ms: int, first_id: int, last_id: int, previous_id: int, bids: list[Row], asks: list[Row]
) -> Event:
    return {
        "e": "depthUpdate",
        "E": now_ms,
        "T": last_id,  # the update id of a book is its time
        "s": symbol,
        "ps": symbol,
        "U": first_id,
        "u": last_id,
        "pu": previous_id,
        "b": bids,
        "a": asks,
        **FUT_MARK,
    }


class _Trades:
    """What the tape has got since it was told last."""

    def __init__(self, key: InstrumentKey, floor: Floor, spell: Spelling, *, raw: bool) -> None:
        self._key = key
        self._tape = floor.tape
        self._spell = spell
        self._raw = raw
        self._spot = key.market is Market.SPOT
        kept = self._tape.trades(key)
        self._told_id = kept[-1].trade_id if kept else 0

    def __call__(self, moment: Moment) -> Iterator[Event]:
        return self.fresh(moment.now_ms)

    def fresh(self, now_ms: int) -> Iterator[Event]:
        fresh = []
        for trade in reversed(self._tape.trades(self._key)):
            if trade.trade_id <= self._told_id:
                break
            fresh.append(trade)
        for trade in reversed(fresh):
            self._told_id = trade.trade_id
            yield self._raw_event(trade, now_ms) if self._raw else self._event(trade, now_ms)

    def _event(self, trade: Trade, now_ms: int) -> Event:
        qty = self._spell.qty(trade.qty)
        event: Event = {"e": "aggTrade", "E": now_ms, "s": self._key.symbol, "a": trade.trade_id}
        event |= {"p": self._spell.price(trade.price), "q": qty}
        if not self._spot:
            event["nq"] = qty
        event |= {"f": trade.trade_id, "l": trade.trade_id, "T": trade.ts, "m": trade.buyer_is_maker}
        return event | ({"M": True} if self._spot else FUT_MARK)

    def _raw_event(self, trade: Trade, now_ms: int) -> Event:
        """The futures one is in no document; it was recorded all the same, without `st`."""
        price, qty = self._spell.price(trade.price), self._spell.qty(trade.qty)
        if self._spot:
            event: Event = {"e": "trade", "E": now_ms, "s": self._key.symbol, "t": trade.trade_id}
            return event | {"p": price, "q": qty, "T": trade.ts, "m": trade.buyer_is_maker, "M": True}
        event = {"e": "trade", "E": now_ms, "T": trade.ts, "s": self._key.symbol, "t": trade.trade_id}
        return event | {"p": price, "q": qty, "X": "MARKET", "m": trade.buyer_is_maker}


class _Klines:
    """The open bar with every tick; each bar closed exactly once, with the first tick after its end."""

    def __init__(self, key: InstrumentKey, floor: Floor, spell: Spelling, asked: Wanted) -> None:
        self._key = key
        self._tape = floor.tape
        self._ticks_per_minute = max(1, round(MINUTE_MS / floor.host.feed.tick_interval_ms))
        self._spell = spell
        self._interval = asked.interval
        self._continuous = asked.continuous
        self._closed_ms = -1
        self._minute_ms = -1
        self._before: Candle | None = None

    def __call__(self, moment: Moment) -> Iterator[Event]:
        for bar in moment.tick.bars:
            end_ms = bar.open_time + MINUTE_MS
            if bar.symbol == self._key.symbol and bar.market is self._key.market:
                open_ms = open_of(self._interval, bar.open_time)
                if close_of(self._interval, open_ms) == end_ms - 1 and open_ms > self._closed_ms:
                    self._closed_ms = open_ms
                    for candle in self._closed_part(open_ms, end_ms):
                        yield self._event(candle, moment.now_ms, closed=True)
        if self._key in moment.books:
            candle_now = self._open_bar(moment.ts)
            if candle_now is not None:
                yield self._event(candle_now, moment.now_ms, closed=False)

    def _open_bar(self, ts: int) -> Candle | None:
        minute_ms = ts // MINUTE_MS * MINUTE_MS
        open_ms = open_of(self._interval, ts)
        if minute_ms != self._minute_ms:
            self._minute_ms = minute_ms
            earlier = self._closed_part(open_ms, minute_ms) if minute_ms > open_ms else []
            self._before = earlier[0] if earlier else None
        minute = self._tape.running(self._key, "1m", ts + 1)
        if minute is None or self._before is None:
            if minute is not None:
                minute.open_ms, minute.close_ms = open_ms, close_of(self._interval, open_ms)
            return minute
        before = self._before
        candle = Candle(
            before.open_ms,
            before.close_ms,
            before.open,
            before.high,
            before.low,
            before.close,
            before.volume,
            before.quote_volume,
            before.trades,
        )
        candle.add(minute)
        return candle

    def _closed_part(self, open_ms: int, until_ms: int) -> list[Candle]:
        """The bar that opened at `open_ms`, as far as its minutes had closed by `until_ms`."""
        return self._tape.candles(self._key, self._interval, start_ms=open_ms, end_ms=open_ms, limit=1, now_ms=until_ms)

    def _event(self, candle: Candle, now_ms: int, *, closed: bool) -> Event:
        spell = self._spell
        first_id = -(-candle.open_ms * self._ticks_per_minute // MINUTE_MS)
        symbol = self._key.symbol
        bar = {
            "i": self._interval,
            "f": first_id,
            "L": first_id + candle.trades - 1,
            "o": spell.price(candle.open),
            "c": spell.price(candle.close),
            "h": spell.price(candle.high),
            "l": spell.price(candle.low),
            "v": spell.qty(candle.volume),
            "n": candle.trades,
            "x": closed,
            "q": spell.value(candle.quote_volume),
            "V": spell.qty(candle.volume / 2),
            "Q": spell.value(candle.quote_volume / 2),
            "B": "0",
        }
        times = {"t": candle.open_ms, "T": candle.close_ms}
        if self._continuous:
            return {"e": "continuous_kline", "E": now_ms, "ps": symbol, "ct": "PERPETUAL", "k": {**times, **bar}}
        return {"e": "kline", "E": now_ms, "s": symbol, "k": {**times, "s": symbol, **bar}}


class _Marks:
    def __init__(self, keys: tuple[InstrumentKey, ...], floor: Floor, asked: Wanted) -> None:
        self._symbols = frozenset(key.symbol for key in keys)
        self._host = floor.host
        self._array = asked.array
        self._pace = _Pace(asked.every_ms)

    def __call__(self, moment: Moment) -> Iterator[Event | list[Event]]:
        marks = [mark for mark in moment.tick.marks if mark.symbol in self._symbols]
        if not marks or not self._pace.due(moment.ts):
            return
        events = [self._event(mark, moment.now_ms) for mark in marks]
        if self._array:
            yield events
        else:
            yield from events

    def _event(self, mark: MarkPrice, now_ms: int) -> Event:
        spot = self._host.books.get(InstrumentKey(Market.SPOT, mark.symbol))
        index = f"{spot.last if spot is not None else mark.mark:.8f}"
        price = f"{mark.mark:.8f}"
        return {
            "e": "markPriceUpdate",
            "E": now_ms,
            "s": mark.symbol,
            "p": price,
            "ap": price,
            "P": index,
            "i": index,
            "r": f"{mark.funding_rate:.8f}",
            "T": mark.funding_time,
            **FUT_MARK,
        }


class _Contracts:
    """Told when the rules of a contract have changed: halted, open again, other brackets."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._told = {each.symbol: each for each in floor.instruments(Market.FUT)}

    def __call__(self, moment: Moment) -> Iterator[Event]:
        for instrument in self._floor.instruments(Market.FUT):
            if self._told[instrument.symbol] is not instrument:
                self._told[instrument.symbol] = instrument
                yield self._event(instrument, moment.now_ms)

    def _event(self, instrument: Instrument, now_ms: int) -> Event:
        below = [bracket.initial_leverage + 1 for bracket in instrument.brackets[1:]] + [1]
        return {
            "e": "contractInfo",
            "E": now_ms,
            "s": instrument.symbol,
            "ct": "PERPETUAL",
            "dt": FOREVER_MS,
            "ot": ONBOARD_MS,
            "cs": instrument.status,
            "bks": [
                {
                    "bs": bracket.bracket,
                    "bnf": int(bracket.notional_floor),
                    "bnc": int(bracket.notional_cap),
                    "mmr": float(bracket.maint_margin_ratio),
                    "cf": float(bracket.cum) if bracket.cum % 1 else int(bracket.cum),
                    "mi": min(low, bracket.initial_leverage),
                    "ma": bracket.initial_leverage,
                }
                for bracket, low in zip(instrument.brackets, below, strict=True)
            ],
            **FUT_MARK,
        }


class _Tickers:
    """The last 24 hours, counted in whole hours and the running one."""

    def __init__(
        self,
        keys: tuple[InstrumentKey, ...],
        floor: Floor,
        spelling: dict[InstrumentKey, Spelling],
        asked: Wanted,
    ) -> None:
        self._keys = keys
        self._tape = floor.tape
        self._spelling = spelling
        self._mini = asked.kind is Kind.MINI_TICKER
        self._array = asked.array
        self._pace = _Pace(asked.every_ms)

    def __call__(self, moment: Moment) -> Iterator[Event | list[Event]]:
        if not moment.books or not self._pace.due(moment.ts):
            return
        events = [self._event(book, moment.now_ms) for book in _told(moment, self._keys)]
        if not self._array:
            yield from events
        elif events:
            yield events

    def _event(self, book: BookTop, now_ms: int) -> Event:
        spell = self._spelling[book.key]
        hours = self._tape.candles(book.key, "1h", start_ms=None, end_ms=None, limit=DAY_HOURS, now_ms=book.ts + 1)
        first, last = hours[0].open, float(book.last)
        volume, value = sum(hour.volume for hour in hours), sum(hour.quote_volume for hour in hours)
        spot = book.market is Market.SPOT
        event: Event = {"e": "24hrMiniTicker" if self._mini else "24hrTicker", "E": now_ms, "s": book.symbol}
        day = {
            "c": spell.price(book.last),
            "o": spell.price(first),
            "h": spell.price(max(hour.high for hour in hours)),
            "l": spell.price(min(hour.low for hour in hours)),
            "v": spell.qty(volume),
            "q": spell.value(value) if spot else f"{value:.2f}",
        }
        if self._mini:
            return event | day | ({} if spot else {"ps": book.symbol, **FUT_MARK})
        trades = self._tape.trades(book.key)
        count, last_id = sum(hour.trades for hour in hours), trades[-1].trade_id
        event |= {
            "p": spell.price(last - first),
            "P": f"{(last / first - 1) * 100:.3f}",
            "w": spell.price(value / volume if volume else last),
        }
        if spot:
            event["x"] = spell.price(first)
        event |= {"c": day.pop("c"), "Q": spell.qty(trades[-1].qty)}
        if spot:
            (bid, bid_qty), (ask, ask_qty) = book.bids[0], book.asks[0]
            event |= {"b": spell.price(bid), "B": spell.qty(bid_qty), "a": spell.price(ask), "A": spell.qty(ask_qty)}
        event |= day
        event |= {"O": hours[0].open_ms, "C": book.ts, "F": last_id - count + 1, "L": last_id, "n": count}
        return event if spot else event | {"ps": book.symbol, **FUT_MARK}


def _force_order(order: VenueOrder, fill: VenueFill, spell: Spelling, now_ms: int) -> Event:
    price, qty = spell.price(fill.price), spell.qty(fill.qty)
    return {
        "e": "forceOrder",
        "E": now_ms,
        "o": {
            "s": order.symbol,
            "S": order.side.value,
            "o": "LIMIT",
            "f": "IOC",
            "q": spell.qty(order.qty),
            "p": price,
            "ap": price,
            "X": order.status.value,
            "l": qty,
            "z": spell.qty(order.filled_qty),
            "T": fill.ts,
        },
        "ps": order.symbol,
        **FUT_MARK,
    }
