"""The three spellings of `POST /orders` become one intent; what is no order is refused by name."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from chimera.contracts.enums import Intent, Market, OrderType, Purpose, Routing, Side
from chimera.contracts.http import OrderIntentError, parse_order_intent
from chimera.contracts.http.order_spellings import ROWS
from chimera.contracts.order_intent import OrderIntent
from tests.contracts.strategies import JSON, instances

NOW_MS = 1_737_421_112_000

# 000 section J, verbatim.
FUT_SAMPLE = """{"intent_id":"uuid-1","market":"FUT","symbol":"BTCUSDT","side":"BUY","qty":0.002,
       "exec_policy":{"maker_wait_ms":2000,"twap":{"slices":2,"gap_ms":600}},
       "sl":{"type":"STOP_MARKET","price":64800}, "client_order_id":"s3-btc-16900001"}"""
SPOT_SAMPLE = """{"intent_id":"uuid-2","market":"SPOT","symbol":"BTCUSDT","side":"BUY","qty":0.003,
       "exec_policy":{"type":"OCO","tp_price":67000,"sl_price":64500},
       "client_order_id":"s3-btc-16900002"}"""

# 000 D1, the FUT body with its target.
FUT_D1 = {
    **json.loads(FUT_SAMPLE),
    "tp": {"type": "TAKE_PROFIT_MARKET", "target": "net_profit_usdt", "value": 2.0},
    "reduce_only": False,
}

# The same order in the other two spellings.
FUT_003 = {
    "intent_id": "uuid-1",
    "market": "FUT",
    "symbol": "BTCUSDT",
    "side": "BUY",
    "qty": 0.002,
    "exec_policy": {"maker_then_taker": {"wait_ms": 2000}, "twap": {"slices": 2, "gap_ms": 600}},
    "reduce_only": False,
    "post_fill_actions": {
        "stop_loss": {"type": "STOP_MARKET", "price": 64800},
        "take_profit": {"type": "TAKE_PROFIT_MARKET", "target": "net_profit_usdt", "value": 2},
    },
    "client_order_id": "s3-btc-16900001",
}
FUT_CMD = {
    "cmd_id": "uuid-1",
    "ts": NOW_MS - 7,
    "market": "FUT",
    "symbol": "BTCUSDT",
    "clientOrderId": "s3-btc-16900001",
    "side": "BUY",
    "intent": "ENTRY",
    "quantity": 0.002,
    "quote_qty": None,
    "type": "MARKET",
    "price": None,
    "exec_policy": {"routing": "AUTO", "maker_try_ms": 2000, "twap": {"enabled": True, "slices": 2, "gap_ms": 600}},
    "risk": {"approval_token": None},
    "purpose": "ENTRY",
    "reduce_only": False,
    "sl": {"type": "STOP_MARKET", "price": 64800},
    "tp": {"type": "TAKE_PROFIT_MARKET", "target": "net_profit_usdt", "value": 2.0},
}


def parse(body: dict[str, Any]) -> OrderIntent:
    return parse_order_intent(body, NOW_MS)


def test_the_fut_sample_of_the_seeds_is_accepted_as_it_stands() -> None:
    intent = parse(json.loads(FUT_SAMPLE))

    assert (intent.intent_id, intent.client_order_id) == ("uuid-1", "s3-btc-16900001")
    assert (intent.market, intent.symbol, intent.side) == (Market.FUT, "BTCUSDT", Side.BUY)
    assert (intent.intent, intent.purpose, intent.type) == (Intent.ENTRY, Purpose.ENTRY, OrderType.MARKET)
    assert (intent.qty, intent.reduce_only, intent.ts, intent.expires_at) == (
        Decimal("0.002"),
        False,
        NOW_MS,
        NOW_MS + 5_000,
    )
    assert intent.sl is not None
    assert (intent.sl.type, intent.sl.price) == (OrderType.STOP_MARKET, Decimal(64800))
    assert intent.exec_policy.routing is Routing.AUTO
    assert intent.exec_policy.maker_wait_ms == 2000
    assert intent.exec_policy.twap is not None
    assert intent.exec_policy.twap.to_dict() == {"enabled": True, "slices": 2, "gap_ms": 600}


def test_the_spot_sample_of_the_seeds_is_accepted_as_it_stands() -> None:
    intent = parse(json.loads(SPOT_SAMPLE))

    assert (intent.market, intent.qty, intent.type) == (Market.SPOT, Decimal("0.003"), OrderType.MARKET)
    assert intent.exec_policy.oco is not None
    assert intent.exec_policy.oco.to_dict() == {"enabled": True, "tp": 67000.0, "sl": 64500.0}
    assert intent.exec_policy.routing is Routing.AUTO


@pytest.mark.parametrize(
    "body", [pytest.param(FUT_003, id="003 2.2"), pytest.param(FUT_CMD, id="OrderCmd of the stream")]
)
def test_the_same_order_in_another_spelling_is_the_same_intent(body: dict[str, Any]) -> None:
    assert parse(body).body_hash() == parse(FUT_D1).body_hash()


@pytest.mark.parametrize(
    "oco",
    [
        pytest.param({"exec_policy": {"type": "OCO", "tp_price": 67000, "sl_price": 64500}}, id="000 D1"),
        pytest.param({"exec_policy": {"oco": {"tp_px": 67000, "sl_px": 64500}}}, id="003, in the policy"),
        pytest.param({"oco": {"tp_px": 67000, "sl_px": "64500"}}, id="003, bare"),
        pytest.param(
            {"exec_policy": {"routing": "AUTO", "oco": {"enabled": True, "tp": 67000, "sl": 64500}}}, id="cmd"
        ),
    ],
)
def test_an_oco_is_told_in_each_spelling(oco: dict[str, Any]) -> None:
    body = {**json.loads(SPOT_SAMPLE), "exec_policy": None, **oco}

    assert parse(body).body_hash() == parse(json.loads(SPOT_SAMPLE)).body_hash()


@pytest.mark.parametrize(
    ("told", "routing"),
    [
        pytest.param("MakerThenTaker", Routing.AUTO, id="001's word"),
        pytest.param("DIRECT_TAKER", Routing.DIRECT_TAKER, id="a routing as a word"),
        pytest.param({"routing": "MAKER_ONLY"}, Routing.MAKER_ONLY, id="a routing in the object"),
        pytest.param({"type": "MakerThenTaker"}, Routing.AUTO, id="001's word as type"),
        pytest.param(None, Routing.AUTO, id="nothing"),
    ],
)
def test_the_execution_policy_may_be_a_word(told: object, routing: Routing) -> None:
    body = {**json.loads(FUT_SAMPLE), "exec_policy": told}

    assert parse(body).exec_policy.routing is routing


@pytest.mark.parametrize(
    ("told", "intent", "purpose"),
    [
        pytest.param({}, Intent.ENTRY, Purpose.ENTRY, id="nothing is an entry"),
        pytest.param({"reduce_only": True}, Intent.EXIT, Purpose.EXIT, id="reduce only is an exit"),
        pytest.param(
            {"reduce_only": True, "type": "STOP_MARKET", "price": 64800}, Intent.EXIT, Purpose.SL, id="a stop"
        ),
        pytest.param(
            {"intent": "EXIT", "type": "TAKE_PROFIT_MARKET", "price": 67000}, Intent.EXIT, Purpose.TP, id="a target"
        ),
        pytest.param({"intent": "ADD"}, Intent.ADD, Purpose.ADD, id="an add"),
        pytest.param({"purpose": "GUARD"}, Intent.EXIT, Purpose.GUARD, id="a guard leaves"),
        pytest.param({"intent": "EXIT", "purpose": "SL"}, Intent.EXIT, Purpose.SL, id="both told"),
    ],
)
def test_intent_and_purpose_follow_from_what_is_told(told: dict[str, Any], intent: Intent, purpose: Purpose) -> None:
    parsed = parse({**json.loads(FUT_SAMPLE), **told})

    assert (parsed.intent, parsed.purpose) == (intent, purpose)
    assert parsed.reduce_only is not purpose.is_new_entry
    assert (parsed.expires_at is None) is not purpose.is_new_entry


def test_a_body_wrapped_as_intent_is_unwrapped() -> None:
    assert parse({"intent": json.loads(FUT_SAMPLE)}) == parse(json.loads(FUT_SAMPLE))


def test_an_order_without_a_name_gets_one_from_its_intent() -> None:
    body = {**json.loads(FUT_SAMPLE), "client_order_id": None}

    first, again = parse(body), parse_order_intent(body, NOW_MS + 1_000)

    assert first.client_order_id == again.client_order_id
    assert first.client_order_id.startswith("s3-btc-")
    assert first.body_hash() == again.body_hash()


@pytest.mark.parametrize(
    ("told", "field", "remedy"),
    [
        pytest.param({"intent_id": None}, "intent_id", "name", id="no intent_id"),
        pytest.param({"market": "PERP"}, "market", "FUT, SPOT", id="a market nobody knows"),
        pytest.param({"market": None}, "market", "FUT or SPOT", id="no market"),
        pytest.param({"symbol": "btcusdt"}, "symbol", "BTCUSDT", id="a symbol in small letters"),
        pytest.param({"side": "LONG"}, "side", "BUY, SELL", id="a side by another word"),
        pytest.param({"qty": None}, "qty", "base asset", id="no quantity"),
        pytest.param({"qty": 0}, "qty", "above 0", id="zero"),
        pytest.param({"qty": -1}, "qty", "above 0", id="less than zero"),
        pytest.param({"qty": float("nan")}, "qty", "finite", id="NaN"),
        pytest.param({"qty": "Infinity"}, "qty", "finite", id="Infinity"),
        pytest.param({"qty": "1e999"}, "qty", "finite", id="1e999"),
        pytest.param({"qty": True}, "qty", "number", id="a boolean"),
        pytest.param({"qty": "a lot"}, "qty", "number", id="words"),
        pytest.param({"qty": 1, "quantity": 2}, "quantity", "once", id="told twice, otherwise"),
        pytest.param({"type": "LIMIT"}, "price", "limit order", id="a limit without price"),
        pytest.param({"type": "STOP_MARKET"}, "price", "triggers", id="a stop without trigger"),
        pytest.param({"type": "ICEBERG"}, "type", "MARKET", id="a type nobody knows"),
        pytest.param({"reduce_only": "yes"}, "reduce_only", "true or false", id="a word for a boolean"),
        pytest.param({"sl": 64800}, "sl", "object", id="a stop that would be lost"),
        pytest.param({"sl": {"price": 0}}, "sl.price", "above 0", id="a stop at zero"),
        pytest.param({"tp": {"target": "gross"}}, "tp.target", "net_profit_usdt", id="a target nobody knows"),
        pytest.param({"tp": {"target": "net_profit_usdt"}}, "tp.value", "USDT", id="a target without value"),
        pytest.param({"exec_policy": "Fast"}, "exec_policy", "MakerThenTaker", id="a policy nobody knows"),
        pytest.param({"exec_policy": {"type": "Fast"}}, "exec_policy.type", "OCO", id="a type of policy nobody knows"),
        pytest.param({"exec_policy": {"maker_wait_ms": 1.5}}, "exec_policy.maker_wait_ms", "whole", id="half a ms"),
        pytest.param({"exec_policy": {"twap": {"slices": 0}}}, "exec_policy.twap.slices", "1 to", id="no slices"),
        pytest.param(
            {"exec_policy": {"need_fill_ratio": 2}}, "exec_policy.need_fill_ratio", "0 to 1", id="two hundred %"
        ),
        pytest.param({"client_order_id": "x" * 33}, "client_order_id", "32", id="a name too long for children"),
        pytest.param({"client_order_id": "a b"}, "client_order_id", "characters", id="a name with a blank"),
        pytest.param({"purpose": "SL", "intent": "ENTRY"}, "purpose", "ENTRY", id="a stop that enters"),
        pytest.param({"oco": {"tp": 2, "sl": 1}}, "market", "SPOT", id="an OCO on FUT"),
        pytest.param({"market": "SPOT", "oco": {"tp": 2}}, "exec_policy.oco.sl", "both", id="an OCO with one leg"),
        pytest.param(
            {"sl": None, "guard_stop": {"enable": True}}, "guard_stop.price", "sells", id="a guard of nothing"
        ),
        pytest.param({"redcue_only": True}, "redcue_only", "reduce_only is one", id="a misspelt field"),
        pytest.param({"sl": {"pirce": 1}}, "sl.pirce", "sl.price is one", id="a misspelt field of the stop"),
        pytest.param({"x": 1}, "x", "no such field. ", id="a field that resembles none"),
        pytest.param({"stop": 1}, "stop", "no such field. ", id="a stop is not taken for a target"),
    ],
)
def test_what_is_no_order_is_refused_by_field_value_and_remedy(told: dict[str, Any], field: str, remedy: str) -> None:
    body = {**json.loads(FUT_SAMPLE), **told}

    with pytest.raises(OrderIntentError) as caught:
        parse(body)

    problems = {problem.field: problem for problem in caught.value.problems}
    assert field in problems
    assert remedy in problems[field].remedy
    assert field in str(caught.value)
    json.dumps([problem.to_dict() for problem in caught.value.problems], allow_nan=False)


@given(instances(OrderIntent))
def test_an_intent_as_it_is_told_has_no_field_that_is_nobodys(value: OrderIntent) -> None:
    try:
        parse(value.to_dict() | {"tp_px": 1, "sl_px": 1})
    except OrderIntentError as refused:
        problems = refused.problems
    else:
        problems = ()
    assert [problem.field for problem in problems if "no such field" in problem.remedy] == []


def test_all_that_is_amiss_is_told_at_once() -> None:
    with pytest.raises(OrderIntentError) as caught:
        parse({})

    assert [problem.field for problem in caught.value.problems] == ["intent_id", "market", "symbol", "side", "qty"]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted({name.split(".")[0] for row in ROWS for name in row.names})), JSON))
def test_any_json_is_an_order_or_is_refused_by_name(body: dict[str, Any]) -> None:
    try:
        parsed = parse(body)
    except OrderIntentError as refused:
        named = refused.problems
    else:
        named = ()
        assert OrderIntent.model_validate_json(parsed.to_json()) == parsed
    event("refused" if named else "accepted")


@settings(max_examples=100, deadline=None)
@given(instances(OrderIntent))
def test_an_intent_and_its_command_are_the_same_intent(value: OrderIntent) -> None:
    usual = value.but(expires_at=value.expires_at if value.expires_at is not None else 1)

    back = OrderIntent.from_cmd(usual.to_cmd())

    assert back == usual
    assert back.body_hash() == usual.body_hash()


@pytest.mark.parametrize(
    ("change", "same"),
    [
        pytest.param({"ts": 1}, True, id="when it was told"),
        pytest.param({"expires_at": 1}, True, id="when it expires"),
        pytest.param({"risk": {"approval_token": "t"}}, True, id="the token"),
        pytest.param({"qty": "0.0020"}, True, id="the same quantity with another zero"),
        pytest.param({"qty": "0.003"}, False, id="the quantity"),
        pytest.param({"side": "SELL"}, False, id="the side"),
        pytest.param({"sl": {"price": 1}}, False, id="the stop"),
        pytest.param({"risk": {"rcu_rev": 2}}, True, id="the revision"),
    ],
)
def test_two_tellings_are_the_same_intent_when_only_the_telling_differs(change: dict[str, Any], same: bool) -> None:
    first = parse(json.loads(FUT_SAMPLE))

    assert (first.but(**change).body_hash() == first.body_hash()) is same


def test_an_old_command_gets_what_its_writer_left_out() -> None:
    body = {key: value for key, value in FUT_CMD.items() if key not in ("purpose", "reduce_only")}

    assert parse(body).body_hash() == parse(FUT_CMD).body_hash()
