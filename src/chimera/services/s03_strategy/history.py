"""What was entered and lost lately, from documents: a restart resets neither the day's entries nor a cooldown."""

from dataclasses import dataclass, field

from chimera.contracts.collections import INTENTS, SIGNALS, TRADES
from chimera.contracts.documents import IntentRecord, Signal, Trade
from chimera.contracts.enums import Action, IntentState, TradeStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.documents import Documents, Query

DAY_MS = 86_400_000
STOP_OUT = "STOP_LOSS"
"""`trades.reason` of a position that its first stop ended."""
FORCED_EXIT = "FORCED_EXIT"
"""`trades.reason` of a position that its keeper closed at market, the price being where no stop could rest any more."""
NO_STOP_OUT = frozenset({"TAKE_PROFIT", "STOP_LOCKED", "MANUAL", "EXIT", "NETTED", "DUST"})
"""`trades.reason` of an end that was meant. All others say that the exchange or the router closed it: LIQUIDATION, and
why it could not be protected."""
CLOSED_LOOKED_AT = 20

UNDELIVERED = "UNDELIVERED"
"""`detail` of an open that never became an order."""
OWN_INTENTS = "own_intents"
"""Of an open's trail: every entry that the signal itself has asked for, those by a person's hint left out."""
FILLED_NOTHING = (IntentState.REJECTED, IntentState.FAILED, IntentState.CANCELED)
"""How an intent ends that opened nothing, unless something filled before."""
FAILED_COUNTS_MS = 300_000
"""An entry that came to nothing counts for so long: what refused it refuses the next one a second later as well."""


@dataclass(frozen=True, slots=True)
class Past:
    """Of one instrument, on one UTC signal day. `stopped_out_at` None: never, as far as the documents go.

    `good_until_ms` None: until something changes.
    """

    day: int
    entries: int
    stopped_out_at: int | None
    good_until_ms: int | None = None

    def holds(self, now_ms: int) -> bool:
        return self.day == now_ms // DAY_MS and (self.good_until_ms is None or now_ms < self.good_until_ms)


@dataclass(slots=True, kw_only=True)
class History:
    documents: Documents
    _past: dict[InstrumentKey, Past] = field(default_factory=dict)

    async def of(self, key: InstrumentKey, now_ms: int) -> Past:
        """What is remembered; read when the day is new."""
        past = self._past.get(key)
        return past if past is not None and past.holds(now_ms) else await self.read(key, now_ms)

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
        stop_outs = [trade.closed_at for trade in closed if is_stop_out(trade) and trade.closed_at is not None]
        asked = [intent_id for signal in opened for intent_id in own_intents(signal)]
        failed = await self._failed(key, day) if asked else {}
        counted_until = [failed[each] + FAILED_COUNTS_MS for each in asked if each in failed]
        again_at = [until_ms for until_ms in counted_until if now_ms < until_ms]
        past = Past(
            day,
            entries=len(asked) - len(counted_until) + len(again_at),
            stopped_out_at=max(stop_outs, default=None),
            good_until_ms=min(again_at, default=None),
        )
        self._past[key] = past
        return past

    async def _failed(self, key: InstrumentKey, day: int) -> dict[str, int]:
        """Entries of the day that opened nothing, and when that was known."""
        found: list[IntentRecord] = []
        for state in FILLED_NOTHING:
            found += await self.documents.find(
                Query(
                    collection=INTENTS,
                    index="by_instr",
                    equal=(("market", key.market.value), ("symbol", key.symbol), ("state", state.value)),
                    at_least=day * DAY_MS,
                )
            )
        # A fill that nobody expected any more makes a trade, whatever the intent had ended as.
        return {
            record.intent_id: record.updated_at
            for record in found
            if not record.filled_qty and await self.documents.get(TRADES, record.intent_id) is None
        }

    def forget(self, key: InstrumentKey) -> None:
        """Something of this instrument changed: read again at the next decision."""
        self._past.pop(key, None)


def is_stop_out(trade: Trade) -> bool:
    """Its first stop ended it, or would have if there had been one."""
    if trade.reason == FORCED_EXIT:
        # The stop that was passed may have been one that had followed the profit.
        return trade.exits[-1].pnl_usdt < 0
    return trade.reason is not None and trade.reason not in NO_STOP_OUT


def own_intents(signal: Signal | None) -> tuple[str, ...]:
    """The entries that a signal itself has asked for and that were brought to S4, or are on their way there."""
    if signal is None or signal.decision.action is not Action.OPEN:
        return ()
    decision = signal.decision
    latest = decision.intent_id or signal.signal_id
    told = (decision.trail or {}).get(OWN_INTENTS, [latest])
    return tuple(each for each in told if decision.detail != UNDELIVERED or each != latest)
