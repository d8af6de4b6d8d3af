"""One bundle as each instrument sees it: limits, compiled rules and sizing, made once per revision.

Hard caps of the environment stand above the bundle; where the bundle is silent the environment's value holds.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts.enums import EntryStatus, Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.decision.decide import DecisionConfig
from chimera.domain.decision.gates import Limits
from chimera.domain.decision.rules import Rule, compile_rules, parse_rule
from chimera.domain.decision.sizing import SizingParams
from chimera.domain.exact import exact
from chimera.domain.market.instrument import Instrument
from chimera.runtime.config_watch import ConfigSnapshot, ConfigWatch
from chimera.services.s03_strategy.settings import Settings


@dataclass(slots=True, kw_only=True)
class Plans:
    settings: Settings
    watch: ConfigWatch
    instruments: dict[InstrumentKey, Instrument]
    _seq: int = -1
    _rules: tuple[Rule, ...] = ()
    _made: dict[InstrumentKey, DecisionConfig] = field(default_factory=dict)

    def snapshot(self) -> ConfigSnapshot:
        """
        Raises:
            ConfigUnavailable: nothing to decide by.
        """
        return self.watch.current()

    @property
    def rules_loaded(self) -> int:
        return sum(rule.enabled for rule in self._rules)

    def markets(self, snapshot: ConfigSnapshot, symbol: str) -> tuple[Market, ...]:
        """Where the bundle trades this symbol: nowhere unless S3_SYMBOLS names it too."""
        return snapshot.flags.strategy.markets.get(symbol, ()) if symbol in self.settings.variables.symbols else ()

    def traded(self, snapshot: ConfigSnapshot, key: InstrumentKey) -> bool:
        return key.market in self.markets(snapshot, key.symbol)

    def of(self, key: InstrumentKey) -> tuple[ConfigSnapshot, DecisionConfig]:
        """The present snapshot and what it means for `key`: take both once per decision."""
        snapshot = self.watch.current()
        if snapshot.seq != self._seq:
            self._seq = snapshot.seq
            self._rules = tuple(parse_rule(rule.to_dict()) for rule in snapshot.rules)
            self._made = {}
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._make(snapshot, key)
        return snapshot, made

    def _make(self, snapshot: ConfigSnapshot, key: InstrumentKey) -> DecisionConfig:
        flags, own = snapshot.flags, self.settings.variables
        instrument = self.instruments[key]
        listed = next((each for each in snapshot.instruments if each.doc_key() == key.doc_key), None)
        spread_limit = listed.spread_bp_limit if listed else instrument.spread_bp_limit
        depth_min = listed.depth_top1_usdt_min if listed else instrument.depth_top1_usdt_min
        futures = key.market is Market.FUT
        budget = flags.risk.budget
        leverage = min(own.leverage_default, instrument.max_leverage)
        planned = own.margin_base_usdt * leverage if futures else flags.spot.quote_usdt
        return DecisionConfig(
            limits=Limits(
                max_feature_age_ms=self.settings.feature_age_ms_max,
                max_funding_abs=own.max_funding_abs,
                spread_bp_limit=own.spread_bp_limit_default if spread_limit is None else spread_limit,
                depth_top1_usdt_min=own.depth_top1_usdt_min_default if depth_min is None else depth_min,
                slip_bp_max=flags.risk.slip_bp_max,
                slip_bp_hard=flags.risk.slip_bp_hard,
                max_entries_per_signal=flags.strategy.max_entries_per_signal,
                cooldown_min=flags.strategy.cooldown_min,
                spot_multi_symbols=flags.inventory.spot_multi_symbols,
                budget_usdt_max=budget.fut_margin_usdt_max if futures else budget.spot_quote_usdt_max,
                concurrent_entries_per_market=flags.risk.concurrent_entries_per_market,
                daily_loss_usdt_max=float(flags.risk.daily_loss_usdt_max),
                drawdown_pct_max=flags.risk.drawdown_pct_max,
                planned_notional_usdt=float(planned),
            ),
            rules=compile_rules(
                self._rules,
                symbol=key.symbol,
                enabled_factors=[
                    factor.factor_id for factor in snapshot.factors if factor.status is EntryStatus.ENABLED
                ],
            ),
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
            rev=snapshot.rev,
        )
