"""A bundle is named by its content, the first one is sound, and what is wrong with another is said completely."""

from typing import Any

import pytest

from chimera.contracts.documents.config import ConfigBundle, Instrument
from chimera.contracts.enums import EntryStatus, Market
from chimera.domain.config.bundle import canonical_json, content_hash, default_bundle
from chimera.domain.config.lint import lint
from chimera.domain.decision.rules import compile_rules, evaluate, parse_rule
from chimera.domain.features.registry import FACTOR_IDS

NOW = 1_700_000_000_000
INSTRUMENTS = tuple(
    Instrument.model_validate(
        {
            "market": market,
            "symbol": symbol,
            "tickSize": 0.1,
            "stepSize": 0.001,
            "minNotional": 50,
            "status": "ENABLED",
        }
    )
    for market, symbol in ((Market.FUT, "BTCUSDT"), (Market.SPOT, "BTCUSDT"), (Market.FUT, "ETHUSDT"))
)
DEFAULT = default_bundle(NOW)


def draft(**changes: Any) -> dict[str, Any]:
    """The default bundle as JSON with instruments; `flags` are merged group by group."""
    body = {key: DEFAULT.to_dict()[key] for key in ("flags", "rules", "factors")}
    body["instruments"] = [instrument.to_dict() for instrument in INSTRUMENTS]
    for group, fields in changes.pop("flags", {}).items():
        body["flags"][group] = {**body["flags"].get(group, {}), **fields}
    return {**body, **changes}


def paths(body: Any) -> list[str]:
    return [finding.path for finding in lint(body)]


def test_the_default_bundle_has_no_finding_with_or_without_instruments() -> None:
    assert lint(DEFAULT.to_dict()) == ()
    assert lint(draft()) == ()
    assert lint({}) == ()
    assert DEFAULT.rev == 1


def test_the_default_bundle_has_one_enabled_rule_on_factors_that_exist() -> None:
    rules = {rule.rule_id: rule.status for rule in DEFAULT.rules}

    assert rules == {"R-001": EntryStatus.ENABLED, "R-023": EntryStatus.DISABLED}
    assert [factor.factor_id for factor in DEFAULT.factors] == list(FACTOR_IDS)


def test_the_default_bundle_lets_every_symbol_trade_with_a_factor_that_is_warm_at_once() -> None:
    rules = [parse_rule(rule.to_dict()) for rule in DEFAULT.rules]

    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        outcome = evaluate(compile_rules(rules, symbol=symbol), {"spread_bps": 0.5})
        assert not outcome.no_enabled_rule
        assert outcome.missing == ()
        assert outcome.size_mult == 1.0


def test_a_whole_bundle_survives_json_with_its_hash() -> None:
    again = ConfigBundle.model_validate_json(DEFAULT.to_json())

    assert again == DEFAULT
    assert lint(again.to_dict()) == ()


def test_the_hash_follows_the_content() -> None:
    flags, rules, factors = DEFAULT.flags, DEFAULT.rules, DEFAULT.factors

    assert content_hash(flags, rules, factors, ()) == DEFAULT.hash == default_bundle(NOW + 5).hash
    assert content_hash(flags, rules[:1], factors, ()) != DEFAULT.hash
    assert content_hash(flags.but(risk=flags.risk.but(slip_bp_max=7)), rules, factors, ()) != DEFAULT.hash


def test_one_value_has_one_spelling() -> None:
    assert canonical_json({"b": 1.0, "a": [1, 0.5, "倉", None, True]}) == '{"a":[1,0.5,"倉",null,true],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_a_hash_that_does_not_name_the_content_is_found() -> None:
    assert [finding.path for finding in lint({**DEFAULT.to_dict(), "hash": "0" * 64})] == ["hash"]


def derived(factor_id: str, definition: str, **changes: Any) -> dict[str, Any]:
    return {**DEFAULT.factors[1].to_dict(), "factor_id": factor_id, "definition": definition, "deps": [], **changes}


OWN = derived("spread_place", "pctile(spread_bps,24h)", range=[0, 1])


@pytest.mark.parametrize(
    ("factors", "path", "says"),
    [
        pytest.param([OWN], None, "", id="one that S2 can compute"),
        pytest.param([OWN, derived("far", "abs(spread_place)")], None, "", id="one of another of one's own"),
        pytest.param(
            [derived("far", "moon(spread_bps)")], "factors[0].factor_id", "pctile(f,win)", id="no form that is known"
        ),
        pytest.param([derived("far", "pctile(spread_bps,24y)")], "factors[0].definition", "24y", id="no window"),
        pytest.param([OWN, derived("far", "abs(moon)")], "factors[1].definition", "moon", id="of a factor nobody has"),
        pytest.param(
            [derived("far", "abs(near)"), derived("near", "abs(far)")], "factors[0].definition", "itself", id="a circle"
        ),
        pytest.param(
            [derived("far", "abs(spread_place)"), {**OWN, "status": "DISABLED"}],
            "factors[0].definition",
            "spread_place",
            id="of one that is switched off",
        ),
        pytest.param([derived("far", "moon(x)", status="DISABLED")], None, "", id="one that is switched off"),
    ],
)
def test_a_factor_of_ones_own_is_enabled_only_where_s2_can_compute_it(factors: Any, path: str, says: str) -> None:
    found = lint(draft(factors=factors, rules=[]))

    assert [finding.path for finding in found] == ([] if path is None else [path])
    assert all(says in str(finding) for finding in found)


