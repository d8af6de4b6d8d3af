"""The checkers find what they are there to find: a true story passes, and each lie in it is named."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from chimera.contracts.collections import FILLS, FUNDING_RECORDS, INTENTS, ORDERS, SIGNALS
from chimera.contracts.documents import Decision, FundingRecord, IntentRecord, Order, Signal, WorkSlice
from chimera.contracts.enums import Action, IntentState, Market, OrderStatus, OrderType, Purpose
from chimera.contracts.messages import OrderResult
from chimera.contracts.messages.orders import ResultFill
from chimera.simulation.checkers import CHECKS, check_evidence
from chimera.simulation.checkers.budget_adds_up import reserved_is_used, used_usdt
from chimera.simulation.checkers.entries_allowed import forbidden_entries
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.results_told import untold, untrue
from chimera.simulation.checkers.spot_stops import bare_spans, watched_in_time
from chimera.simulation.checkers.stops_listed import naked_spans, stops_in_time
from chimera.simulation.loop import run_virtual
from tests.prove.timeline import HOUSE, Fuse, Timeline
from tests.services.trading_floor import SPOT

D = Decimal
LATER_MS = 60_000


async def _open_position() -> Evidence:
    timeline = Timeline.open()
    floor = await timeline.live(Fuse(None))
    await floor.start(*HOUSE, price="60000")
    await floor.enter("E1")
    await floor.enter("E2", key=SPOT)
    await floor.settle(5_000)
    await floor.stop()
    return timeline.evidence()


@pytest.fixture(scope="module")
def truth() -> Evidence:
    """A futures position with stop and target, a spot holding with its pair."""
    return run_virtual(_open_position())


def with_document(evidence: Evidence, name: str, key: str, **changes: object) -> Evidence:
    documents = [each.but(**changes) if each.doc_key() == key else each for each in evidence.documents[name]]
    return replace(evidence, documents={**evidence.documents, name: tuple(documents)})


def plus(evidence: Evidence, name: str, document: object) -> Evidence:
    return replace(evidence, documents={**evidence.documents, name: (*evidence.documents[name], document)})


def without(evidence: Evidence, name: str, key: str) -> Evidence:
    left = tuple(each for each in evidence.documents[name] if each.doc_key() != key)
    return replace(evidence, documents={**evidence.documents, name: left})


def stop_gone(evidence: Evidence, *, at_ms: int) -> Evidence:
    orders = tuple(
        replace(order, status=OrderStatus.CANCELED, updated_at_ms=at_ms)
        if order.type is OrderType.STOP_MARKET
        else order
        for order in evidence.orders
    )
    return replace(evidence, orders=orders, now_ms=evidence.now_ms + LATER_MS)


def pair_gone(evidence: Evidence) -> Evidence:
    orders = tuple(
        replace(order, status=OrderStatus.CANCELED, updated_at_ms=evidence.now_ms)
        if order.order_list_id is not None
        else order
        for order in evidence.orders
    )
    return replace(evidence, orders=orders)


def guard(evidence: Evidence, trade_id: str, *, ended_ms: int | None = None) -> IntentRecord:
    """Armed a second after now."""
    entry, armed_ms = _intent(evidence, trade_id), evidence.now_ms + 1_000
    intent = entry.intent.but(intent_id=f"{trade_id}-GUARD-1", parent_id=trade_id, purpose=Purpose.GUARD)
    return entry.but(
        intent_id=intent.intent_id,
        intent=intent,
        purpose=Purpose.GUARD,
        state=IntentState.ACCEPTED if ended_ms is None else IntentState.CANCELED,
        created_at=armed_ms,
        updated_at=ended_ms or armed_ms,
    )


def opened(intent_id: str, detail: str | None) -> Signal:
    return Signal(
        signal_id="SIG-1-FUT-BTCUSDT",
        t0=1,
        market=Market.FUT,
        symbol="BTCUSDT",
        features={},
        decision=Decision(action=Action.OPEN, intent_id=intent_id, detail=detail),
        config_rev=1,
    )


def funding(amount: str) -> FundingRecord:
    return FundingRecord(symbol="BTCUSDT", funding_time=1, funding_rate=D(0), amount_usdt=D(amount))


def richer(evidence: Evidence, by: str) -> Evidence:
    key = (Market.FUT, "USDT")
    return replace(evidence, balances={**evidence.balances, key: evidence.balances[key] + D(by)})


def both_legs(evidence: Evidence, second_qty: str) -> Evidence:
    """The first leg of the pair has filled long ago, and the second by so much."""
    legs = [order for order in evidence.orders if order.order_list_id is not None]
    first, second = legs
    told = {
        first.no: replace(first, filled_qty=first.qty, status=OrderStatus.FILLED),
        second.no: replace(second, filled_qty=D(second_qty)),
    }
    return replace(evidence, orders=tuple(told.get(order.no, order) for order in evidence.orders))


def sliced(evidence: Evidence, *quantities: str) -> Evidence:
    execution = _intent(evidence, "E1").execution
    assert execution is not None
    slices = tuple(WorkSlice(number=k, qty=D(qty), due_at=0) for k, qty in enumerate(quantities))
    return with_document(evidence, INTENTS.name, "E1", execution=execution.but(slices=slices))


def again(evidence: Evidence, name: str) -> Evidence:
    first = next(order for order in evidence.orders if order.client_order_id == "s3-btc-e1")
    document = _order(evidence, "s3-btc-e1").but(order_id=name)
    told = plus(evidence, ORDERS.name, document)
    return replace(told, orders=(*told.orders, replace(first, no=10_000, client_order_id=name)))


def result(evidence: Evidence, name: str, **changes: object) -> OrderResult:
    """What was published of an order, as it stands on file but for `changes`."""
    order = _order(evidence, name)
    fills = [fill for fill in evidence.on_file(FILLS) if fill.order_id == name]
    told = OrderResult(
        cmd_id="E1",
        client_order_id=name,
        market=order.market,
        symbol=order.symbol,
        status=order.status,
        filled_qty=order.filled_qty,
        fills=tuple(
            ResultFill(price=fill.price, qty=fill.qty, ts=fill.timestamp, fill_id=fill.fill_id) for fill in fills
        ),
    )
    return told.but(**changes)


FALSE_RESULTS: dict[str, tuple[str, dict[str, object]]] = {
    "more than filled": ("as told", {"filled_qty": D("0.020")}),
    "another end": ("was told to be CANCELED", {"status": OrderStatus.CANCELED}),
    "a fill that was none": (
        "is not so on file",
        {"fills": (ResultFill(price=D(1), qty=D(1), ts=1, fill_id="FUT-BTCUSDT-9-B"),)},
    ),
    "an order that is on no file": ("is not on file", {"client_order_id": "s3-btc-ghost"}),
    "an end that is none": ("it is on no file", {"final": True, "cmd_id": "E77"}),
}


@pytest.mark.parametrize(("said", "changes"), FALSE_RESULTS.values(), ids=FALSE_RESULTS)
def test_what_was_published_and_is_not_so_is_named(truth: Evidence, said: str, changes: dict[str, object]) -> None:
    assert untrue(truth, [result(truth, "s3-btc-e1")]) == []

    findings = untrue(truth, [result(truth, "s3-btc-e1", **changes)])

    assert any(said in finding for finding in findings), findings


def test_what_ended_and_was_not_published_is_named(truth: Evidence) -> None:
    silent = untold(truth, [], since_ms=0)
    late = untold(truth, [], since_ms=truth.now_ms)

    assert "s3-btc-e1 is FILLED and nobody was told" in silent
    assert "E1 is DONE and nobody was told" in silent
    assert any("was told 0 times" in finding for finding in silent)
    assert late == []


def test_an_entry_in_a_forbidden_time_is_named(truth: Evidence) -> None:
    entry = next(order for order in truth.orders if order.client_order_id == "s3-btc-e1")
    at_ms = entry.created_at_ms

    assert forbidden_entries(truth, [("RED", at_ms - 10, at_ms + 10)]) == ["entry s3-btc-e1 came 10 ms into RED"]
    assert forbidden_entries(truth, [("RED", at_ms + 1, at_ms + 10), ("RED", at_ms - 10, at_ms - 1)]) == []


LIES: dict[str, tuple[str, str, Callable[[Evidence], Evidence]]] = {
    "an order twice": ("I1", "holds 2 orders named s3-btc-e1", lambda e: replace(e, orders=(*e.orders, e.orders[0]))),
    "an intent that was meant smaller": (
        "I1",
        "was meant for 0.004",
        lambda e: with_document(e, INTENTS.name, "E1", intent=_intent(e, "E1").intent.but(qty=D("0.004"))),
    ),
    "a stop gone": ("I2", "0.010 without a stop", lambda e: stop_gone(e, at_ms=e.now_ms)),
    "a stop too small": (
        "I2",
        "0.004 without a stop",
        lambda e: replace(
            with_document(e, ORDERS.name, "s3-btc-e1-1", quantity=D("0.006")),
            orders=tuple(
                replace(each, qty=D("0.006")) if each.type is OrderType.STOP_MARKET else each for each in e.orders
            ),
        ),
    ),
    "a pair gone": ("I2 spot", "E2 has neither pair nor guard since 60000 ms", lambda e: pair_gone(e)),
    "a pair gone, and a guard that ended": (
        "I2 spot",
        "E2 has neither pair nor guard since 58000 ms",
        lambda e: plus(pair_gone(e), INTENTS.name, guard(e, "E2", ended_ms=e.now_ms + 2_000)),
    ),
    "a position nobody counts": ("I4", "the exchange 0", lambda e: replace(e, positions=())),
    "an entry that netted what nobody held": (
        "I4",
        "closed 0.004 of somebody else's on file, 0.000 by the exchange's fills",
        lambda e: with_document(e, ORDERS.name, "s3-btc-e1", foreign_qty=D("0.004")),
    ),
    "another status": (
        "I5",
        "status is CANCELED on file and FILLED at the exchange",
        lambda e: with_document(e, ORDERS.name, "s3-btc-e1", status=OrderStatus.CANCELED),
    ),
    "another fee": ("I5", "fee_usdt is 0", lambda e: with_document(e, ORDERS.name, "s3-btc-e1", fee_usdt=D(0))),
    "another average": (
        "I5",
        "avg_price is 60002",
        lambda e: with_document(e, ORDERS.name, "s3-btc-e1", avg_price=D(60002)),
    ),
    "an order off the file": ("I5", "not on file", lambda e: without(e, ORDERS.name, "s3-btc-e1-1")),
    "an order nobody took": (
        "I5",
        "unknown to the exchange",
        lambda e: plus(e, ORDERS.name, _order(e, "s3-btc-e1-1").but(order_id="s3-btc-ghost")),
    ),
    "a fill lost": ("I5", "is not on file", lambda e: without(e, FILLS.name, e.on_file(FILLS)[0].fill_id)),
    "a fill invented": (
        "I5",
        "on file and unknown",
        lambda e: plus(e, FILLS.name, e.on_file(FILLS)[0].but(fill_id="FUT-BTCUSDT-999-B")),
    ),
    "an intent without an end": (
        "I9",
        "E1 is still WORKING",
        lambda e: with_document(e, INTENTS.name, "E1", state=IntentState.WORKING),
    ),
    "an open that vanished": ("I9", "nothing was ever heard", lambda e: plus(e, SIGNALS.name, opened("E9", "OK"))),
    "an open given up and done": (
        "I9",
        "counts as undelivered",
        lambda e: plus(e, SIGNALS.name, opened("E1", "UNDELIVERED")),
    ),
    "money from nowhere": ("I10", "FUT USDT changed by", lambda e: richer(e, "0.00000002")),
    "a pair that sold twice": ("I3", "filled both legs", lambda e: both_legs(e, "0.010")),
    "a leg that stayed": ("I3", "was still there", lambda e: both_legs(e, "0")),
    "a slice too many": ("I7", "slices sum up to 0.020 of 0.01", lambda e: sliced(e, "0.010", "0.010")),
    "a slice left out": ("I7", "slice 1 of 0.004 ended with 0", lambda e: sliced(e, "0.006", "0.004")),
    "a slice worked twice": ("I7", "slice 0 of 0.006 filled 0.010", lambda e: sliced(e, "0.006", "0.004")),
    "an order that two intents claim": (
        "I14",
        "s3-btc-e1 is claimed by 2 intents",
        lambda e: with_document(e, INTENTS.name, "E2", order_ids=(*_intent(e, "E2").order_ids, "s3-btc-e1")),
    ),
    "an order that its intent does not name": (
        "I14",
        "which does not name it",
        lambda e: with_document(e, INTENTS.name, "E1", order_ids=()),
    ),
    "a second entry while the first is there": (
        "I1",
        "has 2 entries",
        lambda e: again(e, "s3-btc-e1-77"),
    ),
    "funding that was booked and not paid": (
        "I14",
        "more often than it was paid",
        lambda e: plus(e, FUNDING_RECORDS.name, funding("0.1")),
    ),
    "funding that nobody paid": (
        "I10",
        "funding",
        lambda e: plus(e, FUNDING_RECORDS.name, funding("0.1")),
    ),
}


def _intent(evidence: Evidence, key: str) -> IntentRecord:
    return next(each for each in evidence.on_file(INTENTS) if each.intent_id == key)


def _order(evidence: Evidence, key: str) -> Order:
    return next(each for each in evidence.on_file(ORDERS) if each.order_id == key)


def test_a_true_story_has_no_findings(truth: Evidence) -> None:
    assert len(truth.positions) == 1
    assert len(truth.fills) >= 2
    assert check_evidence(truth) == {name: [] for name in CHECKS}
    assert stops_in_time(truth) == []


@pytest.mark.parametrize(("invariant", "said", "lie"), LIES.values(), ids=LIES)
def test_a_lie_is_named(truth: Evidence, invariant: str, said: str, lie: Callable[[Evidence], Evidence]) -> None:
    told = replace(lie(truth), now_ms=truth.now_ms + LATER_MS)

    findings = check_evidence(told)[invariant]

    assert any(said in finding for finding in findings), findings


def test_rounding_in_the_last_place_is_no_lie(truth: Evidence) -> None:
    assert check_evidence(richer(truth, "0.00000001"))["I10"] == []


def test_downtime_is_not_held_against_a_system_that_was_killed(truth: Evidence) -> None:
    gone_ms = truth.now_ms
    told = stop_gone(truth, at_ms=gone_ms)

    (span,) = naked_spans(told)

    assert (span.from_ms, span.to_ms, span.qty) == (gone_ms, None, D("0.010"))
    assert len(stops_in_time(told)) == 1
    assert stops_in_time(told, [(gone_ms + 1_000, gone_ms + LATER_MS - 500)]) == []
    assert stops_in_time(told, since_ms=gone_ms + 1) == []


def test_a_guard_that_takes_over_from_a_pair_is_held_against_nobody(truth: Evidence) -> None:
    gone_ms = truth.now_ms
    told = replace(plus(pair_gone(truth), INTENTS.name, guard(truth, "E2")), now_ms=gone_ms + LATER_MS)

    (span,) = bare_spans(told)

    assert (span.trade_id, span.from_ms, span.to_ms) == ("E2", gone_ms, gone_ms + 1_000)
    assert check_evidence(told)["I2 spot"] == []
    assert watched_in_time(told) == []
    assert watched_in_time(told, within_ms=999) == [f"E2 had neither pair nor guard for 1000 ms from {gone_ms} on"]
    assert watched_in_time(told, [(gone_ms, gone_ms + 500)], within_ms=500) == []


def test_what_is_reserved_is_held_against_what_is_used(truth: Evidence) -> None:
    used = used_usdt(truth)

    assert sorted(used) == ["E1", "E2"]
    assert reserved_is_used(truth, used) == []
    assert reserved_is_used(truth, {"E1": used["E1"], "E3": D(20)}) == [
        f"E2: 0 USDT is reserved and {used['E2']} is used",
        "E3: 20 USDT is reserved and 0 is used",
    ]
