"""The sentence of a decision: the figures that decided, for every code there is, and for trails of earlier versions."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.decision import telling
from chimera.domain.decision.decide import decide
from chimera.domain.decision.gates import Limits, gates
from chimera.domain.decision.model import BANDS, MODEL_INVALID, MODEL_TIMEOUT, NO_MODEL, NOT_ASKED
from chimera.domain.decision.trail import trail_of
from tests.domain.builders import BTC_SPOT
from tests.domain.decision.worlds import FACTS, config, facts, rule


def gate(code: str, value: float | None, limit: float | None, *, passed: bool = False) -> dict[str, Any]:
    return {"code": code, "value": value, "limit": limit, "passed": passed}


def skip(reason: str, detail: str, **trail: Any) -> str:
    return telling.sentence("skip", reason, detail, trail)


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        pytest.param(gate("SPREAD", 4.1, 3.0), "spread 4.1 bps above the limit 3 bps", id="above"),
        pytest.param(gate("DEPTH", 150.0, 200.0), "depth at the touch 150 USDT below the minimum 200 USDT", id="below"),
        pytest.param(
            gate("CONCURRENCY", 2.0, 2.0), "positions open or opening: 2, the limit 2 is reached", id="reached"
        ),
        pytest.param(gate("FUNDING", 0.0006, 0.0005), "funding rate, either way 0.06 % above the limit 0.05 %", id="%"),
        pytest.param(gate("DAILY_LOSS", None, 6.0), "loss of the day: not known", id="not known"),
        pytest.param(gate("OPEN_POSITION", 1.0, 0.0), "a position is open already", id="a state"),
        pytest.param(gate("OPEN_POSITION", None, 0.0), "open position: not known, so no entry", id="unknown state"),
        pytest.param(gate("HEALTH", 3.0, 3.0), "health is RED, or was not told for too long", id="health"),
        pytest.param(gate("SPREAD", 3.0000001, 3.0), "spread 3.0000001 bps above the limit 3 bps", id="barely"),
    ],
)
def test_a_gate_that_refused_says_value_limit_and_unit(refused: dict[str, Any], said: str) -> None:
    assert skip("GATE", refused["code"], gates=[gate("PAUSED", 0.0, 0.0, passed=True), refused]) == said


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        pytest.param(gate("SPREAD", 0.1, 3.0, passed=True), "spread 0.1 bps within the limit 3 bps", id="figure"),
        pytest.param(gate("COOLDOWN", None, 60.0, passed=True), "time since the last stop-out: never", id="never"),
        pytest.param(gate("KILL_SWITCH", 0.0, 0.0, passed=True), "kill switch: not pulled", id="state"),
        pytest.param(
            gate("DEPTH", 900.0, 200.0, passed=True),
            "depth at the touch 900 USDT at or above the minimum 200 USDT",
            id="minimum",
        ),
    ],
)
def test_a_gate_that_passed_says_so_as_well(passed: dict[str, Any], said: str) -> None:
    assert telling.gate_sentence(passed) == said


def test_factors_that_cannot_be_read_are_named() -> None:
    assert skip("GATE", "STALE", gates=[gate("STALE", None, 5_000.0)], missing=["atr_14"]) == (
        "stale or not warm yet: atr_14"
    )
    assert skip("GATE", "FACTOR_MISSING", gates=[gate("FACTOR_MISSING", 1.0, 0.0)], missing=["rv_1d"]).endswith(
        ": rv_1d"
    )


def test_a_rule_that_refused_says_which_of_its_conditions_held() -> None:
    because = [
        {"f": "rho", "op": "<", "v": -0.3, "value": -0.42, "holds": True},
        {"f": "spread_bps", "op": ">", "v": 9, "value": 1.0, "holds": False},
    ]

    said = skip("RULE", "R-7", rules=[{"rule_id": "R-7", "fired": True, "because": because}])

    assert said == "rule R-7 says no: rho < −0.3 (−0.42)"


def test_the_model_and_the_size_say_their_figures() -> None:
    steps = [
        {"step": "planned_margin", "value": 20.0, "unit": "USDT"},
        {"step": "notional", "value": 4.2, "unit": "USDT"},
    ]

    assert skip("MODEL", "P_TOO_LOW", model={"p": 0.31}) == ("the model is not sure enough: p 0.31, below 0.4: refused")
    assert skip("RISK_BUDGET", "MIN_NOTIONAL", sizing=steps) == "smaller than the exchange allows: notional 4.2 USDT"


def test_an_open_says_what_fired_and_by_how_much() -> None:
    trail = {"rules_fired": ["R-001"], "size_mult": 0.8}

    assert telling.sentence("open", "OK", "OK", trail) == "all gates passed, R-001 fired, size × 0.8"
    assert telling.sentence("open", "OK", "OK", None) == "all gates passed"
    assert "never delivered" in telling.sentence("open", "OK", "UNDELIVERED", trail)


@pytest.mark.parametrize("here", [FACTS, facts(instrument=BTC_SPOT)], ids=["FUT", "SPOT"])
def test_every_gate_there_is_has_a_name_of_its_own(here: Any) -> None:
    codes = [result.code for result in gates(here, Limits(), 0)]

    assert [code for code in codes if code not in telling.WHY] == []
    known = {*telling.MEASURED, *telling.STATES, *telling.COUNTS, "HEALTH"}
    assert [code for code in codes if code not in known] == []


def test_every_note_of_the_model_has_words() -> None:
    notes = [NO_MODEL, MODEL_TIMEOUT, MODEL_INVALID, NOT_ASKED, *(band.outcome.note for band in BANDS)]

    assert [note for note in notes if note not in telling.NOTES] == []
    assert telling.NOTES["P_HIGH"] == "above 0.85: size × 1.2"
    assert telling.NOTES["P_TOO_LOW"] == "below 0.4: refused"


@pytest.mark.parametrize(
    ("changes", "rules", "said"),
    [
        pytest.param({"features": {"spread_bps": 4.1}}, None, "spread 4.1 bps above the limit 3 bps", id="gate"),
        pytest.param({"features": {"xmkt_signal": 0.0}}, None, "no signal, so no side to take", id="signal"),
        pytest.param({"model_p": 0.31}, None, "the model is not sure enough: p 0.31, below 0.4: refused", id="model"),
        pytest.param(
            {},
            [rule("R-9", action={"type": "skip_entry", "value": True})],
            "rule R-9 says no: spread_bps ≥ 0 (0.0153)",
            id="rule",
        ),
        pytest.param(
            {"budget_used_usdt": Decimal(599)},
            None,
            "the budget is used up: reserve 16.5135 USDT, free budget 1 USDT",
            id="budget",
        ),
    ],
)
def test_what_the_strategy_stores_today_is_told(changes: dict[str, Any], rules: Any, said: str) -> None:
    found = decide(facts(**changes), config(*(rules or ())))

    told = telling.sentence(found.action.value, found.reason.value, found.detail, trail_of(found))

    assert told.startswith(said)


@given(st.floats(-1e12, 1e12, allow_nan=False), st.floats(-1e12, 1e12, allow_nan=False))
def test_two_figures_that_differ_are_never_written_alike(one: float, other: float) -> None:
    texts = telling.apart(one, other)

    assert (texts[0] == texts[1]) == (one == other)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["code", "p", "f", "step"]), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["gates", "missing", "rules", "sizing", "rules_fired", "size_mult", "model"]), json_values
    ),
    st.sampled_from([*telling.WHY, "R-1", ""]),
    st.sampled_from(["GATE", "RULE", "MODEL", "RISK_BUDGET", "OK"]),
    st.sampled_from(["open", "skip"]),
)
def test_a_trail_of_any_shape_is_told_and_never_fails(
    trail: dict[str, Any], detail: str, reason: str, action: str
) -> None:
    assert telling.sentence(action, reason, detail, trail)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("size_mult", 0.8, "size × 0.8"),
        ("skip_entry", True, "no entry"),
        ("max_adds_override", 1, "at most 1 add"),
        ("max_adds_override", 0, "at most 0 adds"),
    ],
)
def test_what_a_rule_does_in_words(kind: str, value: Any, said: str) -> None:
    assert telling.action_words(kind, value) == said
