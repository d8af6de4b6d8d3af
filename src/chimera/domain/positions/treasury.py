"""How much money one wallet may fetch from the other."""

from decimal import ROUND_CEILING, Decimal

CENT = Decimal("0.01")


def need_usdt(*, free: Decimal, min_free: Decimal, source_free: Decimal, source_min_free: Decimal) -> Decimal:
    """What is missing to `min_free`, rounded up to a cent; 0 where nothing is, or where the source would fall below its
    own minimum by it: two wallets that are both short do not help each other. Source: SERVICES S6."""
    need = max(Decimal(0), min_free - free).quantize(CENT, ROUND_CEILING)
    return need if source_free - need >= source_min_free else Decimal(0)
