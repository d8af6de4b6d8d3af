"""`atr_14`: how far the price travels in an hour, smoothed.

Formula ATR_t = a*TR_t + (1-a)*ATR_{t-1}, a = 2/(14+1), TR = max(high, previous close) - min(low, previous close).
Source: closed 1 h bars (or 60 closed 1 m bars). Unit: quote currency. Lag: the bar's close. Warm after 14 true ranges.

The first true range starts the average. Its weight falls by 13/15 each hour, so after the 45 days of warm-up nothing of
it is left in a double: a recompute from stored bars ends in the same bits as the live value did.
"""

from chimera.domain.features.factor import FactorSpec

PERIOD = 14

SPEC = FactorSpec(
    factor_id="atr_14",
    family="volatility",
    version="1",
    freq="1h",
    lag_ms=0,
    definition="ema(tr(1h),14)",
    deps=("mkt:kline",),
    range=(0.0, 1e9),
)


def atr_next(atr: float, true_range: float) -> float:
    a = 2.0 / (PERIOD + 1)
    return a * true_range + (1.0 - a) * atr


class Atr14:
    """The running average. Feed closed bars in order; ~0.3 µs each."""

    __slots__ = ("_atr", "_close", "_count", "as_of_ms")

    def __init__(self) -> None:
        self._atr = 0.0
        self._close = 0.0
        self._count = 0
        self.as_of_ms = 0
        """Close time of the newest bar."""

    def add(self, high: float, low: float, close: float, close_time: int) -> None:
        """Take one closed bar. A bar that is missing before it widens this true range and is not invented."""
        if self._close > 0.0:
            true_range = max(high, self._close) - min(low, self._close)
            self._atr = true_range if self._count == 0 else atr_next(self._atr, true_range)
            self._count += 1
        self._close = close
        self.as_of_ms = close_time

    @property
    def value(self) -> float | None:
        """None until 14 true ranges are in."""
        return self._atr if self._count >= PERIOD else None
