"""Whether an entry rests as maker first, or takes.

Owns the choice and its reason in words, which the timeline of an intent shows. What it costs is `cost`'s business, how
long it may rest `maker_wait`'s. Pure. Source: SERVICES S4 (choice) and S11 (what health offers), 004 1.1.
"""

from dataclasses import dataclass
from enum import StrEnum

from chimera.contracts.enums import HealthLevel, Routing
from chimera.contracts.flags import MakerWaitFlags
from chimera.domain.execution.cost import Book, CostModel, Costs, expected
from chimera.domain.share import in_share


class Style(StrEnum):
    MAKER_FIRST = "MAKER_FIRST"
    """Post-only at the touch; what does not fill in time is taken."""
    MAKER_ONLY = "MAKER_ONLY"
    """Post-only at the touch; what does not fill in time is given up, because the caller forbade taking."""
    TAKER = "TAKER"
    NONE = "NONE"
    """Only a maker order is allowed and none is offered now: the intent ends unsent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """`why` is a part of a sentence after the style: "maker first: …". `costs` None: they decided nothing."""

    style: Style
    why: str
    costs: Costs | None = None

    @property
    def rests(self) -> bool:
        return self.style in (Style.MAKER_FIRST, Style.MAKER_ONLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the choice depends on besides the bundle.

    Attributes:
        new_entry: ENTRY, ADD or HEDGE; everything else takes, always.
        name: The intent's id: it decides whether the order belongs to the probe share.
        health: None: not known, which is as RED.
        conservative: The backtest guard is over its limits.
        can_post: The exchange has post-only orders.
    """

    new_entry: bool
    name: str
    routing: Routing
    book: Book
    health: HealthLevel | None
    conservative: bool = False
    can_post: bool = True


def choose(situation: Situation, model: CostModel, flags: MakerWaitFlags, *, probe_ratio: float) -> Choice:
    """Of one entry or one slice of it.

    Args:
        probe_ratio: `health_guard.actions.maker_probe_ratio`: this share is offered as maker although health or the
            backtest guard forbids it. Without it the figures that forbade it could never mend.
    """
    if not situation.new_entry:
        return Choice(style=Style.TAKER, why="exits take")
    if situation.routing is Routing.DIRECT_TAKER:
        return Choice(style=Style.TAKER, why="DIRECT_TAKER was asked for")
    only = situation.routing is Routing.MAKER_ONLY
    forbidden = _not_offered(situation)
    probes = False
    if forbidden is not None:
        # RED and unknown health open nothing at all, so they probe nothing either.
        probes = situation.can_post and _may_probe(situation) and in_share(situation.name, probe_ratio)
        if not probes:
            return Choice(style=Style.NONE if only else Style.TAKER, why=forbidden)
    note = f" (in the probe share, although {forbidden})" if probes else ""
    if only:
        return Choice(style=Style.MAKER_ONLY, why=f"MAKER_ONLY was asked for{note}")
    gated = _gate(situation.book, flags)
    if gated is not None:
        return Choice(style=Style.TAKER, why=gated)
    costs = expected(model, situation.book)
    if costs is None:
        return Choice(style=Style.TAKER, why="what taking costs is not known")
    by_cost = f"{costs.maker_bps:.2f} bps expected as maker, {costs.taker_bps:.2f} as taker"
    cheaper = costs.maker_bps < costs.taker_bps
    return Choice(style=Style.MAKER_FIRST if cheaper else Style.TAKER, why=by_cost + note, costs=costs)


def _may_probe(situation: Situation) -> bool:
    return situation.health in (HealthLevel.GREEN, HealthLevel.YELLOW, HealthLevel.ORANGE)


def _not_offered(situation: Situation) -> str | None:
    if not situation.can_post:
        return "the exchange has no post-only orders"
    if situation.health is None:
        return "health is not known"
    if situation.health in (HealthLevel.ORANGE, HealthLevel.RED):
        return f"health is {situation.health.value}"
    if situation.conservative:
        return "the backtest guard routes conservatively"
    return None


def _gate(book: Book, flags: MakerWaitFlags) -> str | None:
    """Why the touch is not worth resting at. NaN fails both comparisons."""
    spread, depth = book.spread_bps, book.depth_top1_usdt
    if spread is None or depth is None:
        return "the book is not known"
    if not spread <= flags.spread_bp_gate:
        return f"spread {spread:.2f} bps above spread_bp_gate {flags.spread_bp_gate:g}"
    if not depth >= flags.min_top1_depth_usdt:
        return f"top-1 depth {depth:.0f} USDT below min_top1_depth_usdt {flags.min_top1_depth_usdt:g}"
    return None
