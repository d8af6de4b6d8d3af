"""Whether two JSON values have the same keys and types, all the way down."""

import json
import os
from pathlib import Path
from typing import Any

import pytest


def payloads() -> Path:
    """The folder of recorded payloads, or a skip that says so."""
    shared = os.environ.get("CHIMERA_SHARED")
    if not shared:
        pytest.skip("CHIMERA_SHARED is not set: no recorded payload was compared")
    return Path(shared) / "payloads"


def payload(name: str) -> Any:
    return json.loads((payloads() / name).read_text())


def differences(ours: Any, theirs: Any, path: str = "") -> set[str]:
    """What `ours` lacks, has beyond, or has in another type than `theirs`; the first element speaks for a list,
    and the filters of an instrument are compared type by type."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = {f"{path}.{key} missing" for key in theirs.keys() - ours.keys()}
        found |= {f"{path}.{key} extra" for key in ours.keys() - theirs.keys()}
        for key in ours.keys() & theirs.keys():
            found |= differences(ours[key], theirs[key], f"{path}.{key}")
        return found
    if isinstance(ours, list) and isinstance(theirs, list):
        if theirs and isinstance(theirs[0], dict) and "filterType" in theirs[0]:
            by_type = {each["filterType"]: each for each in theirs}
            return {
                each
                for one in ours
                if one["filterType"] in by_type
                for each in differences(one, by_type[one["filterType"]], f"{path}[{one['filterType']}]")
            }
        if theirs and isinstance(theirs[0], list | dict):
            return {each for one in ours[:50] for each in differences(one, theirs[0], f"{path}[]")}
        # A row: each place has its own type.
        pairs = enumerate(zip(ours, theirs, strict=False))
        return {each for index, (one, other) in pairs for each in differences(one, other, f"{path}[{index}]")}
    same = type(ours) is type(theirs)
    return set() if same else {f"{path} is {type(ours).__name__} not {type(theirs).__name__}"}
