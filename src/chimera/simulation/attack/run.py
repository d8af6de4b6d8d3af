"""One seed: its market, its troubles, its hands, and what came of it.

Owns the course of a run. In each round the troubles strike for an hour; then everything heals, and within a bound all
must have settled: every service ready, every invariant true. The same seed and plan are the same run, to the last
message.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.memory.state import (
    MemoryDueQueue,
    MemoryIdempotency,
    MemoryReservations,
    MemorySnapshots,
)
from chimera.adapters.simulated_venue.feed import Tick
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.ticker import Ticker
from chimera.adapters.simulated_venue.venue import SimulatedFactorFeed, SimulatedVenue
from chimera.app.registry import Pace, Settings
from chimera.app.simulated_market import HISTORY_DAYS, config_for, keys_for, listed_keys
from chimera.app.worlds import one_process_world
from chimera.contracts.base import Message
from chimera.contracts.collections import CONFIG_ACTIVE, CONFIG_BUNDLES
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import OrderResult
from chimera.contracts.settings import S1Settings, S2Settings, S3Settings, S4Settings
from chimera.contracts.streams import dlq
from chimera.domain.market.generator import MarketGenerator, start_prices_for
from chimera.domain.market.listing import listed
from chimera.domain.market.source import GeneratedSource
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.faults import Asked, Fault, FaultKind, FaultPlan, Reach, Turn
from chimera.domain.matching.rules import ExchangeRules
from chimera.runtime.http import LocalPeers
from chimera.runtime.kill_switch import no_file
from chimera.services.s12_gateway.settings import GatewaySettings
from chimera.simulation.attack.chance import Chance
from chimera.simulation.attack.disk import Disk
from chimera.simulation.attack.hands import Hands
from chimera.simulation.attack.judge import Findings, Span, findings_ever, findings_now
from chimera.simulation.attack.plan import Blow, Plan, Trouble
from chimera.simulation.attack.points import Point, point_of
from chimera.simulation.attack.process import Process
from chimera.simulation.attack.restrained import Restrained
from chimera.simulation.attack.stores import CountedBus, CountedLocks
from chimera.simulation.attack.story import Story
from chimera.simulation.attack.town import Stores, Town
from chimera.simulation.checkers.evidence import Evidence, Read
from chimera.simulation.checkers.revision_current import Switched
from chimera.simulation.loop import run_virtual
from chimera.simulation.trace import Trace

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
BEGIN_MS = 20_000 * DAY_MS
ENV = "dev"
STREAM_MAX = 2_000
TICKS_PER_MINUTE = 4
ROUND_MS = HOUR_MS

SETTLES_WITHIN_MS = 300_000
"""After everything healed. The longest back-off of the house is a minute, and so is its slowest look."""

LOOKS_EVERY_MS = 5_000

STEP_LASTS_MS = 2_000
"""What was done last counts as under way for so long: a fault near it meets its consequences."""

DEAD = dlq("")
"""How the name of a stream of dead letters ends."""

PUBLISHER = "s4"
"""Who says what became of orders. What came on file while it was disturbed, it may have died before it said."""

GRACE_MS = 5_000
"""After a trouble ends: whoever waited asks again, and who was dead starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a seed draws beside its troubles."""

    symbols: tuple[str, ...]
    hot: float
    """Times the market's usual volatility."""
    per_hour: float
    """How often hands want something."""

    @classmethod
    def of(cls, seed: int) -> "Scene":
        chance = Chance(f"scene {seed}")
        return cls(
            symbols=chance.choice((("BTCUSDT",), ("BTCUSDT",), ("BTCUSDT", "ETHUSDT"))),
            hot=chance.choice((1.0, 2.0, 4.0)),
            per_hour=chance.choice((6.0, 20.0, 60.0)),
        )


@dataclass(slots=True, kw_only=True)
class Outcome:
    """`broken` empty: everything held. `struck` by kind of trouble; `steps` by name of what was done meanwhile."""

    seed: int
    plan: Plan
    digest: str = ""
    broken: Findings = field(default_factory=dict)
    at_ms: int = 0
    """When it was found."""
    struck: Counter[tuple[str, Point]] = field(default_factory=Counter)
    """(kind, step that was under way)."""
    steps: Counter[Point] = field(default_factory=Counter)
    intents: int = 0
    fills: int = 0
    story: Story | None = None
    """None unless it was asked for."""


