"""An exchange that is reached over the network: Binance itself, its testnet, or a server on this machine.

Owns how `--venue` becomes addresses, keys, a clock and a connector. A real exchange runs in the machine's time; a
server on this machine may run faster and from another day, so the system's clock is anchored at the time it tells.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import orjson
import structlog

from chimera.adapters.binance import signing
from chimera.adapters.binance.errors import wait_ms
from chimera.adapters.binance.hosts import PRODUCTION, TESTNET, Hosts, local
from chimera.adapters.binance.rest import TIMEOUT_MS, retry_after_ms
from chimera.adapters.binance.signing import Signer
from chimera.adapters.binance.venue import BinanceVenue, create_venue
from chimera.adapters.binance.ws import SocketLimits
from chimera.adapters.chance import SystemRandomness
from chimera.adapters.clocks import LoopClock, wall_ms
from chimera.adapters.max.feed import MaxFactorFeed
from chimera.app.exchange_time import follow_time
from chimera.app.findings import Finding, Level
from chimera.app.gate import asked_too_much, examine, symbol_findings, when_allowed, why_not
from chimera.app.sides import LIVE as LIVE_VENUE
from chimera.app.sides import TESTNET as TESTNET_VENUE
from chimera.app.sides import Spawn, UpOptions, UpProblem, Waiting, is_elsewhere, refuse_by_name
from chimera.app.simulated_market import keys_for, listed_keys
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S4Settings
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.venue import FactorFeed, RateLimited, VenueError

LOCAL_KEY, LOCAL_SECRET = "chimera-local-key", "chimera-local-secret"
"""Of the account that `chimera venue` opens unless told otherwise: it holds no money, so its secret is none."""

log = structlog.get_logger(__name__)

ASK_S = 10

LIMITED = (429, 418)
"""An exchange's answers to an address that has asked too much: limited, banned."""

LIMITED_CHARS_MAX = 200
"""Of what it says with them."""

LOCAL, REMOTE = "local", "remote"
"""What a server at a URL is called: on this machine, or not."""


class AskedTooMuch(UpProblem):
    """The exchange limits or has banned this address, and nobody waits for it."""

    def __init__(self, limited: RateLimited) -> None:
        self.finding = asked_too_much(limited)
        super().__init__(why_not([self.finding]))


@dataclass(frozen=True, slots=True)
class Place:
    """Where an exchange is, what people call it, and how its time runs."""

    name: str
    hosts: Hosts
    speed: float
    now_ms: int
    tick_interval_ms: int

    @property
    def real_money(self) -> bool:
        """What a server elsewhere does with orders nobody here can know."""
        return self.name in (LIVE_VENUE, REMOTE)


async def find(
    venue: str,
    speed: float | None,
    session: aiohttp.ClientSession,
    *,
    option: str = "--venue",
    waiting: Waiting | None = None,
) -> Place:
    """
    Args:
        option: on the command line, for what is refused.
        waiting: as `when_allowed` takes it.

    Raises:
        UpProblem: it cannot be reached, limits this address and nobody waits, or its time runs at another speed than
            was asked for.
    """
    if venue in (LIVE_VENUE, TESTNET_VENUE):
        if speed not in (None, 1.0):
            raise UpProblem(f"--speed {speed:g}: {venue} is a real exchange, which runs at 1; leave --speed out")
        return Place(venue, PRODUCTION if venue == LIVE_VENUE else TESTNET, 1.0, wall_ms(), 0)
    try:
        hosts = local(venue)
    except ValueError as problem:
        raise UpProblem(f"{option}: {problem}") from problem
    name = REMOTE if is_elsewhere(venue) else LOCAL
    told = await _ask(session, f"{venue}/admin/venue", waiting)
    if told is None:  # not a server of ours: it runs in its own time, at 1
        time = await _ask(session, f"{venue}/fapi/v1/time", waiting)
        if time is None:
            raise UpProblem(
                f"{option} {venue}: nothing there speaks the exchange's protocol. Start one with `chimera venue`, or"
                " correct the address."
            )
        return Place(name, hosts, speed or 1.0, int(time["serverTime"]), 0)
    runs_at = float(told["speed"])
    if speed is not None and speed != runs_at:
        raise UpProblem(
            f"--speed {speed:g}: the exchange at {venue} runs at {runs_at:g}, and both must run alike. Leave it out,"
            f" or start it with `chimera venue --speed {speed:g}`."
        )
    return Place(name, hosts, runs_at, int(told["now_ms"]), int(told["tick_interval_ms"]))