def test_a_rule_may_ask_for_a_factor_of_ones_own() -> None:
    ask = {**RULE, "when": {"f": "spread_place", "op": ">", "v": 0.9}}

    assert paths(draft(factors=[OWN], rules=[ask])) == []


RULE = DEFAULT.rules[0].to_dict()
FACTOR = DEFAULT.factors[0].to_dict()


def own(factor_id: str, definition: str, status: str = "ENABLED") -> dict[str, Any]:
    return {"factor_id": factor_id, "version": "1", "freq": "1m", "definition": definition, "status": status}


def test_a_factor_of_a_persons_own_may_be_enabled_where_it_can_be_computed_and_rules_may_name_it() -> None:
    factors = [FACTOR, own("p", "pctile(rv_1d,7d)"), own("q", "zscore(abs(p),2d)"), own("r", "anything", "DISABLED")]
    rule = {**RULE, "when": {"f": "q", "op": "<", "v": 1}}

    assert lint(draft(factors=factors, rules=[rule])) == ()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        pytest.param(draft(rules={}), "rules", id="rules are a list"),
        pytest.param(draft(rules=[{"rule_id": "R"}]), "rules[0].priority", id="schema"),
        pytest.param(draft(flags={"risk": {"slip_bp_max": -1}}), "flags.risk.slip_bp_max", id="out of range"),
        pytest.param(draft(flags={"risk": {"daily_los": 1}}), "flags.risk.daily_los", id="a misspelt name"),
        pytest.param(draft(flags={"riks": {}}), "flags.riks", id="a misspelt group"),
        pytest.param(draft(rules=[{**RULE, "prio": 1}]), "rules[0].prio", id="a misspelt field of a rule"),
        pytest.param(draft(flags={"risk": {"slip_bp_hard": 1}}), "flags.risk.slip_bp_hard", id="hard below soft"),
        pytest.param(
            draft(flags={"risk": {"windows": [{"from_minute": 5, "to_minute": 5}]}}),
            "flags.risk.windows[0]",
            id="an empty window",
        ),
        pytest.param(
            draft(flags={"position": {"tiers": [{"roe_min": 0.1, "lock_roe": 0.1}]}}),
            "flags.position.tiers",
            id="a tier that locks all",
        ),
        pytest.param(draft(flags={"position": {"tiers": []}}), "flags.position.tiers", id="no tier"),
        pytest.param(
            draft(
                flags={
                    "position": {"ladder": [{"roe_min": 0.2, "close_ratio": 0.5}, {"roe_min": 0.1, "close_ratio": 0.5}]}
                }
            ),
            "flags.position.ladder",
            id="a falling ladder",
        ),
        pytest.param(
            draft(flags={"strategy": {"markets": {"SOLUSDT": ["FUT"]}}}),
            "flags.strategy.markets.SOLUSDT",
            id="a market without instrument",
        ),
        pytest.param(draft(rules=[RULE, RULE]), "rules[1]", id="a rule named twice"),
        pytest.param(draft(factors=[FACTOR, FACTOR], rules=[]), "factors[1]", id="a factor named twice"),
        pytest.param(
            draft(factors=[{**FACTOR, "factor_id": "moon_phase"}], rules=[]),
            "factors[0].factor_id",
            id="a factor nobody computes",
        ),
        pytest.param(
            draft(factors=[FACTOR, own("p", "pctile(no_such,1d)")], rules=[]),
            "factors[1].definition",
            id="a factor made of one that is not there",
        ),
        pytest.param(
            draft(factors=[own("p", "pctile(mid,5m)")], rules=[]), "factors[0].definition", id="a window too short"
        ),
        pytest.param(
            draft(rules=[{**RULE, "when": {"f": "rv_pctile_90d", "op": "<", "v": 1}}]),
            "rules[0].when",
            id="a factor that is not enabled",
        ),
        pytest.param(
            draft(rules=[{**RULE, "applies": {"symbols": ["XUSDT"], "services": ["s3"]}}]),
            "rules[0].applies.symbols[0]",
            id="a symbol that is not traded",
        ),
        pytest.param(
            draft(rules=[{**RULE, "applies": {"symbols": [], "services": ["s13"]}}]),
            "rules[0].applies.services[0]",
            id="a service that is not there",
        ),
        pytest.param(
            draft(rules=[{**RULE, "action": {"type": "size_mult", "value": 2}}]),
            "rules[0].action.value",
            id="an action out of range",
        ),
    ],
)
def test_what_is_wrong_is_found_at_its_path(body: Any, path: str) -> None:
    found = lint(body)

    assert path in [finding.path for finding in found]
    assert all(finding.remedy for finding in found)


@pytest.mark.parametrize(
    ("metric", "limits"),
    [
        ("maker_fill_ratio", {"yellow": 0.4, "orange": 0.45, "red": 0.35}),
        ("ib_rate", {"yellow": 0.1, "orange": 0.06, "red": 0.03}),
    ],
)
def test_the_limits_of_a_metric_get_worse_in_order(metric: str, limits: dict[str, float]) -> None:
    thresholds = {**DEFAULT.flags.to_dict()["health_guard"]["thresholds"], metric: limits}

    assert paths(draft(flags={"health_guard": {"thresholds": thresholds}})) == [
        f"flags.health_guard.thresholds.{metric}"
    ]


def test_a_disabled_rule_may_wait_for_its_factors() -> None:
    waiting = {**RULE, "status": "DISABLED", "when": {"f": "rv_pctile_90d", "op": "<", "v": 1}}

    assert paths(draft(rules=[waiting])) == []
