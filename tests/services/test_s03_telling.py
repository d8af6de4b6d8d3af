"""What S3 tells of itself: each metric and each alert by its own cause, and health by what is down."""

import re
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES
from chimera.contracts.documents import ConfigActive
from chimera.contracts.enums import Action, EntryStatus
from chimera.contracts.http import PROBLEM_TYPE_BASE
from chimera.contracts.ids import CONFIG_ACTIVE_KEY
from chimera.contracts.keys import CLOCK_OFFSET
from chimera.contracts.messages import AlertEvent, OrderCmd
from chimera.domain.config.bundle import R_001
from chimera.ports.bus import BusUnavailable
from chimera.ports.documents import DocumentsUnavailable
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.ports.state import StateUnavailable
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled
from tests.services.test_s03_strategy import HOUSE, Desk, Silence
from tests.services.trading_floor import ENV, SPOT

D = Decimal


def figure(desk: Desk, name: str, **labels: str) -> float | None:
    """What /metrics shows; None: nothing."""
    told = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    wanted = f"chimera_{name}{{{told}}}" if told else f"chimera_{name}"
    found = re.search(rf"^{re.escape(wanted)} (\S+)$", desk.world.metrics.render(), re.MULTILINE)
    return None if found is None else float(found[1])


# --- metrics


def test_every_decision_is_timed_and_what_refused_it_is_counted() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()

        await desk.see(0.0)
        await desk.see(spread_bps=9.0)
        await desk.see(spread_bps=9.0)
        await desk.decide("/dryrun")

        assert figure(desk, "strategy_decide_latency_ms_count") == 3, "a dry run decides nothing"
        assert figure(desk, "gate_skip_count", reason="SPREAD") == 2, "a dry run refuses nobody"
        assert figure(desk, "gate_skip_count", reason="NO_SIGNAL") == 1
        await desk.stop()

    run_virtual(scenario())


def test_a_rule_that_fired_is_counted_by_its_name() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()

        await desk.see(spread_bps=1.6)
        await desk.decide("/dryrun", sideHint="BUY")

        assert figure(desk, "rules_fired_count", rule="R-001") == 1
        await desk.stop()

    run_virtual(scenario())


def test_a_delivered_intent_is_counted_once_whatever_the_roads() -> None:
    async def scenario() -> None:
        class Both(Desk):
            variables = Desk.variables.but(emit="both")

        for kind in (Desk, Both):
            desk = await kind.begin()
            await desk.see()

            assert (figure(desk, "intent_emit_ok"), figure(desk, "intent_emit_fail")) == (1, 0)
            await desk.stop()

    run_virtual(scenario())


def test_where_one_road_is_closed_the_other_delivers_and_nothing_failed() -> None:
    async def scenario() -> None:
        class Both(Desk):
            variables = Desk.variables.but(emit="both")

        for kind, closed in ((Desk, "rest"), (Both, "rest"), (Both, "stream")):
            desk = await kind.begin(*HOUSE, bus=Meddled, peers=Silence)
            desk.world.peers.deaf = closed == "rest"

            async def publish(call: Any, stream: str, message: Any, closed: str = closed) -> Any:
                if closed == "stream" and isinstance(message, OrderCmd):
                    raise BusUnavailable("a failover")
                return await call(stream, message)

            desk.world.bus.instead["publish"] = publish
            await desk.see()

            assert (figure(desk, "intent_emit_ok"), figure(desk, "intent_emit_fail")) == (1, 0), (kind, closed)
            assert desk.position_qty() == D("0.006")
            await desk.stop()

    run_virtual(scenario())


def test_the_lag_of_a_switch_is_measured() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.promote(flags={"spot": {"quote_usdt": 60}})

        lag_ms = figure(desk, "config_lag_ms")

        assert lag_ms is not None
        assert 0 <= lag_ms <= 5_000
        await desk.stop()

    run_virtual(scenario())


