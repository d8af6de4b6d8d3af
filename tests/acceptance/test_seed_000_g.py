"""Seed `000`, section G: its fixtures, used as they are written."""

import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chimera.contracts.documents import Instrument as Listed
from chimera.contracts.enums import Market, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S3Settings, S4Settings
from chimera.domain.config.bundle import known_factors
from chimera.domain.config.lint import lint
from chimera.domain.decision.decide import decide
from chimera.domain.decision.rules import check_rule
from chimera.domain.market.listing import brackets, listed
from chimera.runtime.instruments import instrument_of
from chimera.simulation.loop import run_virtual
from tests.acceptance.house import DATA, seed_g
from tests.domain.decision.worlds import config, facts
from tests.services.wide_desk import WideDesk, timeline

D = Decimal
BTC = InstrumentKey(Market.FUT, "BTCUSDT")
WARM = {"rv_pctile_30d": 0.2, "rho_usdttwd_14": -0.4}


def fixture_as_listed() -> dict[str, Any]:
    """The seed's instrument, with what it leaves to the reader: its market and that it is traded."""
    return {**seed_g("instrument_registry_btcusdt"), "market": "FUT", "status": "ENABLED"}


@pytest.mark.parametrize("name", ["instrument_registry_btcusdt", "strategy_rule_r_023", "route_table"])
def test_the_fixtures_are_the_seeds_own(name: str) -> None:
    shared = os.environ.get("CHIMERA_SHARED")
    if not shared:
        pytest.skip("CHIMERA_SHARED is not set: the seeds are not at hand, nothing was compared")
    (seed,) = (Path(shared) / "spec" / "seeds").glob("000_*.txt")

    assert (DATA / f"{name}.json").read_text().strip() in seed.read_text()


def test_g_instrument_registry_rounds_and_limits_a_decision() -> None:
    rules = instrument_of(Listed.model_validate({**fixture_as_listed(), "leverageBracket": None}))
    instrument = replace(rules, brackets=brackets(), max_leverage=125)
    found = decide(replace(facts(), instrument=instrument), config())

    assert found.plan is not None
    assert (instrument.tick_size, instrument.step_size, instrument.min_notional) == (D(1), D("0.001"), D(5))
    assert (instrument.spread_bp_limit, instrument.depth_top1_usdt_min) == (3, 200)
    assert found.plan.qty % D("0.001") == 0
    assert found.plan.stop_price % 1 == found.plan.tp_price % 1 == 0


def test_g_rule_r_023_is_a_rule_that_lint_passes() -> None:
    rule = seed_g("strategy_rule_r_023")

    assert check_rule(rule) == ()
    bundle = {
        "flags": {},
        "rules": [rule],
        "factors": [factor.to_dict() for factor in known_factors()],
        "instruments": [fixture_as_listed()],
    }
    assert [finding for finding in lint(bundle) if finding.path.startswith(("rules", "instruments"))] == []


@pytest.mark.parametrize(
    ("seen", "size_mult", "fired"),
    [
        pytest.param(WARM, 1.2, ("R-023",), id="quiet and strongly against: larger"),
        pytest.param({**WARM, "rv_pctile_30d": 0.25}, 1.0, (), id="not below a quarter"),
        pytest.param({**WARM, "rho_usdttwd_14": -0.3}, 1.0, (), id="not below -0.3"),
    ],
)
def test_g_rule_r_023_with_warm_factors_makes_the_size_1_2(
    seen: dict[str, float], size_mult: float, fired: tuple[str, ...]
) -> None:
    found = decide(facts(features=seen), config(seed_g("strategy_rule_r_023")))

    assert (found.opens, found.size_mult, found.rules_fired) == (True, size_mult, fired)
    assert found.plan is not None
    assert found.plan.margin_usdt <= D("1.05") * D(20) * D(repr(size_mult))


@pytest.mark.parametrize("cold", ["rv_pctile_30d", "rho_usdttwd_14"])
def test_g_rule_r_023_with_a_cold_factor_refuses_the_entry(cold: str) -> None:
    seen = {name: value for name, value in WARM.items() if name != cold}

    found = decide(facts(features=seen), config(seed_g("strategy_rule_r_023")))

    assert (found.opens, found.detail, found.missing) == (False, "FACTOR_MISSING", (cold,))


def test_g_instrument_and_rule_through_s10_s3_and_s4() -> None:
    async def scenario() -> None:
        async with timeline() as (clock, state):
            exchange_rules = replace(
                listed(BTC), tick_size=D(1), step_size=D("0.001"), min_qty=D("0.001"), min_notional=D(5)
            )
            desk = await WideDesk.on(state, clock, (exchange_rules,))
            await desk.promote(
                rules=[seed_g("strategy_rule_r_023")],
                instruments=[fixture_as_listed()],
                flags={"strategy": {"markets": {"BTCUSDT": ["FUT"]}}},
            )
            cold = await desk.signal(await desk.tell_and_settle(BTC))
            wide = await desk.signal(await desk.tell_and_settle(BTC, spread_bps=3.01, **WARM))
            thin = await desk.signal(await desk.tell_and_settle(BTC, depth_top1_usdt=199.0, **WARM))

            opened = await desk.signal(await desk.tell_and_settle(BTC, **WARM))

            assert (cold.decision.reason, cold.decision.detail) == ("GATE", "FACTOR_MISSING")
            assert (wide.decision.detail, thin.decision.detail) == ("SPREAD", "DEPTH")
            assert (opened.decision.action, opened.decision.size_mult) == ("open", 1.2)
            assert opened.decision.rules_fired == ("R-023",)
            (record,) = await desk.entries()
            # 20 * 1.2 * 20 / 60,001 = 0.008 on a step of 0.001.
            assert (record.intent.side, record.intent.qty) == (Side.BUY, D("0.008"))
            (trade,) = await desk.open_trades()
            assert trade.stop_price is not None
            assert trade.stop_price % 1 == 0
            assert all(trigger % 1 == 0 for _, _, trigger in desk.resting().values() if trigger is not None)
            await desk.stop()

    run_virtual(scenario())


def test_g_the_defaults_of_section_e_are_the_fixtures_numbers() -> None:
    listed_limits, own = seed_g("instrument_registry_btcusdt"), S3Settings()

    assert own.spread_bp_limit_default == listed_limits["spread_bp_limit"]
    assert own.depth_top1_usdt_min_default == listed_limits["depth_top1_usdt_min"]


def test_g_route_table_is_where_s4_is_told_to_look_for_it() -> None:
    told = S4Settings.from_env({"S4_ROUTE_TABLE_PATH": str(DATA / "route_table.json")})

    assert told.route_table_path == str(DATA / "route_table.json")
    rows = seed_g("route_table")
    assert [row["notional_usdt_max"] for row in rows] == sorted(row["notional_usdt_max"] for row in rows)
    # No row asks for more than the hard caps of section E allow.
    assert all(row["maker_wait_ms"] <= told.maker_max_wait_ms for row in rows)
    assert all(row["twap"]["slices"] <= told.twap_max_slices for row in rows)
