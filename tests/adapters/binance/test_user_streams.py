import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from chimera.adapters.binance import user_streams
from chimera.adapters.binance.user_streams import UserStreams
from chimera.adapters.binance.ws import ConnectGate, SocketLimits
from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.contracts.enums import Market, OrderStatus, OrderType
from chimera.domain.execution.orders import (
    AccountChange,
    Balance,
    BalancesChanged,
    FundingSettled,
    Income,
    IncomeKind,
    OrderUpdated,
    PositionChanged,
    StreamReset,
    VenuePosition,
)
from chimera.ports.venue import Refused, VenueUnavailable
from tests.adapters.binance.stream_server import Peer, StreamServer, serving

T0 = 1_789_363_069_186


def order(ts: int, status: str, filled: str = "0", **more: Any) -> dict[str, Any]:
    """An ORDER_TRADE_UPDATE; with `t` a trade of what was filled last."""
    o = {"s": "BTCUSDT", "c": "ours-1", "S": "BUY", "o": "LIMIT", "f": "GTC", "q": "3", "p": "100", "ap": "0"}
    o |= {"sp": "0", "x": "TRADE" if "t" in more else status, "X": status, "i": 77, "l": "1", "z": filled}
    o |= {"L": "100", "T": T0 + ts, "t": 0, "m": False, "R": False, "wt": "CONTRACT_PRICE", "ot": "LIMIT"}
    o |= {"ps": "BOTH", "cp": False, "rp": "0", "n": "0.05", "N": "USDT"}
    return {"e": "ORDER_TRADE_UPDATE", "E": T0 + ts, "T": T0 + ts, "o": o | more}


def algo(ts: int, status: str, **more: Any) -> dict[str, Any]:
    o = {"caid": "stop-1", "aid": 5, "at": "CONDITIONAL", "o": "STOP_MARKET", "s": "BTCUSDT", "S": "SELL"}
    o |= {"ps": "BOTH", "f": "GTC", "q": "3", "X": status, "ai": "", "tp": "90", "p": "0", "wt": "MARK_PRICE"}
    o |= {"cp": False, "R": True, "tt": 0}
    return {"e": "ALGO_UPDATE", "E": T0 + ts, "T": T0 + ts, "o": o | more}


def execution(ts: int, status: str, **more: Any) -> dict[str, Any]:
    said = {"e": "executionReport", "E": T0 + ts, "s": "BTCUSDT", "c": "spot-1", "S": "BUY", "o": "LIMIT", "f": "GTC"}
    said |= {"q": "2", "p": "100", "P": "0", "F": "0", "g": -1, "C": "", "x": status, "X": status, "r": "NONE"}
    said |= {"i": 9, "l": "0", "z": "0", "L": "0", "n": "0", "N": None, "T": T0 + ts, "t": -1, "w": True, "m": False}
    return {"subscriptionId": 0, "event": said | {"O": T0, "Z": "0", "Y": "0", "Q": "0"} | more}


def account(ts: int, why: str, positions: Any = (), **more: Any) -> dict[str, Any]:
    a = {"m": why, "B": [{"a": "USDT", "wb": "10", "cw": "10", "bc": "0"}], "P": list(positions)} | more
    return {"e": "ACCOUNT_UPDATE", "E": T0 + ts, "T": T0 + ts, "a": a}


def spot_balance(ts: int, free: str) -> dict[str, Any]:
    balances = [{"a": "BTC", "f": free, "l": "0"}]
    return {"event": {"e": "outboundAccountPosition", "E": T0 + ts, "u": T0 + ts, "B": balances}}


def position(qty: str, symbol: str = "BTCUSDT") -> dict[str, Any]:
    return {"s": symbol, "pa": qty, "ep": "100", "up": "0", "mt": "isolated", "iw": "5", "ps": "BOTH"}


