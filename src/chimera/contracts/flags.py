"""The flags of a config bundle: everything that a person changes at run time, with its default, range and reason.

Owns the shape and the numbers. Which environment variable stands behind a silent flag is in `settings`; the bundle
that the system starts with is built in `domain.config`. Defaults: 004 section 12.1 verbatim, the thresholds of v3.2
1.2 and 1.3, and the numbers of SERVICES.

Units are the last word of a name: `_usdt` money, `_bp`/`_bps` 1/10,000, `_pct` and `_ratio` fractions (0.1 = 10 %),
`_ms`, `_min`, `_h` times.
"""

from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import Field

from chimera.contracts.base import Contract, Estimate, Number
from chimera.contracts.enums import Market, SideMode, SliceShape, TakerFallback


def _d(text: str) -> Decimal:
    return Decimal(text)


class TwapBucket(Contract):
    """Orders whose notional lies in (range[0], range[1]] go in `slices` parts of at least `min_slice_usdt`."""

    range: Annotated[tuple[Number, ...], Field(min_length=2, max_length=2)] = Field(
        description="Notional in USDT, [from, to]; the upper bound belongs to the bucket (v3.2 1.1)."
    )
    slices: int = Field(ge=1, le=100, description="Parts of the order; S4_TWAP_MAX_SLICES caps it.")
    min_slice_usdt: Number = Field(ge=0, description="Smallest part in USDT; 0 sets no bound.")


class TwapFlags(Contract):
    spec_required: ClassVar[tuple[str, ...]] = ("buckets",)

    buckets: tuple[TwapBucket, ...] = Field(
        default=(
            TwapBucket(range=(_d("0"), _d("300")), slices=1, min_slice_usdt=_d("0")),
            TwapBucket(range=(_d("300"), _d("1500")), slices=3, min_slice_usdt=_d("150")),
            TwapBucket(range=(_d("1500"), _d("5000")), slices=5, min_slice_usdt=_d("300")),
            TwapBucket(range=(_d("5000"), _d("20000")), slices=8, min_slice_usdt=_d("1000")),
        ),
        description="By rising notional; above the last bucket its slices hold (004 12.1).",
    )
    gap_ms: int = Field(default=600, ge=0, le=600_000, description="Time between slices (SERVICES S4).")
    jitter_ratio: Estimate = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Each gap is moved by up to this share, so that others cannot foresee it.",
    )
    shape: SliceShape = Field(
        default=SliceShape.EQUAL, description="Equal slices, or growing with the square root of their number (003 5.2)."
    )
    finer_mult: Estimate = Field(
        default=2.0,
        ge=1,
        le=10,
        description="So many times the slices where finer ones are asked for: health YELLOW, conservative routing. Half"
        " the size moves the book half as far.",
    )


class RegimeAdjustMs(Contract):
    """Added to the maker wait by volatility: LOW when the regime is FROZEN, MEDIUM when NORMAL, HIGH when EXTREME."""

    spec_required: ClassVar[tuple[str, ...]] = ("LOW", "MEDIUM", "HIGH")

    low: int = Field(
        default=800,
        ge=-60_000,
        le=60_000,
        validation_alias="LOW",
        serialization_alias="LOW",
        description="A quiet market: waiting is cheap.",
    )
    medium: int = Field(
        default=0,
        ge=-60_000,
        le=60_000,
        validation_alias="MEDIUM",
        serialization_alias="MEDIUM",
        description="The usual market.",
    )
    high: int = Field(
        default=-600,
        ge=-60_000,
        le=60_000,
        validation_alias="HIGH",
        serialization_alias="HIGH",
        description="Waiting costs drift.",
    )


class MakerWaitFlags(Contract):
    spec_required: ClassVar[tuple[str, ...]] = (
        "base_ms",
        "need_fill_ratio",
        "spread_bp_gate",
        "min_top1_depth_usdt",
        "regime_adjust_ms",
    )

    base_ms: int = Field(
        default=1200,
        ge=0,
        le=60_000,
        description="Time given to a post-only order (v3.2 1.1).",
    )
    need_fill_ratio: Estimate = Field(
        default=0.7,
        ge=0,
        le=1,
        description="Below this filled share the rest is taken at the end of the wait.",
    )
    spread_bp_gate: Estimate = Field(
        default=3.0,
        ge=0,
        le=1_000,
        description="A wider spread means no maker: the touch is not worth waiting at.",
    )
    min_top1_depth_usdt: Estimate = Field(
        default=20_000.0,
        ge=0,
        le=1e12,
        description="A thinner touch means no maker; it decides nothing else.",
    )
    regime_adjust_ms: RegimeAdjustMs = Field(default=RegimeAdjustMs(), description="By daily regime (v3.2 1.1).")


