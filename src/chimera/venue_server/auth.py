"""Who asks, and whether the request is theirs: key, signature, time window.

Owns the keys of the one account and what each may do. A request is accepted iff
timestamp < server time + 1000 and server time - timestamp <= recvWindow. Source: the exchange's request security pages.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from chimera.domain.matching import refusals
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.calls import Call, Security, Site

RECV_WINDOW_MS = 5_000
RECV_WINDOW_MS_MAX = 60_000
AHEAD_MS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """`secret` for HMAC, `public_key` (PEM) for Ed25519: one of the two. `ips` empty: from anywhere."""

    key: str
    secret: str = field(default="", repr=False)
    public_key: str = ""
    reads: bool = True
    trades_spot: bool = True
    trades_futures: bool = True
    withdraws: bool = False
    transfers: bool = True
    ips: tuple[str, ...] = ()


class KeyRing:
    """Keys by name. Whoever runs the exchange may add, change and revoke them while it runs."""

    def __init__(self, *keys: ApiKey) -> None:
        self._keys = {key.key: key for key in keys}
        self._public: dict[str, Ed25519PublicKey] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called when a key was added, changed or revoked."""

    @property
    def all(self) -> tuple[ApiKey, ...]:
        return tuple(self._keys.values())

    def add(self, key: ApiKey) -> None:
        """
        Raises:
            ValueError: neither a secret nor an Ed25519 public key in PEM.
        """
        if bool(key.secret) == bool(key.public_key):
            raise ValueError("a key needs either a secret (HMAC) or a public_key (Ed25519, PEM)")
        if key.public_key:
            public = load_pem_public_key(key.public_key.encode())
            if not isinstance(public, Ed25519PublicKey):
                raise ValueError("public_key is no Ed25519 key")
            self._public[key.key] = public
        self._keys[key.key] = key
        self.on_change()

    def change(self, name: str, **permissions: Any) -> ApiKey:
        """
        Raises:
            KeyError: no such key.
        """
        self._keys[name] = changed = replace(self._keys[name], **permissions)
        self.on_change()
        return changed

    def revoke(self, name: str) -> None:
        self._keys.pop(name, None)
        self.on_change()

    def known(self, name: str | None, address: str) -> ApiKey:
        """
        Raises:
            Refusal: -2014 without a key, -2015 for an unknown one or another address.
        """
        if not name:
            raise Refusal(-2014, "API-key format invalid.")
        key = self._keys.get(name)
        if key is None or (key.ips and address not in key.ips):
            raise not_allowed()
        return key

    def signed_by(self, key: ApiKey, payload: str, signature: str) -> bool:
        if key.secret:
            expected = hmac.new(key.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
            return hmac.compare_digest(expected.encode(), signature.lower().encode())
        try:
            self._public[key.key].verify(base64.b64decode(signature), payload.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


def not_allowed() -> Refusal:
    return Refusal(-2015, "Invalid API-key, IP, or permissions for action.")


def check(ring: KeyRing, call: Call, security: Security, site: Site, speed: float = 1.0) -> ApiKey | None:
    """The key that asked; None where none is needed. `speed` is the market's clock's: see `check_time`.

    Raises:
        Refusal: as the exchange says it, in its order: key, permission, parameters, time, signature.
    """
    if security is Security.NONE:
        return None
    key = ring.known(call.headers.get("x-mbx-apikey"), call.address)
    if security is Security.KEY:
        return key
    if not key.reads or (security is Security.TRADE and not _may_trade(key, site)):
        raise not_allowed()
    if call.signed_on:
        check_time(call, call.now_ms, speed)
        return key
    if "signature" not in call.params:
        raise refusals.missing("signature")
    check_time(call, call.now_ms, speed)
    if not ring.signed_by(key, payload_of(call), call.params["signature"]):
        raise Refusal(-1022, "Signature for this request is not valid.")
    return key


def _may_trade(key: ApiKey, site: Site) -> bool:
    return key.trades_futures if site is Site.FUTURES else key.trades_spot


def check_time(call: Call, now_ms: int, speed: float = 1.0) -> None:
    """The way of a request takes real time, so its window lasts as long at any speed of the market.

    Raises:
        Refusal: -1102 without a timestamp, -1021 outside the window, -1131 for a window above 60 s.
    """
    text = call.text("timestamp")
    try:
        sent = int(text)
        window = float(call.params.get("recvWindow") or RECV_WINDOW_MS)
    except ValueError:
        raise refusals.missing("timestamp") from None
    if sent > 10**14:  # microseconds
        sent //= 1_000
    if not 0 < window <= RECV_WINDOW_MS_MAX:
        raise Refusal(-1131, "recvWindow must be less than 60000")
    if sent >= now_ms + AHEAD_MS_MAX * speed:
        raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - sent > window * speed:
        raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")


def payload_of(call: Call) -> str:
    """What was signed: the query, then the body, without a separator and without the signature itself."""
    return _unsigned(call.query) + _unsigned(call.body)


def _unsigned(text: str) -> str:
    if "signature=" not in text:
        return text
    return "&".join(part for part in text.split("&") if not part.startswith("signature="))