USDT = Balance(market=Market.FUT, asset="USDT", free=Decimal(7), locked=Decimal(3))
LONG = VenuePosition(
    symbol="BTCUSDT",
    qty=Decimal(3),
    entry_price=Decimal(100),
    mark_price=Decimal(101),
    unrealized_pnl_usdt=Decimal(3),
    isolated_wallet_usdt=Decimal(5),
    leverage=20,
    liquidation_price=Decimal(80),
)


class World:
    def __init__(self, server: StreamServer, session: aiohttp.ClientSession, limits: Any) -> None:
        self.server = server
        self.clock = LoopClock(T0)
        self.keys_made = 0
        self.keys_kept: list[str] = []
        self.key_is_gone = False
        self.key_down = 0
        self.params_given = 0
        self.balances_asked = 0
        self.balances_down = 0
        self.meanwhile: dict[str, Any] | None = None
        """Said while positions are asked for."""
        self.rate: float | None = 0.0001
        self.ledger: list[Income] = []
        self.ledger_asked = 0
        self.streams = UserStreams(
            futures_ws=server.url,
            spot_ws_api=f"{server.url}/ws-api/v3",
            session=session,
            clock=self.clock,
            randomness=SeededRandomness(1),
            gate=ConnectGate(self.clock, most=10_000),
            new_listen_key=self._new_key,
            keep_listen_key=self._keep_key,
            spot_subscription_params=self._params,
            balances=self._balances,
            positions=self._positions,
            income=self._income,
            funding_rate=lambda symbol, at_ms: self.rate,
            limits=SocketLimits(**({"backoff_first_ms": 10, "overlap_ms": 20} | limits)),
        )
        self.listeners: list[asyncio.Task[None]] = []
        self.heard: list[AccountChange] = []
        self._changed = asyncio.Event()

    async def _new_key(self) -> str:
        if self.key_down:
            self.key_down -= 1
            raise VenueUnavailable("no key")
        self.keys_made += 1
        return f"key{self.keys_made}"

    async def _keep_key(self, key: str) -> None:
        self.keys_kept.append(key)
        if self.key_is_gone:
            self.key_is_gone = False
            raise Refused(-1125, "This listenKey does not exist.")

    async def _params(self) -> Mapping[str, str | int]:
        self.params_given += 1
        return {"apiKey": "k", "timestamp": self.clock.now_ms(), "signature": "s"}

    async def _balances(self) -> Sequence[Balance]:
        self.balances_asked += 1
        if self.balances_down:
            self.balances_down -= 1
            raise VenueUnavailable("busy")
        return [USDT, Balance(market=Market.SPOT, asset="USDT", free=Decimal(1), locked=Decimal(0))]

    async def _positions(self) -> Sequence[VenuePosition]:
        if self.meanwhile is not None:
            await self.say(self.meanwhile)
            await self.until(lambda: self.of(PositionChanged))
        return [LONG]

    async def _income(self, since_ms: int) -> Sequence[Income]:
        self.ledger_asked += 1
        return [line for line in self.ledger if line.ts >= since_ms]

    def listen(self, heard: list[AccountChange] | None = None) -> asyncio.Task[None]:
        into = self.heard if heard is None else heard

        async def run() -> None:
            async with aclosing(self.streams.events()) as events:
                async for batch in events:
                    into.extend(batch)
                    self._changed.set()

        self.listeners.append(asyncio.ensure_future(run()))
        return self.listeners[-1]

    async def start(self) -> None:
        """Until both markets are subscribed and said so; then what was heard is forgotten."""
        self.listen()
        await self.until(lambda: len(self.of(StreamReset)) == 2)
        self.heard.clear()

    async def until(self, is_so: Any) -> None:
        async with asyncio.timeout(10):
            while not is_so():
                for listener in self.listeners:
                    assert not listener.done() or listener.cancelled(), listener
                self._changed.clear()
                waiting = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait([waiting], timeout=0.05)
                waiting.cancel()

    async def stop(self) -> None:
        for listener in self.listeners:
            listener.cancel()
        await asyncio.gather(*self.listeners, return_exceptions=True)

    @property
    def futures(self) -> Peer:
        return self.server.open_peers("/private/ws")[-1]

    @property
    def spot(self) -> Peer:
        return self.server.open_peers("/ws-api/v3")[-1]

    async def say(self, *messages: Any) -> None:
        for message in messages:
            await (self.spot if "event" in message else self.futures).say(message)

    async def settle(self) -> None:
        """Until what was said has been heard: a spot balance says that it was the last."""
        marker = {"e": "outboundAccountPosition", "E": 1, "u": 1, "B": [{"a": "END", "f": "1", "l": "0"}]}
        for peer, message in ((self.futures, marker), (self.spot, {"event": marker})):
            before = len(self.of(BalancesChanged)) + sum(self.streams.refused.counts.values())
            await peer.say(message)
            await self.until(
                lambda before=before: len(self.of(BalancesChanged)) + sum(self.streams.refused.counts.values()) > before
            )

    def of(self, kind: type) -> list[Any]:
        return [change for change in self.heard if isinstance(change, kind)]

    @property
    def orders(self) -> list[tuple[str, str, int | None]]:
        """(status, filled, trade) of every order change."""
        return [
            (each.order.status.value, str(each.order.filled_qty), each.fill and each.fill.trade_id)
            for each in self.of(OrderUpdated)
        ]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def world_of(session: aiohttp.ClientSession) -> AsyncIterator[Any]:
    async with serving() as server:
        worlds: list[World] = []

        def build(**limits: Any) -> World:
            worlds.append(World(server, session, limits))
            return worlds[-1]

        yield build
        for world in worlds:
            await world.stop()


