"""Entries of every kind for the router on the simulated exchange, one builder call each."""

from decimal import Decimal

from chimera.contracts.enums import Intent, Market, OrderType, Purpose, Routing, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages.orders import ExecPolicy, Oco, RiskRef, StopSpec, TargetSpec, Twap
from chimera.contracts.order_intent import OrderIntent
from chimera.ports.peers import PeerAnswer
from tests.services.trading_floor import FUT, Floor

ENTRY = "s3-btc-e1"
STOP, TARGET = f"{ENTRY}-1", f"{ENTRY}-2"


async def order(
    floor: Floor,
    *,
    key: InstrumentKey = FUT,
    qty: str = "0.010",
    type: OrderType = OrderType.MARKET,
    price: str | None = None,
    sl: str = "59400",
    tp: str | None = None,
    routing: Routing = Routing.DIRECT_TAKER,
    slices: int | None = None,
    maker_wait_ms: int | None = None,
    settle_ms: int = 3_000,
) -> PeerAnswer:
    """An entry E1, from outside; then the market goes on for `settle_ms`."""
    fut = key.market is Market.FUT
    intent = OrderIntent(
        intent_id="E1",
        client_order_id=ENTRY,
        ts=floor.world.clock.now_ms(),
        market=key.market,
        symbol=key.symbol,
        side=Side.BUY,
        intent=Intent.ENTRY,
        purpose=Purpose.ENTRY,
        qty=Decimal(qty),
        type=type,
        price=None if price is None else Decimal(price),
        sl=StopSpec(price=Decimal(sl)) if fut else None,
        tp=TargetSpec(price=Decimal(tp)) if fut and tp is not None else None,
        leverage=20 if fut else None,
        exec_policy=ExecPolicy(
            routing=routing,
            maker_wait_ms=maker_wait_ms,
            need_fill_ratio=0.7,
            twap=None if slices is None else Twap(enabled=True, slices=slices, gap_ms=600, jitter_ms=0),
            oco=None if fut or tp is None else Oco(enabled=True, tp=Decimal(tp), sl=Decimal(sl)),
        ),
        risk=RiskRef(rcu_rev=1),
    )
    answer = await floor.call("s4", "POST", "/orders", intent)
    await floor.settle(settle_ms)
    return answer


async def leave(floor: Floor, *, qty: str = "0.010", name: str = "X1") -> PeerAnswer:
    """What E1 bought is sold at market, all or in part."""
    intent = OrderIntent(
        intent_id=name,
        client_order_id=f"s6-btc-{name.lower()}",
        parent_id="E1",
        ts=floor.world.clock.now_ms(),
        market=FUT.market,
        symbol=FUT.symbol,
        side=Side.SELL,
        intent=Intent.EXIT,
        purpose=Purpose.EXIT,
        qty=Decimal(qty),
        reduce_only=True,
        risk=RiskRef(rcu_rev=1),
    )
    answer = await floor.call("s4", "POST", "/orders", intent)
    await floor.settle()
    return answer
