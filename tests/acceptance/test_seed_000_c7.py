"""Seed `000`, section C7 (what S3 must show before it is ready) and the lines of section F that are S3's, one by one
under the seed's own words."""

import asyncio
import random
import sqlite3
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import FILLS, ORDERS, STRATEGY_EVENTS
from chimera.contracts.enums import Action, Market, Side, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import OrderResult, SignalEvent
from chimera.contracts.settings import S3Settings
from chimera.domain.decision.decide import decide
from chimera.ports.documents import Query
from chimera.runtime.http import build_app
from chimera.simulation.loop import run_virtual
from tests.acceptance.house import valid_answer
from tests.domain.decision.worlds import config, facts, rule
from tests.runtime.asgi import ask
from tests.services.state_adapters import STATE_ADAPTERS, StateAdapter
from tests.services.test_s03_crash_points import LOOKS, NO_STEP
from tests.services.test_s03_strategy import HOUSE, Desk, Silence
from tests.services.trading_floor import ENV, FUT, SPOT
from tests.services.wide_desk import WideDesk, timeline

D = Decimal
DECISIONS = 1_000
P50_MS_MAX, P95_MS_MAX = 200.0, 500.0
"""The seed's own limits. How fast it truly is, `chimera bench decide` measures."""

# --- contract: POST /decide


@pytest.mark.parametrize("path", ["/decide", "/dryrun"])
@pytest.mark.parametrize("market", ["FUT", "SPOT"])
@pytest.mark.parametrize(
    ("signal", "more"),
    [
        pytest.param(0.0, {"sideHint": "BUY"}, id="opens"),
        pytest.param(0.0, {}, id="skips"),
        pytest.param(1.0, {"context": {"trigger": "manual", "t0": 1}}, id="after the stream has opened"),
    ],
)
def test_contract_the_answer_of_post_decide_is_the_published_schema(
    path: str, market: str, signal: float, more: dict[str, Any]
) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see(signal, key=FUT if market == "FUT" else SPOT)
        runner = desk.runners["s3"]
        app = build_app(runner.service, runner.all_routes())

        answer = await ask(app, "POST", path, {"symbol": "BTCUSDT", "market": market, **more})

        assert (answer.status, answer.content_type) == (200, "application/json")
        valid_answer(runner, "POST", path, answer.body)
        assert answer.body["decision"] in ("open", "skip")
        assert ("intent" in answer.body) is (answer.body["decision"] == "open")
        assert {"reason", "config_rev", "rules_fired"} <= set(answer.body)
        batch = await ask(app, "POST", "/decide/batch", {"requests": [{"symbol": "BTCUSDT", "market": market}] * 3})
        valid_answer(runner, "POST", "/decide/batch", batch.body)
        assert len(batch.body["answers"]) == 3
        await desk.stop()

    run_virtual(scenario())


def test_contract_the_seeds_own_curl_is_answered() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see(0.0)
        runner = desk.runners["s3"]

        answer = await ask(
            build_app(runner.service, runner.all_routes()), "POST", "/decide", {"symbol": "BTCUSDT", "dry_run": True}
        )

        assert (answer.status, answer.body["decision"], answer.body["detail"]) == (200, "skip", "NO_SIGNAL")
        await desk.stop()

    run_virtual(scenario())


class Listener:
    """Writes down which of a dependency's methods S3 calls."""

    def __init__(self, inner: Any, part: str, heard: list[str]) -> None:
        self._inner, self._part, self._heard = inner, part, heard

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(call):
            return call

        async def listened(*args: Any, **kwargs: Any) -> Any:
            self._heard.append(f"{self._part}.{name}")
            return await call(*args, **kwargs)

        return listened


class LoudDesk(Desk):
    """A desk that hears every call of its S3 to the world outside."""

    heard: list[str]

    async def start(self, *services: str, price: str | None = None) -> None:
        whole = self.world
        if services == ("s3",):
            parts = ("snapshots", "locks", "idempotency", "due", "reservations", "documents", "bus", "peers", "venue")
            self.world = replace(whole, **{part: Listener(getattr(whole, part), part, self.heard) for part in parts})
        try:
            await super().start(*services, price=price)
        finally:
            self.world = whole


def every_row(file: Path) -> list[str]:
    """All that is on file, as a second reader sees it."""
    with sqlite3.connect(file) as reader:
        return list(reader.iterdump())


