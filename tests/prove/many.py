"""Many intents one after the other, of every kind, on an exchange where things go wrong; and many races of a pair.

Owns what an intent's right end is: it filled and its trade was closed again; or a fault struck while it was entered, it
was refused for what that fault does, and the exchange holds nothing of it. The same seed is the same run again.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from chimera.contracts.collections import INTENTS, TRADES, system_state
from chimera.contracts.documents import HaltsState, IntentRecord
from chimera.contracts.enums import BreakerState, OrderType, Routing, Side, TradeStatus
from chimera.contracts.messages import OrderResult
from chimera.domain.matching.faults import FaultKind, FaultPlan
from chimera.ports.peers import PeerAnswer
from chimera.simulation.checkers import check_evidence
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.results_told import untrue
from tests.prove.flows import entry, regime_is_normal, reserve
from tests.prove.timeline import HOUSE, Fuse, Timeline
from tests.services.trading_floor import FUT, SPOT, Floor, tick

D = Decimal
HALTS = system_state(HaltsState)

KINDS: Mapping[str, dict[str, Any]] = {
    "taker": {},
    "short": {"side": Side.SELL, "sl": "60600", "tp": "59500"},
    "maker then taker": {"routing": Routing.AUTO},
    "TWAP": {"qty": "0.024", "slices": 3},
    "maker and TWAP": {"qty": "0.024", "slices": 3, "routing": Routing.AUTO},
    "limit": {"type": OrderType.LIMIT, "price": D("60010"), "routing": Routing.AUTO},
    "spot pair": {"key": SPOT},
    "spot TWAP": {"key": SPOT, "qty": "0.024", "slices": 3},
    "guard": {"key": SPOT, "guarded": True},
}
AT_MARKET = ("taker", "short", "spot pair", "guard")
"""Kinds without deliberate waits, whose latency says something."""

FAULTS: tuple[FaultKind, ...] = (
    FaultKind.ANSWER_LOST,
    FaultKind.REQUEST_LOST,
    FaultKind.ANSWER_5XX,
    FaultKind.HTML_BODY,
    FaultKind.REFUSED_503,
    FaultKind.LATE,
    FaultKind.RATE_429,
    FaultKind.ENGINE_TOO_LATE,
    FaultKind.UNFILLABLE,
    FaultKind.POST_ONLY_TAKES,
    FaultKind.ANSWER_LOST_FILLED,
    FaultKind.CANCEL_TOO_LATE,
    FaultKind.CANCEL_ANSWER_LOST,
    FaultKind.STOP_TRIGGERING,
    FaultKind.STOP_REFUSED,
    FaultKind.STOP_CANCELED_BY_HUMAN,
    FaultKind.PARTIAL_FILLS,
    FaultKind.FILL_DURING_CANCEL,
    FaultKind.EVENTS_DOUBLED,
    FaultKind.EVENTS_SHUFFLED,
    FaultKind.EVENTS_LOST,
    FaultKind.LISTEN_KEY_EXPIRED,
    FaultKind.STREAM_CLOSED,
)
"""Those after which the next intent finds the account as it was."""

PER_HOUR = 90.0
LIVED_MS = 14_000
"""About what one intent takes of market time, with everything that follows."""

ENDS_WITHIN_MS = 60_000
NEAR = 3
"""A fault is near to the intent that it struck and to the two that follow, and to all while it lasts: a stream that was
cut comes back with the next price that moves."""

TRUE_REASONS = (
    "VENUE_UNAVAILABLE",
    "MARGIN_MODE",
    "NO_MARKET_DATA",
    "NOT_SERVED",
    "UNPROTECTED",
    "LIQUIDITY",
    "EXPIRED",
    "-",
)
"""How the reason of a refusal begins that a fault may have caused; `-` is the exchange's own code."""

REFUSED_AT_THE_DOOR = (409, 422, 503)
"""Answers to an entry while something is wrong. Any other is wrong itself."""


@dataclass(slots=True)
class Many:
    """`right` by kind; `wrong` in sentences; `refused` by reason. `results_ms`: from the call to the first result, of
    intents at market, market time; `calm_ms` those of them that no fault struck. `opened`: how often a person closed
    the breaker."""

    count: int
    seed: int
    right: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)
    findings: dict[str, list[str]] = field(default_factory=dict)
    results_ms: list[int] = field(default_factory=list)
    calm_ms: list[int] = field(default_factory=list)
    opened: int = 0

    @property
    def right_ratio(self) -> float:
        return sum(self.right.values()) / self.count


