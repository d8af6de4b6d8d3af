"""What is wrong with the data makes the factors stale that read it, each for its reason, and no others."""

from dataclasses import replace
from typing import Any

import pytest

from chimera.contracts.enums import DataQuality, Market
from chimera.domain.features.cross_market import CrossMarket
from chimera.domain.features.feature_book import KLINE_GRACE_MS, FeatureBook, FeatureSnapshot
from chimera.domain.features.outlier import OUTLIER_SIGMAS, SIGMA_MIN
from chimera.domain.features.registry import FACTOR_IDS
from chimera.domain.market.quotes import Bar
from tests.domain.features.histories import derived

DAY = 86_400_000
HOUR = 3_600_000
MINUTE = 60_000
START = 20_000 * DAY
MAX_AGE = 5_000
MIN_MOVE = 0.0005

CROSSED, GAP, OUTLIER, RANGE, SILENT, WARMING = (
    DataQuality.CROSSED,
    DataQuality.GAP,
    DataQuality.OUTLIER,
    DataQuality.RANGE,
    DataQuality.SILENT,
    DataQuality.WARMING,
)
TOUCH = {"mid", "spread_bps"}
BOOK = {*TOUCH, "depth_top1_usdt"}
MINUTES = {"rv_1d", "atr_1m_14", "ret_1h", "ret_24h"}
KLINES = {*MINUTES, "atr_14", "rv_pctile_30d", "zscore_ret_1h_24h"}
DAYS = {"usdttwd_ret_d1", "usdttwd_ret_d2", "btc_ret_d1", "xmkt_signal", "rho_usdttwd_14"}


def close_of(i: int) -> float:
    """Moves of 0.1 % up and down, and a little beside: sigma is 0.001."""
    return 60_000.0 * (1.001 if i % 2 else 1.0) * (1.0 + i * i % 17 * 1e-6)


def minute(i: int, close: float | None = None) -> Bar:
    price = close_of(i) if close is None else close
    return Bar(Market.FUT, "BTCUSDT", "1m", START + i * MINUTE, price, price + 5.0, price - 5.0, price, 1.0)


class Desk:
    """A book that has all it needs, the newest bar being that of minute `self.next - 1`."""

    def __init__(self, *, minutes: int = 32 * 1440, sigmas: float = OUTLIER_SIGMAS) -> None:
        self.cross = CrossMarket(min_move=MIN_MOVE)
        self.book = FeatureBook(Market.FUT, self.cross, outlier_sigmas=sigmas)
        self.next = 0
        first_day = (START + minutes * MINUTE) // DAY - 18
        for h in range(18 * 24):
            close = 30.0 + h % 7 / 10 + h // 24 / 3
            self.cross.on_usdttwd(hour_of(first_day * DAY + h * HOUR, close))
            self.cross.on_btc(hour_of(first_day * DAY + h * HOUR, 60_000.0 + 100.0 * (h % 5) - h))
        self.live(minutes)

    def live(self, minutes: int) -> None:
        for _ in range(minutes):
            self.book.on_bar(minute(self.next))
            self.next += 1
        self.speak()

    @property
    def now(self) -> int:
        return START + self.next * MINUTE

    def speak(self, *, later_ms: int = 0, price: float = 60_000.0) -> None:
        self.book.on_depth(self.now + later_ms, price, price + 1.0, 3.0, 2.0)
        self.book.on_funding(self.now + later_ms, 0.0001, 8, self.now + 8 * HOUR)

    def look(self, later_ms: int = 0) -> FeatureSnapshot:
        return self.book.snapshot(self.now + later_ms, MAX_AGE)


def hour_of(open_time: int, close: float) -> Bar:
    return Bar(Market.SPOT, "USDTTWD", "1h", open_time, close, close, close, close, 1.0)


def flagged(snapshot: FeatureSnapshot, why: DataQuality) -> set[str]:
    return {name for name, flag in snapshot.flags.items() if flag is why}


@pytest.fixture(scope="module")
def full() -> FeatureSnapshot:
    return Desk().look()