class ToldPlan(FaultPlan):
    """The exchange's faults, which tell when they strike."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults)
        self.struck: Callable[[Fault], None] = lambda _: None

    def on_call(self, asked: Asked, now_ms: int) -> Fault | None:
        fault = super().on_call(asked, now_ms)
        if fault is not None:
            self.struck(fault)
        return fault

    def on_event(self, reach: Reach, name: str, market: Market | None, symbol: str, now_ms: int) -> Fault | None:
        fault = super().on_event(reach, name, market, symbol, now_ms)
        if fault is not None:
            self.struck(fault)
        return fault

    def turns(self, now_ms: int) -> tuple[Turn, ...]:
        turns = super().turns(now_ms)
        for turn in turns:
            if turn.begins:
                self.struck(turn.fault)
        return turns


def run_seed(seed: int, plan: Plan, *, days: float = 1.0, story: bool = False) -> Outcome:
    """Virtual time, in this thread."""
    return run_virtual(_Run(seed, plan, days, story).run())


class _Run:
    def __init__(self, seed: int, plan: Plan, days: float, story: bool) -> None:
        self.outcome = Outcome(seed=seed, plan=plan)
        self.seed, self.plan = seed, plan
        self.end_ms = BEGIN_MS + max(HOUR_MS, int(days * DAY_MS))
        self.rounds = max(1, (self.end_ms - BEGIN_MS) // ROUND_MS)
        self.with_story = story
        self.results: list[OrderResult] = []
        self.excused: list[Span] = []
        self.switches: list[Switched] = []
        self.limits: dict[int, float] = {}
        self.closes: dict[InstrumentKey, dict[int, set[float]]] = {}
        self.bars_until_ms = BEGIN_MS
        self.failed: Exception | None = None
        self.read = Read()
        self.last_step: tuple[int, Point] = (0, Point.IDLE)
        self.steps_taken = 0

    async def run(self) -> Outcome:
        self._build()
        self.outcome.story = self.story if self.with_story else None
        asyncio.get_running_loop().set_exception_handler(self._callback_failed)
        self.market = market = asyncio.get_running_loop().create_task(self.venue.run(BEGIN_MS), name="venue")
        await self.town.start()
        # A house begins in peace: what it meets at its first start is not what it is for.
        if await self._settled("at the first start"):
            await self._rounds()
        await self.town.stop()
        market.cancel()
        await asyncio.gather(market, return_exceptions=True)
        if self.failed is not None:
            raise self.failed
        self.outcome.digest = self.trace.digest()
        return self.outcome

    async def _rounds(self) -> None:
        begins_ms, length_ms = self.clock.now_ms(), (self.end_ms - BEGIN_MS) // self.rounds
        for number in range(1, self.rounds + 1):
            await self._attacked(begins_ms, BEGIN_MS + number * length_ms - SETTLES_WITHIN_MS)
            self._heal()
            if not await self._settled(f"after round {number}") or not self._held(f"in round {number}"):
                return
            begins_ms = self.clock.now_ms()

    def _build(self) -> None:
        scene = Scene.of(self.seed)
        self.clock = LoopClock(BEGIN_MS)
        self.story = Story(self.clock, self.with_story)
        self.trace = Trace()
        self.disk = Disk.empty(self._on_document)
        self.restrained = Restrained(self.clock, ENV)
        self.stores = stores = Stores(
            bus=CountedBus(self.clock, maxlen_max=STREAM_MAX, observe=self._on_message),
            snapshots=MemorySnapshots(self.clock),
            locks=CountedLocks(self.clock),
            idempotency=MemoryIdempotency(self.clock),
            due=MemoryDueQueue(),
            reservations=MemoryReservations(),
            disk=self.disk,
            on_wiped=self.restrained.emptied,
        )
        instruments = tuple(listed(key) for key in listed_keys(scene.symbols))
        rules = ExchangeRules(instruments=instruments)
        feed = Ticker(_market(self.seed, scene), instruments, seed=self.seed, ticks_per_minute=TICKS_PER_MINUTE)
        self.faults = ToldPlan([])
        self.faults.struck = self._struck
        self.venue = SimulatedVenue(
            exchange=Exchange(rules, spot_balances={"USDT": Decimal(3_000)}, fut_balances={"USDT": Decimal(3_000)}),
            rules=rules,
            feed=feed,
            clock=self.clock,
            journal=NoJournal(),
            observe=self._on_venue,
            faults=self.faults,
        )
        self.venue.on_tick.append(self._ticked)
        peers = LocalPeers()
        world = replace(
            one_process_world(
                clock=self.clock,
                randomness=SeededRandomness(self.seed),
                documents=self.disk,
                venue=self.venue,
                factor_feed=SimulatedFactorFeed(feed, self.clock),
                objects=MemoryObjects(),
                peers=peers,
                bus=stores.bus,
            ),
            snapshots=self.restrained.watched(stores.snapshots),
            locks=stores.locks,
            idempotency=stores.idempotency,
            due=stores.due,
            reservations=stores.reservations,
        )
        self.keys = keys_for(scene.symbols)
        self.town = Town(
            world=world,
            settings=_settings(self.keys, feed.tick_interval_ms),
            stores=stores,
            peers=peers,
            story=self.story,
            watch=self._watched,
        )
        self.hands = Hands(self.town, self.venue, self.clock, self.keys, Chance(f"hands {self.seed}"), scene.per_hour)

    # --- the course

    async def _attacked(self, begins_ms: int, ends_ms: int) -> None:
        self.town.harm()
        for fault in self.plan.of_venue:
            if begins_ms <= fault.at_ms < ends_ms:
                self.faults.arm(fault)
        for blow in self.plan.of_house:
            if begins_ms <= blow.at_ms < ends_ms:
                self.clock.call_at_ms(blow.at_ms, partial(self._blow, blow))
        working = asyncio.get_running_loop().create_task(self.hands.work(ends_ms), name="hands")
        await self.clock.sleep_until_ms(ends_ms)
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working

    def _heal(self) -> None:
        self.story.add("town", "everything heals")
        self.faults.disarm()
        self.town.heal()

    async def _settled(self, when: str) -> bool:
        """Within the bound every service is ready and nothing is left in motion."""
        since_ms = self.clock.now_ms()
        calmed = False
        while True:
            await self.clock.sleep_until_ms(self.clock.now_ms() + LOOKS_EVERY_MS)
            if self.market.done():
                # What plays the exchange has failed itself: that says nothing about the house.
                self.market.result()
            if self.failed is not None:
                raise self.failed
            ready = await self.town.all_ready()
            if ready and not calmed:
                await self.hands.calm_down()
                calmed = True
                continue
            found = await self._amiss() if ready else {"ready": ["not every service is ready"]}
            if not found:
                return True
            if self.clock.now_ms() - since_ms >= SETTLES_WITHIN_MS:
                self._broken(when, found)
                return False

    async def _amiss(self) -> Findings:
        records = await self.stores.reservations.all()
        used = {market: (await self.stores.reservations.usage(market)).amount_usdt for market in Market}
        return findings_now(
            self._evidence(),
            reserved=records,
            used=used,
            unread=await self.stores.bus.unread(),
            coarser=any(kind == FaultKind.FILTERS_CHANGED for kind, _ in self.outcome.struck),
        )

    def _held(self, when: str) -> bool:
        self._read_bars()
        found = findings_ever(
            self._evidence(),
            excused=[*self.excused, *((each.from_ms, each.to_ms + GRACE_MS) for each in self.town.disturbed)],
            restrained=self.restrained,
            results=self.results,
            told_since_ms=max(
                (each.to_ms + GRACE_MS for each in self.town.disturbed if each.service in ("", PUBLISHER)), default=0
            ),
            switches=self.switches,
            limits=self.limits,
            locks=self.stores.locks.broken,
            closes=self._closes,
        )
        if found:
            self._broken(when, found)
        return not found

    def _read_bars(self) -> None:
        """The bars as the exchange has them in its history, where operators have bent them as well."""
        now_ms = self.clock.now_ms()
        for key in self.keys:
            closes = self.closes.setdefault(key, {})
            for bar in self.venue.feed.klines(key, "1m", self.bars_until_ms - 2 * HOUR_MS, now_ms):
                closes.setdefault(bar.open_time // MINUTE_MS, set()).add(bar.close)
        self.bars_until_ms = now_ms

    def _closes(self, key: InstrumentKey, minute: int) -> set[float]:
        return self.closes.get(key, {}).get(minute, set())

    def _ticked(self, tick: Tick) -> None:
        for bar in tick.bars:
            if bar.interval == "1m":
                key = InstrumentKey(bar.market, bar.symbol)
                self.closes.setdefault(key, {}).setdefault(bar.open_time // MINUTE_MS, set()).add(bar.close)

    def _broken(self, when: str, found: Findings) -> None:
        self.outcome.broken = {f"{name} {when}": sentences for name, sentences in found.items()}
        self.outcome.at_ms = self.clock.now_ms()

    def _evidence(self) -> Evidence:
        evidence = Evidence.of(self.venue.exchange.export_state(), self.disk.bodies, self.clock.now_ms(), self.read)
        self.outcome.intents = len(self.disk.bodies.get("intents", {}))
        self.outcome.fills = len(evidence.fills)
        return evidence

    # --- what is seen

    def _callback_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A blow that could not be dealt is our own mistake. What a service loses in a task of its own is its own."""
        if isinstance(context.get("handle"), asyncio.Handle) and isinstance(context.get("exception"), Exception):
            self.failed = context["exception"]

    def _blow(self, blow: Blow) -> None:
        if self.town.strike(blow):
            self.outcome.struck[blow.kind.value, self._point()] += 1

    def _struck(self, fault: Fault) -> None:
        now_ms = self.clock.now_ms()
        self.story.add("blow", str(fault.to_json()))
        self.outcome.struck[fault.kind.value, self._point()] += 1
        self.excused.append((now_ms, now_ms + _extent_ms(fault) + GRACE_MS))

    def _watched(self, process: Process, what: str) -> None:
        point = point_of(what)
        self.last_step = (self.clock.now_ms(), point)
        self.outcome.steps[point] += 1
        self.story.add(process.name, what)
        if self.plan.at_step is not None and self.steps_taken == self.plan.at_step[0]:
            self._strike_here(process, self.plan.at_step[1])
        self.steps_taken += 1

    def _point(self) -> Point:
        """The step that is under way."""
        at_ms, point = self.last_step
        return point if self.clock.now_ms() - at_ms <= STEP_LASTS_MS else Point.IDLE

    def _strike_here(self, process: Process, trouble: Trouble) -> None:
        now_ms = self.clock.now_ms()
        if isinstance(trouble, Fault):
            if not self.town.healing:
                self.faults.arm(replace(trouble, at_ms=now_ms))
        else:
            # Whoever takes the step is struck; at the next passing of the gate, which is this one.
            self._blow(replace(trouble, at_ms=now_ms, service=trouble.service and process.service_id, amount=1))

    def _on_message(self, stream: str, message: Message) -> None:
        self.trace.on_message(stream, message)
        self.story.on_message(stream, message)
        if isinstance(message, OrderResult) and not stream.endswith(DEAD):
            self.results.append(message)

    def _on_document(self, collection: str, key: str, body: str) -> None:
        self.trace.on_document(collection, key, body)
        self.story.on_document(collection, key, body)
        if body and collection == CONFIG_BUNDLES.name:
            bundle = CONFIG_BUNDLES.document.model_validate_json(body)
            if bundle.rev is not None:
                self.limits[bundle.rev] = bundle.flags.risk.slip_bp_hard
        if body and collection == CONFIG_ACTIVE.name:
            active = CONFIG_ACTIVE.document.model_validate_json(body)
            revs = {active.rev} | ({active.canary.rev} if active.canary is not None else set())
            self.switches.append(Switched(ts=self.clock.now_ms(), seq=active.seq, revs=frozenset(revs)))

    def _on_venue(self, kind: str, change: object) -> None:
        self.trace.on_venue(kind, change)
        self.story.on_venue(kind, change)


