"""The regime of the market, once a UTC day.

Owns `regime:market:state`: what the lead instrument's volatility of the day that has just closed means among those of
the last thirty days. What is not known is not written, and what is not written or has expired counts as EXTREME to
whoever reads it (`runtime.regime`): no adds, the shortest maker wait. A store that lost it is told again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from chimera.contracts.enums import Regime
from chimera.contracts.keys import REGIME_STATE
from chimera.ports.clock import Clock
from chimera.ports.metrics import Metrics
from chimera.ports.state import Snapshots
from chimera.services.s02_features.handlers.active_config import ActiveConfig

DAY_MS = 86_400_000
FACTOR_ID = "rv_pctile_30d"

log = structlog.get_logger(__name__)


def regime_of(rv_pctile: float, *, frozen_below: float, extreme_above: float) -> Regime:
    """On a threshold the market is NORMAL."""
    if rv_pctile < frozen_below:
        return Regime.FROZEN
    return Regime.EXTREME if rv_pctile > extreme_above else Regime.NORMAL


@dataclass(slots=True, kw_only=True)
class Regimes:
    """`grace_ms`: so long after midnight the last day's regime still holds: its successor's bar is on its way."""

    env: str
    frozen_below: float
    extreme_above: float
    grace_ms: int
    config: ActiveConfig
    snapshots: Snapshots
    clock: Clock
    metrics: Metrics
    _day: int = -1
    """The UTC day whose regime was written last."""
    _fields: Mapping[str, str] = field(default_factory=dict)
    """What was judged last."""
    _expires_at: int = -1

    def is_due(self, at_ms: int) -> bool:
        return at_ms // DAY_MS > self._day

    async def judge(self, at_ms: int, rv_pctile: float | None, *, since_ms: int) -> None:
        """The regime of the day of `at_ms`, from the percentile as it stood then; None: it is not warm, and the next
        bar is asked again. `since_ms`: from when on it could have been known.

        Raises:
            DependencyDown: nothing was written.
        """
        if rv_pctile is None:
            return
        day = at_ms // DAY_MS
        state = regime_of(rv_pctile, frozen_below=self.frozen_below, extreme_above=self.extreme_above)
        self._expires_at = (day + 1) * DAY_MS + self.grace_ms
        # Before it is written: `keep` must never put an older one over it.
        self._fields = {
            "state": state.value,
            "rv_pctile": repr(rv_pctile),
            "rev": str(self.config.rev),
            "expires_at": str(self._expires_at),
        }
        await self.snapshots.set_hash(REGIME_STATE.name(self.env), self._fields)
        self._day = day
        self.metrics.observe_ms("s2_regime_latency_ms", (self.clock.now_ms() - since_ms) / self.clock.speed)
        log.info("regime of the day", state=state.value, rv_pctile=rv_pctile)

    async def keep(self) -> None:
        """Write it again where the store has lost it while it holds: it forgot its keys, or came back empty.

        Raises:
            DependencyDown: the next call asks again.
        """
        if self.clock.now_ms() >= self._expires_at:
            return
        key = REGIME_STATE.name(self.env)
        if not await self.snapshots.get_hash(key):
            await self.snapshots.set_hash(key, self._fields)
            log.warning("the store had lost the regime of the day", state=self._fields["state"])
