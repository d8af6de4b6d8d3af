"""The guards that a SPOT trade has had, as they stand on file.

Owns that they are numbered without a gap: S4 arms the next one, S5 looks whether any is left.
"""

from chimera.contracts import ids
from chimera.contracts.collections import INTENTS
from chimera.contracts.documents import IntentRecord
from chimera.ports.documents import Documents


async def guards_of(documents: Documents, trade_id: str) -> list[IntentRecord]:
    """Oldest first, those that have ended too."""
    found: list[IntentRecord] = []
    while (record := await documents.get(INTENTS, ids.guard_id(trade_id, len(found) + 1))) is not None:
        found.append(record)
    return found
