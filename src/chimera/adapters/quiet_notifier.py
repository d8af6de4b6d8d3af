"""The notifier of an installation that named nobody to notify: it writes the log, and people read the page."""

import structlog

from chimera.contracts.enums import Severity

log = structlog.get_logger(__name__)


class QuietNotifier:
    async def notify(self, severity: Severity, title: str, text: str) -> None:
        if severity in (Severity.ERROR, Severity.FATAL):
            log.error(title, severity=severity.value, text=text)
        elif severity is Severity.WARN:
            log.warning(title, severity=severity.value, text=text)
        else:
            log.info(title, severity=severity.value, text=text)
