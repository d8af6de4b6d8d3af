"""`chimera up --venue paper` as a process, on the prices of `chimera venue` as another: what it opened outlives a kill,
fills where the price goes, and waits while there is no price. The source's own account is never touched.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS, TRADES
from chimera.contracts.enums import OrderStatus, OrderType, TradeStatus
from chimera.domain.matching.records import OrderRecord
from chimera.simulation.checkers import check_evidence
from tests.process.system import READY_WITHIN_S, NotThere, System, VenueProcess
from tests.process.trader import wait_deciding

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

SEED = 11
WITHIN_S = 30.0
OPEN = {"symbol": "BTCUSDT", "market": "FUT", "sideHint": "BUY"}


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[tuple[System, VenueProcess]]:
    prices = VenueProcess(tmp_path / "exchange", 1, SEED)
    system = System(tmp_path / "data", 1, SEED, prices=prices)
    yield system, prices
    system.end()
    prices.end()


def until(what: str, ask: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    """The first answer that is something; no connection is none."""
    deadline_s = time.perf_counter() + within_s
    while time.perf_counter() < deadline_s:
        try:
            if answer := ask():
                return answer
        except NotThere:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {within_s:g} s")


def open_stops(system: System) -> list[OrderRecord]:
    """At the exchange in process, by its own journal."""
    return [
        order
        for order in system.evidence().orders
        if order.type is OrderType.STOP_MARKET and order.status is OrderStatus.NEW
    ]


def closed_trades(system: System) -> list[Any]:
    return [trade for trade in system.evidence().on_file(TRADES) if trade.status is TradeStatus.CLOSED]


def intents_ended(system: System) -> bool:
    on_file = system.evidence().on_file(INTENTS)
    return bool(on_file) and all(intent.state.is_final for intent in on_file)


def opened(system: System) -> OrderRecord:
    """A trade, by a decision that was carried out to its last slice; its stop at the exchange."""
    wait_deciding(system)
    until("a decision to open", lambda: system.told("POST", "/s3/decide", OPEN)["decision"] == "open")
    until("the end of its entry", lambda: intents_ended(system))
    return until("a stop at the exchange", lambda: open_stops(system))[0]


def is_blind(system: System) -> bool:
    """Whether a decision would be refused because prices are old."""
    gates = system.told("POST", "/s3/decide", OPEN | {"dry_run": True})["trail"]["gates"]
    return any(gate["code"] == "STALE" and not gate["passed"] for gate in gates)


def test_a_trade_outlives_a_kill_and_its_stop_fills_where_the_price_goes(paper: tuple[System, VenueProcess]) -> None:
    system, prices = paper
    prices.start()
    system.start()
    system.wait_reconciled()
    stop = opened(system)

    system.kill()
    system.start()
    system.wait_reconciled()

    assert [each.client_order_id for each in open_stops(system)] == [stop.client_order_id]
    held = system.told("GET", "/s6/positions")["positions"]
    assert [(each["symbol"], bool(each["qty"])) for each in held] == [("BTCUSDT", True)]

    prices.told("POST", "/admin/market", {"shift": {"bps": -200}})
    (trade,) = until("the stop's fill", lambda: closed_trades(system))

    fill = next(fill for fill in system.evidence().fills if fill.client_order_id == stop.client_order_id)
    assert stop.stop_price is not None
    assert stop.stop_price * 97 / 100 < fill.price < stop.stop_price, "the source fell through the stop"
    assert trade.realized_pnl_usdt < 0
    until("peace", lambda: not any(check_evidence(system.evidence()).values()))
    assert prices.told("GET", "/admin/ledger")["orders"] == []


def test_without_a_source_it_does_not_start_and_while_the_source_is_silent_nothing_fills(
    paper: tuple[System, VenueProcess],
) -> None:
    system, prices = paper
    system.start()
    assert system.process is not None
    assert system.process.wait(READY_WITHIN_S) == 2
    assert f"{prices.url}/admin/venue does not answer" in system.log_tail()
    assert "Traceback" not in system.log_tail()

    prices.start()
    system.start()
    system.wait_reconciled()
    stop = opened(system)
    fills = system.venue_fills()
    prices.freeze()
    until("a system that knows that it sees nothing", lambda: is_blind(system))
    order = {"intent_id": "OUT-1", "market": "FUT", "symbol": "ETHUSDT", "side": "BUY", "intent": "ENTRY", "qty": "0.1"}
    order |= {"sl": {"type": "STOP_MARKET", "distance": "16"}, "leverage": 20}
    system.call("POST", "/s4/orders", order, timeout_s=60)
    assert system.venue_fills() == fills

    prices.thaw()
    until("a system that sees again", lambda: not is_blind(system), READY_WITHIN_S)
    assert stop.client_order_id in {each.client_order_id for each in open_stops(system)}
    prices.told("POST", "/admin/market", {"shift": {"bps": -200, "symbol": "BTCUSDT"}})
    until("the stop's fill", lambda: closed_trades(system))
    until("peace", lambda: not any(check_evidence(system.evidence()).values()))
