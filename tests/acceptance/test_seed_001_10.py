"""Seed `001`, section 10: S3's contract tests, one by one under the seed's own words."""

from decimal import Decimal

import pytest

from chimera.contracts.collections import FILLS
from chimera.contracts.documents import Signal
from chimera.contracts.enums import Action, Market, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import CfgEvent, SignalEvent
from chimera.contracts.order_intent import OrderIntent
from chimera.contracts.streams import ORD_CMD
from chimera.domain.decision.decide import decide
from chimera.domain.market.listing import listed
from chimera.ports.state import Reservation, ReservationState, ReserveOutcome
from chimera.simulation.loop import run_virtual
from tests.acceptance.house import valid_answer, valid_document, valid_event
from tests.domain.decision.worlds import config, facts
from tests.services.test_s03_strategy import Desk
from tests.services.trading_floor import ENV, FUT, SPOT
from tests.services.wide_desk import PRICES, WideDesk, timeline

D = Decimal


KEYS = [
    key
    for key in (InstrumentKey(market, symbol) for market in Market for symbol in PRICES)
    # What a step of costs more than a spot buy cannot be bought.
    if listed(key).step_size * PRICES[key.symbol] < 25
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_decide_happy_all_features_there_opens_with_an_intent_that_is_legal_by_tick_and_step(
    key: InstrumentKey,
) -> None:
    async def scenario() -> None:
        async with timeline() as (clock, state):
            symbol, market = key.symbol, key.market
            desk = await WideDesk.on(state, clock, (key,))
            await desk.promote(flags={"strategy": {"markets": {symbol: [market.value]}}})
            await desk.tell_features(key, signal=0.0)

            answer = await desk.decide(symbol=symbol, market=market.value, sideHint="BUY")

            body = answer.body
            assert (answer.status, body["decision"], body["reason"]) == (200, "open", "OK"), body
            valid_answer(desk.runners["s3"], "POST", "/decide", body)
            rules, told = desk.instruments[0], body["intent"]
            intent = OrderIntent.model_validate({name: v for name, v in told.items() if name not in ("tp_px", "sl_px")})
            assert intent.qty % rules.step_size == 0
            assert intent.qty >= rules.min_qty
            assert intent.entry_ref_price is not None
            assert intent.qty * intent.entry_ref_price >= rules.min_notional
            prices = [D(repr(told["tp_px"])), D(repr(told["sl_px"])), intent.entry_ref_price]
            if intent.exec_policy.oco is not None:
                prices += [price for price in (intent.exec_policy.oco.tp, intent.exec_policy.oco.sl) if price]
            assert all(price % rules.tick_size == 0 for price in prices), prices
            assert told["sl_px"] < float(intent.entry_ref_price) < told["tp_px"]
            # The exchange has the last word on what is legal: it took entry, stop and target.
            await desk.settle()
            (record,) = await desk.entries()
            assert record.filled_qty == intent.qty
            assert len(desk.resting()) == 2
            await desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("spoilt", "detail"),
    [
        pytest.param({"funding_next": 0.00051}, "FUNDING", id="funding_next beyond its bound"),
        pytest.param({"funding_next": -0.00051}, "FUNDING", id="funding_next beyond it the other way"),
        pytest.param({"spread_bps": 3.01}, "SPREAD", id="spread too wide"),
        pytest.param({"depth_top1_usdt": 199.9}, "DEPTH", id="depth too thin"),
    ],
)
@pytest.mark.parametrize("road", ["stream", "request"])
def test_decide_gate_out_of_range_skips_with_reason_gate(spoilt: dict[str, float], detail: str, road: str) -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        signal_id = await desk.see(1.0 if road == "stream" else 0.0, **spoilt)
        if road == "request":
            answer = await desk.decide(sideHint="BUY")
            assert (answer.status, answer.body["decision"], answer.body["reason"]) == (200, "skip", "GATE")
            assert answer.body["detail"] == detail
            assert "intent" not in answer.body
            valid_answer(desk.runners["s3"], "POST", "/decide", answer.body)

        decision = (await desk.signal(signal_id)).decision
        refused = [gate for gate in (decision.trail or {})["gates"] if not gate["passed"]]
        assert (decision.action, decision.reason, decision.detail) == (Action.SKIP, "GATE", detail)
        assert refused[0]["code"] == detail
        assert refused[0]["value"] == abs(next(iter(spoilt.values())))
        assert (await desk.intents(), await desk.reserved(), desk.position_qty()) == ([], {}, 0)
        await desk.stop()

    run_virtual(scenario())


