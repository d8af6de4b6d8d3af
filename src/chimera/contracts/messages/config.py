"""A config revision became active."""

from chimera.contracts.base import EpochMs, Message
from chimera.contracts.enums import CfgEventKind


class CfgEvent(Message):
    """S10 → all, broadcast, on `cfg:events`. Schema: CfgEvent.json, + seq, reason.

    Told after `config_active` is written. `seq` grows by one at every switch, rollback included: readers go by it,
    never by `rev`, which goes back. `hash` is that of the bundle's canonical JSON.
    """

    rev: int
    bundle_id: str
    event: CfgEventKind
    activated_at: EpochMs
    hash: str
    seq: int | None = None
    reason: str | None = None
