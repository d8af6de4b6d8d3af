"""The record of what was in force, as it stands on file."""

from collections.abc import Sequence
from dataclasses import dataclass

from chimera.contracts import ids
from chimera.contracts.collections import PROMOTIONS
from chimera.contracts.documents import ConfigActive, Promotion
from chimera.contracts.enums import PromotionStatus
from chimera.domain.config.history import SWITCHES, revisions_in_force, revisions_to_go_back_to
from chimera.ports.documents import Documents, Query


def promotion_id(active: ConfigActive) -> str:
    """Derived from the switch, so that settling it twice writes one record."""
    return ids.promotion_id(active.activated_at, active.seq, active.bundle_id)


@dataclass(frozen=True, slots=True)
class Past:
    """What led to the present revision. `present` None: its record is gone."""

    present: Promotion | None
    records: Sequence[Promotion]

    @property
    def way_back(self) -> tuple[int, ...]:
        """What taking back once, twice, … leads to."""
        return () if self.present is None else revisions_to_go_back_to(self.present, self.records)

    def was_in_force(self, rev: int) -> bool:
        return self.present is not None and rev in revisions_in_force(self.present, self.records)


async def past_of(documents: Documents, active: ConfigActive) -> Past:
    records: list[Promotion] = []
    for status in PromotionStatus:
        if status is not PromotionStatus.ABORTED:
            records += await documents.find(
                Query(collection=PROMOTIONS, index="by_status", equal=(("status", status.value),))
            )
    wanted = promotion_id(active)
    led_here = [
        record
        for record in records
        if record.promotion_id == wanted
        or (record.mode in SWITCHES and record.to_rev == active.rev and (record.seq or 0) < active.seq)
    ]
    present = max(led_here, key=lambda record: (record.promotion_id == wanted, record.seq or 0), default=None)
    return Past(present, records)
