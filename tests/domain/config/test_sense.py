"""Rules that do not do what their writer must have meant are named, and rules that do are left in peace."""

from typing import Any

import pytest

from chimera.contracts.documents.config import StrategyRule
from chimera.contracts.flags import Flags
from chimera.domain.config.bundle import R_001, R_023, default_bundle, known_factors
from chimera.domain.config.lint import cautions
from chimera.domain.config.sense import nonsense, ranges_of

FACTORS = known_factors()


def leaf(op: str, value: Any, factor: str = "spread_bps") -> dict[str, Any]:
    return {"f": factor, "op": op, "v": value}


def rule(rule_id: str = "R-1", **changes: Any) -> StrategyRule:
    body = {**R_001.to_dict(), "rule_id": rule_id, **changes}
    return StrategyRule.model_validate(body)


def action(kind: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "value": value}


def warned(*rules: StrategyRule) -> list[tuple[str, str]]:
    return [(finding.path, finding.remedy) for finding in nonsense(Flags(), rules, FACTORS)]


def test_the_default_bundle_makes_sense() -> None:
    first = default_bundle(0)

    assert cautions(first.flags, first.rules, first.factors) == ()


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        pytest.param(
            {"when": {"allOf": [leaf("<", 1), leaf(">", 2)]}}, "when", "contradicts itself", id="a contradiction"
        ),
        pytest.param(
            {"when": leaf(">", 2_000)}, "when", "never holds: spread_bps is from 0 to 1000", id="out of the range"
        ),
        pytest.param(
            {"when": leaf("<", -1), "action": action("max_adds_override", 0)},
            "when",
            "limits no adds",
            id="adds that nothing limits",
        ),
        pytest.param({"when": leaf(">=", 0)}, "when", "acts on every entry anywhere", id="always"),
        pytest.param(
            {"when": leaf(">=", 0), "action": action("skip_entry", True)},
            "when",
            "nothing is opened anywhere",
            id="a refusal of everything",
        ),
        pytest.param(
            {"when": {"anyOf": [leaf(">", 2), leaf(">", 3)]}}, "when.anyOf[1]", "another one holds", id="in the shadow"
        ),
        pytest.param(
            {"when": {"anyOf": [leaf(">", 3), leaf(">", 2)]}},
            "when.anyOf[0]",
            "another one holds",
            id="in the shadow of what follows",
        ),
        pytest.param(
            {"when": {"anyOf": [leaf(">", 2), leaf("<", -1)]}},
            "when.anyOf[1]",
            "never holds: leave it out",
            id="a part that never holds",
        ),
        pytest.param(
            {"when": {"allOf": [leaf(">", 2), leaf(">=", 0, "rv_1d")]}},
            "when.allOf[1]",
            "always holds: leave it out",
            id="a part that always holds",
        ),
        pytest.param(
            {"when": {"not": {"anyOf": [leaf(">", 2), leaf(">", 3)]}}},
            "when.not.anyOf[1]",
            "another one holds",
            id="inside of a not",
        ),
        pytest.param({"action": action("size_mult", 1)}, "action.value", "does nothing", id="times one"),
        pytest.param({"action": action("skip_entry", False)}, "action.value", "does nothing", id="refuses not"),
        pytest.param(
            {"applies": {"symbols": ["BTCUSDT", "SOLUSDT"], "services": []}},
            "applies.symbols[1]",
            "not traded",
            id="a symbol that is not traded",
        ),
        pytest.param(
            {"applies": {"symbols": [], "services": ["s6"]}}, "applies.services", "s3-strategy", id="nobody's rule"
        ),
    ],
)
def test_a_rule_that_says_what_nobody_can_mean_is_named(changes: Any, path: str, says: str) -> None:
    [(found, remedy)] = warned(rule(**changes))

    assert found == f"rules[0].{path}"
    assert says in remedy


def test_a_part_that_stands_twice_is_named_once() -> None:
    assert [path for path, _ in warned(rule(when={"anyOf": [leaf(">", 2)] * 2}))] == ["rules[0].when.anyOf[0]"]


@pytest.mark.parametrize(
    ("second", "named"),
    [
        pytest.param({"when": {"not": leaf("<=", 1.5)}}, True, id="the same in other words"),
        pytest.param({"when": leaf(">", 1.6)}, False, id="another number"),
        pytest.param({"action": action("sl_mult", 1.2)}, False, id="another effect needs another rule"),
        pytest.param({"status": "DISABLED"}, False, id="one that is switched off"),
    ],
)
def test_two_rules_that_ask_the_same_are_named(second: Any, named: bool) -> None:
    found = warned(rule("R-1"), rule("R-2", **second))

    assert bool(found) is named
    if named:
        assert found[0][0] == "rules[1].when"
        assert "asks the same as R-1" in found[0][1]


