"""S3 with the real router and keeper on the simulated exchange: decided once, durable first, never forgotten."""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts import ids
from chimera.contracts.base import Message
from chimera.contracts.collections import (
    COLLECTIONS,
    INSTRUMENT_REGISTRY,
    INTENTS,
    SIGNALS,
    STRATEGY_EVENTS,
)
from chimera.contracts.documents import Decision, HaltsState, IntentRecord, Signal, Trade, TradeExit
from chimera.contracts.enums import (
    Action,
    EntryStatus,
    Intent,
    IntentState,
    Market,
    OrderType,
    Purpose,
    Reason,
    Side,
    TradeStatus,
)
from chimera.contracts.http import PROBLEM_TYPE_BASE
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import CLOCK_OFFSET, FEAT_LAST
from chimera.contracts.messages import AlertEvent, FeatureEvent, SignalEvent
from chimera.contracts.order_intent import OrderIntent
from chimera.contracts.settings import S3Settings, S4Settings
from chimera.contracts.streams import FEAT_EVENTS
from chimera.domain.config.bundle import R_001, known_factors
from chimera.domain.execution.orders import NewOrder
from chimera.ports.bus import BusUnavailable
from chimera.ports.documents import DocumentsUnavailable, Query
from chimera.ports.peers import PeerAnswer, PeerCall, PeerUnavailable
from chimera.ports.state import Reservation, ReservationState
from chimera.ports.venue import WouldTrigger
from chimera.services.s03_strategy import service as s3
from chimera.services.s03_strategy.history import DAY_MS, FAILED_COUNTS_MS, History, is_stop_out
from chimera.services.s03_strategy.settings import Settings
from chimera.services.s06_positions.handlers.limits import HALTS
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled, wrapped
from tests.services.trading_floor import BEGIN_MS, ENV, FUT, HOUR_MS, SPOT, Floor

D = Decimal
HOUSE = ("s4", "s5", "s6", "s3")


class Desk(Floor):
    """A floor where S3 decides too, on features that the test tells."""

    variables = S3Settings()
    carried_out = S4Settings(twap_max_slices=1, maker_max_wait_ms=0)
    """What S3 decides is carried out by one order here: how else is the router's to say."""

    @classmethod
    async def begin(cls, *services: str, **meddled: Callable[[Any], Any]) -> "Desk":
        desk = await cls.open("s10", "s1")
        assert isinstance(desk, cls)
        desk.world = wrapped(desk.world, **meddled)
        await desk.start(*(services or HOUSE))
        return desk

    def _build(self, service_id: str) -> Any:
        if service_id != "s3":
            return super()._build(service_id)
        return s3.build(self.world, Settings(env=ENV, keys=(FUT, SPOT), variables=self.variables))

    async def see(
        self,
        signal: float = 1.0,
        *,
        key: InstrumentKey = FUT,
        stale: tuple[str, ...] = (),
        settle_ms: int = 2_000,
        **features: float,
    ) -> str:
        """Tell the features of now, as S2 would, and let everybody react. Returns the signal's id."""
        now_ms = self.world.clock.now_ms()
        signal_id = ids.signal_id(now_ms, key)
        told = {
            "mid": 60000.0,
            "spread_bps": 0.33,
            "depth_top1_usdt": 3_000_000.0,
            "atr_14": 100.0,
            "funding_next": 0.0001,
            "xmkt_signal": signal,
            **features,
        }
        await self.world.snapshots.set_hash(
            FEAT_LAST.name(ENV, key),
            {"features": json.dumps(told), "t0": str(now_ms), "signal_id": signal_id, "stale": json.dumps(stale)},
        )
        await self.world.bus.publish(
            FEAT_EVENTS.name(ENV, key),
            FeatureEvent(
                ts=now_ms,
                market=key.market,
                symbol=key.symbol,
                features=told,
                signal_id=signal_id,
                t0=now_ms,
                config_rev=1,
                stale=stale,
            ),
        )
        await self.settle(settle_ms)
        return signal_id

    async def pass_ms(self, duration_ms: int) -> None:
        await self.world.clock.sleep_until_ms(self.world.clock.now_ms() + duration_ms)

    async def decide(self, path: str = "/decide", **body: Any) -> PeerAnswer:
        return await self.call("s3", "POST", path, {"symbol": "BTCUSDT", "market": "FUT", **body})

    async def signal(self, signal_id: str) -> Signal:
        signal = await self.world.documents.get(SIGNALS, signal_id)
        assert signal is not None, f"{signal_id} is not on file"
        return signal

    async def intents(self) -> list[IntentRecord]:
        found = []
        for market in Market:
            for state in ("DONE", "REJECTED", "CANCELED", "FAILED", "ACCEPTED", "WORKING", "PROTECTING"):
                found += await self.world.documents.find(
                    Query(
                        collection=INTENTS,
                        index="by_instr",
                        equal=(("market", market.value), ("symbol", "BTCUSDT"), ("state", state)),
                    )
                )
        return [record for record in found if record.purpose.is_new_entry]

    async def reserved(self) -> dict[str, Decimal]:
        return {each.intent_id: each.amount_usdt for each in await self.world.reservations.all()}

    async def promote(self, **bundle: Any) -> None:
        body = {
            "rules": [R_001.to_dict()],
            "factors": [factor.to_dict() for factor in known_factors()],
            **bundle,
        }
        made = await self.call("s10", "POST", "/bundles", body)
        bundle_id = made.body["bundle_id"]
        assert (await self.call("s10", "POST", f"/bundles/{bundle_id}/stage")).ok
        promoted = await self.call("s10", "POST", "/promote", {"bundle_id": bundle_id, "mode": "FULL"})
        assert promoted.ok, promoted.body
        await self.settle(1_000)

    def alerts(self, code: str) -> list[AlertEvent]:
        return [alert for alert in self.messages(AlertEvent) if alert.code == code]


