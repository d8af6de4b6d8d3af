"""An intent's life is told whole, in its order, from what is on file."""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.documents import Execution, Fill, IntentRecord, Note, Order, WorkSlice
from chimera.contracts.enums import ExecStyle, IntentState, Market, OrderStatus, OrderType, Purpose, Side
from chimera.contracts.http import parse_order_intent
from chimera.contracts.http.orders import TIMELINE_WORDS
from chimera.domain.execution.timeline import timeline_of

D = Decimal
BODY = {
    "intent_id": "I1",
    "client_order_id": "s3-btc-1",
    "market": "FUT",
    "symbol": "BTCUSDT",
    "side": "BUY",
    "intent": "ENTRY",
    "qty": 0.02,
    "sl": {"price": 59_600},
    "signal_id": "SIG-1",
    "risk": {"rcu_rev": 4},
}


def record(
    state: IntentState = IntentState.DONE, *, updated_at: int = 900, notes: tuple[Note, ...] = ()
) -> IntentRecord:
    return IntentRecord(
        intent_id="I1",
        state=state,
        intent=parse_order_intent(BODY, 100, "s3"),
        body_hash="h",
        market=Market.FUT,
        symbol="BTCUSDT",
        purpose=Purpose.ENTRY,
        order_ids=("o0",),
        filled_qty=D("0.02"),
        avg_price=D(60_000),
        execution=Execution(
            style=ExecStyle.MAKER,
            why="a maker saves 1.2 bps",
            slices=(WorkSlice(number=0, qty=D("0.02"), due_at=110),),
            notes=notes,
        ),
        created_at=100,
        updated_at=updated_at,
    )


def order(name: str, purpose: Purpose, status: OrderStatus, **more: Any) -> Order:
    fields: dict[str, Any] = {
        "order_id": name,
        "market": Market.FUT,
        "symbol": "BTCUSDT",
        "side": Side.BUY if purpose is Purpose.ENTRY else Side.SELL,
        "type": OrderType.MARKET,
        "status": status,
        "quantity": D("0.02"),
        "rcu_rev": 4,
        "created_at": 120,
        "purpose": purpose,
    }
    return Order(**fields | more)


def fill(name: str, ts: int, qty: str = "0.02") -> Fill:
    return Fill(
        fill_id=f"FUT-BTCUSDT-{ts}-B",
        order_id=name,
        market=Market.FUT,
        symbol="BTCUSDT",
        price=D(60_000),
        qty=D(qty),
        fee_usdt=D("0.5"),
        slippage_bps=-0.2,
        maker=True,
        timestamp=ts,
    )


def test_a_life_from_acceptance_to_the_stop_that_rests_on() -> None:
    entry = order("o0", Purpose.ENTRY, OrderStatus.FILLED, sent_at=130, updated_at=300, venue_order_id="77")
    stop = order(
        "o1",
        Purpose.SL,
        OrderStatus.NEW,
        type=OrderType.STOP_MARKET,
        stop_price=D(59_600),
        created_at=310,
        sent_at=310,
        updated_at=420,
        venue_algo_id="78",
    )
    target = order(
        "o2",
        Purpose.TP,
        OrderStatus.CANCELED,
        type=OrderType.TAKE_PROFIT_MARKET,
        stop_price=D(61_000),
        created_at=312,
        sent_at=312,
        updated_at=2_000,
        reason="FLAT",
    )
    notes = (
        Note(ts=110, what="PLANNED", detail={"style": "MAKER"}),
        Note(ts=115, what="DELAYED", detail={"why": "thin"}),
    )

    told = timeline_of(record(notes=notes), [entry, stop, target], [fill("o0", 290)])

    assert [(each.ts, each.what, each.order_id) for each in told] == [
        (100, "ACCEPTED", None),
        (110, "PLANNED", None),
        (115, "SLICE_DELAYED", None),
        (120, "ORDER_FILED", "o0"),
        (130, "ORDER_SENT", "o0"),
        (290, "ORDER_FILLED", "o0"),
        (310, "ORDER_FILED", "o1"),
        (310, "ORDER_SENT", "o1"),
        (312, "ORDER_FILED", "o2"),
        (312, "ORDER_SENT", "o2"),
        (420, "STOP_PLACED", "o1"),
        (900, "ENDED", None),
        (2_000, "ORDER_CANCELED", "o2"),
    ]
    accepted, planned = told[0].detail, told[1].detail
    assert (accepted["qty"], accepted["stop_price"], accepted["config_rev"]) == (0.02, 59_600.0, 4)
    assert planned == {"style": "MAKER", "slices": 1, "why": "a maker saves 1.2 bps"}
    assert told[5].detail == {
        "qty": 0.02,
        "price": 60_000.0,
        "slippage_bps": -0.2,
        "fee_usdt": 0.5,
        "liquidity": "maker",
    }
    assert told[-1].detail == {"of_qty": 0.02, "reason": "FLAT"}


def test_a_refusal_is_told_in_the_exchanges_words_and_ends_it() -> None:
    refused = order("o0", Purpose.ENTRY, OrderStatus.REJECTED, sent_at=130, updated_at=150, reason="-2019 margin")

    told = timeline_of(record(IntentState.REJECTED, updated_at=160).but(reason="-2019 margin"), [refused], [])

    assert [(each.what, each.detail.get("reason")) for each in told[-2:]] == [
        ("ORDER_REFUSED", "-2019 margin"),
        ("ENDED", "-2019 margin"),
    ]


def test_an_intent_that_goes_on_has_no_end_and_an_old_one_no_plan() -> None:
    going = timeline_of(record(IntentState.WORKING), [], [])
    old = timeline_of(record().but(execution=None), [], [])

    assert [each.what for each in going] == ["ACCEPTED"]
    assert [each.what for each in old] == ["ACCEPTED", "ENDED"]


_MS = st.integers(100, 10_000)


@given(
    fills=st.lists(st.tuples(_MS, st.integers(1, 50)), max_size=8, unique_by=lambda each: each[0]),
    orders=st.lists(
        st.tuples(st.sampled_from(list(Purpose)), st.sampled_from(list(OrderStatus)), _MS, st.none() | _MS), max_size=6
    ),
    state=st.sampled_from(list(IntentState)),
    ended_at=_MS,
)
def test_whatever_happened_time_goes_forward_nothing_is_lost_and_every_word_is_known(
    fills: list[tuple[int, int]],
    orders: list[tuple[Purpose, OrderStatus, int, int | None]],
    state: IntentState,
    ended_at: int,
) -> None:
    filed = [
        order(f"o{n}", purpose, status, created_at=at, sent_at=sent, venue_order_id="1" if sent else None)
        for n, (purpose, status, at, sent) in enumerate(orders)
    ]

    told = timeline_of(record(state, updated_at=ended_at), filed, [fill("o0", ts, str(qty)) for ts, qty in fills])

    assert [each.ts for each in told] == sorted(each.ts for each in told)
    assert {each.what for each in told} <= set(TIMELINE_WORDS)
    words = [each.what for each in told]
    assert words.count("ORDER_FILED") == len(orders)
    assert words.count("ORDER_SENT") == sum(sent is not None for *_, sent in orders)
    assert words.count("ENDED") == state.is_final
    assert sum(each.detail["qty"] for each in told if each.what == "ORDER_FILLED") == sum(qty for _, qty in fills)