def test_nothing_is_wrong_with_good_data(full: FeatureSnapshot) -> None:
    assert full.stale == ()
    assert full.flags == {}
    assert set(full.values) == set(FACTOR_IDS)


def test_every_stale_factor_has_its_reason() -> None:
    snapshot = FeatureBook(Market.FUT, CrossMarket(min_move=MIN_MOVE)).snapshot(START, MAX_AGE)

    assert set(snapshot.flags) == set(snapshot.stale) == set(FACTOR_IDS)
    assert flagged(snapshot, WARMING) == {"rv_pctile_30d", "zscore_ret_1h_24h"}
    assert flagged(snapshot, SILENT) == set(FACTOR_IDS) - {"rv_pctile_30d", "zscore_ret_1h_24h"}


def test_what_has_not_come_yet_is_warming() -> None:
    snapshot = Desk(minutes=70).look()

    assert flagged(snapshot, WARMING) == KLINES - {"atr_1m_14", "ret_1h"}
    assert "ret_1h" in snapshot.values


# --- a silent source, each by itself


def test_a_silent_book_is_stale_while_the_bars_go_on() -> None:
    desk = Desk(minutes=1_500)
    for _ in range(2):
        desk.book.on_bar(minute(desk.next))
        desk.next += 1

    snapshot = desk.look()

    assert flagged(snapshot, SILENT) == BOOK
    assert "ret_1h" in snapshot.values


def test_silent_depth_leaves_the_ticker_its_factors() -> None:
    desk = Desk(minutes=1_500)
    desk.book.on_ticker(desk.now + 30_000, 60_000.0, 60_001.0)

    assert flagged(desk.look(30_000), SILENT) == {"depth_top1_usdt"}


def test_silent_bars_leave_the_book_its_factors() -> None:
    desk = Desk()
    late_ms = MINUTE + KLINE_GRACE_MS
    desk.speak(later_ms=late_ms)
    assert desk.look(late_ms).stale == ()

    desk.speak(later_ms=late_ms + 1)
    snapshot = desk.look(late_ms + 1)

    assert flagged(snapshot, SILENT) == {*MINUTES, "zscore_ret_1h_24h"}
    assert set(snapshot.values) >= BOOK


def test_when_hours_are_overdue_what_is_made_of_them_is_silent_too() -> None:
    desk = Desk()
    late_ms = HOUR + KLINE_GRACE_MS + 1

    assert flagged(desk.look(late_ms), SILENT) == {*KLINES, *BOOK}


