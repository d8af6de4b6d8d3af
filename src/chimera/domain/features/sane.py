"""Which market data may enter a feature at all. A refused input is a gap: the factor that needed it turns stale."""

from math import inf

from chimera.domain.market.quotes import Bar


def sane_bar(bar: Bar) -> bool:
    """Finite, positive, ordered prices and a volume that is not negative. NaN fails every comparison."""
    return (
        0.0 < bar.low <= bar.high < inf
        and bar.low <= bar.close <= bar.high
        and bar.low <= bar.open <= bar.high
        and 0.0 <= bar.volume < inf
    )


def sane_touch(bid: float, ask: float) -> bool:
    """False for a crossed book, for zero, for anything that is not finite. A locked book (bid = ask) is sane."""
    return 0.0 < bid <= ask < inf
