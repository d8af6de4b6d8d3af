"""Which services there are, and how each is built from a world and the settings of this process.

The one place that knows every service. A capability that is not there yet is not listed, and its port stays closed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chimera.app.route_file import route_file
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S1Settings, S2Settings, S3Settings, S4Settings, S5Settings, S10Settings
from chimera.ports.world import World
from chimera.runtime.service import Service
from chimera.services.s01_exchange import service as s1
from chimera.services.s01_exchange.settings import Settings as ExchangeSettings
from chimera.services.s02_features import service as s2
from chimera.services.s02_features.settings import Settings as FeatureSettings
from chimera.services.s03_strategy import service as s3
from chimera.services.s03_strategy.settings import Settings as StrategySettings
from chimera.services.s04_router import service as s4
from chimera.services.s04_router.settings import Settings as RouterSettings
from chimera.services.s05_reconciler import service as s5
from chimera.services.s05_reconciler.settings import Settings as ReconcilerSettings
from chimera.services.s06_positions import service as s6
from chimera.services.s06_positions.settings import Settings as PositionSettings
from chimera.services.s10_config import service as s10
from chimera.services.s10_config.settings import ConfigSettings
from chimera.services.s11_health import service as s11
from chimera.services.s11_health.settings import HealthSettings
from chimera.services.s12_gateway import service as s12
from chimera.services.s12_gateway.settings import GatewaySettings

GUARDING = ("s10", "s1", "s4", "s5", "s6", "s12")
"""These watch over what is open, and let a person do so. Started first and one after another, so that no stop waits for
a month of bars."""

DECIDING = ("s2", "s3")
"""These decide whether to open more. Started beside each other once the others stand, so that neither waits for one
that cannot start; until it has started none of its calls is answered."""

TELLING = "s11"
"""Tells people what happens and judges health. Started beside the first, and the first to stop: it judges nobody who is
starting, and nobody who is going."""

SERVICES = (*GUARDING, *DECIDING, TELLING)
"""Whatever runs here. Each service waits by itself for what it needs, so that any order of starting comes to the same
end."""


KLINE_STALL_MS = 90_000
"""SERVICES S1: bars and marks may be silent this long."""

POSITION_TICK_MS = 1_000
"""SERVICES S6: an open position is looked at each second, and not more often than the exchange moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the services look by themselves, in ms of our own work. The defaults are SERVICES' numbers.

    Attributes:
        repair_ms: What a lost bus entry would leave behind is put right this often.
        heal_ms: Open trades are read again whatever was told.
        balances_ms: Balances are polled; `snapshot_ms` (market time): and recorded in full.
        holdings_ms: Spot holdings are recorded.
        compare_ms: Least distance of two looks at the exchange's orders and positions, which S5's own settings say; a
            comparison counts for 180 s. `compare_all_ms`: the same of a whole comparison.
        look_again_ms: A refusal that no tick can change is brought up to date (market time).
        stall_ms: A stream that is silent for so long is told of.
        limits_ms: Equity, daily loss and drawdown are reckoned.
        health_ms: Health is judged, in market time; older than 180 s it counts as RED.
        claim_ms: Entries that a dead consumer of the group has in hand are looked for.
    """

    repair_ms: int = 5_000
    heal_ms: int = 60_000
    balances_ms: int = 10_000
    snapshot_ms: int = 60_000
    holdings_ms: int = 10_000
    compare_ms: int = 0
    compare_all_ms: int = 0
    look_again_ms: int = 60_000
    stall_ms: int = 5_000
    limits_ms: int = 5_000
    health_ms: int = 60_000
    claim_ms: int = 30_000


VIRTUAL_PACE = Pace(
    repair_ms=300_000,
    heal_ms=600_000,
    balances_ms=150_000,
    snapshot_ms=300_000,
    holdings_ms=150_000,
    compare_ms=170_000,
    compare_all_ms=600_000,
    look_again_ms=300_000,
    stall_ms=300_000,
    limits_ms=170_000,
    health_ms=170_000,
    claim_ms=600_000,
)
"""For virtual time, where the bus loses nothing and the market stands still between two ticks: looking more often finds
what was found before, and most of a simulated day would be spent on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that the services of one system are told at start."""

    env: str
    keys: tuple[InstrumentKey, ...]
    """What is traded."""
    id_prefix: str
    tick_interval_ms: int
    s3: S3Settings
    s4: S4Settings
    gateway: GatewaySettings
    kill_file: Callable[[], bool]
    watched: tuple[InstrumentKey, ...] = ()
    """What is watched besides, because the signal needs it."""
    pace: Pace = Pace()
    s1: S1Settings = field(default_factory=S1Settings)
    s2: S2Settings = field(default_factory=S2Settings)
    s5: S5Settings = field(default_factory=S5Settings)
    s10: S10Settings = field(default_factory=S10Settings)


def lead_of(keys: Sequence[InstrumentKey]) -> InstrumentKey:
    """Whose days stand against USDT/TWD: BTCUSDT's perpetual, and where that is not watched, BTCUSDT spot."""
    perpetual, spot = (InstrumentKey(market, "BTCUSDT") for market in (Market.FUT, Market.SPOT))
    return spot if spot in keys and perpetual not in keys else perpetual


