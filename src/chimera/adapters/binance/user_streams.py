"""The account as the exchange streams it, of both markets, in our words.

One hub for the account: all listeners share its connections, which last as long as there is a listener. Owns the listen
key, the subscription on spot, and what an event can honestly say:

    ORDER_TRADE_UPDATE, ALGO_UPDATE, executionReport    told, each fill once, no order ever going back
    outboundAccountPosition                             told: it says all about the assets that it names
    ACCOUNT_UPDATE            says less than a balance or a position is: no order margin, no mark, no leverage, no
                              liquidation price. A flat position is told; for the rest `balances` and `positions` are
                              asked, and what they answer is told
    ... with m FUNDING_FEE    names no transaction: `income` is asked until it lists the settlement, and that is told
    balanceUpdate             a difference; the outboundAccountPosition with it says what it led to
    TRADE_LITE, listStatus    what the order events say as well
    MARGIN_CALL, ACCOUNT_CONFIG_UPDATE    logged

After every connection before which something may have been missed, and after an event that could not be read, a
StreamReset goes out: whoever listens reconciles. The same goes for a listener that does not take what it is told.

The listen key is never given back: every process of the account lives on the same one, and it ends by itself.
Source: "User data streams" of USDⓈ-M futures; spot's user-data-stream and web-socket-api documents.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiohttp
import structlog

from chimera.adapters.binance.order_news import Newest, OrderNews
from chimera.adapters.binance.parse_events import (
    ZERO,
    algo_order,
    futures_order,
    is_ours,
    number,
    spot_balances,
    spot_order,
    text,
)
from chimera.adapters.binance.refused import UNREADABLE, RefusedEvents
from chimera.adapters.binance.ws import (
    ConnectGate,
    Line,
    Replace,
    Socket,
    SocketLimits,
    Watch,
    WontOpen,
    failures,
    stop,
)
from chimera.contracts.enums import Market
from chimera.domain.execution.orders import (
    AccountChange,
    Balance,
    BalancesChanged,
    FundingSettled,
    Income,
    IncomeKind,
    PositionChanged,
    StreamReset,
    VenuePosition,
)
from chimera.ports.clock import Clock
from chimera.ports.randomness import Randomness
from chimera.ports.venue import Refused, VenueError
from chimera.runtime.retry import Backoff
from chimera.runtime.waiting import Changed

FUTURES_EVENTS = (
    "ORDER_TRADE_UPDATE",
    "TRADE_LITE",
    "ACCOUNT_UPDATE",
    "ACCOUNT_CONFIG_UPDATE",
    "MARGIN_CALL",
    "ALGO_UPDATE",
    "listenKeyExpired",
)
"""All of them by name: without `events` in the address the stream was seen to end at once."""
WAITING_MAX = 50_000
"""Changes that a listener does not take; then all of them become one StreamReset."""
RESET_DISTANCE_MS = 5_000
"""Between two resets for events that cannot be read."""
ASK_DISTANCE_MS = 1_000
"""Between two questions for what ACCOUNT_UPDATE leaves out."""
ASKED_MAX = 5
"""Tries of such a question; S1 asks for itself every few seconds."""
SETTLEMENT_TRIES = 12
SETTLEMENT_BACK_MS = 120_000
"""The ledger is read from this long before the event: its times are another desk's."""
TRANSFER_MS = 1_000
SUCCESS = 200
"""`status` of an answer of the WebSocket API."""

CAUSES = {
    "DEPOSIT": "TRANSFER",
    "WITHDRAW": "TRANSFER",
    "MARGIN_TRANSFER": "TRANSFER",
    "ASSET_TRANSFER": "TRANSFER",
    "WITHDRAW_REJECT": "TRANSFER",
    "ADMIN_DEPOSIT": "TRANSFER",
    "INSURANCE_CLEAR": "LIQUIDATION",
}
"""`m` of ACCOUNT_UPDATE; the others are told as they are spelt."""

log = structlog.get_logger(__name__)