@pytest.mark.parametrize(("path", "body"), [("/dryrun", {}), ("/decide", {"dry_run": True})])
@pytest.mark.parametrize("market", ["FUT", "SPOT"])
@pytest.mark.parametrize("opens", [True, False], ids=["would open", "would skip"])
def test_contract_a_dry_run_leaves_no_trace(
    path: str, body: dict[str, Any], market: str, opens: bool, tmp_path: Path
) -> None:
    async def scenario() -> None:
        file = tmp_path / "chimera.db"
        desk = await LoudDesk.open("s10")
        await desk.stop()
        desk.world = replace(desk.world, documents=SqliteDocuments.in_loop(file))
        await desk.start("s10", "s1", "s4", "s5", "s6", price="60000")
        desk.heard = []
        await desk.start("s3")
        key = FUT if market == "FUT" else SPOT
        await desk.see(0.0, key=key)
        rows, streams = every_row(file), list(desk.told)
        reserved = await desk.world.reservations.all()
        state = {name: dict(vars(desk.world.snapshots)[name]) for name in ("_values", "_hashes")}
        state["_hashes"] = {name: dict(fields) for name, fields in state["_hashes"].items()}
        desk.heard.clear()

        answers = [
            await desk.decide(path, market=market, **({"sideHint": "BUY"} if opens else {}), **body) for _ in range(5)
        ]

        assert {answer.body["decision"] for answer in answers} == {"open" if opens else "skip"}
        assert all(answer.body == answers[0].body for answer in answers)
        called = {call for call in desk.heard if call.split(".")[1] not in NO_STEP}
        assert called, "nobody listened"
        assert {call.split(".")[1] for call in called} <= LOOKS, called
        assert not {call for call in called if call.startswith(("bus", "peers", "locks", "venue"))}
        assert every_row(file) == rows
        assert desk.told == streams
        assert await desk.world.reservations.all() == reserved
        assert vars(desk.world.snapshots)["_values"] == state["_values"]
        assert vars(desk.world.snapshots)["_hashes"] == state["_hashes"]
        await desk.stop()

    run_virtual(scenario())


# --- integration: with S4, in a disturbed market


@pytest.mark.parametrize(
    ("disturbed", "detail"),
    [
        pytest.param({"spread_bps": 6.0}, "SPREAD", id="spread twice its usual"),
        pytest.param({"depth_top1_usdt": 20.0}, "DEPTH", id="depth does not suffice"),
        pytest.param({"spread_bps": 6.0, "depth_top1_usdt": 20.0}, "SPREAD", id="both"),
    ],
)
def test_integration_a_disturbed_market_is_skipped_and_the_calm_after_it_is_traded(
    disturbed: dict[str, float], detail: str
) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()

        stormy = await desk.signal(await desk.see(**disturbed))
        nothing = (await desk.intents(), desk.position_qty(), await desk.reserved())
        calm = await desk.signal(await desk.see())

        assert (stormy.decision.action, stormy.decision.detail) == (Action.SKIP, detail)
        assert nothing == ([], 0, {})
        assert calm.decision.action is Action.OPEN
        assert desk.position_qty() > 0
        await desk.stop()

    run_virtual(scenario())


def test_integration_an_s4_that_is_away_gets_its_intent_by_the_stream() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, peers=Silence)

        signal_id = await desk.see()

        assert desk.world.peers.asked == [f"{signal_id}-ENTRY-1"]
        (record,) = await desk.intents()
        assert desk.position_qty() == record.intent.qty
        await desk.stop()

    run_virtual(scenario())


# --- unit: L0, L1, L2, sizing, the stop and target reckoned back, clamp, skip


@pytest.mark.parametrize(
    ("rules", "model_p", "size_mult", "opens", "detail"),
    [
        pytest.param([("size_mult", 1.2)], 0.65, 1.2, True, "OK", id="L1 alone"),
        pytest.param([("size_mult", 0.5)] * 3, 0.65, 0.5, True, "OK", id="clamped below"),
        pytest.param([("size_mult", 1.2)] * 3, 0.9, 1.2, True, "OK", id="clamped above, with L2 on top"),
        pytest.param([("size_mult", 1.2)], 0.5, 0.6, True, "OK", id="L2 halves"),
        pytest.param([("size_mult", 1.0)], 0.39, 0.0, False, "P_TOO_LOW", id="L2 refuses"),
        pytest.param([("skip_entry", True), ("size_mult", 1.2)], 0.9, 1.2, False, "R-0", id="skip ends it"),
    ],
)
def test_unit_l1_and_l2_multiply_clamp_and_skip(
    rules: list[tuple[str, Any]], model_p: float, size_mult: float, opens: bool, detail: str
) -> None:
    bodies = [
        rule(f"R-{number}", priority=number, action={"type": kind, "value": value})
        for number, (kind, value) in enumerate(rules)
    ]

    found = decide(facts(model_p=model_p), config(*bodies))

    assert (found.opens, found.detail) == (opens, detail)
    if opens:
        assert found.size_mult == pytest.approx(size_mult)
    if detail == "R-0":
        assert found.rules_fired == ("R-0",)


