"""A dry run as charts and tables: how the new bundle would have decided, beside the one in force. Pure."""

from typing import Any

from chimera.contracts.http.config import DryRunAnswer
from chimera.services.s12_gateway.page.config_rows import FINDINGS, finding_rows
from chimera.services.s12_gateway.page.rows import Section


def verdict(told: DryRunAnswer) -> tuple[str, str]:
    return ("passed", "good") if told.passed else ("not passed", "bad")


def has_days(told: DryRunAnswer) -> bool:
    return False


def rate_options() -> dict[str, Any]:
    return {}


def rate_patch(told: DryRunAnswer) -> dict[str, Any]:
    return {}


def day_options() -> dict[str, Any]:
    return {}


def day_patch(told: DryRunAnswer) -> dict[str, Any]:
    return {}


def sections(told: DryRunAnswer) -> list[Section]:
    return [Section("Findings", FINDINGS, finding_rows(told.findings))]
