"""What a failed answer means for what was asked.

Owns one table: the first row that fits names the kind, in the words of `ports.venue`. A row that is missing is decided
by the status: a 4xx is a refusal, a 5xx leaves the outcome unknown. Bodies need not be JSON: the words of a page that a
proxy made say nothing of what the exchange did.

Where documents leave open whether a request was carried out, the row says that nobody knows: asking once too often
costs a moment, sending once too often costs a position.
"""

import re
from dataclasses import dataclass

from chimera.adapters.binance.hosts import Site
from chimera.ports.venue import (
    DuplicateOrder,
    InsufficientFunds,
    KeyRefused,
    NothingToReduce,
    OutcomeUnknown,
    RateLimited,
    Refused,
    UnknownOrder,
    VenueError,
    VenueUnavailable,
    WouldTake,
    WouldTrigger,
)

MARGIN_UNCHANGED = -4046
"""The margin type is what was asked for already."""
POSITION_MODE_UNCHANGED = -4059
ASSETS_MODE_UNCHANGED = -4171
BAD_TYPE = -1116
"""No such order type; we say so ourselves before anything is sent."""
NOT_REQUIRED = -1106
"""A parameter that this order does not take; said by ourselves, before anything is sent."""
CLOCK_CODES = frozenset({-1021, -5028})
"""The request's time did not fit theirs: nothing happened, and a fresh time may."""

WINDOW_MS = 60_000
TEXT_CHARS_MAX = 200

_FUT = "futures error-code page"
_SPOT = "spot errors.md"
_WALLET = "wallet error-code page"
_STATUS = "futures general-info, HTTP return codes"


@dataclass(frozen=True, slots=True)
class Failure:
    """One row. `site`, `status`, `code` None and `text` empty fit everything; `text` is a part of the exchange's
    own message, in lower case."""

    kind: type[VenueError]
    source: str
    site: Site | None = None
    status: int | None = None
    code: int | None = None
    text: str = ""

    def fits(self, site: Site, status: int, code: int | None, message: str) -> bool:
        return (
            self.site in (None, site)
            and self.status in (None, status)
            and self.code in (None, code)
            and self.text in message.lower()
        )