async def test_it_subscribes_waits_for_the_answer_and_says_so(world_of: Any) -> None:
    world = world_of()
    world.key_down = 1

    await world.start()

    assert world.futures.query == {
        "listenKey": "key1",
        "events": "ORDER_TRADE_UPDATE/TRADE_LITE/ACCOUNT_UPDATE/ACCOUNT_CONFIG_UPDATE/MARGIN_CALL/ALGO_UPDATE"
        "/listenKeyExpired",
    }
    [asked] = world.spot.asked
    assert asked["method"] == "userDataStream.subscribe.signature"
    assert set(asked["params"]) == {"apiKey", "timestamp", "signature"}


async def test_an_order_and_its_fills_are_told(world_of: Any) -> None:
    world = world_of()
    await world.start()

    await world.say(order(1, "NEW"), order(2, "PARTIALLY_FILLED", "1", t=5), order(3, "FILLED", "3", t=6, l="2"))
    await world.until(lambda: len(world.of(OrderUpdated)) == 3)

    assert world.orders == [("NEW", "0", None), ("PARTIALLY_FILLED", "1", 5), ("FILLED", "3", 6)]
    last = world.of(OrderUpdated)[-1]
    assert (last.order.created_at_ms, last.order.updated_at_ms) == (T0 + 1, T0 + 3)
    assert (last.fill.price, last.fill.qty, last.fill.fee) == (Decimal(100), Decimal(2), Decimal("0.05"))


async def test_repeats_are_not_told_and_late_fills_come_with_the_newest_state(world_of: Any) -> None:
    world = world_of()
    await world.start()
    partial, filled = order(2, "PARTIALLY_FILLED", "1", t=5), order(3, "FILLED", "3", t=6, l="2")

    await world.say(filled, order(1, "NEW"), partial, filled, partial)
    await world.settle()

    assert world.orders == [("FILLED", "3", 6), ("FILLED", "3", 5)]


