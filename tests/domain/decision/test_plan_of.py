"""What a configuration means for an instrument: the bundle decides, the machine's caps stand above it."""

from dataclasses import replace
from decimal import Decimal

from chimera.contracts.documents import Instrument as InstrumentEntry
from chimera.contracts.enums import EntryStatus
from chimera.contracts.flags import Flags
from chimera.contracts.settings import S3Settings
from chimera.domain.config.bundle import R_001, R_023, known_factors
from chimera.domain.decision.decide import DecisionConfig
from chimera.domain.decision.plan_of import Content, content_of, plan_of
from chimera.domain.market.instrument import Instrument
from tests.domain.builders import BTC_FUT, BTC_SPOT

OWN = S3Settings(leverage_default=20, max_loss_usdt=Decimal("1.2"), spread_bp_limit_default=3.0)


def content(*entries: InstrumentEntry, flags: Flags | None = None) -> Content:
    return content_of(flags or Flags(), (R_001, R_023), known_factors(), entries, rev=7)


def plan(instrument: Instrument = BTC_FUT, of: Content | None = None) -> DecisionConfig:
    return plan_of(of or content(), instrument, OWN, feature_age_ms_max=5_000)


def entry(**limits: float) -> InstrumentEntry:
    return InstrumentEntry(
        market=BTC_FUT.market,
        symbol=BTC_FUT.symbol,
        tick_size=BTC_FUT.tick_size,
        step_size=BTC_FUT.step_size,
        min_notional=BTC_FUT.min_notional,
        status=EntryStatus.ENABLED,
        **limits,
    )


def test_each_market_has_its_own_budget() -> None:
    assert plan().limits.budget_usdt_max == 600
    assert plan(BTC_SPOT).limits.budget_usdt_max == 2_000
    assert plan().rev == 7


def test_a_planned_entry_is_margin_times_the_leverage_that_both_sides_allow() -> None:
    assert plan().limits.planned_notional_usdt == 400.0
    assert plan(replace(BTC_FUT, max_leverage=5)).limits.planned_notional_usdt == 100.0
    assert plan(BTC_SPOT).limits.planned_notional_usdt == 50.0


def test_an_instrument_s_own_gate_wins_and_where_it_is_silent_the_machine_s_holds() -> None:
    assert plan().limits.spread_bp_limit == 3.0
    assert plan(replace(BTC_FUT, spread_bp_limit=1.0)).limits.spread_bp_limit == 1.0
    assert plan(of=content(entry(spread_bp_limit=2.0))).limits.spread_bp_limit == 2.0
    # The bundle names the instrument: what it leaves out there is not the registry's.
    assert plan(replace(BTC_FUT, spread_bp_limit=1.0), content(entry())).limits.spread_bp_limit == 3.0


def test_only_rules_that_are_enabled_and_apply_are_asked() -> None:
    assert [rule.rule_id for rule in plan().rules.rules] == ["R-001"]
    assert plan().rules.disabled_factors == ()


def test_no_bundle_exceeds_the_caps_of_the_machine() -> None:
    assert (plan().sizing.max_loss_usdt, plan().sizing.leverage_default) == (Decimal("1.2"), 20)