class TakerFlags(Contract):
    spec_required: ClassVar[tuple[str, ...]] = ("fallback",)

    fallback: TakerFallback = Field(
        default=TakerFallback.DIRECT,
        description="After a maker order that did not fill: market at once (v3.2 1.1).",
    )


class FeeFlags(Contract):
    spec_required: ClassVar[tuple[str, ...]] = ("maker_bp", "taker_bp")

    maker_bp: Number = Field(
        default=_d("1.0"),
        ge=-100,
        le=1_000,
        description="Fee of a resting order (004 12.1).",
    )
    taker_bp: Number = Field(
        default=_d("5.0"),
        ge=-100,
        le=1_000,
        description="Fee of a taking order (004 12.1).",
    )


class CostFlags(Contract):
    """What a maker order is expected to meet while no `cost_curves` document tells it."""

    p_fill: Estimate = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Chance that a maker order fills within its wait: a little above the 0.55 below which health turns"
        " yellow.",
    )
    drift_bps: Estimate = Field(
        default=2.0,
        ge=0,
        le=1_000,
        description="How far the price has run where it did not fill: twice the usual move of 1.2 s at 50 % volatility"
        " a year, because it is the worse half of the cases.",
    )


class RoutingFlags(Contract):
    spec_required: ClassVar[tuple[str, ...]] = ("twap", "maker_wait", "taker", "fees")

    twap: TwapFlags = Field(default=TwapFlags(), description="How large orders are cut.")
    maker_wait: MakerWaitFlags = Field(default=MakerWaitFlags(), description="How long a maker order may rest.")
    taker: TakerFlags = Field(default=TakerFlags(), description="What follows the wait.")
    fees: FeeFlags = Field(default=FeeFlags(), description="Used until the account's own rates are known.")
    cost: CostFlags = Field(default=CostFlags(), description="Used where the cost curve is silent.")


class ExecutionFlags(Contract):
    spec_required: ClassVar[tuple[str, ...]] = ("routing",)

    routing: RoutingFlags = Field(default=RoutingFlags(), description="Maker, taker or slices (v3.2 1.1).")


class GradeLimits(Contract):
    """Where a metric turns yellow, orange and red; below or above, as the metric is good when high or low."""

    yellow: Estimate = Field(ge=0, le=1e9, description="First limit.")
    orange: Estimate = Field(ge=0, le=1e9, description="Second limit.")
    red: Estimate = Field(ge=0, le=1e9, description="Third limit.")


class HealthThresholds(Contract):
    """v3.2 1.2. maker_fill_ratio and model_auc are bad when low, the others when high."""

    maker_fill_ratio: GradeLimits = Field(
        default=GradeLimits(yellow=0.55, orange=0.45, red=0.35),
        description="Filled as maker / offered as maker.",
    )
    ib_rate: GradeLimits = Field(
        default=GradeLimits(yellow=0.03, orange=0.06, red=0.10),
        description="Spot refusals for lack of balance.",
    )
    model_auc: GradeLimits = Field(
        default=GradeLimits(yellow=0.60, orange=0.55, red=0.50),
        description="Over the last 100 labelled decisions.",
    )
    brier: GradeLimits = Field(
        default=GradeLimits(yellow=0.22, orange=0.25, red=0.28),
        description="Over the last 100 labelled decisions.",
    )
    router_e2e_latency_p95_ms: GradeLimits = Field(
        default=GradeLimits(yellow=1200, orange=2000, red=3000),
        description="Command to result, less deliberate waits.",
    )


class HealthActions(Contract):
    """What a level does (SERVICES S11)."""

    yellow_size_mult: Estimate = Field(default=0.8, ge=0, le=1, description="Entry size at one yellow.")
    orange_size_mult: Estimate = Field(default=0.5, ge=0, le=1, description="Entry size at orange or two yellows.")
    model_yellow_size_mult: Estimate = Field(default=0.9, ge=0, le=1, description="Where auc or brier is yellow.")
    model_orange_size_mult: Estimate = Field(default=0.7, ge=0, le=1, description="Where auc or brier is orange.")
    yellow_maker_wait_cut_ms: int = Field(default=300, ge=0, le=60_000, description="Maker wait is cut by this.")
    maker_probe_ratio: Estimate = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of orders still offered as maker at orange, so that it can end.",
    )
    clean_min: int = Field(
        default=3,
        ge=0,
        le=1_440,
        description="Minutes without a breach before a grade improves.",
    )