def test_a_gate_that_misses_is_seen_by_the_second_opinion_and_nothing_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see()
        well = figure(desk, "risk_gate_miss_rate")
        # The fault: the decision forgets what its gates said. The position that is open would be doubled.
        monkeypatch.setattr("chimera.domain.decision.decide.first_refusal", lambda results: None)
        signal_id = await desk.see()

        decision = (await desk.signal(signal_id)).decision
        assert well == 0
        assert (decision.action, decision.reason, decision.detail) == (Action.SKIP, "GATE", "GATE_MISSED")
        assert figure(desk, "risk_gate_miss_rate") == 0.5
        (alert,) = desk.alerts("SLO_RISK_GATE_MISS_RATE")
        assert "OPEN_POSITION" in alert.message
        assert (len(await desk.intents()), desk.position_qty()) == (1, D("0.006"))
        await desk.stop()

    run_virtual(scenario())


# --- alerts, each by its real cause


def test_no_enabled_rule_is_told_to_whoever_asks_by_hand_too() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.promote(rules=[R_001.but(status=EntryStatus.DISABLED).to_dict()])
        await desk.see(0.0)

        # Without a signal the stream never gets as far as the rules.
        before = len(desk.alerts("NO_ENABLED_RULE"))
        dry = await desk.decide("/dryrun", sideHint="BUY")
        between = len(desk.alerts("NO_ENABLED_RULE"))
        await desk.decide(sideHint="BUY")

        assert (before, dry.body["detail"], between) == (0, "NO_ENABLED_RULE", 0)
        assert len(desk.alerts("NO_ENABLED_RULE")) == 1
        await desk.stop()

    run_virtual(scenario())


def test_a_factor_that_goes_stale_is_told_and_told_again_when_it_had_come_back() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.promote(rules=[R_001.but(when={"f": "rv_1d", "op": ">", "v": 9}).to_dict()])

        for stale in (("rv_1d",), ("rv_1d",), (), ("rv_1d",)):
            await desk.see(rv_1d=0.5, stale=stale)

        told = desk.alerts("FACTOR_MISSING")
        assert len(told) == 2
        assert all("rv_1d" in alert.message for alert in told)
        await desk.stop()

    run_virtual(scenario())


def test_a_switch_to_a_bundle_that_was_changed_since_is_refused_and_told() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        active = await desk.world.documents.get(CONFIG_ACTIVE, CONFIG_ACTIVE_KEY)
        assert isinstance(active, ConfigActive)
        bundle = await desk.world.documents.get(CONFIG_BUNDLES, active.bundle_id)
        assert bundle is not None
        changed = bundle.but(bundle_id="BND-changed", rev=7, rules=(R_001.but(priority=1),))
        await desk.world.documents.put(CONFIG_BUNDLES, changed)
        switch = active.but(bundle_id="BND-changed", rev=7, seq=active.seq + 1)
        await desk.world.documents.put(CONFIG_ACTIVE, switch)

        await desk.settle(6_000)
        signal_id = await desk.see()

        assert {alert.source for alert in desk.alerts("CONFIG_REV_MISMATCH")} >= {"s3"}
        assert (await desk.signal(signal_id)).config_rev == 1
        await desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("how", ["S4 refuses", "no road"])
def test_an_intent_that_was_not_executed_is_told(how: str) -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, bus=Meddled, peers=Silence)
        desk.world.peers.deaf = how == "no road"

        async def publish(call: Any, stream: str, message: Any) -> Any:
            if how == "no road" and isinstance(message, OrderCmd):
                raise BusUnavailable("a failover")
            return await call(stream, message)

        desk.world.bus.instead["publish"] = publish
        if how == "S4 refuses":
            await desk.world.snapshots.set(CLOCK_OFFSET.name(ENV), "5000")

        signal_id = await desk.see(settle_ms=900)
        failed = figure(desk, "intent_emit_fail")
        # Long enough for the repair that writes off what no road took.
        await desk.settle(130_000)

        assert failed == 1
        told = [alert for alert in desk.alerts("INTENT_EMIT_FAILED") if alert.tags["intent_id"].startswith(signal_id)]
        assert len(told) == 1
        assert f"{signal_id}-ENTRY-1" not in await desk.reserved()
        await desk.stop()

    run_virtual(scenario())


# --- nothing may undo what was decided


