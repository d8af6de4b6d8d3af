"""What the page must be told to start."""

from dataclasses import dataclass
from pathlib import Path

from chimera.contracts.instrument_key import InstrumentKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """`storage` is the folder for the page library's own files; `venue` is sim, paper, testnet, local or live; `speed`
    is market time per wall time, as shown."""

    env: str
    keys: tuple[InstrumentKey, ...]
    storage: Path
    venue: str
    speed: float = 1.0

    @property
    def is_live(self) -> bool:
        """Real orders, real money."""
        return self.venue == "live"
