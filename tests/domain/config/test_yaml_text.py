"""What is written for a person reads back as it was."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.config.bundle import canonical_json, default_bundle
from chimera.domain.config.source_lines import read_yaml
from chimera.domain.config.yaml_text import as_yaml
from tests.domain.config.strategies import contents


def test_the_default_bundle_reads_back_with_its_flags_first() -> None:
    first = default_bundle(0).to_dict()

    text = as_yaml(first)

    assert read_yaml(text) == {name: first[name] for name in ("note", "flags", "rules", "factors", "instruments")}
    assert text.startswith("note: what the system starts with\nflags:\n  execution:")


@given(contents())
def test_any_bundle_reads_back(content: dict[str, Any]) -> None:
    assert canonical_json(read_yaml(as_yaml(content))) == canonical_json(content)


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=12))
def test_any_text_reads_back(text: str) -> None:
    assert read_yaml(as_yaml({"note": text})) == {"note": text}


@pytest.mark.parametrize("text", ["1e3", "010", "yes", "null", "~", "", "12:30", "2026-11-21", "a: b", "# no", "1_000"])
def test_a_text_that_looks_like_something_else_stays_a_text(text: str) -> None:
    assert read_yaml(as_yaml({"note": text})) == {"note": text}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_reads_back(number: float) -> None:
    assert read_yaml(as_yaml({"flags": {"a": number}}))["flags"]["a"] == number


def test_nothing_is_written_as_an_alias() -> None:
    same = {"f": "a", "op": "<", "v": 1}

    assert "*" not in as_yaml({"rules": [same, same]})
