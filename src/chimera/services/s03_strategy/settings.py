"""What S3 needs to know before it starts."""

from dataclasses import dataclass

from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S3Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    Attributes:
        variables: The S3_* of the environment.
        tick_interval_ms: The venue's: freshness respects it.
        config_poll_ms_min: A lost config event is looked for no more often than this, our own work's time.
        heal_ms: How often the risk budget is recomputed from documents, our own work's time.
        look_again_ms: While no tick can change the answer it is brought up to date this often, market time.
    """

    env: str
    keys: tuple[InstrumentKey, ...]
    variables: S3Settings
    id_prefix: str = "s3"
    tick_interval_ms: int = 0
    config_poll_ms_min: int = 0
    heal_ms: int = 60_000
    look_again_ms: int = 60_000

    @property
    def feature_age_ms_max(self) -> int:
        """Never below 2.5 tick intervals: a slow exchange is not a stale one. Source: SERVICES S1."""
        return max(self.variables.max_feature_age_ms, int(2.5 * self.tick_interval_ms))

    @property
    def config_poll_ms(self) -> int:
        """How soon a lost config event is noticed, our own work's time."""
        return max(self.config_poll_ms_min, self.variables.config_poll_sec * 1_000)
