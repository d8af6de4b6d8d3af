"""The generated market: the same for the same seed, causal, plausible, and leading as much as it is told to."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.generator import (
    DAY_MS,
    MINUTE_MS,
    MarketDay,
    MarketGenerator,
    MarketState,
    lead_direction,
    start_prices_for,
)
from chimera.domain.market.market_config import LEADER, MarketConfig, SymbolConfig, symbols_for
from tests.domain.builders import BTC_FUT, BTC_SPOT

BTC = InstrumentKey(Market.FUT, "BTCUSDT")
SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")
ETH = InstrumentKey(Market.FUT, "ETHUSDT")
FIRST_DAY = 20_000


def days(count: int, config: MarketConfig | None = None, seed: int = 7) -> list[MarketDay]:
    generator = MarketGenerator(seed, config or MarketConfig())
    state = generator.start(FIRST_DAY)
    made = []
    for _ in range(count):
        day, state = generator.day(state)
        made.append(day)
    return made


@pytest.fixture(scope="module")
def long_run() -> list[MarketDay]:
    return days(200)


def closes(run: list[MarketDay], key: InstrumentKey) -> np.ndarray:
    return np.concatenate([day.bars[key].close for day in run])


def same(one: MarketDay, other: MarketDay) -> bool:
    series = [(one.bars[key], other.bars[key]) for key in one.bars] + [(one.twd, other.twd)]
    return one.fundings == other.fundings and all(
        np.array_equal(getattr(a, column), getattr(b, column))
        for a, b in series
        for column in ("open_time", "open", "high", "low", "close", "volume")
    )


# --- the same again


def test_a_day_is_recomputed_from_its_state_after_a_trip_through_json() -> None:
    generator = MarketGenerator(7, MarketConfig())
    _, state = generator.day(generator.start(FIRST_DAY))

    restored = MarketState.from_json(json.loads(json.dumps(state.to_json())))

    assert restored == state
    assert same(generator.day(state)[0], MarketGenerator(7, MarketConfig()).day(restored)[0])


def test_no_hash_seed_changes_the_market() -> None:
    script = (
        "import hashlib\n"
        "from chimera.domain.market.generator import *\n"
        "from chimera.domain.market.market_config import *\n"
        "from chimera.domain.market.walk import *\n"
        "g = MarketGenerator(7, MarketConfig()); s = g.start(20000); h = hashlib.sha256()\n"
        "w = Walker(7, 'BTCUSDT', ticks_per_minute=9, order=ExtremeOrder.SEEDED)\n"
        "for _ in range(3):\n"
        "    d, s = g.day(s)\n"
        "    for k, b in d.bars.items(): h.update(f'{k}'.encode() + b.close.tobytes() + b.volume.tobytes())\n"
        "    h.update(repr((s, d.fundings, w.path(60000, 2.0, 4.0, 1.0, 3.0))).encode())\n"
        "print(h.hexdigest())"
    )

    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }

    assert len(digests) == 1


def test_another_seed_is_another_market() -> None:
    assert not same(days(1, seed=7)[0], days(1, seed=8)[0])


def test_another_symbol_in_the_market_changes_nothing_for_the_others() -> None:
    wider = MarketConfig(symbols=(*MarketConfig().symbols, SymbolConfig(symbol="SOLUSDT", start_price=150.0)))

    alone, among = days(3)[-1], days(3, wider)[-1]

    assert np.array_equal(alone.bars[BTC].close, among.bars[BTC].close)
    assert np.array_equal(alone.bars[ETH].close, among.bars[ETH].close)
    assert among.bars[InstrumentKey(Market.FUT, "SOLUSDT")].close.min() > 0


def test_days_follow_each_other_without_a_seam(long_run: list[MarketDay]) -> None:
    for key in (BTC, SPOT, ETH):
        for before, after in pairwise(long_run):
            assert before.bars[key].close[-1] == after.bars[key].open[0]
            assert after.bars[key].start_ms == before.bars[key].end_ms


def test_bars_are_whole(long_run: list[MarketDay]) -> None:
    for day in long_run[:30]:
        for bars in (*day.bars.values(), day.twd):
            assert (bars.low <= np.minimum(bars.open, bars.close)).all()
            assert (bars.high >= np.maximum(bars.open, bars.close)).all()
            assert (bars.low > 0).all()
            assert (bars.volume > 0).all()
            assert (np.diff(bars.open_time) == bars.interval_ms).all()


def test_prices_lie_on_the_tick_as_the_decimal_is_written(long_run: list[MarketDay]) -> None:
    for key, tick in ((BTC, "0.1"), (SPOT, "0.01"), (ETH, "0.01")):
        for price in long_run[3].bars[key].high[:200].tolist():
            assert Decimal(repr(price)) % Decimal(tick) == 0


# --- nothing knows the future


def test_the_strength_of_the_lead_changes_days_with_a_lead_and_no_draw() -> None:
    config = MarketConfig()
    generator, without = MarketGenerator(7, config), MarketGenerator(7, replace(config, lead_lag_strength=0.0))
    state = generator.start(FIRST_DAY)
    seen = set()

    for _ in range(40):
        day, after = generator.day(state)
        assert same(day, without.day(state)[0]) == (day.lead == 0)
        seen.add(day.lead)
        state = after

    assert seen == {-1, 0, 1}


def test_the_lead_of_a_day_follows_from_the_two_days_before(long_run: list[MarketDay]) -> None:
    twd = [float(day.twd.close[-1]) for day in long_run]
    btc = [float(day.bars[BTC].close[-1]) for day in long_run]
    wrong = 0
    for d in range(3, len(long_run)):
        expected = lead_direction(
            twd[d - 2] / twd[d - 3] - 1, twd[d - 1] / twd[d - 2] - 1, btc[d - 2] / btc[d - 3] - 1, 0.0005
        )
        wrong += expected != long_run[d].lead

    # The ticks of the shown closes may lift a move over the smallest one that counts, hardly ever.
    assert wrong <= 2


def test_the_funding_rate_is_made_of_the_interval_before(long_run: list[MarketDay]) -> None:
    generator = MarketGenerator(7, MarketConfig())
    state = generator.start(FIRST_DAY)
    day, after = generator.day(state)

    doubled = replace(state, premium_avgs={**state.premium_avgs, "BTCUSDT": 0.004})

    assert generator.day(doubled)[0].fundings["BTCUSDT"][0].rate == pytest.approx(0.0035)
    assert generator.day(doubled)[0].fundings["BTCUSDT"][1:] == day.fundings["BTCUSDT"][1:]
    assert after.premium_avgs == generator.day(doubled)[1].premium_avgs


# --- the lead


def lead_t_value(strength: float) -> tuple[float, int]:
    """How many standard errors the next day's BTC return in USDT/TWD's direction lies above zero."""
    run = days(500, MarketConfig(lead_lag_strength=strength), seed=11)
    returns = np.array([float(np.log(day.bars[BTC].close[-1] / day.bars[BTC].open[0])) for day in run])
    leads = np.array([day.lead for day in run])
    signed = (returns * leads)[leads != 0]
    return float(signed.mean() / (signed.std() / np.sqrt(len(signed)))), len(signed)


def test_btc_follows_usdttwd_when_the_lead_is_strong() -> None:
    t_value, count = lead_t_value(1.0)

    assert count > 80
    assert t_value > 5.0


def test_btc_does_not_follow_usdttwd_without_a_lead() -> None:
    t_value, count = lead_t_value(0.0)

    assert count > 80
    assert abs(t_value) < 2.5


@pytest.mark.parametrize(
    ("moves", "direction"),
    [
        pytest.param((0.001, 0.001, -0.01), 1, id="twd up twice and btc down leads up"),
        pytest.param((-0.001, -0.001, 0.01), -1, id="twd down twice and btc up leads down"),
        pytest.param((0.001, 0.001, 0.01), 0, id="btc went along"),
        pytest.param((0.001, -0.001, -0.01), 0, id="twd changed its mind"),
        pytest.param((0.0004, 0.001, -0.01), 0, id="too small a move is none"),
    ],
)
def test_lead_direction(moves: tuple[float, float, float], direction: int) -> None:
    assert lead_direction(*moves, 0.0005) == direction


# --- plausible


def test_volatility_and_correlation_are_those_configured(long_run: list[MarketDay]) -> None:
    btc, eth = (np.diff(np.log(closes(long_run, key))) for key in (BTC, ETH))
    year = np.sqrt(365 * 1_440)

    assert 0.40 < btc.std() * year < 0.60
    assert 0.52 < eth.std() * year < 0.78
    assert 0.7 < np.corrcoef(btc, eth)[0, 1] < 0.9


def test_returns_have_fat_tails_and_calm_follows_calm(long_run: list[MarketDay]) -> None:
    returns = np.diff(np.log(closes(long_run, BTC)))
    size = np.abs(returns)

    assert 6 < np.mean((returns / returns.std()) ** 4) < 80
    assert np.corrcoef(size[:-10], size[10:])[0, 1] > 0.15
    assert abs(np.corrcoef(returns[:-1], returns[1:])[0, 1]) < 0.05
    assert size.max() < 0.08


def test_stop_and_target_distances_are_crossed_within_hours(long_run: list[MarketDay]) -> None:
    for day in long_run[:20]:
        path = np.log(day.bars[BTC].close / day.bars[BTC].open[0])
        assert np.abs(path).max() > 0.003
    hours = [
        int(np.argmax(np.abs(np.log(day.bars[BTC].close / day.bars[BTC].open[0])) > 0.006)) / 60 for day in long_run
    ]
    assert np.median(hours) < 8


def test_spot_and_funding_stay_close_to_what_binance_shows(long_run: list[MarketDay]) -> None:
    basis = closes(long_run, BTC) / closes(long_run, SPOT) - 1
    rates = np.array([rate.rate for day in long_run for rate in day.fundings["BTCUSDT"]])

    assert np.abs(basis).max() < 0.0015
    assert -0.0001 < rates.mean() < 0.0002
    assert np.abs(rates).max() < 0.001
    assert (rates < 0).any()


def test_funding_is_settled_at_the_symbols_own_interval() -> None:
    config = MarketConfig(symbols=(*MarketConfig().symbols, SymbolConfig(symbol="SOLUSDT", funding_interval_h=4)))

    fundings = days(1, config)[0].fundings

    start = FIRST_DAY * DAY_MS
    assert [rate.ts - start for rate in fundings["BTCUSDT"]] == [DAY_MS // 3, DAY_MS // 3 * 2, DAY_MS]
    assert [rate.ts - start for rate in fundings["SOLUSDT"]] == [DAY_MS // 6 * k for k in range(1, 7)]


def test_usdttwd_stays_near_its_level_and_moves_little(long_run: list[MarketDay]) -> None:
    daily = np.array([day.twd.close[-1] for day in long_run])

    assert daily.min() > 27
    assert daily.max() < 36
    assert 0.0015 < np.diff(np.log(daily)).std() < 0.006
    assert all(len(day.twd) == 24 and day.twd.interval == "1h" for day in long_run)
    assert 0.15 < np.mean([day.lead != 0 for day in long_run]) < 0.5


# --- a path that ends where it shall


def test_start_price_puts_btc_on_its_target_when_the_warm_up_ends() -> None:
    end_ms = (FIRST_DAY + 14) * DAY_MS + 601 * MINUTE_MS + 12_345
    config = MarketConfig()

    prices = start_prices_for(7, config, first_day=FIRST_DAY, end_ms=end_ms, targets={"BTCUSDT": 65_400.0})

    generator = MarketGenerator(7, config)
    state = generator.start(FIRST_DAY, prices)
    for _ in range(14):
        _, state = generator.day(state)
    bars = generator.day(state)[0].bars
    assert bars[BTC].open[601] == 65_400.0
    assert bars[BTC].close[600] == 65_400.0
    assert np.array_equal(bars[ETH].close, days(15)[-1].bars[ETH].close)


def test_a_path_scales_with_its_state() -> None:
    generator = MarketGenerator(7, MarketConfig())
    state = generator.start(FIRST_DAY)

    one, other = generator.day(state)[0], generator.day(state.scaled({"BTCUSDT": 2.0}))[0]

    assert np.allclose(other.exact_closes["BTCUSDT"], 2 * one.exact_closes["BTCUSDT"], rtol=1e-14)
    assert np.abs(other.bars[BTC].close - 2 * one.bars[BTC].close).max() <= 0.16


def test_a_target_at_the_very_start_is_the_start_price() -> None:
    prices = start_prices_for(
        7, MarketConfig(), first_day=FIRST_DAY, end_ms=FIRST_DAY * DAY_MS, targets={"BTCUSDT": 65_400.0}
    )

    assert prices == {"BTCUSDT": 65_400.0}


# --- wrong wishes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"lead_lag_strength": 1.5}, "lead_lag_strength is 1.5; it must be within 0 and 1", id="strength"),
        pytest.param({"vol_cluster": float("nan")}, "vol_cluster is nan", id="not a number"),
        pytest.param({"symbols": ()}, "the first must be BTCUSDT", id="no symbol"),
        pytest.param({"jumps_per_day": 50.0, "jump_day_sigmas": 2.0}, "make one of them smaller", id="only jumps"),
        pytest.param({"regime_hours": (0.0, 1.0, 1.0)}, "regime_hours of FROZEN is 0.0", id="regime"),
    ],
)
def test_a_senseless_market_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(MarketConfig(), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"symbol": "btc/usdt"}, "must be written like BTCUSDT", id="spelling"),
        pytest.param({"tick": 0.03}, "tick of SOLUSDT is 0.03", id="tick that divides nothing"),
        pytest.param({"funding_interval_h": 3}, "must be 1, 2, 4 or 8", id="funding interval"),
        pytest.param({"vol_year": 9.0}, "vol_year of SOLUSDT is 9.0", id="volatility"),
    ],
)
def test_a_senseless_symbol_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SymbolConfig(symbol="SOLUSDT"), **change)


def test_targets_and_start_prices_of_unknown_symbols_are_refused() -> None:
    with pytest.raises(ValueError, match="start price given for XYZUSDT; the market has BTCUSDT, ETHUSDT"):
        MarketGenerator(7, MarketConfig()).start(FIRST_DAY, {"XYZUSDT": 1.0})
    with pytest.raises(ValueError, match="target given for XYZUSDT"):
        start_prices_for(7, MarketConfig(), first_day=FIRST_DAY, end_ms=FIRST_DAY * DAY_MS, targets={"XYZUSDT": 1.0})


def test_the_market_of_some_instruments_has_their_ticks_and_begins_with_btc() -> None:
    sol = replace(BTC_FUT, symbol="SOLUSDT", tick_size=Decimal("0.01"), funding_interval_h=4)

    made = symbols_for([sol, replace(BTC_SPOT, tick_size=Decimal("0.05"))])

    assert [symbol.symbol for symbol in made] == [LEADER, "SOLUSDT"]
    assert made[0].spot
    assert made[0].spot_tick == 0.05
    assert not made[1].spot
    assert (made[1].tick, made[1].funding_interval_h) == (0.01, 4)
