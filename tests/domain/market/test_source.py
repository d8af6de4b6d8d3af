"""Both sources answer alike, hold closed bars only, and say what they made up."""

from dataclasses import replace

import numpy as np
import pytest

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.bars import BarSeries, concat
from chimera.domain.market.generator import DAY_MS, HOUR_MS, MINUTE_MS, TWD_KEY, FundingRate, MarketGenerator
from chimera.domain.market.market_config import MarketConfig
from chimera.domain.market.source import (
    BASE_FUNDING_RATE,
    FileSource,
    GeneratedSource,
    LoadedMarket,
    MarketSource,
)
from tests.domain.market.rolling import roll

BTC = InstrumentKey(Market.FUT, "BTCUSDT")
SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")
ETH = InstrumentKey(Market.FUT, "ETHUSDT")
FIRST_DAY = 20_000
START = FIRST_DAY * DAY_MS


def generated(seed: int = 7) -> GeneratedSource:
    generator = MarketGenerator(seed, MarketConfig())
    return GeneratedSource(generator, generator.start(FIRST_DAY))


def loaded(days: int = 5, *keys: InstrumentKey) -> LoadedMarket:
    """The generated market as if it came from files."""
    source = generated()
    made = [source.day(FIRST_DAY + k) for k in range(days)]
    return LoadedMarket(
        bars={key: concat([day.bars[key] for day in made]) for key in keys or (BTC, SPOT, ETH)},
        fundings={
            symbol: tuple(rate for day in made for rate in day.fundings[symbol]) for symbol in ("BTCUSDT", "ETHUSDT")
        },
        twd=concat([day.twd for day in made]),
    )


def columns(series: BarSeries) -> list[list[float]]:
    return [series.open_time.tolist(), series.open.tolist(), series.close.tolist(), series.volume.tolist()]


@pytest.fixture(
    params=[
        pytest.param(lambda: generated(), id="generated"),
        pytest.param(lambda: FileSource(loaded(), (BTC, SPOT, ETH), seed=7), id="from files"),
    ]
)
def source(request: pytest.FixtureRequest) -> MarketSource:
    made: MarketSource = request.param()
    return made


# --- what both promise


def test_an_answer_holds_closed_bars_only(source: MarketSource) -> None:
    now_ms = START + 3 * DAY_MS + 90 * MINUTE_MS + 31_000

    for interval, last_open in (("1m", 89 * MINUTE_MS), ("5m", 85 * MINUTE_MS), ("1h", 0), ("1d", -DAY_MS)):
        bars = source.klines(BTC, interval, START, now_ms)
        assert bars[-1].open_time == START + 3 * DAY_MS + last_open
        assert bars[-1].close_time <= now_ms
        assert bars[0].open_time == START
    assert source.twd_bars(START, now_ms)[-1].close_time <= now_ms
    assert int(source.minutes(BTC, START, now_ms).open_time[-1]) == START + 3 * DAY_MS + 89 * MINUTE_MS


def test_longer_bars_are_those_a_listener_would_have_rolled(source: MarketSource) -> None:
    for key in (BTC, SPOT, ETH):
        minutes = source.minutes(key, START, START + 2 * DAY_MS).to_bars(key)
        for interval in ("5m", "15m", "1h"):
            assert source.klines(key, interval, START, START + 2 * DAY_MS) == roll(minutes, "1m", interval)


def test_an_unknown_interval_is_refused_by_name(source: MarketSource) -> None:
    with pytest.raises(ValueError, match="interval '3m' is not one of 1m, 5m"):
        source.klines(BTC, "3m", START, START + DAY_MS)


def test_history_before_the_first_day_is_just_shorter(source: MarketSource) -> None:
    assert source.start_ms == START
    assert source.klines(BTC, "1h", START - 40 * DAY_MS, START) == []
    assert source.klines(BTC, "1m", START - 40 * DAY_MS, START) == []
    assert len(source.klines(BTC, "1h", START - 40 * DAY_MS, START + DAY_MS)) == 24


