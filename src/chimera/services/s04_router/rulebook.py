"""The exchange's rules of our instruments as S4 knows them, asked for anew when it names one that was broken."""

from dataclasses import dataclass, field

import structlog

from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.venue import Venue, VenueUnavailable

AGAIN_AFTER_MS = 2_000
"""Our own work's time between two questions, however many orders are refused meanwhile."""
LATELY_MS = 180_000
"""Our own work's time in which others may still go by the rules of before: S1 reads them every minute, S5 and S6 what
it wrote every minute again; the rest is margin."""

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Rulebook:
    """`instruments` is shared with all who round by it, and changed in place."""

    keys: tuple[InstrumentKey, ...]
    venue: Venue
    clock: Clock
    instruments: dict[InstrumentKey, Instrument] = field(default_factory=dict)
    answers: bool = True
    """Whether the exchange told them when it was asked last."""
    _asked_ms: int | None = None
    _changed_ms: dict[InstrumentKey, int] = field(default_factory=dict)

    async def load(self) -> None:
        """
        Raises:
            VenueUnavailable: the exchange does not tell.
        """
        listed = {each.key: each for each in await self.venue.instruments() if each.key in self.keys}
        self._asked_ms = self.clock.now_ms()
        self.answers = True
        for key, instrument in listed.items():
            known = self.instruments.get(key)
            if known == instrument:
                continue
            if known is not None:
                log.warning("the exchange's rules changed", instrument=str(key))
            self.instruments[key] = instrument
            self._changed_ms[key] = self._asked_ms

    def changed_lately(self, key: InstrumentKey) -> bool:
        """Whether an order may have been made by other rules than these. So it is after our start: what changed before
        it is not known."""
        changed_ms = self._changed_ms.get(key)
        return changed_ms is not None and self.clock.now_ms() - changed_ms < self.clock.work_ms(LATELY_MS)

    async def renew(self) -> None:
        """Ask again, unless that was done a moment ago; an exchange that does not tell leaves things as they are."""
        now_ms = self.clock.now_ms()
        if self._asked_ms is not None and now_ms - self._asked_ms < self.clock.work_ms(AGAIN_AFTER_MS):
            return
        try:
            await self.load()
        except VenueUnavailable as down:
            self.answers = False
            log.warning("the exchange's rules cannot be asked for", why=str(down))
