"""What S4 counts of its fills is what stands on file of them."""

import asyncio
from collections.abc import Callable
from decimal import Decimal

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.prometheus_metrics import PrometheusMetrics
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import FILLS
from chimera.contracts.enums import Market, Routing
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import AlertEvent
from chimera.contracts.metrics import METRICS, AlertCode
from chimera.contracts.settings import S4Settings
from chimera.domain.execution.orders import VenueFill
from chimera.domain.matching.faults import Fault, FaultKind, FaultPlan
from chimera.ports.metrics import Metrics
from chimera.runtime.telling import Teller
from chimera.services.s04_router.ledger import Ledger, Sent
from chimera.services.s04_router.results import Results
from chimera.simulation.loop import run_virtual
from tests.prove.flows import FLOWS, Flow, enters, moves, regime_is_normal
from tests.prove.timeline import HOUSE, Fuse, Timeline
from tests.services.meddling import meddled_floor
from tests.services.router_flows import order
from tests.services.test_s04_event_sweep import Retold, Telling, every
from tests.services.test_s04_router import REPORTED_STOP, InUsdt, NothingHeld, ToldFills, reports_of
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
        await ledger.open([REPORTED_STOP], sent=Sent(mid=D(60_000), book=()))
        for report, fill in reports:
            await ledger.book(report, () if fill is None else (fill,))
        assert (figure(metrics, "fee_usdt_total"), figure(metrics, "slippage_bps_count")) == (0, 1)
        (booked,) = await ledger.fills("o-1")

        for _ in range(2):
            await ledger.mend(booked.but(fee_usdt=D("0.6")))

        assert (figure(metrics, "fee_usdt_total"), figure(metrics, "slippage_bps_count")) == (0.6, 1)

    run_virtual(scenario())


# --- what S4 shows, by the flow that moves it


async def lived(flow: Flow, variables: S4Settings | None = None) -> tuple[Floor, float]:
    """A whole flow, and how many slices waited at most. The floor is still open."""
    timeline = Timeline.of(flow)
    timeline.prepare, timeline.plan = flow.prepare, FaultPlan()
    floor = await timeline.live(Fuse(None))
    floor.s4_variables = variables or floor.s4_variables
    await floor.start(*HOUSE, price=str(timeline.price))
    most_waiting = 0.0

    async def look() -> None:
        nonlocal most_waiting
        while True:
            most_waiting = max(most_waiting, shown(floor).get("chimera_twap_backlog", 0.0))
            await timeline.clock.sleep_until_ms(timeline.clock.now_ms() + 100)

    looking = asyncio.ensure_future(look())
    for step in flow.steps:
        await step(timeline, floor)
    looking.cancel()
    return floor, most_waiting


async def runs_short(timeline: Timeline, floor: Floor) -> None:
    """The exchange says once that the wallet is empty, whatever S4 believes."""
    assert timeline.plan is not None
    timeline.plan.arm(Fault(kind=FaultKind.NO_FUNDS, market=Market.SPOT.value))


RUNS_SHORT = Flow(name="runs short", steps=(runs_short, enters(key=SPOT, settle_ms=12_000)))
QUOTED_IN_VAIN = Flow(
    name="quoted in vain", steps=(enters(routing=Routing.MAKER_ONLY, settle_ms=12_000),), prepare=regime_is_normal
)
QUOTED_AND_FILLED = Flow(
    name="quoted and filled",
    steps=(enters(qty="0.004", routing=Routing.AUTO, during=((400, "59990"),)), moves("59000")),
    prepare=regime_is_normal,
)
SHOWN: tuple[tuple[str, Flow, Callable[[float], bool]], ...] = (
    ("router_submit_latency_ms_count", FLOWS["taker"], lambda calls: calls >= 3),
    ("router_e2e_latency_ms_count", FLOWS["taker"], lambda intents: intents >= 1),
    ("order_submit_error_rate", RUNS_SHORT, lambda ratio: ratio == 1),
    ("maker_fill_ratio", FLOWS["maker filled"], lambda ratio: ratio == pytest.approx(0.3)),
    ("maker_fill_ratio", QUOTED_AND_FILLED, lambda ratio: ratio == 1),
    ("maker_fill_ratio", FLOWS["maker then taker"], lambda ratio: ratio == 0),
    ("maker_timeout_count", FLOWS["maker then taker"], lambda quotes: quotes == 3),
    ("taker_rate", FLOWS["taker"], lambda ratio: ratio == 1),
    ("taker_rate", FLOWS["maker filled"], lambda ratio: ratio == pytest.approx(0.7)),
    ("twap_slice_fill_ratio", FLOWS["TWAP"], lambda ratio: ratio == 1),
    ("twap_slice_fill_ratio", FLOWS["cancel by a person"], lambda ratio: ratio == 1),
    ("twap_backlog", FLOWS["TWAP"], lambda waiting: waiting == 0),
    ("slippage_bps_count", FLOWS["taker"], lambda fills: fills == 3),
    ("fee_usdt_total", FLOWS["taker"], lambda usdt: 0.5 < usdt < 1),
    ("ib_rate", RUNS_SHORT, lambda ratio: ratio == 1),
    ("ib_rate", FLOWS["spot pair"], lambda ratio: ratio == 0),
    ("oco_fallback_ratio", FLOWS["spot pair refused"], lambda ratio: ratio == 1),
    ("oco_fallback_ratio", FLOWS["spot pair"], lambda ratio: ratio == 0),
    ("cb_state", FLOWS["taker"], lambda state: state == 0),
    ("orders_jaccard", FLOWS["taker"], lambda ratio: ratio == 1),
    ("unprotected_ms_count", FLOWS["taker"], lambda entries: entries == 1),
)


def test_every_metric_of_the_router_stands_in_the_table() -> None:
    ours = {name for name, metric in METRICS.items() if metric.service == "s4"}

    assert {name.removesuffix("_count") if name not in METRICS else name for name, _, _ in SHOWN} == ours


@pytest.mark.parametrize(("name", "flow", "is_right"), SHOWN, ids=[f"{name}, {flow.name}" for name, flow, _ in SHOWN])
def test_a_flow_moves_what_it_should(name: str, flow: Flow, is_right: Callable[[float], bool]) -> None:
    async def scenario() -> None:
        floor, waiting = await lived(flow)

        found = figure(floor.world.metrics, name)
        assert is_right(found), found
        assert waiting == (2 if name == "twap_backlog" else waiting)
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("code", "bad", "good"),
    [
        pytest.param(AlertCode.MAKER_FILL_RATIO_LOW, QUOTED_IN_VAIN, QUOTED_AND_FILLED, id="maker_fill_ratio"),
        pytest.param(AlertCode.INSUFFICIENT_BALANCE_RATE_HIGH, RUNS_SHORT, FLOWS["spot pair"], id="ib_rate"),
        pytest.param(
            AlertCode.OCO_FALLBACK_RATE_HIGH, FLOWS["spot pair refused"], FLOWS["spot pair"], id="oco_fallback_ratio"
        ),
    ],
)
def test_a_bad_share_is_alerted_once_there_are_enough_of_them(code: AlertCode, bad: Flow, good: Flow) -> None:
    async def scenario() -> None:
        for flow, samples_min, times in ((bad, 1, 1), (bad, 2, 0), (good, 1, 0)):
            floor, _ = await lived(flow, S4Settings(measures_samples_min=samples_min))
            told = [alert for alert in floor.messages(AlertEvent) if alert.code == code]
            assert len(told) == times, (flow.name, samples_min, told)
            await floor.stop()

    run_virtual(scenario())
