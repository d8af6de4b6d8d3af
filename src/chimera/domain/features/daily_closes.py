"""The last few closed UTC days of one series: a close and a volume each, built from any intraday bars in order."""

from chimera.domain.market.quotes import Bar

DAY_MS = 86_400_000
_KEPT_DAYS = 6


class DailyCloses:
    """Feed bars of one interval in order of time; repeats and older bars are ignored.

    A day is closed by the bar that ends at midnight UTC, and by no other: a day whose last bar never came has no close.
    """

    __slots__ = ("_closes", "_last_open", "_volumes", "version")

    def __init__(self) -> None:
        self._closes: dict[int, float] = {}
        self._volumes: dict[int, float] = {}
        self._last_open = -1
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
            for days in (self._closes, self._volumes):
                for old in [d for d in days if d <= day - _KEPT_DAYS]:
                    del days[old]

    def close(self, day: int) -> float | None:
        """Close of UTC day number `day` (epoch days), None if that day is not closed or not known."""
        return self._closes.get(day)

    def volume(self, day: int) -> float:
        return self._volumes.get(day, 0.0)
