"""One call of the exchange: signed, counted against the budget, and its failure named by consequence.

Owns the way a request is written and what became of it. A call that changes something and whose answer is missing or
cannot be read has an unknown outcome; one that never left has none. Nothing is repeated here but what the exchange
refused for the time it carried: that is measured anew and sent once more, and it was definitely not accepted before.
A question whose connection breaks is asked once more by the library.

Signatures, keys and listen keys stand in no error and no log: of what a library says only its kind is passed on.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

import aiohttp
import orjson
import structlog
from yarl import URL

from chimera.adapters.binance.budget import Budget, Priority
from chimera.adapters.binance.errors import CLOCK_CODES, TEXT_CHARS_MAX, meaning
from chimera.adapters.binance.hosts import Hosts, Site
from chimera.adapters.binance.offset import ServerClock
from chimera.adapters.binance.refused import UNREADABLE
from chimera.adapters.binance.signing import Param, Signer, encoded, signed
from chimera.ports.clock import Clock
from chimera.ports.venue import OutcomeUnknown, RateLimited, Refused, VenueError, VenueUnavailable

T = TypeVar("T")

RECV_WINDOW_MS = 5_000
"""Of questions, real time: how old a request may be when it is accepted. The exchange's default; an
exchange whose market runs faster measures it in real time all the same."""
RECV_WINDOW_CHANGES_MS = 1_500
"""Of what changes something, real time. Shorter than the 2 s after which the silence of a lookup is taken for an answer
(the setting `lookup_lag_ms` of S5), with room for clocks that differ: a request that was held up on its way must not be
accepted when it was already found missing, and sent anew."""
TIMEOUT_MS = 10_000
"""The exchange gives up on its own matching after this time (-1007)."""
CONNECT_TIMEOUT_MS = 5_000

QUICKLY = 3
"""How often the time is asked for while a call waits for it."""

NO_KEY = -2014
"""What we say ourselves where a call needs a key and there is none: the exchange's code for a bad one."""
NO_WALLET = "this environment has no wallet: transfers and key permissions cannot be asked for (testnet: HTTP 403)"

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_TIME_PATHS = {Site.FUTURES: "/fapi/v1/time", Site.SPOT: "/api/v3/time"}
_NO_PARAMS: Mapping[str, Param] = {}

log = structlog.get_logger(__name__)


class Security(StrEnum):
    """What a call needs: nothing, the key in its header, or a signature as well."""

    NONE = "NONE"
    KEY = "KEY"
    SIGNED = "SIGNED"


