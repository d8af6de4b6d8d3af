"""What holds for every test of the project.

Owns two rules: a slow machine is no failing test, and with CHIMERA_REQUIRE_ALL=1 a test that could not run has failed.
"""

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

NO_SHARED_DATA = "CHIMERA_SHARED is not set"
"""How a skip begins that even CHIMERA_REQUIRE_ALL=1 forgives: the data is no part of the project, so a clone may lack
it. Where the variable is set, this reason cannot come up, and whatever is missing in the folder fails."""

# A property that is measured in milliseconds fails on a busy machine and says nothing about the property.
settings.register_profile("chimera", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("chimera")


def must_not_be_skipped(reason: str) -> bool:
    """Whether a skip for this reason counts as a failure here."""
    return os.environ.get("CHIMERA_REQUIRE_ALL") == "1" and not reason.startswith(NO_SHARED_DATA)


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return
    reason = report.longrepr[2].removeprefix("Skipped: ")
    if must_not_be_skipped(reason):
        report.outcome = "failed"
        report.longrepr = f"CHIMERA_REQUIRE_ALL=1 and this could not run: {reason}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share one running system stay on one worker, or each worker would start and warm up its own."""
    for item in items:
        if item.get_closest_marker("process") or item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report
