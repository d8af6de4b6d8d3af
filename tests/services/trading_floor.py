"""Services that trade, on the simulated exchange in virtual time: the real S1, S4, S5, S6 and S10, and a market that
moves when a test says so."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.compute import ComputeInLoop
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.memory.state import (
    MemoryDueQueue,
    MemoryIdempotency,
    MemoryLocks,
    MemoryReservations,
    MemorySnapshots,
)
from chimera.adapters.onnx_models import OnnxModels
from chimera.adapters.prometheus_metrics import PrometheusMetrics
from chimera.adapters.quiet_notifier import QuietNotifier
from chimera.adapters.simulated_venue.feed import OpenSide, Tick
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.base import Message
from chimera.contracts.collections import TRADES
from chimera.contracts.documents import Trade
from chimera.contracts.enums import Intent, Market, OrderType, Purpose, Routing, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import HEALTH_ROLLING, HEALTH_STATE
from chimera.contracts.messages.orders import ExecPolicy, Oco, RiskRef, StopSpec, TargetSpec
from chimera.contracts.order_intent import OrderIntent
from chimera.contracts.settings import S4Settings
from chimera.domain.execution.orders import NewOrder
from chimera.domain.market.generator import FundingRate
from chimera.domain.market.quotes import Bar, BookTop, MarkPrice
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.faults import FaultPlan
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.peers import PeerAnswer, PeerCall
from chimera.ports.state import Reservation, ReservationState
from chimera.ports.world import World
from chimera.runtime.http import LocalPeers
from chimera.runtime.runner import Runner
from chimera.services.s01_exchange import service as s1
from chimera.services.s01_exchange.settings import Settings as ConnectorSettings
from chimera.services.s04_router import service as s4
from chimera.services.s04_router.settings import Settings as RouterSettings
from chimera.services.s05_reconciler import service as s5
from chimera.services.s05_reconciler.settings import Settings as ReconcilerSettings
from chimera.services.s06_positions import service as s6
from chimera.services.s06_positions.settings import Settings as KeeperSettings
from chimera.services.s10_config import service as s10
from chimera.services.s10_config.settings import ConfigSettings
from tests.domain.matching.venue import FUT as FUT_RULES
from tests.domain.matching.venue import SPOT as SPOT_RULES

ENV = "dev"
FUT = InstrumentKey(Market.FUT, "BTCUSDT")
SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
BEGIN_MS = 20_000 * DAY_MS + 2 * HOUR_MS
"""Two in the morning: far from a funding and from midnight."""


class StillMarket:
    """A feed that never moves by itself."""

    tick_interval_ms = 1_000

    def next_after(self, ts: int, open_side: OpenSide) -> Tick | None:
        return None

    def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return ()

    def factor_bars(self, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return ()

    def fundings(self, symbol: str, start_ms: int, end_ms: int) -> Sequence[FundingRate]:
        return ()


def tick(mid: Decimal, now_ms: int, depth: Decimal = Decimal(50)) -> Tick:
    """Three prices on each side, a USDT apart, with `depth` of the base asset at each."""
    following = (now_ms // (8 * HOUR_MS) + 1) * 8 * HOUR_MS
    return Tick(
        ts=now_ms,
        books=tuple(
            BookTop(
                ts=now_ms,
                market=market,
                symbol="BTCUSDT",
                bids=tuple((mid - 1 - step, depth) for step in range(3)),
                asks=tuple((mid + 1 + step, depth) for step in range(3)),
                last=mid,
            )
            for market in (Market.FUT, Market.SPOT)
        ),
        marks=(MarkPrice(now_ms, "BTCUSDT", mid, 0.0001, following, 8),),
        bars=(),
    )


@dataclass(slots=True)
class Floor:
    """`told` holds everything that was published. `runners` are the services by id, those that run now."""

    world: World
    venue: SimulatedVenue
    peers: LocalPeers
    told: list[tuple[str, Message]]
    runners: dict[str, Runner] = field(default_factory=dict)
    price: Decimal | None = None
    s4_variables: S4Settings = field(default_factory=S4Settings)
    carried_out: ClassVar[S4Settings] = S4Settings()
    """S4's variables where a test gives none."""
    depth: Decimal | None = None
    """Base asset at each price; None: plenty."""

    @classmethod
    async def open(
        cls,
        *services: str,
        price: str = "60000",
        usdt: str = "1000",
        exchange: Exchange | None = None,
        variables: S4Settings | None = None,
        faults: FaultPlan | None = None,
    ) -> "Floor":
        clock = LoopClock(BEGIN_MS)
        rules = ExchangeRules(instruments=(FUT_RULES, SPOT_RULES))
        venue = SimulatedVenue(
            exchange=exchange
            or Exchange(rules, spot_balances={"USDT": Decimal(usdt)}, fut_balances={"USDT": Decimal(usdt)}),
            rules=rules,
            feed=StillMarket(),
            clock=clock,
            journal=NoJournal(),
            faults=faults,
        )
        told: list[tuple[str, Message]] = []
        peers = LocalPeers()
        world = World(
            clock=clock,
            randomness=SeededRandomness(7),
            bus=MemoryBus(clock, observe=lambda stream, message: told.append((stream, message))),
            snapshots=MemorySnapshots(clock),
            locks=MemoryLocks(clock),
            idempotency=MemoryIdempotency(clock),
            due=MemoryDueQueue(),
            reservations=MemoryReservations(),
            documents=SqliteDocuments.in_loop(),
            venue=venue,
            factor_feed=None,
            objects=MemoryObjects(),
            peers=peers,
            notifier=QuietNotifier(),
            metrics=PrometheusMetrics(),
            compute=ComputeInLoop(),
            models=OnnxModels(in_thread=False),
        )
        floor = cls(world, venue, peers, told, s4_variables=variables or cls.carried_out)
        await floor.healthy()
        await floor.start(*(services or ("s10", "s1", "s4", "s5", "s6")), price=price)
        return floor

    async def start(self, *services: str, price: str | None = None) -> None:
        """Start the services in this order; where a price is given the market stands there first."""
        for service_id in services:
            self.runners[service_id] = runner = Runner(self._build(service_id), self.world, ENV)
            self.peers.add(service_id, runner.all_routes())
        for service_id in services:
            await self.runners[service_id].start()
            if service_id == "s1" and price is not None:
                await self.settle()
                await self.move(price)
        await self.settle(100)

    async def stop(self, *services: str) -> None:
        """As a crash would: nothing is told to anybody."""
        for service_id in services or tuple(reversed(self.runners)):
            await self.runners.pop(service_id).stop()

    def _build(self, service_id: str) -> Any:
        keys = (FUT, SPOT)
        match service_id:
            case "s1":
                return s1.build(self.world, ConnectorSettings(env=ENV, keys=keys))
            case "s4":
                return s4.build(
                    self.world,
                    RouterSettings(
                        env=ENV, keys=keys, variables=self.s4_variables, dead_man_ms=self.s4_variables.dead_man_ms
                    ),
                )
            case "s5":
                return s5.build(self.world, ReconcilerSettings(env=ENV, keys=keys))
            case "s6":
                return s6.build(self.world, KeeperSettings(env=ENV, keys=keys))
            case "s10":
                return s10.build(self.world, ConfigSettings(env=ENV))
        raise ValueError(service_id)

    async def healthy(self) -> None:
        now_ms = self.world.clock.now_ms()
        await self.world.snapshots.set(HEALTH_STATE.name(ENV), "GREEN")
        # Health is not what these tests are about: good for a week.
        await self.world.snapshots.set_hash(HEALTH_ROLLING.name(ENV), {"updated_at": str(now_ms + 7 * DAY_MS)})

    async def move(self, price: str | Decimal, *, settle_ms: int = 3_000) -> None:
        """Books and mark to `price`, then time for everybody to react."""
        self.price = Decimal(price)
        await self.settle(settle_ms)

    async def settle(self, duration_ms: int = 3_000) -> None:
        """The market goes on at the same price: a tick a second, fewer over hours."""
        step_ms = 1_000 if duration_ms < HOUR_MS else 10_000
        end_ms = self.world.clock.now_ms() + duration_ms
        while True:
            now_ms = self.world.clock.now_ms()
            if self.price is not None:
                self.venue.apply(tick(self.price, now_ms, self.depth or Decimal(50)))
            await self.world.clock.sleep_until_ms(min(end_ms, now_ms + step_ms))
            if self.world.clock.now_ms() >= end_ms:
                return

    async def call(self, service: str, method: str, path: str, body: Any = None) -> PeerAnswer:
        return await self.peers.call(PeerCall(service, method, path, body=body, actor="test"))

    async def enter(
        self,
        name: str = "E1",
        side: Side = Side.BUY,
        qty: str = "0.010",
        *,
        sl: str | None = "59400",
        tp: str | None = "60500",
        key: InstrumentKey = FUT,
        reserved: bool = True,
        routing: Routing = Routing.DIRECT_TAKER,
    ) -> PeerAnswer:
        """Reserve as S3 would (or not, as somebody from outside), then order."""
        if reserved:
            await self.world.reservations.reserve(
                Reservation(
                    intent_id=name,
                    key=key,
                    amount_usdt=Decimal(40),
                    state=ReservationState.RESERVED,
                    ts=self.world.clock.now_ms(),
                ),
                amount_max_usdt=Decimal(10_000),
                concurrency_max=10,
            )
        fut = key.market is Market.FUT
        oco = Oco(enabled=True, tp=Decimal(tp), sl=Decimal(sl)) if not fut and tp and sl else None
        intent = OrderIntent(
            intent_id=name,
            signal_id=f"SIG-{name}",
            client_order_id=f"s3-btc-{name.lower()}",
            ts=self.world.clock.now_ms(),
            market=key.market,
            symbol=key.symbol,
            side=side,
            intent=Intent.ENTRY,
            purpose=Purpose.ENTRY,
            qty=Decimal(qty),
            type=OrderType.MARKET,
            sl=StopSpec(price=Decimal(sl)) if sl and fut else None,
            tp=TargetSpec(price=Decimal(tp)) if tp and fut else None,
            leverage=20 if fut else None,
            exec_policy=ExecPolicy(routing=routing, oco=oco),
            risk=RiskRef(rcu_rev=1),
        )
        answer = await self.call("s4", "POST", "/orders", intent)
        await self.settle()
        return answer

    async def trade(self, name: str = "E1") -> Trade:
        trade = await self.world.documents.get(TRADES, name)
        assert trade is not None, f"there is no trade {name}"
        return trade

    def resting(self) -> dict[str, tuple[str, Decimal, Decimal | None]]:
        """What rests at the exchange: client id to (type, quantity, trigger or price)."""
        exchange = self.venue.exchange
        orders = (
            *exchange.open_orders(Market.FUT),
            *exchange.open_conditional(),
            *exchange.open_orders(Market.SPOT),
        )
        return {
            order.client_order_id: (order.type.value, order.qty - order.filled_qty, order.stop_price or order.price)
            for order in orders
        }

    def position_qty(self) -> Decimal:
        return sum((position.qty for position in self.venue.exchange.positions()), Decimal(0))

    def messages(self, kind: type[Message]) -> list[Any]:
        return [message for _, message in self.told if type(message) is kind]

    async def by_hand(self, client_order_id: str, side: Side, qty: str, **more: Any) -> None:
        """An order that a person, or another program, sends past us."""
        await self.venue.place(
            NewOrder(
                client_order_id=client_order_id,
                market=more.pop("market", Market.FUT),
                symbol="BTCUSDT",
                side=side,
                type=more.pop("type", OrderType.MARKET),
                qty=Decimal(qty),
                **more,
            )
        )