def test_every_settlement_is_told_once(source: MarketSource) -> None:
    whole = source.fundings("BTCUSDT", START, START + 4 * DAY_MS)
    parts = [
        rate
        for k in range(4 * 24)
        for rate in source.fundings("BTCUSDT", START + k * HOUR_MS, START + (k + 1) * HOUR_MS)
    ]

    assert list(whole) == parts
    assert [rate.ts for rate in whole] == [START + k * 8 * HOUR_MS for k in range(1, 12)]


def test_the_next_funding_is_always_ahead(source: MarketSource) -> None:
    for offset_ms in (0, 1, 8 * HOUR_MS - 1, 8 * HOUR_MS, DAY_MS - 1, DAY_MS):
        shown = source.funding_next("BTCUSDT", START + DAY_MS + offset_ms)
        assert 0 < shown.ts - (START + DAY_MS + offset_ms) <= 8 * HOUR_MS
        assert shown.interval_h == 8


def test_usdttwd_comes_in_hours(source: MarketSource) -> None:
    bars = source.twd_bars(START, START + 2 * DAY_MS)

    assert len(bars) == 48
    assert {(bar.symbol, bar.interval) for bar in bars} == {(TWD_KEY.symbol, "1h")}


# --- the generated one


def test_the_order_of_questions_changes_no_answer() -> None:
    late_first, early_first = generated(), generated()
    window = (START + 2 * DAY_MS, START + 3 * DAY_MS)

    late_first.minutes(BTC, START + 40 * DAY_MS, START + 41 * DAY_MS)
    late_first.klines(ETH, "1h", START + 70 * DAY_MS, START + 90 * DAY_MS)

    assert columns(late_first.minutes(BTC, *window)) == columns(early_first.minutes(BTC, *window))
    far = (START + 75 * DAY_MS, START + 76 * DAY_MS)
    assert columns(late_first.minutes(BTC, *far)) == columns(early_first.minutes(BTC, *far))


def test_a_days_bars_do_not_depend_on_later_days() -> None:
    """A market that ends after the day and one that goes on are the same until then."""
    short, long = generated(), generated()

    first = columns(short.minutes(BTC, START, START + DAY_MS))
    for k in range(1, 30):
        long.day(FIRST_DAY + k)

    assert columns(long.minutes(BTC, START, START + DAY_MS)) == first


def test_a_restart_from_a_later_state_goes_on_with_the_same_market() -> None:
    generator = MarketGenerator(7, MarketConfig())
    state = generator.start(FIRST_DAY)
    for _ in range(5):
        _, state = generator.day(state)

    restarted = GeneratedSource(generator, state)

    window = (START + 5 * DAY_MS, START + 8 * DAY_MS)
    assert columns(restarted.minutes(ETH, *window)) == columns(generated().minutes(ETH, *window))


def test_a_held_state_lets_a_restart_skip_what_lies_long_before() -> None:
    source = generated()
    source.day(FIRST_DAY + 70)

    state = source.state_before(FIRST_DAY + 40)

    assert state is not None
    assert FIRST_DAY + 24 <= state.day_index <= FIRST_DAY + 40
    restarted = GeneratedSource(MarketGenerator(7, MarketConfig()), state)
    window = (START + 69 * DAY_MS, START + 71 * DAY_MS)
    assert columns(restarted.minutes(BTC, *window)) == columns(source.minutes(BTC, *window))
    assert source.state_before(FIRST_DAY - 1) is None


def test_memory_stays_bounded_however_long_it_runs() -> None:
    source = generated()

    for k in range(200):
        source.day(FIRST_DAY + k)

    assert len(source._days) == 3
    assert len(source._hours) == 64
    assert len(source._states) <= 200 // 16 + 3


def test_a_day_before_the_first_is_refused() -> None:
    with pytest.raises(ValueError, match="day 19999 lies before the market's first day 20000"):
        generated().day(FIRST_DAY - 1)


def test_the_shown_funding_is_the_one_that_is_paid() -> None:
    source = generated()

    for rate in source.fundings("BTCUSDT", START, START + 3 * DAY_MS):
        assert source.funding_next("BTCUSDT", rate.ts - 1) == rate
        assert source.funding_next("BTCUSDT", rate.ts - 7 * HOUR_MS) == rate


