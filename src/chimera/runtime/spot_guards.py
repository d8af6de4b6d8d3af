"""The guards that a SPOT trade has had, as they stand on file.

Owns that they are numbered without a gap, so that the last is found without reading the others: S4 arms the next one,
S5 looks whether any is left.
"""

from chimera.contracts import ids
from chimera.contracts.collections import INTENTS
from chimera.contracts.documents import IntentRecord
from chimera.ports.documents import Documents
from chimera.runtime.numbered import last_of


async def guards_count(documents: Documents, trade_id: str, *, at_least: int = 0) -> int:
    """How many guards the trade has had, which is the number of the last. `at_least` are known to be on file: with the
    count of before this is one look."""

    async def is_on_file(number: int) -> bool | None:
        guard_id = ids.guard_id(trade_id, at_least + number)
        return bool(await documents.get_values(INTENTS, (guard_id,), ())) or None

    return at_least + (await last_of(is_on_file))[0]


async def guard_before(documents: Documents, guard: IntentRecord) -> IntentRecord | None:
    """The one that `guard` followed on its trade."""
    trade_id, number = guard.intent.parent_id, guard.intent_id.rpartition("-")[2]
    if trade_id is None or not number.isdecimal() or int(number) == 1:
        return None
    return await documents.get(INTENTS, ids.guard_id(trade_id, int(number) - 1))
