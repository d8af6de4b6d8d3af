"""What holds for the execution of one entry, gathered once: bundle, regime, health, costs, curves and route table.

Owns where each of these comes from and how a source that cannot be used is judged: what held before it stays, and a
person is told once. Decides nothing; `Terms` hand what they hold to `domain.execution`. An entry costs two reads of
the state store; everything else is kept, and looked at again by `refresh`.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from chimera.contracts.collections import COST_CURVES, INSTRUMENT_REGISTRY
from chimera.contracts.documents import CostCurve
from chimera.contracts.documents import Instrument as Listed
from chimera.contracts.enums import CostCurveKind, Grade, HealthLevel, Market, Regime, Routing, Severity
from chimera.contracts.flags import Flags
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import HEALTH_ROLLING, ROUTER_CURVES
from chimera.contracts.messages.orders import ExecPolicy, Twap
from chimera.contracts.metrics import AlertCode
from chimera.contracts.settings import S3Settings
from chimera.domain.decision.plan_of import book_limits
from chimera.domain.execution.choice import Choice, Situation, choose
from chimera.domain.execution.cost import Book, CostCurveError, CostModel, by_newest, check_curve, cost_model
from chimera.domain.execution.liquidity import Limits
from chimera.domain.execution.maker_wait import Market as WaitMarket
from chimera.domain.execution.maker_wait import Wait, maker_wait
from chimera.domain.execution.route import Route, RouteError, RouteTable, parse_curves, parse_table, shown
from chimera.domain.execution.slicing import Parts, fineness_of, parts_for
from chimera.domain.health.grading import BACKTEST_GUARD
from chimera.domain.health.restraints import restraint
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.state import Snapshots
from chimera.runtime.config_watch import ConfigSnapshot, ConfigWatch
from chimera.runtime.instruments import instrument_of
from chimera.runtime.regime import RegimeNow, regime_state
from chimera.runtime.telling import Teller

RouteFile = Callable[[], str | None]
"""The text of the file at S4_ROUTE_TABLE_PATH, None where there is none. May raise OSError or ValueError."""

DOCUMENTS_MS = 60_000
"""Of our own work: cost curves change once a month, the registry's rates seldom."""

log = structlog.get_logger(__name__)


def no_route_file() -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Everything that one entry of one instrument is executed by; taken once, used to its end.

    Attributes:
        rev: of the bundle.
        level: None: not known, which is as RED.
        volatility: `rv_pctile_30d`.
        conservative: the backtest guard is over its limits and the bundle wants that to count.
        route_rev: of everything here that is no bundle and no measurement.
    """

    rev: int
    flags: Flags
    regime: Regime
    volatility: float | None
    level: HealthLevel | None
    grades: Mapping[str, Grade]
    conservative: bool
    costs: CostModel
    curves: Route | None
    file: RouteTable | None
    spread_bp_limit: float
    depth_top1_usdt_min: float
    maker_max_wait_ms: int
    route_rev: str

    def book(self, notional_usdt: Decimal, spread_bps: float | None, depth_top1_usdt: float | None) -> Book:
        return Book(
            notional_usdt=float(notional_usdt),
            spread_bps=spread_bps,
            depth_top1_usdt=depth_top1_usdt,
            regime=self.regime,
            volatility=self.volatility,
        )

    def parts(self, notional_usdt: Decimal, market: Market, asked: Twap | None) -> Parts:
        """How an entry is sliced. A table that was promoted stands before the file, and both before the buckets."""
        return parts_for(
            notional_usdt,
            self.flags.execution.routing.twap,
            route=self.curves if isinstance(self.curves, RouteTable) else self.file,
            asked=asked,
            fineness=fineness_of(self.grades, market, conservative=self.conservative),
        )

    def wait(self, book: Book, asked: ExecPolicy) -> Wait:
        """How long a post-only order may rest."""
        level = self.level or HealthLevel.RED
        return maker_wait(
            WaitMarket(
                notional_usdt=Decimal(repr(book.notional_usdt)),
                spread_bps=book.spread_bps,
                depth_top1_usdt=book.depth_top1_usdt,
                regime=self.regime,
                cut_ms=restraint(level, self.flags.health_guard.actions).maker_wait_cut_ms,
            ),
            self.flags.execution.routing.maker_wait,
            cap_ms=self.maker_max_wait_ms,
            curves=self.curves,
            file=self.file,
            asked_ms=asked.maker_wait_ms if asked.maker_wait_ms is not None else asked.maker_try_ms,
        )

    def choice(self, name: str, book: Book, routing: Routing, *, new_entry: bool, can_post: bool) -> Choice:
        """Maker or taker. `name` is the intent's id."""
        return choose(
            Situation(
                new_entry=new_entry,
                name=name,
                routing=routing,
                book=book,
                health=self.level,
                conservative=self.conservative,
                can_post=can_post,
            ),
            self.costs,
            self.flags.execution.routing.maker_wait,
            probe_ratio=self.flags.health_guard.actions.maker_probe_ratio,
        )

    def limits(self, min_slice_usdt: Decimal) -> Limits:
        """Of a look at the book before a slice. `min_slice_usdt` is that of its `Parts`."""
        risk, probe = self.flags.risk, self.flags.probe
        return Limits(
            spread_bp_limit=self.spread_bp_limit,
            depth_top1_usdt_min=self.depth_top1_usdt_min,
            slip_bp_max=risk.slip_bp_max,
            slip_bp_hard=risk.slip_bp_hard,
            recheck_ms=probe.recheck_ms,
            max_delay_ms=probe.max_delay_ms,
            min_slice_usdt=min_slice_usdt,
        )


