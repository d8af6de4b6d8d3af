"""GET /status: one look at the whole system, true to what lies in documents, fast state and S6's answer."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import CONFIG_ACTIVE, INSTRUMENT_REGISTRY, SIGNALS, TRADES
from chimera.contracts.documents import ConfigActive, Decision, Instrument, Signal, Trade
from chimera.contracts.enums import Action, EntryStatus, Market, PositionSide, Side, TradeStatus
from chimera.contracts.http import PositionsAnswer, PositionView, StatusAnswer
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import HEALTH_ROLLING, HEALTH_STATE, RECON_LAST_RUN, RISK_LIMITS
from chimera.contracts.messages import SignalEvent
from chimera.contracts.messages.features import PENDING, DecisionSummary
from chimera.contracts.streams import SIG_EVENTS
from chimera.ports.peers import PeerCall
from chimera.runtime.service import Reply, Request, Route
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from tests.services.small_world import ENV, SmallWorld, small_world

BTC = InstrumentKey(Market.FUT, "BTCUSDT")
HELD = PositionView(
    market=Market.FUT,
    symbol="BTCUSDT",
    side=PositionSide.LONG,
    qty=Decimal("0.02"),
    entry_price_avg=Decimal(65_000),
    stop_price=Decimal(64_800),
)
ONE_HELD = PositionsAnswer(positions=(HELD,), ts=0)


@dataclass
class Gateway:
    here: SmallWorld
    kill_file: bool = False
    positions: PositionsAnswer | None = ONE_HELD

    def __post_init__(self) -> None:
        self.here.venue.name = "sim"
        service = build(self.here.world, GatewaySettings(env=ENV), kill_file=lambda: self.kill_file)
        self.here.peers.add("s12", service.routes)
        self.here.peers.add("s6", (Route(method="GET", path="/positions", handle=self._told, summary="positions"),))

    async def _told(self, request: Request) -> Reply:
        return Reply({}, 503) if self.positions is None else Reply(self.positions)

    async def ask(self) -> tuple[int, Any]:
        told = await self.here.peers.call(PeerCall("s12", "GET", "/status", actor="ada"))
        return told.status, told.body

    async def status(self) -> StatusAnswer:
        status, body = await self.ask()
        assert status == 200, body
        return StatusAnswer.model_validate(body)


def trade(trade_id: str, *, closed_at: int | None = None, net: str = "0", key: InstrumentKey = BTC) -> Trade:
    """`net` after fees of 1 and funding of -0.5."""
    return Trade(
        trade_id=trade_id,
        market=key.market,
        symbol=key.symbol,
        side=Side.BUY,
        status=TradeStatus.ACTIVE if closed_at is None else TradeStatus.CLOSED,
        qty_opened=Decimal("0.02"),
        qty_open=Decimal(0) if closed_at else Decimal("0.02"),
        entry_price_avg=Decimal(65_000),
        realized_pnl_usdt=Decimal(net) + Decimal("1.5"),
        fees_usdt=Decimal(1),
        funding_usdt=Decimal("-0.5"),
        config_rev=3,
        opened_at=1,
        closed_at=closed_at,
        updated_at=closed_at or 1,
    )


def signal(signal_id: str, t0: int, *, reason: str) -> Signal:
    return Signal(
        signal_id=signal_id,
        t0=t0,
        market=BTC.market,
        symbol=BTC.symbol,
        features={},
        decision=Decision(action=Action.SKIP, reason=reason, detail="SPREAD"),
        config_rev=3,
    )


async def listed(here: SmallWorld) -> None:
    await here.documents.put(
        INSTRUMENT_REGISTRY,
        Instrument(
            market=BTC.market,
            symbol=BTC.symbol,
            tick_size=Decimal("0.1"),
            step_size=Decimal("0.001"),
            min_notional=Decimal(5),
            status=EntryStatus.ENABLED,
        ),
    )


async def test_the_day_of_a_system_that_trades() -> None:
    gateway = Gateway(small_world())
    here, now_ms = gateway.here, gateway.here.clock.now_ms()
    await here.documents.put(CONFIG_ACTIVE, ConfigActive(key="active", rev=3, bundle_id="b", activated_at=1, seq=4))
    await here.documents.put(TRADES, trade("a", closed_at=10, net="7.25"))
    await here.documents.put(TRADES, trade("b", closed_at=20, net="-2.5"))
    await here.documents.put(TRADES, trade("c"))
    await here.snapshots.set(HEALTH_STATE.name(ENV), "GREEN")
    await here.snapshots.set_hash(HEALTH_ROLLING.name(ENV), {"updated_at": str(now_ms)})
    await here.snapshots.set(RECON_LAST_RUN.name(ENV), str(now_ms))
    await here.snapshots.set_hash(RISK_LIMITS.name(ENV), {"equity_usdt": "2004.75"})

    status = await gateway.status()

    assert (status.health, status.reconciled, status.kill_switch) == ("GREEN", True, "OFF")
    assert (status.trades, status.open_trades) == (3, 1)
    assert (status.realised_pnl_usdt, status.equity_usdt) == (Decimal("4.75"), Decimal("2004.75"))
    assert (status.config_rev, status.seq) == (3, 4)
    assert (status.venue, status.speed) == ("sim", 1.0)
    assert (status.market_time, status.market_time_ms) == ("2023-11-14T22:13:20Z", now_ms)
    assert status.positions == (HELD,)


async def test_a_system_that_just_began_answers_with_what_there_is() -> None:
    status, body = await Gateway(small_world(), positions=PositionsAnswer(ts=0)).ask()

    assert status == 200
    assert not {"equity_usdt", "config_rev", "seq", "last_decision"} & set(body)
    assert (body["health"], body["reconciled"], body["trades"], body["positions"]) == ("RED", False, 0, [])


async def test_the_last_decision_is_the_one_told_last() -> None:
    gateway = Gateway(small_world())
    await listed(gateway.here)
    await gateway.here.documents.put(SIGNALS, signal("old", 50, reason="RULE"))
    for t0, reason in ((100, "GATE"), (200, "MODEL")):
        await gateway.here.bus.publish(
            SIG_EVENTS.name(ENV, BTC),
            SignalEvent(
                signal_id=str(t0),
                t0=t0,
                symbol=BTC.symbol,
                market=BTC.market,
                decision=DecisionSummary(action=Action.SKIP, reason=reason, detail="why"),
                config_rev=3,
            ),
        )

    last = (await gateway.status()).last_decision

    assert last is not None
    assert (last.instrument, last.action, last.reason, last.detail, last.t0) == (
        "FUT:BTCUSDT",
        "skip",
        "MODEL",
        "why",
        200,
    )


async def test_after_a_restart_the_last_decision_comes_from_its_document() -> None:
    gateway = Gateway(small_world())
    await listed(gateway.here)
    await gateway.here.documents.put(SIGNALS, signal("judged", 100, reason="GATE"))
    await gateway.here.documents.put(SIGNALS, signal("not yet", 200, reason=str(PENDING.reason)))

    last = (await gateway.status()).last_decision

    assert last is not None
    assert (last.reason, last.detail, last.t0) == ("GATE", "SPREAD", 100)


async def test_a_kill_file_counts_as_the_switch() -> None:
    assert (await Gateway(small_world(), kill_file=True).status()).kill_switch == "ON"


async def test_a_closed_trade_whose_funding_comes_late_is_counted_again() -> None:
    gateway = Gateway(small_world())
    closed = trade("a", closed_at=10, net="7.25")
    await gateway.here.documents.put(TRADES, closed)
    await gateway.status()

    await gateway.here.documents.put(TRADES, closed.but(funding_usdt=Decimal("-1.5")))

    assert (await gateway.status()).realised_pnl_usdt == Decimal("6.25")


@pytest.mark.parametrize("part", ["documents", "snapshots"])
async def test_what_cannot_be_read_is_503_and_not_a_guess(part: str) -> None:
    gateway = Gateway(small_world())
    getattr(gateway.here, part).down = True

    status, problem = await gateway.ask()

    assert (status, problem["type"]) == (503, "urn:chimera:problem:dependency-down")


async def test_without_an_answer_of_the_position_keeper_nothing_is_claimed() -> None:
    status, problem = await Gateway(small_world(), positions=None).ask()

    assert status == 503
    assert "which positions are open" in problem["detail"]
