"""A spot market that stands still until the test moves it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from chimera.adapters.simulated_venue.feed import Tick
from chimera.contracts.enums import Market
from chimera.domain.market.quotes import BookTop
from chimera.venue_server.limits import LimitRules
from tests.venue_server.running import RunningVenue, running_venue

D = Decimal
TICK = D("0.01")


class SpotStage:
    """BTCUSDT at `last`, one tick of spread around it and `qty` on every level."""

    def __init__(self, venue: RunningVenue) -> None:
        self.venue = venue

    def show(self, last: str, *, qty: str = "5") -> None:
        host = self.venue.venue.hosted.host
        now_ms = host.clock.now_ms()
        price = D(last)
        book = BookTop(
            now_ms,
            Market.SPOT,
            "BTCUSDT",
            tuple((price - TICK * step, D(qty)) for step in range(1, 4)),
            tuple((price + TICK * step, D(qty)) for step in range(1, 4)),
            price,
        )
        host.apply(Tick(now_ms, (book,), (), ()))

    async def done(self, method: str, path: str, **params: Any) -> Any:
        """The body of an answer that must be 200, of a path under /api/v3."""
        reply = await self.venue.signed(method, f"/api/v3/{path}", **params)
        assert reply.status == 200, (method, path, reply.body)
        return reply.body

    async def shown(self, path: str, **params: Any) -> Any:
        """The same for what needs no key."""
        reply = await self.venue.get(f"/api/v3/{path}", **params)
        assert reply.status == 200, (path, reply.body)
        return reply.body

    async def refused(self, method: str, path: str, **params: Any) -> tuple[int, str]:
        """Code and text of an answer that must be 400."""
        reply = await self.venue.signed(method, f"/api/v3/{path}", **params)
        assert reply.status == 400, (method, path, reply.status, reply.body)
        return reply.body["code"], reply.body["msg"]

    async def order(self, **params: Any) -> Any:
        """POST order for 0.01 BTC, limited and buying unless said otherwise."""
        return await self.done("POST", "order", **order_of(**params))

    async def oco(self, **params: Any) -> Any:
        return await self.done("POST", "orderList/oco", **oco_of(**params))

    async def free(self) -> dict[str, Decimal]:
        return {row["asset"]: D(row["free"]) for row in (await self.done("GET", "account"))["balances"]}

    async def locked(self) -> dict[str, Decimal]:
        return {row["asset"]: D(row["locked"]) for row in (await self.done("GET", "account"))["balances"]}

    async def buy(self, qty: str = "0.1") -> Any:
        return await self.order(type="MARKET", quantity=qty)


def order_of(**params: Any) -> dict[str, Any]:
    given = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.01", **params}
    if given["type"].endswith("LIMIT"):
        given.setdefault("timeInForce", "GTC")
    return given


def oco_of(**params: Any) -> dict[str, Any]:
    """A target at 66,000 and a stop at 54,000 that sells 0.05 BTC at the market, unless said otherwise."""
    given = {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "quantity": "0.05",
        "aboveType": "LIMIT_MAKER",
        "abovePrice": "66000",
        "belowType": "STOP_LOSS",
        "belowStopPrice": "54000",
        **params,
    }
    return {name: value for name, value in given.items() if value is not None}


@asynccontextmanager
async def spot_stage(last: str = "60000.00", *, usdt: str = "10000") -> AsyncIterator[SpotStage]:
    async with running_venue(still=True, limits=LimitRules(scale=100), usdt=D(usdt)) as venue:
        on_stage = SpotStage(venue)
        on_stage.show(last)
        yield on_stage
