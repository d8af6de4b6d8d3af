"""What spot shows to anybody: time, rules, prices."""

from typing import Any

from chimera.venue_server.calls import Call, Route, Site
from chimera.venue_server.floor import Floor


def market_routes(floor: Floor) -> list[Route]:
    market = SpotMarket(floor)
    return [
        Route(method="GET", path="/api/v3/ping", handler=market.ping, name="ping", site=Site.SPOT),
        Route(method="GET", path="/api/v3/time", handler=market.time, name="time", site=Site.SPOT),
    ]


class SpotMarket:
    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    def ping(self, call: Call) -> Any:
        return {}

    def time(self, call: Call) -> Any:
        return {"serverTime": self._floor.now_ms()}
