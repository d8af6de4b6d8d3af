"""Names of streams, keys, collections, metrics and ids: built in one place, and complete."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts import ids, keys, services, streams
from chimera.contracts.collections import COLLECTIONS, ORDERS, labels
from chimera.contracts.documents import Instrument, Kline, MetricPoint
from chimera.contracts.enums import Market, Purpose, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import MESSAGES
from chimera.contracts.metrics import ALERTS, METRICS, SLOS, AlertCode

FUT = InstrumentKey(Market.FUT, "BTCUSDT")
SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (streams.MKT_TICKER.name("prod", FUT), "prod:mkt:ticker:{FUT:BTCUSDT}"),
        (streams.MKT_FUNDING.name("dev", FUT), "dev:mkt:funding:{FUT:BTCUSDT}"),
        (streams.ORD_CMD.name("dev", SPOT), "dev:ord:cmd:{SPOT:BTCUSDT}"),
        (streams.ACCT_EVENTS.name("stg"), "stg:acct:events"),
        (streams.METRICS_EVENTS.name("dev", service="s3"), "dev:metrics:events:s3"),
        (streams.dlq(streams.ALERTS.name("dev")), "dev:alerts:dlq"),
    ],
)
def test_a_stream_is_named_as_the_contract_says(name: str, expected: str) -> None:
    assert name == expected


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: streams.MKT_TICKER.name("dev"),
        lambda: streams.ALERTS.name("dev", FUT),
        lambda: streams.MKT_FUNDING.name("dev", SPOT),
        lambda: streams.METRICS_EVENTS.name("dev"),
        lambda: keys.MKT_SNAP.name("dev"),
        lambda: keys.MKT_SNAP.name("dev", "BTCUSDT"),
        lambda: keys.SPOT_WAC.name("dev", FUT),
        lambda: keys.KILL_SWITCH.name("dev", "x"),
    ],
)
def test_a_name_that_is_not_whole_is_refused(wrong: Callable[[], str]) -> None:
    with pytest.raises(ValueError, match=r"wants|does not go|FUT only"):
        wrong()


def test_every_payload_travels_on_a_stream() -> None:
    assert {stream.payload for stream in streams.STREAMS.values()} == set(MESSAGES.values())


def test_writers_and_readers_are_services() -> None:
    for stream in streams.STREAMS.values():
        assert set(stream.writers) | set(stream.readers) <= set(services.IDS)


def test_core_streams_are_ten_times_as_long() -> None:
    long = {stream.pattern.split(":")[0] for stream in streams.STREAMS.values() if stream.maxlen == 1_000_000}

    assert long == {"ord", "sig", "feat"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (keys.KILL_SWITCH.name("prod"), "prod:kill_switch"),
        (keys.RISK_USAGE_FUT.name("prod"), "prod:{risk}:usage:fut_margin_usdt"),
        (keys.RISK_RESERVATIONS.name("dev"), "dev:{risk}:reservations"),
        (keys.ORD_IDEMP.name("dev", FUT, "s3-btc-1"), "dev:ord:idemp:{FUT:BTCUSDT}:s3-btc-1"),
        (keys.GUARD_STOP.name("dev", SPOT, "i"), "dev:guard:stop:{SPOT:BTCUSDT}:i"),
        (keys.CFG_BUNDLE.name("dev", 7), "dev:cfg:bundle:7"),
        (keys.LOCK_TREASURY.name("dev", "SPOT", "FUT"), "dev:lock:treasury:SPOT:FUT"),
        (keys.WALLET_FUT.name("dev"), "dev:wallet:fut:asset:USDT"),
        (keys.RATE_BUDGET.name("dev", "binance", "10.0.0.1"), "dev:rate:budget:binance:10.0.0.1"),
    ],
)
def test_a_key_is_named_as_the_contract_says(name: str, expected: str) -> None:
    assert name == expected


def test_all_that_a_reservation_touches_lies_in_one_slot() -> None:
    risk = [key.pattern for key in keys.KEYS.values() if "{risk}" in key.pattern]

    assert len(risk) == 5
    assert all(pattern.startswith("{risk}:") for pattern in risk)


def test_only_these_keys_run_out() -> None:
    assert {pattern: key.ttl_s for pattern, key in keys.KEYS.items() if key.ttl_s} == {
        "mkt:snap:INSTR": 60,
        "funding:next:{FUT:SYM}": 36_000,
        "ord:idemp:INSTR:<client_order_id>": 86_400,
        "router:rate:INSTR": 600,
        "rate:budget:<exchange>:<address>": 120,
        "lock:pos:INSTR": 30,
        "lock:treasury:<from>:<to>": 30,
        "lock:router:param": 30,
    }


def test_a_service_goes_by_its_id_or_its_group() -> None:
    assert services.service_id("s3-strategy") == services.service_id("s3") == "s3"
    assert services.group("s12") == "s12-gateway"
    with pytest.raises(ValueError, match="s3-strategy"):
        services.service_id("s13")


def test_exactly_these_collections_are_on_disk_before_anything_is_sent() -> None:
    synced = {name for name, collection in COLLECTIONS.items() if collection.synced}

    assert synced == {"intents", "orders", "config_active", "promotions", "system_state", "treasury_transfers"}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_collection_indexes_and_expires_fields_that_its_document_has(name: str) -> None:
    collection = COLLECTIONS[name]
    wire = {info.serialization_alias or field for field, info in collection.document.model_fields.items()}
    named = {field.split(".")[0] for index in collection.indexes for field in index.fields}
    named |= {collection.ttl.field} if collection.ttl else set()
    named |= {collection.retention_field} if collection.retention_field else set()

    assert named <= wire
    assert (collection.retention_days is None) == (collection.retention_field is None)
    assert collection.key_field is None or collection.key_field in wire
    assert len({index.name for index in collection.indexes}) == len(collection.indexes)


def test_the_index_table_of_the_spec_is_declared() -> None:
    by_name = {name: {index.name for index in collection.indexes} for name, collection in COLLECTIONS.items()}

    assert {"by_t0_sym", "by_rev"} <= by_name["signals"]
    assert {"by_client", "by_sym_time", "by_intent"} <= by_name["orders"]
    assert {"by_order", "by_sym_time"} <= by_name["fills"]
    assert {"by_rev", "by_status"} <= by_name["config_bundles"]
    assert {"by_time", "by_dir"} <= by_name["treasury_transfers"]
    assert {"by_open"} <= by_name["intents"]
    assert ORDERS.index("by_client").unique
    assert ORDERS.ttl is not None
    assert (ORDERS.ttl.field, ORDERS.ttl.expire_after_s) == ("created_at_sec", 400 * 86_400)
    with pytest.raises(KeyError):
        ORDERS.index("by_mood")


def test_labels_lie_by_horizon() -> None:
    assert labels(24).name == "labels_24h"


def test_ids_follow_from_what_they_name() -> None:
    signal = ids.signal_id(1_730_000_000_000, FUT)
    intent = ids.intent_id(signal, Purpose.ENTRY, 1)
    order = ids.client_order_id("s3", "BTCUSDT", 1_730_000_000_000, intent)

    assert signal == "SIG-1730000000000-FUT-BTCUSDT"
    assert intent == "SIG-1730000000000-FUT-BTCUSDT-ENTRY-1"
    assert re.fullmatch(r"s3-btc-1730000000000-[0-9a-f]{4}", order)
    assert ids.child_order_id(order, 2) == f"{order}-2"
    assert ids.fill_id(SPOT, 99, Side.SELL) == "SPOT-BTCUSDT-99-S"
    assert ids.is_ours(order, "s3")
    assert not ids.is_ours(order, "s")


@pytest.mark.parametrize("symbol", ["BTCUSDT", "1000000MOGUSDT", "1000SHIBUSDT", "BTCUSDC", "AVERYLONGSYMBOLUSDT"])
def test_an_order_name_leaves_room_for_its_children(symbol: str) -> None:
    order = ids.client_order_id("abcdef", symbol, 1_730_000_000_000, "intent")

    assert len(order) <= ids.CLIENT_ORDER_ID_LEN_MAX
    assert ids.ORDER_ID_ALPHABET.fullmatch(order)
    assert len(ids.client_order_id_of_intent("abcdef", symbol, "intent")) <= ids.CLIENT_ORDER_ID_LEN_MAX


def test_a_taken_order_name_has_another() -> None:
    first = ids.client_order_id("s3", "BTCUSDT", 1, "intent")

    assert ids.client_order_id("s3", "BTCUSDT", 1, "intent", attempt=1) != first


def test_parts_of_a_hash_do_not_run_together() -> None:
    assert ids.digest("ab", "c") != ids.digest("a", "bc")


def test_composed_document_keys() -> None:
    bar = Kline.model_validate(
        {
            **dict.fromkeys(("open", "high", "low", "close", "volume"), 1),
            "market": "FUT",
            "symbol": "BTCUSDT",
            "interval": "1m",
            "open_time": 60_000,
            "ts": 120_000,
        }
    )
    rules = Instrument.model_validate(
        {"market": "SPOT", "symbol": "BTCUSDT", "tickSize": 1, "stepSize": 1, "minNotional": 5, "status": "ENABLED"}
    )
    one = MetricPoint(metric="m", value=1, ts=1, tags={"a": "1", "b": "2"})
    other = MetricPoint(metric="m", value=1, ts=1, tags={"b": "2", "a": "1"})

    assert bar.doc_key() == "FUT-BTCUSDT-1m-60000"
    assert rules.doc_key() == "SPOT-BTCUSDT"
    assert one.doc_key() == other.doc_key()


def test_every_alert_has_a_meaning_and_a_page_and_every_slo_alarms() -> None:
    assert set(ALERTS) == set(AlertCode)
    assert AlertCode.STOP_NOT_PLACED.slug == "stop-not-placed"
    assert {slo.code for slo in SLOS} == {code for code in AlertCode if code.startswith("SLO_")}


def test_an_objective_alarms_beyond_its_alarm_limit() -> None:
    e2e = next(slo for slo in SLOS if slo.metric == "router_e2e_latency_ms")
    maker = next(slo for slo in SLOS if slo.metric == "maker_fill_ratio")

    assert (e2e.is_met(1_000), e2e.is_met(1_201)) == (True, False)
    assert (maker.is_met(0.55), maker.is_met(0.54)) == (True, False)


def test_metrics_carry_the_projects_prefix() -> None:
    assert all(re.fullmatch(r"chimera_[a-z0-9_]+", metric.prometheus_name) for metric in METRICS.values())


@given(first=st.integers(1, 2**63), second=st.integers(1, 2**63))
def test_orders_to_which_the_exchange_gives_one_name_have_each_their_own(first: int, second: int) -> None:
    name, other = (ids.told_apart("adl_autoclose", str(number)) for number in (first, second))

    assert (name == other) is (first == second)
    assert ids.is_of_the_exchange(name)
    assert ids.number_told(name) == first
    assert ids.told_apart(name, str(first)) == name
    assert ids.as_told(name, str(first)) == "adl_autoclose"
    assert (ids.as_told(name, str(second)) == name) is (first != second)


@pytest.mark.parametrize("name", ["s3-btc-e1-2", "autoclose-1723", "settlement_autoclose-7", "web_adl_autoclose"])
def test_every_other_name_is_as_the_exchange_tells_it(name: str) -> None:
    assert ids.told_apart(name, "5") == ids.as_told(name, "5") == name


def test_an_order_without_a_number_keeps_its_name() -> None:
    assert ids.told_apart("adl_autoclose", "") == "adl_autoclose"
    assert [ids.number_told(name) for name in ("adl_autoclose", "s3-btc-7", "adl_autoclose-x")] == [None, None, None]