FAILURES: tuple[Failure, ...] = (
    # --- limits: nothing was accepted
    Failure(RateLimited, _STATUS, status=429),
    Failure(RateLimited, _STATUS, status=418),
    Failure(RateLimited, _FUT, code=-1003),
    Failure(RateLimited, _FUT, code=-1015),
    Failure(RateLimited, _SPOT, code=-1034),
    # --- 503 means three things
    Failure(VenueUnavailable, _FUT, code=-1008),
    Failure(OutcomeUnknown, _STATUS, status=503, text="unknown error"),
    Failure(VenueUnavailable, _STATUS, status=503, text="service unavailable"),
    # --- sent, and nobody knows
    Failure(OutcomeUnknown, _STATUS, status=408),
    Failure(OutcomeUnknown, _FUT, code=-1007),
    Failure(OutcomeUnknown, _FUT, code=-1006),
    Failure(OutcomeUnknown, f"{_FUT}: leaves open whether it was processed", code=-1000),
    Failure(OutcomeUnknown, f"{_FUT}: internal error, leaves open whether it was processed", code=-1001),
    # --- not served
    Failure(Refused, "testnet: the wallet answers 403 (issue trackers of connectors)", site=Site.WALLET, status=403),
    Failure(VenueUnavailable, f"{_STATUS}: web application firewall", status=403),
    Failure(VenueUnavailable, _FUT, code=-1016),
    Failure(VenueUnavailable, f"{_WALLET}: server busy", site=Site.WALLET, code=-1004),
    Failure(VenueUnavailable, _FUT, code=-1021),
    Failure(VenueUnavailable, _FUT, code=-5028),
    # --- the key, or whoever signs with it
    Failure(KeyRefused, _FUT, code=-1022),
    Failure(KeyRefused, _FUT, code=-2008),
    Failure(KeyRefused, _FUT, code=-2014),
    Failure(KeyRefused, _FUT, code=-2015),
    # --- the same order again
    Failure(DuplicateOrder, _FUT, code=-4116),
    Failure(DuplicateOrder, _SPOT, site=Site.SPOT, code=-2010, text="duplicate order"),
    Failure(DuplicateOrder, _SPOT, site=Site.SPOT, code=-1010, text="duplicate order"),
    # --- no such order
    Failure(UnknownOrder, _FUT, code=-2013),
    Failure(Refused, _SPOT, site=Site.SPOT, code=-2011, text="cancel restrictions"),
    Failure(Refused, _SPOT, site=Site.SPOT, code=-2011, text="this account"),
    Failure(Refused, _SPOT, site=Site.SPOT, code=-2011, text="market is closed"),
    Failure(UnknownOrder, _FUT, code=-2011),
    Failure(UnknownOrder, f"{_SPOT}: ended without a fill and archived", site=Site.SPOT, code=-2026),
    Failure(UnknownOrder, f"{_FUT}: it is triggering, too late to cancel", site=Site.FUTURES, code=-4117),
    # --- money
    Failure(InsufficientFunds, _FUT, site=Site.FUTURES, code=-2018),
    Failure(InsufficientFunds, _FUT, site=Site.FUTURES, code=-2019),
    Failure(InsufficientFunds, _FUT, site=Site.FUTURES, code=-4050),
    Failure(InsufficientFunds, _FUT, site=Site.FUTURES, code=-4051),
    Failure(InsufficientFunds, _SPOT, site=Site.SPOT, code=-2010, text="insufficient balance"),
    Failure(InsufficientFunds, _SPOT, site=Site.SPOT, code=-1010, text="insufficient balance"),
    Failure(InsufficientFunds, _WALLET, site=Site.WALLET, code=-5013),
    Failure(InsufficientFunds, f"{_WALLET}: as connectors recorded it", site=Site.WALLET, code=-9000, text="amount"),
    # --- the stop's price is passed
    Failure(WouldTrigger, _FUT, site=Site.FUTURES, code=-2021),
    Failure(WouldTrigger, _FUT, site=Site.FUTURES, code=-4142),
    Failure(WouldTrigger, _SPOT, site=Site.SPOT, code=-2010, text="trigger immediately"),
    Failure(WouldTrigger, _SPOT, site=Site.SPOT, code=-1010, text="trigger immediately"),
    # --- post-only would take
    Failure(WouldTake, _FUT, site=Site.FUTURES, code=-5022),
    Failure(WouldTake, _SPOT, site=Site.SPOT, code=-2010, text="immediately match and take"),
    Failure(WouldTake, _SPOT, site=Site.SPOT, code=-1010, text="immediately match and take"),
    # --- nothing to reduce
    Failure(NothingToReduce, _FUT, site=Site.FUTURES, code=-2022),
    Failure(NothingToReduce, _FUT, site=Site.FUTURES, code=-2024),
    Failure(NothingToReduce, _FUT, site=Site.FUTURES, code=-4118),
)
"""Most specific first."""

_BANNED_UNTIL = re.compile(r"until (\d{13})")


def meaning(
    site: Site,
    status: int,
    code: int | None,
    message: str,
    *,
    body: str = "",
    now_ms: int,
    speed: float = 1.0,
    retry_after_ms: int | None = None,
) -> VenueError:
    """Our own word for a failed answer.

    Args:
        code: the exchange's, None where the body was not its JSON.
        message: the `msg` of its JSON, empty where there was none; `body` is the beginning of what came.
        now_ms: the exchange's time, to read how long a ban lasts that ends at a moment of it; `speed` is how many of
            its ms pass in a real one.
        retry_after_ms: what the Retry-After header says, real time.
    """
    kind = kind_of(site, status, code, message)
    text = (message or body)[:TEXT_CHARS_MAX]
    said = f"{site.value}: HTTP {status} {'' if code is None else code} {text}"
    if issubclass(kind, Refused):
        return kind(status if code is None else code, text)
    if issubclass(kind, RateLimited):
        return kind(said, wait_ms(text, now_ms, speed, retry_after_ms))
    if issubclass(kind, VenueUnavailable):
        return kind(said)
    return kind(said)


def kind_of(site: Site, status: int, code: int | None, message: str) -> type[VenueError]:
    for row in FAILURES:
        if row.fits(site, status, code, message):
            return row.kind
    if status >= 500:
        return OutcomeUnknown
    return Refused if status >= 400 or code is not None else VenueUnavailable


def wait_ms(text: str, now_ms: int, speed: float, retry_after_ms: int | None) -> int:
    """How long to stay away, real time: the header's word, else the text's, else until a window has surely passed."""
    if retry_after_ms is not None:
        return retry_after_ms
    banned = _BANNED_UNTIL.search(text)
    return max(0, int((int(banned.group(1)) - now_ms) / speed)) if banned else WINDOW_MS
