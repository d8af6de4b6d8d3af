"""How well orders are carried out, over the last hours: as gauges, as counters for S11, and as alerts where it is bad.

Owns what is counted of an intent that has ended and what the shares are made of. A restart begins anew; a share of too
few is not told.
"""

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts.documents import IntentRecord
from chimera.contracts.enums import ExecStyle, LegRole, Market, OrderStatus, Refusal, Severity
from chimera.contracts.keys import METRICS_COUNTERS
from chimera.contracts.metrics import AlertCode
from chimera.contracts.settings import S4Settings
from chimera.domain.execution.machine.flow import SELL, WORKING, Flow
from chimera.ports.clock import Clock
from chimera.ports.metrics import Metrics
from chimera.ports.state import Snapshots
from chimera.runtime.telling import Teller

SAMPLES_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Share:
    """`part` of `whole`, once; `samples` of it decide whether the share says anything."""

    ts: int
    part: float
    whole: float


@dataclass(slots=True)
class Window:
    """A share over the last `length_ms`; memory is bounded."""

    length_ms: int
    _samples: deque[Share] = field(default_factory=lambda: deque(maxlen=SAMPLES_KEPT))

    def add(self, ts: int, part: float, whole: float) -> None:
        if whole > 0:
            self._samples.append(Share(ts, part, whole))

    def share(self, now_ms: int) -> tuple[float | None, int]:
        """The share, None without any, and of how many samples."""
        while self._samples and self._samples[0].ts < now_ms - self.length_ms:
            self._samples.popleft()
        whole = sum(each.whole for each in self._samples)
        return (sum(each.part for each in self._samples) / whole if whole else None), len(self._samples)


@dataclass(slots=True, kw_only=True)
class Measures:
    env: str
    variables: S4Settings
    snapshots: Snapshots
    metrics: Metrics
    clock: Clock
    teller: Teller
    _windows: dict[str, Window] = field(default_factory=dict)
    _told_at_ms: dict[AlertCode, int] = field(default_factory=dict)

    async def ended(self, record: IntentRecord, flow: Flow) -> None:
        """Count one intent that has ended. Only what reached the exchange counts."""
        counted: dict[str, float] = {}
        maker, taken = flow.filled(LegRole.QUOTE), flow.filled(LegRole.TAKE)
        price = float(flow.avg_price(*WORKING) or 0)
        if flow.execution.style in (ExecStyle.MAKER, ExecStyle.POST_ONLY):
            offered = max(_offered(flow), maker)
            reference = price or float(record.intent.entry_ref_price or 1)
            self._share("maker_fill_ratio", float(maker) * reference, float(offered) * reference, counted)
            late = [
                order
                for _, order in flow.legs(LegRole.QUOTE)
                if order.status is OrderStatus.CANCELED and order.refusal is None
            ]
            if late:
                self.metrics.count("maker_timeout_count", len(late))
        if maker + taken > 0:
            self._share("taker_rate", float(taken) * price, float(maker + taken) * price, counted)
        if flow.execution.is_twap:
            sent = {leg.slice for leg, _ in flow.legs(*WORKING)}
            filled = {leg.slice for leg, order in flow.legs(*WORKING) if order.filled_qty}
            self._share("twap_slice_fill_ratio", len(filled), len(sent), counted)
        if record.market is Market.SPOT and flow.is_entry:
            orders = [order for _, order in flow.legs(*WORKING)]
            short = sum(order.refusal is Refusal.FUNDS for order in orders)
            self._share("ib_rate", short, len(orders), counted)
            if flow.filled(*WORKING):
                self._share("oco_fallback_ratio", _fell_back(flow), 1, counted)
        for name, by in counted.items():
            await self.snapshots.increment(METRICS_COUNTERS.name(self.env), name, by)
        await self._judge()

    def _share(self, name: str, part: float, whole: float, counted: dict[str, float]) -> None:
        window = self._windows.setdefault(name, Window(self.clock.work_ms(self.variables.measures_window_ms)))
        window.add(self.clock.now_ms(), part, whole)
        counted[f"{name}_part"], counted[f"{name}_whole"] = part, whole
        share, _ = window.share(self.clock.now_ms())
        if share is not None:
            self.metrics.gauge(name, share)

    async def _judge(self) -> None:
        limits = (
            ("maker_fill_ratio", AlertCode.MAKER_FILL_RATIO_LOW, self.variables.maker_fill_ratio_min, True),
            ("ib_rate", AlertCode.INSUFFICIENT_BALANCE_RATE_HIGH, self.variables.ib_rate_max, False),
            ("oco_fallback_ratio", AlertCode.OCO_FALLBACK_RATE_HIGH, self.variables.oco_fallback_ratio_max, False),
        )
        now_ms = self.clock.now_ms()
        for name, code, limit, low_is_bad in limits:
            window = self._windows.get(name)
            share, samples = window.share(now_ms) if window is not None else (None, 0)
            if share is None or samples < self.variables.measures_samples_min:
                continue
            bad = share < limit if low_is_bad else share > limit
            told_ms = self._told_at_ms.get(code)
            again = told_ms is None or now_ms - told_ms >= self.clock.work_ms(self.variables.measures_window_ms)
            if bad and again:
                self._told_at_ms[code] = now_ms
                await self.teller.alert(
                    code,
                    Severity.WARN,
                    f"{name} is {share:.3f} over {samples} samples, limit {limit:g}",
                    metric=name,
                )
            elif not bad:
                self._told_at_ms.pop(code, None)


def _offered(flow: Flow) -> Decimal:
    """What was quoted, each slice once however often it was quoted. A quote that would have taken was never offered."""
    by_slice: dict[int, Decimal] = {}
    for leg, order in flow.legs(LegRole.QUOTE):
        if order.refusal is not Refusal.WOULD_TAKE:
            by_slice[leg.slice] = max(by_slice.get(leg.slice, Decimal(0)), order.quantity or Decimal(0))
    return sum(by_slice.values(), Decimal(0))


def _fell_back(flow: Flow) -> bool:
    """Whether the exchange's pair could not be had: the guard stands in, or it was sold. A guard that was asked for is
    no fallback."""
    for note in flow.execution.notes:
        if note.what == SELL:
            return True
        if note.what == "ARMED" and note.detail.get("guard") not in (None, "GUARD_ASKED"):
            return True
    return False
