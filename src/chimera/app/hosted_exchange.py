"""A simulated exchange that lives in real time: opened where it was left, its clock and market written down as they go.

Owns the exchange's start and its own upkeep, for whoever puts a face before it: the system that has it in process, and
the server that speaks the exchange's protocol.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from chimera.adapters.simulated_venue.host import ExchangeHost
from chimera.adapters.simulated_venue.journal import FileJournal, JournalError
from chimera.app.simulated_market import Market
from chimera.ports.clock import Clock

CLOCK_MARK_MS = 50
"""How often the exchange's clock is written down, our own work's time."""

CHECKPOINT_MS = 60_000
"""How often the market's day state is written down, so that a restart need not walk from the first day."""

H = TypeVar("H", bound=ExchangeHost)
Spawn = Callable[[str, Coroutine[Any, Any, None]], None]
log = structlog.get_logger(__name__)


class MarketEnded(Exception):
    """No more prices come: what trades on would trade against frozen ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedExchange(Generic[H]):
    """`shown_until_ms` is the last tick that was shown before the stop; without a `market` there is nothing to find
    again: whoever applies the ticks knows what comes."""

    host: H
    journal: FileJournal
    market: Market | None
    shown_until_ms: int

    @property
    def clock(self) -> Clock:
        return self.host.clock

    def mark_clock(self, spawn: Spawn) -> None:
        spawn("venue clock", mark_clock(self.journal, self.clock))

    def open_market(self, spawn: Spawn) -> None:
        """Let the market go on; prices must have been shown before (`host.show_again`). The part that moves it fails
        with `MarketEnded` where its source ends."""
        spawn("venue", self._go_on())
        if self.market is not None:
            spawn("venue checkpoint", self._checkpoint(self.market))

    def close(self) -> None:
        self.journal.mark_time(self.clock.now_ms())
        self.journal.close()

    async def _go_on(self) -> None:
        await self.host.run(self.shown_until_ms)
        raise MarketEnded(
            f"the market's history ends at market time {self.clock.now_ms()}, and no prices come after it. Give more"
            " days of it, or start a new exchange with another --state."
        )

    async def _checkpoint(self, market: Market) -> None:
        while True:
            await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(CHECKPOINT_MS))
            try:
                self.journal.set_meta({"checkpoint": market.checkpoint(self.clock.now_ms())})
            except JournalError as error:
                log.error("the market's checkpoint waits for the next time", why=str(error))


async def mark_clock(journal: FileJournal, clock: Clock) -> None:
    """Write the clock's position down, for ever."""
    while True:
        try:
            journal.mark_time(clock.now_ms())
        except JournalError as error:
            log.error("the exchange's clock is not written down", why=str(error))
        await clock.sleep_until_ms(clock.now_ms() + clock.work_ms(CLOCK_MARK_MS))
