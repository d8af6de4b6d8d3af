"""What S4 counts of its fills is what stands on file of them."""

from decimal import Decimal

import pytest

from chimera.contracts.instrument_key import InstrumentKey
from chimera.simulation.loop import run_virtual
from tests.services.trading_floor import FUT, SPOT, Floor

D = Decimal


def shown(floor: Floor) -> dict[str, float]:
    lines = [line for line in floor.world.metrics.render().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.mark.parametrize(
    ("key", "more", "fee_usdt"),
    [
        pytest.param(FUT, {}, D("0.010") * 60001 * D("0.0005"), id="futures, paid in USDT"),
        pytest.param(
            SPOT,
            {"qty": "0.00083", "tp": "60600", "sl": "59400"},
            D("0.00083") * 60001 * D("0.001"),
            id="a spot buy, paid in what it bought",
        ),
    ],
)
def test_fee_and_slippage_of_a_fill_are_counted_in_usdt_and_bps(
    key: InstrumentKey, more: dict[str, str], fee_usdt: Decimal
) -> None:
    async def scenario() -> None:
        floor = await Floor.open("s10", "s1", "s4", "s5")

        await floor.enter(key=key, **more)

        metrics = shown(floor)
        assert metrics["chimera_fee_usdt_total"] == pytest.approx(float(fee_usdt))
        assert metrics["chimera_slippage_bps_count"] == 1
        assert (metrics['chimera_slippage_bps_bucket{le="0.0"}'], metrics['chimera_slippage_bps_bucket{le="1.0"}']) == (
            0,
            1,
        )
        await floor.stop()

    run_virtual(scenario())
