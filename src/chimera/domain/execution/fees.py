"""What a fee was worth in USDT, whatever asset it was taken in. Pure. Source: SERVICES S4 (fee_usdt)."""

from decimal import Decimal

from chimera.domain.exact import money
from chimera.domain.market.instrument import Instrument


def fee_usdt(
    fee: Decimal, asset: str, *, price: Decimal, instrument: Instrument, asset_usdt: Decimal | None
) -> Decimal | None:
    """To 8 places; negative is a rebate. None: it was taken in a third asset whose price is not known.

    Args:
        price: of the fill, in the instrument's quote asset: what the base asset was worth at that moment.
        asset_usdt: what one of `asset` is worth in USDT, where it is neither base nor quote; None: not known.
    """
    if not fee or asset == instrument.quote_asset:
        return money(fee)
    if asset == instrument.base_asset:
        return money(fee * price)
    return None if asset_usdt is None else money(fee * asset_usdt)


def is_third(asset: str, instrument: Instrument) -> bool:
    """Whether its worth follows from nothing that the fill tells."""
    return asset not in (instrument.quote_asset, instrument.base_asset)
