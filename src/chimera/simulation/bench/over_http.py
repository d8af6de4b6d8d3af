"""The crowd's exchange behind its own server: the services reach it by the connector, over sockets of this machine.

Owns opening both in the loop that measures. An entry has arrived when the server has read its call.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from chimera.adapters.binance.hosts import local
from chimera.adapters.binance.signing import HmacSigner
from chimera.adapters.binance.venue import create_venue
from chimera.adapters.binance.ws import SocketLimits
from chimera.adapters.chance import SystemRandomness
from chimera.adapters.simulated_venue.host import ExchangeHost
from chimera.adapters.simulated_venue.journal import FileJournal
from chimera.app.hosted_exchange import HostedExchange
from chimera.app.remote import LOCAL_KEY, LOCAL_SECRET
from chimera.app.serving import listen, server, stop
from chimera.simulation.bench.crowd import ARRIVED, QUIET_MS, Ground, Opened, Stopwatch
from chimera.simulation.bench.ports import free_port
from chimera.venue_server.asgi import VenueApp
from chimera.venue_server.auth import ApiKey, KeyRing
from chimera.venue_server.floor import Receive, Send
from chimera.venue_server.limits import LimitRules
from chimera.venue_server.server import VenueServer

HOST = "127.0.0.1"
UNLIMITED = LimitRules(scale=1_000_000)
ECHO_MS = 1_500
"""A fill is a public trade, depth is pushed every 100 ms, and S2 tells an instrument a second later at most."""


@asynccontextmanager
async def over_http(ground: Ground) -> AsyncIterator[Opened]:
    with tempfile.TemporaryDirectory(prefix="chimera-bench-") as folder:
        journal = FileJournal(Path(folder))
        host = ExchangeHost(
            exchange=ground.exchange(), rules=ground.rules, feed=ground.feed, clock=ground.clock, journal=journal
        )
        hosted = HostedExchange(host=host, journal=journal, market=None, shown_until_ms=0)
        venue = VenueServer(hosted, KeyRing(ApiKey(key=LOCAL_KEY, secret=LOCAL_SECRET)), UNLIMITED)
        port = free_port()
        sock = listen(HOST, port)
        web = server(_Arrivals(venue.app, ground.watch), streams=True)
        serving = asyncio.get_running_loop().create_task(web.serve(sockets=[sock]), name="http venue")
        venue.open(still=True)
        signer = HmacSigner(LOCAL_KEY, LOCAL_SECRET)
        connector = create_venue(
            name="bench",
            hosts=local(f"http://{HOST}:{port}"),
            clock=ground.clock,
            randomness=SystemRandomness(),
            snapshots=None,
            signer_futures=signer,
            signer_spot=signer,
            limits=SocketLimits(stall_ms=QUIET_MS, kline_stall_ms=QUIET_MS),
        )
        try:
            await connector.open()
            await connector.instruments()  # and with them the limits, which this server has raised
            yield Opened(host=host, venue=connector, echo_ms=ECHO_MS)
        finally:
            await connector.close()
            await stop((web, serving))
            await venue.close()


@dataclass(frozen=True, slots=True)
class _Arrivals:
    """Reads each futures order as it comes in, before the exchange does."""

    app: VenueApp
    watch: Stopwatch

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", "/fapi/v1/order"):
            await self.app(scope, receive, send)
            return

        async def watched() -> Any:
            message = await receive()
            self._read(message.get("body", b""))
            return message

        await self.app(scope, watched, send)

    def _read(self, body: bytes) -> None:
        asked = parse_qs(body.decode())
        if asked.get("reduceOnly") != ["true"]:
            self.watch.mark(asked["symbol"][0], ARRIVED)
