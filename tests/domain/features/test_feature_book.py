"""What a snapshot may know, and when a factor is called stale."""

import random
from itertools import pairwise
from math import inf, log, nan, sqrt

import pytest

from chimera.contracts.enums import Market
from chimera.domain.features.cross_market import CrossMarket
from chimera.domain.features.factor import FactorSpec
from chimera.domain.features.feature_book import (
    KLINE_GRACE_MS,
    FeatureBook,
    FeatureSnapshot,
)
from chimera.domain.features.registry import FACTOR_IDS, FACTORS
from chimera.domain.market.quotes import Bar

DAY = 86_400_000
HOUR = 3_600_000
MINUTE = 60_000
START = 20_000 * DAY
MAX_AGE = 5_000


def minute_bar(i: int, close: float, *, start: int = START, open_: float | None = None) -> Bar:
    low, high = min(close, open_ or close) - 1.0, max(close, open_ or close) + 1.0
    return Bar(
        Market.FUT,
        "BTCUSDT",
        "1m",
        start + i * MINUTE,
        open_ or close,
        high,
        low,
        close,
        2.0,
    )


def twd_bar(i: int, close: float, volume: float = 1.0) -> Bar:
    return Bar(
        Market.SPOT,
        "USDTTWD",
        "1h",
        START + i * HOUR,
        close,
        close + 0.1,
        close - 0.1,
        close,
        volume,
    )