class Rest:
    """Who signs for futures, and who for spot and the wallet. Without them, public calls still go."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        hosts: Hosts,
        clock: Clock,
        budget: Budget,
        signer_futures: Signer | None = None,
        signer_spot: Signer | None = None,
        timeout_ms: int = TIMEOUT_MS,
    ) -> None:
        self._session = session
        self._hosts = hosts
        self._clock = clock
        self.budget = budget
        self._signers = {Site.FUTURES: signer_futures, Site.SPOT: signer_spot, Site.WALLET: signer_spot}
        self._timeout_ms = timeout_ms
        futures = ServerClock(clock, lambda: self.time_ms(Site.FUTURES))
        spot = ServerClock(clock, lambda: self.time_ms(Site.SPOT))
        self.clocks = {Site.FUTURES: futures, Site.SPOT: spot, Site.WALLET: spot}

    def has_key(self, site: Site) -> bool:
        return self._signers[site] is not None

    @property
    def clock(self) -> Clock:
        return self._clock

    def signer(self, site: Site) -> Signer:
        """
        Raises:
            Refused: no key was given.
        """
        signer = self._signers[site]
        if signer is None:
            raise Refused(NO_KEY, f"{site.value}: this call needs an API key, and none is configured")
        return signer

    async def call(
        self,
        site: Site,
        method: str,
        path: str,
        params: Mapping[str, Param] = _NO_PARAMS,
        *,
        security: Security = Security.NONE,
        weight: int,
        orders: int = 0,
        priority: Priority = Priority.ENTRY,
        changes: bool = False,
        timeout_ms: int | None = None,
    ) -> Any:
        """The parsed answer.

        Args:
            weight: of the request, as documented; `orders`: how many it adds to the order counts.
            changes: whether it can change anything there, so that a lost answer matters.
            timeout_ms: real time.

        Raises:
            VenueUnavailable: not served, nothing changed. RateLimited: by the exchange or by our own budget.
            Refused: it will not be served as it is.
            OutcomeUnknown: only where it `changes`.
        """
        for repeated in (False, True):
            self.budget.take(site, weight=weight, orders=orders, priority=priority)
            try:
                return await self._send(site, method, path, params, security, changes, timeout_ms or self._timeout_ms)
            except _ClockDiffers as differs:
                if repeated:
                    raise differs.failure from None
                log.warning("the exchange's clock differs, measuring it", site=site.value, why=str(differs.failure))
                await self.clocks[site].measure(QUICKLY)
        raise AssertionError("a call either answers or raises")

    async def _send(
        self,
        site: Site,
        method: str,
        path: str,
        params: Mapping[str, Param],
        security: Security,
        changes: bool,
        timeout_ms: int,
    ) -> Any:
        root = self._hosts.rest(site)
        if root is None:
            raise Refused(403, NO_WALLET)
        headers: dict[str, str] = {}
        if security is not Security.NONE:
            headers["X-MBX-APIKEY"] = self.signer(site).key
        if security is Security.SIGNED:
            query = signed(
                params,
                self.signer(site),
                timestamp_ms=self.clocks[site].now_ms(),
                recv_window_ms=RECV_WINDOW_CHANGES_MS if changes else RECV_WINDOW_MS,
            )
        else:
            query = encoded(params)
        body: bytes | None = None
        if method in ("POST", "PUT") and query:
            # In the body no proxy writes it into its log.
            body, query, headers = query.encode(), "", {**headers, **_FORM}
        url = URL(f"{root}{path}?{query}" if query else root + path, encoded=True)
        what = f"{site.value} {method} {path}"
        sent_at_ms = self._clock.now_ms()
        try:
            async with self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                middlewares=(_once,) if changes else (),
                timeout=aiohttp.ClientTimeout(total=timeout_ms / 1_000, sock_connect=CONNECT_TIMEOUT_MS / 1_000),
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise VenueUnavailable(f"{what} was not sent: {_kind_of(error)}") from None
        except TimeoutError:
            raise _lost(changes, f"{what} was not answered within {timeout_ms} ms") from None
        except _CutOff as cut_off:
            raise _lost(changes, f"{what} was cut off: {cut_off}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _lost(changes, f"{what} was cut off: {_kind_of(error)}") from None
        self.budget.learn(site, response.headers, sent_at_ms)
        try:
            answer = orjson.loads(raw)
        except orjson.JSONDecodeError:
            answer = None
        if 200 <= response.status < 300 and not _is_failure(answer):
            if answer is None and raw != b"null":
                raise _lost(changes, f"{what} was answered by what cannot be read: {_beginning(raw)}")
            return answer
        raise self._failure(site, response, raw, answer, changes)

    def _failure(
        self, site: Site, response: aiohttp.ClientResponse, raw: bytes, answer: Any, changes: bool
    ) -> Exception:
        code, message = None, ""
        if isinstance(answer, dict):
            # The gateway's own 503 carries a message and no code.
            code = answer["code"] if isinstance(answer.get("code"), int) else None
            message = str(answer.get("msg", ""))
        failure = meaning(
            site,
            response.status,
            code,
            message,
            body=_beginning(raw),
            now_ms=self.clocks[site].now_ms(),
            speed=self._clock.speed,
            retry_after_ms=retry_after_ms(response.headers.get("Retry-After")),
        )
        if isinstance(failure, RateLimited):
            if response.status == 418:
                self.budget.ban(site, failure.retry_after_ms)
            else:
                self.budget.limit(site, failure.retry_after_ms)
        elif isinstance(failure, OutcomeUnknown) and not changes:
            failure = VenueUnavailable(str(failure))
        return _ClockDiffers(failure) if code in CLOCK_CODES else failure

    async def time_ms(self, site: Site) -> int:
        """A server's clock. Asked with the rank of stops: without it nothing can be signed."""
        self.budget.take(site, weight=1, orders=0, priority=Priority.PROTECTIVE)
        answer = await self._send(site, "GET", _TIME_PATHS[site], _NO_PARAMS, Security.NONE, False, self._timeout_ms)
        return int(answer["serverTime"])


def understood(parse: Callable[[Any], T], answer: Any, *, changes: bool = False) -> T:
    """What `parse` makes of an answer. One that it cannot read was given all the same: what `changes` has changed.

    Raises:
        VenueUnavailable, OutcomeUnknown: it is not what the documents say.
    """
    try:
        return parse(answer)
    except UNREADABLE as error:
        raise _lost(changes, f"an answer cannot be understood: {type(error).__name__} {error}") from error


class _CutOff(aiohttp.ClientError):
    """The connection broke after the request was sent."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp repeats a DELETE or PUT whose connection breaks, as idempotent: a cancel that was carried out would be
    told as one of an unknown order. It repeats nothing after an error that it does not know."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _CutOff(_kind_of(error)) from error


class _ClockDiffers(Exception):
    def __init__(self, failure: VenueError) -> None:
        super().__init__("the request's time was refused")
        self.failure = failure


def _lost(changes: bool, why: str) -> VenueError:
    return OutcomeUnknown(why) if changes else VenueUnavailable(why)


def _is_failure(answer: Any) -> bool:
    """A failure with a good status. Successes may carry a code too: 200, as a number or as a text."""
    return isinstance(answer, dict) and isinstance(answer.get("code"), int) and answer["code"] < 0


def _kind_of(error: BaseException) -> str:
    """What went wrong, without what a library says of it: that may quote the address with its signature."""
    why = error.__cause__ if isinstance(error.__cause__, OSError) else error
    told = why.strerror if isinstance(why, OSError) and isinstance(why.strerror, str) else ""
    return f"{type(error).__name__} {told}".rstrip()


def _beginning(raw: bytes) -> str:
    return " ".join(raw[:TEXT_CHARS_MAX].decode("utf-8", "replace").split())


def retry_after_ms(header: str | None) -> int | None:
    """The Retry-After header as ms of real time; None where there is none that can be read."""
    if header is None:
        return None
    try:
        return max(0, int(float(header) * 1_000))
    except (ValueError, OverflowError):
        return None
