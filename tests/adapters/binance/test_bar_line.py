from collections.abc import Sequence

import pytest

from chimera.adapters.binance.bar_line import HELD_MAX, MINUTE_MS, BarLine
from chimera.contracts.enums import Market
from chimera.domain.market.quotes import Bar

T0 = 1_789_117_320_000


def bar(minute: int) -> Bar:
    return Bar(Market.FUT, "BTCUSDT", "1m", T0 + minute * MINUTE_MS, 1.0, 2.0, 0.5, 1.5, 3.0)


def minutes(bars: Sequence[Bar]) -> list[int]:
    return [(each.open_time - T0) // MINUTE_MS for each in bars]


@pytest.fixture
def line() -> BarLine:
    """Listening began half a minute into minute 0."""
    return BarLine(T0 + 30_000)


def test_bars_go_out_as_they_come_and_repeats_do_not(line: BarLine) -> None:
    assert [minutes(line.hear(bar(at))) for at in (0, 0, 1, 0, 1, 2)] == [[0], [], [1], [], [], [2]]


def test_the_bar_that_closed_just_before_is_welcome_once(line: BarLine) -> None:
    assert [minutes(line.hear(bar(at))) for at in (-1, -1, 0, -1)] == [[-1], [], [0], []]


def test_newer_bars_wait_for_the_missing_one(line: BarLine) -> None:
    line.hear(bar(0))

    assert minutes(line.hear(bar(2))) == []
    assert minutes(line.hear(bar(3))) == []
    assert line.missing
    assert minutes(line.fill([bar(1), bar(2), bar(3)], T0 + 4 * MINUTE_MS)) == [1, 2, 3]
    assert not line.missing
    assert line.skipped == 0


def test_a_bar_still_open_at_the_end_of_the_question_is_not_taken(line: BarLine) -> None:
    assert minutes(line.fill([bar(0), bar(1), bar(2)], T0 + 2 * MINUTE_MS)) == [0, 1]


def test_a_late_bar_comes_with_the_answer_and_again_by_the_stream(line: BarLine) -> None:
    assert minutes(line.fill([bar(0)], T0 + MINUTE_MS)) == [0]
    assert minutes(line.hear(bar(0))) == []


def test_an_answer_that_skips_a_minute_proves_that_there_is_no_bar(line: BarLine) -> None:
    line.hear(bar(0))

    assert minutes(line.fill([bar(5)], T0 + 6 * MINUTE_MS)) == [5]
    assert line.skipped == 4


def test_an_empty_answer_may_lag_and_is_believed_the_third_time(line: BarLine) -> None:
    line.hear(bar(2))

    assert [minutes(line.fill([], T0 + 3 * MINUTE_MS)) for _ in range(3)] == [[], [], [2]]
    assert line.skipped == 2


def test_an_empty_answer_about_the_next_bar_proves_nothing(line: BarLine) -> None:
    for _ in range(5):
        line.fill([], T0 + MINUTE_MS)

    assert minutes(line.hear(bar(0))) == [0]
    assert line.skipped == 0


def test_a_day_without_answers_holds_a_bounded_number(line: BarLine) -> None:
    for at in range(1, 3 * HELD_MAX):
        line.hear(bar(at))

    everything = [bar(at) for at in range(3 * HELD_MAX)]
    assert minutes(line.fill(everything, T0 + 3 * HELD_MAX * MINUTE_MS)) == list(range(3 * HELD_MAX))
