"""A market that stands still until the test moves it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from chimera.adapters.simulated_venue.feed import Tick
from chimera.contracts.enums import Market
from chimera.domain.market.quotes import BookTop, MarkPrice
from chimera.venue_server.limits import LimitRules
from tests.venue_server.running import Reply, RunningVenue, running_venue

D = Decimal


class Stage:
    """Futures BTCUSDT at `last`, one tick of spread around it and `qty` on every level; `api` calls under /fapi."""

    def __init__(self, venue: RunningVenue) -> None:
        self.venue = venue

    def show(self, last: str, *, mark: str | None = None, qty: str = "5", symbol: str = "BTCUSDT") -> None:
        host = self.venue.venue.hosted.host
        now_ms = host.clock.now_ms()
        tick = D("0.10") if symbol == "BTCUSDT" else D("0.01")
        price = D(last)
        book = BookTop(
            now_ms,
            Market.FUT,
            symbol,
            tuple((price - tick * step, D(qty)) for step in range(1, 4)),
            tuple((price + tick * step, D(qty)) for step in range(1, 4)),
            price,
        )
        funding_at_ms = (now_ms // 28_800_000 + 1) * 28_800_000
        shown = MarkPrice(now_ms, symbol, D(mark or last), 0.0001, funding_at_ms, 8)
        host.apply(Tick(now_ms, (book,), (shown,), ()))

    async def api(self, method: str, path: str, **params: Any) -> Reply:
        return await self.venue.signed(method, f"/fapi/{path}", **params)

    async def done(self, method: str, path: str, **params: Any) -> Any:
        """The body of an answer that must be 200."""
        reply = await self.api(method, path, **params)
        assert reply.status == 200, (method, path, reply.body)
        return reply.body

    async def refused(self, method: str, path: str, **params: Any) -> tuple[int, str]:
        """Code and text of an answer that must be 400."""
        reply = await self.api(method, path, **params)
        assert reply.status == 400, (method, path, reply.status, reply.body)
        return reply.body["code"], reply.body["msg"]

    async def order(self, **params: Any) -> Any:
        """POST /order for 0.1 BTCUSDT, limited unless said otherwise."""
        return await self.done("POST", "v1/order", **order_of(**params))

    async def stop(self, **params: Any) -> Any:
        """POST /algoOrder: a stop that would sell 0.1 BTCUSDT at the market, unless said otherwise."""
        return await self.done("POST", "v1/algoOrder", **stop_of(**params))

    async def balance(self) -> Decimal:
        return D((await self.done("GET", "v3/balance"))[0]["balance"])


def order_of(**params: Any) -> dict[str, Any]:
    given = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.1", **params}
    if given["type"] == "LIMIT":
        given.setdefault("timeInForce", "GTC")
    return given


def stop_of(**params: Any) -> dict[str, Any]:
    given = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", **params}
    if given.get("closePosition") != "true":
        given.setdefault("quantity", "0.1")
    return given


@asynccontextmanager
async def stage(last: str = "60000.00", limits: LimitRules | None = None) -> AsyncIterator[Stage]:
    async with running_venue(still=True, limits=limits or LimitRules(scale=100)) as venue:
        on_stage = Stage(venue)
        on_stage.show(last)
        yield on_stage
