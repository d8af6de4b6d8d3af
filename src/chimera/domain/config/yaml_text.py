"""A bundle as YAML that a person can go on writing: the way back from `source_lines`.

Owns the form only: parts in their order, and a text quoted wherever it would be read as something else.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from chimera.domain.config.source_lines import SourceError, read_yaml

PARTS = ("note", "flags", "rules", "factors", "instruments")
"""What a person writes; the rest of a bundle is the system's."""


def as_yaml(bundle: Mapping[str, Any]) -> str:
    """The parts that a draft has, which read back as they are."""
    parts = {name: bundle[name] for name in PARTS if bundle.get(name) is not None}
    text: str = yaml.dump(parts, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


class _Dumper(yaml.SafeDumper):
    """Without aliases: what stands twice is written twice, because a person will change one of them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if _reads_back(value) else "'")


def _reads_back(value: str) -> bool:
    try:
        return bool(read_yaml(value) == value)
    except SourceError:
        return False


_Dumper.add_representer(str, _text)
