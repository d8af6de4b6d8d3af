"""Every pair of events that race, by name: whichever comes first, it ends as it must.

Where both orders must come to the very same end, `same` says so; elsewhere each is right in its own way (a slice that
was sent before its stop triggered is bought, and covered), and the model's invariants hold on both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import pytest

from chimera.contracts.enums import LegRole
from tests.domain.execution.machine.model import Luck, Model, Move, Scenario, State
from tests.domain.execution.machine.scenarios import (
    BRACKETED,
    LIMIT,
    MAKER,
    SCENARIOS,
    SPOT_LIMIT,
    TAKER,
    TWO,
    scenario,
)

STEPS_MAX = 200

BOUGHT = ("send 0", "0 arrives", "fill 0 0.020", "tell 0 FILLED")
QUOTED = ("send 0", "0 arrives", "answer 0")
HALF = ("send 0", "0 arrives", "fill 0 0.010", "tell 0 FILLED")
LISTED = ("send 1", "1 arrives", "tell 1 NEW")


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    of: Scenario
    before: tuple[str, ...]
    one: str
    other: str
    same: bool = True


SLICES = scenario(TWO, TAKER, Luck.TRIGGER, Luck.STOPPED, Luck.WOULD_TRIGGER, Luck.TAKEN_AWAY, Luck.FORBIDDEN, slices=2)
BRACKET = scenario(BRACKETED, TAKER, Luck.RESTART, Luck.WOULD_TRIGGER, Luck.TAKEN_AWAY, trigger=2)
RESTS = scenario(TWO, MAKER, Luck.WOULD_TRIGGER, Luck.STOPPED, Luck.FORBIDDEN, Luck.TRIGGER)
SPOT_MAKER = SCENARIOS["spot maker"]
PART = (*QUOTED, "fill 0 0.010", "tell 0 PARTIALLY_FILLED")

RACES: dict[str, Race] = {
    "fill and answer": Race(of=BRACKET, before=BOUGHT[:3], one="tell 0 FILLED", other="answer 0"),
    "cancel and fill": Race(of=SPOT_MAKER, before=(*QUOTED, "time passes"), one="cancel 0", other="fill 0 0.020"),
    "cancel and part of a fill": Race(
        of=SPOT_MAKER, before=(*QUOTED, "time passes"), one="cancel 0", other="fill 0 0.010"
    ),
    "end of the window and fill": Race(of=SPOT_MAKER, before=QUOTED, one="time passes", other="fill 0 0.020"),
    "end of the window and part of a fill": Race(of=SPOT_MAKER, before=QUOTED, one="time passes", other="fill 0 0.010"),
    "kill switch and fill": Race(
        of=SPOT_MAKER, before=(*QUOTED, "fill 0 0.020"), one="kill switch", other="tell 0 FILLED"
    ),
    "kill switch and second slice": Race(
        of=SLICES, before=(*HALF, *LISTED), one="kill switch", other="time passes", same=False
    ),
    "a person's cancel and fill": Race(
        of=scenario(SPOT_LIMIT, LIMIT, Luck.STOPPED), before=QUOTED, one="a person cancels", other="fill 0 0.020"
    ),
    "restart and answer": Race(of=BRACKET, before=("send 0", "0 arrives"), one="restart", other="answer 0"),
    "restart and fill": Race(of=BRACKET, before=BOUGHT[:3], one="restart", other="tell 0 FILLED"),
    "restart and arrival": Race(of=BRACKET, before=("send 0",), one="restart", other="0 arrives"),
    "restart and listing": Race(
        of=BRACKET, before=(*BOUGHT, *LISTED[:2]), one="restart", other="tell 1 NEW", same=False
    ),
    "listing and answer": Race(of=BRACKET, before=(*BOUGHT, *LISTED[:2]), one="tell 1 NEW", other="answer 1"),
    "listing and fill": Race(of=RESTS, before=(*PART, *LISTED[:2]), one="tell 1 NEW", other="fill 0 0.010"),
    "stop and second slice": Race(
        of=SLICES, before=(*HALF, *LISTED, "trigger 1"), one="tell 1 FILLED", other="time passes", same=False
    ),
    "stop and cancel of the quote": Race(
        of=RESTS, before=(*PART, *LISTED, "time passes"), one="trigger 1", other="cancel 0", same=False
    ),
    "target and stop": Race(
        of=BRACKET, before=(*BOUGHT, *LISTED, "send 2", "2 arrives"), one="trigger 1", other="trigger 2"
    ),
    "refused stop and fill of another part": Race(
        of=RESTS, before=(*PART, "send 1"), one="1 is refused WOULD_TRIGGER", other="fill 0 0.010", same=False
    ),
    "stop taken away and second slice": Race(
        of=SLICES, before=(*HALF, *LISTED), one="take 1 away", other="time passes"
    ),
    "stop taken away and trigger": Race(
        of=BRACKET, before=(*BOUGHT, *LISTED), one="take 1 away", other="trigger 1", same=False
    ),
}


def do(model: Model, state: State, name: str) -> State | None:
    """None: it cannot happen any more."""
    return next((move.after for move in model.moves(state) if move.name.startswith(name)), None)


def done(model: Model, state: State, names: Sequence[str]) -> State:
    for name in names:
        after = do(model, state, name)
        assert after is not None, f"{name} cannot happen; these can: {[move.name for move in model.moves(state)]}"
        state = after
    return state


def settled(model: Model, state: State) -> State:
    """Whatever is due is delivered, time last."""
    for _ in range(STEPS_MAX):
        fair = [move for move in model.moves(state) if move.fair and move.after != state]
        if not fair:
            break
        state = min(fair, key=_later).after
    assert state.end is not None, "it never ends"
    return state


def _later(move: Move) -> int:
    return 2 if move.name == "time passes" else 0 if move.name.startswith("tell") else 1


def outcome(model: Model, state: State) -> tuple[object, ...]:
    assert state.end is not None
    stops = sum(
        (held.qty - held.filled for _, held in state.venue if held.is_live and held.role is LegRole.STOP), Decimal(0)
    )
    return state.end.state, state.end.filled_qty, model.open_qty(state), stops


@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
def test_whichever_comes_first_it_ends_as_it_must(race: Race) -> None:
    model = Model(race.of)
    before = done(model, model.begin(), race.before)
    ends = []
    for first, second in ((race.one, race.other), (race.other, race.one)):
        state = done(model, before, (first,))
        state = do(model, state, second) or state
        ends.append(outcome(model, settled(model, state)))

    assert not race.same or ends[0] == ends[1]
    for _, _, open_qty, stops in ends:
        assert race.of.intent.market.value == "SPOT" or open_qty == stops
