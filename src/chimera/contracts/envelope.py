"""How a message lies in a stream entry.

Owns the four fields of an entry: `payload` (the JSON document), `type` (its name), `v` (contract version), `seq` (the
producer's own number, so that a gap shows). Knows no stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from chimera.contracts.base import Message
from chimera.contracts.messages import MESSAGES

VERSION = "1"


class EnvelopeError(ValueError):
    """An entry that no retry will make readable: it belongs in the dead-letter stream."""


class UnknownType(EnvelopeError):
    """`type` names no message of ours, or `v` a contract we do not speak."""


class BadPayload(EnvelopeError):
    """`payload` is missing, is not JSON, or breaks the message's schema."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One stream entry, all text, as Redis keeps it."""

    payload: str
    type: str
    seq: int
    v: str = VERSION

    def fields(self) -> dict[str, str]:
        return {
            "payload": self.payload,
            "type": self.type,
            "v": self.v,
            "seq": str(self.seq),
        }


def encode(message: Message, seq: int) -> dict[str, str]:
    """The fields of a stream entry for `message`."""
    return Envelope(payload=message.to_json(), type=type(message).__name__, seq=seq).fields()


def decode(entry: Mapping[str, str]) -> Message:
    """The message in a stream entry.

    Raises:
        UnknownType: the type or the contract version is not known here.
        BadPayload: the payload does not hold such a message.
    """
    kind = entry.get("type", "")
    if kind not in MESSAGES:
        raise UnknownType(f"type {kind!r} is no message of this contract")
    version = entry.get("v", VERSION)
    if version != VERSION:
        raise UnknownType(f"contract version {version!r} of {kind} is not spoken here (we speak {VERSION})")
    if "payload" not in entry:
        raise BadPayload(f"{kind} came without a payload")
    try:
        return MESSAGES[kind].model_validate_json(entry["payload"])
    except ValidationError as error:
        raise BadPayload(f"{kind}: {error}") from error


def seq_of(entry: Mapping[str, str]) -> int | None:
    """The producer's number of an entry; None where it wrote none that we can read."""
    text = entry.get("seq", "")
    return int(text) if text.isdecimal() else None
