"""USDT/TWD bars of the MAX exchange.

Owns which of them are closed and that none is left out: a period without trades is a flat bar at the close before it.
Source: `GET /api/v3/k` of max-api.maicoin.com: rows [open time in seconds, open, high, low, close, volume] as numbers,
oldest first, beginning at `timestamp`, at most 10,000; the last one may still be open.
"""

from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson

from chimera.contracts.enums import Market
from chimera.domain.market.quotes import INTERVAL_MS, Bar
from chimera.ports.clock import Clock
from chimera.ports.venue import RateLimited, VenueUnavailable
from chimera.runtime.waiting import DeadlinePassed, until

ROWS_MAX = 10_000
ANSWER_MS = 10_000
RETRY_AFTER_MS = 60_000
"""When the exchange limits us and does not say for how long."""
TEXT_CHARS_MAX = 200
TOO_MANY = 429
INFINITY = float("inf")


class MaxFactorFeed:
    symbol = "USDTTWD"

    def __init__(self, *, base_url: str, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._url = f"{base_url.rstrip('/')}/api/v3/k"
        self._session = session
        self._clock = clock

    async def bars(self, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        """Closed bars with start_ms <= open_time < end_ms, oldest first.

        Raises:
            VenueUnavailable: no answer, one that cannot be read, or a refusal: it is not our exchange, and whatever
                keeps us out (an address, a country) is waited for.
        """
        length_ms = INTERVAL_MS[interval]
        end_ms = min(end_ms, self._clock.now_ms() - length_ms + 1)
        next_ms = -(-start_ms // length_ms) * length_ms
        bars: list[Bar] = []
        while next_ms < end_ms:
            count = min(ROWS_MAX, (end_ms - next_ms - 1) // length_ms + 1)
            rows = await self._ask(length_ms, next_ms, count)
            fresh = [bar for bar in rows if next_ms <= bar.open_time < end_ms]
            if not fresh:
                break
            for bar in fresh:
                _append(bars, bar, length_ms)
            next_ms = bars[-1].open_time + length_ms
        return bars

    async def _ask(self, length_ms: int, start_ms: int, count: int) -> list[Bar]:
        params = {
            "market": self.symbol.lower(),
            "period": str(length_ms // 60_000),
            "limit": str(count),
            "timestamp": str(start_ms // 1_000),
        }
        deadline_ms = self._clock.now_ms() + self._clock.work_ms(ANSWER_MS)
        try:
            status, retry_after, body = await until(self._clock, deadline_ms, self._get(params))
        except DeadlinePassed:
            raise VenueUnavailable("MAX does not answer") from None
        except (aiohttp.ClientError, OSError) as error:
            raise VenueUnavailable(f"MAX cannot be reached: {type(error).__name__}") from error
        if status == TOO_MANY:
            wait_ms = int(retry_after) * 1_000 if retry_after.isdecimal() else RETRY_AFTER_MS
            raise RateLimited("MAX limits our calls", wait_ms)
        if status >= 400:
            raise VenueUnavailable(f"MAX answers {status} {body.decode(errors='replace')[:TEXT_CHARS_MAX]}")
        return self._bars(body, length_ms)

    async def _get(self, params: dict[str, str]) -> tuple[int, str, bytes]:
        async with self._session.get(self._url, params=params) as answer:
            return answer.status, answer.headers.get("Retry-After", ""), await answer.read()

    def _bars(self, body: bytes, length_ms: int) -> list[Bar]:
        interval = next(name for name, each_ms in INTERVAL_MS.items() if each_ms == length_ms)
        try:
            return sorted((self._bar(row, interval) for row in orjson.loads(body)), key=lambda bar: bar.open_time)
        except (ValueError, TypeError, LookupError) as error:
            raise VenueUnavailable(f"MAX answers what cannot be read: {error}") from error

    def _bar(self, row: Sequence[Any], interval: str) -> Bar:
        open_s, *numbers = row
        bar = Bar(Market.SPOT, self.symbol, interval, int(open_s) * 1_000, *[float(number) for number in numbers])
        if not 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high < INFINITY:
            raise ValueError(f"prices of {row}")
        if not 0 <= bar.volume < INFINITY:
            raise ValueError(f"volume of {row}")
        return bar


def _append(bars: list[Bar], bar: Bar, length_ms: int) -> None:
    """With flat bars for what the exchange left out before it."""
    while bars and bars[-1].open_time + length_ms < bar.open_time:
        last = bars[-1]
        close = last.close
        bars.append(Bar(last.market, last.symbol, last.interval, last.close_time, close, close, close, close, 0.0))
    if not bars or bar.open_time > bars[-1].open_time:
        bars.append(bar)