class Tape:
    """Four days of seeded events, fed in order of time; each event is (available_at_ms, feed)."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.cross = CrossMarket(min_move=0.0005)
        self.book = FeatureBook(Market.FUT, self.cross)
        price = 60_000.0
        self.events: list[tuple[int, str, tuple[object, ...]]] = []
        for i in range(4 * 1440):
            before, price = price, price * (1.0 + rng.gauss(0.0, 0.0005))
            bar = minute_bar(i, price, open_=before)
            self.events.append((bar.close_time, "bar", (bar,)))
            for second in (13, 41):
                ts = bar.open_time + second * 1000 + rng.randrange(500)
                self.events.append(
                    (
                        ts,
                        "depth",
                        (ts, price, price + 0.1, rng.random() * 9, rng.random() * 9),
                    )
                )
            if i % 30 == 0:
                funding_time = (bar.open_time // (8 * HOUR) + 1) * 8 * HOUR
                self.events.append(
                    (
                        bar.open_time,
                        "funding",
                        (bar.open_time, rng.gauss(0, 1e-4), 8, funding_time),
                    )
                )
            if i % 60 == 59:
                self.events.append((bar.close_time, "twd", (twd_bar(i // 60, 30.0 + rng.random()),)))
        self.events.sort(key=lambda event: event[0])

    def feed(self, kind: str, args: tuple[object, ...]) -> None:
        match kind, args:
            case "bar", (Bar() as bar,):
                self.book.on_bar(bar)
                self.cross.on_btc(bar)
            case "twd", (Bar() as bar,):
                self.cross.on_usdttwd(bar)
            case "depth", (
                int(ts),
                float(bid),
                float(ask),
                float(bid_qty),
                float(ask_qty),
            ):
                self.book.on_depth(ts, bid, ask, bid_qty, ask_qty)
            case "funding", (int(ts), float(rate), int(interval), int(funding_time)):
                self.book.on_funding(ts, rate, interval, funding_time)

    def snapshot(self, t0: int, *, ahead: int) -> FeatureSnapshot:
        """Feed everything up to `t0`, then the `ahead` events after it, and look at `t0`."""
        later = 0
        for ts, kind, args in self.events:
            if ts > t0:
                later += 1
            if later > ahead:
                break
            self.feed(kind, args)
        return self.book.snapshot(t0, 60_000)


def test_a_whole_later_day_changes_no_daily_feature() -> None:
    t0 = START + 3 * DAY + 5
    tape, truncated = Tape(1), Tape(1)
    for _, kind, args in tape.events:
        tape.feed(kind, args)
    for ts, kind, args in truncated.events:
        if ts <= t0:
            truncated.feed(kind, args)

    assert tape.cross.at(t0) == truncated.cross.at(t0)


def test_only_an_observation_from_the_future_is_no_observation() -> None:
    book = FeatureBook(Market.FUT, CrossMarket(min_move=0.0005))
    book.on_depth(START + 1, 100.0, 101.0, 1.0, 1.0)

    snapshot = book.snapshot(START, MAX_AGE)

    assert {"mid", "spread_bps", "depth_top1_usdt"} <= set(snapshot.stale)


def test_the_incremental_values_equal_the_definitions() -> None:
    tape = Tape(3)
    t0 = START + 3 * DAY + 7 * HOUR
    snapshot = tape.snapshot(t0, ahead=0)
    minutes = [event[2][0] for event in tape.events if event[1] == "bar" and event[0] <= t0]
    bars = [bar for bar in minutes if isinstance(bar, Bar)]

    returns = [log(b.close / a.close) for a, b in pairwise(bars[-1441:])]
    assert snapshot.values["rv_1d"] == pytest.approx(sqrt(sum(r * r for r in returns) / 1440 * 365 * 1440), rel=1e-9)
    hours = [bars[i : i + 60] for i in range(0, len(bars), 60)]
    ranges = [
        max(*(b.high for b in hour), before[-1].close) - min(*(b.low for b in hour), before[-1].close)
        for before, hour in pairwise(hours)
    ]
    atr = ranges[0]
    for true_range in ranges[1:]:
        atr = 2 / 15 * true_range + 13 / 15 * atr
    assert snapshot.values["atr_14"] == pytest.approx(atr, rel=1e-9)


def test_volatility_does_not_depend_on_what_has_left_the_window() -> None:
    rng = random.Random(5)
    closes = [60_000.0 * (1 + rng.random() / 10) for _ in range(20_000)]
    long, short = (FeatureBook(Market.FUT, CrossMarket(min_move=0.0005)) for _ in range(2))
    for i, close in enumerate(closes):
        long.on_bar(minute_bar(i, close))
        if i >= len(closes) - 1441:
            short.on_bar(minute_bar(i, close))
    now = START + len(closes) * MINUTE

    assert long.snapshot(now, MAX_AGE).values["rv_1d"] == short.snapshot(now, MAX_AGE).values["rv_1d"]


def test_a_month_of_history_more_does_not_change_one_bit_of_the_atr() -> None:
    rng = random.Random(6)
    closes = [60_000.0 * (1 + rng.random() / 10) for _ in range(24 * 75)]
    long, short = (FeatureBook(Market.FUT, CrossMarket(min_move=0.0005)) for _ in range(2))
    for i, close in enumerate(closes):
        bar = Bar(
            Market.FUT,
            "BTCUSDT",
            "1h",
            START + i * HOUR,
            close,
            close + 9,
            close - 7,
            close,
            1.0,
        )
        long.on_bar(bar)
        if i >= 24 * 30:
            short.on_bar(bar)
    now = START + len(closes) * HOUR

    assert long.snapshot(now, MAX_AGE).values["atr_14"] == short.snapshot(now, MAX_AGE).values["atr_14"]


def warm_book() -> tuple[FeatureBook, int]:
    book = FeatureBook(Market.FUT, CrossMarket(min_move=0.0005))
    for i in range(1500):
        book.on_bar(minute_bar(i, 100.0 + i % 5))
    now = START + 1500 * MINUTE
    book.on_depth(now, 100.0, 100.1, 3.0, 2.0)
    book.on_funding(now, 0.0001, 4, now + HOUR)
    return book, now


def test_every_factor_is_either_fresh_or_stale() -> None:
    book, now = warm_book()

    snapshot = book.snapshot(now, MAX_AGE)

    assert sorted([*snapshot.values, *snapshot.stale]) == sorted(FACTOR_IDS)
    assert snapshot.values["depth_top1_usdt"] == pytest.approx(200.2)
    assert snapshot.values["funding_next"] == pytest.approx(0.0002), "a 4 h rate counts twice per 8 h"


def test_spot_has_no_funding_factor() -> None:
    snapshot = FeatureBook(Market.SPOT, CrossMarket(min_move=0.0005)).snapshot(START, MAX_AGE)

    assert "funding_next" not in snapshot.stale


@pytest.mark.parametrize(
    ("later_ms", "stale"),
    [
        pytest.param(MAX_AGE, (), id="at the age limit all are fresh"),
        pytest.param(MAX_AGE + 1, ("mid", "spread_bps", "depth_top1_usdt"), id="a silent book"),
        pytest.param(
            MINUTE + KLINE_GRACE_MS + 1,
            ("mid", "spread_bps", "depth_top1_usdt", "rv_1d"),
            id="a missing minute",
        ),
        pytest.param(
            HOUR + MAX_AGE + 1,
            ("mid", "spread_bps", "depth_top1_usdt", "funding_next", "rv_1d"),
            id="the funding time has passed",
        ),
        pytest.param(
            HOUR + KLINE_GRACE_MS + 1,
            ("mid", "spread_bps", "depth_top1_usdt", "funding_next", "atr_14", "rv_1d"),
            id="a missing hour",
        ),
    ],
)
def test_a_factor_is_stale_by_the_age_of_its_own_source(later_ms: int, stale: tuple[str, ...]) -> None:
    book, now = warm_book()

    snapshot = book.snapshot(now + later_ms, MAX_AGE)

    assert snapshot.stale[: len(stale)] == stale
    assert all(name in snapshot.values for name in ("mid", "spread_bps", "atr_14") if name not in stale)


@pytest.mark.parametrize(
    ("bid", "ask"),
    [
        pytest.param(101.0, 100.0, id="crossed"),
        pytest.param(nan, 100.0, id="nan bid"),
        pytest.param(100.0, inf, id="infinite ask"),
        pytest.param(0.0, 100.0, id="zero bid"),
        pytest.param(1.0, 100.0, id="a spread out of range"),
    ],
)
def test_a_broken_touch_makes_the_book_stale_until_a_sane_one_comes(bid: float, ask: float) -> None:
    book, now = warm_book()
    book.on_ticker(now + 1, bid, ask)

    assert book.snapshot(now + 1, MAX_AGE).stale[:2] == ("mid", "spread_bps")

    book.on_ticker(now + 2, 100.0, 100.1)
    assert book.snapshot(now + 2, MAX_AGE).values["mid"] == pytest.approx(100.05)


@pytest.mark.parametrize("rate", [nan, inf, -inf, 0.6])
def test_a_funding_rate_that_cannot_be_is_stale(rate: float) -> None:
    book, now = warm_book()
    book.on_funding(now + 1, rate, 8, now + HOUR)

    assert "funding_next" in book.snapshot(now + 1, MAX_AGE).stale


@pytest.mark.parametrize("qty", [nan, inf, -1.0])
def test_a_quantity_that_cannot_be_makes_the_depth_stale(qty: float) -> None:
    book, now = warm_book()
    book.on_depth(now + 1, 100.0, 100.1, qty, 1.0)

    assert "depth_top1_usdt" in book.snapshot(now + 1, MAX_AGE).stale


def test_a_bad_bar_is_a_gap_and_the_gap_makes_volatility_stale() -> None:
    book, now = warm_book()
    book.on_bar(Bar(Market.FUT, "BTCUSDT", "1m", now, 100.0, nan, 99.0, 100.0, 1.0))
    book.on_bar(minute_bar(1501, 100.0))

    assert "rv_1d" in book.snapshot(now + 2 * MINUTE, MAX_AGE).stale


def test_an_hour_with_a_missing_minute_leaves_the_atr_stale_until_the_next_whole_hour() -> None:
    book = FeatureBook(Market.FUT, CrossMarket(min_move=0.0005))
    for i in range(20 * 60):
        if i != 18 * 60 + 7:
            book.on_bar(minute_bar(i, 100.0 + i % 5))

    assert "atr_14" in book.snapshot(START + 19 * HOUR + KLINE_GRACE_MS + 1, MAX_AGE).stale
    assert "atr_14" in book.snapshot(START + 20 * HOUR, MAX_AGE).values


def test_the_same_hour_told_twice_counts_once() -> None:
    once, twice = (FeatureBook(Market.FUT, CrossMarket(min_move=0.0005)) for _ in range(2))
    for i in range(20 * 60):
        once.on_bar(minute_bar(i, 100.0 + i % 5))
        twice.on_bar(minute_bar(i, 100.0 + i % 5))
        twice.on_bar(minute_bar(i, 100.0 + i % 5))
        if i % 60 == 59:
            twice.on_bar(
                Bar(
                    Market.FUT,
                    "BTCUSDT",
                    "1h",
                    START + i // 60 * HOUR,
                    100.0,
                    120.0,
                    90.0,
                    101.0,
                    1.0,
                )
            )
    now = START + 20 * HOUR

    assert once.snapshot(now, MAX_AGE) == twice.snapshot(now, MAX_AGE)


@pytest.mark.parametrize("spec", FACTORS, ids=lambda spec: str(spec.factor_id))
def test_a_range_admits_no_nan_and_no_infinity(spec: FactorSpec) -> None:
    assert not any(spec.in_range(value) for value in (nan, inf, -inf))
    assert spec.in_range(spec.range[0])
    assert spec.in_range(spec.range[1])
