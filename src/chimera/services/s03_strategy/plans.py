"""What is in force as each instrument sees it: one value a decision, made once per revision by
`domain.decision.plan_of`."""

from dataclasses import dataclass, field, replace

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.decision.decide import DecisionConfig
from chimera.domain.decision.plan_of import Content, content_of, plan_of
from chimera.domain.market.instrument import Instrument
from chimera.runtime.config_watch import ConfigSnapshot, ConfigWatch
from chimera.services.s03_strategy.handlers.score import Opened, Scorer
from chimera.services.s03_strategy.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What one decision goes by from its first question to its last: a configuration, what it means for the instrument,
    and its model where that is open. Taken once; whatever comes into force meanwhile is the next decision's."""

    snapshot: ConfigSnapshot
    config: DecisionConfig
    model: Opened | None
    instrument: Instrument


@dataclass(slots=True, kw_only=True)
class Plans:
    settings: Settings
    watch: ConfigWatch
    scorer: Scorer
    instruments: dict[InstrumentKey, Instrument]
    _seq: int = -1
    _contents: dict[str, Content] = field(default_factory=dict)
    _made: dict[tuple[InstrumentKey, str], Basis] = field(default_factory=dict)

    def snapshot(self) -> ConfigSnapshot:
        """The stable one.

        Raises:
            ConfigUnavailable: nothing to decide by.
        """
        return self.watch.current()

    @property
    def rules_loaded(self) -> int:
        """ENABLED rules of the stable configuration."""
        if not self.watch.loaded:
            return 0
        return sum(rule.enabled for rule in self._content(self.watch.current()).rules)

    def markets(self, snapshot: ConfigSnapshot, symbol: str) -> tuple[Market, ...]:
        """Where the bundle trades this symbol: nowhere unless S3_SYMBOLS names it too."""
        return snapshot.flags.strategy.markets.get(symbol, ()) if symbol in self.settings.variables.symbols else ()

    def traded(self, snapshot: ConfigSnapshot, key: InstrumentKey) -> bool:
        return key.market in self.markets(snapshot, key.symbol)

    def of(self, key: InstrumentKey, signal_id: str) -> Basis:
        """What decides this signal of `key`, by its cohort.

        Raises:
            ConfigUnavailable: nothing to decide by.
        """
        snapshot = self.watch.of(signal_id)
        content = self._content(snapshot)
        model = self.scorer.of(snapshot.flags.model)
        instrument = self.instruments[key]
        made = self._made.get((key, snapshot.bundle_id))
        if made is None or made.model is not model or made.instrument is not instrument:
            # The registry is read anew each minute: only what really changed makes limits anew.
            same = made is not None and made.model is model and made.instrument == instrument
            config = made.config if same and made is not None else self._config(content, instrument, model)
            made = self._made[key, snapshot.bundle_id] = Basis(
                snapshot=snapshot, config=config, model=model, instrument=instrument
            )
        return made

    def _content(self, snapshot: ConfigSnapshot) -> Content:
        if snapshot.seq != self._seq:
            self._seq = snapshot.seq
            self._contents, self._made = {}, {}
        content = self._contents.get(snapshot.bundle_id)
        if content is None:
            content = self._contents[snapshot.bundle_id] = content_of(
                snapshot.flags, snapshot.rules, snapshot.factors, snapshot.instruments, rev=snapshot.rev
            )
        return content

    def _config(self, content: Content, instrument: Instrument, model: Opened | None) -> DecisionConfig:
        config = plan_of(
            content,
            instrument,
            self.settings.variables,
            feature_age_ms_max=self.settings.feature_age_ms_max,
        )
        if model is None:
            return config
        # A factor that a person has disabled is not read, whoever still emits it.
        rules = config.rules
        disabled = tuple(
            f for f in model.features if f not in content.enabled_factors and f not in rules.disabled_factors
        )
        return replace(
            config,
            model_factors=tuple(f for f in model.features if f in content.enabled_factors),
            rules=replace(rules, disabled_factors=rules.disabled_factors + disabled) if disabled else rules,
        )