@dataclass(slots=True)
class _Kept:
    """Of one instrument."""

    curves: Route | None = None
    slippage: CostCurve | None = None
    fees: CostCurve | None = None
    listed: Listed | None = None
    instrument: Instrument | None = None
    """By `listed`."""


@dataclass(slots=True, kw_only=True)
class TermsKeeper:
    """`start` before anything is executed, `refresh` each S4_ROUTE_POLL_MS.

    Attributes:
        instruments: S4's own, as the exchange lists them; the registry's entry stands before them.
        s3: S3's variables, for the limits that L0 falls back to.
    """

    env: str
    keys: tuple[InstrumentKey, ...]
    watch: ConfigWatch
    instruments: Mapping[InstrumentKey, Instrument]
    documents: Documents
    snapshots: Snapshots
    clock: Clock
    teller: Teller
    s3: S3Settings
    maker_max_wait_ms: int
    route_file: RouteFile = no_route_file
    _kept: dict[InstrumentKey, _Kept] = field(default_factory=dict)
    _file: RouteTable | None = None
    _file_text: str | None = None
    _documents_at_ms: int | None = None
    _bad: dict[str, str] = field(default_factory=dict)
    """What a person was told of each source that cannot be used."""
    _rev: str = ""

    @property
    def route_rev(self) -> str:
        """Of tables, curves and costs, for GET /health: the same as long as nothing of them changes."""
        return self._rev

    async def start(self) -> None:
        """
        Raises:
            DependencyDown: state or documents do not answer.
        """
        await self.refresh()

    async def refresh(self) -> None:
        """Look at every source again. One that cannot be used leaves things as they were.

        Raises:
            DependencyDown: what was read so far is in force.
        """
        try:
            await self._read_file()
            for key in self.keys:
                await self._read_curves(key)
            now_ms = self.clock.now_ms()
            if self._documents_at_ms is None or now_ms - self._documents_at_ms >= self.clock.work_ms(DOCUMENTS_MS):
                await self._read_documents()
                self._documents_at_ms = now_ms
        finally:
            self._rev = self._revision()

    async def of(self, key: InstrumentKey, *, signal_id: str | None, level: HealthLevel | None) -> Terms:
        """What holds for an entry of `key` now.

        Args:
            signal_id: decides whether a canary's bundle holds.
            level: of `Restraints.standing`, which whoever sends has asked anyway.

        Raises:
            ConfigUnavailable: there is no bundle to go by yet.
            DependencyDown: the state store does not answer.
        """
        snapshot = self.watch.current() if signal_id is None else self.watch.of(signal_id)
        regime = await regime_state(self.snapshots, self.clock, self.env)
        rolling = await self.snapshots.get_hash(HEALTH_ROLLING.name(self.env))
        return self._terms(key, snapshot, regime, level, grades_of(rolling.get("grades", "")))

    def _terms(
        self,
        key: InstrumentKey,
        snapshot: ConfigSnapshot,
        regime: RegimeNow,
        level: HealthLevel | None,
        grades: Mapping[str, Grade],
    ) -> Terms:
        flags, kept = snapshot.flags, self._kept.get(key, _Kept())
        instrument = kept.instrument or self.instruments[key]
        spread_bp_limit, depth_top1_usdt_min = book_limits(snapshot.instruments, instrument, self.s3)
        guard = flags.backtest_guard.actions
        over = grades.get(BACKTEST_GUARD) in (Grade.ORANGE, Grade.RED)
        return Terms(
            rev=snapshot.rev,
            flags=flags,
            regime=regime.regime,
            volatility=regime.rv_pctile,
            level=level,
            grades=grades,
            conservative=over and guard.conservative_routing,
            costs=self._costs(flags, kept),
            curves=kept.curves,
            file=self._file,
            spread_bp_limit=spread_bp_limit,
            depth_top1_usdt_min=depth_top1_usdt_min,
            maker_max_wait_ms=self.maker_max_wait_ms,
            route_rev=self._rev,
        )

    def _costs(self, flags: Flags, kept: _Kept) -> CostModel:
        listed = kept.listed
        return cost_model(
            flags.execution.routing,
            slippage=kept.slippage,
            fees=kept.fees,
            own_maker_bps=_bps(listed.maker_fee_ratio) if listed else None,
            own_taker_bps=_bps(listed.taker_fee_ratio) if listed else None,
        )

    async def _read_file(self) -> None:
        try:
            text = self.route_file()
            if text == self._file_text and "file" not in self._bad:
                return
            table = None if text is None else parse_table(text)
        except (OSError, ValueError) as error:
            await self._tell("file", f"S4_ROUTE_TABLE_PATH: {error}")
            return
        self._file, self._file_text = table, text
        self._bad.pop("file", None)

    async def _read_curves(self, key: InstrumentKey) -> None:
        name = ROUTER_CURVES.name(self.env, key)
        try:
            curves = parse_curves(await self.snapshots.get_hash(name))
        except RouteError as error:
            await self._tell(name, f"{name}: {error}")
            return
        self._kept.setdefault(key, _Kept()).curves = curves
        self._bad.pop(name, None)

    async def _read_documents(self) -> None:
        for kind in CostCurveKind:
            found = await self.documents.find(
                Query(collection=COST_CURVES, index="by_kind_ver", equal=(("kind", kind.value),))
            )
            for key in self.keys:
                usable = await self._usable(found, kind, key)
                kept = self._kept.setdefault(key, _Kept())
                if kind is CostCurveKind.SLIPPAGE:
                    kept.slippage = usable
                else:
                    kept.fees = usable
        for key in self.keys:
            listed = await self.documents.get(INSTRUMENT_REGISTRY, key.doc_key)
            kept = self._kept.setdefault(key, _Kept())
            kept.listed, kept.instrument = listed, None if listed is None else instrument_of(listed)

    async def _usable(self, found: Sequence[CostCurve], kind: CostCurveKind, key: InstrumentKey) -> CostCurve | None:
        """The newest of `key` that can be used: an older one stays in force while a newer one cannot."""
        for curve in by_newest(found, kind, key):
            try:
                check_curve(curve)
            except CostCurveError as error:
                await self._tell(curve.curve_id, str(error))
                continue
            return curve
        return None

    async def _tell(self, source: str, why: str) -> None:
        """Once for each thing that is wrong with a source. What cannot be told now is told at the next look."""
        if self._bad.get(source) == why:
            return
        log.warning("what execution goes by cannot be used", source=source, why=why)
        try:
            await self.teller.alert(
                AlertCode.ROUTE_TABLE, Severity.WARN, f"{why}. What held before it stays in force", source=source
            )
        except DependencyDown:
            # Nothing waits for a person to hear of it: the other sources are looked at all the same.
            self._bad[source] = ""
        else:
            self._bad[source] = why

    def _revision(self) -> str:
        """Twelve hex digits of everything in force here."""
        said = {
            str(key): [
                shown(kept.curves),
                kept.slippage.curve_id if kept.slippage else None,
                kept.fees.curve_id if kept.fees else None,
            ]
            for key, kept in sorted(self._kept.items())
        }
        body = json.dumps([shown(self._file), said], sort_keys=True, default=str)
        return hashlib.sha256(body.encode()).hexdigest()[:12]


def grades_of(text: str) -> Mapping[str, Grade]:
    """`grades` of `health:rolling`; whatever is no grade is left out, as a metric without data."""
    try:
        body = json.loads(text) if text else {}
    except ValueError:
        return {}
    if not isinstance(body, dict):
        return {}
    return {name: Grade(grade) for name, grade in body.items() if str(grade) in Grade.__members__}


def _bps(ratio: Decimal | None) -> float | None:
    return None if ratio is None else float(ratio) * 1e4
