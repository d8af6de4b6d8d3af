"""The venue port over Binance: which call answers which question, and with what rank it asks for room.

Owns no wire: futures, spot, wallet and the two streams do. A query that the exchange refuses (a key without permission,
an unknown symbol) is told as VenueUnavailable, as the port wants it, with the refusal as its cause; the parts
(`futures`, `spot`, `wallet`) raise the refusal itself, for whoever looks for the reason.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

import aiohttp
import structlog

from chimera.adapters.binance.budget import Budget, Priority, budget_key
from chimera.adapters.binance.futures import LOOKUP_LAG_MS, FeeRates, Futures
from chimera.adapters.binance.hosts import Hosts, Site
from chimera.adapters.binance.known import KnownOrders
from chimera.adapters.binance.local_book import DepthSnapshot
from chimera.adapters.binance.market_streams import MarketStreams
from chimera.adapters.binance.rest import TIMEOUT_MS, Rest, understood
from chimera.adapters.binance.signing import Signer
from chimera.adapters.binance.spot import Spot
from chimera.adapters.binance.user_streams import UserStreams
from chimera.adapters.binance.wallet import Wallet
from chimera.adapters.binance.ws import ConnectGate, SocketLimits
from chimera.contracts.enums import Market, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import (
    AccountChange,
    Balance,
    Income,
    NewOco,
    NewOrder,
    OrderUpdated,
    Transfer,
    VenueFill,
    VenueOrder,
    VenuePosition,
)
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Bar, BookTop, MarketEvent, MarkPrice
from chimera.ports.clock import Clock
from chimera.ports.randomness import Randomness
from chimera.ports.state import Snapshots
from chimera.ports.venue import Capabilities, Refused, UnknownOrder, VenueUnavailable

FEES_HOLD_MS = 3_600_000
"""How long a fee rate is believed, work time."""
FEES_ASKED_AGAIN_MS = 60_000
"""How long after a question about fees that failed, work time: a stop waits for the answer."""
PUBLISHED_FEES = {
    Market.FUT: FeeRates(maker=Decimal("0.0002"), taker=Decimal("0.0005")),
    Market.SPOT: FeeRates(maker=Decimal("0.001"), taker=Decimal("0.001")),
}
"""Of an account without volume: for whoever has no key to ask for its own."""
KEEPALIVE_S = 30.0
LISTED_ONE_BY_ONE = 12
"""So many instruments are listed one by one: 2 or 6 of weight each, where everything costs 160."""
SNAPSHOT_LEVELS = 1_000
"""Of a local book: 5000 are to be had on spot, for five times the weight."""


log = structlog.get_logger(__name__)


class MarketSource(Protocol):
    def events(self, keys: Sequence[InstrumentKey]) -> AsyncIterator[Sequence[MarketEvent]]: ...


class AccountSource(Protocol):
    def events(self) -> AsyncIterator[Sequence[AccountChange]]: ...


class BinanceVenue:
    """`open` before the first call, `close` at the end. The two streams are given later: they ask by these same parts.

    `env` and `address` name the rate budget that all processes behind one address share. `tick_interval_ms` is 0 but on
    an exchange that moves in steps. `fee_symbol` stands for all symbols where the exchange has fees by symbol.
    """

    def __init__(
        self,
        *,
        name: str,
        hosts: Hosts,
        clock: Clock,
        session: aiohttp.ClientSession,
        snapshots: Snapshots | None,
        signer_futures: Signer | None = None,
        signer_spot: Signer | None = None,
        env: str = "local",
        address: str = "local",
        tick_interval_ms: int = 0,
        fee_symbol: str = "BTCUSDT",
        owns_session: bool = False,
        timeout_ms: int = TIMEOUT_MS,
    ) -> None:
        self._name = name
        self._clock = clock
        self._session = session
        self._owns_session = owns_session
        self._tick_interval_ms = tick_interval_ms
        self._fee_symbol = fee_symbol
        self._fees: dict[Market, tuple[FeeRates, int]] = {}
        self._fees_missing: set[Market] = set()
        self._known = KnownOrders()
        self.budget = Budget(clock, snapshots, budget_key(env, name, address))
        self.rest = Rest(
            session=session,
            hosts=hosts,
            clock=clock,
            budget=self.budget,
            signer_futures=signer_futures,
            signer_spot=signer_spot,
            timeout_ms=timeout_ms,
        )
        self.futures = Futures(self.rest, self._known)
        self.spot = Spot(self.rest, self._known)
        self.wallet = Wallet(self.rest)
        self.market_source: MarketSource | None = None
        self.account_source: AccountSource | None = None
        self._capabilities = Capabilities(
            oco=True,
            post_only=True,
            reduce_only=True,
            stop_market=True,
            trailing_stop=True,
            dead_man_switch=True,
            transfers=hosts.wallet_rest is not None,
            lookup_lag_ms=LOOKUP_LAG_MS,
        )

    async def open(self) -> None:
        """Learn what every call needs: how far the clocks are apart, and what others have used of the limits.

        Raises:
            VenueUnavailable: it cannot be reached.
        """
        await self.budget.share()
        await self.rest.clocks[Site.FUTURES].measure()
        await self.rest.clocks[Site.SPOT].measure()
        with _asking():
            await self.futures.funding_intervals_h()

    async def close(self) -> None:
        await self.budget.close()
        if self._owns_session:
            await self._session.close()

    # --- the venue port

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def tick_interval_ms(self) -> int:
        return self._tick_interval_ms

    async def server_time_ms(self) -> int:
        return await self.rest.clocks[Site.FUTURES].ask()

    async def instruments(self) -> Sequence[Instrument]:
        with _asking():
            return *await self.futures.instruments(), *await self.spot.instruments()

    async def taker_fee_ratio(self, market: Market) -> Decimal:
        return (await self._fee_rates(market)).taker

    async def maker_fee_ratio(self, market: Market) -> Decimal:
        return (await self._fee_rates(market)).maker

    async def book(self, key: InstrumentKey) -> BookTop:
        with _asking():
            return await (self.futures if key.market is Market.FUT else self.spot).book(key.symbol)

    async def mark(self, symbol: str) -> MarkPrice:
        with _asking():
            return await self.futures.mark(symbol)

    async def klines(self, key: InstrumentKey, interval: str, start_ms: int, end_ms: int) -> Sequence[Bar]:
        part = self.futures if key.market is Market.FUT else self.spot
        with _asking():
            return await part.klines(key.symbol, interval, start_ms, end_ms)

    def market_events(self, keys: Sequence[InstrumentKey]) -> AsyncIterator[Sequence[MarketEvent]]:
        if self.market_source is None:
            raise VenueUnavailable("no market streams were given")
        return self.market_source.events(keys)

    async def account_events(self) -> AsyncIterator[Sequence[AccountChange]]:
        if self.account_source is None:
            raise VenueUnavailable("no account streams were given: they need API keys")
        async for changes in self.account_source.events():
            yield [self._seen(change) for change in changes]

    async def balances(self) -> Sequence[Balance]:
        with _asking():
            return *await self.futures.balances(), *await self.spot.balances()

    async def positions(self) -> Sequence[VenuePosition]:
        with _asking():
            return await self.futures.positions()

    async def open_orders(self, keys: Sequence[InstrumentKey] | None = None) -> Sequence[VenueOrder]:
        with _asking():
            if keys is None or len(keys) > LISTED_ONE_BY_ONE:
                listed = [*await self.futures.open_orders(), *await self.spot.open_orders()]
                return listed if keys is None else [order for order in listed if order.key in keys]
            found: list[VenueOrder] = []
            for key in keys:
                found += await (self.futures if key.market is Market.FUT else self.spot).open_orders(key.symbol)
            return found

    async def order(self, key: InstrumentKey, client_order_id: str, *, conditional: bool) -> VenueOrder:
        with _asking():
            if key.market is Market.SPOT:
                return await self.spot.order(key.symbol, client_order_id)
            return await self.futures.order(key.symbol, client_order_id, conditional=conditional)

    async def fills(self, key: InstrumentKey, since_ms: int) -> Sequence[VenueFill]:
        with _asking():
            return await (self.futures if key.market is Market.FUT else self.spot).fills(key.symbol, since_ms)

    async def income(self, since_ms: int) -> Sequence[Income]:
        with _asking():
            return await self.futures.income(since_ms)

    async def place(self, order: NewOrder) -> VenueOrder:
        return await (self.futures if order.market is Market.FUT else self.spot).place(order, rank_of(order))

    async def place_oco(self, oco: NewOco) -> Sequence[VenueOrder]:
        return await self.spot.place_oco(oco, Priority.PROTECTIVE if oco.side is Side.SELL else Priority.ENTRY)

    async def cancel(self, key: InstrumentKey, client_order_id: str, *, conditional: bool) -> VenueOrder:
        if key.market is Market.SPOT:
            return await self.spot.cancel(key.symbol, client_order_id)
        return await self.futures.cancel(key.symbol, client_order_id, conditional=conditional)

    async def cancel_all_after(self, symbol: str, countdown_ms: int) -> None:
        await self.futures.cancel_all_after(symbol, countdown_ms)

    async def ensure_isolated(self, symbol: str, leverage: int) -> None:
        await self.futures.ensure_isolated(symbol, leverage)

    async def transfer(self, source: Market, target: Market, amount_usdt: Decimal) -> int:
        return await self.wallet.transfer(source, target, "USDT", amount_usdt)

    async def transfers(self, since_ms: int) -> Sequence[Transfer]:
        with _asking():
            return await self.wallet.transfers(since_ms)

    # --- what the streams ask for

    async def depth(self, key: InstrumentKey) -> DepthSnapshot:
        part = self.futures if key.market is Market.FUT else self.spot
        with _asking():
            row = await part.depth(key.symbol, SNAPSHOT_LEVELS)
        return understood(lambda row: DepthSnapshot(int(row["lastUpdateId"]), row["bids"], row["asks"]), row)

    async def last_price(self, key: InstrumentKey) -> Decimal:
        with _asking():
            return await (self.futures if key.market is Market.FUT else self.spot).last_price(key.symbol)

    # --- parts

    async def _fee_rates(self, market: Market) -> FeeRates:
        """The account's own, else those last known, else the published ones: no stop fails over its fee."""
        rates, until_ms = self._fees.get(market, (PUBLISHED_FEES[market], 0))
        if self._clock.now_ms() < until_ms or not self.rest.has_key(_SITES[market]):
            return rates
        hold_ms = FEES_HOLD_MS
        try:
            rates = await (self.futures if market is Market.FUT else self.spot).fee_rates(self._fee_symbol)
            self._fees_missing.discard(market)
        except (VenueUnavailable, Refused) as error:
            hold_ms = FEES_ASKED_AGAIN_MS
            if market not in self._fees_missing:
                self._fees_missing.add(market)
                log.warning("fees cannot be asked for", market=market.value, taken=str(rates.taker), why=str(error))
        self._fees[market] = rates, self._clock.now_ms() + self._clock.work_ms(hold_ms)
        return rates

    def _seen(self, change: AccountChange) -> AccountChange:
        if isinstance(change, OrderUpdated):
            return replace(change, order=self._known.see(change.order))
        return change


