import gzip
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from chimera.adapters.binance.local_book import BadLevel, DepthSnapshot, Diff, LocalBook, Step


def diff(first: int, last: int, previous: int | None = None, *, bids: Any = (), asks: Any = ()) -> Diff:
    return Diff(first, last, previous, bids, asks)


def snapshot(last: int, bids: Any = (["99", "1"],), asks: Any = (["101", "1"],)) -> DepthSnapshot:
    return DepthSnapshot(last, bids, asks)


def book_at(last: int) -> LocalBook:
    book = LocalBook()
    assert book.snapshot(snapshot(last))
    return book


def levels(*pairs: tuple[str, str]) -> tuple[tuple[Decimal, Decimal], ...]:
    return tuple((Decimal(price), Decimal(qty)) for price, qty in pairs)


def test_levels_are_set_and_removed_by_absolute_quantity() -> None:
    book = book_at(10)

    book.diff(diff(11, 12, bids=[["98", "5"], ["99", "2"]], asks=[["101", "0"], ["102.50", "3"], ["103", "1"]]))

    assert book.bids(5) == levels(("99", "2"), ("98", "5"))
    assert book.asks(1) == levels(("102.50", "3"))


@pytest.mark.parametrize(
    ("first", "last", "previous", "step"),
    [
        pytest.param(11, 14, None, Step.APPLIED, id="spot begins right after the snapshot"),
        pytest.param(7, 14, None, Step.APPLIED, id="spot spans the snapshot"),
        pytest.param(7, 10, None, Step.STALE, id="spot ends in the snapshot"),
        pytest.param(12, 14, None, Step.GAP, id="spot begins too late"),
        pytest.param(7, 14, 6, Step.APPLIED, id="futures spans the snapshot"),
        pytest.param(13, 14, 10, Step.APPLIED, id="futures follows the snapshot, ids between touched nothing"),
        pytest.param(7, 9, 6, Step.STALE, id="futures ends before the snapshot"),
        pytest.param(14, 15, 12, Step.GAP, id="futures names one that never came"),
    ],
)
def test_the_first_difference_must_meet_the_snapshot(first: int, last: int, previous: int | None, step: Step) -> None:
    assert book_at(10).diff(diff(first, last, previous)) is step


def test_differences_wait_for_the_snapshot_and_those_it_holds_are_skipped() -> None:
    book = LocalBook()
    assert book.diff(diff(1, 5, bids=[["99", "7"]])) is Step.WAITS
    assert book.diff(diff(6, 8, bids=[["98", "3"]])) is Step.WAITS

    assert book.snapshot(snapshot(5))

    assert book.bids(5) == levels(("99", "1"), ("98", "3"))
    assert book.last_id == 8


def test_a_snapshot_older_than_what_was_heard_is_refused_and_a_newer_one_fits() -> None:
    book = LocalBook()
    book.diff(diff(20, 22, bids=[["98", "3"]]))
    book.diff(diff(23, 25, bids=[["98", "4"]]))

    assert not book.snapshot(snapshot(10))
    assert not book.ready
    assert book.wants_snapshot
    assert book.snapshot(snapshot(19))
    assert book.bids(5) == levels(("99", "1"), ("98", "4"))


def test_a_gap_loses_the_book_and_the_difference_after_it_meets_the_next_snapshot() -> None:
    book = book_at(10)

    assert book.diff(diff(15, 17, bids=[["98", "2"]])) is Step.GAP
    assert not book.ready
    assert book.diff(diff(18, 19, bids=[["97", "2"]])) is Step.WAITS
    assert book.snapshot(snapshot(16))
    assert book.bids(5) == levels(("99", "1"), ("98", "2"), ("97", "2"))


def test_a_book_is_never_crossed() -> None:
    book = book_at(10)

    assert book.diff(diff(11, 12, bids=[["101", "2"]])) is Step.CROSSED
    assert not book.ready


def test_a_crossed_snapshot_is_refused() -> None:
    assert not LocalBook().snapshot(snapshot(1, [["102", "1"]], [["101", "1"]]))


@pytest.mark.parametrize(
    "level", [["NaN", "1"], ["-1", "1"], ["0", "1"], ["98", "-1"], ["98", "inf"], ["x", "1"], ["98"], [None, "1"]]
)
def test_a_bad_level_loses_the_book(level: Any) -> None:
    book = book_at(10)

    with pytest.raises(BadLevel):
        book.diff(diff(11, 12, bids=[["98", "1"], level]))

    assert not book.ready
    with pytest.raises(BadLevel):
        book.snapshot(snapshot(20, [level]))