def p95(values: list[int]) -> int:
    ordered = sorted(values)
    return ordered[int(len(ordered) * 0.95)] if ordered else 0


async def consecutive(count: int, seed: int) -> Many:
    """`count` intents, each after the last has ended and its trade was closed."""
    chance = random.Random(seed)
    timeline = Timeline.open(spot_usdt="100000", fut_usdt="100000")
    timeline.prepare = regime_is_normal
    begins_ms = timeline.clock.now_ms() + 5_000
    timeline.plan = plan = FaultPlan.draw(
        random.Random(seed + 1).random,
        from_ms=begins_ms,
        to_ms=begins_ms + count * LIVED_MS,
        per_hour=PER_HOUR,
        kinds=FAULTS,
    )
    floor = await timeline.live(Fuse(None))
    await _begin(floor)
    many = Many(count, seed)
    since: deque[int] = deque([0], maxlen=NEAR)
    for number in range(count):
        kind = chance.choice(tuple(KINDS))
        since.append(sum(plan.hits().values()))
        record, answer, struck = await _lived(timeline, floor, f"E{number}", kind, chance, since[0])
        _judged(many, timeline, f"E{number}", kind, record, answer, struck=struck)
        results = floor.messages(OrderResult)
        if kind in AT_MARKET and record is not None:
            first = next((each.ts for each in results if each.cmd_id == f"E{number}" and each.ts), record.updated_at)
            many.results_ms.append(first - record.created_at)
            if not struck:
                many.calm_ms.append(first - record.created_at)
        floor.told.clear()
        many.opened += await _let_on(timeline, floor)
    many.hits.update({kind.value: hits for kind, hits in plan.hits().items() if hits})
    plan.disarm()
    await floor.settle(90_000)
    evidence = timeline.evidence()
    many.findings = {name: found for name, found in check_evidence(evidence).items() if found}
    if wrong := untrue(evidence, [each.message for each in timeline.told if isinstance(each.message, OrderResult)]):
        many.findings["I13"] = wrong
    await floor.stop()
    return many


async def _begin(floor: Floor) -> None:
    """A day of so many is more than a day may have."""
    floor.s4_variables = floor.s4_variables.model_copy(update={"gate_day_notional_usdt_max": D(10**9)})
    await floor.start(*HOUSE, price="60000")


async def _lived(
    timeline: Timeline, floor: Floor, name: str, kind: str, chance: random.Random, before: int
) -> tuple[IntentRecord | None, PeerAnswer, bool]:
    """Entered, left by its stop, its target or a person, and back at the price where it began; and whether more faults
    than `before` had struck when it was in, or one that lasts was under way."""
    assert timeline.plan is not None
    lasts = any(timeline.plan.under_way(each) is not None for each in FAULTS)
    intent = entry(floor, name, **KINDS[kind])
    await reserve(floor, intent)
    answer = await floor.call("s4", "POST", "/orders", intent)
    await floor.settle(4_000)
    struck = lasts or sum(timeline.plan.hits().values()) > before
    how = chance.choice(("59000", "60800", "person"))
    if how == "person":
        path = "/positions/close" if intent.instrument == FUT else "/positions/flatten"
        body = {"market": "FUT", "symbol": "BTCUSDT"} if intent.instrument == FUT else {}
        await floor.call("s6", "POST", path, body)
    else:
        await floor.move(how)
    waited_ms = 0
    while waited_ms < ENDS_WITHIN_MS:
        record = await timeline.documents.get(INTENTS, name)
        trade = await timeline.documents.get(TRADES, name)
        if (record is None or record.state.is_final) and (trade is None or trade.status is TradeStatus.CLOSED):
            break
        if waited_ms >= 5_000:
            # What an answer that was lost, or a fault, left open goes by price.
            await floor.move("59000" if intent.side is Side.BUY else "61000", settle_ms=1_000)
        await floor.settle(1_000)
        waited_ms += 1_000
    await floor.move("60000", settle_ms=1_000)
    return await timeline.documents.get(INTENTS, name), answer, struck