async def test_a_stop_keeps_its_name_and_gets_a_second_number_when_triggered(world_of: Any) -> None:
    world = world_of()
    await world.start()
    child = {"c": "stop-1", "i": 99, "S": "SELL", "o": "MARKET", "ot": "MARKET", "R": True}

    await world.say(
        algo(1, "NEW"),
        algo(10, "TRIGGERING", tt=T0 + 10),
        algo(12, "TRIGGERED", ai="99", tt=T0 + 10),
        order(11, "NEW", **child),
        order(13, "FILLED", "3", t=8, **(child | {"l": "3"})),
        algo(14, "FINISHED", ai="99", ap="89", aq="3", act="MARKET"),
    )
    await world.settle()

    orders = [each.order for each in world.of(OrderUpdated)]
    assert {each.client_order_id for each in orders} == {"stop-1"}
    assert [(each.status, each.triggered, each.venue_order_id) for each in orders] == [
        (OrderStatus.NEW, False, ""),
        (OrderStatus.NEW, True, ""),
        (OrderStatus.NEW, True, "99"),
        (OrderStatus.FILLED, True, "99"),
    ]
    for each in orders:
        assert each.conditional
        assert each.type is OrderType.STOP_MARKET
        assert each.stop_price == Decimal(90)
        assert each.venue_algo_id == "5"
        assert each.created_at_ms == T0 + 1


async def test_a_trigger_that_led_to_nothing_ends_the_order(world_of: Any) -> None:
    world = world_of()
    await world.start()

    await world.say(algo(1, "NEW"), algo(2, "REJECTED", tt=T0 + 2, rm="Margin is insufficient."))
    await world.until(lambda: len(world.of(OrderUpdated)) == 2)

    assert world.of(OrderUpdated)[-1].order.status is OrderStatus.REJECTED
    assert world.of(OrderUpdated)[-1].order.reason == "Margin is insufficient."


async def test_a_liquidation_is_named_and_its_fill_is_told(world_of: Any) -> None:
    world = world_of()
    await world.start()

    late_ms = 3_600_000
    liquidation = {"c": "autoclose-1", "o": "LIQUIDATION", "ot": "LIQUIDATION"}
    await world.say(order(late_ms, "FILLED", "1", x="CALCULATED", t=4, **liquidation))
    await world.until(lambda: world.of(OrderUpdated))

    [told] = world.of(OrderUpdated)
    assert told.order.reason == "LIQUIDATION"
    assert told.order.created_at_ms == T0 + late_ms, "nobody said when it was new, and the stream began long before"
    assert told.fill.trade_id == 4


async def test_two_orders_of_one_name_of_the_exchanges_own_are_told_as_two(world_of: Any) -> None:
    world = world_of()
    await world.start()

    for number in (21, 22):
        await world.say(order(number, "FILLED", "1", c="adl_autoclose", i=number, x="TRADE", t=number))
    await world.until(lambda: len(world.of(OrderUpdated)) == 2)

    told = world.of(OrderUpdated)
    assert [each.order.client_order_id for each in told] == ["adl_autoclose-21", "adl_autoclose-22"]
    assert [each.fill.client_order_id for each in told] == ["adl_autoclose-21", "adl_autoclose-22"]
    assert [each.order.reason for each in told] == ["LIQUIDATION", "LIQUIDATION"]


async def test_an_expired_listen_key_is_replaced_and_listeners_reconcile(world_of: Any) -> None:
    world = world_of()
    await world.start()
    first = world.futures

    await world.say({"e": "listenKeyExpired", "E": T0, "listenKey": "key1"})
    await world.until(lambda: world.of(StreamReset))

    assert world.futures is not first
    assert world.futures.query["listenKey"] == "key2"
    await world.say(order(1, "NEW"))
    await world.until(lambda: world.orders)


async def test_a_key_that_is_gone_at_its_extension_is_replaced(world_of: Any) -> None:
    world = world_of(keep_key_ms=50)
    await world.start()
    await world.until(lambda: len(world.keys_kept) >= 2)
    assert not world.of(StreamReset)

    world.key_is_gone = True
    await world.until(lambda: world.of(StreamReset))

    assert world.futures.query["listenKey"] == "key2"


async def test_a_lost_connection_comes_back_with_a_reset(world_of: Any) -> None:
    world = world_of()
    await world.start()

    await world.futures.ws.close()
    await world.until(lambda: len(world.of(StreamReset)) == 1)
    await world.spot.ws.close()
    await world.until(lambda: len(world.of(StreamReset)) == 2)

    assert world.params_given == 2