WAITS = {
    FaultKind.RATE_429: ("retry_after_s", 1_000),
    FaultKind.BAN_418: ("ban_s", 1_000),
    FaultKind.LATE: ("delay_ms", 1),
}


def _extent_ms(fault: Fault) -> int:
    """How long the exchange is not itself."""
    name, unit_ms = WAITS.get(fault.kind, ("", 0))
    return fault.duration_ms + (fault.whole(name) * unit_ms if name else 0)


def _market(seed: int, scene: Scene) -> GeneratedSource:
    usual = config_for(scene.symbols)
    config = replace(
        usual,
        symbols=tuple(replace(each, vol_year=min(5.0, each.vol_year * scene.hot)) for each in usual.symbols),
        jumps_per_day=usual.jumps_per_day * 10 * scene.hot,
    )
    first_day = BEGIN_MS // DAY_MS - HISTORY_DAYS
    prices = start_prices_for(seed, config, first_day=first_day, end_ms=BEGIN_MS, targets={})
    generator = MarketGenerator(seed, config)
    return GeneratedSource(generator, generator.start(first_day, prices))


def _settings(keys: tuple[InstrumentKey, ...], tick_interval_ms: int) -> Settings:
    pace = Pace()
    return Settings(
        env=ENV,
        keys=keys,
        id_prefix="s3",
        tick_interval_ms=tick_interval_ms,
        s1=S1Settings(minute_days=2, ready_days=2),
        s2=S2Settings(minute_days=2),
        s3=S3Settings(),
        s4=S4Settings(),
        gateway=GatewaySettings(env=ENV, in_step_ms=pace.repair_ms),
        kill_file=no_file,
        pace=pace,
    )
