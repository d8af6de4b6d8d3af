from collections.abc import AsyncIterator

import aiohttp
import pytest

from chimera.adapters.binance.hosts import local
from chimera.adapters.binance.signing import HmacSigner
from chimera.adapters.binance.venue import BinanceVenue
from chimera.adapters.clocks import LoopClock

from .canned import Canned, canned_exchange

START_MS = 1_789_116_000_000


@pytest.fixture
async def exchange() -> AsyncIterator[Canned]:
    async with canned_exchange() as canned:
        yield canned


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


@pytest.fixture
async def venue(exchange: Canned, session: aiohttp.ClientSession) -> AsyncIterator[BinanceVenue]:
    """Without streams, and with clocks that were not compared."""
    signer = HmacSigner("the-key", "the-secret")
    made = BinanceVenue(
        name="canned",
        hosts=local(exchange.root),
        clock=LoopClock(START_MS),
        session=session,
        snapshots=None,
        signer_futures=signer,
        signer_spot=signer,
    )
    yield made
    await made.close()
