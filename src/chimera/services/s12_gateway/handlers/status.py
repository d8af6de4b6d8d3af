"""GET /status: how the whole system is, in one look.

Owns what is asked for it and where. Decides nothing, and keeps nothing but the sum over closed trades, which is read on
and never read twice.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from chimera.contracts.collections import CONFIG_ACTIVE, INSTRUMENT_REGISTRY, METRICS_TIMESERIES, SIGNALS, TRADES
from chimera.contracts.enums import Action, HealthLevel, Switch
from chimera.contracts.http.gateway import LastDecision, StatusAnswer
from chimera.contracts.http.positions import PositionsAnswer, PositionView
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import RISK_LIMITS
from chimera.contracts.messages import SignalEvent
from chimera.contracts.messages.features import PENDING
from chimera.contracts.streams import SIG_EVENTS
from chimera.ports.documents import Query
from chimera.ports.peers import PeerCall, PeerUnavailable
from chimera.ports.world import World
from chimera.runtime.restraints import Restraints
from chimera.runtime.service import Reply, Request
from chimera.services.s12_gateway.handlers.restrained import TellRestraints
from chimera.services.s12_gateway.page.history import EQUITY_METRIC, TradeHistory, open_trades

INSTRUMENTS_MAX = 500
SIGNALS_LOOKED_AT = 300
"""Newest signals looked through for a decision where no stream holds one: most are bars that nobody decided on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TellStatus:
    world: World
    restraints: Restraints
    restrained: TellRestraints
    closed: TradeHistory
    env: str

    async def show(self, request: Request) -> Reply:
        """
        Raises:
            DependencyDown: a part that the answer needs cannot be read.
        """
        world = self.world
        standing = await self.restraints.standing()
        active = await world.documents.get(CONFIG_ACTIVE, "active")
        await self.closed.read_on()
        now_ms = world.clock.now_ms()
        return Reply(
            StatusAnswer(
                health=standing.health or HealthLevel.RED,
                equity_usdt=await self._equity(),
                realised_pnl_usdt=self.closed.sums.net,
                trades=await world.documents.count(TRADES),
                open_trades=len(await open_trades(world.documents)),
                positions=await self._positions(),
                kill_switch=Switch.ON if standing.kill_switch_on else Switch.OFF,
                reconciled=standing.reconciled,
                restraints=await self.restrained.now(),
                config_rev=active.rev if active else None,
                seq=active.seq if active else None,
                last_decision=await self._last_decision(),
                market_time=datetime.fromtimestamp(now_ms // 1_000, UTC).isoformat().replace("+00:00", "Z"),
                market_time_ms=now_ms,
                venue=world.venue.name,
                speed=world.clock.speed,
            )
        )

    async def _equity(self) -> Decimal | None:
        """As S6 reckons it now, or else as it was last written down."""
        text = (await self.world.snapshots.get_hash(RISK_LIMITS.name(self.env))).get("equity_usdt")
        if text is not None:
            return Decimal(text)
        points = await self.world.documents.find(
            Query(
                collection=METRICS_TIMESERIES,
                index="by_metric",
                equal=(("metric", EQUITY_METRIC),),
                descending=True,
                limit=1,
            )
        )
        return Decimal(str(points[0].value)) if points else None

    async def _positions(self) -> tuple[PositionView, ...]:
        told = await self.world.peers.call(PeerCall("s6", "GET", "/positions", actor="s12"))
        if not told.ok:
            raise PeerUnavailable("s6", "it does not say which positions are open")
        positions = PositionsAnswer.model_validate(told.body).positions
        return tuple(sorted(positions, key=lambda each: (each.market.value, each.symbol)))

    async def _last_decision(self) -> LastDecision | None:
        """From what S3 told lately; after a restart, from what it filed."""
        newest: LastDecision | None = None
        instruments = await self.world.documents.find(
            Query(collection=INSTRUMENT_REGISTRY, index="by_instr", limit=INSTRUMENTS_MAX)
        )
        for instrument in instruments:
            key = InstrumentKey(instrument.market, instrument.symbol)
            for delivery in await self.world.bus.recent(SIG_EVENTS.name(self.env, key), 1):
                event = delivery.message
                if isinstance(event, SignalEvent) and (newest is None or event.t0 > newest.t0):
                    newest = _decision(
                        key, event.decision.action, event.decision.reason, event.decision.detail, event.t0
                    )
        return newest or await self._last_filed()

    async def _last_filed(self) -> LastDecision | None:
        signals = await self.world.documents.find(
            Query(collection=SIGNALS, index="by_t0", descending=True, limit=SIGNALS_LOOKED_AT)
        )
        for signal in signals:
            decision = signal.decision
            if decision.reason not in (None, PENDING.reason):
                key = InstrumentKey(signal.market, signal.symbol)
                return _decision(key, decision.action, decision.reason, decision.detail, signal.t0)
        return None


def _decision(key: InstrumentKey, action: Action, reason: str | None, detail: str | None, t0: int) -> LastDecision:
    return LastDecision(instrument=str(key), action=action, reason=reason or "", detail=detail or "", t0=t0)
