"""Both markets of one exchange on a real port, moved by the test while a client of somebody else's listens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from chimera.adapters.simulated_venue.feed import Tick
from chimera.contracts.enums import Market
from chimera.domain.market.quotes import BookTop, MarkPrice
from chimera.venue_server.auth import ApiKey
from chimera.venue_server.limits import LimitRules
from tests.venue_server.running import BEGINS_MS, RunningVenue, running_venue

T = TypeVar("T")

OPENS_AT = Decimal(60_000)
PATIENCE_S = 20
TICK_SIZES = {Market.FUT: Decimal("0.1"), Market.SPOT: Decimal("0.01")}
QTY = Decimal(5)
FUNDING_MS = 28_800_000


class Markets:
    """BTCUSDT on futures and spot at 60,000, one tick of spread around it, until something else is shown."""

    def __init__(self, venue: RunningVenue) -> None:
        self.venue = venue
        self.last = OPENS_AT

    def show(self, last: Decimal | str) -> None:
        self.last = Decimal(last)
        host = self.venue.venue.hosted.host
        now_ms = host.clock.now_ms()
        books = tuple(
            BookTop(
                now_ms,
                market,
                "BTCUSDT",
                tuple((self.last - tick * step, QTY) for step in range(1, 4)),
                tuple((self.last + tick * step, QTY) for step in range(1, 4)),
                self.last,
            )
            for market, tick in TICK_SIZES.items()
        )
        mark = MarkPrice(now_ms, "BTCUSDT", self.last, 0.0001, (now_ms // FUNDING_MS + 1) * FUNDING_MS, 8)
        host.apply(Tick(now_ms, books, (mark,), ()))

    async def rising(self, heard: Awaitable[T], *, every_s: float = 0.03) -> T:
        """What a client hears of a market that goes up by a dollar at a time, until it has heard it."""
        task = asyncio.ensure_future(heard)
        async with asyncio.timeout(PATIENCE_S):
            while not task.done():
                self.show(self.last + 1)
                await asyncio.wait({task}, timeout=every_s)
            return await task

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not happened():
                await asyncio.sleep(0.01)

    def was_shown(self, price: Decimal | str | float) -> bool:
        """Whether the last trade ever was at this price."""
        told = Decimal(str(price))
        return OPENS_AT <= told <= self.last and told == told.to_integral_value()


def ed25519_key(markets: Markets) -> tuple[str, str]:
    """A new API key whose public half the exchange has: its name, and the private half as PEM."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    markets.venue.venue.floor.keys.add(ApiKey(key="ed25519-key", public_key=public.decode()))
    return "ed25519-key", private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@asynccontextmanager
async def open_markets(start_ms: int | None = BEGINS_MS, limits: LimitRules | None = None) -> AsyncIterator[Markets]:
    """`start_ms` None: market time is the machine's."""
    async with running_venue(still=True, limits=limits or LimitRules(scale=100), start_ms=start_ms) as venue:
        markets = Markets(venue)
        markets.show(OPENS_AT)
        yield markets