def test_an_open_stands_though_its_lock_cannot_be_given_back() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, locks=Meddled)
        await desk.see(0.0)

        async def release(call: Any, key: str, owner: str) -> Any:
            raise StateUnavailable("a failover")

        desk.world.locks.instead["release"] = release

        answer = await desk.decide(sideHint="BUY")
        await desk.settle(5_000)

        assert (answer.status, answer.body["decision"]) == (200, "open")
        assert desk.position_qty() == D("0.006")
        await desk.stop()

    run_virtual(scenario())


def test_a_decision_that_outlived_its_lock_opens_nothing() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, reservations=Meddled)
        await desk.see(0.0)

        async def reserve(call: Any, *args: Any, **kwargs: Any) -> Any:
            # The store stalls; the lock's three seconds pass meanwhile.
            await desk.pass_ms(3_500)
            return await call(*args, **kwargs)

        desk.world.reservations.instead["reserve"] = reserve
        answer = await desk.decide(sideHint="BUY")
        await desk.settle(2_000)

        assert (answer.body["decision"], answer.body["detail"]) == ("skip", "LOCKED")
        assert (await desk.reserved(), await desk.intents(), desk.position_qty()) == ({}, [], 0)
        await desk.stop()

    run_virtual(scenario())


def test_a_refused_intent_is_no_error_of_the_request_though_the_budget_cannot_be_freed_now() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, reservations=Meddled, bus=Meddled)
        await desk.see(0.0)
        await desk.world.snapshots.set(CLOCK_OFFSET.name(ENV), "5000")

        async def release(call: Any, intent_id: str) -> Any:
            raise StateUnavailable("a failover")

        async def publish(call: Any, stream: str, message: Any) -> Any:
            if isinstance(message, AlertEvent):
                raise BusUnavailable("a failover")
            return await call(stream, message)

        desk.world.reservations.instead["release"] = release
        desk.world.bus.instead["publish"] = publish
        answer = await desk.decide(sideHint="BUY")
        desk.world.reservations.instead.clear()
        held = len(await desk.reserved())
        await desk.settle(130_000)

        assert (answer.status, answer.body["decision"]) == (200, "open")
        assert (held, await desk.reserved()) == (1, {}), "healing frees it"
        await desk.stop()

    run_virtual(scenario())


def test_a_neighbour_that_is_not_there_yet_has_not_said_that_it_knows_nothing() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, peers=Silence, bus=Meddled)

        async def publish(call: Any, stream: str, message: Any) -> Any:
            if isinstance(message, OrderCmd):
                raise BusUnavailable("a failover")
            return await call(stream, message)

        desk.world.bus.instead["publish"] = publish
        signal_id = await desk.see(settle_ms=500)
        real = desk.world.peers.inner

        class NoRoutes:
            async def call(self, call: PeerCall) -> PeerAnswer:
                if call.service == "s4":
                    return PeerAnswer(404, {"type": PROBLEM_TYPE_BASE + "no-such-call"}, "application/problem+json")
                answer: PeerAnswer = await real.call(call)
                return answer

        desk.world.peers.inner = NoRoutes()
        await desk.settle(130_000)
        meanwhile = (await desk.signal(signal_id)).decision.detail
        desk.world.peers.inner = real
        await desk.settle(130_000)

        assert (meanwhile, (await desk.signal(signal_id)).decision.detail) == ("OK", "UNDELIVERED")
        await desk.stop()

    run_virtual(scenario())


# --- while no feature comes in


@pytest.mark.parametrize(("mid", "told"), [(57_800.0, 1), (59_900.0, 0)])
def test_a_position_near_its_liquidation_is_told_while_the_feed_is_silent(mid: float, told: int) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see()
        assert desk.position_qty() == D("0.006")

        # The market jumps, the features say so a last time, and then nothing comes any more.
        await desk.see(mid=mid)
        await desk.pass_ms(60_000)

        alerts = desk.alerts("LIQUIDATION")
        assert [alert.source for alert in alerts] == ["s3"] * told
        await desk.stop()

    run_virtual(scenario())


