"""How the protection of each SPOT trade stands, shown to everybody: `spot:oco:state`.

Owns the fields of that key, from the moment a pair is armed, or a guard in its place, until nothing of the trade is
left. A mirror: it follows the orders on file, and nobody decides by it. That a pair has resolved is told by the ledger,
with the order that resolves it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from chimera.contracts.collections import TRADES
from chimera.contracts.documents import Order
from chimera.contracts.enums import Market, OcoStatus, OrderStatus, Side, TradeStatus
from chimera.contracts.ids import child_order_id
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import SPOT_OCO_STATE
from chimera.domain.execution.machine.flow import LIST_N, STOP_N, TARGET_N
from chimera.domain.market.instrument import Instrument
from chimera.domain.positions.spot_count import received
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.errors import DependencyDown
from chimera.ports.state import Snapshots
from chimera.runtime.waiting import Changed
from chimera.services.s04_router.ledger import Ledger

RETRY_MS = 1_000
"""Of our own work: what could not be shown is tried again after this."""
IDLE_MS = 60_000

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Pairs:
    env: str
    instruments: dict[InstrumentKey, Instrument]
    documents: Documents
    ledger: Ledger
    snapshots: Snapshots
    clock: Clock
    _moved: dict[str, InstrumentKey] = field(default_factory=dict)
    """Trades of which an order has changed, oldest first."""
    _moving: Changed = field(default_factory=Changed)

    def hear(self, order: Order) -> None:
        """An order as it stands: one of a pair, or one that sells what its trade holds."""
        trade_id = order.intent_id if order.oco_pair_id is not None else order.parent_id
        if order.market is Market.SPOT and trade_id is not None and (order.filled_qty or order.status.is_final):
            self._look_at(trade_id, InstrumentKey(order.market, order.symbol))

    def _look_at(self, trade_id: str, key: InstrumentKey) -> None:
        self._moved[trade_id] = key
        self._moving.tell()

    async def say(self, key: InstrumentKey, trade_id: str, base: str, status: OcoStatus) -> None:
        """What protects a trade from now on; `base` is its entry's client order id.

        Raises:
            DependencyDown: it could not be shown.
        """
        body = {
            "parent_id": child_order_id(base, LIST_N),
            "tp_id": child_order_id(base, TARGET_N),
            "sl_id": child_order_id(base, STOP_N),
        }
        await self._write(key, trade_id, body, status)
        # It may have sold before that could be shown.
        self._look_at(trade_id, key)

    async def watch(self) -> None:
        """For ever: show what has changed. After a start that is everything shown, for much may have happened."""
        begun = False
        while True:
            try:
                if not begun:
                    await self._begin()
                    begun = True
                while self._moved:
                    trade_id, key = next(iter(self._moved.items()))
                    await self._show(trade_id, key)
            except DependencyDown as down:
                log.warning("what protects a trade is not shown", why=str(down))
                await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(RETRY_MS))
                continue
            await self._moving.wait_until(self.clock, self.clock.now_ms() + self.clock.work_ms(IDLE_MS))

    async def _begin(self) -> None:
        for key in sorted(self.instruments):
            if key.market is Market.SPOT:
                for trade_id in await self.snapshots.get_hash(SPOT_OCO_STATE.name(self.env, key)):
                    self._look_at(trade_id, key)

    async def _show(self, trade_id: str, key: InstrumentKey) -> None:
        name = SPOT_OCO_STATE.name(self.env, key)
        # Before anything is read: what changes meanwhile is looked at again.
        del self._moved[trade_id]
        try:
            shown = (await self.snapshots.get_hash(name)).get(trade_id)
            if shown is None:
                return
            orders = await self.ledger.of_trade(trade_id)
            if await self._is_over(trade_id, orders, self.instruments[key]):
                await self.snapshots.delete_field(name, trade_id)
                return
            body = json.loads(shown)
            before = OcoStatus(body["status"])
            after = status_of([order for order in orders if order.oco_pair_id is not None])
            if after is not before is not OcoStatus.FALLBACK_GUARD:
                await self._write(key, trade_id, body, after)
        except BaseException:
            self._moved.setdefault(trade_id, key)
            raise

    async def _is_over(self, trade_id: str, orders: Sequence[Order], instrument: Instrument) -> bool:
        trade = await self.documents.get(TRADES, trade_id)
        if trade is not None and trade.status is TradeStatus.CLOSED:
            return True
        bought = [order.order_id for order in orders if order.side is Side.BUY]
        fills = [fill for name in bought for fill in await self.ledger.fills(name)]
        arrived = sum((received(fill, instrument.base_asset) for fill in fills), Decimal(0))
        sold = sum((order.filled_qty or Decimal(0) for order in orders if order.side is Side.SELL), Decimal(0))
        return arrived - sold < instrument.step_size

    async def _write(self, key: InstrumentKey, trade_id: str, body: Mapping[str, object], status: OcoStatus) -> None:
        shown = {**body, "status": status.value, "updated_at": self.clock.now_ms()}
        await self.snapshots.set_hash(SPOT_OCO_STATE.name(self.env, key), {trade_id: json.dumps(shown)})


def status_of(pair: Sequence[Order]) -> OcoStatus:
    """How the two legs stand. What rests no more and did not sell all protects nothing."""
    if any(not order.status.is_final for order in pair):
        return OcoStatus.ONE_LEG_FILLED if any(order.filled_qty for order in pair) else OcoStatus.ARMED
    filled = any(order.status is OrderStatus.FILLED for order in pair)
    return OcoStatus.ONE_LEG_FILLED if filled else OcoStatus.BOTH_CANCELED
