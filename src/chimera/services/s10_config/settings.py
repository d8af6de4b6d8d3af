"""What the config service must be told to start."""

from dataclasses import dataclass, field

from chimera.contracts.settings import S3Settings, S10Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSettings:
    """
    Attributes:
        in_step_ms: Our own work's time: how soon a lost event or key is told again. 5 s keeps I8; a world whose bus
            cannot lose may take longer.
        variables: The S10_* of the environment.
        s3: The S3_* that decide: a dry run decides as S3 does.
        tick_interval_ms: The venue's.
    """

    env: str
    in_step_ms: int = 5_000
    variables: S10Settings = field(default_factory=S10Settings)
    s3: S3Settings = field(default_factory=S3Settings)
    tick_interval_ms: int = 0