def test_decide_ml_timeout_degrades_to_size_mult_ml_1_0_and_says_so() -> None:
    late = decide(facts(model_p=None), config())
    sure = decide(facts(model_p=0.9), config())

    assert (late.opens, late.size_mult, late.model_p) == (True, 1.0, None)
    assert sure.size_mult == 1.2
    assert late.model_note not in ("", sure.model_note)


def test_idempotent_the_same_intent_id_again_gives_the_same_result_and_reserves_nothing_twice() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        signal_id = await desk.see()
        (record,) = await desk.intents()
        assert record.intent_id == f"{signal_id}-ENTRY-1"
        reserved = await desk.reserved()
        usage = await desk.world.reservations.usage(Market.FUT)

        by_rest = [await desk.call("s4", "POST", "/orders", record.intent) for _ in range(3)]
        for _ in range(3):
            await desk.world.bus.publish(ORD_CMD.name(ENV, FUT), record.intent.to_cmd())
        await desk.settle()
        again = await desk.world.reservations.reserve(
            Reservation(
                intent_id=record.intent_id,
                key=FUT,
                amount_usdt=reserved[record.intent_id],
                state=ReservationState.RESERVED,
                ts=desk.world.clock.now_ms(),
            ),
            amount_max_usdt=D(600),
            concurrency_max=2,
        )

        assert {answer.status for answer in by_rest} == {200}
        assert by_rest[0].body == by_rest[1].body == by_rest[2].body
        assert by_rest[0].body["intent_id"] == record.intent_id
        assert again is ReserveOutcome.ALREADY
        assert (await desk.reserved(), await desk.world.reservations.usage(Market.FUT)) == (reserved, usage)
        assert await desk.world.documents.count(FILLS) == 1
        assert desk.position_qty() == record.intent.qty
        await desk.stop()

    run_virtual(scenario())


def test_idempotent_the_same_signal_again_opens_nothing_more() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        signal_id = await desk.see(settle_ms=500)
        told = next(message for stream, message in desk.told if "feat:events" in stream)

        for _ in range(3):
            stream = next(stream for stream, _ in desk.told if "feat:events" in stream)
            await desk.world.bus.publish(stream, told)
        asked = [await desk.decide() for _ in range(3)]
        await desk.settle()

        assert [answer.body["decision"] for answer in asked] == ["skip"] * 3
        assert [record.intent_id for record in await desk.intents()] == [f"{signal_id}-ENTRY-1"]
        assert list(await desk.reserved()) == [f"{signal_id}-ENTRY-1"]
        assert (await desk.signal(signal_id)).decision.action is Action.OPEN
        await desk.stop()

    run_virtual(scenario())


def test_rcu_the_next_signal_after_cfg_events_carries_the_new_config_rev() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        before = await desk.signal(await desk.see(1.0, spread_bps=9.0))
        begun_ms = desk.world.clock.now_ms()

        await desk.promote(flags={"risk": {"slip_bp_hard": 25}})
        after = await desk.signal(await desk.see(1.0, depth_top1_usdt=1.0))

        (event,) = [each for each in desk.messages(CfgEvent) if each.activated_at >= begun_ms]
        assert (before.config_rev, after.config_rev) == (1, event.rev)
        assert event.rev == 2
        told = [each for each in desk.messages(SignalEvent) if each.signal_id == after.signal_id]
        assert [each.config_rev for each in told] == [2]
        await desk.stop()

    run_virtual(scenario())


def test_what_s3_writes_and_tells_validates_against_the_exported_schemas() -> None:
    async def scenario() -> None:
        desk = await Desk.begin()
        opened: Signal = await desk.signal(await desk.see())
        await desk.see(key=SPOT)
        refused = await desk.signal(await desk.see(-1.0, spread_bps=7.0))

        for signal in (opened, refused):
            valid_document("signals", signal.to_dict())
        assert {event.decision.action for event in desk.messages(SignalEvent)} == {Action.OPEN, Action.SKIP}
        for event in desk.messages(SignalEvent):
            valid_event("SignalEvent", event.to_dict())
        for record in await desk.intents():
            assert record.intent.side is Side.BUY
            valid_event("OrderCmd", record.intent.to_cmd().to_dict())
            valid_document("intents", record.to_dict())
        await desk.stop()

    run_virtual(scenario())
