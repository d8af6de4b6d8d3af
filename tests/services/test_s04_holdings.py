"""What spot holdings cost, by the fills on file: in the exchange's order, and whoever booked them."""

from decimal import Decimal

from chimera.contracts.documents import Fill
from chimera.contracts.enums import Market, Side
from chimera.domain.positions.wac import Holding
from chimera.services.s04_router.handlers.holdings import held_after

D = Decimal


def spot_fill(number: int, side: Side, qty: str, price: str = "60000") -> Fill:
    return Fill(
        fill_id=f"SPOT-BTCUSDT-{number}-{side.value[0]}",
        order_id=f"o-{number}",
        market=Market.SPOT,
        symbol="BTCUSDT",
        side=side,
        price=D(price),
        qty=D(qty),
        fee_usdt=D(0),
        fee_asset="USDT",
        fee_qty=D(0),
        timestamp=1_000,
    )


def test_what_was_bought_and_sold_in_one_millisecond_is_gone() -> None:
    fills = [spot_fill(99, Side.BUY, "0.001"), spot_fill(100, Side.SELL, "0.001")]

    assert held_after(fills, "BTC") == Holding()
    assert held_after(fills[::-1], "BTC") == Holding()
