"""Autopsies, hypotheses, experiments, simulations, models and cost curves: what was learned."""

from typing import ClassVar

from chimera.contracts.base import Document, EpochMs, JsonObject, NullableStr
from chimera.contracts.enums import (
    CostCurveKind,
    ExperimentResult,
    HypothesisStatus,
    SimulationStatus,
)


class AutopsyReport(Document):
    """`autopsy_reports`: one trade taken apart. Schema: autopsy_reports.json. Kept for ever."""

    key_field: ClassVar[str] = "trade_id"

    trade_id: str
    tl_dr: str
    entry_snapshot: JsonObject | None = None
    trajectory: JsonObject | None = None
    exit_analysis: JsonObject | None = None
    peer_comparison: JsonObject | None = None
    tca: JsonObject | None = None
    counterfactual: JsonObject | None = None
    generated_at: EpochMs


class Hypothesis(Document):
    """`hypotheses`: something we believe and want tested. Schema: hypotheses.json."""

    key_field: ClassVar[str] = "hypothesis_id"

    hypothesis_id: str
    description: str
    status: HypothesisStatus
    related_trades: tuple[str, ...] | None = None
    validation_metrics: tuple[str, ...] | None = None
    backtest_run_id: NullableStr = None
    created_at: EpochMs
    updated_at: EpochMs | None = None


class Experiment(Document):
    """`experiments`: one test of a hypothesis. Schema: experiments.json."""

    key_field: ClassVar[str] = "exp_id"

    exp_id: str
    hypothesis_id: str
    design: JsonObject
    metrics: JsonObject | None = None
    result: ExperimentResult
    created_at: EpochMs
    backtest_run_id: str | None = None
    related_trades: tuple[str, ...] | None = None


class Simulation(Document):
    """`simulations`: a bundle compared with a revision over stored signals. Schema: simulations.json. Kept 180 d."""

    key_field: ClassVar[str] = "sim_id"

    sim_id: str
    bundle_id: str
    ref_rev: int | None = None
    window: JsonObject | None = None
    summary: JsonObject | None = None
    approx_effect: JsonObject | None = None
    sensitivity_analysis: JsonObject | None = None
    bounds_guard: JsonObject | None = None
    detail: JsonObject | None = None
    status: SimulationStatus
    created_at: EpochMs


class CostCurve(Document):
    """`cost_curves`: a fitted model of fees or slippage. Schema: cost_curves.json, which leaves `params` open;
    `domain.execution.cost` says what they are."""

    key_field: ClassVar[str] = "curve_id"

    curve_id: str
    kind: CostCurveKind
    version: str
    params: JsonObject
    fitted_at: EpochMs
    notes: str | None = None


class Model(Document):
    """`models`: a trained model by name; the ONNX file lies in the object store under its hash. Source: CONTRACTS 2."""

    key_field: ClassVar[str] = "name"

    name: str
    hash: str
    features: tuple[str, ...]
    calibration: JsonObject | None = None
    metrics: JsonObject | None = None
    created_at: EpochMs