async def test_a_connection_without_a_sign_of_life_is_replaced(world_of: Any) -> None:
    world = world_of(probe_ms=100, dead_ms=800)
    usual = world.server._usual_answer
    dead: list[Peer] = []

    def answer(peer: Peer, asked: dict[str, Any]) -> Any:
        return None if peer in dead else usual(peer, asked)

    world.server.answer = answer
    await world.start()
    await world.server.until(lambda: len(world.futures.asked) >= 4 and len(world.spot.asked) >= 4)
    assert not world.of(StreamReset)

    dead.append(world.futures)
    await world.until(lambda: world.of(StreamReset))
    await world.server.until(lambda: dead[0] not in world.server.peers)


async def test_a_subscription_that_vanished_is_made_again(world_of: Any) -> None:
    world = world_of(probe_ms=50)
    usual = world.server._usual_answer
    gone = False

    def answer(peer: Peer, asked: dict[str, Any]) -> Any:
        if asked["method"] == "session.subscriptions" and gone:
            return {"id": asked["id"], "status": 200, "result": []}
        return usual(peer, asked)

    world.server.answer = answer
    await world.start()

    gone = True
    await world.until(lambda: world.of(StreamReset))

    assert world.params_given >= 2


async def test_a_refused_spot_subscription_is_signed_anew(world_of: Any) -> None:
    world = world_of()
    usual = world.server._usual_answer
    refused: list[Any] = []

    def answer(peer: Peer, asked: dict[str, Any]) -> Any:
        if asked["method"].startswith("userDataStream") and not refused:
            refused.append(asked)
            error = {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}
            return {"id": asked["id"], "status": 400, "error": error}
        return usual(peer, asked)

    world.server.answer = answer
    await world.start()

    assert world.params_given == 2


async def test_spot_that_ends_the_subscription_is_asked_again_with_a_reset(world_of: Any) -> None:
    world = world_of()
    await world.start()

    await world.say({"subscriptionId": 0, "event": {"e": "eventStreamTerminated", "E": T0}})

    await world.until(lambda: world.of(StreamReset))


@pytest.mark.parametrize("enveloped", [True, False])
async def test_a_shutdown_that_is_announced_costs_nothing(world_of: Any, enveloped: bool) -> None:
    world = world_of()
    await world.start()
    first, event = world.spot, {"e": "serverShutdown", "E": T0}

    await first.say({"event": event} if enveloped else event)
    await world.server.until(lambda: first not in world.server.peers)
    await world.say(execution(1, "NEW"))
    await world.until(lambda: world.orders)

    assert not world.of(StreamReset)


async def test_both_connections_are_renewed_without_a_gap(world_of: Any) -> None:
    """Every fill that the exchange says to whoever is connected is told once, through several renewals."""
    world = world_of(lifetime_ms=300, stable_ms=100)
    await world.start()

    said = 0
    while world.server.ended < 6:
        said += 1
        for peer in world.server.open_peers("/private"):
            await peer.say(order(said, "PARTIALLY_FILLED", "1", t=said, i=said))
        for peer in world.server.open_peers("/ws-api"):
            if peer.asked:
                await peer.say(execution(said, "FILLED", x="TRADE", i=said, t=said, l="1", z="2", L="100"))
        await asyncio.sleep(0.005)
    await world.until(lambda: len(world.orders) == 2 * said)

    for market in Market:
        trades = [each.fill.trade_id for each in world.of(OrderUpdated) if each.fill.market is market]
        assert trades == list(range(1, said + 1))
    assert not world.of(StreamReset)


