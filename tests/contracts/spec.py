"""The spec's JSON Schemas, and the few places where the contract is wider than they are."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from chimera.contracts.enums import EventKind

NEW_ORDER_TYPES = ("LIMIT_MAKER", "STOP_LOSS", "TAKE_PROFIT")

WIDENED: dict[tuple[str, str], tuple[str, ...]] = {
    ("documents/orders", "type"): NEW_ORDER_TYPES,
    ("documents/strategy_events", "kind"): tuple(EventKind)[8:],
    ("documents/treasury_transfers", "result"): ("PENDING", "APPROVED", "REJECTED"),
    ("events/OrderCmd", "type"): NEW_ORDER_TYPES,
    ("events/PositionEvent", "kind"): ("STAGNATED",),
    ("events/ReconcileCmd", "scope"): ("ORDERS", "POSITIONS"),
}
"""Where CONTRACTS widens an enum of the spec, and by which words. Nothing else may be wider."""

SILENT: dict[tuple[str, str], tuple[str, ...]] = {
    ("documents/config_flags", "risk"): ("concurrent_entries_per_market",),
}
"""Where CONTRACTS 4 lets a bundle be silent, so that a variable of the environment holds, and the spec's schema does
not. Nothing else that is required there may be left out."""

FILE_OF_LABELS = "documents/labels_24h"
"""The spec writes one schema for the three collections of labels."""


def schema(name: str) -> dict[str, Any]:
    """The spec's schema, `documents/orders` or `events/OrderCmd`; skips where the spec is not at hand."""
    shared = os.environ.get("CHIMERA_SHARED")
    if not shared:
        pytest.skip("CHIMERA_SHARED is not set: the spec's schemas are not at hand, nothing was compared")
    name = FILE_OF_LABELS if name.startswith("documents/labels_") else name
    path = Path(shared) / "spec" / "schemas" / f"{name}.json"
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def widened(name: str) -> dict[str, Any]:
    """The same with the enums that the contract widens, and without asking for what may be left out."""
    result = copy.deepcopy(schema(name))
    for (file, field), words in WIDENED.items():
        if file == name:
            result["properties"][field]["enum"].extend(words)
    for (file, path), silent in SILENT.items():
        if file == name:
            below = result["properties"][path]
            below["required"] = [each for each in below["required"] if each not in silent]
    return result


DOCUMENTS: tuple[str, ...] = (
    "alerts",
    "approvals",
    "autopsy_reports",
    "balances_snapshots",
    "config_active",
    "config_flags",
    "cost_curves",
    "experiments",
    "factor_registry",
    "fills",
    "funding_records",
    "holdings_spot_snapshots",
    "hypotheses",
    "instrument_registry",
    "labels_12h",
    "labels_24h",
    "labels_36h",
    "metrics_timeseries",
    "orders",
    "positions_snapshots",
    "promotions",
    "signals",
    "simulations",
    "strategy_events",
    "strategy_rules",
    "treasury_transfers",
)

EVENTS: tuple[str, ...] = (
    "AccountEvent",
    "AlertEvent",
    "AutopsyCmd",
    "AutopsyResult",
    "CfgEvent",
    "DepthEvent",
    "FeatureEvent",
    "HealthEvent",
    "LabelCmd",
    "LabelResult",
    "OrderCmd",
    "OrderResult",
    "PositionEvent",
    "ReconcileCmd",
    "ReconcileResult",
    "SignalEvent",
    "SimCmd",
    "SimResult",
    "TickerEvent",
    "TransferEvent",
)

NAMES: tuple[str, ...] = (*(f"documents/{name}" for name in DOCUMENTS), *(f"events/{name}" for name in EVENTS))


def folder_names() -> tuple[str, ...]:
    """What lies in the spec's folder, so that no schema of it is forgotten here."""
    schema(NAMES[0])
    root = Path(os.environ["CHIMERA_SHARED"]) / "spec" / "schemas"
    return tuple(sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.json")))
