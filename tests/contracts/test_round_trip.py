"""Whatever a contract can hold is written so that its own schema, the spec's schema and a reader of ours accept it."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from chimera.contracts.base import Contract, Document, Message
from chimera.contracts.collections import COLLECTIONS
from chimera.contracts.documents import SYSTEM_STATES, LeaseState, SystemState, system_state_type
from chimera.contracts.envelope import VERSION, BadPayload, UnknownType, decode, encode, seq_of
from chimera.contracts.export import export
from chimera.contracts.flags import Flags
from chimera.contracts.messages import MESSAGES, TickerEvent
from tests.contracts import spec
from tests.contracts.strategies import instances

FILES = export()

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))

DOCUMENTS: list[tuple[str, type[Contract]]] = [
    *(
        (name, collection.document)
        for name, collection in COLLECTIONS.items()
        if collection.document is not SystemState
    ),
    *(("system_state", state) for state in (*SYSTEM_STATES.values(), LeaseState)),
    ("config_flags", Flags),
]

CASES: list[tuple[str, type[Contract]]] = [
    *((f"documents/{name}", document) for name, document in DOCUMENTS),
    *((f"events/{name}", message) for name, message in MESSAGES.items()),
]


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema)


@pytest.mark.parametrize(("name", "contract"), CASES, ids=lambda case: getattr(case, "__name__", case))
def test_what_we_write_obeys_our_own_schema_and_reads_back_the_same(name: str, contract: type[Contract]) -> None:
    ours = validator(json.loads(FILES[f"{name}.json"]))

    @FEW
    @given(instances(contract))
    def holds(value: Contract) -> None:
        written = json.loads(value.to_json())
        ours.validate(written)
        assert written == value.to_dict()
        assert contract.model_validate_json(value.to_json()) == value

    holds()


@pytest.mark.parametrize(
    ("name", "contract"),
    [case for case in CASES if case[0] in spec.NAMES],
    ids=lambda case: getattr(case, "__name__", case),
)
def test_what_we_write_obeys_the_spec(name: str, contract: type[Contract]) -> None:
    theirs = validator(spec.widened(name))

    @FEW
    @given(instances(contract))
    def holds(value: Contract) -> None:
        theirs.validate(json.loads(value.to_json()))

    holds()


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_a_message_survives_the_envelope(message: type[Message]) -> None:
    @FEW
    @given(instances(message), st.integers(0, 2**53))
    def holds(value: Contract, seq: int) -> None:
        assert isinstance(value, Message)
        entry = encode(value, seq)
        assert set(entry) == {"payload", "type", "v", "seq"}
        assert (entry["type"], entry["v"], seq_of(entry)) == (message.__name__, VERSION, seq)
        assert decode(entry) == value

    holds()


@pytest.mark.parametrize(
    ("entry", "error", "says"),
    [
        pytest.param({}, UnknownType, "no message", id="an empty entry"),
        pytest.param({"type": "Nonsense", "payload": "{}"}, UnknownType, "Nonsense", id="a type nobody knows"),
        pytest.param({"type": "TickerEvent", "v": "2"}, UnknownType, "'2'", id="a contract we do not speak"),
        pytest.param({"type": "TickerEvent", "v": "1"}, BadPayload, "without", id="no payload"),
        pytest.param({"type": "TickerEvent", "v": "1", "payload": "{"}, BadPayload, "TickerEvent", id="no JSON"),
        pytest.param({"type": "TickerEvent", "v": "1", "payload": "{}"}, BadPayload, "symbol", id="a field missing"),
    ],
)
def test_an_unreadable_entry_says_what_is_wrong(entry: dict[str, str], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        decode(entry)


def test_a_field_from_a_newer_writer_is_ignored() -> None:
    told = {"ts": 1, "market": "FUT", "symbol": "BTCUSDT", "last": 1.5, "bid": 1, "ask": 2, "colour": "blue"}

    assert TickerEvent.model_validate(told).symbol == "BTCUSDT"


def test_an_entry_without_a_number_has_none() -> None:
    assert seq_of({}) is None


@pytest.mark.parametrize(("name", "document"), DOCUMENTS, ids=lambda case: getattr(case, "__name__", case))
def test_a_document_derives_one_key_from_its_content(name: str, document: type[Contract]) -> None:
    if not issubclass(document, Document):
        return

    @FEW
    @given(instances(document))
    def holds(value: Contract) -> None:
        assert isinstance(value, Document)
        again = type(value).model_validate_json(value.to_json())
        assert value.doc_key() == again.doc_key()

    holds()


def test_a_state_is_typed_by_its_key() -> None:
    assert system_state_type("lease-retention") is LeaseState
    assert all(system_state_type(key).model_fields["key"].default == key for key in SYSTEM_STATES)
    with pytest.raises(KeyError):
        system_state_type("mood")
