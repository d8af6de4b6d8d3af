"""Everything that is wrong with the model that a bundle names, before it decides anything.

Owns the checks that need the model's document and its file, which the bundle alone does not have: `lint` cannot make
them. Whether the file can be run is found out by opening it.

    check_model    the document by itself
    lint_model     the document, its file, and the bundle that names it
"""

import re
from collections.abc import Collection

from chimera.contracts.documents import Model
from chimera.contracts.flags import ModelFlags
from chimera.domain.decision.calibration import parse_calibration
from chimera.domain.decision.condition import Finding
from chimera.domain.decision.model import CONSTANT

FEATURES_MAX = 1_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_model(model: Model) -> tuple[Finding, ...]:
    """Features, hash and calibration of a model's document."""
    found: list[Finding] = []
    if not 1 <= len(model.features) <= FEATURES_MAX:
        found.append(Finding("model.features", len(model.features), f"name 1 to {FEATURES_MAX} features, in order"))
    found += [
        Finding(f"model.features[{i}]", name, "named twice; keep one")
        for i, name in enumerate(model.features)
        if name in model.features[:i]
    ]
    if not _SHA256.fullmatch(model.hash):
        found.append(Finding("model.hash", model.hash, "the sha256 of its file, 64 hex digits"))
    try:
        parse_calibration(model.calibration)
    except ValueError as error:
        found.append(Finding("model.calibration", model.calibration, str(error)))
    return tuple(found)


def lint_model(
    flags: ModelFlags, enabled_factors: Collection[str], model: Model | None, file_sha256: str | None
) -> tuple[Finding, ...]:
    """What keeps a bundle with these flags and factors from coming into force.

    Args:
        model: the document in `models` that has the flags' name; None: there is none.
        file_sha256: of the object that `ids.model_object(model.hash)` names; None: there is none.
    """
    path = "flags.model.name"
    if flags.name == CONSTANT:
        return ()
    if model is None:
        return (Finding(path, flags.name, f"no such model; train it, or use {CONSTANT}"),)
    found = [Finding(path, flags.name, str(each)) for each in check_model(model)]
    if not found and file_sha256 is None:
        found.append(Finding(path, flags.name, "its file is not in the object store; export the model again"))
    elif not found and file_sha256 != model.hash:
        found.append(
            Finding(path, flags.name, f"its file's sha256 is {file_sha256}, not {model.hash}; export the model again")
        )
    for name in dict.fromkeys(model.features):
        # One that is ENABLED and that nobody computes is `lint`'s to find.
        if name not in enabled_factors:
            found.append(Finding(path, flags.name, f"it reads {name}: enable this factor in the bundle"))
    return tuple(found)