def test_two_rules_for_different_symbols_may_ask_the_same() -> None:
    one, other = ({"symbols": [symbol], "services": []} for symbol in ("BTCUSDT", "ETHUSDT"))

    assert warned(rule("R-1", applies=one), rule("R-2", applies=other)) == []


def test_a_rule_behind_a_refusal_of_all_that_it_asks_for_never_acts() -> None:
    refusal = rule("R-1", priority=1, when=leaf(">", 1), action=action("skip_entry", True))

    found = warned(refusal, rule("R-2", priority=2, when=leaf(">", 2)))

    assert [path for path, _ in found] == ["rules[1].when"]
    assert "R-1 comes before it" in found[0][1]
    assert warned(refusal, rule("R-0", priority=0, when=leaf(">", 2))) == []
    assert warned(refusal, rule("R-2", priority=2, when=leaf("<", 2))) == []


def test_a_refusal_of_other_symbols_makes_nothing_idle() -> None:
    refusal = rule(
        "R-1",
        priority=1,
        when=leaf(">", 1),
        action=action("skip_entry", True),
        applies={"symbols": ["ETHUSDT"], "services": []},
    )

    assert warned(refusal, rule("R-2", priority=20, when=leaf(">", 2))) == []


def test_rules_that_are_only_ever_cut_together_are_named() -> None:
    large = [rule(f"R-{n}", when=leaf(">", n), action=action("size_mult", 1.2)) for n in (1, 2)]

    found = warned(*large)

    assert [path for path, _ in found] == ["rules[1].action.value"]
    assert "leave 0.5 to 1.2" in found[0][1]
    assert warned(large[0], rule("R-2", when=leaf("<", 1), action=action("size_mult", 1.2))) == []


def test_a_factor_of_our_own_has_its_own_range_whatever_a_bundle_says() -> None:
    narrow = FACTORS[1].but(range=(0.0, 1.0))
    own = FACTORS[1].but(factor_id="their_own", definition="abs(ret_1h)", range=(-2.0, 3.0))
    place = FACTORS[1].but(factor_id="place", definition="pctile(spread_bps,24h)", range=None)
    unknown = FACTORS[1].but(factor_id="unknown", definition="moon(spread_bps)")

    found = ranges_of((narrow, own, place, unknown))

    assert (found["spread_bps"], found["their_own"], found["place"]) == ((0.0, 1000.0), (0.0, 3.0), (0.0, 1.0))
    assert "unknown" not in found


@pytest.mark.parametrize("changes", [{"definition": "ask-bid"}, {"range": (0.0, 1.0)}], ids=["definition", "range"])
def test_a_factor_of_our_own_that_is_defined_anew_goes_on_by_its_own(changes: Any) -> None:
    factors = (FACTORS[0], FACTORS[1].but(**changes))

    [finding] = nonsense(Flags(), (R_001,), factors)

    assert finding.path == f"factors[1].{next(iter(changes))}"
    assert "give another id" in finding.remedy


def test_a_rule_that_is_switched_off_is_judged_by_itself_only() -> None:
    off = R_023.but(when={"allOf": [leaf("<", 1), leaf(">", 2)]})

    assert [path for path, _ in warned(off, R_001)] == ["rules[0].when"]


def wide(number: int, leaves: int) -> StrategyRule:
    """A rule of so many comparisons with as many numbers, none of them a rule's before."""
    parts = [leaf("<", number + part + 0.5) for part in range(leaves)]
    return rule(f"R-{number}", priority=number, when={"anyOf": parts} if leaves > 1 else parts[0])


@pytest.mark.parametrize(
    ("rules", "leaves", "unseen"),
    [
        pytest.param(400, 1, "how the rules bear on each other", id="too many pairs"),
        pytest.param(1, 300, "rules[0]", id="too many comparisons in one"),
    ],
)
def test_what_is_too_much_to_compare_is_said_and_not_looked_through(rules: int, leaves: int, unseen: str) -> None:
    nothing = rule("R-0", when=leaf(">", 2_000))

    found = warned(nothing, *(wide(number, leaves) for number in range(1, rules + 1)))

    assert ("rules[0].when", "it never holds: spread_bps is from 0 to 1000") in found
    path, says = found[-1]
    assert (path, unseen.replace("[0]", "[1]") in says) == ("rules", True)
    assert "too much to compare" in says


def test_a_large_set_of_rules_that_people_write_is_looked_through() -> None:
    found = warned(*(wide(number, 3) for number in range(80)))

    assert not [says for _, says in found if "too much" in says]
