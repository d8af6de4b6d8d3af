"""How much of a proof runs: a quick cut with every test run, everything by `make prove`. How it says what it did."""

import os
from collections.abc import Callable

FULL = os.environ.get("CHIMERA_PROVE", "") == "full"

Record = Callable[[str, object], None]
"""pytest's `record_property`: what was counted and how much of it, for `docs/proof`."""


def count(full: int, quick: int) -> int:
    return full if FULL else quick