def build_all(world: World, settings: Settings) -> Mapping[str, Service]:
    """Every running service by id; stopped backwards."""
    env, keys, prefix, pace = settings.env, settings.keys, settings.id_prefix, settings.pace
    poll_ms = max(pace.repair_ms, settings.s3.config_poll_sec * 1_000)
    made = {
        "s1": s1.build(
            world,
            ExchangeSettings(
                env=env,
                keys=tuple(dict.fromkeys((*keys, *settings.watched))),
                balances_ms=pace.balances_ms,
                snapshot_ms=pace.snapshot_ms,
                stall_ms=pace.stall_ms,
                kline_stall_ms=max(KLINE_STALL_MS, pace.stall_ms),
                minute_days=settings.s1.minute_days,
                ready_days=settings.s1.ready_days,
                factor_days=settings.s1.factor_days,
                history_pause_ms=settings.s1.history_pause_ms,
                variables=settings.s1,
            ),
        ),
        "s2": s2.build(
            world,
            FeatureSettings(
                env=env,
                keys=keys,
                lead_key=lead_of((*keys, *settings.watched)),
                emit_ms=settings.s2.emit_ms,
                minute_days=min(settings.s2.minute_days, settings.s2.warmup_days),
                hour_days=settings.s2.warmup_days,
                factor_days=settings.s2.warmup_days,
                outlier_sigma=settings.s2.outlier_sigma,
                regime_frozen_below=settings.s2.regime_frozen_below,
                regime_extreme_above=settings.s2.regime_extreme_above,
                regime_grace_ms=settings.s2.regime_grace_ms,
                recompute_days_max=settings.s2.recompute_days_max,
            ),
        ),
        "s3": s3.build(
            world,
            StrategySettings(
                env=env,
                keys=keys,
                variables=settings.s3,
                id_prefix=prefix,
                tick_interval_ms=settings.tick_interval_ms,
                config_poll_ms_min=pace.repair_ms,
                heal_ms=pace.heal_ms,
                look_again_ms=pace.look_again_ms,
            ),
            kill_file=settings.kill_file,
        ),
        "s4": s4.build(
            world,
            RouterSettings(
                env=env,
                keys=keys,
                id_prefix=prefix,
                working_type=settings.s4.working_type,
                leverage_max=settings.s3.leverage_default,
                sync_wait_ms=settings.s4.sync_wait_ms,
                holdings_ms=pace.holdings_ms,
                stop_attempts=settings.s4.stop_tries_max,
                dead_man_ms=settings.s4.dead_man_ms,
                variables=settings.s4,
                s3=settings.s3,
                route_file=route_file(settings.s4.route_table_path),
                tick_interval_ms=settings.tick_interval_ms,
            ),
            kill_file=settings.kill_file,
        ),
        "s5": s5.build(
            world,
            ReconcilerSettings(
                env=env,
                keys=keys,
                id_prefix=prefix,
                atr_mult=settings.s3.atr_mult,
                in_flight_ms=max(settings.s5.in_flight_ms, pace.compare_ms),
                orders_ms=max(settings.s5.orders_ms, pace.compare_ms),
                positions_ms=max(settings.s5.positions_ms, pace.compare_ms),
                balances_ms=max(settings.s5.balances_ms, pace.compare_all_ms),
                lookup_lag_ms=settings.s5.lookup_lag_ms,
                lookups_max=settings.s5.lookups_max,
                lookup_pause_ms=settings.s5.lookup_pause_ms,
                retry_max_ms=settings.s5.retry_ms_max,
                entry_patience_ms=settings.s5.entry_patience_ms,
                balance_diff_min=settings.s5.balance_diff_min,
                adopt_unknown_position=settings.s5.adopt_unknown_position,
            ),
        ),
        "s6": s6.build(
            world,
            PositionSettings(
                env=env,
                keys=keys,
                leverage_default=settings.s3.leverage_default,
                tick_ms=max(POSITION_TICK_MS, settings.tick_interval_ms),
                limits_ms=pace.limits_ms,
                heal_ms=pace.heal_ms,
                config_poll_ms=poll_ms,
                treasury_ms=pace.balances_ms,
            ),
        ),
        "s10": s10.build(
            world,
            ConfigSettings(
                env=env,
                in_step_ms=pace.repair_ms,
                variables=settings.s10,
                s3=settings.s3,
                tick_interval_ms=settings.tick_interval_ms,
            ),
        ),
        "s11": s11.build(
            world,
            HealthSettings(env=env, watched=(*GUARDING, *DECIDING), tick_ms=pace.health_ms),
        ),
        "s12": s12.build(world, settings.gateway, kill_file=settings.kill_file),
    }
    return {service_id: made[service_id] for service_id in SERVICES}
