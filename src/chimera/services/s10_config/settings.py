"""What the config service must be told to start."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSettings:
    """`in_step_ms` is our own work's time: how soon a lost event or key is told again. 5 s keeps I8; a world whose bus
    cannot lose may take longer."""

    env: str
    in_step_ms: int = 5_000
