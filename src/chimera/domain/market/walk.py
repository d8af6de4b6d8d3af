"""From a one-minute bar to the ticks inside it.

Owns the order in which open, high, low and close are met. A bar does not tell which extreme came first, and for a
position with a stop and a target in the same bar that decides between profit and loss: so the order is pessimistic (the
extreme that hurts comes first) or seeded, as chosen. The path never leaves the bar and ends on its close.
"""

from enum import StrEnum

from chimera.contracts.enums import Side
from chimera.domain.market.chance import mix, salt

MINUTE_MS = 60_000


class ExtremeOrder(StrEnum):
    """Which extreme of a bar is met first. PESSIMISTIC without a position is SEEDED."""

    PESSIMISTIC = "PESSIMISTIC"
    SEEDED = "SEEDED"


def tick_offsets_ms(ticks_per_minute: int) -> tuple[int, ...]:
    """When the ticks come, in ms after the bar's open: the first at once, evenly from there."""
    return tuple(k * MINUTE_MS // ticks_per_minute for k in range(ticks_per_minute))


class Walker:
    """Walks the bars of one symbol. Keeps no state between bars: the same bar gives the same path after a restart."""

    __slots__ = ("_order", "_salt", "_ticks", "offsets_ms")

    def __init__(self, seed: int, symbol: str, *, ticks_per_minute: int, order: ExtremeOrder) -> None:
        if not 1 <= ticks_per_minute <= MINUTE_MS:
            raise ValueError(f"ticks_per_minute is {ticks_per_minute}; it must be within 1 and {MINUTE_MS}")
        self._salt = salt(seed, f"walk/{symbol}")
        self._ticks = ticks_per_minute
        self._order = order
        self.offsets_ms = tick_offsets_ms(ticks_per_minute)

    def path(
        self, open_time: int, open_: float, high: float, low: float, close: float, side: Side | None = None
    ) -> tuple[float, ...]:
        """One price per tick, at `offsets_ms` after `open_time`; the last is the close.

        With four ticks: open, one extreme, the other, close. With more: the same four on the way. With fewer the open
        goes first (it is where the bar before ended), then the second extreme, then the first.

        Args:
            side: of the open position, BUY for long; None when flat.
        """
        bits = mix(self._salt ^ open_time)
        if side is None or self._order is ExtremeOrder.SEEDED:
            low_first = bool(bits & 1)
        else:
            low_first = side is Side.BUY
        first, second = (low, high) if low_first else (high, low)
        ticks = self._ticks
        if ticks == 4:
            return (open_, first, second, close)
        if ticks > 4:
            return _long_path((open_, first, second, close), high, low, ticks, bits)
        return (*(first, second)[: ticks - 1], close)


def _long_path(
    stations: tuple[float, float, float, float], high: float, low: float, ticks: int, bits: int
) -> tuple[float, ...]:
    """Through four stations at seeded ticks, with noise between them that stays inside the bar."""
    # Two different inner ticks of 1 .. ticks - 2, in order.
    inner = ticks - 2
    a = (bits >> 1) % inner
    b = (a + 1 + (bits >> 24) % (inner - 1)) % inner
    at = (0, 1 + min(a, b), 1 + max(a, b), ticks - 1)
    rough = 0.25 * (high - low)
    prices = [stations[0]]
    for leg in range(3):
        start, end = at[leg], at[leg + 1]
        from_price, to_price = stations[leg], stations[leg + 1]
        steps = end - start
        for step in range(1, steps):
            bits = mix(bits)
            share = step / steps
            noise = rough * (bits / 2**63 - 1.0) * 4.0 * share * (1.0 - share)
            price = from_price + (to_price - from_price) * share + noise
            prices.append(min(max(price, low), high))
        prices.append(to_price)
    return tuple(prices)
