"""What S4 counts of its fills is what stands on file of them."""

from decimal import Decimal

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.prometheus_metrics import PrometheusMetrics
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import FILLS
from chimera.contracts.enums import Market, OrderType, Purpose, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import NewOrder, VenueFill
from chimera.ports.metrics import Metrics
from chimera.runtime.telling import Teller
from chimera.services.s04_router.ledger import Filing, Ledger, Sent
from chimera.services.s04_router.results import Results
from chimera.simulation.loop import run_virtual
from tests.services.meddling import meddled_floor
from tests.services.router_flows import order
from tests.services.test_s04_event_sweep import Retold, Telling, every
from tests.services.test_s04_router import InUsdt, NothingHeld, ToldFills, reports_of
from tests.services.trading_floor import BEGIN_MS, ENV, FUT, FUT_RULES, SPOT, Floor

D = Decimal


def shown(floor: Floor) -> dict[str, float]:
    return figures(floor.world.metrics)


def figures(metrics: Metrics) -> dict[str, float]:
    lines = [line for line in metrics.render().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def figure(metrics: Metrics, name: str) -> float:
    return figures(metrics)[f"chimera_{name}"]


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


@pytest.mark.parametrize(
    "telling",
    [
        pytest.param(Telling(), id="once"),
        pytest.param(Telling(times=3), id="three times"),
        pytest.param(Telling(deaf=True), id="never, so that it is found by asking"),
    ],
)
def test_a_fill_counts_once_however_often_it_is_told(telling: Telling) -> None:
    async def scenario() -> None:
        floor = await meddled_floor("s4", "s5", "s6", venue=Retold)
        venue = floor.world.venue
        assert isinstance(venue, Retold)
        venue.telling = telling

        await order(floor, tp="60500", settle_ms=70_000)

        fills = await every(floor, FILLS)
        fee_usdt = sum((fill.fee_usdt or D(0) for fill in fills), D(0))
        assert fee_usdt > 0
        metrics = shown(floor)
        assert metrics["chimera_fee_usdt_total"] == pytest.approx(float(fee_usdt))
        assert metrics["chimera_slippage_bps_count"] == len(fills) == 1
        await floor.stop()

    run_virtual(scenario())


class NotYet(InUsdt):
    """Nobody knows yet what the fee is worth."""

    def usdt(self, fill: VenueFill) -> Decimal | None:
        return None


def test_a_fee_whose_worth_is_learned_later_is_counted_then_and_its_slippage_once() -> None:
    async def scenario() -> None:
        clock, metrics, documents = LoopClock(BEGIN_MS), PrometheusMetrics(), SqliteDocuments.in_loop()
        reports = reports_of([5], None)
        ledger = Ledger(
            documents=documents,
            results=Results(env=ENV, bus=MemoryBus(clock)),
            clock=clock,
            venue=ToldFills([]),
            instruments={FUT: FUT_RULES},
            holdings=NothingHeld(),
            fees=NotYet(),
            metrics=metrics,
            teller=Teller(source="s4", env=ENV, bus=MemoryBus(clock), documents=documents, clock=clock),
        )
        stop = NewOrder(
            client_order_id="o-1",
            market=Market.FUT,
            symbol="BTCUSDT",
            side=Side.SELL,
            type=OrderType.STOP_MARKET,
            qty=D("0.005"),
            stop_price=D(59400),
            reduce_only=True,
        )
        await ledger.open(
            [Filing(new=stop, purpose=Purpose.SL, intent_id="E1", parent_id=None, rev=1)],
            sent=Sent(mid=D(60_000), book=()),
        )
        for report, fill in reports:
            await ledger.book(report, () if fill is None else (fill,))
        assert (figure(metrics, "fee_usdt_total"), figure(metrics, "slippage_bps_count")) == (0, 1)
        (booked,) = await ledger.fills("o-1")

        for _ in range(2):
            await ledger.mend(booked.but(fee_usdt=D("0.6")))

        assert (figure(metrics, "fee_usdt_total"), figure(metrics, "slippage_bps_count")) == (0.6, 1)

    run_virtual(scenario())