# --- the one from files


def test_complete_files_leave_nothing_to_note() -> None:
    assert FileSource(loaded(), (BTC, SPOT, ETH), seed=7).notes == ()


def test_what_is_made_up_is_said() -> None:
    bare = replace(loaded(3, BTC), fundings={}, twd=None)

    source = FileSource(bare, (BTC, SPOT), seed=7)

    assert source.notes == (
        "SPOT:BTCUSDT is derived from FUT:BTCUSDT with zero basis: there is no file of its own",
        "FUT:BTCUSDT has no funding file: it pays the base rate 0.0001 each 8 h",
        "USDT/TWD has no file: it is the series of seed 7, unrelated to BTC",
    )
    assert (
        source.klines(SPOT, "1h", START, START + DAY_MS)[3].close
        == source.klines(BTC, "1h", START, START + DAY_MS)[3].close
    )
    assert {rate.rate for rate in source.fundings("BTCUSDT", START, START + DAY_MS)} == {BASE_FUNDING_RATE}
    assert len(source.twd_bars(START - 45 * DAY_MS, START + 3 * DAY_MS)) == 48 * 24


def test_a_perpetual_can_be_derived_from_spot() -> None:
    source = FileSource(replace(loaded(2, SPOT), fundings={}), (BTC,), seed=7)

    assert columns(source.minutes(BTC, START, START + DAY_MS)) == columns(
        loaded(2).bars[SPOT].within(START, START + DAY_MS)
    )
    assert "FUT:BTCUSDT is derived from SPOT:BTCUSDT" in source.notes[0]


def test_the_shown_funding_is_the_last_settled_one() -> None:
    ts = START + DAY_MS
    rates = (FundingRate(ts, "BTCUSDT", 0.0002, 8), FundingRate(ts + 8 * HOUR_MS + 3, "BTCUSDT", -0.0003, 8))
    source = FileSource(replace(loaded(3), fundings={"BTCUSDT": rates, "ETHUSDT": rates}), (BTC, ETH), seed=7)

    assert source.funding_next("BTCUSDT", ts - 1) == FundingRate(ts, "BTCUSDT", BASE_FUNDING_RATE, 8)
    assert source.funding_next("BTCUSDT", ts) == FundingRate(ts + 8 * HOUR_MS + 3, "BTCUSDT", 0.0002, 8)
    assert source.funding_next("BTCUSDT", ts + DAY_MS) == FundingRate(ts + DAY_MS + 8 * HOUR_MS, "BTCUSDT", -0.0003, 8)


def test_instruments_of_unequal_length_share_what_they_have_in_common() -> None:
    whole = loaded(3)
    cut = {BTC: whole.bars[BTC].rows(100, 4_000), ETH: whole.bars[ETH].rows(0, 3_000)}

    source = FileSource(replace(whole, bars=cut), (BTC, ETH), seed=7)

    assert (source.start_ms, source.end_ms) == (START + 100 * MINUTE_MS, START + 3_000 * MINUTE_MS)


def test_files_that_cannot_make_a_market_are_refused() -> None:
    whole = loaded(2)
    with pytest.raises(ValueError, match=r"there are no bars of SOLUSDT; there are of FUT:BTCUSDT \["):
        FileSource(whole, (InstrumentKey(Market.FUT, "SOLUSDT"),), seed=7)
    apart = {BTC: whole.bars[BTC].rows(0, 100), ETH: whole.bars[ETH].rows(200, 300)}
    with pytest.raises(ValueError, match="have no minute in common"):
        FileSource(replace(whole, bars=apart), (BTC, ETH), seed=7)


def test_a_seeded_usdttwd_repeats_with_its_seed() -> None:
    def closes(seed: int) -> list[float]:
        source = FileSource(replace(loaded(2), twd=None), (BTC,), seed=seed)
        return [bar.close for bar in source.twd_bars(START - DAY_MS, START + DAY_MS)]

    assert closes(7) == closes(7)
    assert closes(7) != closes(8)
    assert np.std(closes(7)) > 0
