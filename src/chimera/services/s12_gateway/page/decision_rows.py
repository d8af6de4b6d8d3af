"""The list of stored decisions as table rows, and what is said beside it. Pure."""

from chimera.contracts.enums import Action
from chimera.domain.decision.telling import figure
from chimera.services.s12_gateway.page.decisions import Line, Portion
from chimera.services.s12_gateway.page.rows import Column, Row, cell, row
from chimera.services.s12_gateway.page.words import NOTHING, at, clock_time, instrument_name

LINE_COLUMNS = (
    Column("Time", "", "of the features that it was decided on"),
    Column("Instrument"),
    Column("Decision", "wrap"),
    Column("Side", "rare"),
    Column("Size ×", "num rare", "all multipliers, of the planned size"),
    Column("Rev", "num rare", "of the configuration in force then"),
)
SIDES = {"BUY": ("▲ buy", "long"), "SELL": ("▼ sell", "short")}


def line_rows(portion: Portion, now_ms: int) -> list[Row]:
    return [_line_row(line, now_ms) for line in portion.lines]


def _line_row(line: Line, now_ms: int) -> Row:
    opened = line.action is Action.OPEN
    side, tone = SIDES.get(line.side or "", (NOTHING, "dim"))
    return row(
        line.signal_id,
        cell(clock_time(line.t0, now_ms)),
        cell(instrument_name(str(line.instrument))),
        cell(
            "OPEN" if opened else line.detail or line.reason, "open" if opened else "skip", line.sentence, line.reason
        ),
        cell(side, tone),
        # Before a side was chosen nothing was multiplied.
        cell(NOTHING if line.side is None or line.size_mult is None else figure(line.size_mult)),
        cell(str(line.config_rev), "dim"),
    )


def looked_text(portion: Portion) -> str:
    """How far a look came, where the list alone does not say it."""
    count = len(portion.lines)
    counted = f"{count} decision{'' if count == 1 else 's'}"
    if portion.next is None:
        return f"{counted}, and nothing older"
    return f"{counted}, back to {at(portion.next, '%Y-%m-%d %H:%M')} UTC"


def nothing_text(portion: Portion, *, is_filtered: bool) -> str:
    if not is_filtered:
        return "No decision yet: the first comes with the first complete set of features."
    if portion.next is not None:
        until = at(portion.next, "%Y-%m-%d %H:%M")
        return f"None among the {portion.looked_at:,} signals back to {until} UTC. Older goes on from there."
    return "No decision is like that."
