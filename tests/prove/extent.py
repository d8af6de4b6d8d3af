"""How much of a proof runs: a quick cut with every test run, everything by `make prove`."""

import os

FULL = os.environ.get("CHIMERA_PROVE", "") == "full"


def count(full: int, quick: int) -> int:
    return full if FULL else quick
