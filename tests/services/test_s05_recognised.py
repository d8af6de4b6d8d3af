"""What others do with the account, and the exchange: each is recognised, told once, and leaves the books in order."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import INSTRUMENT_REGISTRY, STRATEGY_EVENTS, system_state
from chimera.contracts.documents import BalancesState, StrategyEvent
from chimera.contracts.enums import Market, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import AlertEvent
from chimera.domain.matching.faults import Fault, FaultKind, FaultPlan
from chimera.ports.bus import BusUnavailable
from chimera.ports.documents import Query
from chimera.services.s01_exchange.handlers.instruments import Instruments
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled, wrapped
from tests.services.test_s05_reconciler import quiet, reconcile
from tests.services.trading_floor import FUT, SPOT, Floor

D = Decimal
BALANCES = system_state(BalancesState)


async def fixes(floor: Floor, *names: str) -> list[StrategyEvent]:
    found = await floor.world.documents.find(
        Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", "RECONCILE_FIX"),))
    )
    return [event for event in found if not names or (event.detail or {})["action"] in names]


def alerts(floor: Floor, code: str) -> list[str]:
    return [alert.message for alert in floor.messages(AlertEvent) if alert.code == code]


def detail(event: StrategyEvent) -> dict[str, Any]:
    return dict(event.detail or {})


async def restarted(floor: Floor) -> None:
    await floor.stop("s5", "s6", "s4")
    await floor.start("s4", "s6", "s5")
    await floor.settle(5_000)


def stops(floor: Floor) -> list[str]:
    return [name for name, (kind, _, _) in floor.resting().items() if kind == "STOP_MARKET"]


def test_a_liquidation_is_told_once_however_often_it_is_looked_at() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(tp=None)
        await floor.settle(70_000)
        await floor.stop("s5", "s6")
        for name in floor.resting():
            await floor.venue.cancel(FUT, name, conditional=True)
        await floor.move("57000")
        await floor.start("s6", "s5")
        await floor.settle(130_000)
        await restarted(floor)
        await reconcile(floor)

        [event] = await fixes(floor, "LIQUIDATED")
        assert (detail(event)["before"], detail(event)["after"]["held"]) == ({"held": 0.01}, 0.0)
        assert "liquidated" in detail(event)["sentence"]
        assert (await floor.trade()).qty_open == 0
        assert await fixes(floor, "BALANCE_DIFFERS") == []
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("away", [("s5", "s6"), ("s4", "s5", "s6")], ids=["its events are lost", "S4 is down"])
def test_a_liquidation_that_nobody_told_s4_is_told_to_a_person_once(away: tuple[str, ...]) -> None:
    async def scenario() -> None:
        plan = FaultPlan()
        floor = await Floor.open(faults=plan)
        await floor.enter(tp=None)
        await floor.settle(70_000)
        # Or another stop would be listed at once.
        await floor.stop(*away)
        for name in floor.resting():
            await floor.venue.cancel(FUT, name, conditional=True)
        now_ms = floor.world.clock.now_ms()
        plan.arm(Fault(kind=FaultKind.EVENTS_LOST, at_ms=now_ms, duration_ms=5_000))
        plan.arm(Fault(kind=FaultKind.LIQUIDATION, at_ms=now_ms + 500))
        await floor.settle(10_000)
        assert floor.position_qty() == 0
        await floor.start(*away)
        await floor.settle(130_000)
        await restarted(floor)
        await reconcile(floor)

        [event] = await fixes(floor, "LIQUIDATED")
        [told] = [alert for alert in floor.messages(AlertEvent) if alert.code == "LIQUIDATION" and alert.source == "s5"]
        assert told.severity == "FATAL"
        assert detail(event)["sentence"] in told.message
        assert told.tags["order_id"] == detail(event)["subject"]
        assert [alert for alert in floor.messages(AlertEvent) if alert.code == "LIQUIDATION"] == [told]
        await floor.stop()

    run_virtual(scenario())


def test_a_liquidation_that_could_not_be_told_is_told_by_the_next_run() -> None:
    async def scenario() -> None:
        floor = await Floor.open("s10", "s1")
        floor.world = wrapped(floor.world, bus=Meddled)
        bus = floor.world.bus
        assert isinstance(bus, Meddled)
        await floor.start("s4", "s5", "s6")
        await floor.enter(tp=None)
        await floor.stop("s4", "s5", "s6")
        for name in floor.resting():
            await floor.venue.cancel(FUT, name, conditional=True)
        await floor.move("57000")

        async def publish(real: Any, stream: str, message: Any, *rest: Any, **more: Any) -> Any:
            if isinstance(message, AlertEvent) and message.code == "LIQUIDATION":
                raise BusUnavailable("down")
            return await real(stream, message, *rest, **more)

        bus.instead["publish"] = publish
        await floor.start("s4", "s6", "s5")
        await floor.settle(10_000)
        assert await fixes(floor, "LIQUIDATED") == []
        bus.instead.clear()
        await floor.settle(10_000)

        assert len(await fixes(floor, "LIQUIDATED")) == 1
        told = [alert for alert in floor.messages(AlertEvent) if alert.code == "LIQUIDATION"]
        assert [alert.source for alert in told] == ["s5"]
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_that_somebody_canceled_stands_again_and_is_told_once() -> None:
    async def scenario() -> None:
        plan = FaultPlan()
        floor = await Floor.open(faults=plan)
        await floor.enter(tp="63000")
        [first] = stops(floor)
        plan.arm(Fault(kind=FaultKind.STOP_CANCELED_BY_HUMAN))
        await floor.settle(2_000)
        [second] = stops(floor)
        await floor.settle(70_000)
        await restarted(floor)
        await reconcile(floor)

        [event] = await fixes(floor, "STOP_CANCELED_BY_SOMEBODY")
        assert first != second
        assert (detail(event)["before"]["order"], detail(event)["after"]["order"]) == (first, second)
        assert len([text for text in alerts(floor, "RECON_FIXED") if "somebody canceled" in text]) == 1
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_a_stop_that_we_replace_or_cancel_by_request_is_nobody_elses_doing() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(tp=None)
        [first] = stops(floor)
        await floor.call("s4", "POST", "/cancel", {"order_id": first, "reason": "MANUAL"})
        await floor.settle(70_000)
        await reconcile(floor)

        assert first not in stops(floor)
        assert len(stops(floor)) == 1
        assert await fixes(floor, "STOP_CANCELED_BY_SOMEBODY") == []
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("key", "held", "words"),
    [
        pytest.param(FUT, 0.01, "0.010 is open there", id="futures"),
        pytest.param(SPOT, 0.00999, "trades hold 0.00999 there and 2 orders rest", id="spot"),
    ],
)
def test_a_symbol_that_is_halted_with_a_position_is_told_once_and_so_is_its_return(
    key: InstrumentKey, held: float, words: str
) -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(key=key)
        rules = floor.venue.exchange.instrument(key.market, "BTCUSDT")
        registry = Instruments(
            keys=(FUT, SPOT), venue=floor.venue, documents=floor.world.documents, clock=floor.world.clock
        )
        at_ms = floor.world.clock.now_ms() + 86_400_000
        floor.venue.exchange.replace_instrument(replace(rules, status="SETTLING", delivers_at_ms=at_ms))
        await registry.renew()
        await reconcile(floor)
        await restarted(floor)
        await quiet(floor)
        floor.venue.exchange.replace_instrument(rules)
        await registry.renew()
        await reconcile(floor)

        [halted] = await fixes(floor, "TRADING_HALTED")
        assert detail(halted)["after"] == {"status": "SETTLING", "delivers_at": at_ms, "held": held, "resting": 2}
        [told] = alerts(floor, "EXCHANGE_RESTRICTS")
        assert words in told
        assert "the exchange settles it at 2024-10-05" in told
        assert len(await fixes(floor, "TRADING_RESUMED")) == 1
        listed = await floor.world.documents.get(INSTRUMENT_REGISTRY, key.doc_key)
        assert listed is not None
        assert listed.trading is True
        await floor.stop()

    run_virtual(scenario())


def test_the_return_of_a_symbol_is_told_once_by_whoever_comes_back_after_it() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        rules = floor.venue.exchange.instrument(SPOT.market, "BTCUSDT")
        registry = Instruments(
            keys=(FUT, SPOT), venue=floor.venue, documents=floor.world.documents, clock=floor.world.clock
        )
        floor.venue.exchange.replace_instrument(replace(rules, status="BREAK"))
        await registry.renew()
        await reconcile(floor)
        await floor.stop("s5")
        floor.venue.exchange.replace_instrument(rules)
        await registry.renew()
        await floor.start("s5")
        await floor.settle(5_000)
        await restarted(floor)
        await reconcile(floor)

        [resumed] = await fixes(floor, "TRADING_RESUMED")
        assert resumed.symbol == "BTCUSDT"
        assert resumed.market is Market.SPOT
        assert len(await fixes(floor, "TRADING_HALTED")) == 1
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("reason", "action"), [("cooling_off", "COOLING_OFF"), ("quantitative_rules", "REDUCE_ONLY_MODE")]
)
def test_an_account_that_may_only_close_is_told_once_a_day(reason: str, action: str) -> None:
    async def scenario() -> None:
        plan = FaultPlan([Fault(kind=FaultKind.OPENING_FORBIDDEN, duration_ms=600_000, params={"reason": reason})])
        floor = await Floor.open(faults=plan)
        await floor.enter("E1")
        await floor.enter("E2")
        await floor.settle(35_000)
        await reconcile(floor)

        events = await fixes(floor, action)
        assert [detail(event)["subject"] for event in events] == ["s3-btc-e1", "s3-btc-e2"]
        assert len(alerts(floor, "EXCHANGE_RESTRICTS")) == 1
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())


def test_our_own_trading_leaves_no_difference_of_balances() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter("E1", tp=None)
        await floor.enter("E2", key=SPOT, qty="0.005", tp="60500")
        await floor.settle(70_000)
        await floor.move("60600", settle_ms=70_000)
        await floor.move("59000", settle_ms=130_000)

        state = await floor.world.documents.get(BALANCES, "balances")
        assert state is not None
        there = {f"{b.market.value} {b.asset}": b.free + b.locked for b in floor.venue.exchange.balances()}
        assert {wallet: float(held) for wallet, held in state.held.items()} == pytest.approx(
            {wallet: float(held) for wallet, held in there.items()}, abs=1e-8
        )
        assert (await floor.trade("E1")).qty_open == 0
        assert await fixes(floor) == []
        await floor.stop()

    run_virtual(scenario())


def test_what_somebody_else_did_with_the_money_is_explained_and_what_nothing_explains_is_told_once() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.enter(tp=None)
        await floor.settle(70_000)
        now_ms = floor.world.clock.now_ms()
        await floor.venue.transfer(Market.SPOT, Market.FUT, D(100))
        await floor.settle(130_000)
        explained = await fixes(floor, "BALANCE_EXPLAINED", "BALANCE_DIFFERS")
        floor.venue.settle(floor.venue.exchange.deposit(Market.SPOT, "USDT", D(250), floor.world.clock.now_ms()))
        await floor.settle(130_000)
        differs = await fixes(floor, "BALANCE_DIFFERS")
        await restarted(floor)
        await floor.settle(130_000)

        assert [(detail(each)["subject"], detail(each)["after"]["causes"]) for each in explained] == [
            ("FUT USDT", {"TRANSFER": 100.0}),
            ("SPOT USDT", {"TRANSFER": -100.0}),
        ]
        assert all(each.ts <= now_ms for each in explained)
        [event] = differs
        assert (detail(event)["subject"], detail(event)["after"]["unexplained"]) == ("SPOT USDT", 250.0)
        assert len(alerts(floor, "RECON_FIXED")) == 1
        assert await fixes(floor, "BALANCE_DIFFERS") == differs
        await floor.stop()

    run_virtual(scenario())


def test_a_person_s_fills_explain_what_they_cost() -> None:
    async def scenario() -> None:
        floor = await Floor.open()
        await floor.settle(70_000)
        await floor.by_hand("web_open", Side.BUY, "0.010")
        await floor.settle(130_000)

        [event] = await fixes(floor, "BALANCE_EXPLAINED")
        assert list(detail(event)["after"]["causes"]) == ["STRANGERS_FILLS"]
        assert await fixes(floor, "BALANCE_DIFFERS") == []
        await quiet(floor)
        await floor.stop()

    run_virtual(scenario())
