"""What the page must be told to start."""

from dataclasses import dataclass
from pathlib import Path

from chimera.contracts.instrument_key import InstrumentKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """`storage` is the folder for the page library's own files; `venue` is sim, paper, testnet, local, remote or
    live; `speed` is market time per wall time, as shown."""

    env: str
    keys: tuple[InstrumentKey, ...]
    storage: Path
    venue: str
    speed: float = 1.0

    @property
    def is_live(self) -> bool:
        """Real orders, and what may be real money: of a server that is not on this machine nobody here knows."""
        return self.venue in ("live", "remote")
