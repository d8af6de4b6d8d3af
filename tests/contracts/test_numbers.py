"""Numbers that no ledger and no estimate may hold are refused; those that they hold leave as JSON numbers."""

import json
from decimal import Decimal

import pytest
from pydantic import ValidationError

from chimera.contracts.base import Contract
from chimera.contracts.documents import Instrument, Order
from chimera.contracts.flags import LadderRung, RiskFlags, TwapBucket
from chimera.contracts.messages import FeatureEvent, SignalEvent, TickerEvent

TICKER = {"ts": 1, "market": "FUT", "symbol": "BTCUSDT", "last": 65400.1, "bid": 65400, "ask": 65400.2}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("NaN", id="NaN as text"),
        pytest.param(float("nan"), id="NaN"),
        pytest.param("Infinity", id="Infinity as text"),
        pytest.param(float("inf"), id="Infinity"),
        pytest.param(float("-inf"), id="minus Infinity"),
        pytest.param("1e999", id="beyond any float, as text"),
        pytest.param(Decimal("1e999"), id="beyond any float"),
        pytest.param(1e16, id="beyond the ledger"),
        pytest.param(True, id="a boolean"),
        pytest.param(None, id="nothing"),
        pytest.param("12,5", id="a comma"),
    ],
)
def test_an_amount_that_no_ledger_holds_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="last"):
        TickerEvent.model_validate({**TICKER, "last": value})


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_json_that_holds_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TickerEvent.model_validate_json(json.dumps(TICKER).replace("65400.1", text))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_estimate_is_finite(value: float) -> None:
    with pytest.raises(ValidationError):
        SignalEvent.model_validate(
            {
                "signal_id": "s",
                "t0": 1,
                "symbol": "B",
                "decision": {"action": "skip"},
                "config_rev": 1,
                "model_p": value,
            }
        )


@pytest.mark.parametrize("text", ["NaN", "1e999"])
def test_a_feature_is_finite(text: str) -> None:
    event = '{"ts":1,"market":"FUT","symbol":"B","features":{"atr_14":%s}}'

    assert FeatureEvent.model_validate_json(event % "1.5").features == {"atr_14": 1.5}
    with pytest.raises(ValidationError):
        FeatureEvent.model_validate_json(event % text)


def test_a_feature_keeps_its_kind() -> None:
    event = FeatureEvent.model_validate(
        {"ts": 1, "market": "FUT", "symbol": "B", "features": {"a": 1, "b": True, "c": "1", "d": 0.0}}
    )

    assert [type(value) for value in event.features.values()] == [float, bool, str, float]


@pytest.mark.parametrize("text", ["0.00000001", "65400.1", "123456.12345678", "-0.5", "999999999999999"])
def test_an_exact_amount_comes_back_exactly(text: str) -> None:
    ticker = TickerEvent.model_validate({**TICKER, "last": text})

    assert f'"last":{float(text)!r}'.replace("1e-08", "1e-8") in ticker.to_json().replace("1e-08", "1e-8")
    assert TickerEvent.model_validate_json(ticker.to_json()).last == Decimal(text)


def test_time_is_in_milliseconds() -> None:
    with pytest.raises(ValidationError, match="ts"):
        TickerEvent.model_validate({**TICKER, "ts": 1_700_000_000_000_000})


ORDER = {
    "order_id": "s3-btc-1",
    "market": "FUT",
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "MARKET",
    "status": "NEW",
    "rcu_rev": 1,
    "created_at": 1_737_421_112_999,
}


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({}, id="left out"),
        pytest.param({"created_at_sec": 5}, id="told wrongly"),
        pytest.param({"created_at_sec": "x"}, id="told as nonsense"),
    ],
)
def test_the_seconds_twin_is_always_that_of_its_source(told: dict[str, object]) -> None:
    assert Order.model_validate({**ORDER, **told}).created_at_sec == 1_737_421_112


def test_a_changed_copy_changes_its_twin_and_is_validated() -> None:
    order = Order.model_validate(ORDER)

    assert order.but(created_at=5_999).created_at_sec == 5
    with pytest.raises(ValidationError):
        order.but(status="MAYBE")


def test_absent_fields_are_left_out_but_nothing_inside_free_json_is() -> None:
    written = Order.model_validate({**ORDER, "price": None}).to_dict()

    assert "price" not in written
    assert written["created_at_sec"] == 1_737_421_112


@pytest.mark.parametrize(
    ("contract", "field", "value"),
    [
        pytest.param(TwapBucket, "min_slice_usdt", -1, id="at least 0"),
        pytest.param(LadderRung, "close_ratio", 0, id="above 0"),
        pytest.param(LadderRung, "close_ratio", "1.01", id="at most 1"),
        pytest.param(Instrument, "tickSize", 0, id="above 0, by its wire name"),
        pytest.param(RiskFlags, "daily_loss_usdt_max", -6, id="at least 0, with a default"),
    ],
)
def test_a_field_is_bounded_more_narrowly_than_the_ledger(contract: type[Contract], field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=rf"{field}\n.*(greater|less) than"):
        contract.model_validate({field: value})
