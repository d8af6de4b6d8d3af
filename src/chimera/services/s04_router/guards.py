"""Guards: stops of SPOT trades that the router watches itself, each an intent of its own.

Owns how one is made and what is shown of it. An intent, because it outlives the entry it protects, survives a restart
and ends exactly once; what it does is the machine's (`domain.execution.machine.guard`).
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import INTENTS
from chimera.contracts.documents import IntentRecord
from chimera.contracts.enums import OPEN_INTENTS, EventKind, Intent, Market, OrderType, Purpose, Severity, Side
from chimera.contracts.keys import GUARD_STOP
from chimera.contracts.messages.orders import GuardStop, RiskRef, TargetSpec
from chimera.contracts.metrics import AlertCode
from chimera.contracts.order_intent import OrderIntent
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Query
from chimera.ports.errors import DependencyDown
from chimera.ports.state import Snapshots
from chimera.runtime.spot_guards import guards_count
from chimera.runtime.telling import Teller
from chimera.services.s04_router.intents import Intents

COUNTS_KEPT = 1_000


@dataclass(slots=True, kw_only=True)
class Guards:
    """`lead`, `halt`, `led` and `leads` are given once the driver exists: each needs the other."""

    env: str
    documents: Documents
    intents: Intents
    snapshots: Snapshots
    clock: Clock
    teller: Teller
    lead: Callable[[IntentRecord], None] | None = field(default=None)
    halt: Callable[[str, str], None] | None = field(default=None)
    led: Callable[[str], list[IntentRecord]] | None = field(default=None)
    leads: Callable[[str], bool] | None = field(default=None)
    _down: set[str] = field(default_factory=set)
    """Guards that were stood down and have not ended yet."""
    _counts: OrderedDict[str, int] = field(default_factory=OrderedDict)
    """By trade: so many guards of it are on file, or more."""

    async def arm(
        self,
        entry: OrderIntent,
        qty: Decimal,
        *,
        stop_price: Decimal,
        target_price: Decimal | None,
        why: str,
        instead_of: str | None = None,
    ) -> IntentRecord:
        """Watch `qty` of what `entry` bought from now on. The same asked again arms nothing twice. `instead_of` is the
        guard that ends by this."""
        number, known = await self._next(entry, instead_of)
        if known is not None and known.intent.qty == qty and _stop_of(known) == stop_price:
            self._begin(known)
            return known
        intent = OrderIntent(
            intent_id=ids.guard_id(entry.intent_id, number),
            signal_id=entry.signal_id,
            parent_id=entry.intent_id,
            client_order_id=ids.protection_order_id(entry.client_order_id, "g", number),
            ts=self.clock.now_ms(),
            market=Market.SPOT,
            symbol=entry.symbol,
            side=Side.SELL,
            intent=Intent.EXIT,
            purpose=Purpose.GUARD,
            qty=qty,
            type=OrderType.MARKET,
            reduce_only=True,
            guard_stop=GuardStop(enable=True, price=stop_price),
            tp=None if target_price is None else TargetSpec(price=target_price),
            risk=RiskRef(rcu_rev=entry.risk.rcu_rev),
        )
        try:
            record = await self.intents.accept(intent, 1)
        except DuplicateKey:
            found = await self.intents.get(intent.intent_id)
            assert found is not None, f"guard {intent.intent_id} is on file and cannot be read"
            record = found
        # It watches from now on, whoever can be told of it.
        self._begin(record)
        await self.tell_armed(record, why)
        return record

    async def tell_armed(self, record: IntentRecord, why: str) -> None:
        """By the time that is on file: told again it is the same."""
        intent, qty = record.intent, record.intent.qty
        stop_price = _stop_of(record)
        assert stop_price is not None, f"guard {record.intent_id} has no stop"
        with suppress(DependencyDown):
            await self.snapshots.set_hash(
                GUARD_STOP.name(self.env, intent.instrument, intent.parent_id or intent.intent_id),
                {"armed": "1", "armed_at": str(record.created_at), "stop_price": str(stop_price), "qty": str(qty)},
            )
        await self.teller.event(
            EventKind.GUARD_ARMED,
            intent.instrument,
            intent.intent_id,
            at_ms=record.created_at,
            stop_price=float(stop_price),
            tp_price=None if intent.tp is None or intent.tp.price is None else float(intent.tp.price),
            qty=float(qty),
            why=why,
        )

    def _begin(self, record: IntentRecord) -> None:
        assert self.lead is not None, "nobody leads guards yet"
        self.lead(record)

    async def _next(self, entry: OrderIntent, instead_of: str | None) -> tuple[int, IntentRecord | None]:
        """The number of the next guard of a trade, and the one that still watches."""
        watching = None
        for state in OPEN_INTENTS:
            where = (("market", Market.SPOT.value), ("symbol", entry.symbol), ("state", state.value))
            for record in await self.documents.find(Query(collection=INTENTS, index="by_instr", equal=where)):
                if record.purpose is not Purpose.GUARD or record.intent.parent_id != entry.intent_id:
                    continue
                # One that was stood down ends, however long that takes it to write.
                if record.intent_id == instead_of or record.intent_id in self._down:
                    continue
                if watching is None or _age(record) > _age(watching):
                    watching = record
        return await self._count(entry.intent_id) + 1, watching

    async def _count(self, trade_id: str) -> int:
        """How many guards the trade has had. What was counted is remembered: a sale that the exchange does not take
        makes many of them."""
        count = await guards_count(self.documents, trade_id, at_least=self._counts.get(trade_id, 0))
        self._counts[trade_id] = count
        self._counts.move_to_end(trade_id)
        while len(self._counts) > COUNTS_KEPT:
            self._counts.popitem(last=False)
        return count

    def stand_down(self, trade_id: str, why: str) -> None:
        """Somebody else sells: guards of the trade that have not acted yet end."""
        assert self.halt is not None, "nobody leads guards yet"
        for record in self.others(trade_id):
            if record.purpose is Purpose.GUARD:
                self._down.add(record.intent_id)
                self.halt(record.intent_id, why)

    def end_entry(self, trade_id: str, why: str) -> bool:
        """Have an entry that is still being worked open nothing more. False: it has ended."""
        assert self.halt is not None, "nobody leads guards yet"
        assert self.leads is not None, "nobody leads guards yet"
        if not self.leads(trade_id):
            return False
        self.halt(trade_id, why)
        return True

    async def last_prices(self, entry: OrderIntent) -> tuple[Decimal, Decimal | None] | None:
        """Stop and target of the newest guard of a trade, whether it still watches or not."""
        for number in range(await self._count(entry.intent_id), 0, -1):
            record = await self.documents.get(INTENTS, ids.guard_id(entry.intent_id, number))
            stop = None if record is None else _stop_of(record)
            if record is not None and stop is not None:
                return stop, record.intent.tp.price if record.intent.tp is not None else None
        return None

    def others(self, trade_id: str) -> list[IntentRecord]:
        """Whatever is being led for the trade, but its entry."""
        assert self.led is not None, "nobody leads guards yet"
        return self.led(trade_id)

    async def disarmed(self, record: IntentRecord) -> None:
        """It has ended, whatever it did."""
        parent_id = record.intent.parent_id or record.intent_id
        with suppress(DependencyDown):
            await self.snapshots.delete(GUARD_STOP.name(self.env, record.intent.instrument, parent_id))

    def over(self, intent_id: str) -> None:
        """Its end is on file."""
        self._down.discard(intent_id)

    async def triggered(self, record: IntentRecord, why: str) -> None:
        await self.teller.event(EventKind.GUARD_TRIGGERED, record.intent.instrument, record.intent_id, why=why)

    async def unsold(self, record: IntentRecord, left: Decimal, why: str) -> None:
        """It is to sell, and something is left. Named by its trade: each try is another guard."""
        await self.teller.alert(
            AlertCode.GUARD_ANOMALY,
            Severity.ERROR,
            f"{record.intent.instrument}: the guard of {record.intent.parent_id} cannot sell {left} ({why});"
            " it goes on",
            trade_id=str(record.intent.parent_id),
            symbol=record.symbol,
            anomaly="UNSOLD",
        )

    async def dust(self, entry: IntentRecord, qty: Decimal, least_usdt: Decimal) -> None:
        """What an entry bought is so little that nobody can sell it, nor protect it."""
        await self.teller.alert(
            AlertCode.GUARD_ANOMALY,
            Severity.WARN,
            f"{entry.intent.instrument}: the {qty} that {entry.intent_id} bought is dust: at what it cost it is worth"
            f" less than the exchange's least order of {least_usdt} USDT. It has no stop and counts as closed; sell it"
            " together with more, or keep it.",
            trade_id=entry.intent_id,
            symbol=entry.symbol,
            anomaly="DUST",
        )

    async def blind(self, record: IntentRecord, why: str) -> None:
        """A price could not be had for so long that the stop may have been missed."""
        await self.teller.alert(
            AlertCode.GUARD_ANOMALY,
            Severity.ERROR,
            f"{record.intent.instrument}: the guard of {record.intent.parent_id} sees no price: {why}",
            trade_id=str(record.intent.parent_id),
            symbol=record.symbol,
            anomaly="BLIND",
        )


def _age(record: IntentRecord) -> tuple[int, int, str]:
    return record.created_at, len(record.intent_id), record.intent_id


def _stop_of(record: IntentRecord) -> Decimal | None:
    return record.intent.guard_stop.price if record.intent.guard_stop is not None else None
