"""Margin type and leverage of a futures symbol, made what an entry needs before its first order."""

from dataclasses import dataclass, field

from chimera.domain.execution.machine.bracket import VENUE_UNAVAILABLE
from chimera.ports.clock import Clock
from chimera.ports.venue import OutcomeUnknown, Refused, Venue, VenueUnavailable


@dataclass(slots=True, kw_only=True)
class Margin:
    """`believed_ms` of our own work: how long what was set is taken to stand; a person may change it."""

    venue: Venue
    clock: Clock
    believed_ms: int
    _isolated: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By symbol: the leverage that was set, and until when that is believed."""

    async def make_isolated(self, symbol: str, leverage: int) -> str | None:
        """Why it could not be had, or None."""
        known, until_ms = self._isolated.get(symbol, (0, 0))
        if known == leverage and self.clock.now_ms() < until_ms:
            return None
        try:
            await self.venue.ensure_isolated(symbol, leverage)
        except VenueUnavailable:
            return VENUE_UNAVAILABLE
        except (Refused, OutcomeUnknown) as error:
            return f"MARGIN_MODE {error}"
        until_ms = self.clock.now_ms() + self.clock.work_ms(self.believed_ms)
        self._isolated[symbol] = (leverage, until_ms)
        return None
