"""Slices that wait for their time, shown to everybody: `exec:twap:queue`, and `delay:ord:INSTR` where the book is not
fit for one.

Owns the queue's members. A mirror: what is sent, and that it is sent once, is decided by the intent's own document, so
an empty or doubled queue loses and doubles nothing.
"""

import json
from dataclasses import dataclass, field

from chimera.contracts.documents import Execution, IntentRecord, WorkSlice
from chimera.contracts.enums import LegRole
from chimera.contracts.keys import DELAY_ORD, TWAP_QUEUE
from chimera.ports.metrics import Metrics
from chimera.ports.state import DueQueue


@dataclass(slots=True, kw_only=True)
class Backlog:
    env: str
    due: DueQueue
    metrics: Metrics
    _queued: dict[str, set[str]] = field(default_factory=dict)
    """By intent: its members in the queue."""
    _delayed: dict[str, str] = field(default_factory=dict)

    async def show(self, record: IntentRecord, execution: Execution) -> None:
        """Bring the queues to what the plan says now."""
        if len(execution.slices) < 2 and execution.probed_from is None and record.intent_id not in self._delayed:
            return
        begun = {leg.slice for leg in execution.legs if leg.role in (LegRole.QUOTE, LegRole.TAKE)}
        waiting = [] if execution.stopped else [part for part in execution.slices if part.number not in begun]
        queue = TWAP_QUEUE.name(self.env)
        wanted = {_member(record, part): part.due_at for part in waiting} if len(execution.slices) > 1 else {}
        queued = self._queued.get(record.intent_id, set())
        for member in queued - wanted.keys():
            await self.due.remove(queue, member)
        for member in wanted.keys() - queued:
            await self.due.put(queue, member, wanted[member])
        if wanted:
            self._queued[record.intent_id] = set(wanted)
        else:
            self._queued.pop(record.intent_id, None)
        await self._show_delay(record, execution, waiting)
        self.metrics.gauge("twap_backlog", sum(len(each) for each in self._queued.values()))

    async def _show_delay(self, record: IntentRecord, execution: Execution, waiting: list[WorkSlice]) -> None:
        name = DELAY_ORD.name(self.env, record.intent.instrument)
        member = self._delayed.get(record.intent_id)
        if execution.probed_from is not None and waiting:
            if member is None:
                member = self._delayed[record.intent_id] = _member(record, waiting[0])
                await self.due.put(name, member, execution.probed_from)
        elif member is not None:
            del self._delayed[record.intent_id]
            await self.due.remove(name, member)

    async def forget(self, record: IntentRecord, execution: Execution) -> None:
        """The intent has ended: nothing of it waits any more."""
        await self.show(record, execution.but(stopped=execution.stopped or "ENDED", probed_from=None))


def _member(record: IntentRecord, part: WorkSlice) -> str:
    body = {"intent_id": record.intent_id, "slice": part.number, "qty": str(part.qty), "due_at": part.due_at}
    return json.dumps(body, separators=(",", ":"))
