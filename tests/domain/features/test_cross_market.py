"""The strategy's signal, from closed days only."""

import pytest

from chimera.contracts.enums import Market
from chimera.domain.features.cross_market import FACTOR_IDS, CrossMarket
from chimera.domain.features.xmkt_signal import move, xmkt_signal
from chimera.domain.market.quotes import Bar

DAY = 86_400_000
HOUR = 3_600_000
START = 20_000 * DAY


def day_of(close: float, day: int, *, symbol: str, volume: float = 1.0) -> list[Bar]:
    return [
        Bar(
            Market.SPOT,
            symbol,
            "1h",
            START + day * DAY + i * HOUR,
            close,
            close,
            close,
            close,
            volume,
        )
        for i in range(24)
    ]


def market(
    twd: tuple[float, float, float],
    btc: tuple[float, ...],
    *,
    twd_volumes: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> CrossMarket:
    """Days 0, 1 (D1), 2 (D2) of USDT/TWD; days 0, 1 of BTC. The view is asked on day 3."""
    cross = CrossMarket(min_move=0.0005)
    for day, close in enumerate(twd):
        for bar in day_of(close, day, symbol="USDTTWD", volume=twd_volumes[day]):
            cross.on_usdttwd(bar)
    for day, close in enumerate(btc):
        for bar in day_of(close, day, symbol="BTCUSDT"):
            cross.on_btc(bar)
    return cross


@pytest.mark.parametrize(
    ("twd", "btc", "signal"),
    [
        pytest.param((30.0, 30.1, 30.2), (100.0, 99.0), 1.0, id="up twice, BTC down on D1: up"),
        pytest.param(
            (30.0, 29.9, 29.8),
            (100.0, 101.0),
            -1.0,
            id="down twice, BTC up on D1: down",
        ),
        pytest.param((30.0, 30.1, 30.2), (100.0, 101.0), 0.0, id="BTC went along"),
        pytest.param((30.0, 30.1, 30.0), (100.0, 99.0), 0.0, id="the two days disagree"),
        pytest.param((30.0, 30.01, 30.2), (100.0, 99.0), 0.0, id="D1 moved less than min_move"),
        pytest.param((30.0, 30.1, 30.11), (100.0, 99.0), 0.0, id="D2 moved less than min_move"),
        pytest.param((30.0, 30.1, 30.2), (100.0, 99.99), 0.0, id="BTC moved less than min_move"),
    ],
)
def test_the_signal_is_the_direction_of_usdttwd_where_btc_went_the_other_way(
    twd: tuple[float, float, float], btc: tuple[float, float], signal: float
) -> None:
    assert market(twd, btc).at(START + 3 * DAY).values["xmkt_signal"] == signal


def test_a_day_without_volume_is_no_move() -> None:
    cross = market((30.0, 30.1, 30.2), (100.0, 99.0), twd_volumes=(1.0, 0.0, 1.0))

    assert cross.at(START + 3 * DAY).values["xmkt_signal"] == 0.0


def test_the_view_stays_for_its_day_and_needs_the_next_close_after_midnight() -> None:
    cross = market((30.0, 30.1, 30.2), (100.0, 99.0))

    assert cross.at(START + 3 * DAY) is cross.at(START + 4 * DAY - 1)
    assert cross.at(START + 4 * DAY).stale == (
        "usdttwd_ret_d2",
        "btc_ret_d1",
        "xmkt_signal",
        "rho_usdttwd_14",
    )


def test_a_day_whose_last_hour_never_came_is_not_closed() -> None:
    cross = CrossMarket(min_move=0.0005)
    for day, close in enumerate((30.0, 30.1, 30.2)):
        for bar in day_of(close, day, symbol="USDTTWD")[: 23 if day == 2 else 24]:
            cross.on_usdttwd(bar)

    view = cross.at(START + 3 * DAY)

    assert "usdttwd_ret_d1" in view.values
    assert "usdttwd_ret_d2" in view.stale
    assert "xmkt_signal" in view.stale


def test_without_usdttwd_the_signal_is_stale() -> None:
    cross = market((30.0, 30.1, 30.2), (100.0, 99.0))
    silent = CrossMarket(min_move=0.0005)

    assert silent.at(START + 3 * DAY).stale == FACTOR_IDS
    assert cross.at(START + 3 * DAY).stale == ("rho_usdttwd_14",), "a fortnight is not in yet"


def test_a_new_min_move_is_used_at_once() -> None:
    cross = market((30.0, 30.1, 30.2), (100.0, 99.0))
    assert cross.at(START + 3 * DAY).values["xmkt_signal"] == 1.0

    cross.set_min_move(0.05)

    assert cross.at(START + 3 * DAY).values["xmkt_signal"] == 0.0


@pytest.mark.parametrize("twd_d1", [-1, 0, 1])
@pytest.mark.parametrize("twd_d2", [-1, 0, 1])
@pytest.mark.parametrize("btc_d1", [-1, 0, 1])
def test_the_truth_table_of_the_signal(twd_d1: int, twd_d2: int, btc_d1: int) -> None:
    wanted = {(1, 1, -1): 1, (-1, -1, 1): -1}.get((twd_d1, twd_d2, btc_d1), 0)

    assert xmkt_signal(twd_d1, twd_d2, btc_d1) == wanted


def test_a_move_of_exactly_min_move_counts() -> None:
    assert move(0.0005, 1.0, 0.0005) == 1
    assert move(-0.0005, 1.0, 0.0005) == -1
    assert move(0.0004999, 1.0, 0.0005) == 0


def test_days_read_once_more_bring_what_was_missed_and_take_nothing_away() -> None:
    """Live, the bar that ends day 1 was lost; the reading has it, and begins later than what was lived through."""
    lived, read = market((30.0, 30.1, 30.2), (100.0,)), CrossMarket(min_move=0.0)
    for bar in day_of(99.0, 1, symbol="BTCUSDT")[:-1]:
        lived.on_btc(bar)
    now_ms = START + 3 * DAY
    assert "btc_ret_d1" in lived.at(now_ms).flags
    before = lived.version

    for bar in day_of(99.0, 1, symbol="BTCUSDT"):
        read.on_btc(bar)
    lived.absorb_btc(read)

    assert lived.version > before
    assert lived.at(now_ms).values == market((30.0, 30.1, 30.2), (100.0, 99.0)).at(now_ms).values
    # A bar that is in already counts once, and the next day goes on from there.
    for bar in (*day_of(99.0, 1, symbol="BTCUSDT"), *day_of(98.0, 2, symbol="BTCUSDT")):
        lived.on_btc(bar)
    whole = market((30.0, 30.1, 30.2), (100.0, 99.0, 98.0))
    assert lived.at(now_ms + DAY).flags == whole.at(now_ms + DAY).flags
    assert lived.at(now_ms + DAY).values == whole.at(now_ms + DAY).values
