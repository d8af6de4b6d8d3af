"""One bundle as each instrument sees it, made once per revision by `domain.decision.plan_of`."""

from dataclasses import dataclass, field

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.decision.decide import DecisionConfig
from chimera.domain.decision.plan_of import Content, content_of, plan_of
from chimera.domain.market.instrument import Instrument
from chimera.runtime.config_watch import ConfigSnapshot, ConfigWatch
from chimera.services.s03_strategy.settings import Settings


@dataclass(slots=True, kw_only=True)
class Plans:
    settings: Settings
    watch: ConfigWatch
    instruments: dict[InstrumentKey, Instrument]
    _seq: int = -1
    _content: Content | None = None
    _made: dict[InstrumentKey, DecisionConfig] = field(default_factory=dict)

    def snapshot(self) -> ConfigSnapshot:
        """
        Raises:
            ConfigUnavailable: nothing to decide by.
        """
        return self.watch.current()

    @property
    def rules_loaded(self) -> int:
        return 0 if self._content is None else sum(rule.enabled for rule in self._content.rules)

    def markets(self, snapshot: ConfigSnapshot, symbol: str) -> tuple[Market, ...]:
        """Where the bundle trades this symbol: nowhere unless S3_SYMBOLS names it too."""
        return snapshot.flags.strategy.markets.get(symbol, ()) if symbol in self.settings.variables.symbols else ()

    def traded(self, snapshot: ConfigSnapshot, key: InstrumentKey) -> bool:
        return key.market in self.markets(snapshot, key.symbol)

    def of(self, key: InstrumentKey) -> tuple[ConfigSnapshot, DecisionConfig]:
        """The present snapshot and what it means for `key`: take both once per decision."""
        snapshot = self.watch.current()
        if self._content is None or snapshot.seq != self._seq:
            self._seq = snapshot.seq
            self._content = content_of(
                snapshot.flags, snapshot.rules, snapshot.factors, snapshot.instruments, rev=snapshot.rev
            )
            self._made = {}
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = plan_of(
                self._content,
                self.instruments[key],
                self.settings.variables,
                feature_age_ms_max=self.settings.feature_age_ms_max,
            )
        return snapshot, made