def test_scientific_notation_names_the_same_level() -> None:
    book = book_at(10)

    book.diff(diff(11, 12, bids=[["9.9E+1", "0"], ["98", "7E-4"]]))

    assert book.bids(5) == levels(("98", "0.0007"))


def test_another_snapshot_renews_a_book_that_is_ready() -> None:
    """The market moved beyond what the first snapshot showed; the second is a little older than the book."""
    deep = [[str(1_000 - at), "1"] for at in range(200)]
    book = LocalBook()
    book.snapshot(snapshot(10, deep, [["1001", "1"]]))
    assert not book.thin(5)
    book.diff(diff(11, 12, bids=[[price, "0"] for price, _ in deep[:196]] + [["800", "5"], ["500", "1"]]))
    book.diff(diff(13, 14, bids=[["801", "9"]]))
    assert book.thin(5)

    lower = [[str(801 - at), "2"] for at in range(200)]
    assert book.snapshot(snapshot(12, lower, [["1001", "1"]]))

    assert book.bids(3) == levels(("801", "9"), ("800", "2"), ("799", "2"))
    assert not book.thin(5)


def test_far_levels_do_not_gather_for_ever() -> None:
    book = book_at(10)

    book.diff(
        diff(
            11,
            12,
            bids=[[f"{80 - at / 1_000:.3f}", "1"] for at in range(10_000)],
            asks=[[f"{102 + at / 1_000:.3f}", "1"] for at in range(10_000)],
        )
    )

    assert book.bids(1) == levels(("99", "1"))
    assert len(book.bids(100_000)) == len(book.asks(100_000)) == 4_000


def recorded(name: str) -> Iterator[dict[str, Any]]:
    shared = os.environ.get("CHIMERA_SHARED")
    if shared is None:
        pytest.skip("CHIMERA_SHARED is not set: recorded order-book traffic is not at hand, no book was rebuilt")
    path = Path(shared) / "data" / "hftbacktest-ws-recordings" / name
    with gzip.open(path) as lines:
        for line in lines:
            yield orjson.loads(line.split(b" ", 1)[1])


@pytest.mark.parametrize(
    ("name", "compared"),
    [
        pytest.param("spot_btcusdt_20240808.gz", 3_449, id="spot"),
        pytest.param("usdm_btcusdt_20240808.gz", 6_547, id="futures"),
    ],
)
def test_recorded_traffic_rebuilds_to_the_recorded_best_prices(name: str, compared: int) -> None:
    """After every difference, the book's best prices are those of the last bookTicker up to its id."""
    messages = list(recorded(name))
    tickers = sorted(
        (data["u"], Decimal(data["b"]), Decimal(data["a"]))
        for data in (message["data"] for message in messages if message.get("stream", "").endswith("@bookTicker"))
    )
    [start] = [message for message in messages if "lastUpdateId" in message]
    book = LocalBook()
    steps = dict.fromkeys(Step, 0)
    equal = at = 0
    assert book.snapshot(DepthSnapshot(start["lastUpdateId"], start["bids"], start["asks"]))

    for message in messages:
        if "@depth" not in message.get("stream", ""):
            continue
        data = message["data"]
        step = book.diff(Diff(data["U"], data["u"], data.get("pu"), data["b"], data["a"]))
        steps[step] += 1
        if step is Step.APPLIED:
            while at + 1 < len(tickers) and tickers[at + 1][0] <= data["u"]:
                at += 1
            [[bid, _]], [[ask, _]] = book.bids(1), book.asks(1)
            equal += (bid, ask) == tickers[at][1:]

    assert steps[Step.GAP] == steps[Step.CROSSED] == 0
    assert steps[Step.APPLIED] == compared
    assert equal == compared


@pytest.mark.parametrize("name", ["spot_btcusdt_20240808.gz", "usdm_btcusdt_20240808.gz"])
def test_recorded_traffic_starts_from_its_snapshot_in_the_order_it_came(name: str) -> None:
    book = LocalBook()
    started = False

    for message in recorded(name):
        if "lastUpdateId" in message:
            started = book.snapshot(DepthSnapshot(message["lastUpdateId"], message["bids"], message["asks"]))
            assert started
        elif "@depth" in message.get("stream", ""):
            data = message["data"]
            step = book.diff(Diff(data["U"], data["u"], data.get("pu"), data["b"], data["a"]))
            assert step in ((Step.APPLIED, Step.STALE) if started else (Step.WAITS,))

    assert started