async def test_spot_orders_and_balances_are_told(world_of: Any) -> None:
    world = world_of()
    await world.start()
    balances = [{"a": "BTC", "f": "2.5", "l": "0"}, {"a": "USDT", "f": "1E+2", "l": "7.5"}]

    await world.say(
        execution(1, "NEW"),
        execution(2, "FILLED", x="TRADE", t=4, l="2", z="2", L="99", n="0.002", N="BTC", m=True),
        {"event": {"e": "outboundAccountPosition", "E": T0 + 2, "u": T0 + 2, "B": balances}},
        {"event": {"e": "balanceUpdate", "E": T0 + 9, "a": "USDT", "d": "5", "T": T0 + 9}},
        {"event": {"e": "outboundAccountPosition", "E": T0 + 9, "u": T0 + 9, "B": balances[1:]}},
        {"event": {"e": "listStatus", "E": T0}},
    )
    await world.until(lambda: len(world.heard) == 4)

    new, filled, ordered, moved = world.heard
    assert (new.order.price, new.order.reason, new.fill) == (Decimal(100), None, None)
    assert (filled.fill.fee, filled.fill.fee_asset, filled.fill.maker) == (Decimal("0.002"), "BTC", True)
    assert ordered.cause == "ORDER"
    assert [(each.asset, each.free, each.locked) for each in ordered.balances] == [
        ("BTC", Decimal("2.5"), Decimal(0)),
        ("USDT", Decimal(100), Decimal("7.5")),
    ]
    assert moved.cause == "TRANSFER"


async def test_what_account_update_leaves_out_is_asked_for(world_of: Any) -> None:
    world = world_of()
    world.balances_down = 1
    await world.start()

    await world.say(account(1, "ORDER", [position("3"), position("0", "ETHUSDT")]), account(2, "ORDER"))
    await world.until(lambda: world.of(BalancesChanged))

    flat, *open_ones = world.of(PositionChanged)
    assert flat == PositionChanged(T0 + 1, "ETHUSDT", None)
    assert {each.position for each in open_ones} == {LONG}, "a position is told though balances cannot be had"
    assert [(each.cause, each.balances) for each in world.of(BalancesChanged)] == [("ORDER", (USDT,))]
    assert world.balances_asked == 2


async def test_a_position_that_ends_while_it_is_asked_for_is_not_told_as_it_was(world_of: Any) -> None:
    world = world_of()
    await world.start()
    world.meanwhile = account(2, "ORDER", [position("0")])

    await world.say(account(1, "ORDER", [position("3")]))
    await world.until(lambda: world.of(PositionChanged))
    await world.settle()

    assert world.of(PositionChanged) == [PositionChanged(T0 + 2, "BTCUSDT", None)]


async def test_what_is_older_than_what_was_told_is_not_told(world_of: Any) -> None:
    world = world_of()
    await world.start()

    await world.say(
        account(2, "ORDER", [position("3")]),
        account(1, "ORDER", [position("0")]),
        *(
            {
                "event": {
                    "e": "outboundAccountPosition",
                    "E": T0 + at,
                    "u": T0 + at,
                    "B": [{"a": "BTC", "f": f, "l": "0"}],
                }
            }
            for at, f in ((2, "2"), (1, "1"))
        ),
    )
    await world.until(lambda: world.of(PositionChanged))
    await world.settle()

    assert [each.position for each in world.of(PositionChanged)] == [LONG]
    told = [balance for each in world.of(BalancesChanged) for balance in each.balances if balance.asset == "BTC"]
    assert [balance.free for balance in told] == [2]


async def test_a_settlement_is_told_once_from_the_ledger(world_of: Any) -> None:
    world = world_of()
    await world.start()
    line = Income(
        tran_id=8, symbol="BTCUSDT", kind=IncomeKind.FUNDING_FEE, asset="USDT", amount=Decimal("-0.3"), ts=T0 + 1
    )

    await world.say(account(1, "FUNDING_FEE", [position("3")], S="BTCUSDT"))
    await world.until(lambda: world.ledger_asked == 1)
    world.ledger = [line]
    await world.until(lambda: world.of(FundingSettled))
    await world.say(account(2, "FUNDING_FEE", [position("3")]))
    await world.until(lambda: world.ledger_asked >= 3)

    assert world.of(FundingSettled) == [FundingSettled(T0 + 1, line, 0.0001)]


