"""Each fault has a test that arms it over HTTP and shows what the connector does: those of `test_faults_of_*`."""

import importlib

import pytest

from chimera.domain.matching.faults import FaultKind
from tests.adapters.binance.wire import SHOWN

THEMES = ("calls", "orders", "streams")


@pytest.mark.parametrize("kind", list(FaultKind))
def test_it_is_shown_what_the_connector_does_about(kind: FaultKind) -> None:
    for theme in THEMES:
        importlib.import_module(f"tests.adapters.binance.test_faults_of_{theme}")

    assert SHOWN.get(kind), f"no test in test_faults_of_*.py is marked with @shows(FaultKind.{kind})"
