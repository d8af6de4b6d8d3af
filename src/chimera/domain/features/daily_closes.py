"""The closed UTC days of one series: a close and a volume each, built from any intraday bars in order.

DailyCloses      day by day, of the days that a window of daily factors may reach back to
DayColumns       all days of a history at once
"""

from dataclasses import dataclass

import numpy as np

from chimera.contracts.enums import DataQuality
from chimera.domain.features.quality import GAP, SILENT, WARMING, Codes
from chimera.domain.features.sane import sane_bars
from chimera.domain.market.bars import BarSeries, Floats, Times
from chimera.domain.market.quotes import Bar

DAY_MS = 86_400_000
KEPT_DAYS = 210
"""Three windows of 60 days upon each other (`derived`), over a factor that reads 16 days, and some to spare."""

_NEVER = -1


class DailyCloses:
    """Feed bars of one interval in order of time; repeats and older bars are ignored.

    A day is closed by the bar that ends at midnight UTC, and by no other: a day whose last bar never came has no close.
    """

    __slots__ = ("_closes", "_last_open", "_volumes", "first_day", "version")

    def __init__(self) -> None:
        self._closes: dict[int, float] = {}
        self._volumes: dict[int, float] = {}
        self._last_open = -1
        self.first_day = _NEVER
        """The first day that ever closed; -1: none yet."""
        self.version = 0
        """Grows with every day that closes, so that a reader may cache."""

    def add(self, bar: Bar) -> None:
        """Take one closed bar whose numbers are already known to be sane."""
        if bar.open_time <= self._last_open:
            return
        self._last_open = bar.open_time
        day = bar.open_time // DAY_MS
        self._volumes[day] = self._volumes.get(day, 0.0) + bar.volume
        if bar.close_time % DAY_MS == 0:
            self._closes[day] = bar.close
            self.version += 1
            if self.first_day == _NEVER:
                self.first_day = day
            for days in (self._closes, self._volumes):
                for old in [d for d in days if d <= day - KEPT_DAYS]:
                    del days[old]

    def absorb(self, other: "DailyCloses") -> None:
        """Take over what `other` knows of the same series, read once more. What it closed holds; days that only this
        one knows stay, and of a day's volume the larger sum is the more complete one."""
        self._closes |= other._closes
        for day, volume in other._volumes.items():
            self._volumes[day] = max(volume, self._volumes.get(day, 0.0))
        self._last_open = max(self._last_open, other._last_open)
        if other.first_day != _NEVER:
            self.first_day = other.first_day if self.first_day == _NEVER else min(self.first_day, other.first_day)
            self.version += 1

    def close(self, day: int) -> float | None:
        """Close of UTC day number `day` (epoch days), None if that day is not closed or not known."""
        return self._closes.get(day)

    def volume(self, day: int) -> float:
        return self._volumes.get(day, 0.0)

    def lacks(self, day: int, today: int) -> DataQuality | None:
        """Why `day` has no close, as it looks on the day `today`; None where it has one."""
        if day in self._closes:
            return None
        if not _NEVER < self.first_day < today:
            return DataQuality.SILENT
        if day < self.first_day:
            return DataQuality.WARMING
        came_since = any(later in self._closes for later in range(day + 1, today))
        return DataQuality.GAP if came_since else DataQuality.SILENT


@dataclass(frozen=True, slots=True, eq=False)
class DayColumns:
    """Row i is UTC day `first_day + i`; close NaN where the day has none. Empty where no day ever closed."""

    first_day: int
    close: Floats
    volume: Floats
    _newest_closed: Times

    @classmethod
    def of(cls, series: BarSeries | None) -> "DayColumns":
        """From bars of one interval, ascending. Rows that are not sane are left out."""
        bars = sane_bars(series) if series is not None else None
        if bars is None or len(bars) == 0:
            return cls(_NEVER, np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
        days = bars.open_time // DAY_MS
        closing = (bars.open_time + bars.interval_ms) % DAY_MS == 0
        closed = days[closing]
        if len(closed) == 0:
            return cls(_NEVER, np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
        first, length = int(closed[0]), int(days[-1] - closed[0]) + 1
        close = np.full(length, np.nan)
        close[closed - first] = bars.close[closing]
        known = days >= first
        volume = np.zeros(length)
        np.add.at(volume, days[known] - first, bars.volume[known])
        rows = np.arange(length, dtype=np.int64)
        newest = np.maximum.accumulate(np.where(np.isnan(close), _NEVER, rows))
        return cls(first, close, volume, newest)

    def at(self, column: Floats, days: Times) -> Floats:
        """`column` of each of `days`, NaN where there is none."""
        if len(column) == 0:
            return np.full(len(days), np.nan)
        rows = days - self.first_day
        return np.where((rows >= 0) & (rows < len(column)), column[np.clip(rows, 0, len(column) - 1)], np.nan)

    def lacks(self, days: Times, today: Times) -> Codes:
        """Why each of `days` has no close, as it looks on the day `today`; 0 where it has one."""
        length = len(self.close)
        if length == 0:
            return np.full(len(days), SILENT, dtype=np.int8)
        rows = days - self.first_day
        newest = self._newest_closed[np.clip(today - 1 - self.first_day, 0, length - 1)]
        newest = np.where(today <= self.first_day, _NEVER - 1, newest)
        codes = np.where(rows < 0, WARMING, np.where(rows > newest, SILENT, GAP))
        codes = np.where(today <= self.first_day, SILENT, codes)
        return np.where(np.isnan(self.at(self.close, days)), codes, 0).astype(np.int8)
