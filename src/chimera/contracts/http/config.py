"""Bodies of S10."""

from typing import Literal

from pydantic import Field

from chimera.contracts.base import Contract, EpochMs, Estimate, Json, JsonObject
from chimera.contracts.documents.config import ConfigBundle, Factor, Instrument, StrategyRule
from chimera.contracts.enums import BundleStatus, Market, PromotionMode, PromotionStatus, SimulationStatus
from chimera.contracts.flags import Flags
from chimera.contracts.http.common import Asked
from chimera.contracts.messages.research import Sensitivity, SimWindow


class BundleDraft(Asked):
    """`POST /bundles`: a whole configuration. What is not told is as in the default bundle's groups."""

    flags: Flags = Flags()
    rules: tuple[StrategyRule, ...] = ()
    factors: tuple[Factor, ...] = ()
    instruments: tuple[Instrument, ...] = ()
    note: str | None = None


class LintFinding(Contract):
    """One thing amiss in a bundle: where (a path as `rules[0].when`), what, and how to mend it.

    `line` is the path's, from 1, in the text that was sent with this call.
    """

    level: Literal["error", "warning"]
    path: str
    message: str
    remedy: str | None = None
    line: int | None = None


class LintAnswer(Contract):
    """`POST /lint`: what is amiss in a configuration that nobody has stored. `hash` is its content's."""

    hash: str
    findings: tuple[LintFinding, ...] = ()


class BundleAnswer(Contract):
    """A bundle's place in its life, after `POST /bundles`, `/lint` and `/stage`."""

    bundle_id: str
    status: BundleStatus
    hash: str
    rev: int | None = None
    findings: tuple[LintFinding, ...] = ()
    created_at: EpochMs | None = None
    created_by: str | None = None
    note: str | None = None


class BundlesAnswer(Contract):
    """`GET /bundles`: newest first."""

    bundles: tuple[BundleAnswer, ...] = ()


class BundleBody(Contract):
    """`GET /bundles/{id}`."""

    bundle: ConfigBundle


class DiffQuery(Asked):
    """What the bundle is compared with: a bundle's id, a revision, or `active`."""

    against: str = Field(default="active", min_length=1, description="A bundle's id, a revision, or active.")


class Difference(Contract):
    """One path at which two bundles differ, as `flags.risk.slip_bp_max` or `rules[R-001].when.v`, and in words.

    ADDED has no `before`, REMOVED no `after`.
    """

    path: str
    kind: Literal["ADDED", "REMOVED", "CHANGED"]
    before: Json = None
    after: Json = None
    words: str


class BundleDiff(Contract):
    """`GET /bundles/{id}/diff?against=`: from `against` to the bundle. Order within a list is no difference."""

    bundle_id: str
    against: str
    rev: int | None = None
    against_rev: int | None = None
    differences: tuple[Difference, ...] = ()


class DryRunRequest(Asked):
    """`POST /bundles/{id}/dry-run`: signals of the last `days` days; S10_DRY_RUN_DAYS of all symbols otherwise."""

    days: int | None = Field(default=None, ge=1, le=365)
    symbols: tuple[str, ...] | None = Field(default=None, min_length=1)
    against: str = Field(default="active", min_length=1)


class DryRunLimit(Contract):
    """One limit of v3.0 section 2.3, or `without_p_ratio` where a trained model is named, and what was found."""

    name: Literal["asked", "skip_entry_ratio", "size_up_ratio", "jaccard", "without_p_ratio"]
    value: Estimate
    limit: Estimate
    passed: bool
    words: str


class DryRunFigures(Contract):
    """Counts of signals. `asked`: gates passed, there was a side, the bundle's rules were reached; `skipped` and
    `sized_up` are of those. `opened` is what the bundle would have opened, had nothing been open.

    `model_asked`: signals of which either bundle asks a trained model; `without_p`: those of them that no answer of a
    model is on file for."""

    signals: int
    asked: int
    skipped: int
    sized_up: int
    opened: int
    opened_by_reference: int
    opened_by_both: int
    model_asked: int = 0
    without_p: int = 0
    skip_entry_ratio: Estimate
    size_up_ratio: Estimate
    jaccard: Estimate


class DryRunInstrument(DryRunFigures):
    market: Market
    symbol: str


class DryRunRule(Contract):
    """How often a rule fired: in the bundle, and in what it is compared with."""

    rule_id: str
    hits: int
    hits_of_reference: int


class DryRunOutcome(Contract):
    """How many signals ended so (`OK`, `GATE:SPREAD`, `RULE:R-001`, …): in the bundle, and in the reference."""

    outcome: str
    signals: int
    signals_of_reference: int


class DryRunDay(Contract):
    """One UTC day, `yyyy-mm-dd`."""

    day: str
    signals: int
    opened: int
    opened_by_reference: int
    opened_by_both: int


class DryRunAnswer(DryRunFigures):
    """`POST /bundles/{id}/dry-run`: what the bundle says of stored signals, beside the reference.

    The account is neutral: at every moment nothing is open, the whole budget free, nothing halted; `notes` says so, and
    what else the figures leave out. Ratios are of `asked`; `jaccard` is 1 where neither opens anything.
    """

    bundle_id: str
    against: str
    rev: int | None = None
    against_rev: int | None = None
    days: int
    from_ms: EpochMs
    to_ms: EpochMs
    passed: bool
    limits: tuple[DryRunLimit, ...]
    instruments: tuple[DryRunInstrument, ...] = ()
    rules: tuple[DryRunRule, ...] = ()
    outcomes: tuple[DryRunOutcome, ...] = ()
    per_day: tuple[DryRunDay, ...] = ()
    notes: tuple[str, ...] = ()
    duration_ms: int
    findings: tuple[LintFinding, ...] = ()


class SimulateRequest(Asked):
    """`POST /simulate`: the fields of SimCmd; without sim_id one is derived."""

    sim_id: str | None = None
    bundle_id: str
    ref_rev: int | str | None = None
    window: SimWindow
    symbols: tuple[str, ...] | None = None
    horizons: tuple[str, ...] | None = None
    sensitivity: Sensitivity | None = None


class SimulateAnswer(Contract):
    """`POST /simulate` and `GET /simulations/{id}`."""

    sim_id: str
    bundle_id: str
    status: SimulationStatus
    summary: JsonObject | None = None
    approx_effect: JsonObject | None = None
    sensitivity_analysis: JsonObject | None = None
    bounds_guard: JsonObject | None = None


class PromoteRequest(Asked):
    """`POST /promote`. `expected_seq` refuses (409) when somebody else switched meanwhile."""

    bundle_id: str = Field(min_length=1)
    mode: PromotionMode = PromotionMode.FULL
    expected_seq: int | None = None
    reason: str | None = None


class RollbackRequest(Asked):
    """`POST /rollback`: to `to_rev`, else to what was in force before the present revision was promoted."""

    to_rev: int | None = Field(default=None, ge=1, lt=2**53)
    expected_seq: int | None = None
    reason: str | None = None


class PromoteAnswer(Contract):
    promotion_id: str
    bundle_id: str
    from_rev: int
    to_rev: int
    mode: PromotionMode
    status: PromotionStatus
    seq: int


class ActiveAnswer(Contract):
    """`GET /active`: what is in force, how to tell that one holds the same, and what a rollback leads to.

    `way_back`: revisions, nearest first, that rolling back once, twice, … would put in force.
    """

    bundle_id: str
    rev: int
    seq: int
    hash: str
    activated_at: EpochMs
    way_back: tuple[int, ...] = ()
