"""What everything in the server shares: the running exchange, who may ask, what is limited, what goes wrong on purpose.

Owns the answer to "what time is it": market time for what the exchange stamps, real time for limits and sockets.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chimera.adapters.simulated_venue.host import ExchangeHost
from chimera.adapters.simulated_venue.journal import JournalError
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import AccountChange
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import BookTop, MarkPrice
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.refusals import Refusal
from chimera.domain.matching.rules import Fees
from chimera.ports.clock import Clock
from chimera.venue_server.auth import KeyRing
from chimera.venue_server.calls import Answer, Call, Route
from chimera.venue_server.limits import Limits
from chimera.venue_server.streams.depth import DepthBooks
from chimera.venue_server.tape import Tape

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class CallFaults(Protocol):
    """What goes wrong on purpose with HTTP calls; see `domain/matching/faults`."""

    async def before(self, call: Call, route: Route) -> Answer | None:
        """An answer instead of the exchange's, which then never sees the call; may take its time."""
        ...

    async def after(self, call: Call, route: Route, answer: Answer) -> Answer:
        """What is sent instead of `answer`, which the exchange has given; may take its time."""
        ...


class NoFaults:
    async def before(self, call: Call, route: Route) -> Answer | None:
        return None

    async def after(self, call: Call, route: Route, answer: Answer) -> Answer:
        return answer


class Unsaved(Exception):
    """The exchange could not write down what it did: no answer is given, its outcome is unknown."""


@dataclass(slots=True, kw_only=True)
class Floor:
    host: ExchangeHost
    keys: KeyRing
    limits: Limits
    faults: CallFaults = field(default_factory=NoFaults)
    offset_ms: int = 0
    """How far the server's idea of the time is off on purpose."""
    cancel_ids: dict[str, str] = field(default_factory=dict)
    """What a spot cancel calls itself, by the number of the order it ends: there while its changes are being told."""
    tape: Tape = field(init=False)
    depth: DepthBooks = field(init=False)

    def __post_init__(self) -> None:
        self.tape = Tape(self.host)
        self.depth = DepthBooks(self.host)

    @property
    def exchange(self) -> Exchange:
        return self.host.exchange

    @property
    def clock(self) -> Clock:
        return self.host.clock

    def now_ms(self) -> int:
        """Market time as the exchange tells it."""
        return self.host.clock.now_ms() + self.offset_ms

    def real_ms(self) -> int:
        """A clock for limits and sockets: real milliseconds, aligned with market time at speed 1."""
        return int(self.host.clock.now_ms() / self.host.clock.speed)

    def settle(self, changes: Sequence[AccountChange]) -> None:
        """Store and tell what a request caused; every handler that changes something ends with it.

        Raises:
            Unsaved: the journal failed.
        """
        try:
            self.host.settle(changes)
        except JournalError as error:
            raise Unsaved(str(error)) from error

    def instruments(self, market: Market) -> tuple[Instrument, ...]:
        """With their rules as they are now."""
        return tuple(instrument for instrument in self.exchange.instruments() if instrument.market is market)

    def instrument(self, market: Market, symbol: str) -> Instrument:
        """
        Raises:
            Refusal: -1121.
        """
        return self.exchange.instrument(market, symbol)

    def fees(self, market: Market) -> Fees:
        return self.host.rules.fees[market]

    def book(self, market: Market, symbol: str) -> BookTop:
        """
        Raises:
            Refusal: -1121 for an unknown symbol, -1000 before its first tick.
        """
        self.instrument(market, symbol)
        book = self.host.books.get(InstrumentKey(market, symbol))
        if book is None:
            raise Refusal(-1000, "The market has not opened yet.")
        return book

    def mark(self, symbol: str) -> MarkPrice:
        self.instrument(Market.FUT, symbol)
        mark = self.host.marks.get(symbol)
        if mark is None:
            raise Refusal(-1000, "The market has not opened yet.")
        return mark