class MinSamples(Contract):
    """A metric is graded with at least so many samples, else it has NO_DATA (SERVICES S11)."""

    maker_attempts: int = Field(
        default=20, ge=1, le=100_000, description="Orders offered as maker, for maker_fill_ratio."
    )
    spot_submissions: int = Field(default=20, ge=1, le=100_000, description="Spot orders sent, for ib_rate.")
    labelled_decisions: int = Field(
        default=100, ge=2, le=100_000, description="For auc and brier; both classes must be among them."
    )
    latencies: int = Field(default=20, ge=1, le=100_000, description="Orders timed, for router_e2e p95.")


class HealthGuardFlags(Contract):
    spec_required: ClassVar[tuple[str, ...]] = ("window_min", "thresholds", "actions")

    window_min: int = Field(
        default=360,
        ge=1,
        le=10_080,
        description="Rolling window: six hours (v3.2 1.2).",
    )
    thresholds: HealthThresholds = Field(
        default=HealthThresholds(), description="Where each metric turns yellow, orange and red (v3.2 1.2)."
    )
    actions: HealthActions = Field(default=HealthActions(), description="What each level does (SERVICES S11).")
    min_samples: MinSamples = Field(default=MinSamples(), description="Below, a metric has no grade (SERVICES S11).")


class BacktestActions(Contract):
    conservative_routing: bool = Field(default=True, description="Over a limit for 7 d: no maker, finer TWAP.")
    recalibrate_cost_model: bool = Field(default=True, description="And RECALIBRATE_COST_MODEL is told.")
    halt_after_d: int = Field(
        default=14,
        ge=7,
        le=365,
        description="Over a limit for so many days: no new entries.",
    )


class BacktestGuardFlags(Contract):
    spec_required: ClassVar[tuple[str, ...]] = (
        "slippage_mape_7d_max",
        "taker_pct_diff_7d_max",
        "latency_diff_ms_p95_max",
        "actions",
    )

    slippage_mape_7d_max: Estimate = Field(
        default=0.35,
        ge=0,
        le=100,
        description="Mean |real - predicted| / max(|predicted|, floor) of slippage (v3.2 1.3).",
    )
    taker_pct_diff_7d_max: Estimate = Field(
        default=0.20, ge=0, le=1, description="Taker share, live - model (v3.2 1.3)."
    )
    latency_diff_ms_p95_max: Estimate = Field(
        default=300.0, ge=0, le=60_000, description="How much later orders arrive than modelled, p95 (v3.2 1.3)."
    )
    actions: BacktestActions = Field(default=BacktestActions(), description="What follows from a breach (v3.2 1.3).")
    slippage_floor_bps: Estimate = Field(
        default=0.5,
        gt=0,
        le=100,
        description="A prediction near zero would divide the error by nothing (SERVICES S11).",
    )


class RiskBudget(Contract):
    spec_required: ClassVar[tuple[str, ...]] = ("spot_quote_usdt_max", "fut_margin_usdt_max")

    spot_quote_usdt_max: Number = Field(default=_d("2000"), ge=0, description="WAC * qty held + reserved (004 12.1).")
    fut_margin_usdt_max: Number = Field(default=_d("600"), ge=0, description="Isolated margin in all (004 12.1).")


class TradingWindow(Contract):
    """Entries are allowed on `days` (Monday 1 … Sunday 7) from `from_minute` to before `to_minute` of the UTC day."""

    days: tuple[Annotated[int, Field(ge=1, le=7)], ...] = Field(
        default=(1, 2, 3, 4, 5, 6, 7), description="ISO weekdays, UTC."
    )
    from_minute: int = Field(default=0, ge=0, le=1_440, description="Minute of the day.")
    to_minute: int = Field(
        default=1_440,
        ge=0,
        le=1_440,
        description="Minute of the day; smaller than from: over midnight.",
    )


