"""The exploration finds a broken machine: each of these must not survive it."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.documents import Order, WorkSlice
from chimera.domain.execution.machine import bracket, flow, lead, work
from chimera.domain.execution.machine.flow import Cancel, Draft, Event, Flow, Restarted, Told
from tests.domain.execution.machine import model
from tests.domain.execution.machine.model import Broken, explore
from tests.domain.execution.machine.scenarios import SCENARIOS

_absorb, _call = flow.absorb, Draft.call


def whole(draft: Draft, part: WorkSlice) -> Decimal:
    return part.qty


def any_stop_holds(draft: Draft, order: Order, open_qty: Decimal) -> bool:
    return True


def newest(known: Order | None, told: Order) -> Order:
    return told


def goes_on_after_a_restart(now: Flow, event: Event) -> Flow:
    after = _absorb(now, event)
    return replace(after, execution=now.execution) if isinstance(event, Restarted) else after


def never_cancels(self: Draft, call: Any) -> None:
    if not isinstance(call, Cancel):
        _call(self, call)


def believes_a_cancel(now: Flow, event: Event) -> Flow:
    """The first word that it was canceled is the last: what filled before is not asked for."""
    if isinstance(event, Told) and event.order.status.value == "CANCELED":
        return _absorb(now, Told(event.n, event.order.but(filled_qty=Decimal(0))))
    return _absorb(now, event)


def nothing_is_asked_first(now: Flow) -> None:
    return None


def never_flat(draft: Draft, *, worked: bool) -> None:
    """Flat, and what still rests is left."""
    if worked and not draft.flow.busy:
        draft.stop("EXITED")
        draft.end = bracket.ended(draft)


MUTANTS: dict[str, tuple[object, str, Callable[..., Any], str, bool]] = {
    "the rest is the whole slice": (work, "rest_of", whole, "spot maker", False),
    "the stop is not resized": (bracket, "_holds", any_stop_holds, "futures slices", False),
    "the newest telling counts": (flow, "further", newest, "spot maker", False),
    "an entry goes on after a restart": (model, "absorb", goes_on_after_a_restart, "spot slices", False),
    "nothing is canceled": (Draft, "call", never_cancels, "spot maker", False),
    "a cancel is believed": (model, "absorb", believes_a_cancel, "spot maker", False),
    "what protects is asked last": (lead, "opens_no_more", nothing_is_asked_first, "futures slices", True),
    "at flat the rest stays": (bracket, "_flat", never_flat, "futures maker", False),
}


@pytest.mark.parametrize(("where", "name", "mutant", "scenario", "late"), MUTANTS.values(), ids=MUTANTS)
def test_a_broken_machine_is_found(
    where: object,
    name: str,
    mutant: Callable[..., Any],
    scenario: str,
    late: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(where, name, mutant)

    with pytest.raises(Broken):
        explore(replace(SCENARIOS[scenario], late=late))