async def _ask(session: aiohttp.ClientSession, url: str, waiting: Waiting | None) -> dict[str, float] | None:
    """What is there says; None where it knows no such path.

    Raises:
        UpProblem: nothing answers, or it limits this address and nobody waits.
    """
    clock = LoopClock(wall_ms())  # how its own time runs is still to be heard
    try:
        return await when_allowed(lambda: _ask_once(session, url), clock, waiting)
    except RateLimited as limited:
        raise AskedTooMuch(limited) from limited


async def _ask_once(session: aiohttp.ClientSession, url: str) -> dict[str, float] | None:
    """
    Raises:
        UpProblem: nothing answers. RateLimited: it limits or has banned this address.
    """
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=ASK_S)) as response:
            if response.status in LIMITED:
                text = (await response.text(errors="replace"))[:LIMITED_CHARS_MAX]
                after_ms = retry_after_ms(response.headers.get("Retry-After"))
                raise RateLimited(f"HTTP {response.status} {text}", wait_ms(text, wall_ms(), 1.0, after_ms))
            if response.status != 200:
                return None
            answer = orjson.loads(await response.read())
            return answer if isinstance(answer, dict) else None
    except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
        raise UpProblem(
            f"{url} does not answer ({type(error).__name__}). Is the exchange's server running, and the address right?"
        ) from error


def signer_of(s4: S4Settings, place: Place) -> Signer:
    """
    Raises:
        UpProblem: no key, or one that cannot sign.
    """
    key, secret = s4.binance_key.get_secret_value(), s4.binance_secret.get_secret_value()
    if place.name == LOCAL and not key:
        key, secret = LOCAL_KEY, LOCAL_SECRET
    try:
        return signing.signer_of(key, secret, s4.binance_private_key_path)
    except signing.BadSecret as problem:
        raise UpProblem(
            f"{place.name}: {problem}. Set S4_BINANCE_KEY and S4_BINANCE_SECRET (or S4_BINANCE_PRIVATE_KEY_PATH) to a"
            " key of this exchange; for prices alone use --venue paper."
        ) from problem


async def opened(venue: BinanceVenue, clock: Clock, stack: AsyncExitStack, waiting: Waiting | None) -> None:
    """For `waiting` see `when_allowed`.

    Raises:
        UpProblem: it cannot be reached, or limits this address and nobody waits.
    """
    stack.push_async_callback(venue.close)
    try:
        await when_allowed(venue.open, clock, waiting)
    except RateLimited as limited:
        raise AskedTooMuch(limited) from limited
    except VenueError as error:
        raise UpProblem(
            f"{venue.name}: {error}. Check the address and this machine's network, then try again"
        ) from error


def require_symbols(listed: Sequence[Instrument], keys: Sequence[InstrumentKey]) -> tuple[Instrument, ...]:
    """The instruments of `keys`, in their order.

    Raises:
        UpProblem: one is not listed, or not traded any more.
    """
    refused = why_not(symbol_findings(listed, keys))
    if refused is not None:
        raise UpProblem(refused)
    by_key = {instrument.key: instrument for instrument in listed}
    return tuple(by_key[key] for key in keys)


@dataclass(frozen=True, slots=True)
class Reached:
    """An exchange that answers, whatever it says of the account."""

    place: Place
    venue: BinanceVenue
    clock: LoopClock
    factor_feed: FactorFeed

    async def look(
        self, watched: Sequence[InstrumentKey], s4: S4Settings, waiting: Waiting | None = None
    ) -> list[Finding]:
        return await examine(
            self.venue,
            watched,
            self.clock,
            real_money=self.place.real_money,
            withdrawing_key_allowed=s4.withdrawing_key_allowed,
            waiting=waiting,
        )