def test_a_silent_usdttwd_is_stale_by_itself() -> None:
    desk = Desk()
    for i in range(1440):
        desk.book.on_bar(minute(desk.next + i))
        if i % 60 == 59:
            desk.cross.on_btc(hour_of(desk.now + (i // 60) * HOUR, 60_000.0))
    desk.next += 1440
    desk.speak()

    snapshot = desk.look()

    assert flagged(snapshot, SILENT) == DAYS - {"usdttwd_ret_d1", "btc_ret_d1"}
    assert {"usdttwd_ret_d1", "btc_ret_d1"} <= set(snapshot.values)


def test_a_funding_that_was_not_renewed_is_silent() -> None:
    desk = Desk(minutes=1_500)
    desk.book.on_funding(desk.now, 0.0001, 8, desk.now + 1_000)

    assert "funding_next" in desk.look(1_000 + MAX_AGE).values
    assert desk.look(1_000 + MAX_AGE + 1).flags["funding_next"] is SILENT


# --- a broken book


@pytest.mark.parametrize(
    ("bid", "ask", "why"),
    [
        pytest.param(60_001.0, 60_000.0, CROSSED, id="crossed"),
        pytest.param(0.0, 60_000.0, RANGE, id="no bid"),
        pytest.param(60_000.0, float("inf"), RANGE, id="no ask"),
        pytest.param(float("nan"), 60_000.0, RANGE, id="no number"),
    ],
)
def test_a_broken_touch_is_flagged_and_the_next_sane_one_heals_it(bid: float, ask: float, why: DataQuality) -> None:
    desk = Desk(minutes=1_500)
    desk.book.on_depth(desk.now + 1, bid, ask, 1.0, 1.0)

    assert flagged(desk.look(1), why) == BOOK

    desk.speak(later_ms=2)
    assert not BOOK & set(desk.look(2).flags)


def test_a_quantity_that_cannot_be_leaves_the_prices() -> None:
    desk = Desk(minutes=1_500)
    desk.book.on_depth(desk.now + 1, 60_000.0, 60_001.0, -1.0, 1.0)

    assert flagged(desk.look(1), RANGE) == {"depth_top1_usdt"}


def test_a_spread_out_of_range_takes_the_mid_along() -> None:
    desk = Desk(minutes=1_500)
    desk.book.on_depth(desk.now + 1, 50_000.0, 60_000.0, 1.0, 1.0)

    assert flagged(desk.look(1), RANGE) == TOUCH


@pytest.mark.parametrize("rate", [0.6, float("nan"), float("inf")])
def test_a_funding_rate_that_cannot_be_is_out_of_range(rate: float) -> None:
    desk = Desk(minutes=1_500)
    desk.book.on_funding(desk.now + 1, rate, 8, desk.now + HOUR)

    assert desk.look(1).flags["funding_next"] is RANGE


# --- outliers: sigma is 0.001, so ten of them are 1 %


@pytest.mark.parametrize("sign", [1, -1])
def test_a_price_beyond_ten_sigma_of_the_last_close_is_no_price(sign: int) -> None:
    desk = Desk(minutes=1_500)
    last = close_of(desk.next - 1)

    desk.speak(later_ms=1, price=last * (1 + sign * 0.0098))
    assert not BOOK & set(desk.look(1).flags)
    desk.speak(later_ms=2, price=last * (1 + sign * 0.0102))
    assert flagged(desk.look(2), OUTLIER) == BOOK
    desk.speak(later_ms=3, price=last)
    assert not BOOK & set(desk.look(3).flags)


def test_how_many_sigmas_are_too_many_is_a_setting() -> None:
    desk = Desk(minutes=1_500, sigmas=30.0)
    desk.speak(later_ms=1, price=close_of(desk.next - 1) * 1.02)

    assert not BOOK & set(desk.look(1).flags)


def test_without_a_close_on_time_no_price_is_called_an_outlier() -> None:
    desk = Desk(minutes=1_500)
    late_ms = MINUTE + KLINE_GRACE_MS + 1
    desk.speak(later_ms=late_ms, price=70_000.0)

    assert not BOOK & set(desk.look(late_ms).flags)


def test_before_thirty_returns_nothing_is_an_outlier() -> None:
    desk = Desk(minutes=30)
    desk.speak(later_ms=1, price=90_000.0)
    assert "mid" in desk.look(1).values

    desk.live(1)
    desk.speak(later_ms=1, price=90_000.0)
    assert desk.look(1).flags["mid"] is OUTLIER


def test_after_an_hour_that_stood_still_a_small_step_is_believed() -> None:
    desk = Desk(minutes=0)
    for _ in range(120):
        desk.book.on_bar(minute(desk.next, 60_000.0))
        desk.next += 1

    desk.speak(later_ms=1, price=60_000.0 * (1 + 9 * SIGMA_MIN))
    assert "mid" in desk.look(1).values
    desk.speak(later_ms=2, price=60_000.0 * (1 + 11 * SIGMA_MIN))
    assert desk.look(2).flags["mid"] is OUTLIER


def test_an_outlying_bar_makes_everything_of_bars_stale_until_the_next_that_is_none() -> None:
    desk = Desk()
    desk.book.on_bar(minute(desk.next, close_of(desk.next) * 1.02))
    desk.next += 1
    desk.speak(price=close_of(0) * 1.02)

    assert flagged(desk.look(), OUTLIER) == KLINES, "the price itself is where the bar closed"

    desk.book.on_bar(minute(desk.next, close_of(desk.next) * 1.02))
    desk.next += 1
    desk.speak(price=close_of(0) * 1.02)
    assert desk.look().stale == ()


# --- gaps


def after_a_gap(minutes_later: int) -> FeatureSnapshot:
    desk = Desk()
    desk.next += 1
    desk.live(minutes_later)
    return desk.look()


@pytest.mark.parametrize(
    ("minutes_later", "stale"),
    [
        pytest.param(1, {"rv_1d", "atr_1m_14"}, id="the next minute"),
        pytest.param(15, {"rv_1d"}, id="after fourteen true ranges"),
        pytest.param(60, {"rv_1d", "ret_1h", "zscore_ret_1h_24h", "rv_pctile_30d"}, id="an hour after it"),
        pytest.param(61, {"rv_1d", "rv_pctile_30d", "atr_14"}, id="a minute more"),
        pytest.param(1440, {"rv_1d", "ret_24h", "rv_pctile_30d"}, id="a day after it"),
        pytest.param(1500, set(), id="when it has left the day"),
    ],
)
def test_a_missing_minute_makes_stale_what_needs_it(minutes_later: int, stale: set[str]) -> None:
    snapshot = after_a_gap(minutes_later)

    assert set(snapshot.flags) & KLINES == stale


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"high": float("nan")}, id="no high"),
        pytest.param({"low": 0.0}, id="a low of nothing"),
        pytest.param({"close": 1e9}, id="a close above the high"),
        pytest.param({"volume": -1.0}, id="a negative volume"),
        pytest.param({"open_time": START + 1_500 * MINUTE + 7}, id="a beginning within a minute"),
    ],
)
def test_a_bar_that_cannot_be_is_a_missing_one(broken: dict[str, Any]) -> None:
    desk = Desk(minutes=1_500)
    desk.book.on_bar(replace(minute(desk.next), **broken))
    desk.next += 1
    desk.live(1)

    assert {"rv_1d", "atr_1m_14"} <= flagged(desk.look(), GAP)


