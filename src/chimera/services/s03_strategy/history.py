"""What was entered and lost lately, from documents: a restart resets neither the day's entries nor a cooldown."""

from dataclasses import dataclass, field

from chimera.contracts.collections import SIGNALS, TRADES
from chimera.contracts.enums import Action, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.documents import Documents, Query

DAY_MS = 86_400_000
STOP_OUT = "STOP_LOSS"
"""`trades.reason` of a position that its first stop ended."""
CLOSED_LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class Past:
    """Of one instrument, on one UTC signal day. `stopped_out_at` None: never, as far as the documents go."""

    day: int
    entries: int
    stopped_out_at: int | None


@dataclass(slots=True, kw_only=True)
class History:
    documents: Documents
    _past: dict[InstrumentKey, Past] = field(default_factory=dict)

    async def of(self, key: InstrumentKey, now_ms: int) -> Past:
        """What is remembered; read when the day is new."""
        past = self._past.get(key)
        return past if past is not None and past.day == now_ms // DAY_MS else await self.read(key, now_ms)

    async def read(self, key: InstrumentKey, now_ms: int) -> Past:
        """Ask the documents, as every decision that would open does."""
        day = now_ms // DAY_MS
        opened = await self.documents.find(
            Query(
                collection=SIGNALS,
                index="by_instr_action",
                equal=(
                    ("market", key.market.value),
                    ("symbol", key.symbol),
                    ("decision.action", Action.OPEN.value),
                ),
                at_least=day * DAY_MS,
            )
        )
        closed = await self.documents.find(
            Query(
                collection=TRADES,
                index="by_instr",
                equal=(("market", key.market.value), ("symbol", key.symbol), ("status", TradeStatus.CLOSED.value)),
                descending=True,
                limit=CLOSED_LOOKED_AT,
            )
        )
        stop_outs = [trade.closed_at for trade in closed if trade.reason == STOP_OUT and trade.closed_at is not None]
        past = Past(day, len(opened), max(stop_outs, default=None))
        self._past[key] = past
        return past

    def forget(self, key: InstrumentKey) -> None:
        """Something of this instrument changed: read again at the next decision."""
        self._past.pop(key, None)
