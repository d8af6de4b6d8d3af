"""Telling a person. Best effort: a notifier that fails never stops trading."""

from typing import Protocol

from chimera.contracts.enums import Severity


class Notifier(Protocol):
    async def notify(self, severity: Severity, title: str, text: str) -> None: ...
