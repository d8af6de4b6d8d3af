"""What was in force before: the promotions' own record, read backwards.

Owns what going back means. Numbers of revisions say nothing about it: a revision may be skipped, or come back. Going
back twice goes back two steps, as taking back does everywhere; whoever pulls twice in a hurry must not land where he
wanted to get away from.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from chimera.contracts.documents import Promotion
from chimera.contracts.enums import PromotionMode, PromotionStatus

_NOTHING = 0
"""`from_rev` of the very first."""


SWITCHES = (PromotionMode.FULL, PromotionMode.ROLLBACK)


def revisions_to_go_back_to(present: Promotion, records: Iterable[Promotion]) -> tuple[int, ...]:
    """Revisions, nearest first: what taking back once, twice, … leads to. Empty: there was nothing before.

    Args:
        present: the record of the switch that made the present revision.
        records: every record there is, in any order.
    """
    stack: list[int] = []
    for step in _chain(present, tuple(records)):
        if not stack and step.from_rev != _NOTHING:
            stack.append(step.from_rev)
        if step.mode is PromotionMode.ROLLBACK and step.to_rev in stack:
            while stack[-1] != step.to_rev:
                stack.pop()
        else:
            stack.append(step.to_rev)
    return tuple(dict.fromkeys(rev for rev in reversed(stack[:-1]) if rev != present.to_rev))


def revisions_in_force(present: Promotion, records: Iterable[Promotion]) -> frozenset[int]:
    """Every revision that ever was in force, as far as the records reach."""
    chain = _chain(present, tuple(records))
    return frozenset(rev for step in chain for rev in (step.from_rev, step.to_rev) if rev != _NOTHING)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """PENDING records of switches that are decided: `in_force` came to be, oldest first; `lost` never will."""

    in_force: tuple[Promotion, ...] = ()
    lost: tuple[Promotion, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.in_force or self.lost)


def unfinished(present: Promotion, records: Iterable[Promotion]) -> Unfinished:
    """What is still PENDING up to the present switch.

    A record of a number that is taken, and that did not lead here, lost its race or its write; one beyond the present
    may still win, and of one before the oldest that is known nothing can be said: both are left out.
    """
    known = tuple(records)
    chain = _chain(present, known)
    led_here = {step.promotion_id for step in chain}
    numbers = [step.seq for step in chain if step.seq is not None]
    return Unfinished(
        in_force=tuple(step for step in chain if step.status is PromotionStatus.PENDING),
        lost=tuple(
            record
            for record in known
            if record.status is PromotionStatus.PENDING
            and record.mode in SWITCHES
            and record.promotion_id not in led_here
            and record.seq is not None
            and bool(numbers)
            and numbers[0] <= record.seq <= numbers[-1]
        ),
    )


def _chain(present: Promotion, records: tuple[Promotion, ...]) -> list[Promotion]:
    """The switches that led here, oldest first. What lost its race or never came to be is left out."""
    steps = [present]
    while len(steps) <= len(records):
        before = _before(steps[-1], records)
        if before is None:
            break
        steps.append(before)
    return steps[::-1]


def _before(step: Promotion, records: tuple[Promotion, ...]) -> Promotion | None:
    """The record of the last switch before `step` that led to where `step` began."""
    led_there = [
        record
        for record in records
        if record.to_rev == step.from_rev
        and record.promotion_id != step.promotion_id
        and record.mode in SWITCHES
        and record.status is not PromotionStatus.ABORTED
        and _is_before(record, step)
    ]
    return max(
        led_there,
        # Of two that asked for the same, the one that is known to have been taken back or told was in force.
        key=lambda record: (record.seq or 0, record.promotion_id == step.undoes, record.activated_at or 0),
        default=None,
    )


def _is_before(record: Promotion, step: Promotion) -> bool:
    if record.seq is not None and step.seq is not None:
        # Not only the number before: what tries a bundle on a few signals counts as well, and switches nothing.
        return record.seq < step.seq
    # Records of an earlier version have no number, only their time.
    when = record.activated_at
    return record.seq is None and when is not None and (step.activated_at is None or when < step.activated_at)
