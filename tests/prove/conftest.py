"""Proofs run without a log."""

from collections.abc import Iterator

import pytest

from chimera.simulation.quiet import quiet


@pytest.fixture(scope="session", autouse=True)
def without_a_log() -> Iterator[None]:
    with quiet():
        yield