class RiskFlags(Contract):
    spec_required: ClassVar[tuple[str, ...]] = ("budget",)

    budget: RiskBudget = Field(default=RiskBudget(), description="What may be in use.")
    concurrent_entries_per_market: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Open or opening entries of one market; silent: S3_CONCURRENT_ENTRIES_PER_MARKET. The first bundle"
        " says 2 (004 12.1).",
    )
    windows: tuple[TradingWindow, ...] = Field(default=(), description="When entries are allowed; none means always.")
    slip_bp_max: Estimate = Field(default=8.0, ge=0, le=1_000, description="Above: finer slices are asked of S4.")
    slip_bp_hard: Estimate = Field(default=24.0, ge=0, le=1_000, description="Above: the entry is refused.")
    daily_loss_usdt_max: Number = Field(
        default=_d("6"),
        ge=0,
        description="Realised + fees + funding + open loss of the UTC day that halts entries.",
    )
    exposure_usdt_max: Number = Field(
        default=_d("14000"),
        ge=0,
        description="|futures + spot| of one symbol at the mark; above, nothing is added to it. The seeds are silent:"
        " both first budgets in full, 600 at 20x and 2000, so that it binds only where a budget was raised.",
    )
    drawdown_pct_max: Estimate = Field(
        default=0.10,
        ge=0,
        le=1,
        description="Fall from the equity peak, net of transfers, that halts entries.",
    )


class InventoryFlags(Contract):
    spec_required: ClassVar[tuple[str, ...]] = ("spot_multi_symbols", "spot_hedge_enable")

    spot_multi_symbols: bool = Field(default=True, description="May hold several symbols at once (004 12.1).")
    spot_hedge_enable: bool = Field(
        default=True,
        description="Spot held lessens the target of long FUT adds (004 12.1).",
    )


class TreasuryFlags(Contract):
    spec_required: ClassVar[tuple[str, ...]] = ("auto_transfer", "min_free_usdt_spot", "min_free_usdt_fut")

    auto_transfer: bool = Field(default=False, description="Transfers without a person's approval (004 12.1).")
    min_free_usdt_spot: Number = Field(default=_d("50"), ge=0, description="Below: money is fetched (004 12.1).")
    min_free_usdt_fut: Number = Field(default=_d("50"), ge=0, description="Below: money is fetched (004 12.1).")


class ComplianceFlags(Contract):
    spec_required: ClassVar[tuple[str, ...]] = ("enabled",)

    enabled: bool = Field(default=False, description="One person trades: off (004 12.1).")
    large_order_usdt_threshold: Number = Field(
        default=_d("5000"),
        ge=0,
        description="Entries above need a token. The seeds are silent: twelve usual entries.",
    )
    approval_ttl_sec: int = Field(
        default=300,
        ge=1,
        le=86_400,
        description="A token's life. The seeds are silent: long enough to read and act.",
    )


class StrategyFlags(Contract):
    markets: dict[str, tuple[Market, ...]] = Field(
        default={"BTCUSDT": (Market.FUT, Market.SPOT), "ETHUSDT": (Market.FUT,)},
        description="What is traded; S3_SYMBOLS narrows it (SERVICES, strategy).",
    )
    side_mode: SideMode = Field(
        default=SideMode.FOLLOW,
        description="With the sign of xmkt_signal, or against it.",
    )
    min_move: Estimate = Field(
        default=0.0005,
        ge=0,
        le=1,
        description="A smaller daily move of either market is no move (fraction).",
    )
    max_entries_per_signal: int = Field(
        default=1,
        ge=0,
        le=100,
        description="Per symbol, market and UTC signal day; an explicit sideHint is not counted.",
    )
    cooldown_min: int = Field(default=60, ge=0, le=10_080, description="No entry so long after a stop-out.")
    min_exit_net_pct: Number = Field(
        default=_d("0.10"),
        ge=0,
        le=10,
        description="Least net profit, of margin, for which a profit exit is taken.",
    )


class SpotFlags(Contract):
    quote_usdt: Number = Field(default=_d("50"), gt=0, description="Quote amount of one entry at size_mult 1.")
    tp_net_pct: Number = Field(
        default=_d("0.01"),
        ge=0,
        le=10,
        description="Net profit of the quote, after both fees.",
    )
    tp_bps: Number = Field(
        default=_d("0"),
        ge=0,
        le=10_000,
        description="Fixed target instead; 0 uses tp_net_pct.",
    )
    sl_bps: Number = Field(
        default=_d("0"),
        ge=0,
        le=9_999,
        description="Fixed stop instead; 0 uses the ATR distance.",
    )
    stop_limit_gap_bps: Number = Field(
        default=_d("50"),
        ge=0,
        le=9_999,
        description="Limit below the trigger where only STOP_LOSS_LIMIT is allowed.",
    )


class StopTier(Contract):
    """From `roe_min` on the stop secures `lock_roe`; both fractions of margin, after fees. 0 is break-even."""

    roe_min: Number = Field(ge=0, le=100, description="Reached once, it holds.")
    lock_roe: Number = Field(ge=0, le=100, description="What the stop secures.")


class LadderRung(Contract):
    """At `roe_min` this share of what is open is closed."""

    roe_min: Number = Field(gt=0, le=100, description="Fraction of margin, after fees.")
    close_ratio: Number = Field(gt=0, le=1, description="Share of the open quantity.")


