"""What somebody else did, or the exchange, that leaves our books in order: it is recognised, told once and explained.

Owns what is known of halted symbols, of stops that somebody canceled, and of refusals that speak of the account. All of
it is read from documents, so that a run after a crash recognises the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from chimera.contracts.collections import INSTRUMENT_REGISTRY, ORDERS, system_state
from chimera.contracts.documents import NotTradingState, Order, Trade
from chimera.contracts.enums import Market, OrderStatus, Severity
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.domain.execution.orders import VenueOrder, VenuePosition
from chimera.domain.reconcile.fixes import Fix, Lost, restriction, sentence_of, stops_somebody_canceled
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.runtime.telling import Teller
from chimera.services.s05_reconciler.findings import Findings
from chimera.services.s05_reconciler.handlers.trades import asked_to_go_of, held_trades, open_trade
from chimera.services.s05_reconciler.settings import Settings

NOT_TRADING = system_state(NotTradingState)
DAY_MS = 86_400_000


@dataclass(slots=True, kw_only=True)
class Recognise:
    settings: Settings
    documents: Documents
    clock: Clock
    teller: Teller
    _restricted_at_ms: dict[Fix, int] = field(default_factory=dict)

    async def look(
        self,
        keys: Sequence[InstrumentKey],
        since_ms: int,
        positions: Sequence[VenuePosition],
        listed: Sequence[VenueOrder],
        findings: Findings,
    ) -> None:
        """
        Args:
            since_ms: refusals since then are looked at.
        """
        await self._halts(keys, positions, listed, findings)
        await self._restrictions(keys, since_ms, findings)
        for key in keys:
            if key.market is Market.FUT:
                await self._canceled_stops(key, findings)

    async def _halts(
        self,
        keys: Sequence[InstrumentKey],
        positions: Sequence[VenuePosition],
        listed: Sequence[VenueOrder],
        findings: Findings,
    ) -> None:
        rows = await self.documents.get_values(
            INSTRUMENT_REGISTRY,
            (key.doc_key for key in keys),
            ("trading", "venue_status", "delivers_at", "updated_at"),
        )
        state = await self.documents.get(NOT_TRADING, "not_trading")
        halted = set() if state is None else set(state.instruments)
        for key in keys:
            trading, status, delivers_at, updated_at = rows.get(key.doc_key, (True, None, None, 0))
            if trading is not False:
                if str(key) in halted:
                    await findings.fixed(
                        Fix.TRADING_RESUMED, key, str(key), at_ms=updated_at, before="HALTED", after="TRADING"
                    )
                    halted.discard(str(key))
                    await self._keep_halted(halted)
                continue
            held = await self._held(key, positions)
            resting = sum(order.key == key for order in listed)
            fresh = await findings.fixed(
                Fix.TRADING_HALTED,
                key,
                str(key),
                at_ms=updated_at,
                before="TRADING",
                after={
                    "status": status or "NOT_LISTED",
                    "delivers_at": delivers_at,
                    "held": float(held),
                    "resting": resting,
                },
            )
            if fresh:
                await self._tell_halted(key, status, delivers_at, held, resting)
            if str(key) not in halted:
                halted.add(str(key))
                await self._keep_halted(halted)

    async def _keep_halted(self, halted: set[str]) -> None:
        await self.documents.put(
            NOT_TRADING, NotTradingState(instruments=tuple(sorted(halted)), updated_at=self.clock.now_ms())
        )

    async def _held(self, key: InstrumentKey, positions: Sequence[VenuePosition]) -> Decimal:
        """Futures: the exchange's position, signed. Spot, where a wallet has what is nobody's trade too: what open
        trades hold."""
        if key.market is Market.FUT:
            return next((each.qty for each in positions if each.symbol == key.symbol), Decimal(0))
        return sum((trade.qty_open for trade in await held_trades(self.documents, key)), Decimal(0))

    async def _tell_halted(
        self,
        key: InstrumentKey,
        status: str | None,
        delivers_at: int | None,
        held: Decimal,
        resting: int,
    ) -> None:
        when = (
            f"the exchange settles it at {datetime.fromtimestamp(delivers_at / 1_000, UTC):%Y-%m-%d %H:%M} UTC"
            if delivers_at
            else "it has not said until when"
        )
        if held and key.market is Market.FUT:
            what = (
                f"{held} is open there and {resting} orders rest: stops and exits wait for the exchange,"
                " and what is still open when it settles is closed by it at its own price"
            )
        elif held:
            what = f"trades hold {held} there and {resting} orders rest: stops, guards and exits wait for the exchange"
        else:
            what = f"nothing is open there, {resting} orders rest"
        await self.teller.alert(
            AlertCode.EXCHANGE_RESTRICTS,
            Severity.ERROR if held else Severity.WARN,
            f"{key} is {status or 'not listed any more'}: no entry passes; {when}; {what}",
            symbol=key.symbol,
        )

    async def _restrictions(self, keys: Sequence[InstrumentKey], since_ms: int, findings: Findings) -> None:
        refused = await self.documents.find(
            Query(
                collection=ORDERS,
                index="by_status",
                equal=(("status", OrderStatus.REJECTED.value),),
                at_least=since_ms,
            )
        )
        for order in refused:
            key = InstrumentKey(order.market, order.symbol)
            fix = restriction(order.reason)
            if fix is None or key not in keys:
                continue
            fresh = await findings.fixed(
                fix,
                key,
                order.order_id,
                at_ms=order.created_at,
                before={"status": OrderStatus.NEW.value},
                after={"status": OrderStatus.REJECTED.value, "reason": order.reason},
            )
            # Each refused order is on file; a person hears of the account's state once a day.
            if fresh and order.created_at - self._restricted_at_ms.get(fix, -DAY_MS) >= DAY_MS:
                self._restricted_at_ms[fix] = order.created_at
                await self.teller.alert(
                    AlertCode.EXCHANGE_RESTRICTS,
                    Severity.ERROR,
                    f"{sentence_of(fix, order.order_id)}: {order.reason}",
                    symbol=key.symbol,
                )

    async def _canceled_stops(self, key: InstrumentKey, findings: Findings) -> None:
        """Told when another stop is listed: until then the position is naked, and that is being mended."""
        trade = await open_trade(self.documents, key)
        if trade is None:
            return
        orders = await self._orders_of(trade)
        lost = stops_somebody_canceled(orders, frozenset(), trade.closed_at)
        if lost:
            asked_to_go = await asked_to_go_of(self.documents, [each.stop for each in lost])
            lost = stops_somebody_canceled(orders, asked_to_go, trade.closed_at)
        for each in lost:
            if each.successor is not None:
                await self._tell_canceled(key, each, each.successor, findings)

    async def _tell_canceled(self, key: InstrumentKey, lost: Lost, successor: Order, findings: Findings) -> None:
        stop = lost.stop
        fresh = await findings.fixed(
            Fix.STOP_CANCELED_BY_SOMEBODY,
            key,
            stop.order_id,
            at_ms=stop.updated_at or stop.created_at,
            before=_stop(stop),
            after=_stop(successor),
        )
        if fresh:
            await self.teller.alert(
                AlertCode.RECON_FIXED,
                Severity.WARN,
                f"{key}: somebody canceled our stop {stop.order_id} at {stop.stop_price} at the exchange; "
                f"{successor.order_id} stands at {successor.stop_price} now",
                symbol=key.symbol,
                order_id=stop.order_id,
            )

    async def _orders_of(self, trade: Trade) -> list[Order]:
        """What was sent by its entry, and what was sent for it later."""
        found: dict[str, Order] = {}
        for index, name in (("by_intent", "intent_id"), ("by_parent", "parent_id")):
            for order in await self.documents.find(
                Query(collection=ORDERS, index=index, equal=((name, trade.trade_id),))
            ):
                found[order.order_id] = order
        return list(found.values())


def _stop(order: Order) -> dict[str, object]:
    return {
        "order": order.order_id,
        "status": order.status.value,
        "qty": float(order.quantity or Decimal(0)),
        "stop": float(order.stop_price or Decimal(0)),
    }
