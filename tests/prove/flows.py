"""Every way in which an intent is carried out, each lived through from entry to flat.

Owns the flows and their steps. A flow ends with nothing open whatever was cut from it: its last moves pass any stop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chimera.adapters.simulated_venue.operator import Operator
from chimera.contracts.enums import Intent, Market, OrderType, Purpose, Routing, Side
from chimera.contracts.http import CancelRequest
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import REGIME_STATE
from chimera.contracts.messages.orders import ExecPolicy, GuardStop, Oco, RiskRef, StopSpec, TargetSpec, Twap
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.matching.refusals import Refusal
from chimera.ports.state import Reservation, ReservationState
from tests.services.trading_floor import DAY_MS, ENV, FUT, SPOT, Floor, tick

if TYPE_CHECKING:
    from tests.prove.timeline import Timeline

D = Decimal
Step = Callable[["Timeline", Floor], Awaitable[None]]
Path = Sequence[tuple[int, str]]
"""(ms since the step began, price)."""

THIN = D("0.003")
"""Base asset at each price of a book that is too thin to enter."""


async def regime_is_normal(floor: Floor) -> None:
    """As S2 would say: adds are allowed, and the cost of taking is known."""
    expires_at = floor.world.clock.now_ms() + 7 * DAY_MS
    await floor.world.snapshots.set_hash(REGIME_STATE.name(ENV), {"state": "NORMAL", "expires_at": str(expires_at)})


async def nothing(floor: Floor) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """`prepare` is what else of the world a new house finds; `spot_usdt` and `fut_usdt` the wallets;
    `spot_stop_at_market` whether SPOT takes stops that become market orders; `steps_min` how many steps an orderly run
    takes at least, so that a flow that quietly does nothing is no flow."""

    name: str
    steps: tuple[Step, ...]
    steps_min: int = 30
    spot_usdt: str = "5000"
    fut_usdt: str = "5000"
    spot_stop_at_market: bool = True
    prepare: Callable[[Floor], Awaitable[None]] = nothing


def entry(
    floor: Floor,
    name: str,
    *,
    key: InstrumentKey = FUT,
    side: Side = Side.BUY,
    qty: str = "0.010",
    sl: str = "59400",
    tp: str | None = "60500",
    sl_distance: str | None = None,
    routing: Routing = Routing.DIRECT_TAKER,
    slices: int | None = None,
    guarded: bool = False,
    **more: Any,
) -> OrderIntent:
    """`guarded`: SPOT with a stop that we watch ourselves, and no pair."""
    fut = key.market is Market.FUT
    stop = StopSpec(price=D(sl)) if sl_distance is None else StopSpec(distance=D(sl_distance))
    return OrderIntent(
        intent_id=name,
        signal_id=f"SIG-{name}",
        client_order_id=f"s3-btc-{name.lower()}",
        ts=floor.world.clock.now_ms(),
        market=key.market,
        symbol=key.symbol,
        side=side,
        intent=Intent.ENTRY,
        purpose=Purpose.ENTRY,
        qty=D(qty),
        type=more.pop("type", OrderType.MARKET),
        sl=stop if fut else None,
        tp=TargetSpec(price=D(tp)) if fut and tp is not None else None,
        leverage=20 if fut else None,
        exec_policy=ExecPolicy(
            routing=routing,
            twap=None if slices is None else Twap(enabled=True, slices=slices, gap_ms=600, jitter_ms=0),
            oco=Oco(enabled=True, tp=D(tp), sl=D(sl)) if not fut and tp is not None and not guarded else None,
        ),
        guard_stop=GuardStop(enable=True, price=D(sl)) if guarded else None,
        risk=RiskRef(rcu_rev=1),
        **more,
    )


async def reserve(floor: Floor, intent: OrderIntent) -> None:
    """As S3 does before it orders."""
    await floor.world.reservations.reserve(
        Reservation(
            intent_id=intent.intent_id,
            key=intent.instrument,
            amount_usdt=D(40),
            state=ReservationState.RESERVED,
            ts=floor.world.clock.now_ms(),
        ),
        amount_max_usdt=D(100_000),
        concurrency_max=100,
    )


def enters(
    name: str = "E1", *, settle_ms: int = 3_000, during: Path = (), depth: Decimal | None = None, **how: Any
) -> Step:
    """Order, and let time pass; meanwhile the price goes along `during`. `depth`: the book is so thin for a second."""

    async def step(timeline: "Timeline", floor: Floor) -> None:
        intent = entry(floor, name, **how)
        await reserve(floor, intent)
        if depth is not None:
            floor.depth = depth
            await floor.settle(100)
        began_ms = timeline.clock.now_ms()
        going = asyncio.ensure_future(_goes_along(timeline, floor, began_ms, during, thin_ms=1_000 if depth else 0))
        try:
            await floor.call("s4", "POST", "/orders", intent)
            await floor.settle(settle_ms)
            await going
        finally:
            going.cancel()
            floor.depth = None

    return step


async def _goes_along(timeline: "Timeline", floor: Floor, began_ms: int, path: Path, *, thin_ms: int) -> None:
    if thin_ms:
        await timeline.clock.sleep_until_ms(began_ms + thin_ms)
        floor.depth = None
    for after_ms, price in path:
        await timeline.clock.sleep_until_ms(began_ms + after_ms)
        timeline.price = floor.price = D(price)
        floor.venue.apply(tick(timeline.price, timeline.clock.now_ms()))


def moves(price: str, settle_ms: int = 3_000) -> Step:
    async def step(timeline: "Timeline", floor: Floor) -> None:
        timeline.price = D(price)
        await floor.move(price, settle_ms=settle_ms)

    return step


def touches(price: str, depth: str, settle_ms: int = 3_000) -> Step:
    """A price that is there for so little that what rests at it fills in part; then the market is deep again."""

    async def step(timeline: "Timeline", floor: Floor) -> None:
        timeline.price, floor.depth = D(price), D(depth)
        try:
            await floor.move(price, settle_ms=500)
        finally:
            floor.depth = None
            timeline.price = floor.price = D(60_000)
        await floor.settle(settle_ms)

    return step


def asks(service: str, path: str, body: Any, *, settle_ms: int = 3_000) -> Step:
    """What a person says. Whether it was still possible is not the point: what is left afterwards is."""

    async def step(timeline: "Timeline", floor: Floor) -> None:
        await floor.call(service, "POST", path, body)
        await floor.settle(settle_ms)

    return step


def takes_the_pair_away(settle_ms: int = 3_000) -> Step:
    """Somebody does, at the exchange; where nothing rests any more there is nothing to take."""

    async def step(timeline: "Timeline", floor: Floor) -> None:
        operator = Operator(floor.venue)
        for order in operator.stops(SPOT.market, SPOT.symbol)[:1]:
            operator.cancel(order)
        await floor.settle(settle_ms)

    return step


def sells_by_hand(qty: str = "0.00999", settle_ms: int = 12_000) -> Step:
    """A person does, at the exchange, what a SPOT trade of ours has bought; where that is gone he is refused."""

    async def step(timeline: "Timeline", floor: Floor) -> None:
        with suppress(Refusal):
            Operator(floor.venue).place(SPOT.market, SPOT.symbol, Side.SELL, qty=D(qty))
        await floor.settle(settle_ms)

    return step


CLOSES = asks("s6", "/positions/close", {"market": "FUT", "symbol": "BTCUSDT"})
FLATTENS = asks("s6", "/positions/flatten", {})
CANCELS = asks("s4", "/cancel", CancelRequest(intent_id="E1"))
CANCELS_GUARD = asks("s4", "/cancel", CancelRequest(intent_id="E1-GUARD-1"))
FALLS = moves("59000")

FLOWS: dict[str, Flow] = {
    flow.name: flow
    for flow in (
        Flow(name="taker", steps=(enters(), moves("60600"), FALLS)),
        Flow(
            name="short",
            steps=(enters(side=Side.SELL, sl="60600", tp="59500"), moves("59400"), moves("60700")),
        ),
        Flow(name="stop refused", steps=(enters(sl_distance="0.5"), FALLS)),
        Flow(
            name="maker filled",
            steps=(enters(routing=Routing.AUTO, during=((400, "59990"),)), FALLS),
            prepare=regime_is_normal,
        ),
        Flow(
            name="maker then taker",
            steps=(enters(routing=Routing.AUTO, settle_ms=6_000), FALLS),
            prepare=regime_is_normal,
        ),
        Flow(name="TWAP", steps=(enters(qty="0.024", slices=3, settle_ms=5_000), FALLS), steps_min=50),
        Flow(
            name="maker and TWAP",
            steps=(
                enters(qty="0.024", slices=3, routing=Routing.AUTO, during=((300, "59990"),), settle_ms=12_000),
                FALLS,
            ),
            steps_min=50,
            prepare=regime_is_normal,
        ),
        Flow(
            name="limit",
            steps=(
                enters(type=OrderType.LIMIT, price=D("59950"), routing=Routing.AUTO, during=((2_000, "59940"),)),
                FALLS,
            ),
        ),
        Flow(name="liquidity delay", steps=(enters(depth=THIN, settle_ms=5_000), FALLS)),
        Flow(name="downsizing", steps=(enters(qty="0.010", settle_ms=6_000), FALLS), fut_usdt="25"),
        Flow(
            name="stop tiers",
            steps=(enters(tp="63000"), moves("60320", 6_000), moves("60650", 6_000), FALLS),
            steps_min=50,
        ),
        Flow(
            name="ladder",
            steps=(enters(qty="0.020", tp=None), moves("60340", 4_000), moves("60800", 6_000), FALLS),
        ),
        Flow(
            name="add",
            steps=(enters(tp="63000"), moves("60320", 10_000), FALLS),
            steps_min=60,
            prepare=regime_is_normal,
        ),
        Flow(
            name="stop moved by a person",
            steps=(
                enters(tp="63000"),
                moves("60200"),
                asks("s6", "/positions/stop", {"symbol": "BTCUSDT", "price": 59_900}),
                FALLS,
            ),
        ),
        Flow(
            name="near its liquidation",
            steps=(enters(qty="0.008", sl="57600", tp="63000"), moves("57900", 12_000), moves("57550")),
            steps_min=50,
        ),
        Flow(name="exit by a person", steps=(enters(), CLOSES)),
        Flow(
            name="cancel by a person",
            steps=(enters(qty="0.024", slices=3, settle_ms=700), CANCELS, FALLS),
        ),
        Flow(name="flatten", steps=(enters(qty="0.024", slices=3, settle_ms=700), FLATTENS)),
        Flow(name="spot pair", steps=(enters(key=SPOT), moves("60600"))),
        Flow(name="spot pair, stopped", steps=(enters(key=SPOT), FALLS)),
        Flow(name="spot pair, filled in part", steps=(enters(key=SPOT), touches("60501", "0.0005"), FALLS)),
        Flow(name="guard", steps=(enters(key=SPOT, guarded=True), FALLS), steps_min=20),
        Flow(
            name="guard behind a stop limit",
            steps=(enters(key=SPOT), moves("58000")),
            spot_stop_at_market=False,
        ),
        Flow(name="sold by hand", steps=(enters(key=SPOT, guarded=True), sells_by_hand(), FALLS), steps_min=20),
        Flow(name="pair canceled by hand", steps=(enters(key=SPOT), takes_the_pair_away(), FALLS)),
        Flow(name="pair canceled by a person here", steps=(enters(key=SPOT), CANCELS, FALLS)),
        Flow(name="guard canceled", steps=(enters(key=SPOT, guarded=True), CANCELS_GUARD, FALLS), steps_min=20),
        Flow(
            name="spot dust",
            steps=(
                enters(key=SPOT, qty="0.00099"),
                moves("60600"),
                moves("60000"),
                enters("E2", key=SPOT, qty="0.00099"),
                moves("60600"),
            ),
        ),
        Flow(name="spot pair refused", steps=(enters(key=SPOT, tp="600000"), FALLS)),
        Flow(name="spot TWAP", steps=(enters(key=SPOT, qty="0.024", slices=3, settle_ms=6_000), moves("60600"))),
        Flow(
            name="spot downsizing",
            steps=(enters(key=SPOT, qty="0.020", settle_ms=6_000), moves("60600")),
            spot_usdt="600",
        ),
    )
}
