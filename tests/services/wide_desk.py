"""S3 among the real services, on several symbols, any store of fast state and any loop.

On a real loop market time runs fast, so that nobody waits for the market; what is our own work's time stays real.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.compute import ComputeInLoop
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.onnx_models import OnnxModels
from chimera.adapters.prometheus_metrics import PrometheusMetrics
from chimera.adapters.quiet_notifier import QuietNotifier
from chimera.adapters.simulated_venue.feed import Tick
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts import ids
from chimera.contracts.base import Message
from chimera.contracts.collections import INTENTS, TRADES
from chimera.contracts.documents import IntentRecord, Trade
from chimera.contracts.enums import IntentState, Market, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import FEAT_LAST
from chimera.contracts.messages import FeatureEvent
from chimera.contracts.settings import S3Settings, S4Settings
from chimera.contracts.streams import FEAT_EVENTS
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.listing import listed
from chimera.domain.market.quotes import BookTop, MarkPrice
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.documents import Query
from chimera.ports.state import Reservation, Reservations, ReserveOutcome
from chimera.ports.world import World
from chimera.runtime.http import LocalPeers
from chimera.services.s01_exchange import service as s1
from chimera.services.s01_exchange.settings import Settings as ConnectorSettings
from chimera.services.s03_strategy import service as s3
from chimera.services.s03_strategy.settings import Settings
from chimera.services.s04_router import service as s4
from chimera.services.s04_router.settings import Settings as RouterSettings
from chimera.services.s05_reconciler import service as s5
from chimera.services.s05_reconciler.settings import Settings as ReconcilerSettings
from chimera.services.s06_positions import service as s6
from chimera.services.s06_positions.settings import Settings as KeeperSettings
from chimera.simulation.loop import run_virtual
from tests.services.state_adapters import OpenState, State, StateAdapter, Unhurried, memory_state
from tests.services.test_s03_strategy import Desk
from tests.services.trading_floor import BEGIN_MS, ENV, HOUR_MS, StillMarket

D = Decimal
PRICES = {
    "BTCUSDT": D(60_000),
    "ETHUSDT": D(3_000),
    "SOLUSDT": D(150),
    "BNBUSDT": D(600),
    "XRPUSDT": D("0.5"),
    "ADAUSDT": D("0.4"),
    "DOTUSDT": D(7),
    "LTCUSDT": D(80),
}
FAST = 20.0
"""Market seconds in a real one."""


def mid_of(key: InstrumentKey) -> Decimal:
    return PRICES[key.symbol]


def tick_of(instruments: Sequence[Instrument], now_ms: int) -> Tick:
    following = (now_ms // (8 * HOUR_MS) + 1) * 8 * HOUR_MS
    books = []
    for instrument in instruments:
        key, grid, mid = instrument.key, instrument.tick_size, mid_of(instrument.key)
        books.append(
            BookTop(
                ts=now_ms,
                market=key.market,
                symbol=key.symbol,
                bids=tuple((mid - grid * (1 + step), D(10_000_000) / mid) for step in range(3)),
                asks=tuple((mid + grid * (1 + step), D(10_000_000) / mid) for step in range(3)),
                last=mid,
            )
        )
    return Tick(
        ts=now_ms,
        books=tuple(books),
        marks=tuple(
            MarkPrice(now_ms, each.symbol, mid_of(each.key), 0.0001, following, 8)
            for each in instruments
            if each.market is Market.FUT
        ),
        bars=(),
    )


class WatchedReservations:
    """Passes everything on, and remembers the most that was ever in use at once: a limit that was passed for a moment
    was passed."""

    def __init__(self, inner: Reservations) -> None:
        self._inner = inner
        self.most_usdt = {market: D(0) for market in Market}
        self.most_held = dict.fromkeys(Market, 0)
        self.outcomes: list[tuple[str, ReserveOutcome]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def reserve(self, reservation: Reservation, **limits: Any) -> ReserveOutcome:
        outcome = await self._inner.reserve(reservation, **limits)
        self.outcomes.append((reservation.intent_id, outcome))
        for market in Market:
            usage = await self._inner.usage(market)
            self.most_usdt[market] = max(self.most_usdt[market], usage.amount_usdt)
            self.most_held[market] = max(self.most_held[market], usage.concurrency)
        return outcome


@dataclass
class WideDesk(Desk):
    """A desk for `instruments`: by name as the simulated exchange lists them. `watched` sees every reservation."""

    instruments: tuple[Instrument, ...] = ()
    s3_variables: S3Settings = field(default_factory=S3Settings)
    watched: WatchedReservations | None = None
    in_time: bool = True
    """Whether the machine kept up with what a test asked of it."""

    @property
    def keys(self) -> tuple[InstrumentKey, ...]:
        return tuple(each.key for each in self.instruments)

    @classmethod
    async def on(
        cls,
        state: State,
        clock: LoopClock,
        instruments: Sequence[InstrumentKey | Instrument],
        services: Sequence[str] = ("s10", "s1", "s4", "s5", "s6", "s3"),
        *,
        wrap: Callable[[World], World] = lambda world: world,
        variables: S3Settings | None = None,
        usdt: str = "5000",
    ) -> "WideDesk":
        traded = tuple(each if isinstance(each, Instrument) else listed(each) for each in instruments)
        rules = ExchangeRules(instruments=traded)
        exchange = Exchange(rules, spot_balances={"USDT": D(usdt)}, fut_balances={"USDT": D(usdt)})
        venue = SimulatedVenue(exchange=exchange, rules=rules, feed=StillMarket(), clock=clock, journal=NoJournal())
        told: list[tuple[str, Message]] = []
        peers = LocalPeers()
        watched = WatchedReservations(state.reservations)
        world = World(
            clock=clock,
            randomness=SeededRandomness(7),
            bus=MemoryBus(clock, observe=lambda stream, message: told.append((stream, message))),
            **{**state.parts(), "reservations": watched},
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
        symbols = tuple(dict.fromkeys(each.symbol for each in traded))
        desk = cls(
            wrap(world),
            venue,
            peers,
            told,
            instruments=traded,
            s3_variables=(variables or S3Settings()).but(
                symbols=symbols, max_feature_age_ms=600_000, decide_lock_ms=60_000
            ),
            watched=watched,
        )
        await desk.healthy()
        desk.price = D(1)
        await desk.start(*services)
        await desk.settle(2_000)
        return desk

    def _build(self, service_id: str) -> Any:
        match service_id:
            case "s1":
                return s1.build(self.world, ConnectorSettings(env=ENV, keys=self.keys))
            case "s3":
                return s3.build(self.world, Settings(env=ENV, keys=self.keys, variables=self.s3_variables))
            case "s4":
                return s4.build(
                    self.world,
                    RouterSettings(
                        s3=S3Settings(spread_bp_limit_default=10),
                        env=ENV,
                        keys=self.keys,
                        variables=S4Settings(gate_orders_per_s_max=1_000, twap_max_slices=1, maker_max_wait_ms=0),
                    ),
                )
            case "s5":
                return s5.build(self.world, ReconcilerSettings(env=ENV, keys=self.keys))
            case "s6":
                return s6.build(self.world, KeeperSettings(env=ENV, keys=self.keys))
        return super()._build(service_id)

    async def settle(self, duration_ms: int = 3_000) -> None:
        """The market goes on, its prices where they are."""
        end_ms = self.world.clock.now_ms() + duration_ms
        while True:
            now_ms = self.world.clock.now_ms()
            self.venue.apply(tick_of(self.instruments, now_ms))
            await self.world.clock.sleep_until_ms(min(end_ms, now_ms + 1_000))
            if self.world.clock.now_ms() >= end_ms:
                return

    async def tell_features(self, key: InstrumentKey, signal: float = 1.0, **features: float) -> str:
        """As S2 would, without waiting for anybody. Returns the signal's id."""
        now_ms = self.world.clock.now_ms()
        signal_id = ids.signal_id(now_ms, key)
        mid = mid_of(key)
        told = {
            "mid": float(mid),
            "spread_bps": 0.33,
            "depth_top1_usdt": 3_000_000.0,
            "atr_14": float(mid / 400),
            "funding_next": 0.0001,
            "xmkt_signal": signal,
            **features,
        }
        await self.world.snapshots.set_hash(
            FEAT_LAST.name(ENV, key),
            {"features": json.dumps(told), "t0": str(now_ms), "signal_id": signal_id, "stale": "[]"},
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
                stale=(),
            ),
        )
        return signal_id

    async def tell_and_settle(self, key: InstrumentKey, signal: float = 1.0, **features: float) -> str:
        signal_id = await self.tell_features(key, signal, **features)
        await self.settle(2_000)
        return signal_id

    async def entries(self) -> list[IntentRecord]:
        """Every entry that S4 has on file, on any instrument."""
        found: list[IntentRecord] = []
        for key in self.keys:
            for state in IntentState:
                found += await self.world.documents.find(
                    Query(
                        collection=INTENTS,
                        index="by_instr",
                        equal=(("market", key.market.value), ("symbol", key.symbol), ("state", state.value)),
                    )
                )
        return [record for record in found if record.purpose.is_new_entry]

    async def open_trades(self) -> list[Trade]:
        found = await self.world.documents.find(
            Query(collection=TRADES, index="by_status", equal=(("status", TradeStatus.ACTIVE.value),))
        )
        return list(found)

    def entry_fills(self) -> list[str]:
        """The entry orders that the exchange has filled, once for each order."""
        exchange, filled = self.venue.exchange, set()
        for key in self.keys:
            for fill in exchange.fills(key.market, key.symbol):
                order = exchange.order_by_number(key.market, key.symbol, fill.venue_order_id)
                assert order is not None
                filled.add(order.client_order_id)
        return sorted(filled)


def unhurried(world: World, seed: int) -> World:
    """The same world, in which whatever S3 waits for takes its turns."""
    parts = ("snapshots", "locks", "idempotency", "reservations", "documents")
    return replace(world, **{part: Unhurried(getattr(world, part), seed + n) for n, part in enumerate(parts)})


@asynccontextmanager
async def timeline(open_state: OpenState = memory_state) -> AsyncIterator[tuple[LoopClock, State]]:
    """A clock on the running loop, and a store of state that lives by it. In real time the market runs fast."""
    virtual = getattr(asyncio.get_running_loop(), "is_virtual", False)
    clock = LoopClock(BEGIN_MS, 1.0 if virtual else FAST)
    async with open_state(clock) as state:
        yield clock, state


def run_on(adapter: StateAdapter, scenario: Coroutine[Any, Any, None], *, sockets: bool = False) -> None:
    """In virtual time where adapter and scenario allow it: there a slow machine decides nothing."""
    if adapter.in_memory and not sockets:
        run_virtual(scenario)
    else:
        asyncio.run(scenario)
