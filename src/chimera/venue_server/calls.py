"""One HTTP request to the exchange and what is answered, as plain values; and the routes that say who answers.

Nothing here knows a path: futures, spot, wallet and MAX each bring their own list of routes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import Enum, auto
from typing import Any, TypeVar

from chimera.domain.matching import refusals
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.numbers import exponent_of

T = TypeVar("T")

DIGITS_MAX = 20
"""Of a number, before the point and behind it."""

AMOUNT_PLACES = 8
"""Of every asset, behind the point."""


class Site(Enum):
    """Which of the exchange's hosts a path belongs to: each has its own limits, headers and manners."""

    FUTURES = auto()
    SPOT = auto()
    WALLET = auto()
    MAX = auto()
    ADMIN = auto()


class Security(Enum):
    NONE = auto()
    KEY = auto()
    """The key's header, no signature: MARKET_DATA with key and USER_STREAM."""
    SIGNED = auto()
    """USER_DATA: key, timestamp and signature; the key must be allowed to read."""
    TRADE = auto()
    """Signed, and the key must be allowed to trade in this site's market."""


@dataclass(slots=True)
class Call:
    """`params` are query and body together, decoded; the query wins. Every value is a string, as it came."""

    method: str
    path: str
    query: str
    body: str
    headers: dict[str, str]
    params: dict[str, str]
    address: str
    now_ms: int
    """Market time at which the exchange looks at the call."""
    signed_on: bool = False
    """Its WebSocket session is authenticated: the key in the header is known to be the caller's."""

    def text(self, name: str) -> str:
        """
        Raises:
            Refusal: -1102, it is missing or empty.
        """
        value = self.params.get(name)
        if not value:
            raise refusals.missing(name)
        return value

    def maybe(self, name: str) -> str | None:
        return self.params.get(name) or None

    def whole(self, name: str, default: int | None = None) -> int:
        """
        Raises:
            Refusal: -1102 when it is missing and has no default, -1100 when it is no whole number.
        """
        value = self.params.get(name)
        if not value:
            if default is None:
                raise refusals.missing(name)
            return default
        try:
            number = int(value)
        except ValueError:
            raise _illegal(name, "^[0-9]{1,20}$") from None
        if abs(number) >= 10**DIGITS_MAX:
            raise _illegal(name, "^[0-9]{1,20}$")
        return number

    def maybe_whole(self, name: str) -> int | None:
        return self.whole(name) if self.params.get(name) else None

    def number(self, name: str) -> Decimal:
        """
        Raises:
            Refusal: -1102 when it is missing, -1100 when it is no finite decimal of at most 20 digits on either side.
        """
        value = self.text(name)
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or number.adjusted() >= DIGITS_MAX or exponent_of(number) < -DIGITS_MAX:
            raise _illegal(name, r"^([0-9]{1,20})(\.[0-9]{1,20})?$")
        return number

    def amount(self, name: str) -> Decimal:
        """Of an asset.

        Raises:
            Refusal: as for a number, and -1111 for more places than an asset has.
        """
        number = self.number(name)
        refuse_too_precise(number)
        return number

    def maybe_number(self, name: str) -> Decimal | None:
        return self.number(name) if self.params.get(name) else None

    def flag(self, name: str, default: bool = False) -> bool:
        """`true` or `false` in any case.

        Raises:
            Refusal: -1130 for anything else.
        """
        value = (self.params.get(name) or str(default)).lower()
        if value not in ("true", "false"):
            raise refusals.bad_parameter(name)
        return value == "true"


def refuse_too_precise(amount: Decimal) -> None:
    """
    Raises:
        Refusal: -1111, it has more places than an asset.
    """
    if exponent_of(amount.normalize()) < -AMOUNT_PLACES:
        raise refusals.qty_too_precise()


def _illegal(name: str, legal: str) -> Refusal:
    return Refusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


SILENCE = 0
"""The status of an answer that never comes: the connection stands until the client hangs up."""


@dataclass(slots=True)
class Answer:
    """`body` None: the connection is closed without an answer, or with the status SILENCE left as it is."""

    status: int
    body: bytes | None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    content_type: bytes = b"application/json"


Handler = Callable[[Call], Any]
"""Returns what becomes JSON; raises Refusal. Synchronous: the exchange decides one request after the other."""

Weight = int | Callable[[Call], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`name` is what faults and limits call it: the path without version, e.g. `order.place`, `algo.cancel`, `depth`.

    `orders` is what it counts on the order limits; `weight` on the request weight of its site.
    """

    method: str
    path: str
    handler: Handler
    name: str
    site: Site
    weight: Weight = 1
    orders: int = 0
    orders_long: int | None = None
    """On the longer of the two limits, where that differs."""
    security: Security = Security.NONE
    pool: str = ""
    """A limit of its own beside the site's weight (futures fundingRate and fundingInfo); no weight header then."""
