"""The words of a comparison, and what of a trade's stops was somebody else's doing."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.documents import Order
from chimera.contracts.enums import Market, OrderStatus, OrderType, Purpose, Side
from chimera.domain.reconcile.fixes import (
    Fix,
    close_by_exchange,
    restriction,
    sentence_of,
    stops_somebody_canceled,
)


def stop(name: str, created_at: int, ended_at: int | None = None, **more: Any) -> Order:
    given = {
        "order_id": name,
        "client_order_id": name,
        "market": Market.FUT,
        "symbol": "BTCUSDT",
        "side": Side.SELL,
        "type": OrderType.STOP_MARKET,
        "quantity": Decimal("0.01"),
        "stop_price": Decimal(59_000),
        "status": OrderStatus.NEW if ended_at is None else OrderStatus.CANCELED,
        "rcu_rev": 1,
        "created_at": created_at,
        "updated_at": ended_at or created_at,
        "purpose": Purpose.SL,
        "venue_algo_id": f"9{created_at}",
    }
    return Order(**(given | more))


def lost(*stops: Order, asked: tuple[str, ...] = (), ended_at: int | None = None) -> list[tuple[str, str | None]]:
    found = stops_somebody_canceled(stops, frozenset(asked), ended_at)
    return [(each.stop.order_id, each.successor.order_id if each.successor else None) for each in found]


def test_a_stop_that_went_before_its_successor_was_listed_was_canceled_by_somebody() -> None:
    assert lost(stop("a", 100, 500), stop("b", 501)) == [("a", "b")]
    assert lost(stop("a", 100, 500)) == [("a", None)]


def test_a_stop_that_another_had_relieved_was_ours_to_cancel() -> None:
    assert lost(stop("a", 100, 500), stop("b", 450)) == []
    assert lost(stop("a", 100, 500), stop("b", 450, 900), stop("c", 850)) == []


def test_a_stop_that_was_asked_to_go_or_that_outlived_its_trade_is_not_somebody_elses_doing() -> None:
    assert lost(stop("a", 100, 500), asked=("a",)) == []
    assert lost(stop("a", 100, 500), ended_at=499) == []


def test_of_two_stops_of_one_instant_the_alike_one_came_after() -> None:
    assert lost(stop("a", 100, 500), stop("b", 500)) == [("a", "b")]
    assert lost(stop("a", 100, 500), stop("b", 500, stop_price=Decimal(59_500))) == []


def test_a_stop_that_was_never_listed_relieves_nobody() -> None:
    assert lost(stop("a", 100, 500), stop("b", 450, 480, venue_algo_id=None)) == [("a", None)]


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), min_size=1, max_size=8))
def test_replacing_the_new_one_first_is_never_taken_for_somebody_elses_doing(steps: list[tuple[int, int]]) -> None:
    """Each next stop is placed some time before the last one is canceled."""
    stops, now = [], 1_000
    for number, (rest_ms, overlap_ms) in enumerate(steps):
        ended_at = now + rest_ms + overlap_ms if number < len(steps) - 1 else None
        stops.append(stop(f"s{number}", now, ended_at))
        now += rest_ms

    assert lost(*stops) == []


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("autoclose-1723", Fix.LIQUIDATED),
        ("adl_autoclose", Fix.DELEVERAGED),
        ("settlement_autoclose-77", Fix.SETTLED),
        ("s3-btc-1", None),
        ("web_autoclose-1", None),
    ],
)
def test_an_order_of_the_exchange_itself_is_known_by_its_name(name: str, fix: Fix | None) -> None:
    assert close_by_exchange(name) is fix


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("-4192 Trade forbidden due to Cooling-off Period.", Fix.COOLING_OFF),
        ("-4400 Futures Trading Quantitative Rules violated, only reduceOnly order is allowed", Fix.REDUCE_ONLY_MODE),
        ("-2019 Margin is insufficient.", None),
        ("", None),
        (None, None),
    ],
)
def test_a_refusal_that_speaks_of_the_account_is_known_by_its_code(reason: str | None, fix: Fix | None) -> None:
    assert restriction(reason) is fix


def test_every_fix_has_a_sentence_of_its_own_that_names_its_subject() -> None:
    sentences = [sentence_of(fix, "this-one") for fix in Fix]

    assert all("this-one" in sentence for sentence in sentences)
    assert len(set(sentences)) == len(sentences)
