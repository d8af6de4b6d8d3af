"""One number for everything that happened: every message, every document, every change at the exchange, in order.

Two runs of one seed must give the same digest, whatever the hash seed of the process: what differs is a bug.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from chimera.contracts.base import Message

_SEPARATOR = b"\x1e"


@dataclass(slots=True)
class Trace:
    """Hand its methods to the bus, the documents and the exchange as their observers."""

    events: int = 0
    _hash: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def on_message(self, stream: str, message: Message) -> None:
        self._add(stream, message.to_json())

    def on_document(self, collection: str, key: str, body: str) -> None:
        self._add(f"{collection}/{key}", body)

    def on_venue(self, kind: str, change: object) -> None:
        self._add(kind, repr(change))

    def _add(self, where: str, what: str) -> None:
        self.events += 1
        self._hash.update(where.encode())
        self._hash.update(_SEPARATOR)
        self._hash.update(what.encode())
        self._hash.update(_SEPARATOR)

    def digest(self) -> str:
        return str(self._hash.hexdigest())
