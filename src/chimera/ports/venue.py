"""What we ask of an exchange, in our words, and what its answers mean for an order.

VenueError
├── VenueUnavailable        nothing was accepted: wait, then send the same request again
│   └── RateLimited         ... after retry_after_ms, and count it for the breaker
├── Refused                 do not resend: the request itself is wrong; `code` is the exchange's
│   ├── InsufficientFunds   ... spot may downsize and try smaller
│   ├── WouldTrigger        ... the stop's price is already passed: close at market instead
│   ├── WouldTake           ... a post-only order would have taken
│   ├── NothingToReduce     ... the position is flat or smaller than thought
│   ├── KeyRefused          ... the API key may not do that, or not any more: a person must look
│   ├── DuplicateOrder      ... an open order has this id: the first attempt landed, look it up
│   └── UnknownOrder        ... cancel or query of an order that is not open or not known
└── OutcomeUnknown          do not resend: look the order up by its client id
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import (
    AccountChange,
    Balance,
    Income,
    NewOco,
    NewOrder,
    Transfer,
    VenueFill,
    VenueOrder,
    VenuePosition,
)
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Bar, BookTop, MarketEvent, MarkPrice
from chimera.ports.errors import DependencyDown


class VenueError(Exception):
    pass


class VenueUnavailable(VenueError, DependencyDown):
    def __init__(self, why: str) -> None:
        DependencyDown.__init__(self, "the exchange", why)


class RateLimited(VenueUnavailable):
    """`retry_after_ms` is real time: on a scaled clock wait for `clock.work_ms(retry_after_ms)`."""

    def __init__(self, why: str, retry_after_ms: int) -> None:
        super().__init__(why)
        self.retry_after_ms = retry_after_ms


class Refused(VenueError):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"refused by the exchange: {code} {text}")
        self.code = code
        self.text = text


class InsufficientFunds(Refused):
    pass


class WouldTrigger(Refused):
    pass


class WouldTake(Refused):
    pass


class NothingToReduce(Refused):
    pass


class KeyRefused(Refused):
    pass


class DuplicateOrder(Refused):
    pass


class UnknownOrder(Refused):
    pass


class OutcomeUnknown(VenueError):
    """A timeout, a reset connection or a 5xx after sending. Asking is safe, sending again is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an exchange offers besides market and limit orders. Whoever needs what is missing falls back, or refuses
    at the start.

    `dead_man_switch` says that `cancel_all_after` is offered. Whether it spares conditional orders, which protect, an
    exchange may leave open: who relies on that has to have seen it.

    `lookup_lag_ms` (real time) is how long after a change its queries by id may still say what was before: an order
    just placed is not known, one just canceled still open. Lists of open orders and the account stream do not lag.
    """

    oco: bool
    post_only: bool
    reduce_only: bool
    stop_market: bool
    trailing_stop: bool
    dead_man_switch: bool
    transfers: bool
    lookup_lag_ms: int


class Venue(Protocol):
    """One account on one exchange, both markets.

    Every method may raise `VenueUnavailable`; those that change something also `Refused` and `OutcomeUnknown`.
    """

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def tick_interval_ms(self) -> int:
        """How often the exchange's top of book moves at most; staleness limits respect it. 0: continuously."""
        ...

    async def server_time_ms(self) -> int: ...

    async def instruments(self) -> Sequence[Instrument]: ...

    async def taker_fee_ratio(self, market: Market) -> Decimal:
        """The account's own rate, e.g. 0.0005."""
        ...

    async def maker_fee_ratio(self, market: Market) -> Decimal: ...

    async def book(self, key: InstrumentKey) -> BookTop: ...

    async def mark(self, symbol: str) -> MarkPrice: ...

    async def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        """Closed bars with start_ms <= open_time < end_ms, oldest first, however many calls that takes."""
        ...

    def market_events(self, keys: Sequence[InstrumentKey]) -> AsyncIterator[Sequence[MarketEvent]]:
        """Batches in the exchange's order. Top-of-book may be coalesced to the newest; bars and marks are not."""
        ...

    def account_events(self) -> AsyncIterator[Sequence[AccountChange]]:
        """Batches in the exchange's order, from now on; a StreamReset says that something may have been missed."""
        ...

    async def balances(self) -> Sequence[Balance]: ...

    async def positions(self) -> Sequence[VenuePosition]:
        """Open futures positions. An empty answer means flat; a failed query raises."""
        ...

    async def open_orders(self, keys: Sequence[InstrumentKey] | None = None) -> Sequence[VenueOrder]:
        """Both books: regular orders and untriggered conditional ones, of these instruments; None: of all there are,
        which costs an exchange much more than a few."""
        ...

    async def order(self, key: InstrumentKey, client_order_id: str, *, conditional: bool) -> VenueOrder:
        """The order wherever it is: open, in history, in the algo book.

        Raises:
            UnknownOrder: definitely not known. May lag a placement by the exchange's lookup lag.
        """
        ...

    async def fills(self, key: InstrumentKey, since_ms: int) -> Sequence[VenueFill]:
        """All our trades with ts >= since_ms, oldest first."""
        ...

    async def income(self, since_ms: int) -> Sequence[Income]:
        """The futures ledger with ts >= since_ms, oldest first."""
        ...

    async def place(self, order: NewOrder) -> VenueOrder:
        """Send one order. The answer may say less than the account stream will: fills come from there or `fills`."""
        ...

    async def place_oco(self, oco: NewOco) -> Sequence[VenueOrder]: ...

    async def cancel(self, key: InstrumentKey, client_order_id: str, *, conditional: bool) -> VenueOrder:
        """
        Raises:
            UnknownOrder: it is not open (any more): query it before believing that nothing filled.
        """
        ...

    async def cancel_all_after(self, symbol: str, countdown_ms: int) -> None:
        """The dead-man switch: once `countdown_ms` of the exchange's time have passed, every open regular futures order
        of `symbol` is canceled, whoever placed it, unless this is called again before. 0 ends the countdown; so does
        its own end. Conditional orders are meant to stay: see `capabilities.dead_man_switch`.

        Raises:
            Refused: an unknown symbol, a negative time, or an exchange that has no such switch.
        """
        ...

    async def ensure_isolated(self, symbol: str, leverage: int) -> None:
        """Margin type ISOLATED and this leverage; already so is success."""
        ...

    async def transfer(self, source: Market, target: Market, amount_usdt: Decimal) -> int:
        """Move USDT between wallets. NOT idempotent: ask `transfers` before repeating. Returns the tran id."""
        ...

    async def transfers(self, since_ms: int) -> Sequence[Transfer]: ...


class FactorFeed(Protocol):
    """A foreign price that is a factor only: MAX USDT/TWD."""

    @property
    def symbol(self) -> str: ...

    async def bars(self, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        """Closed bars, oldest first; a period without trades is a flat bar with volume 0."""
        ...