class AddFlags(Contract):
    max_adds: int = Field(default=1, ge=0, le=2, description="A rule's max_adds_override wins.")
    roe_min: Number = Field(default=_d("0.05"), ge=0, le=100, description="Only winners are added to.")
    size_ratio: Number = Field(default=_d("0.5"), gt=0, le=1, description="Of the first entry's size.")


class StagnationFlags(Contract):
    roe_abs_max: Number = Field(
        default=_d("0.02"),
        ge=0,
        le=1,
        description="Within this the position goes nowhere.",
    )
    hours: int = Field(default=24, ge=1, le=720, description="So long, then STAGNATED is told.")


class PositionFlags(Contract):
    tiers: tuple[StopTier, ...] = Field(
        default=(
            StopTier(roe_min=_d("0.05"), lock_roe=_d("0")),
            StopTier(roe_min=_d("0.10"), lock_roe=_d("0.05")),
        ),
        description="By rising ROE; the stop never moves back.",
    )
    tier_step_roe: Number = Field(
        default=_d("0.05"),
        gt=0,
        le=10,
        description="Above the last tier each further step of ROE locks as much more.",
    )
    ladder: tuple[LadderRung, ...] = Field(
        default=(
            LadderRung(roe_min=_d("0.10"), close_ratio=_d("0.5")),
            LadderRung(roe_min=_d("0.20"), close_ratio=_d("0.5")),
        ),
        description="What remains after the last rung follows the tiers.",
    )
    adds: AddFlags = Field(default=AddFlags(), description="When and how much is added.")
    stagnation: StagnationFlags = Field(default=StagnationFlags(), description="When a position is said to be stuck.")
    liquidation_buffer_min: Number = Field(
        default=_d("0.25"),
        ge=0,
        le=1,
        description="(mark - liq)/(entry - liq) below this: half is closed each tick.",
    )


class ProbeFlags(Contract):
    max_delay_ms: int = Field(
        default=3_000,
        ge=0,
        le=60_000,
        description="How long an entry slice waits for liquidity.",
    )
    recheck_ms: int = Field(default=250, ge=10, le=60_000, description="How often it looks again.")


class ModelFlags(Contract):
    name: str = Field(
        default="constant",
        min_length=1,
        description="Of `models`; `constant` needs no file.",
    )
    timeout_ms: int = Field(
        default=50,
        ge=1,
        le=10_000,
        description="Later than this the multiplier is 1.0, and said so.",
    )
    constant_p: Estimate = Field(default=0.65, ge=0, le=1, description="What the constant model answers.")


class LabelFlags(Contract):
    pos_net_roi_min: Estimate = Field(default=0.005, ge=0, le=10, description="From here a label is pos.")
    neg_net_roi_max: Estimate = Field(default=-0.005, ge=-10, le=0, description="Up to here a label is neg.")


class Flags(Contract):
    """`config_bundles.flags`. Schema: config_flags.json, + the groups of CONTRACTS section 2."""

    spec_required: ClassVar[tuple[str, ...]] = (
        "execution",
        "health_guard",
        "backtest_guard",
        "risk",
        "inventory",
        "treasury",
        "compliance",
    )

    execution: ExecutionFlags = Field(default=ExecutionFlags(), description="How orders are executed.")
    health_guard: HealthGuardFlags = Field(default=HealthGuardFlags(), description="When the system holds back.")
    backtest_guard: BacktestGuardFlags = Field(default=BacktestGuardFlags(), description="Live against the model.")
    risk: RiskFlags = Field(default=RiskFlags(), description="How much may be lost and be in use.")
    inventory: InventoryFlags = Field(default=InventoryFlags(), description="What spot may hold.")
    treasury: TreasuryFlags = Field(default=TreasuryFlags(), description="When money moves between wallets.")
    compliance: ComplianceFlags = Field(default=ComplianceFlags(), description="When a person must approve an entry.")
    strategy: StrategyFlags = Field(default=StrategyFlags(), description="What is traded and when.")
    spot: SpotFlags = Field(default=SpotFlags(), description="Size, target and stop of spot entries.")
    position: PositionFlags = Field(default=PositionFlags(), description="How a position is led.")
    probe: ProbeFlags = Field(default=ProbeFlags(), description="How an entry slice waits for liquidity.")
    model: ModelFlags = Field(default=ModelFlags(), description="Which model scores entries.")
    label: LabelFlags = Field(default=LabelFlags(), description="When a signal was good.")
