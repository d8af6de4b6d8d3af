"""A bundle's text is read as a person means it, or refused with the line; every part of it has a line."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.config.bundle import default_bundle
from chimera.domain.config.source_lines import CHARS_MAX, SourceError, line_of, lines_of, read_json, read_yaml
from tests.domain.config.strategies import contents

FIRST = default_bundle(0).to_dict()

TEXT = """\
# careful
flags:
  risk:
    concurrent_entries_per_market: 1

rules:
  - rule_id: R-1
    when:
      allOf:
        - {f: spread_bps, op: ">", v: 1.5}
        - f: rv_1d
          op: <
          v: 2
"""


@given(contents())
def test_what_yaml_says_of_a_bundle_is_what_json_says(content: dict[str, Any]) -> None:
    assert read_yaml(yaml.safe_dump(content)) == content
    assert read_yaml(json.dumps(content)) == content
    assert read_json(json.dumps(content, indent="\t")) == content


def test_half_a_character_does_not_hide_the_lines() -> None:
    assert lines_of('{"a": "\\ud83d\\ude00",\n"b": 1}')["b"] == 2


@given(contents(), st.sampled_from([None, 2, "\t"]))
def test_every_part_of_a_text_has_the_line_on_which_it_stands(content: dict[str, Any], indent: Any) -> None:
    text = json.dumps(content, indent=indent)
    lines, rows = lines_of(text), text.splitlines()

    for place, rule in enumerate(content["rules"]):
        assert f'"{rule["rule_id"]}"' in rows[lines[f"rules[{place}].rule_id"] - 1]
        assert '"when"' in rows[lines[f"rules[{place}].when"] - 1]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("flags.risk.concurrent_entries_per_market", 4),
        ("flags.risk.windows[0]", 3),
        ("rules", 6),
        ("rules[0].rule_id", 7),
        ("rules[0].when.allOf[0].v", 10),
        ("rules[0].when.allOf[1].v", 13),
        ("rules[0].action", 7),
        ("hash", 2),
    ],
)
def test_a_path_has_its_line_or_that_of_what_is_around_it(path: str, line: int) -> None:
    assert line_of(lines_of(TEXT), path) == line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("True", True),
        ("~", None),
        ("2026-11-21", "2026-11-21"),
        ("12:30", "12:30"),
        ("1e3", 1000.0),
        ("1_000", 1000),
        ("+5", 5),
        ("-.5", -0.5),
        ("'010'", "010"),
        ("1.2.3", "1.2.3"),
        ("BTCUSDT", "BTCUSDT"),
    ],
)
def test_a_value_is_what_a_person_means_by_it(text: str, value: Any) -> None:
    read = read_yaml(f"a: {text}")["a"]

    assert read == value
    assert type(read) is type(value)


def test_a_name_is_the_text_that_stands_there() -> None:
    assert read_yaml("on: 1\n1: 2\nnull: 3") == {"on": 1, "1": 2, "null": 3}


def test_an_alias_of_a_whole_value_is_read() -> None:
    assert read_yaml("a: &x {b: 1}\nc: *x") == {"a": {"b": 1}, "c": {"b": 1}}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        pytest.param("a: 1\nb: 2\na: 3", 3, "'a' stands twice", id="a name twice"),
        pytest.param("a: 010", 1, "write it plainly", id="eight or ten"),
        pytest.param("a: 0x1F", 1, "write it plainly", id="another base"),
        pytest.param("a: .inf", 1, "not a number", id="infinity"),
        pytest.param("a: 1e999", 1, "larger than any number", id="too large"),
        pytest.param("a: !!python/object/apply:os.system [ls]", 1, "means nothing here", id="an object of Python"),
        pytest.param("a: !!int '5'", 1, "means nothing here", id="a tag"),
        pytest.param("a: &x {b: 1}\nc:\n  <<: *x", 3, "write the fields out", id="a merge"),
        pytest.param("a: 1\n---\nb: 2", 2, "second document", id="two documents"),
        pytest.param("a:\n\tb: 1", 2, "no YAML", id="a tab"),
        pytest.param("a: [1", 1, "no YAML", id="an open bracket"),
        pytest.param("? [a]\n: 1", 1, "a name is a text", id="a list for a name"),
        pytest.param(BOMB, None, "unfolds to more than", id="a bomb of aliases"),
        pytest.param("a: &a [*a]", 1, "inside of what it names", id="a text that holds itself"),
        pytest.param("a: *b", 1, "nothing is named &b", id="an alias of nothing"),
        pytest.param("a: " + "[" * 60 + "]" * 60, 1, "nested deeper", id="too deep"),
        pytest.param("[" * 99_000, 1, "nested deeper", id="so deep that libyaml's own composer would end the process"),
        pytest.param("# " + "x" * CHARS_MAX, None, "characters", id="too long"),
    ],
)
def test_a_yaml_that_means_nothing_is_refused_with_its_line(text: str, line: int | None, says: str) -> None:
    with pytest.raises(SourceError, match=says) as refused:
        read_yaml(text)

    assert refused.value.line == line


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        pytest.param('{"a": 1,\n "b": {"c": 1,\n "c": 2}}', 3, "'c' stands twice", id="a name twice"),
        pytest.param('{"a": 1\n "b": 2}', 2, "no JSON", id="no comma"),
        pytest.param('{"a": NaN}', None, "not a number", id="no number"),
        pytest.param("[" * 100_000, None, "nested too deeply", id="too deep"),
        pytest.param('"' + "x" * CHARS_MAX + '"', None, "characters", id="too long"),
    ],
)
def test_a_json_that_means_nothing_is_refused_with_its_line(text: str, line: int | None, says: str) -> None:
    with pytest.raises(SourceError, match=says) as refused:
        read_json(text)

    assert refused.value.line == line
