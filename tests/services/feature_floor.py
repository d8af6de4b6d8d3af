"""S2 alone in virtual time, with what S1 would have filed and told: bars of a market that moves, their hours, ticks."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from math import sin
from typing import Any

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES, FACTOR_BARS, KLINES
from chimera.contracts.documents import ConfigActive, ConfigBundle, Factor, FactorBar
from chimera.contracts.enums import BundleStatus, CfgEventKind, EntryStatus
from chimera.contracts.flags import Flags
from chimera.contracts.ids import CONFIG_ACTIVE_KEY
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import CFG_ACTIVE_REV
from chimera.contracts.messages import CfgEvent, DepthEvent, FeatureEvent, TickerEvent
from chimera.contracts.streams import CFG_EVENTS, MKT_DEPTH, MKT_KLINE, MKT_TICKER
from chimera.domain.config.bundle import content_hash, known_factors
from chimera.domain.market.bars import BarRoller
from chimera.domain.market.quotes import Bar
from chimera.ports.clock import Clock
from chimera.ports.documents import DocumentsUnavailable, Put, Query
from chimera.ports.world import World
from chimera.runtime.runner import Runner
from chimera.runtime.service import Service
from chimera.services.s01_exchange.handlers.klines import event_of, kline_of
from chimera.services.s02_features.service import build
from chimera.services.s02_features.settings import USDTTWD_KEY, Settings
from tests.services.venue_script import FUT, HOUR, MINUTE, NOON, Told, pass_ms, scripted_world

ENV = "dev"
Scene = Callable[["Floor"], Awaitable[None]]


def moving_minute(open_time: int, key: InstrumentKey = FUT) -> Bar:
    """A price of two slow waves and a quick one, to a tenth: no two days are alike, nothing is drawn."""

    def price(at: int) -> float:
        n = at // MINUTE
        return round(65_000 + 900 * sin(n / 4_111) + 210 * sin(n / 97) + (n * 7_919 % 101 - 50) * 0.3, 1)

    first, last = price(open_time), price(open_time + MINUTE)
    high, low = round(max(first, last) + 3.3, 1), round(min(first, last) - 2.7, 1)
    return Bar(key.market, key.symbol, "1m", open_time, first, high, low, last, 3.5)


def moving(since_ms: int, until_ms: int, key: InstrumentKey = FUT) -> list[Bar]:
    return [moving_minute(at, key) for at in range(since_ms, until_ms, MINUTE)]


def hours_of(minutes: Sequence[Bar]) -> list[Bar]:
    roller = BarRoller("1m", "1h")
    return [hour for minute in minutes if (hour := roller.add(minute)) is not None]


def month(until_ms: int, days: int = 32, key: InstrumentKey = FUT) -> list[Bar]:
    """Minutes of so many days up to `until_ms`, and their hours."""
    minutes = moving(until_ms - days * 24 * HOUR, until_ms, key)
    return [*minutes, *hours_of(minutes)]


async def file_bars(world: World, bars: Sequence[Bar], ts: int | None = None) -> None:
    """As S1 does; `ts`: when. Each bar's own close where it is left out."""
    for at in range(0, len(bars), 1_000):
        await world.documents.put_many(
            [Put(KLINES, kline_of(bar, bar.close_time if ts is None else ts)) for bar in bars[at : at + 1_000]]
        )


