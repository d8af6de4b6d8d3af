"""What health must be told to start."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """`watched` are the ids of the services that run in this system; one that does not answer is down.

    `tick_ms` is market time, like the age of `health:rolling` that turns stale; `alert_dedupe_ms` is a person's time.
    """

    env: str
    watched: tuple[str, ...]
    tick_ms: int = 60_000
    alert_dedupe_ms: int = 300_000
    starting_ms: int = 1_000
    """Our own work's time: how often it is seen whether all have started. Nothing is entered before that is so. S4's
    health asks the exchange, so that looking ten times a second used up a quarter of what one address may ask."""
    start_patience_ms: int = 300_000
    """Our own work's time: who has not started by then is down. A month of minutes takes a second or two for each
    instrument, so that a hundred of them may be traded."""
    retry_ms: int = 5_000
    """Our own work's time: how soon a system that is RED is looked at again, or it would stay RED a minute more."""
