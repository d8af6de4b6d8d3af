"""The exchange's dead-man switch over resting entries: should this process or its line die, they do not wait for a
market that nobody here sees any more.

Owns when the countdown of a symbol runs: while an entry of ours rests there on the regular futures book, and nothing
else does. It would take an exit, or what a person rests there, just the same. Beside all orders, never before one: what
fails here is tried again and holds nobody up. Off unless a person set it, the exchange has it, and was seen to spare
conditional orders: those protect.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import structlog

from chimera.contracts.collections import system_state
from chimera.contracts.documents import DeadManSeen, Order
from chimera.contracts.enums import Market, OrderType, Severity
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.domain.execution.orders import VenueOrder
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.errors import DependencyDown
from chimera.ports.venue import RateLimited, Venue, VenueError
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import Changed

SEEN = system_state(DeadManSeen)
SEEN_KEY = "dead_man_seen"

SIMULATED = ("sim", "paper")
"""Exchanges of this process: what they spare is decided here, and tested."""
SEEN_ELSEWHERE = {"live": "testnet"}
"""The one that is tried for the other: the same program over there, without the money."""

RENEWALS = 3
"""In one countdown, so that two may fail."""
RETRY_MS = 2_000
"""Of our own work, after a failure."""
IDLE_MS = 3_600_000

RESTING = (OrderType.LIMIT, OrderType.LIMIT_MAKER)

log = structlog.get_logger(__name__)


def vouches(seen: DeadManSeen | None, venue: str) -> bool:
    """Whether the exchange called `venue` may be relied on to spare conditional orders."""
    if venue in SIMULATED:
        return True
    return seen is not None and seen.venue in (venue, SEEN_ELSEWHERE.get(venue))


@dataclass(slots=True)
class _Countdown:
    """Of one symbol. `runs_until_ms` is the latest at which it can still run; 0: it does not."""

    runs_until_ms: int
    renew_at_ms: int = 0
    stale: bool = True
    """What rests has changed since the last look."""
    told: bool = False
    orders: dict[str, Order] = field(default_factory=dict)
    """Of ours on the regular book, or on their way there, by id."""
    changed: Changed = field(default_factory=Changed)

    @property
    def is_wanted(self) -> bool | None:
        """None: as it is, for of an entry that is being sent nobody knows yet. What is no entry counts before it is
        sent."""
        if not all(order.is_entry for order in self.orders.values()):
            return False
        if any(order.is_listed for order in self.orders.values()):
            return True
        return None if self.orders else False


@dataclass(slots=True, kw_only=True)
class DeadMan:
    """`countdown_ms` of real time; 0 is off. `hear` is told of every order of ours as it changes."""

    countdown_ms: int
    keys: Sequence[InstrumentKey]
    venue: Venue
    documents: Documents
    clock: Clock
    teller: Teller
    _countdowns: dict[str, _Countdown] = field(default_factory=dict)
    _told_off: bool = False

    def __post_init__(self) -> None:
        # Whoever ran before us may have set it off right before the end.
        runs_until_ms = self.clock.now_ms() + self._length_ms
        for key in self.keys:
            if key.market is Market.FUT:
                self._countdowns[key.symbol] = _Countdown(runs_until_ms)

    @property
    def is_set(self) -> bool:
        return self.countdown_ms > 0

    @property
    def _length_ms(self) -> int:
        return self.clock.work_ms(self.countdown_ms)

    def hear(self, order: Order) -> None:
        countdown = self._countdowns.get(order.symbol)
        if countdown is None or order.market is not Market.FUT or order.is_conditional or order.type not in RESTING:
            return
        before = countdown.orders.get(order.order_id)
        if order.status.is_final:
            countdown.orders.pop(order.order_id, None)
            if before is None:
                return
        else:
            countdown.orders[order.order_id] = order
            if before is not None and before.is_listed == order.is_listed:
                return
        countdown.stale = True
        countdown.changed.tell()

    def loops(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """One a symbol, each for ever; none where it is off. Where it may not be relied on they are idle, having said
        why."""
        if not self.is_set:
            return ()
        return tuple(partial(self._watch, symbol, countdown) for symbol, countdown in self._countdowns.items())

    async def _watch(self, symbol: str, countdown: _Countdown) -> None:
        why_not = await self._why_not()
        if why_not is not None and not self._told_off:
            self._told_off = True
            log.warning("the dead-man switch stays off", why=why_not)
            try:
                await self.teller.alert(
                    AlertCode.DEAD_MAN_SWITCH, Severity.WARN, f"S4_DEAD_MAN_MS is set, and without effect: {why_not}"
                )
            except DependencyDown:
                self._told_off = False
                raise
        while why_not is not None:
            await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(IDLE_MS))
        await self._lead(symbol, countdown)

    async def _why_not(self) -> str | None:
        if not self.venue.capabilities.dead_man_switch:
            return f"{self.venue.name} has no dead-man switch. Unset it."
        if vouches(await self.documents.get(SEEN, SEEN_KEY), self.venue.name):
            return None
        return (
            "nobody has seen yet that it spares the stops. Stop the system and run"
            f" `chimera doctor --venue {SEEN_ELSEWHERE.get(self.venue.name, self.venue.name)} --dead-man BTCUSDT`"
            " with the data folder of this system."
        )

    async def _lead(self, symbol: str, countdown: _Countdown) -> None:
        while True:
            countdown.stale = False
            try:
                next_ms = await self._step(symbol, countdown)
            except VenueError as error:
                next_ms = self.clock.now_ms() + self.clock.work_ms(await self._failed(symbol, countdown, error))
            if not countdown.stale:
                await countdown.changed.wait_until(self.clock, next_ms)

    async def _step(self, symbol: str, countdown: _Countdown) -> int:
        """Start, renew or end it, if that is due; when to look again.

        Raises:
            VenueError: nobody knows whether it runs, or until when.
        """
        idle_ms = self.clock.now_ms() + self.clock.work_ms(IDLE_MS)
        match countdown.is_wanted:
            case None:
                return idle_ms
            case False:
                await self._end(symbol, countdown)
                return idle_ms
            case True if self.clock.now_ms() < countdown.renew_at_ms:
                return countdown.renew_at_ms
        listed = await self.venue.open_orders([InstrumentKey(Market.FUT, symbol)])
        next_ms = self.clock.now_ms() + self._length_ms // RENEWALS
        if not all(_is_spared(order) or order.client_order_id in countdown.orders for order in listed):
            # Somebody else's, or not known here any more: it is looked at again.
            await self._end(symbol, countdown)
            return next_ms
        if countdown.is_wanted:
            await self._start(symbol, countdown)
            countdown.renew_at_ms = next_ms
        return next_ms

    async def _start(self, symbol: str, countdown: _Countdown) -> None:
        # Told before the call, whose answer may be lost, and with room for how long that may take.
        countdown.runs_until_ms = self.clock.now_ms() + 2 * self._length_ms
        await self.venue.cancel_all_after(symbol, self._length_ms)
        countdown.runs_until_ms = self.clock.now_ms() + self._length_ms
        countdown.told = False

    async def _end(self, symbol: str, countdown: _Countdown) -> None:
        countdown.renew_at_ms = 0
        if self.clock.now_ms() < countdown.runs_until_ms:
            await self.venue.cancel_all_after(symbol, 0)
            countdown.runs_until_ms = 0
            countdown.told = False

    async def _failed(self, symbol: str, countdown: _Countdown, error: VenueError) -> int:
        """Told once until it works again; the pause before the next try, in ms of real time."""
        log.warning("the dead-man switch could not be set", symbol=symbol, why=str(error))
        if not countdown.told:
            what = "set" if countdown.is_wanted else "ended"
            with suppress(DependencyDown):
                await self.teller.alert(
                    AlertCode.DEAD_MAN_SWITCH,
                    Severity.WARN,
                    f"{symbol}: the countdown over resting entries could not be {what} and is tried again: {error}",
                    symbol=symbol,
                )
                countdown.told = True
        return max(RETRY_MS, error.retry_after_ms if isinstance(error, RateLimited) else 0)


def _is_spared(order: VenueOrder) -> bool:
    """Whether the countdown leaves it: it waits in the algo book."""
    return order.conditional and not order.triggered