def test_the_last_good_price_counts_where_the_newest_features_had_none() -> None:
    """The book goes silent first; what else comes tells features once more, without a price."""

    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see()
        await desk.see(mid=57_300.0)
        await desk.see(stale=("mid",))
        await desk.pass_ms(60_000)

        assert [alert.source for alert in desk.alerts("LIQUIDATION")] == ["s3"]
        await desk.stop()

    run_virtual(scenario())


# --- health


@pytest.mark.parametrize(
    ("part", "method", "error", "field"),
    [
        ("snapshots", "get", StateUnavailable("gone"), "redis"),
        ("bus", "last_id", BusUnavailable("gone"), "redis"),
        ("documents", "ping", DocumentsUnavailable("gone"), "arango"),
    ],
)
def test_health_asks_what_it_speaks_of(part: str, method: str, error: Exception, field: str) -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, **{part: Meddled})
        well = (await desk.call("s3", "GET", "/health")).body

        async def down(call: Any, *args: Any, **kwargs: Any) -> Any:
            raise error

        getattr(desk.world, part).instead[method] = down
        ill = (await desk.call("s3", "GET", "/health")).body

        assert (well["status"], well["redis"], well["arango"], well["config_rev"], well["rules_loaded"]) == (
            "OK",
            "OK",
            "OK",
            1,
            1,
        )
        assert (ill["status"], ill[field]) == ("DOWN", "DOWN")
        getattr(desk.world, part).instead.clear()
        await desk.stop()

    run_virtual(scenario())


# --- several at once


def test_a_batch_with_one_bad_request_decides_nothing_and_names_each() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see(0.0)
        asked = [
            {"symbol": "BTCUSDT", "market": "FUT", "sideHint": "BUY"},
            {"symbol": "DOGEUSDT"},
            {"symbol": "BTCUSDT", "market": "SPOT"},
        ]

        answer = await desk.call("s3", "POST", "/decide/batch", {"requests": asked})
        malformed = await desk.call("s3", "POST", "/decide/batch", {"requests": [asked[0], {"symbol": 7}]})

        assert (answer.status, answer.body["type"]) == (400, PROBLEM_TYPE_BASE + "batch-refused")
        assert [(each["field"], each["value"]) for each in answer.body["errors"]] == [
            ("requests[1]", "DOGEUSDT"),
            ("requests[2]", "SPOT:BTCUSDT"),
        ]
        assert malformed.status == 400
        assert (await desk.intents(), await desk.reserved()) == ([], {})
        await desk.stop()

    run_virtual(scenario())


def test_a_batch_is_decided_in_order_and_each_sees_what_the_one_before_did() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        await desk.see(0.0)
        one = {"symbol": "BTCUSDT", "market": "FUT", "sideHint": "BUY"}

        answer = await desk.call("s3", "POST", "/decide/batch", {"requests": [{**one, "dry_run": True}, one, one]})
        await desk.settle(1_000)

        assert [each["decision"] for each in answer.body["answers"]] == ["open", "open", "skip"]
        assert len(await desk.intents()) == 1
        await desk.stop()

    run_virtual(scenario())


def test_a_batch_that_is_cut_off_tells_what_was_decided() -> None:
    async def scenario() -> None:
        desk = await Desk.begin(*HOUSE, snapshots=Meddled)
        await desk.see(0.0)
        await desk.see(0.0, key=SPOT)
        asked = [{"symbol": "BTCUSDT", "market": market, "sideHint": "BUY"} for market in ("FUT", "SPOT")]

        async def get_hash(call: Any, key: str) -> Any:
            if "mkt:snap" in key and "SPOT" in key:
                raise StateUnavailable("a failover")
            return await call(key)

        desk.world.snapshots.instead["get_hash"] = get_hash
        answer = await desk.call("s3", "POST", "/decide/batch", {"requests": asked})
        await desk.settle(1_000)

        assert (answer.status, answer.body["type"]) == (503, PROBLEM_TYPE_BASE + "dependency-down")
        (decided,) = answer.body["answers"]
        assert decided["decision"] == "open"
        assert [record.intent_id for record in await desk.intents()] == [decided["intent"]["intent_id"]]
        await desk.stop()

    run_virtual(scenario())