def test_an_hour_that_its_minutes_do_not_make_is_a_gap() -> None:
    desk = Desk(minutes=20 * 60)
    desk.next += 1
    desk.live(59 + 3)

    assert desk.look().flags["atr_14"] is GAP


def test_a_day_without_a_close_is_a_gap_and_the_newest_one_silence() -> None:
    cross = CrossMarket(min_move=MIN_MOVE)
    today = START // DAY
    for back in (20, *range(4, 19), 2, 1):
        cross.on_btc(hour_of((today - back + 1) * DAY - HOUR, 60_000.0 + back))
        if back != 1:
            cross.on_usdttwd(hour_of((today - back + 1) * DAY - HOUR, 30.0 + back / 10))

    flags = cross.at(START).flags

    assert flags == {
        "usdttwd_ret_d1": GAP,
        "usdttwd_ret_d2": SILENT,
        "btc_ret_d1": GAP,
        "xmkt_signal": GAP,
        "rho_usdttwd_14": SILENT,
    }


def test_a_correlation_with_what_stood_still_is_undefined() -> None:
    cross = CrossMarket(min_move=MIN_MOVE)
    for back in range(20, 0, -1):
        cross.on_btc(hour_of(START - back * DAY + 23 * HOUR, 60_000.0 + back % 3))
        cross.on_usdttwd(hour_of(START - back * DAY + 23 * HOUR, 30.0))

    assert cross.at(START).flags == {"rho_usdttwd_14": RANGE}


# --- what is made of another factor


def test_a_window_of_equal_samples_has_no_zscore() -> None:
    cross = CrossMarket(min_move=MIN_MOVE)
    book = FeatureBook(
        Market.FUT, cross, (derived("z", "zscore(atr_1m_14,10m)"), derived("p", "pctile(atr_1m_14,10m)"))
    )
    for i in range(40):
        book.on_bar(minute(i, 60_000.0))

    snapshot = book.snapshot(START + 40 * MINUTE, MAX_AGE)

    assert snapshot.flags["z"] is RANGE
    assert snapshot.values["p"] == 0.5


