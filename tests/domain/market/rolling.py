"""What a listener makes of a stream of bars."""

from collections.abc import Iterable

from chimera.domain.market.bars import BarRoller
from chimera.domain.market.quotes import Bar


def roll(bars: Iterable[Bar], source: str, interval: str) -> list[Bar]:
    roller = BarRoller(source, interval)
    return [done for bar in bars if (done := roller.add(bar)) is not None]
