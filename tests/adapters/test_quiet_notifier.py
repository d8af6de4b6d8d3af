"""The notifier that nobody listens to still says how bad it was."""

import pytest
from structlog.testing import capture_logs

from chimera.adapters.quiet_notifier import QuietNotifier
from chimera.contracts.enums import Severity


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        pytest.param(Severity.INFO, "info", id="information"),
        pytest.param(Severity.WARN, "warning", id="warning"),
        pytest.param(Severity.ERROR, "error", id="error"),
        pytest.param(Severity.FATAL, "error", id="fatal"),
    ],
)
async def test_a_notice_is_logged_as_loudly_as_it_is_severe(severity: Severity, level: str) -> None:
    with capture_logs() as logs:
        await QuietNotifier().notify(severity, "position without a stop", "BTCUSDT was closed")

    assert logs == [
        {
            "event": "position without a stop",
            "log_level": level,
            "severity": severity.value,
            "text": "BTCUSDT was closed",
        }
    ]
