"""`GET /admin/venue`: what a client on this machine must know of the exchange to run in step with it."""

from typing import Any

from chimera.venue_server.calls import Call, Route, Site
from chimera.venue_server.floor import Floor


def about_routes(floor: Floor) -> list[Route]:
    def about(call: Call) -> Any:
        return {
            "speed": floor.clock.speed,
            "now_ms": floor.clock.now_ms(),
            "tick_interval_ms": floor.host.feed.tick_interval_ms,
            "instruments": [str(instrument.key) for instrument in floor.host.rules.instruments],
        }

    return [Route(method="GET", path="/admin/venue", handler=about, name="about", site=Site.ADMIN, weight=0)]