def twd_hour(open_time: int, ts: int) -> FactorBar:
    """USDT/TWD goes up three days and down two."""
    close = 30 + 0.3 * (0, 1, 2, 3, 1)[open_time // (24 * HOUR) % 5]
    body: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close"), close)
    return FactorBar.model_validate(
        {"source": "MAX", "symbol": "USDTTWD", "interval": "1h", "open_time": open_time, "volume": 5, "ts": ts, **body}
    )


async def file_twd(world: World, since_ms: int, until_ms: int) -> None:
    """Filed two seconds after each close, as S1 asks for them."""
    hours = [twd_hour(at, at + HOUR + 2_000) for at in range(since_ms, until_ms, HOUR)]
    await world.documents.put_many([Put(FACTOR_BARS, hour) for hour in hours])


async def stage(world: World, rev: int, *derived: tuple[str, str], min_move: float | None = None) -> ConfigBundle:
    """A bundle with these factors besides the built-in ones, on file."""
    own = tuple(
        Factor(
            factor_id=name,
            version="1",
            freq="1m",
            definition=definition,
            range=(-1e9, 1e9),
            status=EntryStatus.ENABLED,
        )
        for name, definition in derived
    )
    flags = Flags()
    if min_move is not None:
        flags = flags.but(strategy=flags.strategy.but(min_move=Decimal(str(min_move))))
    factors = (*known_factors(), *own)
    bundle = ConfigBundle(
        bundle_id=f"B-{rev}",
        rev=rev,
        status=BundleStatus.ACTIVE,
        flags=flags,
        rules=(),
        factors=factors,
        instruments=(),
        hash=content_hash(flags, (), factors, ()),
        created_at=NOON,
        created_by="test",
    )
    await world.documents.put(CONFIG_BUNDLES, bundle)
    return bundle


async def activate(
    world: World,
    rev: int,
    *derived: tuple[str, str],
    min_move: float | None = None,
    seq: int | None = None,
    canary: ConfigBundle | None = None,
) -> None:
    """A bundle becomes active, as S10 writes and tells it, perhaps with a canary beside it."""
    bundle = await stage(world, rev, *derived, min_move=min_move)
    seq, now_ms = seq or rev, world.clock.now_ms()
    active: dict[str, Any] = {"rev": rev, "seq": seq, "bundle_id": bundle.bundle_id, "activated_at": now_ms}
    if canary is not None:
        named = {"rev": canary.rev, "bundle_id": canary.bundle_id, "hash": canary.hash, "share": 0.1}
        active["canary"] = named
    await world.documents.put(CONFIG_ACTIVE, ConfigActive.model_validate({"key": CONFIG_ACTIVE_KEY, **active}))
    await world.snapshots.set(CFG_ACTIVE_REV.name(ENV), str(rev))
    await world.bus.publish(
        CFG_EVENTS.name(ENV),
        CfgEvent(
            rev=rev,
            bundle_id=bundle.bundle_id,
            event=CfgEventKind.PROMOTE,
            activated_at=now_ms,
            hash=bundle.hash,
            seq=seq,
        ),
    )


class WatchedDocuments(SqliteDocuments):
    """Documents that take their time over long reads, or are down, as a test says."""

    wait_ms = 0
    clock: Clock | None = None
    down = False
    pages: list[int]

    async def find_values(self, query: Query[Any], fields: Sequence[str]) -> Sequence[tuple[Any, ...]]:
        if self.down:
            raise DocumentsUnavailable("the test says so")
        if self.wait_ms and self.clock is not None:
            await self.clock.sleep_until_ms(self.clock.now_ms() + self.wait_ms)
        rows = await super().find_values(query, fields)
        self.pages = [*getattr(self, "pages", []), len(rows)]
        return rows


@dataclass
class Floor:
    """One S2 in its world; `settings` are those it was built with."""

    world: World
    told: Told
    settings: Settings
    service: Service
    runner: Runner
    key: InstrumentKey = FUT
    _ticks: int = field(default=0)

    async def tick(self, bid: float = 65_000.0, *, spread: float = 0.1, key: InstrumentKey | None = None) -> None:
        """What S1 sends for one tick."""
        key, ts = key or self.key, self.world.clock.now_ms()
        best, ask = Decimal(str(round(bid, 1))), Decimal(str(round(bid + spread, 1)))
        self._ticks += 1
        await self.world.bus.publish(
            MKT_TICKER.name(ENV, key),
            TickerEvent(ts=ts, market=key.market, symbol=key.symbol, last=best, bid=best, ask=ask),
        )
        await self.world.bus.publish(
            MKT_DEPTH.name(ENV, key),
            DepthEvent(
                ts=ts,
                market=key.market,
                symbol=key.symbol,
                best_bid=(best, Decimal(2)),
                best_ask=(ask, Decimal(3)),
            ),
        )

    async def close_bar(self, bar: Bar, *, file: bool = True, tell: bool = True) -> None:
        """What S1 does with a closed bar: on file, then told."""
        if file:
            await file_bars(self.world, [bar], self.world.clock.now_ms())
        if tell:
            key = InstrumentKey(bar.market, bar.symbol)
            await self.world.bus.publish(MKT_KLINE.name(ENV, key), event_of(bar, self.world.clock.now_ms()))

    async def minutes(self, count: int) -> None:
        """So many minutes of the market: a tick at the half and at the end, a bar, its hour where one ends, and half a
        minute later that of USDT/TWD."""
        for _ in range(count):
            opened = self.world.clock.now_ms() // MINUTE * MINUTE
            bar = moving_minute(opened, self.key)
            for step in (1, 2):
                await self.world.clock.sleep_until_ms(opened + step * MINUTE // 2)
                await self.tick(bar.open + (bar.close - bar.open) * step / 2, spread=0.1 + 0.1 * (opened // MINUTE % 7))
                if opened % HOUR == 0 and step == 1:
                    await self.tell_factor(opened - HOUR)
            await self.close_bar(bar)
            if bar.close_time % HOUR == 0:
                await file_bars(self.world, hours_of(moving(bar.close_time - HOUR, bar.close_time, self.key)))
        await pass_ms(self.world, 1)

    async def tell_factor(self, open_time: int) -> None:
        filed = twd_hour(open_time, self.world.clock.now_ms())
        await self.world.documents.put(FACTOR_BARS, filed)
        close = float(filed.close)
        bar = Bar(USDTTWD_KEY.market, "USDTTWD", "1h", open_time, close, close, close, close, 5.0)
        await self.world.bus.publish(MKT_KLINE.name(ENV, USDTTWD_KEY), event_of(bar, filed.ts))

    def events(self) -> list[FeatureEvent]:
        return self.told.of(FeatureEvent)


@asynccontextmanager
async def standing(
    *,
    start_ms: int = NOON,
    documents: SqliteDocuments | None = None,
    keys: tuple[InstrumentKey, ...] = (FUT,),
    prepare: Callable[[World], Awaitable[None]] | None = None,
    **settings: Any,
) -> Any:
    """S2, started, as a context; it is stopped at the end. Call it inside `run_virtual`."""
    told = Told()
    world, _ = scripted_world(told, start_ms=start_ms, documents=documents)
    if prepare is not None:
        await prepare(world)
    chosen = Settings(env=ENV, keys=keys, **settings)
    service = build(world, chosen)
    runner = Runner(service=service, world=world, env=ENV)
    await runner.start()
    floor = Floor(world, told, chosen, service, runner, key=keys[0])
    try:
        yield floor
    finally:
        await runner.stop()