class _Listener:
    """One consumer's changes, handed over in batches."""

    def __init__(self) -> None:
        self.waiting: list[AccountChange] = []
        self._wake: asyncio.Future[None] | None = None

    def push(self, change: AccountChange) -> None:
        if len(self.waiting) >= WAITING_MAX:
            log.warning("a listener of the account fell behind", dropped=len(self.waiting))
            self.waiting = [StreamReset(change.ts)]
        else:
            self.waiting.append(change)
        self.ring()

    def ring(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def take(self) -> Sequence[AccountChange]:
        waiting, self.waiting = self.waiting, []
        return waiting

    async def rung(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake


class _Desk:
    """What both markets' readers share."""

    watches: Sequence[Watch] = ()

    def __init__(self, hub: "UserStreams", name: str) -> None:
        self.name = name
        self.hub = hub
        self.is_open = False

    def misheard(self, error: Exception, data: Any) -> None:
        self.hub.misread(self.name, error, data)

    def lost(self) -> None:
        self.is_open = False

    def opened(self, *, missed: bool) -> None:
        self.is_open = True
        if missed:
            self.hub.tell(StreamReset(self.hub.clock.now_ms()))

    def take(self, event: Mapping[str, Any], now_ms: int, takers: Mapping[str, Callable[[Any, int], None]]) -> None:
        kind = event.get("e")
        taker = takers.get(kind or "")
        if taker is None:
            self.hub.refused.note(self.name, "an unknown event", event)
            return
        try:
            if is_ours(event):
                taker(event, now_ms)
        except UNREADABLE as error:
            self.hub.misread(f"{self.name} {kind}", error, event)


class _Futures(_Desk):
    def __init__(self, hub: "UserStreams") -> None:
        super().__init__(hub, "futures account")
        self.key = ""
        self._takers: dict[str, Callable[[Any, int], None]] = {
            "ORDER_TRADE_UPDATE": self._order,
            "ALGO_UPDATE": self._algo,
            "ACCOUNT_UPDATE": self._account,
            "TRADE_LITE": _nothing_new,
            "MARGIN_CALL": self._margin_call,
            "ACCOUNT_CONFIG_UPDATE": self._config,
            # Other products' and other people's conditional orders: all that ALGO_UPDATE says as well.
            "CONDITIONAL_ORDER_TRIGGER_REJECT": _nothing_new,
            "STRATEGY_UPDATE": _nothing_new,
            "GRID_UPDATE": _nothing_new,
        }

    async def url(self) -> str:
        # The same key while it lives, and then its time begins anew.
        self.key = await self.hub.new_listen_key()
        return f"{self.hub.futures_ws}/private/ws?listenKey={self.key}&events={'/'.join(FUTURES_EVENTS)}"

    async def subscribe(self, socket: Socket) -> None:
        """The address subscribes. An answer, whatever it says, shows that somebody is there."""
        await self._ask(socket, self.hub.limits.ack_ms)

    async def probe(self, socket: Socket) -> bool:
        await self._ask(socket, self.hub.limits.dead_ms)
        return True

    async def _ask(self, socket: Socket, within_ms: int) -> None:
        clock = self.hub.clock
        await socket.ask("LIST_SUBSCRIPTIONS", None, clock.now_ms() + clock.work_ms(within_ms))

    def hear(self, data: Any, now_ms: int, socket: Socket) -> None:
        event = data["data"] if "stream" in data else data
        if event.get("e") == "listenKeyExpired":
            log.warning("the listen key has expired")
            socket.want_replaced(Replace.LOST)
        elif "e" in event:
            self.take(event, now_ms, self._takers)

    def _order(self, event: Any, now_ms: int) -> None:
        self.hub.tell(self.hub.news.regular(*futures_order(event)))

    def _algo(self, event: Any, now_ms: int) -> None:
        self.hub.tell(self.hub.news.algo(algo_order(event)))

    def _account(self, event: Any, now_ms: int) -> None:
        a, ts = event["a"], int(event.get("T") or event["E"])
        why = text(a, "m")
        symbols = []
        for row in a.get("P", ()):
            if row.get("ps", "BOTH") != "BOTH":
                self.hub.refused.note(self.name, "a position of hedge mode", row)
                continue
            symbol = text(row, "s")
            is_newest = self.hub.moved(symbol, ts)
            if number(row, "pa") != ZERO:
                symbols.append(symbol)
            elif is_newest:
                self.hub.tell(PositionChanged(ts, symbol, None))
        if why == "FUNDING_FEE":
            self.hub.settled(ts, a.get("S"))
        self.hub.changed(ts, CAUSES.get(why, why), symbols)

    def _margin_call(self, event: Any, now_ms: int) -> None:
        log.error("the exchange warns of a liquidation", positions=[row.get("s") for row in event.get("p", ())])

    def _config(self, event: Any, now_ms: int) -> None:
        log.info("the account was set up anew", of=event.get("ac"), all=event.get("ai"))

    async def keep_key(self, reopen: Callable[[], None]) -> None:
        """For ever: extend the key's life. One that is gone is replaced with the connection."""
        hub, clock = self.hub, self.hub.clock
        while True:
            await clock.sleep_until_ms(clock.now_ms() + clock.work_ms(hub.limits.keep_key_ms))
            backoff = Backoff(clock, hub.randomness, first_ms=2_000, max_ms=60_000)
            while self.key:
                try:
                    await hub.keep_listen_key(self.key)
                    break
                except Refused as refused:
                    log.warning("the listen key is gone", code=refused.code)
                    reopen()
                    break
                except VenueError as error:
                    log.warning("the listen key could not be extended", why=str(error))
                await backoff.wait()


class _Spot(_Desk):
    def __init__(self, hub: "UserStreams") -> None:
        super().__init__(hub, "spot account")
        self._transfers: Newest[str, int] = Newest(100)
        """By asset: when the last transfer was told."""
        self._newest: Newest[str, int] = Newest(1_000)
        """By asset: of when the balance is that was told."""
        self._takers: dict[str, Callable[[Any, int], None]] = {
            "executionReport": self._order,
            "outboundAccountPosition": self._balances,
            "balanceUpdate": self._transfer,
            "listStatus": _nothing_new,
            "externalLockUpdate": _nothing_new,
        }

    async def url(self) -> str:
        return self.hub.spot_ws_api

    async def subscribe(self, socket: Socket) -> None:
        clock = self.hub.clock
        params = await self.hub.spot_subscription_params()
        deadline_ms = clock.now_ms() + clock.work_ms(self.hub.limits.ack_ms)
        answer = await socket.ask("userDataStream.subscribe.signature", dict(params), deadline_ms)
        if answer.get("status") != SUCCESS:
            error = answer.get("error") or {}
            raise WontOpen(f"{answer.get('status')}: {error.get('code')} {error.get('msg')}")

    async def probe(self, socket: Socket) -> bool:
        clock = self.hub.clock
        deadline_ms = clock.now_ms() + clock.work_ms(self.hub.limits.dead_ms)
        answer = await socket.ask("session.subscriptions", None, deadline_ms)
        return not (answer.get("status") == SUCCESS and answer.get("result") == [])

    def hear(self, data: Any, now_ms: int, socket: Socket) -> None:
        event = data.get("event")
        if event is None:
            event = data
        kind = event.get("e")
        if kind == "eventStreamTerminated":
            log.warning("the exchange ended the subscription")
            socket.want_replaced(Replace.LOST)
        elif kind == "serverShutdown":
            socket.want_replaced(Replace.RENEWED)
        elif kind is not None:
            self.take(event, now_ms, self._takers)

    def _order(self, event: Any, now_ms: int) -> None:
        self.hub.tell(self.hub.news.regular(*spot_order(event)))

    def _balances(self, event: Any, now_ms: int) -> None:
        ts = int(event.get("u") or event["E"])
        balances = tuple(each for each in spot_balances(event) if ts >= self._newest.get(each.asset, 0))
        if not balances:
            return
        for each in balances:
            self._newest.put(each.asset, ts)
        moved = any(abs(self._transfers.get(each.asset, -TRANSFER_MS) - ts) < TRANSFER_MS for each in balances)
        self.hub.tell(BalancesChanged(ts, "TRANSFER" if moved else "ORDER", balances))

    def _transfer(self, event: Any, now_ms: int) -> None:
        self._transfers.put(text(event, "a"), int(event.get("T") or event["E"]))


class UserStreams:
    """The streaming half of the venue port's account. `futures_ws` or `spot_ws_api` empty: that market is not served.

    `new_listen_key` answers the key that lives, made anew or not; `keep_listen_key` raises Refused for one that is
    gone. `balances`, `positions` and `income` are the venue port's own. Without `positions` only flat ones are told.
    """

    def __init__(
        self,
        *,
        futures_ws: str,
        spot_ws_api: str,
        session: aiohttp.ClientSession,
        clock: Clock,
        randomness: Randomness,
        gate: ConnectGate,
        new_listen_key: Callable[[], Awaitable[str]],
        keep_listen_key: Callable[[str], Awaitable[None]],
        spot_subscription_params: Callable[[], Awaitable[Mapping[str, str | int]]],
        balances: Callable[[], Awaitable[Sequence[Balance]]],
        income: Callable[[int], Awaitable[Sequence[Income]]],
        positions: Callable[[], Awaitable[Sequence[VenuePosition]]] | None = None,
        funding_rate: Callable[[str, int], float | None] | None = None,
        limits: SocketLimits | None = None,
    ) -> None:
        self.futures_ws = futures_ws
        self.spot_ws_api = spot_ws_api
        self.clock = clock
        self.randomness = randomness
        self.limits = limits or SocketLimits()
        self.new_listen_key = new_listen_key
        self.keep_listen_key = keep_listen_key
        self.spot_subscription_params = spot_subscription_params
        self.refused = RefusedEvents()
        self.news = OrderNews()
        self._session = session
        self._gate = gate
        self._balances = balances
        self._income = income
        self._positions = positions
        self._funding_rate = funding_rate
        self._listeners: list[_Listener] = []
        self._tasks: list[asyncio.Future[None]] = []
        self._desks: list[_Desk] = []
        self._failed: list[BaseException] = []
        self._reset_ms = 0
        self._ask = Changed()
        self._cause = ""
        self._asked_for: set[str] = set()
        self._ask_balances = False
        self._moved: Newest[str, int] = Newest(5_000)
        """By symbol: of when the newest position is that was heard of."""
        self._overtaken: set[str] = set()
        """Symbols heard of since positions were last asked for."""
        self._settlements: list[tuple[int, str | None]] = []
        self._settled: Newest[int, None] = Newest(5_000)
        """Transactions told."""
        self._settle = Changed()

    async def events(self) -> AsyncIterator[Sequence[AccountChange]]:
        """Batches from now on, beginning with a StreamReset once we are subscribed."""
        listener = _Listener()
        self._listeners.append(listener)
        if len(self._listeners) == 1:
            self._start()
        elif any(desk.is_open for desk in self._desks):
            listener.push(StreamReset(self.clock.now_ms()))
        try:
            while True:
                changes = listener.take()
                if changes:
                    yield changes
                elif self._failed:
                    raise self._failed[0]
                else:
                    await listener.rung()
        finally:
            self._listeners.remove(listener)
            if not self._listeners:
                tasks, self._tasks = self._tasks, []
                await stop(tasks)

    def _start(self) -> None:
        futures, spot = _Futures(self), _Spot(self)
        desks: list[tuple[_Desk, Line]] = []
        for root, desk in ((self.futures_ws, futures), (self.spot_ws_api, spot)):
            if root:
                desks.append((desk, self._line(desk)))
        self._desks = [desk for desk, _ in desks]
        work = [line.run() for _, line in desks] + [self._answer_for_accounts(), self._look_for_settlements()]
        if self.futures_ws:
            work.append(futures.keep_key(desks[0][1].reopen))
        self._tasks = [asyncio.ensure_future(each) for each in work]
        self._failed = failures(self._tasks, self._ring_all)

    def _line(self, desk: "_Futures | _Spot") -> Line:
        return Line(
            reader=desk,
            session=self._session,
            clock=self.clock,
            randomness=self.randomness,
            gate=self._gate,
            limits=self.limits,
            probes=True,
        )

    def _ring_all(self) -> None:
        for listener in self._listeners:
            listener.ring()

    # --- what the desks say

    def tell(self, change: AccountChange | None) -> None:
        if change is not None:
            for listener in self._listeners:
                listener.push(change)

    def misread(self, stream: str, error: Exception, event: Any) -> None:
        """Something happened to the account, and we cannot say what: whoever listens has to ask."""
        self.refused.note(stream, error, event)
        now_ms = self.clock.now_ms()
        if now_ms - self._reset_ms >= self.clock.work_ms(RESET_DISTANCE_MS):
            self._reset_ms = now_ms
            self.tell(StreamReset(now_ms))

    def moved(self, symbol: str, ts: int) -> bool:
        """A position of `ts` was heard of; False where a newer one was before."""
        is_newest = ts >= self._moved.get(symbol, 0)
        if is_newest:
            self._moved.put(symbol, ts)
            self._overtaken.add(symbol)
        return is_newest

    def changed(self, ts: int, cause: str, symbols: Sequence[str]) -> None:
        self._cause = cause
        self._ask_balances = True
        self._asked_for.update(symbols)
        self._ask.tell()

    def settled(self, ts: int, symbol: str | None) -> None:
        self._settlements.append((ts, symbol))
        self._settle.tell()

    # --- what is asked for

    async def _answer_for_accounts(self) -> None:
        """For ever: balances and positions, as soon as the exchange says that they changed."""
        clock = self.clock
        backoff = Backoff(clock, self.randomness, first_ms=ASK_DISTANCE_MS)
        while True:
            while not self._ask_balances:
                await self._ask.wait_until(clock, clock.now_ms() + clock.work_ms(60_000))
            cause, symbols = self._cause, self._asked_for
            self._ask_balances, self._asked_for = False, set()
            try:
                await self._tell_account(cause, symbols)
                backoff.reset()
                await clock.sleep_until_ms(clock.now_ms() + clock.work_ms(ASK_DISTANCE_MS))
            except VenueError as error:
                log.warning("the account cannot be asked for", why=str(error))
                if backoff.tried < ASKED_MAX:
                    self._ask_balances = True
                    self._asked_for |= symbols
                else:
                    backoff.reset()
                await backoff.wait()

    async def _tell_account(self, cause: str, symbols: set[str]) -> None:
        # Positions first: they are told even while our own budget keeps balances back.
        if symbols and self._positions is not None:
            self._overtaken.clear()
            open_ones = {each.symbol: each for each in await self._positions()}
            # What was heard meanwhile is newer than the answer may be: told already where flat, else asked for again.
            for symbol in sorted(symbols - self._overtaken):
                self.tell(PositionChanged(self.clock.now_ms(), symbol, open_ones.get(symbol)))
        balances = tuple(each for each in await self._balances() if each.market is Market.FUT)
        if balances:
            self.tell(BalancesChanged(self.clock.now_ms(), cause, balances))

    async def _look_for_settlements(self) -> None:
        """For ever: the ledger's lines for the settlements that were announced. It lists them a moment later."""
        clock = self.clock
        while True:
            while not self._settlements:
                await self._settle.wait_until(clock, clock.now_ms() + clock.work_ms(60_000))
            backoff = Backoff(clock, self.randomness, first_ms=500, max_ms=30_000)
            while self._settlements and backoff.tried < SETTLEMENT_TRIES:
                await backoff.wait()
                await self._read_ledger()
            for ts, symbol in self._settlements:
                log.warning("a settlement is not in the ledger", symbol=symbol, ts=ts)
            self._settlements.clear()

    async def _read_ledger(self) -> None:
        wanted = list(self._settlements)
        since_ms = min(ts for ts, _ in wanted) - SETTLEMENT_BACK_MS
        try:
            lines = await self._income(since_ms)
        except VenueError as error:
            log.warning("the ledger cannot be read", why=str(error))
            return
        for line in lines:
            if line.kind is not IncomeKind.FUNDING_FEE or line.tran_id in self._settled:
                continue
            found = [each for each in wanted if each[1] in (None, line.symbol)]
            if not found:
                continue
            self._settled.put(line.tran_id, None)
            rate = self._funding_rate(line.symbol, line.ts) if self._funding_rate is not None else None
            self.tell(FundingSettled(line.ts, line, rate))
            for each in found:
                if each in self._settlements:
                    self._settlements.remove(each)


def _nothing_new(event: Any, now_ms: int) -> None:
    """What it says, another event says better."""