async def _let_on(timeline: Timeline, floor: Floor) -> bool:
    """So many trades lose more than a day may, and so many faults open the breaker: a person lets entries go on. True:
    the breaker was open."""
    halts = await timeline.documents.get(HALTS, "halts")
    if halts is not None and halts.halts:
        await timeline.documents.put(HALTS, HaltsState(halts={}, updated_at=timeline.clock.now_ms()))
        await floor.settle(2_000)
    if (await floor.call("s4", "GET", "/breaker")).body["state"] == BreakerState.CLOSED:
        return False
    await floor.call("s4", "POST", "/breaker/close", {"reason": "go on"})
    return True


def _judged(
    many: Many,
    timeline: Timeline,
    name: str,
    kind: str,
    record: IntentRecord | None,
    answer: PeerAnswer,
    *,
    struck: bool,
) -> None:
    held = [each for each in timeline.exchange.positions() if each.qty]
    if held:
        many.wrong.append(f"{name} {kind}: {held[0].qty} stayed open")
    elif record is None:
        # Refused at the door by a rule of ours: the exchange must have heard nothing of it.
        why = f"at the door: {answer.status} {answer.body.get('type', '').rpartition(':')[2]}"
        many.refused[why] += 1
        if struck and answer.status in REFUSED_AT_THE_DOOR:
            many.right[kind] += 1
        else:
            many.wrong.append(f"{name} {kind}: {why}, struck {struck}")
    elif not record.state.is_final:
        many.wrong.append(f"{name} {kind}: still {record.state} after {ENDS_WITHIN_MS} ms")
    elif record.filled_qty > 0:
        many.right[kind] += 1
    elif record.reason and struck and record.reason.startswith(TRUE_REASONS):
        many.refused[record.reason[:40]] += 1
        many.right[kind] += 1
    else:
        many.wrong.append(f"{name} {kind}: {record.state} with nothing filled, {record.reason}, struck {struck}")


# --- races


@dataclass(slots=True)
class Races:
    """`exclusive`: pairs of which one leg sold everything; `left`: pairs that a person's exit took back first."""

    count: int
    exclusive: int = 0
    left: int = 0
    findings: dict[str, list[str]] = field(default_factory=dict)


async def races(count: int, seed: int) -> Races:
    """Spot pairs whose both prices are touched within one instant, in either order, with a person who leaves at the
    same moment in every fourth."""
    chance = random.Random(seed)
    timeline = Timeline.open(spot_usdt="100000", fut_usdt="1000")
    floor = await timeline.live(Fuse(None))
    await _begin(floor)
    outcome = Races(count)
    for number in range(count):
        intent = entry(floor, f"R{number}", key=SPOT)
        await reserve(floor, intent)
        await floor.call("s4", "POST", "/orders", intent)
        await floor.settle(1_000)
        now_ms = timeline.clock.now_ms()
        prices = [D("59000"), D("60800")]
        chance.shuffle(prices)
        leaving = None
        if number % 4 == 3:
            leaving = asyncio.ensure_future(floor.call("s6", "POST", "/positions/flatten", {}))
            for _ in range(number // 4 % 12):
                await asyncio.sleep(0)
        for price in prices:
            floor.venue.apply(tick(price, now_ms))
        if leaving is not None:
            await leaving
        floor.price = D("60000")
        await floor.settle(4_000)
        await _let_on(timeline, floor)
    await floor.settle(30_000)
    evidence = timeline.evidence()
    outcome.exclusive, outcome.left = exclusive(evidence)
    outcome.findings = {name: found for name, found in check_evidence(evidence).items() if found}
    if outcome.exclusive + outcome.left != count:
        outcome.findings["raced"] = [f"{outcome.exclusive} + {outcome.left} of {count} pairs came to their race"]
    await floor.stop()
    return outcome


def exclusive(evidence: Evidence) -> tuple[int, int]:
    """How many pairs sold exactly their quantity by one leg, and how many sold nothing."""
    legs: dict[str, list[Decimal]] = {}
    for order in evidence.orders:
        if order.order_list_id is not None:
            legs.setdefault(order.order_list_id, []).append(order.filled_qty / order.qty)
    shares = Counter(tuple(sorted(filled)) for filled in legs.values())
    return shares[D(0), D(1)], shares[D(0), D(0)]