async def reach(
    venue: str,
    speed: float | None,
    s4: S4Settings,
    stack: AsyncExitStack,
    *,
    understood: bool = False,
    timeout_ms: int = TIMEOUT_MS,
    limits: SocketLimits | None = None,
    waiting: Waiting | None = None,
) -> Reached:
    """The exchange, open and with its account's key; `stack` closes it. For `understood` see `refuse_by_name`, for
    `timeout_ms` and `limits` `create_venue`, for `waiting` `when_allowed`.

    Raises:
        UpProblem: nothing there answers, it limits this address and nobody waits, there is no key, or it may not be
            sent there.
    """
    refuse_by_name(venue, understood=understood)
    session = await stack.enter_async_context(aiohttp.ClientSession())
    place = await find(venue, speed, session, waiting=waiting)
    clock = LoopClock(place.now_ms, place.speed)
    signer = signer_of(s4, place)
    made = create_venue(
        name=place.name,
        hosts=place.hosts,
        clock=clock,
        randomness=SystemRandomness(),
        snapshots=None,
        signer_futures=signer,
        signer_spot=signer,
        session=session,
        tick_interval_ms=place.tick_interval_ms,
        timeout_ms=timeout_ms,
        limits=limits,
    )
    await opened(made, clock, stack, waiting)
    return Reached(place, made, clock, MaxFactorFeed(base_url=place.hosts.max_rest, session=session, clock=clock))


async def look_at(venue: str, symbols: tuple[str, ...], s4: S4Settings) -> list[Finding]:
    """For `doctor`: the whole list, an exchange that does not answer or limits us being a finding as well: nobody waits
    for it."""
    async with AsyncExitStack() as stack:
        try:
            reached = await reach(venue, None, s4, stack, understood=True)  # nothing is ordered
        except AskedTooMuch as problem:
            return [problem.finding]
        except UpProblem as problem:
            return [Finding("exchange", str(problem), level=Level.BAD)]
        return await reached.look(listed_keys(symbols), s4)
    raise AssertionError("the stack swallows nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSide:
    name: str
    venue: BinanceVenue
    factor_feed: FactorFeed
    clock: LoopClock
    keys: tuple[InstrumentKey, ...]
    watched: tuple[InstrumentKey, ...]
    stack: AsyncExitStack

    @classmethod
    async def open(cls, options: UpOptions, s4: S4Settings, waiting: Waiting) -> "RemoteSide":
        """Waits for an exchange that limits this address.

        Raises:
            UpProblem: it cannot be reached, or its account may not be traded on as it is; every reason with its remedy.
        """
        async with AsyncExitStack() as stack:
            reached = await reach(
                options.venue, options.speed, s4, stack, understood=options.understood, waiting=waiting
            )
            keys, watched = keys_for(options.symbols), listed_keys(options.symbols)
            findings = await reached.look(watched, s4, waiting)
            refused = why_not(findings)
            if refused is not None:
                raise UpProblem(f"{options.venue} cannot be traded on as it is.\n{refused}")
            for finding in findings:
                if finding.level is Level.WARN:
                    log.warning(finding.found, what=finding.what, remedy=finding.remedy)
            return cls(
                name=reached.place.name,
                venue=reached.venue,
                factor_feed=reached.factor_feed,
                clock=reached.clock,
                keys=keys,
                watched=watched,
                stack=stack.pop_all(),
            )
        raise AssertionError("the stack swallows nothing")

    def before_house(self, spawn: Spawn) -> None:
        if self.clock.speed == 1:
            spawn("exchange's time", follow_time(self.clock, self.venue.rest.clocks))

    def after_house(self, spawn: Spawn) -> None:
        """The exchange runs by itself."""

    async def close(self) -> None:
        await self.stack.aclose()
