"""One decision whole: what refused comes first and is marked, every figure is there, and old trails are read too."""

from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.documents import Decision as StoredDecision
from chimera.contracts.documents import Signal
from chimera.contracts.enums import Action, DataQuality, Market
from chimera.domain.decision.decide import decide
from chimera.domain.decision.trail import trail_of
from chimera.services.s12_gateway.page.rows import Section
from chimera.services.s12_gateway.page.trail import QUALITY, sections
from tests.domain.decision.worlds import FEATURES, config, facts, rule


def stored(*rules: dict[str, Any], stale: tuple[str, ...] = (), **changes: Any) -> Signal:
    """A signal as S3 files it, decided by the real thing."""
    found = decide(facts(**changes), config(*rules))
    return Signal(
        signal_id="SIG-1-FUT-BTCUSDT",
        t0=1_700_000_000_000,
        market=Market.FUT,
        symbol="BTCUSDT",
        features={name: float(value) for name, value in FEATURES.items()},
        decision=StoredDecision(
            action=found.action,
            reason=found.reason.value,
            detail=found.detail,
            size_mult=found.size_mult,
            tp_mult=found.tp_mult,
            sl_mult=found.sl_mult,
            rules_fired=found.rules_fired,
            model_p=found.model_p,
            trail=trail_of(found),
        ),
        config_rev=7,
        stale=stale,
    )


def shown(signal: Signal) -> dict[str, Section]:
    return {section.title: section for section in sections(signal)}


def texts(section: Section) -> list[tuple[str, ...]]:
    return [tuple(each.get("t", "") for each in row["cells"]) for row in section.rows]


def test_the_gate_that_refused_comes_first_with_value_limit_and_unit() -> None:
    found = shown(stored(features={"spread_bps": 4.1}))

    assert found["Gates"].rows[0]["tone"] == "refused"
    assert texts(found["Gates"])[0] == ("✕ spread", "4.1", "≤ 3", "bps")
    assert found["Gates"].note == "1 of 20 refused"
    assert ("✓ depth at the touch", "50,000", "≥ 200", "USDT") in texts(found["Gates"])
    assert ("Why", "spread 4.1 bps above the limit 3 bps") in texts(found[""])


def test_rules_say_whether_they_were_asked_fired_and_why() -> None:
    wide = rule("R-2", when={"f": "spread_bps", "op": ">", "v": 9}, action={"type": "size_mult", "value": 0.5})
    found = shown(stored(rule("R-1", action={"type": "size_mult", "value": 0.8}), wide))

    assert texts(found["Rules"]) == [
        ("R-1", "yes", "size × 0.8", "✓ spread_bps ≥ 0, found 0.0153"),
        ("R-2", "no", "size × 0.5", "✕ spread_bps > 9, found 0.0153"),
    ]
    assert found["Rules"].note == "1 of 2 fired"
    refused = shown(stored(kill_switch_on=True))
    assert texts(refused["Rules"])[0][1] == "not asked"
    assert "Multipliers" not in refused


def test_multipliers_are_shown_before_and_after_the_clamp() -> None:
    half = {"action": {"type": "size_mult", "value": 0.5}}
    found = shown(stored(rule("R-1", **half), rule("R-2", **half), model_p=0.9))

    rows = {cells[0]: cells[1:] for cells in texts(found["Multipliers"])}
    assert rows["size by rules"][:2] == ("× 0.25", "× 0.5")
    assert rows["size by model"][1] == "× 1.2"
    assert rows["size in all"] == ("× 0.6", "× 0.6", "0 to 1.2")
    assert rows["target"] == ("× 1", "× 1", "0.5 to 1.5")


def test_size_stop_and_target_are_told_step_by_step() -> None:
    found = shown(stored())

    steps = {cells[0]: cells[1:] for cells in texts(found["Size, stop and target, step by step"])}
    assert steps["planned margin"] == ("20", "USDT", "margin_base_usdt * size_mult")
    assert {"stop distance", "stop price", "target", "tp price"} <= steps.keys()
    plan = {cells[0]: cells[1] for cells in texts(found["Plan"])}
    assert (plan["quantity"], plan["entry expected at"]) == ("0.006", "65,400")


def test_stale_features_come_first_and_say_so() -> None:
    found = shown(stored(stale=("rv_1d",)))

    assert texts(found["Features"])[0] == ("rv_1d", "–", "stale")
    assert found["Features"].note == "1 of 7 stale"


@pytest.mark.parametrize("flag", list(DataQuality))
def test_a_stale_feature_says_why(flag: DataQuality) -> None:
    found = shown(stored(stale=("rv_1d",)).but(flags={"rv_1d": flag}))

    assert texts(found["Features"])[0][2] == f"{flag.value}: {QUALITY[flag]}"


def test_the_market_that_was_decided_on_is_shown() -> None:
    (line,) = (row for row in shown(stored())[""].rows if row["key"] == "Market")

    assert line["cells"][1] == {"t": "bid 65,399.9 · ask 65,400", "s": "taker fee 0.050 %"}


def test_the_configuration_that_decided_can_be_opened() -> None:
    (line,) = (row for row in shown(stored())[""].rows if row["key"] == "Configuration")

    assert line["cells"][1] == {"t": "rev 7", "a": "/ui/config?rev=7"}


@pytest.mark.parametrize(
    "trail",
    [
        pytest.param(None, id="none"),
        pytest.param({"gates": [{"code": "SPREAD", "value": 4.1, "limit": 3.0, "passed": False}]}, id="gates alone"),
        pytest.param({"plan": {"qty": 0.006}, "model": {"p": 0.65, "note": "constant"}}, id="the first version's"),
        pytest.param({"gates": 7, "rules": {"R": 1}, "multipliers": [], "plan": 3}, id="no trail at all"),
    ],
)
def test_what_an_earlier_version_stored_is_shown_as_far_as_it_goes(trail: dict[str, Any] | None) -> None:
    signal = stored()
    old = signal.but(decision=signal.decision.but(trail=trail, rules_fired=("R-1",)))

    found = shown(old)

    assert ("Decision", "OPEN") in texts(found[""])
    assert texts(found["Rules"])[0][:2] == ("R-1", "yes")
    assert Decimal(found["Features"].rows[0]["cells"][1]["t"].replace(",", "")) > 0


def test_a_decision_that_opened_says_so_first() -> None:
    signal = stored()

    assert signal.decision.action is Action.OPEN
    assert texts(shown(signal)[""])[0] == ("Decision", "OPEN")
