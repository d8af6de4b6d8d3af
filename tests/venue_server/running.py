"""The exchange's server on a real port of this machine, in the test's own loop, and a signed client of few words."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from yarl import URL

from chimera.app.serving import listen, server, stop
from chimera.venue_server.limits import LimitRules
from chimera.venue_server.server import VenueOptions, VenueServer, open_exchange
from tests.loopback import free_ports

BEGINS_MS = 1_790_000_000_000
KEY = "test-key"
SECRET = "test-secret"


@dataclass(slots=True)
class Reply:
    status: int
    body: Any
    headers: dict[str, str]


@dataclass(slots=True)
class RunningVenue:
    """`get`, `post`, … sign when told to; parameters go into the query, or into the body with `in_body`."""

    url: str
    venue: VenueServer
    session: aiohttp.ClientSession
    key: str = KEY
    secret: str = SECRET
    extra_headers: dict[str, str] = field(default_factory=dict)

    @property
    def ws(self) -> str:
        return self.url.replace("http", "ws", 1)

    @property
    def now_ms(self) -> int:
        return self.venue.floor.now_ms()

    async def call(
        self, method: str, path: str, *, signed: bool = False, in_body: bool = False, **params: Any
    ) -> Reply:
        sent = {name: str(value) for name, value in params.items() if value is not None}
        headers = dict(self.extra_headers)
        if signed:
            sent.setdefault("timestamp", str(self.now_ms))
            headers["X-MBX-APIKEY"] = self.key
        text = urlencode(sent)
        if signed:
            text += "&signature=" + hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        url = f"{self.url}{path}"
        data = None
        if in_body:
            data = text
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif text:
            url += "?" + text
        async with self.session.request(method, URL(url, encoded=True), data=data, headers=headers) as response:
            body = await response.read()
            kind = response.headers.get("content-type", "")
            return Reply(
                response.status,
                orjson.loads(body) if kind.startswith("application/json") else body.decode(),
                {name.lower(): value for name, value in response.headers.items()},
            )

    async def get(self, path: str, **params: Any) -> Reply:
        return await self.call("GET", path, **params)

    async def signed(self, method: str, path: str, **params: Any) -> Reply:
        return await self.call(method, path, signed=True, **params)


@asynccontextmanager
async def running_venue(
    *,
    speed: float = 1.0,
    state: Path | None = None,
    limits: LimitRules | None = None,
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT"),
    usdt: Decimal = Decimal(10_000),
    still: bool = False,
    start_ms: int | None = BEGINS_MS,
) -> AsyncIterator[RunningVenue]:
    """`state` is kept between two runs; without it a folder that is gone afterwards is used. `still`: the market does
    not move by itself, the test shows each tick. `start_ms` None: the machine's own time."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as made:
        port = free_ports()
        options = VenueOptions(
            port=port,
            symbols=symbols,
            speed=speed,
            start_ms=start_ms,
            spot_usdt=usdt,
            fut_usdt=usdt,
            api_key=KEY,
            api_secret=SECRET,
            limits=limits or LimitRules(),
        )
        hosted, keys = open_exchange(options, state or Path(made))
        venue = VenueServer(hosted, keys, options.limits)
        sock = listen("127.0.0.1", port)
        web = server(venue.app, streams=True)
        task = asyncio.get_running_loop().create_task(web.serve(sockets=[sock]))
        venue.open(still=still)
        try:
            async with aiohttp.ClientSession() as session:
                yield RunningVenue(f"http://127.0.0.1:{port}", venue, session)
        finally:
            await stop((web, task))
            await venue.close()
