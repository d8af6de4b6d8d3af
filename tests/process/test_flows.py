"""The flows B1, B2, B3, B4, B7 and B8 of seed `002` once against the real server: `chimera up` trades on
`chimera venue` over HTTP and WebSocket, prices are moved there, and most of what is asserted stands in the exchange's
own books.

In virtual time, step by step: `tests/acceptance/test_seed_002_b`.
"""

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import FILLS, ORDERS, STRATEGY_EVENTS, TRADES, TREASURY_TRANSFERS
from chimera.contracts.enums import EventKind, Market, OrderStatus, OrderType, Side, TradeStatus
from chimera.domain.matching.records import OrderRecord
from chimera.simulation.checkers import check_evidence
from tests.process.system import NotThere, System, VenueProcess
from tests.process.trader import wait_deciding

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

SPEED = 2
SEED = 13
SYMBOL = "BTCUSDT"
WITHIN_S = 40.0
NEAR = 0.0005
HEARD_S = 2.0
"""The exchange tells marks each 3 s of its own; a trade that is entered on an older one is kept by it at first."""
D = Decimal


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("flows")
    venue = VenueProcess(folder / "exchange", SPEED, SEED)
    system = System(folder / "data", SPEED, SEED, venue=venue)
    venue.start()
    system.start()
    system.wait_reconciled()
    # So many stops lose more than a day may.
    system.promote(risk={"daily_loss_usdt_max": 900, "drawdown_pct_max": 0.9})
    wait_deciding(system)
    yield system
    system.end()
    venue.end()


def until(what: str, ask: Callable[[], Any]) -> Any:
    deadline_s = time.perf_counter() + WITHIN_S
    while time.perf_counter() < deadline_s:
        try:
            if answer := ask():
                return answer
        except NotThere:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {WITHIN_S:g} s")


def shift(system: System, bps: int) -> None:
    """Every price, from where the market would be without it; back when book and mark stand there."""
    assert system.venue is not None
    before = mid(system, Market.FUT)
    system.venue.told("POST", "/admin/market", {"clear": True, "shift": {"bps": bps}})
    until("the next price", lambda: mid(system, Market.FUT) != before)
    until("its mark", lambda: abs(mark(system) / mid(system, Market.FUT) - 1) < NEAR)
    time.sleep(HEARD_S)


def mid(system: System, market: Market) -> Decimal:
    assert system.venue is not None
    book = system.venue.told("POST", "/admin/market", {})["books"][f"{market.value}:{SYMBOL}"]
    return (D(book["bid"]) + D(book["ask"])) / 2


def mark(system: System) -> Decimal:
    assert system.venue is not None
    return D(system.venue.told("POST", "/admin/market", {})["marks"][SYMBOL])


def entry(system: System, market: Market, **more: Any) -> dict[str, Any]:
    body = {
        "intent_id": f"FLOW-{system.venue_now_ms()}",
        "market": market.value,
        "symbol": SYMBOL,
        "side": "BUY",
        "intent": "ENTRY",
        "qty": "0.004",
        "exec_policy": {"routing": "DIRECT_TAKER"},
    }
    if market is Market.FUT:
        body |= {"sl": {"type": "STOP_MARKET", "distance": "400"}, "leverage": 20}
    return body | more


def enter(system: System, market: Market = Market.FUT, **more: Any) -> str:
    def taken() -> Any:
        body = entry(system, market, **more)
        answer = system.told("POST", "/s4/orders", body)
        return body if answer["result"] == "OK" else None

    # Where others share the processors a price may be too old to be entered on.
    body = until("an entry", taken)
    until("its last fill", lambda: system.told("GET", f"/s4/orders/{body['intent_id']}")["state"] == "DONE")
    return str(body["intent_id"])


def resting(system: System, *types: OrderType) -> list[OrderRecord]:
    """At the exchange, of the instrument that is traded here; the strategy may enter the other by itself."""
    orders = [each for each in system.evidence().orders if each.symbol == SYMBOL and not each.status.is_final]
    return [each for each in orders if each.type in types]


def trade(system: System, trade_id: str) -> Any:
    return next((each for each in system.evidence().on_file(TRADES) if each.trade_id == trade_id), None)


def is_closed(system: System, trade_id: str) -> bool:
    found = trade(system, trade_id)
    return found is not None and found.status is TradeStatus.CLOSED


def told(system: System, *kinds: EventKind) -> bool:
    return set(kinds) <= {each.kind for each in system.on_file(STRATEGY_EVENTS)}


def broken(system: System) -> set[str]:
    return {name for name, found in check_evidence(system.evidence()).items() if found}


def in_peace(system: System, but: str = "") -> None:
    """Flat, and every promise kept: asked of both books."""
    shift(system, 0)
    until("flat", lambda: not any(each.qty for each in system.evidence().positions if each.symbol == SYMBOL))
    until("nothing that rests", lambda: not resting(system, *OrderType))
    until("peace", lambda: not broken(system) - {but})


# First: a decision refuses for a while what was just stopped out.
def test_b7_what_was_reserved_is_used_and_then_free_again(system: System) -> None:
    def opened() -> Any:
        body = {"symbol": SYMBOL, "market": "FUT", "sideHint": "BUY"}
        answer = system.told("POST", "/s3/decide", body)
        return answer["intent"]["intent_id"] if answer["decision"] == "open" else None

    intent_id = until("a decision to open", opened)
    assert intent_id in reserved_by(system)
    until("its fills", lambda: trade(system, intent_id) is not None)

    shift(system, -200)
    until("the stop", lambda: is_closed(system, intent_id))
    until("a free budget", lambda: intent_id not in reserved_by(system))
    in_peace(system)