def test_a_bar_that_comes_late_is_in_time_for_its_sample() -> None:
    spec = derived("p", "pctile(ret_1h,30m)")
    in_time, late = (FeatureBook(Market.FUT, CrossMarket(min_move=MIN_MOVE), (spec,)) for _ in range(2))
    for i in range(300):
        bar = minute(i, 60_000.0 + (i * i) % 97)
        in_time.on_bar(bar)
        in_time.snapshot(bar.close_time, MAX_AGE)
        late.snapshot(bar.close_time, MAX_AGE)
        late.on_bar(bar)
        late.snapshot(bar.close_time + 20_000, MAX_AGE)
    now = START + 300 * MINUTE + 20_000

    assert late.snapshot(now, MAX_AGE) == in_time.snapshot(now, MAX_AGE)
    assert "p" in in_time.snapshot(now, MAX_AGE).values


def test_a_close_of_a_day_that_is_told_late_is_in_time_for_all_samples_of_its_day() -> None:
    spec = derived("p", "pctile(btc_ret_d1,3d)")

    def run(late_ms: int) -> FeatureSnapshot:
        cross = CrossMarket(min_move=MIN_MOVE)
        book = FeatureBook(Market.FUT, cross, (spec,))
        for day in range(9):
            midnight = START + day * DAY
            book.snapshot(midnight, MAX_AGE)
            for h in range(1, 24):
                if h * HOUR >= late_ms > (h - 1) * HOUR or (late_ms == 0 and h == 1):
                    cross.on_btc(hour_of(midnight - HOUR, 60_000.0 + 10.0 * (day * day % 5)))
                book.snapshot(midnight + h * HOUR, MAX_AGE)
        return book.snapshot(START + 8 * DAY + 23 * HOUR + 1, MAX_AGE)

    assert "p" in run(0).values
    assert run(5 * HOUR) == run(0)


def test_samples_on_file_warm_a_window_of_ticks() -> None:
    spec = derived("p", "pctile(spread_bps,10m)")
    desk = Desk(minutes=100)
    desk.book = FeatureBook(Market.FUT, desk.cross, (spec,))

    desk.book.seed_samples("spread_bps", [(desk.now - i * MINUTE, float(i)) for i in range(10, 0, -1)])
    assert desk.look().values["p"] == pytest.approx(0.05), "the newest is the smallest of ten"

    desk.book.on_depth(desk.now + 30_000, 60_000.0, 60_060.0, 1.0, 1.0)
    assert desk.book.snapshot(desk.now + MINUTE, MINUTE).values["p"] == pytest.approx(8.5 / 9)


@pytest.mark.parametrize(
    ("factor_id", "t", "says"),
    [("spread_bps", START + 1, "is within a minute"), ("rv_pctile_30d", START, "seed what it is made of")],
)
def test_samples_that_stand_for_nothing_are_refused(factor_id: str, t: int, says: str) -> None:
    book = FeatureBook(Market.FUT, CrossMarket(min_move=MIN_MOVE))

    with pytest.raises(ValueError, match=says):
        book.seed_samples(factor_id, [(t, 1.0)])


def test_on_spot_nothing_is_made_of_funding() -> None:
    book = FeatureBook(Market.SPOT, CrossMarket(min_move=MIN_MOVE), (derived("a", "abs(funding_next)"),))

    assert not {"a", "funding_next"} & set(book.snapshot(START, MAX_AGE).flags)


def test_days_that_are_read_after_the_first_look_still_become_samples() -> None:
    specs = (derived("p", "pctile(abs(btc_ret_d1),3d)"), derived("z", "zscore(p,24h)", within=(-40.0, 40.0)))
    cross = CrossMarket(min_move=MIN_MOVE)
    early, late = (FeatureBook(Market.FUT, cross, specs) for _ in range(2))
    for day in range(9):
        if day == 4:
            early.snapshot(START + 9 * DAY, MAX_AGE)
        cross.on_btc(hour_of(START + day * DAY + 23 * HOUR, 60_000.0 + 10.0 * (day * day % 5)))
    now = START + 9 * DAY + HOUR

    assert early.snapshot(now, MAX_AGE) == late.snapshot(now, MAX_AGE)
    assert {"p", "z"} <= set(late.snapshot(now, MAX_AGE).values)