class Silence:
    """S4 is deaf to new entries: `hears` says whether the request arrives all the same."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.hears = False
        self.deaf = True
        self.asked: list[str] = []

    async def call(self, call: PeerCall) -> PeerAnswer:
        if call.service == "s4" and call.method == "POST" and call.actor == "s3":
            self.asked.append(call.body.intent_id)
            if self.deaf:
                if self.hears:
                    await self.inner.call(call)
                raise PeerUnavailable("s4", "the connection was reset")
        answer: PeerAnswer = await self.inner.call(call)
        return answer


# --- an entry


def test_a_signal_becomes_a_durable_decision_a_reservation_and_one_trade() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()

        signal_id = await desk.see()

        signal = await desk.signal(signal_id)
        decision = signal.decision
        assert (decision.action, decision.reason, decision.intent_id) == (Action.OPEN, "OK", f"{signal_id}-ENTRY-1")
        assert signal.config_rev == 1
        (record,) = await desk.intents()
        intent = record.intent
        assert (intent.intent_id, intent.side, intent.qty) == (decision.intent_id, Side.BUY, D("0.006"))
        assert intent.expires_at == intent.ts + 5_000
        assert intent.risk.rcu_rev == 1
        trade = await desk.trade(intent.intent_id)
        assert (trade.status, trade.qty_open) == (TradeStatus.ACTIVE, D("0.006"))
        assert trade.stop_price == D(60001) - 150
        (event,) = [event for event in desk.messages(SignalEvent) if event.decision.action is Action.OPEN]
        assert (event.signal_id, event.intent_id, event.config_rev) == (signal_id, intent.intent_id, 1)
        assert await desk.reserved() == {
            intent.intent_id: D("0.006") * 60001 / 20 + D("0.006") * 60001 * D("0.0005"),
        }
        await desk.stop()

    run_virtual(scenario())


def test_the_decision_and_the_reservation_stand_before_anybody_is_told() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(peers=Meddled)
        seen: list[tuple[Action, str | None, bool, int]] = []

        async def call(real: Any, asked: PeerCall) -> PeerAnswer:
            if asked.path == "/orders" and asked.actor == "s3":
                intent = asked.body
                signal = await desk.signal(intent.signal_id)
                events = await desk.world.documents.find(
                    Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", "DECIDE"),))
                )
                seen.append(
                    (
                        signal.decision.action,
                        signal.decision.intent_id,
                        intent.intent_id in await desk.reserved(),
                        len(events),
                    )
                )
            answer: PeerAnswer = await real(asked)
            return answer

        desk.world.peers.instead["call"] = call

        signal_id = await desk.see()

        assert seen == [(Action.OPEN, f"{signal_id}-ENTRY-1", True, 1)]
        await desk.stop()

    run_virtual(scenario())


def test_nothing_is_opened_where_a_person_holds_a_position() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.start("s5")
        await desk.settle(3_000)
        await desk.by_hand("web_open", Side.BUY, "0.004")
        await desk.settle(3_000)
        while_held = (await desk.signal(await desk.see())).decision
        await desk.by_hand("web_close", Side.SELL, "0.004", reduce_only=True)
        await desk.settle(3_000)
        afterwards = (await desk.signal(await desk.see())).decision

        assert (while_held.action, while_held.detail) == (Action.SKIP, "OPEN_POSITION")
        assert afterwards.action is Action.OPEN
        await desk.stop()

    run_virtual(scenario())


def test_a_limit_that_a_person_tightens_in_the_registry_holds_within_two_minutes() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see(0.0)
        before = await desk.decide("/dryrun", sideHint="BUY")
        entry = await desk.world.documents.get(INSTRUMENT_REGISTRY, FUT.doc_key)
        assert entry is not None
        await desk.world.documents.put(INSTRUMENT_REGISTRY, entry.but(spread_bp_limit=0.01))
        await desk.pass_ms(130_000)
        await desk.healthy()
        await desk.see(0.0)
        after = await desk.decide("/dryrun", sideHint="BUY")

        assert before.body["decision"] == "open"
        assert (after.body["decision"], after.body["detail"]) == ("skip", "SPREAD")
        (gate,) = [each for each in after.body["trail"]["gates"] if each["code"] == "SPREAD"]
        assert gate["limit"] == 0.01
        await desk.stop()

    run_virtual(scenario())


def test_slippage_above_its_limit_asks_s4_for_slices() -> None:
    """Half of 2.8 bps and twice as much, for 400 USDT on a level of 200, are 2.8 bps: three slices stay within 1."""

    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.promote(flags={"risk": {"slip_bp_max": 1, "slip_bp_hard": 24}})
        await desk.see(0.0)
        deep = await desk.decide("/dryrun", sideHint="BUY")
        await desk.see(0.0, spread_bps=2.8, depth_top1_usdt=200.0)
        thin = await desk.decide("/dryrun", sideHint="BUY")

        assert "twap" not in deep.body["intent"]["exec_policy"]
        assert thin.body["intent"]["exec_policy"]["twap"] == {"enabled": True, "slices": 3}
        assert thin.body["trail"]["slices"] == 3
        await desk.stop()

    run_virtual(scenario())


def test_an_opposite_signal_closes_nothing() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see(1.0)

        signal_id = await desk.see(-1.0)

        assert desk.position_qty() == D("0.006")
        decision = (await desk.signal(signal_id)).decision
        assert (decision.action, decision.reason, decision.detail) == (Action.SKIP, "GATE", "OPEN_POSITION")
        assert len(await desk.intents()) == 1
        await desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(("signal", "detail"), [(1.0, "OK"), (-1.0, "SPOT_BUY_ONLY"), (0.0, "NO_SIGNAL")])
def test_spot_is_only_bought(signal: float, detail: str) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()

        signal_id = await desk.see(signal, key=SPOT)

        assert (await desk.signal(signal_id)).decision.detail == detail
        sides = [record.intent.side for record in await desk.intents()]
        assert sides == ([Side.BUY] if detail == "OK" else [])
        assert len(desk.resting()) == (2 if detail == "OK" else 0)
        await desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("fixed", [pytest.param(False, id="net of the quote"), pytest.param(True, id="fixed distance")])
def test_what_spot_bought_is_sold_at_a_target_that_nets_what_was_decided(fixed: bool) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        if fixed:
            await desk.promote(flags={"spot": {"tp_bps": 150}})

        await desk.see(key=SPOT)

        ((_, _, stop), (_, qty, target)) = sorted(desk.resting().values(), key=lambda resting: resting[2] or 0)
        (record,) = await desk.intents()
        trade = await desk.trade(record.intent_id)
        wish = record.intent.sl
        assert wish is not None
        assert wish.distance is not None
        assert stop == trade.stop_price
        assert target is not None
        assert trade.entry_price_avg - wish.distance <= stop < trade.entry_price_avg - wish.distance + D("0.01")
        pair = record.intent.exec_policy.oco
        assert pair is not None
        if fixed:
            assert target == pair.tp
        else:
            net = qty * (target * D("0.999") - trade.entry_price_avg) - trade.entry_fees_usdt
            assert net >= D("0.01") * record.intent.qty * trade.entry_price_avg
        await desk.stop()

    run_virtual(scenario())


# --- the reservation


@pytest.mark.parametrize("how", ["S4 refuses", "the exchange refuses"])
def test_a_definite_refusal_frees_the_budget_at_once(how: str) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        if how == "S4 refuses":
            await desk.world.snapshots.set(CLOCK_OFFSET.name(ENV), "5000")
        else:
            await desk.venue.transfer(Market.FUT, Market.SPOT, D(995))

        signal_id = await desk.see(settle_ms=900)

        assert (await desk.signal(signal_id)).decision.action is Action.OPEN
        assert await desk.reserved() == {}
        assert desk.position_qty() == 0
        assert len(desk.alerts("INTENT_EMIT_FAILED")) == (how == "S4 refuses")
        await desk.stop()

    run_virtual(scenario())


def test_silence_of_s4_frees_nothing() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, peers=Silence)
        await desk.stop("s4")

        signal_id = await desk.see(settle_ms=3_000)

        assert desk.world.peers.asked == [f"{signal_id}-ENTRY-1"]
        assert list(await desk.reserved()) == [f"{signal_id}-ENTRY-1"]
        await desk.stop()

    run_virtual(scenario())


def test_two_decisions_at_once_reserve_once_and_the_open_stays_on_file() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, documents=Meddled)

        async def slowly(call: Any, *args: Any, **kwargs: Any) -> Any:
            await desk.pass_ms(50)
            return await call(*args, **kwargs)

        desk.world.documents.instead |= {"find": slowly, "get": slowly}
        seeing = asyncio.ensure_future(desk.see(settle_ms=3_000))
        await desk.pass_ms(20)
        answer = await desk.decide()
        signal_id = await seeing
        await desk.settle(10_000)

        assert answer.body["decision"] == "skip"
        assert answer.body["detail"] == "LOCKED"
        assert len(await desk.intents()) == 1
        assert desk.position_qty() == D("0.006")
        assert (await desk.signal(signal_id)).decision.intent_id == f"{signal_id}-ENTRY-1"
        await desk.stop()

    run_virtual(scenario())


def test_the_budget_is_recomputed_from_the_documents_each_minute() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see()
        true = await desk.reserved()
        stray = Reservation(
            intent_id="stray",
            key=SPOT,
            amount_usdt=D(500),
            state=ReservationState.RESERVED,
            ts=desk.world.clock.now_ms(),
        )

        await desk.world.reservations.replace_all([stray])
        await desk.settle(125_000)

        assert await desk.reserved() == true
        await desk.stop()

    run_virtual(scenario())


def test_an_add_under_way_keeps_its_budget_when_it_is_recomputed() -> None:
    async def scenario() -> None:
        desk = await Desk.begin("s3")
        now_ms = desk.world.clock.now_ms()
        intent = OrderIntent(
            intent_id="E1-ADD-1",
            parent_id="E1",
            client_order_id="s3-btc-e1-a1",
            ts=now_ms,
            market=Market.FUT,
            symbol="BTCUSDT",
            side=Side.BUY,
            intent=Intent.ADD,
            purpose=Purpose.ADD,
            qty=D("0.005"),
            entry_ref_price=D(60_000),
            leverage=20,
        )
        await desk.world.documents.put(
            INTENTS,
            IntentRecord(
                intent_id="E1-ADD-1",
                state=IntentState.WORKING,
                intent=intent,
                body_hash=intent.body_hash(),
                market=Market.FUT,
                symbol="BTCUSDT",
                purpose=Purpose.ADD,
                created_at=now_ms,
                updated_at=now_ms,
            ),
        )

        await desk.settle(70_000)

        assert await desk.reserved() == {"E1-ADD-1": D(300) / 20 + D(300) * D("0.0005")}
        await desk.stop()

    run_virtual(scenario())


def test_a_restart_recomputes_the_budget_before_it_is_ready() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see()
        true = await desk.reserved()
        await desk.stop("s3")
        await desk.world.reservations.replace_all([])

        await desk.start("s3")

        assert await desk.reserved() == true
        await desk.stop()

    run_virtual(scenario())


# --- two roads


@pytest.mark.parametrize("hears", [False, True], ids=["the request was lost", "only the answer was lost"])
def test_where_rest_fails_the_stream_brings_it_and_s4_executes_once(hears: bool) -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, peers=Silence)
        desk.world.peers.hears = hears

        await desk.see()
        await desk.settle(5_000)

        assert desk.position_qty() == D("0.006")
        (record,) = await desk.intents()
        assert record.filled_qty == D("0.006")
        assert list(await desk.reserved()) == [record.intent_id]
        await desk.stop()

    run_virtual(scenario())


def test_both_roads_at_once_are_one_order() -> None:
    async def scenario() -> None:
        desk = await Desk.open("s10", "s1", "s4", "s5", "s6")
        assert isinstance(desk, Desk)
        desk.variables = S3Settings(emit="both")
        await desk.start("s3")

        await desk.see()
        await desk.settle(5_000)

        assert desk.position_qty() == D("0.006")
        (record,) = await desk.intents()
        assert record.filled_qty == D("0.006")
        await desk.stop()

    run_virtual(scenario())


def test_a_conflict_under_the_same_name_is_no_refusal_of_what_runs() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, peers=Meddled)

        async def call(real: Any, asked: PeerCall) -> PeerAnswer:
            if asked.path == "/orders" and asked.actor == "s3":
                body = {"type": f"{PROBLEM_TYPE_BASE}intent-conflict", "detail": "another body"}
                return PeerAnswer(409, body, "application/problem+json")
            answer: PeerAnswer = await real(asked)
            return answer

        desk.world.peers.instead["call"] = call

        signal_id = await desk.see(settle_ms=1_000)

        assert list(await desk.reserved()) == [f"{signal_id}-ENTRY-1"]
        assert len(desk.alerts("INTENT_EMIT_FAILED")) == 1
        await desk.stop()

    run_virtual(scenario())


# --- killed between the decision and the order


async def killed_after_deciding(desk: Desk) -> str:
    """S3 decides, and dies before S4 has heard of it; its memory of reservations dies with it."""

    async def call(real: Any, asked: PeerCall) -> PeerAnswer:
        if asked.path == "/orders" and asked.actor == "s3":
            await asyncio.get_running_loop().create_future()
        answer: PeerAnswer = await real(asked)
        return answer

    desk.world.peers.instead["call"] = call
    signal_id = await desk.see(settle_ms=1_000)
    await desk.stop("s3")
    del desk.world.peers.instead["call"]
    await desk.world.reservations.replace_all([])
    assert await desk.intents() == []
    return signal_id


def test_a_young_decision_that_was_not_delivered_is_emitted_again_after_a_restart_and_holds_its_budget() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, peers=Meddled)
        signal_id = await killed_after_deciding(desk)
        held: list[dict[str, Decimal]] = []

        async def call(real: Any, asked: PeerCall) -> PeerAnswer:
            if asked.path == "/orders" and asked.actor == "s3":
                held.append(await desk.reserved())
            answer: PeerAnswer = await real(asked)
            return answer

        desk.world.peers.instead["call"] = call

        await desk.start("s3")
        await desk.settle()

        (record,) = await desk.intents()
        assert record.intent_id == f"{signal_id}-ENTRY-1"
        assert [list(each) for each in held] == [[record.intent_id]]
        assert desk.position_qty() == D("0.006")
        await desk.stop()

    run_virtual(scenario())


def test_an_old_decision_that_was_not_delivered_is_written_off_after_a_restart() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, peers=Meddled)
        signal_id = await killed_after_deciding(desk)
        await desk.settle(6_000)

        await desk.start("s3")
        await desk.settle(10_000)

        decision = (await desk.signal(signal_id)).decision
        assert (decision.action, decision.detail) == (Action.OPEN, "UNDELIVERED")
        assert await desk.intents() == []
        assert (desk.position_qty(), await desk.reserved()) == (D(0), {})
        await desk.stop()

    run_virtual(scenario())


def test_a_decision_that_no_road_took_is_written_off_without_a_restart() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, peers=Silence, bus=Meddled)

        async def publish(call: Any, stream: str, message: Message) -> Any:
            if "ord:cmd" in stream:
                raise BusUnavailable("a failover")
            return await call(stream, message)

        desk.world.bus.instead["publish"] = publish
        signal_id = await desk.see(settle_ms=3_000)
        assert list(await desk.reserved()) == [f"{signal_id}-ENTRY-1"]

        await desk.settle(70_000)

        assert (await desk.signal(signal_id)).decision.detail == "UNDELIVERED"
        assert await desk.reserved() == {}
        await desk.stop()

    run_virtual(scenario())


# --- what a restart must not forget


async def stopped_out(desk: Desk, *, settle_ms: int = 3_000) -> None:
    """Enter, and let the first stop end it."""
    await desk.see()
    await desk.move("59800", settle_ms=settle_ms)
    await desk.move("60000", settle_ms=settle_ms)
    assert desk.position_qty() == 0


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_the_days_entries_and_a_cooldown_are_counted_on_file(restarted: bool) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await stopped_out(desk)
        if restarted:
            await desk.stop("s3")
            await desk.start("s3")

        counted = (await desk.signal(await desk.see())).decision.detail
        hinted = await desk.decide(sideHint="BUY")
        await desk.settle(HOUR_MS)
        await desk.see(0.0)
        later = await desk.decide(sideHint="BUY")

        assert counted == "MAX_ENTRIES"
        assert (hinted.body["decision"], hinted.body["reason"], hinted.body["detail"]) == ("skip", "GATE", "COOLDOWN")
        assert later.body["decision"] == "open", later.body
        await desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        pytest.param("router", "STOP_WOULD_TRIGGER", id="the router could place no stop"),
        pytest.param("keeper", "FORCED_EXIT", id="the keeper found the stop's price passed"),
        pytest.param("exchange", "LIQUIDATION", id="the exchange liquidated it"),
    ],
)
def test_a_loss_that_no_stop_order_ended_starts_the_cooldown_too(how: str, reason: str) -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, venue=Meddled)
        await desk.promote(flags={"risk": {"daily_loss_usdt_max": 900, "drawdown_pct_max": 0.9}})

        async def place(real: Any, order: NewOrder) -> Any:
            if how == "router" and order.type is OrderType.STOP_MARKET:
                raise WouldTrigger(-2021, "Order would immediately trigger.")
            return await real(order)

        desk.world.venue.instead["place"] = place
        signal_id = await desk.see()
        if how != "router":
            await desk.stop("s6")
            (stop,) = [name for name, (kind, *_) in desk.resting().items() if kind == "STOP_MARKET"]
            await desk.venue.cancel(FUT, stop, conditional=True)
            await desk.move("59700" if how == "keeper" else "57000")
            await desk.start("s6")
            await desk.settle()
        await desk.see(0.0)
        hinted = await desk.decide(sideHint="BUY")

        trade = await desk.trade(f"{signal_id}-ENTRY-1")
        assert (trade.status, trade.reason, desk.position_qty()) == (TradeStatus.CLOSED, reason, 0)
        assert (hinted.body["decision"], hinted.body["detail"]) == ("skip", "COOLDOWN")
        await desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("reason", "pnl_usdt", "stopped"),
    [
        pytest.param("STOP_LOSS", -1, True, id="its first stop"),
        pytest.param("STOP_LOCKED", 1, False, id="a stop that had followed the profit"),
        pytest.param("TAKE_PROFIT", 1, False, id="its target"),
        pytest.param("MANUAL", -1, False, id="a person at the exchange"),
        pytest.param("EXIT", -1, False, id="a person here"),
        pytest.param("FORCED_EXIT", -1, True, id="the keeper, where the first stop had been"),
        pytest.param("FORCED_EXIT", 1, False, id="the keeper, where the stop secured a profit"),
        pytest.param("OCO_REFUSED price filter", 0, True, id="the router, because no pair could be placed"),
    ],
)
def test_a_stop_out_is_an_end_that_nobody_meant(reason: str, pnl_usdt: int, stopped: bool) -> None:
    now_ms = BEGIN_MS
    exit = TradeExit(
        ts=now_ms, qty=D(1), price=D(1), pnl_usdt=D(pnl_usdt), fee_usdt=D(0), purpose=Purpose.EXIT, order_id="x"
    )
    trade = Trade(
        trade_id="T",
        market=Market.FUT,
        symbol="BTCUSDT",
        side=Side.BUY,
        status=TradeStatus.CLOSED,
        qty_opened=D(1),
        qty_open=D(0),
        entry_price_avg=D(1),
        exits=(exit,),
        realized_pnl_usdt=D(pnl_usdt),
        fees_usdt=D(0),
        funding_usdt=D(0),
        config_rev=1,
        opened_at=now_ms,
        closed_at=now_ms,
        reason=reason,
        updated_at=now_ms,
    )

    assert is_stop_out(trade) is stopped


@pytest.mark.parametrize("first", ["hint", "signal"])
def test_an_entry_by_a_hint_takes_nothing_from_the_signals_own_and_hides_none(first: str) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.promote(flags={"strategy": {"cooldown_min": 0}})
        if first == "signal":
            await stopped_out(desk, settle_ms=1_200)
        else:
            await desk.see(0.0)

        # On the very signal of the entry before, where there was one: it is not stale yet.
        hinted = await desk.decide(sideHint="BUY")
        await desk.settle()
        await desk.move("59800")
        await desk.move("60000")
        own = (await desk.signal(await desk.see())).decision

        assert hinted.body["decision"] == "open", hinted.body
        assert (own.action, own.detail) == ((Action.OPEN, "OK") if first == "hint" else (Action.SKIP, "MAX_ENTRIES"))
        await desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("how", ["S4 refuses", "the exchange refuses"])
def test_an_entry_that_opened_nothing_is_tried_again_but_not_at_once(how: str) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        if how == "S4 refuses":
            await desk.world.snapshots.set(CLOCK_OFFSET.name(ENV), "5000")
        else:
            await desk.venue.transfer(Market.FUT, Market.SPOT, D(995))
        failed = (await desk.signal(await desk.see())).decision
        again = (await desk.signal(await desk.see())).decision
        if how == "S4 refuses":
            await desk.world.snapshots.set(CLOCK_OFFSET.name(ENV), "0")
        else:
            await desk.venue.transfer(Market.SPOT, Market.FUT, D(995))

        await desk.settle(FAILED_COUNTS_MS)
        await desk.see(0.0)
        later = (await desk.signal(await desk.see())).decision

        assert (failed.action, again.detail) == (Action.OPEN, "MAX_ENTRIES")
        assert (later.action, later.detail) == (Action.OPEN, "OK")
        assert desk.position_qty() > 0
        await desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("name", "risk"),
    [
        pytest.param("DAILY_LOSS", {"daily_loss_usdt_max": 1}, id="the day's loss"),
        pytest.param("DRAWDOWN", {"drawdown_pct_max": 0.0003}, id="the fall from the peak"),
    ],
)
@pytest.mark.parametrize("keeper", ["running", "restarted", "down"])
def test_a_released_halt_lets_trading_resume_until_the_same_is_lost_again(
    name: str, risk: dict[str, float], keeper: str
) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.promote(flags={"strategy": {"cooldown_min": 0}, "risk": risk})
        await stopped_out(desk)
        await desk.settle(70_000)
        halted = await halts_of(desk)
        await desk.see(0.0)
        refused = await desk.decide(sideHint="BUY")

        if keeper == "down":
            await desk.stop("s6")
        await release_halts(desk)
        if keeper == "restarted":
            await desk.stop("s6")
        if keeper != "running":
            await desk.start("s6")
        await desk.settle(2_000)
        await desk.see(0.0)
        resumed = await desk.decide(sideHint="BUY")
        await desk.settle(10_000)
        released = await halts_of(desk)
        await desk.move("59800")
        await desk.settle(20_000)

        assert (halted, refused.body["detail"]) == ([name], "HALT")
        assert resumed.body["decision"] == "open", resumed.body
        assert (released, await halts_of(desk)) == ([], [name])
        await desk.stop()

    run_virtual(scenario())


async def halts_of(desk: Desk) -> list[str]:
    halts = await desk.world.documents.get(HALTS, "halts")
    return sorted(halts.halts) if halts else []


async def release_halts(desk: Desk) -> None:
    await desk.world.documents.put(HALTS, HaltsState(updated_at=desk.world.clock.now_ms()))


async def test_entries_count_on_their_own_utc_day_and_instrument_and_refusals_do_not() -> None:
    documents = SqliteDocuments.in_loop()
    day_ms = BEGIN_MS - BEGIN_MS % DAY_MS
    for t0, key, action in (
        (day_ms - 1, FUT, Action.OPEN),
        (day_ms, FUT, Action.OPEN),
        (day_ms + 1, FUT, Action.SKIP),
        (day_ms + 2, SPOT, Action.OPEN),
        (day_ms + DAY_MS - 1, FUT, Action.OPEN),
    ):
        await documents.put(
            SIGNALS,
            Signal(
                signal_id=ids.signal_id(t0, key),
                t0=t0,
                market=key.market,
                symbol=key.symbol,
                features={},
                decision=Decision(action=action, reason="OK"),
                config_rev=1,
                created_at=t0,
            ),
        )
    history = History(documents=documents)

    today = await history.of(FUT, day_ms + DAY_MS - 1)
    tomorrow = await history.of(FUT, day_ms + DAY_MS)

    assert (today.entries, tomorrow.entries) == (2, 0)


# --- configuration


class NarrowDesk(Desk):
    variables = S3Settings(symbols=("ETHUSDT",))


def test_what_the_environment_does_not_name_is_watched_and_opened_by_a_hint_alone() -> None:
    async def scenario() -> None:
        desk = await NarrowDesk.begin()

        signal = await desk.signal(await desk.see())
        hinted = await desk.decide(sideHint="BUY")

        assert (signal.decision.action, signal.decision.detail) == (Action.SKIP, "NOT_TRADED")
        assert hinted.body["decision"] == "open", hinted.body
        await desk.stop()

    run_virtual(scenario())


def test_the_next_decision_is_made_by_the_new_configuration() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see(0.0)
        before = await desk.decide("/dryrun", sideHint="BUY")

        await desk.promote(flags={"strategy": {"side_mode": "fade"}})
        signal_id = await desk.see(1.0)

        assert before.body["config_rev"] == 1
        signal = await desk.signal(signal_id)
        assert signal.config_rev == 2
        (record,) = await desk.intents()
        assert (record.intent.side, record.intent.risk.rcu_rev) == (Side.SELL, 2)
        await desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("rule", "reason", "detail"),
    [
        pytest.param(R_001.but(status=EntryStatus.DISABLED), Reason.RULE, "NO_ENABLED_RULE", id="no rule is enabled"),
        pytest.param(
            R_001.but(when={"f": "rv_1d", "op": "<", "v": 0.25}),
            Reason.GATE,
            "FACTOR_MISSING",
            id="its factor is not there",
        ),
    ],
)
def test_a_bundle_that_can_decide_nothing_refuses_and_a_person_is_told(rule: Any, reason: Reason, detail: str) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.promote(rules=[rule.to_dict()])

        signal_id = await desk.see()
        await desk.see()

        decision = (await desk.signal(signal_id)).decision
        assert (decision.action, decision.reason, decision.detail) == (Action.SKIP, reason, detail)
        assert len(desk.alerts(detail)) == 1
        assert desk.position_qty() == 0
        await desk.stop()

    run_virtual(scenario())


def test_an_alert_that_the_bus_did_not_take_is_told_with_the_next_try() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, bus=Meddled)
        await desk.promote(rules=[R_001.but(status=EntryStatus.DISABLED).to_dict()])

        async def publish(call: Any, stream: str, message: Message) -> Any:
            if isinstance(message, AlertEvent):
                del desk.world.bus.instead["publish"]
                raise BusUnavailable("a failover")
            return await call(stream, message)

        desk.world.bus.instead["publish"] = publish
        await desk.see()

        assert len(desk.alerts("NO_ENABLED_RULE")) == 1
        await desk.stop()

    run_virtual(scenario())


# --- asking


async def everything(desk: Desk) -> tuple[dict[str, int], int, dict[str, Decimal]]:
    counts = {name: await desk.world.documents.count(collection) for name, collection in COLLECTIONS.items()}
    return counts, len(desk.told), await desk.reserved()


@pytest.mark.parametrize(("path", "body"), [("/dryrun", {}), ("/decide", {"dry_run": True})])
def test_a_dry_run_changes_nothing_anywhere(path: str, body: dict[str, Any]) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see(0.0)
        before = await everything(desk)

        answers = [await desk.decide(path, sideHint="BUY", **body) for _ in range(3)]

        assert await everything(desk) == before
        for answer in answers:
            assert (answer.body["decision"], answer.body["intent"]["qty"]) == ("open", 0.006)
            assert answer.body["intent"]["sl_px"] == 59851
        await desk.stop()

    run_virtual(scenario())


def test_a_dry_run_knows_what_only_the_documents_know() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see()
        await desk.world.reservations.replace_all([])

        answer = await desk.decide("/dryrun", sideHint="BUY")

        assert (answer.body["decision"], answer.body["detail"]) == ("skip", "OPEN_POSITION")
        await desk.stop()

    run_virtual(scenario())


def test_a_question_about_a_signal_that_opened_leaves_the_open_on_file() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        signal_id = await desk.see()

        answer = await desk.decide()
        await desk.settle(15_000)

        assert (answer.body["decision"], answer.body["detail"]) == ("skip", "OPEN_POSITION")
        signal = await desk.signal(signal_id)
        assert (signal.decision.action, signal.decision.intent_id) == (Action.OPEN, f"{signal_id}-ENTRY-1")
        await desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param({"symbol": "DOGEUSDT"}, "unknown-symbol", id="not traded here"),
        pytest.param({"symbol": "BTCUSDT", "market": "SPOT"}, "no-features", id="nothing is known of it"),
        pytest.param({"symbol": "btc"}, "malformed-body", id="no symbol"),
    ],
)
def test_what_cannot_be_decided_about_is_400(body: dict[str, Any], kind: str) -> None:
    async def scenario() -> None:
        desk = await Desk.begin("s3")

        answer = await desk.call("s3", "POST", "/decide", body)

        assert (answer.status, answer.body["type"]) == (400, PROBLEM_TYPE_BASE + kind)
        await desk.stop()

    run_virtual(scenario())


def test_without_a_durable_decision_there_is_no_order_and_no_reservation() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, documents=Meddled)
        await desk.see(0.0)

        async def put_many(call: Any, puts: Any) -> Any:
            if any(put.collection is SIGNALS for put in puts):
                raise DocumentsUnavailable("a failover")
            return await call(puts)

        desk.world.documents.instead["put_many"] = put_many

        answer = await desk.decide(sideHint="BUY")

        assert answer.status == 503
        assert (await desk.reserved(), await desk.intents()) == ({}, [])
        await desk.stop()

    run_virtual(scenario())


def test_a_bus_that_cannot_tell_the_decision_does_not_keep_the_order_back() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, bus=Meddled)

        async def publish(call: Any, stream: str, message: Message) -> Any:
            if isinstance(message, SignalEvent):
                raise BusUnavailable("a failover")
            return await call(stream, message)

        desk.world.bus.instead["publish"] = publish

        signal_id = await desk.see()

        assert (await desk.signal(signal_id)).decision.action is Action.OPEN
        assert desk.position_qty() == D("0.006")
        assert list(await desk.reserved()) == [f"{signal_id}-ENTRY-1"]
        await desk.stop()

    run_virtual(scenario())


def test_the_same_refusal_is_stored_once_and_again_when_its_reason_changes() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        told = [await desk.see(spread_bps=spread) for spread in (5.0, 6.0, 0.33, 5.0)]

        details = {}
        for signal_id in told:
            signal = await desk.world.documents.get(SIGNALS, signal_id)
            details[signal_id] = signal.decision.detail if signal else None

        assert list(details.values()) == ["SPREAD", None, "OK", "SPREAD"]
        await desk.stop()

    run_virtual(scenario())


def test_features_that_stop_coming_are_noticed_and_stored_as_stale() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see(0.0)

        await desk.settle(30_000)

        stale = [event for event in desk.messages(SignalEvent) if event.decision.detail == "STALE"]
        assert [event.market for event in stale] == [Market.FUT]
        await desk.stop()

    run_virtual(scenario())


def test_stale_factors_decide_nothing() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()

        signal_id = await desk.see(stale=("atr_14",))

        signal = await desk.signal(signal_id)
        assert (signal.decision.detail, signal.stale) == ("STALE", ("atr_14",))
        assert desk.position_qty() == 0
        await desk.stop()

    run_virtual(scenario())