def reserved_by(system: System) -> set[str]:
    return {each["intent_id"] for each in system.told("GET", "/s3/reservations")["reservations"]}


def test_b1_a_futures_entry_is_filled_and_has_its_stop_and_target(system: System) -> None:
    trade_id = enter(system, tp={"type": "TAKE_PROFIT_MARKET", "ratio": 0.1})

    (stop,) = resting(system, OrderType.STOP_MARKET)
    assert (stop.qty, stop.side, stop.reduce_only) == (D("0.004"), Side.SELL, True)
    assert len(resting(system, OrderType.TAKE_PROFIT_MARKET)) == 1
    [fill] = [each for each in system.evidence().on_file(FILLS) if each.intent_id == trade_id]
    assert (fill.qty, fill.maker) == (D("0.004"), False)

    shift(system, -200)
    until("the stop", lambda: is_closed(system, trade_id))
    in_peace(system)


def test_b2_a_spot_entry_is_followed_by_its_pair(system: System) -> None:
    price = mid(system, Market.SPOT).quantize(D(1))
    trade_id = enter(system, Market.SPOT, exec_policy=pair(price))
    legs = until("the pair", lambda: spot_sales(system, trade_id))
    assert [leg.status for leg in legs] == [OrderStatus.NEW] * 2
    assert told(system, EventKind.OCO_ARMED)

    shift(system, 150)
    until("the target", lambda: is_closed(system, trade_id))
    ends = sorted(leg.status.value for leg in spot_sales(system, trade_id))
    assert ends in (["CANCELED", "FILLED"], ["EXPIRED", "FILLED"])
    in_peace(system)


def pair(price: Decimal) -> dict[str, Any]:
    return {"routing": "DIRECT_TAKER", "oco": {"enabled": True, "tp": str(price + 600), "sl": str(price - 600)}}


def spot_sales(system: System, trade_id: str) -> list[Any]:
    found = [each for each in system.evidence().on_file(ORDERS) if trade_id in (each.intent_id, each.parent_id)]
    return [each for each in found if each.side is Side.SELL]


def test_b2_a_spot_entry_is_followed_by_a_guard(system: System) -> None:
    price = mid(system, Market.SPOT).quantize(D(1))
    trade_id = enter(system, Market.SPOT, guard_stop={"enable": True, "price": str(price - 300)})
    until("the guard", lambda: told(system, EventKind.GUARD_ARMED))
    assert resting(system, *OrderType) == []

    shift(system, -150)
    until("the guard's sale", lambda: is_closed(system, trade_id))
    assert told(system, EventKind.GUARD_TRIGGERED)
    in_peace(system)


def test_b3_the_stop_follows_and_what_has_won_stays_won(system: System) -> None:
    trade_id = enter(system)
    (first,) = resting(system, OrderType.STOP_MARKET)
    assert first.stop_price is not None

    shift(system, 150)
    until("a tighter stop", lambda: is_tightened(system, first.stop_price))
    until("one stop", lambda: len(resting(system, OrderType.STOP_MARKET)) == 1)
    shift(system, -100)
    until("the stop", lambda: is_closed(system, trade_id))

    closed = trade(system, trade_id)
    assert closed.stop_price > closed.entry_price_avg
    in_peace(system)


def is_tightened(system: System, first_price: Decimal | None) -> bool:
    stops = resting(system, OrderType.STOP_MARKET)
    return bool(stops) and all(each.stop_price is not None and each.stop_price > (first_price or 0) for each in stops)


def test_b4_what_the_exchange_has_and_we_have_not_is_put_right(system: System) -> None:
    assert system.venue is not None
    trade_id = enter(system)
    (stop,) = resting(system, OrderType.STOP_MARKET)
    system.venue.told("POST", "/admin/orders", {"market": "FUT", "symbol": SYMBOL, "cancel": stop.client_order_id})
    system.venue.told("POST", "/admin/orders", {"market": "FUT", "symbol": SYMBOL, "side": "SELL", "qty": 0.001})

    system.told("POST", "/s5/reconcile", {"scope": "ALL"})
    until("what is left", lambda: trade(system, trade_id).qty_open == D("0.003"))
    until("its stop", lambda: [each.qty for each in resting(system, OrderType.STOP_MARKET)] == [D("0.003")])
    assert told(system, EventKind.RECONCILE_FIX)

    shift(system, -200)
    until("the stop", lambda: is_closed(system, trade_id))
    in_peace(system)


def test_b8_what_a_wallet_lacks_is_proposed_allowed_and_moved_once(system: System) -> None:
    assert system.venue is not None
    held = {(each["market"], each["asset"]): D(each["free"]) for each in balances(system)}
    taken = {"market": "FUT", "asset": "USDT", "amount": float(held["FUT", "USDT"] - 1)}
    system.venue.told("POST", "/admin/account", {"withdraw": taken})
    system.venue.told("POST", "/admin/account", {"deposit": {"market": "SPOT", "asset": "USDT", "amount": 5000}})
    row = until("a proposal", lambda: next(iter(system.on_file(TREASURY_TRANSFERS)), None))
    assert row.result.value == "PENDING"
    assert system.evidence().transfers == ()

    system.told("POST", f"/treasury/transfers/{row.transfer_id}/approve", {})
    until("the transfer", lambda: len(system.evidence().transfers) == 1)

    (moved,) = system.evidence().transfers
    assert (moved.source, moved.target) == (Market.SPOT, Market.FUT)
    # A person took money out of the wallet, which none of our documents explains.
    in_peace(system, but="I10")


def balances(system: System) -> Any:
    assert system.venue is not None
    return system.venue.told("GET", "/admin/ledger")["balances"]
