"""What one configuration means for one instrument: limits, compiled rules and sizing as the decision takes them.

Owns how flags, rules, factors and a machine's own variables become a `DecisionConfig`. Whoever decides makes it here:
S3 live, S10 over stored signals, a backtest. Hard caps of the environment stand above the bundle; where the bundle is
silent the environment's value holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.documents import Factor, StrategyRule
from chimera.contracts.documents import Instrument as InstrumentEntry
from chimera.contracts.enums import EntryStatus, Market
from chimera.contracts.flags import Flags
from chimera.contracts.settings import S3Settings
from chimera.domain.decision.decide import DecisionConfig
from chimera.domain.decision.gates import Limits
from chimera.domain.decision.rules import Rule, compile_rules, parse_rule
from chimera.domain.decision.sizing import SizingParams
from chimera.domain.exact import exact
from chimera.domain.market.instrument import Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A configuration ready to be asked for any instrument: its rules are checked and compiled once."""

    rev: int
    flags: Flags
    rules: tuple[Rule, ...]
    enabled_factors: tuple[str, ...]
    instruments: tuple[InstrumentEntry, ...]


def content_of(
    flags: Flags,
    rules: Sequence[StrategyRule],
    factors: Sequence[Factor],
    instruments: Sequence[InstrumentEntry],
    *,
    rev: int,
) -> Content:
    """
    Raises:
        RuleError: a rule that lint would have found.
    """
    return Content(
        rev=rev,
        flags=flags,
        rules=tuple(parse_rule(rule.to_dict()) for rule in rules),
        enabled_factors=tuple(factor.factor_id for factor in factors if factor.status is EntryStatus.ENABLED),
        instruments=tuple(instruments),
    )


def book_limits(entries: Sequence[InstrumentEntry], instrument: Instrument, own: S3Settings) -> tuple[float, float]:
    """(widest spread in bps, thinnest touch in USDT) at which the instrument may be entered: the bundle's entry, else
    the registry's, else the environment's."""
    listed = next((each for each in entries if each.doc_key() == instrument.key.doc_key), None)
    spread_limit = listed.spread_bp_limit if listed else instrument.spread_bp_limit
    depth_min = listed.depth_top1_usdt_min if listed else instrument.depth_top1_usdt_min
    return (
        own.spread_bp_limit_default if spread_limit is None else spread_limit,
        own.depth_top1_usdt_min_default if depth_min is None else depth_min,
    )


def plan_of(content: Content, instrument: Instrument, own: S3Settings, *, feature_age_ms_max: int) -> DecisionConfig:
    """What `content` means for `instrument` on a machine with these variables.

    Args:
        feature_age_ms_max: older features decide nothing; never below 2.5 tick intervals of the venue.
    """
    flags, key = content.flags, instrument.key
    spread_bp_limit, depth_top1_usdt_min = book_limits(content.instruments, instrument, own)
    futures = key.market is Market.FUT
    budget = flags.risk.budget
    leverage = min(own.leverage_default, instrument.max_leverage)
    concurrency = flags.risk.concurrent_entries_per_market
    planned = own.margin_base_usdt * leverage if futures else flags.spot.quote_usdt
    return DecisionConfig(
        limits=Limits(
            max_feature_age_ms=feature_age_ms_max,
            max_funding_abs=own.max_funding_abs,
            spread_bp_limit=spread_bp_limit,
            depth_top1_usdt_min=depth_top1_usdt_min,
            slip_bp_max=flags.risk.slip_bp_max,
            slip_bp_hard=flags.risk.slip_bp_hard,
            max_entries_per_signal=flags.strategy.max_entries_per_signal,
            cooldown_min=flags.strategy.cooldown_min,
            spot_multi_symbols=flags.inventory.spot_multi_symbols,
            budget_usdt_max=budget.fut_margin_usdt_max if futures else budget.spot_quote_usdt_max,
            concurrent_entries_per_market=own.concurrent_entries_per_market if concurrency is None else concurrency,
            daily_loss_usdt_max=float(flags.risk.daily_loss_usdt_max),
            drawdown_pct_max=flags.risk.drawdown_pct_max,
            planned_notional_usdt=float(planned),
        ),
        rules=compile_rules(content.rules, symbol=key.symbol, enabled_factors=content.enabled_factors),
        sizing=SizingParams(
            margin_base_usdt=own.margin_base_usdt,
            leverage_default=own.leverage_default,
            max_loss_usdt=own.max_loss_usdt,
            atr_mult=exact(own.atr_mult),
            min_exit_net_pct=flags.strategy.min_exit_net_pct,
            liquidation_buffer=Decimal(flags.position.liquidation_buffer_min),
            spot_quote_usdt=flags.spot.quote_usdt,
            spot_tp_net_pct=flags.spot.tp_net_pct,
            spot_tp_bps=flags.spot.tp_bps,
            spot_sl_bps=flags.spot.sl_bps,
        ),
        side_mode=flags.strategy.side_mode,
        rev=content.rev,
    )