_SITES = {Market.FUT: Site.FUTURES, Market.SPOT: Site.SPOT}


def rank_of(order: NewOrder) -> Priority:
    """What closes or covers a position goes first. Spot has no reduce-only: what sells, closes."""
    if order.market is Market.SPOT:
        return Priority.PROTECTIVE if order.side is Side.SELL else Priority.ENTRY
    return Priority.PROTECTIVE if order.reduce_only or order.close_position else Priority.ENTRY


@contextmanager
def _asking() -> Iterator[None]:
    """A refused question is no answer; that an order is unknown is one."""
    try:
        yield
    except UnknownOrder:
        raise
    except Refused as refusal:
        raise VenueUnavailable(str(refusal)) from refusal


def create_venue(
    *,
    name: str,
    hosts: Hosts,
    clock: Clock,
    randomness: Randomness,
    snapshots: Snapshots | None,
    signer_futures: Signer | None = None,
    signer_spot: Signer | None = None,
    session: aiohttp.ClientSession | None = None,
    env: str = "local",
    address: str = "local",
    tick_interval_ms: int = 0,
    timeout_ms: int = TIMEOUT_MS,
    limits: SocketLimits | None = None,
) -> BinanceVenue:
    """The whole of it, streams included; to be made in the running loop, opened, and closed.

    Without signers it serves the public market only: what paper trading needs. A session that is given stays its
    owner's to close.
    `timeout_ms` of a call and `limits` of the streams are real time.
    """
    owns_session = session is None
    if session is None:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=300),
            headers={"User-Agent": "chimera"},
        )
    venue = BinanceVenue(
        name=name,
        hosts=hosts,
        clock=clock,
        session=session,
        snapshots=snapshots,
        signer_futures=signer_futures,
        signer_spot=signer_spot,
        env=env,
        address=address,
        tick_interval_ms=tick_interval_ms,
        owns_session=owns_session,
        timeout_ms=timeout_ms,
    )
    gate = ConnectGate(clock)
    market = MarketStreams(
        futures_ws=hosts.futures_ws,
        spot_ws=hosts.spot_ws,
        session=session,
        clock=clock,
        randomness=randomness,
        gate=gate,
        snapshot=venue.depth,
        klines=venue.klines,
        last_price=venue.last_price,
        interval_h=venue.futures.interval_h,
        tick_interval_ms=tick_interval_ms,
        limits=limits,
    )
    venue.market_source = market
    if signer_futures is not None or signer_spot is not None:
        venue.account_source = UserStreams(
            futures_ws=hosts.futures_ws if signer_futures is not None else "",
            spot_ws_api=hosts.spot_ws_api if signer_spot is not None else "",
            session=session,
            clock=clock,
            randomness=randomness,
            gate=gate,
            new_listen_key=venue.futures.listen_key,
            keep_listen_key=venue.futures.keep_listen_key,
            spot_subscription_params=venue.spot.subscription_params,
            balances=venue.balances,
            income=venue.income,
            positions=venue.positions,
            funding_rate=market.rate_at,
            limits=limits,
        )
    return venue
