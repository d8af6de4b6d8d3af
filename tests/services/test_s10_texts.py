"""Bundles as a person writes them: YAML or JSON text, findings with their line, and what a bundle changes in words."""

import json
from typing import Any

import pytest
import yaml

from chimera.contracts.collections import CONFIG_BUNDLES
from chimera.domain.config.bundle import default_bundle
from chimera.runtime.http import JSON, YAML
from tests.services.config_desk import Config

CAREFUL = """\
# careful
flags:
  risk:
    concurrent_entries_per_market: 1
note: calmer
"""

FAULTY = """\
rules:
  - rule_id: R-1
    priority: 1
    applies: {symbols: [], services: [s3-strategy]}
    when:
      f: no_such_factor
      op: ">"
      v: 1
    action: {type: size_mult, value: 0.8}
    status: ENABLED
"""


async def test_a_bundle_may_be_written_in_yaml() -> None:
    config = await Config().start()

    by_text = await config.send(CAREFUL)
    by_value = await config.ask("POST", "/bundles", yaml.safe_load(CAREFUL))

    assert by_text.status == 201
    assert by_text.body["hash"] == by_value.body["hash"]


async def test_the_default_bundle_survives_yaml_with_its_hash() -> None:
    config = await Config().start()
    first = default_bundle(0)
    parts = {name: first.to_dict()[name] for name in ("flags", "rules", "factors", "instruments")}

    for made in (await config.send(yaml.safe_dump(parts)), await config.send(json.dumps(parts, indent=1), JSON)):
        assert made.body["hash"] == first.hash


@pytest.mark.parametrize(
    ("text", "media_type", "line"),
    [
        pytest.param(FAULTY, YAML, 5, id="yaml"),
        pytest.param(json.dumps(yaml.safe_load(FAULTY), indent=2), JSON, 12, id="json"),
    ],
)
async def test_a_finding_has_the_line_of_the_text(text: str, media_type: str, line: int) -> None:
    config = await Config().start()

    made = await config.send(text, media_type)

    [finding] = made.body["findings"]
    assert (finding["path"], finding["line"]) == ("rules[0].when", line)
    assert '"when"' in text.splitlines()[line - 1] or "when:" in text.splitlines()[line - 1]
    stored = await config.here.documents.get(CONFIG_BUNDLES, made.body["bundle_id"])
    assert "line" not in stored.lint["findings"][0]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        pytest.param("flags:\n  risk: {slip_bp_max: -1}", 2, "slip_bp_max", id="out of range"),
        pytest.param("flags:\n  risk:\n    slip_max: 1", 3, "nothing reads this", id="a name that means nothing"),
        pytest.param("flags: {}\nrule: []", 2, "leave it out", id="a part that does not exist"),
        pytest.param("flags: {}\nflags: {}", 2, "stands twice", id="a part that stands twice"),
        pytest.param("flags:\n  risk:\n    slip_bp_max: 010", 3, "write it plainly", id="eight or ten"),
        pytest.param("flags: [", 1, "no YAML", id="no yaml"),
    ],
)
async def test_a_text_that_is_no_bundle_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    config = await Config().start()

    answer = await config.send(text)

    assert answer.status == 400
    assert f"line {line}: " in answer.body["detail"]
    assert says in answer.body["detail"]
    assert line in [error["line"] for error in answer.body["errors"]]
    assert await config.here.documents.count(CONFIG_BUNDLES) == 1


async def test_a_file_may_name_the_schema_that_its_editor_goes_by() -> None:
    config = await Config().start()

    assert (await config.send(json.dumps({"$schema": "schema.json", "rules": []}), JSON)).status == 201


async def test_the_difference_from_the_active_bundle_is_told_by_path_and_in_words() -> None:
    config = await Config().start()
    made = (await config.send(CAREFUL)).body

    told = (await config.ask("GET", f"/bundles/{made['bundle_id']}/diff")).body

    assert (told["bundle_id"], told["against_rev"]) == (made["bundle_id"], 1)
    assert told["differences"] == [
        {
            "path": "flags.risk.concurrent_entries_per_market",
            "kind": "CHANGED",
            "before": 2,
            "after": 1,
            "words": "risk.concurrent_entries_per_market is 1, before 2",
        }
    ]


async def test_any_two_bundles_can_be_compared_by_id_or_revision() -> None:
    config = await Config().start()
    rev = await config.in_force(3)
    draft = (await config.send("rules: []")).body["bundle_id"]

    there = (await config.ask("GET", f"/bundles/{draft}/diff", against="1")).body["differences"]
    back = (await config.ask("GET", "/bundles/1/diff", against=draft)).body["differences"]
    none = (await config.ask("GET", "/bundles/active/diff", against=str(rev))).body

    assert [(each["path"], each["kind"]) for each in there] == [
        ("rules[R-001]", "REMOVED"),
        ("rules[R-023]", "REMOVED"),
    ]
    assert [(each["path"], each["kind"]) for each in back] == [("rules[R-001]", "ADDED"), ("rules[R-023]", "ADDED")]
    assert none.get("differences", []) == []


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/bundles/BND-0-none/diff", {}, 404),
        ("/bundles/1/diff", {"against": "99"}, 404),
        ("/bundles/1/diff", {"against": "9" * 40}, 404),
        ("/bundles/1/diff", {"versus": "1"}, 400),
    ],
)
async def test_a_comparison_with_nothing_is_refused(path: str, query: Any, status: int) -> None:
    config = await Config().start()

    assert (await config.ask("GET", path, **query)).status == status
