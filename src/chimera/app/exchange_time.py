"""Our clock after the exchange's, where both run at 1. After a suspend it would stand behind for ever, and no entry
would be sent again.

Forward only. To be ahead of the exchange stays an alert: time that was written down cannot be taken back.
"""

from collections.abc import Mapping

import structlog

from chimera.adapters.binance.hosts import Site
from chimera.adapters.binance.offset import ServerClock
from chimera.adapters.clocks import LoopClock
from chimera.ports.venue import VenueError

LOOK_MS = 60_000
BEHIND_MS_MAX = 500

log = structlog.get_logger(__name__)


async def follow_time(clock: LoopClock, servers: Mapping[Site, ServerClock]) -> None:
    """Look each minute of our work, and advance by the lesser of two measurements in a row; runs for ever."""
    before_ms = 0
    while True:
        await clock.sleep_until_ms(clock.now_ms() + clock.work_ms(LOOK_MS))
        try:
            offset_ms = await servers[Site.FUTURES].measure()
        except (VenueError, LookupError, TypeError, ValueError):  # no time, or none that can be read: S1 tells people
            offset_ms = 0
        behind_ms = min(before_ms, offset_ms)
        if behind_ms <= BEHIND_MS_MAX:
            before_ms = offset_ms
            continue
        clock.advance(behind_ms)
        for server in set(servers.values()):  # spot and the wallet share one
            server.advanced(behind_ms)
        before_ms = 0
        log.warning("our clock was behind the exchange's and was advanced", ms=behind_ms)