async def test_a_rate_that_was_not_heard_is_not_made_up(world_of: Any) -> None:
    world = world_of()
    world.rate = None
    await world.start()
    line = Income(
        tran_id=8, symbol="BTCUSDT", kind=IncomeKind.FUNDING_FEE, asset="USDT", amount=Decimal("-0.3"), ts=T0 + 1
    )
    world.ledger = [line]

    await world.say(account(1, "FUNDING_FEE", [position("3")], S="BTCUSDT"))
    await world.until(lambda: world.of(FundingSettled))

    assert world.of(FundingSettled) == [FundingSettled(T0 + 1, line, None)]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param(order(1, "SUSPENDED"), "unreadable: ValueError", id="unknown status"),
        pytest.param(order(1, "NEW", S="HOLD"), "unreadable: ValueError", id="unknown side"),
        pytest.param(order(1, "NEW", q="-1"), "q is below 0", id="negative quantity"),
        pytest.param(order(1, "FILLED", "3", t=4, L="NaN"), "L is no number", id="price of nothing"),
        pytest.param(order(1, "FILLED", "3", t=4, L="0"), "L is not above 0", id="price of 0"),
        pytest.param({"e": "ORDER_TRADE_UPDATE", "E": 1}, "o is missing", id="no order"),
        pytest.param(algo(1, "PAUSED"), "X is an unknown word", id="unknown algo status"),
        pytest.param({"e": "ACCOUNT_UPDATE", "E": 1, "a": {}}, "m is missing", id="no reason"),
        pytest.param(execution(1, "NEW", z="x"), "z is no number", id="spot"),
    ],
)
async def test_what_cannot_be_read_is_counted_and_makes_listeners_reconcile(
    world_of: Any, said: Any, reason: str
) -> None:
    world = world_of()
    await world.start()

    await world.say(said, said)
    await world.say(order(5, "NEW"))
    await world.until(lambda: world.orders and sum(world.streams.refused.counts.values()) == 2)

    assert [each for (_, each) in world.streams.refused.counts] == [reason]
    assert len(world.of(StreamReset)) == 1


async def test_unknown_events_and_coin_margined_ones_are_let_pass(world_of: Any) -> None:
    world = world_of()
    await world.start()

    await world.say(
        {"e": "SOMETHING_NEW", "E": 1},
        order(1, "NEW") | {"fs": "CM"},
        {"e": "TRADE_LITE", "E": 1, "s": "BTCUSDT"},
        {"e": "MARGIN_CALL", "E": 1, "p": [{"s": "BTCUSDT"}]},
        {"e": "ACCOUNT_CONFIG_UPDATE", "E": 1, "ac": {"s": "BTCUSDT", "l": 5}},
        {"stream": "key1", "data": order(2, "NEW")},
    )
    await world.until(lambda: world.orders)

    assert world.heard == world.of(OrderUpdated)
    assert world.streams.refused.counts == {("futures account", "an unknown event"): 1}


async def test_listeners_share_the_connections_and_the_last_one_closes_them(world_of: Any) -> None:
    world = world_of()
    await world.start()
    later: list[AccountChange] = []
    second = world.listen(later)
    await world.until(lambda: later)
    assert isinstance(later[0], StreamReset)
    assert len(world.server.peers) == 2

    world.listeners[0].cancel()
    await asyncio.gather(world.listeners[0], return_exceptions=True)
    await world.say(order(1, "NEW"))
    await world.until(lambda: len(later) == 2)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)

    await world.server.until(lambda: not world.server.peers)
    world.listeners.clear()
    await world.start()
    assert world.keys_made == 2


async def test_who_does_not_listen_is_told_to_reconcile(world_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_streams, "WAITING_MAX", 3)
    world = world_of()
    slow = world.streams.events()
    first = await anext(slow)
    assert isinstance(first[0], StreamReset)

    await world.server.until(lambda: len(world.server.peers) == 2 and all(peer.asked for peer in world.server.peers))
    for at in range(1, 9):
        await world.futures.say(order(at, "NEW", i=at))
    await asyncio.sleep(0.2)

    assert any(isinstance(change, StreamReset) for change in await anext(slow))
    await slow.aclose()
