"""Proving who asks: signatures over a request's parameters, for REST and for the WebSocket API.

Owns how parameters are written down, because what is signed must be what is sent, byte for byte. Secrets stay in here:
neither a repr nor an error shows them.

Source: "Signed endpoint security" of the REST documents (percent-encoding before signing is mandatory since
2026-01-15), "Request security" of the WebSocket API document.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch

Param = str | int | bool | Decimal
"""What a parameter's value may be. Not float: a price is exact."""


class BadSecret(ValueError):
    """What should sign cannot; the text says how it should look and does not repeat it."""


class Signer(Protocol):
    @property
    def key(self) -> str:
        """The API key that goes with the signature."""
        ...

    def sign(self, payload: str) -> str:
        """As the exchange wants it, not percent-encoded yet."""
        ...


class HmacSigner:
    """HMAC-SHA256, hex."""

    __slots__ = ("_secret", "key")

    def __init__(self, key: str, secret: str) -> None:
        if not key or not secret:
            raise BadSecret("an API key and its secret are needed, and one of them is empty")
        self.key = key
        self._secret = secret.encode()

    def sign(self, payload: str) -> str:
        return hmac.new(self._secret, payload.encode(), hashlib.sha256).hexdigest()

    def __repr__(self) -> str:
        return "HmacSigner(…)"


class Ed25519Signer:
    """Ed25519, base64: the exchange holds the public half only."""

    __slots__ = ("_private", "key")

    def __init__(self, key: str, pem: str, password: str | None = None) -> None:
        if not key:
            raise BadSecret("the API key that belongs to the Ed25519 key is missing")
        try:
            private = load_pem_private_key(pem.encode(), password.encode() if password else None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The library's own text may quote the input.
            raise BadSecret("this is no private key in PEM form, or its password is wrong or missing") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise BadSecret(
                "this PEM holds a private key of another kind; make one with: openssl genpkey -algorithm ed25519"
            )
        self.key = key
        self._private = private

    def sign(self, payload: str) -> str:
        return base64.b64encode(self._private.sign(payload.encode())).decode()

    def __repr__(self) -> str:
        return "Ed25519Signer(…)"


def signer_of(key: str, secret: str, pem_path: str = "") -> Signer:
    """The signer for a secret as a person has it: the letters of an HMAC secret, or a private key in PEM form, as text
    or in the file at `pem_path`, which goes first.

    Raises:
        BadSecret: it is none of these.
    """
    if pem_path:
        try:
            return Ed25519Signer(key, Path(pem_path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise BadSecret(f"the key file {pem_path} cannot be read: {why}") from None
    return Ed25519Signer(key, secret) if "PRIVATE KEY" in secret else HmacSigner(key, secret)


def text(value: Param) -> str:
    """How the exchange wants a value: no exponent, no more places than it has, `true` and `false`."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def encoded(params: Mapping[str, Param]) -> str:
    """Percent-encoded and joined, in the order given."""
    return "&".join([f"{name}={_quoted(text(value))}" for name, value in params.items()])


def _quoted(value: str) -> str:
    # Nearly every value is plain, and quoting it all the same is a third of what signing costs.
    return value if _PLAIN(value) else quote(value, safe="")


def signed(params: Mapping[str, Param], signer: Signer, *, timestamp_ms: int, recv_window_ms: int) -> str:
    """A query or body, encoded, with time and signature; the signature stands last, as the exchange demands."""
    payload = encoded({**params, "recvWindow": recv_window_ms, "timestamp": timestamp_ms})
    return f"{payload}&signature={_quoted(signer.sign(payload))}"


def ws_signed(
    params: Mapping[str, Param], signer: Signer, *, timestamp_ms: int, recv_window_ms: int
) -> dict[str, str | int]:
    """Parameters of a WebSocket API request with key, time and signature: signed in alphabetical order, unencoded."""
    full: dict[str, Param] = {
        **params,
        "apiKey": signer.key,
        "recvWindow": recv_window_ms,
        "timestamp": timestamp_ms,
    }
    payload = "&".join([f"{name}={text(full[name])}" for name in sorted(full)])
    wire: dict[str, str | int] = {
        name: value if isinstance(value, int) and not isinstance(value, bool) else text(value)
        for name, value in full.items()
    }
    wire["signature"] = signer.sign(payload)
    return wire
