"""What is written out for a person reads back to the same, and looks as a person would write it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.config.bundle import default_bundle
from chimera.domain.config.source_lines import lines_of, read_yaml
from chimera.domain.config.writing import write_yaml

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "",
        "on",
        "No",
        "null",
        "~",
        "010",
        "1e3",
        "12:30",
        "2026-11-21",
        "a: b",
        "- x",
        "#",
        "a #b",
        "\u2028",
        "\ufeff",
        " x",
    ]
)
scalars = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False)
values: st.SearchStrategy[Any] = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(texts, values, min_size=1, max_size=5))
def test_what_was_written_reads_back_to_the_same(content: dict[str, Any]) -> None:
    assert read_yaml(write_yaml(content)) == content


def test_the_default_configuration_reads_back_and_has_a_line_for_each_flag() -> None:
    body = default_bundle(0).to_dict()
    content = {name: body[name] for name in ("flags", "rules", "factors", "instruments")}

    text = write_yaml(content)

    assert read_yaml(text) == content
    line = lines_of(text)["flags.risk.slip_bp_max"]
    assert text.splitlines()[line - 1].strip() == "slip_bp_max: 8"
    assert '    when: {f: spread_bps, op: ">", v: 1.5}' in text.splitlines()
    assert max(len(each) for each in text.splitlines()) < 140
