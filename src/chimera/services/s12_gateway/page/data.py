"""Everything that one refresh of the page shows, read from documents, fast state and the other services.

Owns what is read, by which index, and how often. Browsers share it: ten open pages ask as much as one. What cannot be
read keeps its last figures and is named in `problems`.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from chimera.contracts.collections import (
    ALERTS,
    CONFIG_ACTIVE,
    FILLS,
    INSTRUMENT_REGISTRY,
    INTENTS,
    ORDERS,
    SIGNALS,
    system_state,
)
from chimera.contracts.documents import (
    Alert,
    EquityPeakState,
    Fill,
    IntentRecord,
    Order,
    Signal,
    Trade,
)
from chimera.contracts.enums import Action, HealthLevel, Switch
from chimera.contracts.http.gateway import KillSwitchAnswer, RestraintsAnswer, RestraintView
from chimera.contracts.http.positions import PositionsAnswer, PositionView
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import FUNDING_NEXT, HEALTH_ROLLING, HEALTH_STATE, MKT_SNAP, RISK_LIMITS
from chimera.contracts.messages import SignalEvent
from chimera.contracts.services import BY_ID
from chimera.contracts.streams import ORD_RESULT, SIG_EVENTS
from chimera.domain.decision.telling import sentence
from chimera.ports.documents import Query
from chimera.ports.errors import DependencyDown
from chimera.ports.peers import PeerCall, PeerUnavailable
from chimera.ports.world import World
from chimera.services.s12_gateway.handlers.orders import open_orders
from chimera.services.s12_gateway.page.history import (
    DAY_MS,
    Aggregate,
    BarHistory,
    Candle,
    EquityHistory,
    Sums,
    TradeHistory,
    close_at,
    let_others_run,
    open_trades,
    with_live_price,
)
from chimera.services.s12_gateway.page.settings import PageSettings

ROWS = 50
DECISIONS = 60
DECISIONS_LOOKED_AT = 3_000
"""Signals looked through for decisions when the page is first opened; most are bars that nobody decided on."""
SHARED_NS = 800_000_000
"""A refresh serves everybody who asks within this time."""
HEALTH_EACH_NS = 5_000_000_000
ORDERS_EACH_NS = 10_000_000_000
"""Orders and fills are read again when the router told something, and this often whatever it told."""
HEALTH_AGE_MAX_MS = 180_000
ME = "s12"

EQUITY_PEAK = system_state(EquityPeakState)


@dataclass(frozen=True, slots=True)
class Price:
    """The market as last seen; all None where S1 has been silent for a minute. `change_ratio`: against 24 h ago."""

    last: float | None = None
    mark: float | None = None
    spread_bps: float | None = None
    change_ratio: float | None = None
    funding_rate: float | None = None
    funding_time: int | None = None


@dataclass(frozen=True, slots=True)
class DecisionLine:
    key: str
    signal_id: str
    t0: int
    instrument: str
    action: Action
    reason: str
    detail: str
    sentence: str = ""
    """Why, with the figures that decided."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    id: str
    title: str
    status: str
    checks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a call: its answer, or the word of the problem and why, for a person."""

    body: Mapping[str, Any]
    problem: str = ""
    why: str = ""


@dataclass(slots=True)
class Overview:
    """One refresh. Money in USDT; `day_start_usdt` None until S6 has written a day's start."""

    now_ms: int = 0
    kill: KillSwitchAnswer | None = None
    restraints: tuple[RestraintView, ...] = ()
    """Everything that keeps the system from entering."""
    halts: Mapping[str, str] = field(default_factory=dict)
    pauses: tuple[str, ...] = ()
    health: HealthLevel | None = None
    health_is_old: bool = False
    grades: Mapping[str, str] = field(default_factory=dict)
    config_rev: int | None = None
    equity_usdt: float | None = None
    day_start_usdt: float | None = None
    drawdown_ratio: float | None = None
    drawdown_max_ratio: float = 0.0
    sums: Sums = field(default_factory=Sums)
    """Of closed trades."""
    prices: Mapping[InstrumentKey, Price] = field(default_factory=dict)
    positions: tuple[PositionView, ...] = ()
    orders: tuple[Order, ...] = ()
    fills: tuple[Fill, ...] = ()
    trades: tuple[Trade, ...] = ()
    """Closed, the last ended first."""
    open_trades: tuple[Trade, ...] = ()
    decisions: tuple[DecisionLine, ...] = ()
    alerts: tuple[Alert, ...] = ()
    services: tuple[ServiceState, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def kill_is_on(self) -> bool:
        return self.kill is not None and self.kill.state is Switch.ON

    @property
    def unrealized_usdt(self) -> Decimal:
        return sum((each.unrealized_pnl_usdt or Decimal(0) for each in self.positions), Decimal(0))

    @property
    def open_sums(self) -> Sums:
        """What open trades have earned and paid so far: each has paid its entry, and perhaps funding."""
        return Sums.of(self.open_trades)


@dataclass(slots=True)
class Decisions:
    """The newest decisions, newest first: from documents once, then from what S3 tells."""

    world: World
    settings: PageSettings
    lines: deque[DecisionLine] = field(default_factory=lambda: deque(maxlen=DECISIONS))
    _read: bool = False
    _last_entry: dict[InstrumentKey, str] = field(default_factory=dict)

    async def read_on(self) -> None:
        if not self._read:
            self.lines.extend(await self._stored())
        told = [line for key in self.settings.keys for line in await self._told(key)]
        # What the stream still holds from before was read from its documents already.
        known = set() if self._read else {(line.signal_id, line.reason, line.detail) for line in self.lines}
        self._read = True
        for line in sorted(told, key=lambda line: line.t0):
            if (line.signal_id, line.reason, line.detail) not in known:
                self.lines.appendleft(line)

    async def _stored(self) -> list[DecisionLine]:
        found: list[DecisionLine] = []
        below: int | None = None
        for _ in range(DECISIONS_LOOKED_AT // ROWS):
            signals = await self.world.documents.find(
                Query(collection=SIGNALS, index="by_t0", below=below, descending=True, limit=ROWS)
            )
            found += [_line_of_signal(signal) for signal in signals if signal.decision.reason not in (None, "PENDING")]
            if len(signals) < ROWS or len(found) >= DECISIONS:
                break
            below = signals[-1].t0
            await let_others_run(self.world.clock)
        return found[:DECISIONS]

    async def _told(self, key: InstrumentKey) -> list[DecisionLine]:
        """What is new on the instrument's stream, oldest first."""
        last = self._last_entry.get(key)
        new: list[DecisionLine] = []
        entries = await self.world.bus.recent(SIG_EVENTS.name(self.settings.env, key), DECISIONS)
        for delivery in reversed(entries):
            if delivery.entry_id == last:
                break
            if isinstance(delivery.message, SignalEvent):
                new.append(await self._line_of_event(key, delivery.message, delivery.entry_id))
        if entries:
            self._last_entry[key] = entries[-1].entry_id
        return new[::-1]

    async def _line_of_event(self, key: InstrumentKey, event: SignalEvent, entry_id: str) -> DecisionLine:
        """The event says what was decided; the figures behind it are in the document, unless it was decided anew."""
        decision = event.decision
        signal = await self.world.documents.get(SIGNALS, event.signal_id)
        is_same = signal is not None and signal.decision.detail == decision.detail
        return DecisionLine(
            key=f"{event.signal_id}#{entry_id}",
            signal_id=event.signal_id,
            t0=event.t0,
            instrument=str(key),
            action=decision.action,
            reason=decision.reason or "",
            detail=decision.detail or "",
            sentence=sentence(
                decision.action.value,
                decision.reason or "",
                decision.detail or "",
                signal.decision.trail if signal is not None and is_same else None,
            ),
        )


def _line_of_signal(signal: Signal) -> DecisionLine:
    decision = signal.decision
    return DecisionLine(
        key=signal.signal_id,
        signal_id=signal.signal_id,
        t0=signal.t0,
        instrument=str(InstrumentKey(signal.market, signal.symbol)),
        action=decision.action,
        reason=decision.reason or "",
        detail=decision.detail or "",
        sentence=sentence(decision.action.value, decision.reason or "", decision.detail or "", decision.trail),
    )


@dataclass(slots=True)
class PageData:
    world: World
    settings: PageSettings
    seen: Overview = field(default_factory=Overview)
    bars: BarHistory = field(init=False)
    equity: EquityHistory = field(init=False)
    trades: TradeHistory = field(init=False)
    _decisions: Decisions = field(init=False)
    _aggregates: dict[tuple[InstrumentKey, int], Aggregate] = field(default_factory=dict)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    _read_at_ns: int | None = None
    _standing_at_ns: int | None = None
    _health_at_ns: int | None = None
    _orders_at_ns: int | None = None
    _orders_mark: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        documents, clock = self.world.documents, self.world.clock
        self.bars = BarHistory(documents, clock)
        self.equity = EquityHistory(documents, clock)
        self.trades = TradeHistory(documents, clock)
        self._decisions = Decisions(self.world, self.settings)

    async def overview(self) -> Overview:
        """The figures of this moment, at most `SHARED_NS` old."""
        async with self._one_at_a_time:
            now_ns = self.world.clock.perf_ns()
            if _due(self._read_at_ns, now_ns, SHARED_NS):
                await self._read(self._parts())
                self._read_at_ns = self._standing_at_ns = self.world.clock.perf_ns()
        return self.seen

    async def standing(self) -> Overview:
        """What stands on every page: kill switch, halts, pauses, health and revision, at most `SHARED_NS` old."""
        async with self._one_at_a_time:
            now_ns = self.world.clock.perf_ns()
            if _due(self._standing_at_ns, now_ns, SHARED_NS):
                await self._read(self._standing_parts())
                self._standing_at_ns = self.world.clock.perf_ns()
        return self.seen

    async def candles(self, key: InstrumentKey, interval_ms: int, count: int) -> list[Candle]:
        """The newest candles with the present price in the last."""
        async with self._one_at_a_time:
            now_ms = self.world.clock.now_ms()
            bars = await self.bars.since(key, now_ms - interval_ms * (count + 1))
            made = self._aggregates.setdefault((key, interval_ms), Aggregate(interval_ms)).read_on(bars)
        price = self.seen.prices.get(key, Price()).last
        return with_live_price(made[-count:], interval_ms, now_ms, price)[-count:]

    async def signal(self, signal_id: str) -> Signal | None:
        """A decision with its whole trail."""
        return await self.world.documents.get(SIGNALS, signal_id)

    async def told_decisions(self) -> tuple[str, ...]:
        """A mark that changes as soon as S3 tells of another decision.

        Raises:
            DependencyDown: the bus does not answer.
        """
        names = [SIG_EVENTS.name(self.settings.env, key) for key in self.settings.keys]
        return tuple([await self.world.bus.last_id(name) for name in names])

    async def told_results(self) -> tuple[str, ...]:
        """A mark that changes as soon as S4 tells of another order.

        Raises:
            DependencyDown: the bus does not answer.
        """
        names = [ORD_RESULT.name(self.settings.env, key) for key in self.settings.keys]
        return tuple([await self.world.bus.last_id(name) for name in names])

    async def resting(self) -> Sequence[Order]:
        """Orders that have not ended, the newest first.

        Raises:
            DependencyDown: the documents do not answer.
        """
        return await open_orders(self.world.documents, ROWS)

    async def intents(self, below_ms: int | None) -> Sequence[IntentRecord]:
        """The newest `ROWS` that were accepted before `below_ms`, the newest first.

        Raises:
            DependencyDown: the documents do not answer.
        """
        return await self.world.documents.find(
            Query(collection=INTENTS, index="by_time", below=below_ms, descending=True, limit=ROWS)
        )

    async def decimals(self) -> dict[InstrumentKey, int]:
        """How many places a price has, by instrument; instruments that S1 has not listed yet are left out."""
        listed = {key: await self.world.documents.get(INSTRUMENT_REGISTRY, key.doc_key) for key in self.settings.keys}
        return {key: places_of(found.tick_size) for key, found in listed.items() if found is not None}

    async def post(self, path: str, body: Mapping[str, object], actor: str) -> Told:
        """A call of the gateway's own in the name of `actor`, whose right the caller has checked."""
        try:
            told = await self.world.peers.call(PeerCall(ME, "POST", path, body, actor=actor))
        except PeerUnavailable as down:
            return Told({}, "unavailable", str(down))
        self._read_at_ns = self._standing_at_ns = self._orders_at_ns = None
        answer = told.body if isinstance(told.body, Mapping) else {}
        if told.ok:
            return Told(answer)
        return Told({}, str(answer.get("type", "")).rpartition(":")[2], str(answer.get("detail", told.status)))

    async def get(self, service: str, path: str, actor: str = ME) -> Told:
        """A look at a service, the gateway's own calls included."""
        try:
            told = await self.world.peers.call(PeerCall(service, "GET", path, actor=actor))
        except DependencyDown as down:
            return Told({}, "unavailable", str(down))
        answer = told.body if isinstance(told.body, Mapping) else {}
        return Told(answer) if told.ok else Told({}, "refused", str(answer.get("detail", told.status)))

    async def _read(self, parts: tuple[Callable[[], Awaitable[None]], ...]) -> None:
        self.seen.now_ms = self.world.clock.now_ms()
        problems: list[str] = []
        for read in parts:
            try:
                await read()
            except DependencyDown as down:
                if str(down) not in problems:
                    problems.append(str(down))
        self.seen.problems = tuple(problems)

    def _standing_parts(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return (self._read_kill_switch, self._read_restraints, self._read_health, self._read_config)

    def _parts(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return (
            *self._standing_parts(),
            self._read_prices,
            self._read_positions,
            self._read_equity,
            self._read_trades,
            self._read_orders,
            self._read_decisions,
            self._read_alerts,
            self._read_services,
        )

    async def _get(self, service: str, path: str) -> Any:
        """The body of a GET of another service; None when it refuses or does not offer it."""
        told = await self.world.peers.call(PeerCall(service, "GET", path, actor=ME))
        return told.body if told.ok else None

    async def _read_kill_switch(self) -> None:
        body = await self._get(ME, "/kill-switch")
        if body is None:
            raise PeerUnavailable(ME, "the state of the kill switch is not known")
        self.seen.kill = KillSwitchAnswer.model_validate(body)

    async def _read_restraints(self) -> None:
        body = await self._get(ME, "/restraints")
        if body is None:
            raise PeerUnavailable(ME, "what holds entries back is not known")
        views = RestraintsAnswer.model_validate(body).restraints
        self.seen.restraints = views
        self.seen.halts = {each.scope or "": each.why for each in views if each.name == "HALT"}
        self.seen.pauses = tuple(each.scope or "" for each in views if each.name == "PAUSE")

    async def _read_health(self) -> None:
        level = await self.world.snapshots.get(HEALTH_STATE.name(self.settings.env))
        rolling = await self.world.snapshots.get_hash(HEALTH_ROLLING.name(self.settings.env))
        self.seen.health = HealthLevel(level) if level else None
        self.seen.health_is_old = self.seen.now_ms - int(rolling.get("updated_at", 0)) > HEALTH_AGE_MAX_MS
        self.seen.grades = json.loads(rolling.get("grades", "{}"))

    async def _read_config(self) -> None:
        active = await self.world.documents.get(CONFIG_ACTIVE, "active")
        self.seen.config_rev = active.rev if active else None

    async def _read_prices(self) -> None:
        self.seen.prices = {key: await self._price(key) for key in self.settings.keys}

    async def _price(self, key: InstrumentKey) -> Price:
        snap = await self.world.snapshots.get_hash(MKT_SNAP.name(self.settings.env, key))
        bars = await self.bars.since(key, self.seen.now_ms - DAY_MS)
        last = _float(snap.get("last"))
        before = close_at(bars, self.seen.now_ms - DAY_MS)
        funding = await self._funding(key)
        return Price(
            last=last,
            mark=_float(snap.get("mark")),
            spread_bps=_float(snap.get("spread_bps")),
            change_ratio=None if last is None or not before else last / before - 1,
            funding_rate=_float(funding.get("rate")),
            funding_time=int(float(funding["funding_time"])) if funding.get("funding_time") else None,
        )

    async def _funding(self, key: InstrumentKey) -> Mapping[str, str]:
        if key.market.value not in FUNDING_NEXT.pattern:
            return {}
        return await self.world.snapshots.get_hash(FUNDING_NEXT.name(self.settings.env, key))

    async def _read_positions(self) -> None:
        body = await self._get("s6", "/positions")
        if body is None:
            raise PeerUnavailable("s6", "it does not say which positions are open")
        positions = PositionsAnswer.model_validate(body).positions
        self.seen.positions = tuple(sorted(positions, key=lambda each: (each.opened_at or 0, each.symbol)))

    async def _read_equity(self) -> None:
        await self.equity.read_on()
        limits = await self.world.snapshots.get_hash(RISK_LIMITS.name(self.settings.env))
        peak = await self.world.documents.get(EQUITY_PEAK, "equity_peak")
        points = self.equity.points
        self.seen.equity_usdt = _float(limits.get("equity_usdt")) or (points[-1].value if points else None)
        self.seen.drawdown_ratio = _float(limits.get("drawdown_ratio"))
        self.seen.drawdown_max_ratio = max(self.equity.drawdown_max_ratio, self.seen.drawdown_ratio or 0.0)
        self.seen.day_start_usdt = float(peak.day_start_equity_usdt) if peak else None

    async def _read_trades(self) -> None:
        await self.trades.read_on()
        self.seen.sums = self.trades.sums
        self.seen.trades = tuple(self.trades.newest(ROWS))
        self.seen.open_trades = tuple(await open_trades(self.world.documents))

    async def _read_orders(self) -> None:
        mark = await self.told_results()
        now_ns = self.world.clock.perf_ns()
        if mark == self._orders_mark and not _due(self._orders_at_ns, now_ns, ORDERS_EACH_NS):
            return
        find = self.world.documents.find
        self.seen.orders = tuple(await find(Query(collection=ORDERS, index="by_time", descending=True, limit=ROWS)))
        self.seen.fills = tuple(await find(Query(collection=FILLS, index="by_time", descending=True, limit=ROWS)))
        self._orders_mark, self._orders_at_ns = mark, now_ns

    async def _read_decisions(self) -> None:
        await self._decisions.read_on()
        self.seen.decisions = tuple(self._decisions.lines)

    async def _read_alerts(self) -> None:
        self.seen.alerts = tuple(
            await self.world.documents.find(Query(collection=ALERTS, index="by_time", descending=True, limit=ROWS))
        )

    async def _read_services(self) -> None:
        now_ns = self.world.clock.perf_ns()
        if not _due(self._health_at_ns, now_ns, HEALTH_EACH_NS):
            return
        self._health_at_ns = now_ns
        asked = [await self._service(service_id) for service_id in BY_ID]
        self.seen.services = tuple(state for state in asked if state is not None)

    async def _service(self, service_id: str) -> ServiceState | None:
        """None: not running here, and not meant to."""
        title = BY_ID[service_id].title
        try:
            told = await self.world.peers.call(PeerCall(service_id, "GET", "/health", actor=ME))
        except PeerUnavailable as down:
            return ServiceState(service_id, title, "DOWN", {"call": str(down)})
        if told.status == 404:
            return None
        body = told.body if isinstance(told.body, Mapping) else {}
        return ServiceState(service_id, title, str(body.get("status", "DOWN")), body.get("checks", {}))


def places_of(tick: Decimal) -> int:
    """How many places after the point a price of this tick needs."""
    exponent = tick.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _due(last_ns: int | None, now_ns: int, each_ns: int) -> bool:
    return last_ns is None or now_ns - last_ns >= each_ns


def _float(text: str | None) -> float | None:
    return None if text is None else float(text)
