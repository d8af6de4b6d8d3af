"""The audit trail: every `ops:events` entry, chained by hash, kept for ever.

Each record's hash covers the record and the hash before it, so a record that is changed or taken out later shows. The
chain is verified at start.
"""

import hashlib
import json
from dataclasses import dataclass, field

from chimera.contracts import ids
from chimera.contracts.collections import AUDIT_EVENTS
from chimera.contracts.documents import AuditRecord
from chimera.contracts.enums import Severity
from chimera.contracts.messages import AlertEvent, AuditEvent
from chimera.contracts.streams import ALERTS
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Query

GENESIS = "0" * 64
"""What the first record follows."""
PAGE = 500
TRIES = 10


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def hash_of(record: AuditRecord) -> str:
    """Of everything but the hash itself; `prev_hash` is part of it."""
    return hashlib.sha256(canonical({**record.to_dict(), "hash": ""}).encode()).hexdigest()


def chained(event: AuditEvent, seq: int, prev_hash: str) -> AuditRecord:
    said = event.to_dict()
    record = AuditRecord(
        audit_id=ids.audit_id(event.ts, event.actor, event.action, event.subject, canonical(said)),
        seq=seq,
        ts=event.ts,
        actor=event.actor,
        action=event.action,
        subject=event.subject,
        # As JSON will give it back, so that the hash is the same when it is read again.
        before=said.get("before"),
        after=said.get("after"),
        prev_hash=prev_hash,
        hash="",
    )
    return record.but(hash=hash_of(record))


@dataclass(slots=True)
class Head:
    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAudit:
    documents: Documents
    bus: Bus
    clock: Clock
    env: str
    head: Head = field(default_factory=Head)

    async def on_audit(self, event: AuditEvent) -> None:
        """Append; an event that the bus told twice stands in the chain once."""
        for _ in range(TRIES):
            record = chained(event, self.head.seq + 1, self.head.hash)
            if await self.documents.get(AUDIT_EVENTS, record.audit_id) is not None:
                return
            try:
                await self.documents.insert(AUDIT_EVENTS, record)
            except DuplicateKey:
                # Another replica appended: follow what it wrote.
                await self._find_head()
                continue
            self.head.seq, self.head.hash = record.seq, record.hash
            return
        raise RuntimeError(f"the audit chain moved {TRIES} times while one record was appended")

    async def verify(self) -> int | None:
        """Walk the chain from its beginning and stand at its end. Returns: the first seq that does not fit, or None."""
        seq, prev_hash = 0, GENESIS
        broken: int | None = None
        while True:
            page = await self.documents.find(
                Query(collection=AUDIT_EVENTS, index="by_seq", at_least=seq + 1, limit=PAGE)
            )
            for record in page:
                fits = record.seq == seq + 1 and record.prev_hash == prev_hash and record.hash == hash_of(record)
                if not fits and broken is None:
                    broken = record.seq
                seq, prev_hash = record.seq, record.hash
            if len(page) < PAGE:
                break
        self.head.seq, self.head.hash = seq, prev_hash
        return broken

    async def start(self) -> None:
        broken = await self.verify()
        if broken is None:
            return
        await self.bus.publish(
            ALERTS.name(self.env),
            AlertEvent(
                ts=self.clock.now_ms(),
                severity=Severity.ERROR,
                source="s11",
                message=f"the audit chain is broken at record {broken}: somebody changed or removed a record. "
                "Compare audit_events with a backup.",
                tags={"seq": str(broken)},
            ),
        )

    async def _find_head(self) -> None:
        newest = await self.documents.find(Query(collection=AUDIT_EVENTS, index="by_seq", descending=True, limit=1))
        for record in newest:
            self.head.seq, self.head.hash = record.seq, record.hash
