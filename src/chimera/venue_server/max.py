"""The bars of MAX, the exchange in Taiwan that USDT/TWD comes from: arrays of numbers, oldest first, the running last.

What this market keeps is hours: shorter periods are refused. Its paths lie beside spot's, `/api/v3` too, and do not
meet them. Source: MAX's API pages and recordings.
"""

from typing import Any

from chimera.domain.market.quotes import Bar
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Call, Route, Site
from chimera.venue_server.floor import Floor

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
MARKET = "usdttwd"
PERIODS = frozenset({60, 120, 240, 360, 720, 1440})
SHORTER = frozenset({1, 5, 15, 30})
LIMIT_DEFAULT = 30
LIMIT_MAX = 10_000
PERIOD_DEFAULT = 1
INVALID = 1001
PLACES = 3


def max_routes(floor: Floor) -> list[Route]:
    bars = MaxBars(floor)
    return [
        Route(method="GET", path=f"/api/{version}/k", handler=bars.bars, name="max.k", site=Site.MAX)
        for version in ("v3", "v2")
    ]


class MaxBars:
    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    def bars(self, call: Call) -> Any:
        """`timestamp` (seconds): the first bars from then on; without it the newest."""
        if call.text("market") != MARKET:
            raise Refusal(INVALID, "market does not have a valid value")
        period, limit = call.whole("period", PERIOD_DEFAULT), call.whole("limit", LIMIT_DEFAULT)
        if period in SHORTER:
            raise Refusal(INVALID, f"this market keeps bars of 60 minutes and longer; period {period} is not offered")
        if period not in PERIODS:
            raise Refusal(INVALID, "period does not have a valid value")
        if not 1 <= limit <= LIMIT_MAX:
            raise Refusal(INVALID, f"limit must be between 1 and {LIMIT_MAX}")
        since_s = call.maybe_whole("timestamp")
        length_ms, now_ms = period * MINUTE_MS, self._floor.clock.now_ms()
        if since_s is None:
            from_ms, until_ms = (now_ms // length_ms - limit + 1) * length_ms, now_ms
        else:
            from_ms = -(-since_s * 1_000 // length_ms) * length_ms
            until_ms = min(now_ms, from_ms + limit * length_ms)
        return _longer(self._hours(from_ms, until_ms, now_ms), length_ms)[:limit]

    def _hours(self, from_ms: int, until_ms: int, now_ms: int) -> list[list[float]]:
        """Closed hours, and the running one as an hour without trades yet."""
        rows = [_row(bar) for bar in self._floor.host.feed.factor_bars("1h", from_ms, until_ms)]
        running_ms = now_ms // HOUR_MS * HOUR_MS
        if running_ms < until_ms:
            before = self._floor.host.feed.factor_bars("1h", running_ms - HOUR_MS, running_ms)
            if before:
                last = round(before[-1].close, PLACES)
                rows.append([running_ms, last, last, last, last, 0.0])
        return rows


def _row(bar: Bar) -> list[float]:
    prices = (round(price, PLACES) for price in (bar.open, bar.high, bar.low, bar.close))
    return [bar.open_time, *prices, round(bar.volume, PLACES)]


def _longer(hours: list[list[float]], length_ms: int) -> list[list[float]]:
    """With times in seconds. The first bar may lack hours only where the market itself began within it."""
    bars: list[list[float]] = []
    for at_ms, open_, high, low, close, volume in hours:
        start_s = int(at_ms // length_ms * length_ms // 1_000)
        if bars and bars[-1][0] == start_s:
            bar = bars[-1]
            bar[2], bar[3], bar[4] = max(bar[2], high), min(bar[3], low), close
            bar[5] = round(bar[5] + volume, PLACES)
        else:
            bars.append([start_s, open_, high, low, close, volume])
    return bars
