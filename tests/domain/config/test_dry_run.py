"""A dry run counts what the decision itself says of each signal, and judges it by limits that can fail."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.contracts.documents import Decision as StoredDecision
from chimera.contracts.documents import Signal
from chimera.contracts.documents.config import StrategyRule
from chimera.contracts.enums import Action, Market
from chimera.contracts.flags import Flags, TradingWindow
from chimera.contracts.settings import S3Settings
from chimera.domain.config.bundle import R_001, known_factors
from chimera.domain.config.dry_run import (
    Columns,
    DryRunLimits,
    Figures,
    Policy,
    day_name,
    factors_read,
    judged,
    on_tick,
    replay,
    summed_up,
    windows_open,
)
from chimera.domain.decision.decide import Decision, decide
from chimera.domain.decision.facts import Quote
from chimera.domain.decision.plan_of import content_of, plan_of
from chimera.domain.decision.windows import window_open
from chimera.domain.exact import exact
from chimera.domain.market.instrument import Instrument
from tests.domain.builders import BTC_FUT, BTC_SPOT
from tests.domain.decision.worlds import CONTROLS, FACTS

T0 = 1_700_000_000_000
FEE = Decimal("0.0005")
SOUND = {
    "mid": 60_000.05,
    "spread_bps": 0.5,
    "depth_top1_usdt": 500_000.0,
    "atr_14": 320.0,
    "funding_next": 0.0001,
    "rv_1d": 0.4,
    "xmkt_signal": 1.0,
}


def signal(number: int = 0, stale: tuple[str, ...] = (), instrument: Instrument = BTC_FUT, **features: Any) -> Signal:
    t0 = T0 + 60_000 * number
    return Signal(
        signal_id=f"SIG-{t0}-{instrument.key.doc_key}",
        t0=t0,
        market=instrument.market,
        symbol=instrument.symbol,
        features={name: value for name, value in {**SOUND, **features}.items() if value is not None},
        decision=StoredDecision(action=Action.SKIP, reason="PENDING"),
        config_rev=1,
        stale=stale,
    )


def rule(rule_id: str, when: Any, kind: str, value: Any, priority: int = 10) -> StrategyRule:
    body = {**R_001.to_dict(), "rule_id": rule_id, "when": when, "action": {"type": kind, "value": value}}
    return StrategyRule.model_validate({**body, "priority": priority})


CALM = {"f": "rv_1d", "op": "<", "v": 0.3}
WILD = {"f": "rv_1d", "op": ">", "v": 0.9}
WIDE = {"f": "spread_bps", "op": ">", "v": 1.5}
SIZED_UP = rule("R-UP", CALM, "size_mult", 1.2)
REFUSING = rule("R-NO", WILD, "skip_entry", True, priority=1)
SIZED_DOWN = rule("R-DOWN", WIDE, "size_mult", 0.8)


def policy(
    *rules: StrategyRule, instrument: Instrument = BTC_FUT, p: float | None = 0.65, flags: Flags | None = None
) -> Policy:
    flags = flags or Flags()
    content = content_of(flags, rules or (SIZED_DOWN,), known_factors(), (), rev=2)
    return Policy(
        config=plan_of(content, instrument, S3Settings(), feature_age_ms_max=5_000),
        windows=flags.risk.windows,
        taker_fee_ratio=FEE,
        constant_p=p,
    )


def replayed(signals: list[Signal], one: Policy, other: Policy, instrument: Instrument = BTC_FUT) -> Any:
    columns = Columns(instrument, factors_read(instrument.key, (one, other)))
    half = len(signals) // 2
    columns.take(signals[:half])
    columns.take(signals[half:])
    return replay(columns.table(), instrument, one, other)


def decided(signal: Signal, policy: Policy, instrument: Instrument) -> Decision:
    """What S3 would say of this signal with nothing open, asked by itself."""
    assert policy.config is not None
    features = {
        name: value
        for name, value in signal.features.items()
        if name not in signal.stale and isinstance(value, int | float)
    }
    mid, spread = signal.features.get("mid", 0.0), signal.features.get("spread_bps", 0.0)
    bid, ask = (on_tick(np.array([mid * (1 + sign * spread / 20_000)]), instrument.tick_size)[0] for sign in (-1, 1))
    facts = replace(
        FACTS,
        instrument=instrument,
        t0=signal.t0,
        controls=replace(CONTROLS, window_open=window_open(policy.windows, signal.t0)),
        quote=Quote(bid=exact(float(bid)), ask=exact(float(ask)), features=features, feature_age_ms=0),
        taker_fee_ratio=FEE,
        model_p=policy.constant_p,
        side_hint=None,
    )
    return decide(facts, policy.config)


WINDOWS = st.lists(
    st.builds(
        TradingWindow,
        days=st.lists(st.integers(1, 7), min_size=1, max_size=7, unique=True).map(tuple),
        from_minute=st.integers(0, 1_440),
        to_minute=st.integers(0, 1_440),
    ),
    max_size=2,
).map(tuple)

SIGNALS = st.lists(
    st.tuples(
        st.integers(0, 20_000),
        st.sampled_from([(), ("rv_1d",), ("mid",), ("spread_bps",)]),
        st.fixed_dictionaries(
            {
                "rv_1d": st.sampled_from([0.1, 0.4, 1.2, None]),
                "spread_bps": st.sampled_from([0.1, 2.0, 5.0]),
                "xmkt_signal": st.sampled_from([-1.0, 0.0, 1.0, None]),
                "depth_top1_usdt": st.sampled_from([100.0, 500_000.0]),
                "atr_14": st.sampled_from([0.01, 320.0]),
            }
        ),
    ),
    max_size=12,
    unique_by=lambda each: each[0],
)


@settings(max_examples=150, deadline=None)
@given(SIGNALS, st.sampled_from([BTC_FUT, BTC_SPOT]), WINDOWS, st.sampled_from([0.9, 0.65, 0.5, 0.1]))
def test_what_is_counted_is_what_the_decision_says_of_each_signal(
    told: Any, instrument: Instrument, windows: Any, p: float
) -> None:
    signals = [signal(number, stale, instrument, **features) for number, stale, features in sorted(told)]
    flags = Flags()
    candidate = policy(
        REFUSING,
        SIZED_UP,
        SIZED_DOWN,
        instrument=instrument,
        p=p,
        flags=flags.but(risk=flags.risk.but(windows=windows)),
    )
    reference = policy(SIZED_DOWN, instrument=instrument)

    found = replayed(signals, candidate, reference, instrument)

    mine = [decided(each, candidate, instrument) for each in signals]
    theirs = [decided(each, reference, instrument) for each in signals]
    asked = [decision for decision in mine if decision.rules is not None]
    refused = [decision for decision in asked if "R-NO" in decision.rules_fired]
    assert found.signals == len(signals)
    assert found.candidate.asked == len(asked)
    assert found.candidate.skipped == len(refused)
    assert found.candidate.sized_up == sum(
        decision.size_mult > 1.0 for decision in asked if "R-NO" not in decision.rules_fired
    )
    assert found.candidate.opens.tolist() == [decision.opens for decision in mine]
    assert found.reference.opens.tolist() == [decision.opens for decision in theirs]
    for rule_id, count in found.candidate.fired.items():
        assert count == sum(rule_id in decision.rules_fired for decision in mine)
    assert sum(found.candidate.outcomes.values()) == len(signals)
    assert sum(day.opened for day in found.days) == found.candidate.opened
    assert sum(day.opened_by_both for day in found.days) == found.opened_by_both


@given(WINDOWS, st.lists(st.integers(0, 10**13), max_size=20))
def test_windows_are_open_for_a_column_as_for_a_moment(windows: Any, moments: list[int]) -> None:
    found = windows_open(windows, np.array(moments, dtype=np.int64))

    assert found.tolist() == [window_open(windows, moment) for moment in moments]


@given(st.sampled_from(["0.1", "0.01", "0.05", "1", "5", "0.00001", "1E+1"]), st.floats(0.001, 200_000))
def test_a_price_is_brought_to_the_double_that_its_tick_spells(tick: str, price: float) -> None:
    found = float(on_tick(np.array([price]), Decimal(tick))[0])

    assert exact(found) % Decimal(tick) == 0
    assert abs(found - price) <= float(tick) / 2 * 1.000001


def test_a_bundle_that_does_not_trade_an_instrument_opens_nothing_there() -> None:
    found = replayed([signal()], Policy(config=None, windows=(), taker_fee_ratio=FEE, constant_p=0.65), policy())

    assert (found.candidate.opened, found.candidate.outcomes, found.reference.opened) == (0, {"NOT_TRADED": 1}, 1)


def test_what_a_model_then_said_counts_where_it_cannot_be_asked_again() -> None:
    signals = [signal(number) for number in range(3)]
    for number, p in ((0, 0.9), (1, 0.1)):
        signals[number] = signals[number].but(decision=signals[number].decision.but(model_p=p))

    found = replayed(signals, policy(p=None), policy())

    assert found.candidate.opens.tolist() == [True, False, True]
    assert found.candidate.sized_up == 1


@pytest.mark.parametrize(("one", "other"), [(None, 0.65), (0.65, None), (None, None)])
def test_signals_that_a_trained_model_is_asked_of_in_vain_are_counted(one: float | None, other: float | None) -> None:
    signals = [signal(number) for number in range(4)]
    signals[0] = signals[0].but(decision=signals[0].decision.but(model_p=0.9))
    # A gate ends this one before anybody asks a model, and a rule the next.
    signals[3] = signal(3, spread_bps=500.0)
    signals.append(signal(4, rv_1d=0.95))

    run = summed_up([replayed(signals, policy(REFUSING, p=one), policy(REFUSING, p=other))], DryRunLimits(asked_min=1))

    assert (run.total.model_asked, run.total.without_p) == (3, 2)
    assert [(limit.name, limit.value) for limit in run.limits if not limit.passed] == [("without_p_ratio", 2 / 3)]
    assert not run.passed


def test_without_a_trained_model_there_is_no_answer_to_miss() -> None:
    run = summed_up([replayed([signal()], policy(), policy())], DryRunLimits(asked_min=1))

    assert (run.total.model_asked, run.total.without_p) == (0, 0)
    assert "without_p_ratio" not in [limit.name for limit in run.limits]


def test_of_two_instruments_the_sums_are_told_and_each() -> None:
    there = replayed([signal(n, rv_1d=0.1) for n in range(4)], policy(SIZED_UP), policy())
    spot = replayed(
        [signal(n, instrument=BTC_SPOT) for n in (0, 2_000)],
        policy(instrument=BTC_SPOT),
        policy(instrument=BTC_SPOT),
        BTC_SPOT,
    )

    run = summed_up([there, spot], DryRunLimits(asked_min=6))

    assert (run.total.signals, run.total.opened, run.total.jaccard, run.total.size_up_ratio) == (6, 6, 1.0, 4 / 6)
    assert [(key.market, figures.opened) for key, figures in run.instruments] == [(Market.FUT, 4), (Market.SPOT, 2)]
    assert run.rules == {"R-DOWN": (0, 0), "R-UP": (4, 0)}
    assert run.outcomes == {"OK": (6, 6)}
    assert [(day_name(day.day), day.signals) for day in run.days] == [("2023-11-14", 5), ("2023-11-16", 1)]
    assert [limit.name for limit in run.limits if not limit.passed] == ["size_up_ratio"]
    assert not run.passed


@pytest.mark.parametrize(
    ("figures", "failed"),
    [
        pytest.param(Figures(asked=1_000, opened=10, opened_by_reference=10, opened_by_both=10), [], id="all kept"),
        pytest.param(Figures(asked=499), ["asked"], id="too few to say"),
        pytest.param(Figures(asked=1_000, skipped=600), [], id="as many refusals as may be"),
        pytest.param(Figures(asked=1_000, skipped=601), ["skip_entry_ratio"], id="one refusal more"),
        pytest.param(Figures(asked=1_000, sized_up=501), ["size_up_ratio"], id="sized up too often"),
        pytest.param(
            Figures(asked=1_000, opened=100, opened_by_reference=35, opened_by_both=35), [], id="just enough in common"
        ),
        pytest.param(
            Figures(asked=1_000, opened=100, opened_by_reference=34, opened_by_both=34), ["jaccard"], id="too different"
        ),
        pytest.param(Figures(asked=1_000, model_asked=1_000, without_p=500), [], id="as few answers as may be"),
        pytest.param(
            Figures(asked=1_000, model_asked=1_000, without_p=501), ["without_p_ratio"], id="a model hardly heard"
        ),
        pytest.param(Figures(asked=1_000, opened=5), ["jaccard"], id="the reference opens nothing"),
    ],
)
def test_limits_can_fail(figures: Figures, failed: list[str]) -> None:
    assert [limit.name for limit in judged(figures, DryRunLimits()) if not limit.passed] == failed


def test_outside_of_the_bundle_s_hours_nothing_is_opened() -> None:
    flags = Flags()
    # T0 is a Tuesday, 22:13 UTC.
    evening = TradingWindow(days=(2,), from_minute=22 * 60 + 14, to_minute=22 * 60 + 16)
    candidate = policy(flags=flags.but(risk=flags.risk.but(windows=(evening,))))

    found = replayed([signal(number) for number in range(5)], candidate, policy())

    assert found.candidate.opens.tolist() == [False, True, True, False, False]
    assert found.candidate.outcomes == {"OK": 2, "GATE:WINDOW": 3}
    assert found.reference.opened == 5


def test_what_was_stale_or_no_number_then_is_missing() -> None:
    signals = [signal(0), signal(1, stale=("rv_1d",)), signal(2, rv_1d=None), signal(3, rv_1d="high")]

    found = replayed(signals, policy(SIZED_UP), policy())

    assert found.candidate.outcomes == {"OK": 1, "GATE:FACTOR_MISSING": 3}


def test_a_factor_that_no_signal_holds_is_named() -> None:
    found = replayed([signal(0, rv_1d=None), signal(1, stale=("rv_1d",))], policy(SIZED_UP), policy())

    assert found.unknown == ("rv_1d",)


def test_what_was_repaired_since_is_decided_on_as_it_was_told() -> None:
    told = [signal(number, rv_1d=0.95) for number in range(6)]
    repaired = [
        each.but(features={**each.features, "rv_1d": 0.5}, stale=("mid",), features_told=each.told) for each in told
    ]

    before, after = (replayed(signals, policy(REFUSING), policy(REFUSING)) for signals in (told, repaired))

    assert before.candidate.skipped == 6
    assert after.candidate.skipped == 6
