"""`rv_1d`: realised volatility of the last day.

Formula sqrt(mean(r^2) * 365 * 1440), r = ln(close / previous close) over the last 1440 closed minutes, no mean taken
off. Source: closed 1 m bars. Unit: fraction per year (0.6 = 60 %). Lag: the bar's close. Warm after 1440 returns in a
row; a missing minute makes it stale until it has left the window.

The sum is kept in whole numbers (a return in units of 1e-12, squared), so adding and removing leaves no drift: the
value depends on the window and on nothing before it.
"""

from math import log, sqrt

from chimera.domain.features.factor import FactorSpec

WINDOW = 1440
MINUTE_MS = 60_000
_UNIT = 1e12
_YEAR_MINUTES = 365 * 1440

SPEC = FactorSpec(
    factor_id="rv_1d",
    family="volatility",
    version="1",
    freq="1m",
    lag_ms=0,
    definition="sqrt(mean(logret(1m)^2,1440)*365*1440)",
    deps=("mkt:kline",),
    range=(0.0, 50.0),
)


class RealizedVol1d:
    """A ring of squared returns. Feed closed 1 m bars in order; O(1) each."""

    __slots__ = ("_at", "_close", "_run", "_squares", "_sum", "as_of_ms", "value")

    def __init__(self) -> None:
        self._squares = [0] * WINDOW
        self._at = 0
        self._sum = 0
        self._run = 0
        self._close = 0.0
        self.as_of_ms = -1
        """Close time of the newest bar."""
        self.value: float | None = None
        """None while fewer than 1440 returns stand in a row."""

    def add(self, close: float, close_time: int) -> None:
        """Take one closed minute; `close` is positive and finite."""
        if close_time - self.as_of_ms != MINUTE_MS:
            # The return over a gap is not a return of one minute, and a window with a hole is not a day.
            self._run = 0
        else:
            scaled = round(log(close / self._close) * _UNIT)
            square = scaled * scaled
            self._sum += square - self._squares[self._at]
            self._squares[self._at] = square
            self._at = (self._at + 1) % WINDOW
            self._run += 1
        self._close = close
        self.as_of_ms = close_time
        self.value = sqrt(self._sum / WINDOW * _YEAR_MINUTES) / _UNIT if self._run >= WINDOW else None
