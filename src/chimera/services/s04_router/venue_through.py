"""An exchange seen through something: every call is handed on, and whoever stands in between overrides what it minds.

Owns the handing on alone, so that a method that the port gains is forgotten here once and not in each wrapper.
"""

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import (
    AccountChange,
    Balance,
    Income,
    NewOco,
    NewOrder,
    Transfer,
    VenueFill,
    VenueOrder,
    VenuePosition,
)
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Bar, BookTop, MarketEvent, MarkPrice
from chimera.ports.venue import Capabilities, Venue


class VenueThrough:
    def __init__(self, inner: Venue) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    @property
    def tick_interval_ms(self) -> int:
        return self._inner.tick_interval_ms

    async def server_time_ms(self) -> int:
        return await self._inner.server_time_ms()

    async def instruments(self) -> Sequence[Instrument]:
        return await self._inner.instruments()

    async def taker_fee_ratio(self, market: Market) -> Decimal:
        return await self._inner.taker_fee_ratio(market)

    async def maker_fee_ratio(self, market: Market) -> Decimal:
        return await self._inner.maker_fee_ratio(market)

    async def book(self, key: InstrumentKey) -> BookTop:
        return await self._inner.book(key)

    async def mark(self, symbol: str) -> MarkPrice:
        return await self._inner.mark(symbol)

    async def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        return await self._inner.klines(key, interval, start_ms, end_ms)

    def market_events(self, keys: Sequence[InstrumentKey]) -> AsyncIterator[Sequence[MarketEvent]]:
        return self._inner.market_events(keys)

    def account_events(self) -> AsyncIterator[Sequence[AccountChange]]:
        return self._inner.account_events()

    async def balances(self) -> Sequence[Balance]:
        return await self._inner.balances()

    async def positions(self) -> Sequence[VenuePosition]:
        return await self._inner.positions()

    async def open_orders(self, keys: Sequence[InstrumentKey] | None = None) -> Sequence[VenueOrder]:
        return await self._inner.open_orders(keys)

    async def order(self, key: InstrumentKey, client_order_id: str, *, conditional: bool) -> VenueOrder:
        return await self._inner.order(key, client_order_id, conditional=conditional)

    async def fills(self, key: InstrumentKey, since_ms: int) -> Sequence[VenueFill]:
        return await self._inner.fills(key, since_ms)

    async def income(self, since_ms: int) -> Sequence[Income]:
        return await self._inner.income(since_ms)

    async def place(self, order: NewOrder) -> VenueOrder:
        return await self._inner.place(order)

    async def place_oco(self, oco: NewOco) -> Sequence[VenueOrder]:
        return await self._inner.place_oco(oco)

    async def cancel(self, key: InstrumentKey, client_order_id: str, *, conditional: bool) -> VenueOrder:
        return await self._inner.cancel(key, client_order_id, conditional=conditional)

    async def cancel_all_after(self, symbol: str, countdown_ms: int) -> None:
        await self._inner.cancel_all_after(symbol, countdown_ms)

    async def ensure_isolated(self, symbol: str, leverage: int) -> None:
        await self._inner.ensure_isolated(symbol, leverage)

    async def transfer(self, source: Market, target: Market, amount_usdt: Decimal) -> int:
        return await self._inner.transfer(source, target, amount_usdt)

    async def transfers(self, since_ms: int) -> Sequence[Transfer]:
        return await self._inner.transfers(since_ms)