@pytest.mark.parametrize("side", list(Side))
def test_unit_the_stop_loses_what_may_be_lost_and_the_target_nets_ten_percent_of_margin(side: Side) -> None:
    found = decide(facts(side_hint=side), config())

    assert found.plan is not None
    assert found.entry_ref_price is not None
    plan, entry, fee = found.plan, found.entry_ref_price, D("0.0005")
    loss = side.sign * (entry - plan.stop_price) * plan.qty
    net = side.sign * (plan.tp_price - entry) * plan.qty - fee * plan.qty * (entry + plan.tp_price)
    assert D("1.19") < loss <= D("1.2")
    assert D("0.10") <= net / (plan.qty * entry / plan.leverage) < D("0.1001")


# --- ready: a thousand decisions


@pytest.mark.parametrize("adapter", STATE_ADAPTERS)
async def test_ready_a_thousand_decisions_on_simulated_features_are_within_p50_200_ms_and_p95_500_ms(
    adapter: StateAdapter,
) -> None:
    async with timeline(adapter.open) as (clock, state):
        desk = await WideDesk.on(state, clock, (InstrumentKey(Market.FUT, "BTCUSDT"),))
        chance = random.Random(1)
        took_ms: list[float] = []
        said: Counter[str] = Counter()
        for _ in range(DECISIONS):
            signal_id = await desk.tell_features(
                desk.keys[0],
                signal=chance.choice([1.0, -1.0, 0.0]),
                spread_bps=chance.uniform(0.0, 4.0),
                depth_top1_usdt=chance.uniform(100.0, 10_000.0),
                funding_next=chance.gauss(0.0, 0.0003),
                atr_14=chance.uniform(20.0, 900.0),
            )
            began_ns = clock.perf_ns()
            answer = await desk.decide()
            took_ms.append((clock.perf_ns() - began_ns) / 1e6)
            assert answer.status == 200, answer.body
            said[answer.body["detail"]] += 1
            assert answer.body["config_rev"] == 1
            assert (await desk.signal(signal_id)).config_rev == 1
        took_ms.sort()

        assert len(said) >= 5, said
        assert took_ms[DECISIONS // 2] <= P50_MS_MAX
        assert took_ms[DECISIONS * 95 // 100] <= P95_MS_MAX
        await desk.stop()


# --- ready: the gates cover all risk; decisions land in signals with the right config_rev


def test_ready_every_decision_lands_in_signals_with_the_config_rev_that_decided() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        seen = []
        for number in range(1, 5):
            for spread in (5.0, 0.33):
                asked = await desk.see(0.0, spread_bps=spread, settle_ms=100)
                answer = await desk.decide()
                seen.append((asked, number, answer.body))
            await desk.promote(flags={"risk": {"slip_bp_max": 8 + number}})

        for signal_id, rev, body in seen:
            signal = await desk.signal(signal_id)
            assert (signal.config_rev, body["config_rev"]) == (rev, rev)
            assert (signal.decision.detail, signal.decision.action.value) == (body["detail"], body["decision"])
            assert (signal.decision.trail or {})["gates"] == body["trail"]["gates"]
            assert len(body["trail"]["gates"]) == 20
        await desk.stop()

    run_virtual(scenario())


def test_ready_the_guards_refuse_on_every_risk_that_c3_names() -> None:
    """Each in the whole system; all of them at their limits stand in `test_gate_limits`, a million in
    `test_gate_miss_rate`."""

    async def refusal(spoilt: dict[str, float], flags: dict[str, Any]) -> tuple[str, str]:
        desk = await Desk.begin()
        if flags:
            await desk.promote(flags=flags)
        await desk.see(0.0, **spoilt)
        body = (await desk.decide(sideHint="BUY")).body
        await desk.stop()
        return body["reason"], body["detail"]

    assert run_virtual(refusal({"funding_next": 0.0006}, {})) == ("GATE", "FUNDING")
    assert run_virtual(refusal({"spread_bps": 3.1}, {})) == ("GATE", "SPREAD")
    assert run_virtual(refusal({"depth_top1_usdt": 150.0}, {})) == ("GATE", "DEPTH")
    budget = {"risk": {"budget": {"fut_margin_usdt_max": 5}}}
    assert run_virtual(refusal({}, budget)) == ("RISK_BUDGET", "BUDGET")
    none = {"risk": {"concurrent_entries_per_market": 0}}
    assert run_virtual(refusal({}, none)) == ("RISK_BUDGET", "CONCURRENCY")


# --- ready: intents by REST and by stream, executed once


@pytest.mark.parametrize("key", [FUT, SPOT], ids=str)
def test_ready_an_intent_that_goes_by_rest_and_by_stream_is_executed_once(key: InstrumentKey) -> None:
    async def scenario() -> None:
        desk = await Desk.open("s10", "s1", "s4", "s5", "s6")
        assert isinstance(desk, Desk)
        desk.variables = S3Settings(emit="both")
        await desk.start("s3")

        signal_id = await desk.see(key=key)
        await desk.settle(35_000)

        commands = [stream for stream, _ in desk.told if stream.startswith(f"{ENV}:ord:cmd:")]
        assert len(commands) == 1, "the stream was no road"
        (record,) = await desk.intents()
        assert record.intent_id == f"{signal_id}-ENTRY-1"
        assert await desk.world.documents.count(FILLS) == 1
        orders = desk.venue.exchange.orders(key.market, key.symbol)
        assert len([order for order in orders if order.side is Side.BUY]) == 1
        assert list(await desk.reserved()) == [record.intent_id]
        await desk.stop()

    run_virtual(scenario())


# --- section F


def test_f_fut_happy_decide_fires_a_rule_opens_buy_at_size_1_0_fills_and_is_protected() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.promote(rules=[rule("R-ALWAYS", action={"type": "size_mult", "value": 1.0})])
        await desk.see(0.0)

        answer = await desk.decide(sideHint="BUY")
        await desk.settle()

        body = answer.body
        assert (body["decision"], body["size_mult"], body["rules_fired"]) == ("open", 1.0, ["R-ALWAYS"])
        (record,) = await desk.intents()
        kinds = sorted(kind for kind, _, _ in desk.resting().values())
        assert kinds == ["STOP_MARKET", "TAKE_PROFIT_MARKET"]
        trade = await desk.trade(record.intent_id)
        assert (trade.status, trade.side, trade.qty_open) == (TradeStatus.ACTIVE, Side.BUY, record.intent.qty)
        assert await desk.world.documents.count(FILLS) == 1
        assert await desk.world.documents.count(ORDERS) == 3
        results = [result for result in desk.messages(OrderResult) if result.cmd_id == record.intent_id]
        assert results[-1].final
        assert results[-1].filled_qty == record.intent.qty
        (event,) = [each for each in desk.messages(SignalEvent) if each.decision.action is Action.OPEN]
        assert event.intent_id == record.intent_id
        await desk.stop()

    run_virtual(scenario())


def test_f_spot_oco_happy_decide_on_spot_one_leg_fills_and_the_other_is_gone() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see(0.0, key=SPOT)

        answer = await desk.decide(market="SPOT", sideHint="BUY")
        await desk.settle()
        resting = sorted(kind for kind, _, _ in desk.resting().values())
        before = desk.venue.exchange.balances(Market.SPOT)
        await desk.move("61500")
        await desk.settle(5_000)

        assert answer.body["decision"] == "open", answer.body
        assert answer.body["intent"]["exec_policy"]["oco"]["enabled"] is True
        assert resting == ["LIMIT_MAKER", "STOP_LOSS"]
        assert desk.resting() == {}
        (record,) = await desk.intents()
        trade = await desk.trade(record.intent_id)
        assert (trade.status, trade.reason) == (TradeStatus.CLOSED, "TAKE_PROFIT")
        # The stated profit, by what the exchange's own books gained: 1 % of the quote after both fees.
        after = {each.asset: each.free + each.locked for each in desk.venue.exchange.balances(Market.SPOT)}
        assert {each.asset for each in before} >= {"USDT"}
        dust = after.get("BTC", D(0)) * D(61_000)
        assert after["USDT"] + dust - 1_000 >= D("0.01") * 50
        armed = await desk.world.documents.find(
            Query(collection=STRATEGY_EVENTS, index="by_kind", equal=(("kind", "OCO_ARMED"),))
        )
        assert len(armed) == 1
        await desk.stop()

    run_virtual(scenario())


def test_f_idempotent_the_same_client_order_id_again_is_answered_and_not_executed() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see()
        (record,) = await desk.intents()

        same = await desk.call("s4", "POST", "/orders", record.intent)
        other = await desk.call("s4", "POST", "/orders", record.intent.but(intent_id="another"))

        assert (same.status, same.body["order_id"]) == (200, record.intent.client_order_id)
        assert other.status == 409
        assert await desk.world.documents.count(FILLS) == 1
        assert desk.position_qty() == record.intent.qty
        await desk.stop()

    run_virtual(scenario())
