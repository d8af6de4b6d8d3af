"""What an order is expected to cost as maker and as taker, in bps of its notional. Positive is worse.

Owns the two formulas and the `params` of a `cost_curves` document, which the spec leaves open:

    SLIPPAGE  base_bps + spread_coef * spread_bps + depth_coef * notional / depth_top1 + volatility_coef * volatility
              + regime_bps[regime]; also p_fill and drift_bps of a maker order; each may be left out
    FEES      maker_bp, taker_bp
    both      instrument ("FUT:BTCUSDT"): the only one it holds for; left out: all

A figure that no curve tells has the flags' default. Pure. Source: SERVICES S4, S11; 004 1.1.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chimera.contracts.documents import CostCurve
from chimera.contracts.enums import CostCurveKind, Regime
from chimera.contracts.flags import RoutingFlags
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.slippage import estimate_bps

_COEFFICIENTS = ("base_bps", "spread_coef", "depth_coef", "volatility_coef")
_FIGURE_MAX = 1e6


class CostCurveError(ValueError):
    """A `cost_curves` document cannot be used: which field, its value, and what it should be."""

    def __init__(self, curve_id: str, name: str, value: object, remedy: str) -> None:
        super().__init__(f"cost_curves/{curve_id} params.{name}={str(value)[:80]!r}: {remedy}")
        self.field = f"params.{name}"
        self.value = value
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class SlippageCurve:
    """bps that a market order costs against the mid."""

    base_bps: float = 0.0
    spread_coef: float = 0.0
    depth_coef: float = 0.0
    volatility_coef: float = 0.0
    regime_bps: Mapping[Regime, float] = field(default_factory=dict)

    def bps(self, book: "Book") -> float | None:
        """None where the book does not tell what the curve needs. Never below 0: nobody is paid for taking."""
        depth, spread = book.depth_top1_usdt, book.spread_bps
        if spread is None or depth is None or not depth > 0.0 or not spread >= 0.0:
            return None
        # What was fitted with volatility says nothing without it.
        if self.volatility_coef and book.volatility is None:
            return None
        bps = (
            self.base_bps
            + self.spread_coef * spread
            + self.depth_coef * book.notional_usdt / depth
            + self.volatility_coef * (book.volatility or 0.0)
            + self.regime_bps.get(book.regime, 0.0)
        )
        return max(0.0, bps) if math.isfinite(bps) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The market that an order of `notional_usdt` meets. None: not known. `volatility` is `rv_pctile_30d`, 0 to
    1."""

    notional_usdt: float
    spread_bps: float | None
    depth_top1_usdt: float | None
    regime: Regime
    volatility: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Everything but the market: fees, chance and drift. `curve` None: the plain estimate from the book."""

    maker_fee_bps: float
    taker_fee_bps: float
    p_fill: float
    drift_bps: float
    curve: SlippageCurve | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """bps of notional."""

    maker_bps: float
    taker_bps: float
    slippage_bps: float


def expected(model: CostModel, book: Book) -> Costs | None:
    """maker = p_fill * maker_fee + (1 - p_fill) * (taker_fee + slippage + drift); taker = taker_fee + slippage.

    None: the book does not tell what slippage is made of.
    """
    slippage_bps = slippage_of(model, book)
    if slippage_bps is None:
        return None
    taken = model.taker_fee_bps + slippage_bps
    return Costs(
        maker_bps=model.p_fill * model.maker_fee_bps + (1.0 - model.p_fill) * (taken + model.drift_bps),
        taker_bps=taken,
        slippage_bps=slippage_bps,
    )


def slippage_of(model: CostModel, book: Book) -> float | None:
    """bps by the curve, or by the plain estimate where there is none or it cannot be worked out. None: no book."""
    fitted = model.curve.bps(book) if model.curve is not None else None
    if fitted is not None:
        return fitted
    return estimate_bps(
        spread_bps=book.spread_bps, depth_top1_usdt=book.depth_top1_usdt, notional_usdt=book.notional_usdt
    )


def cost_model(
    flags: RoutingFlags,
    *,
    slippage: CostCurve | None = None,
    fees: CostCurve | None = None,
    own_maker_bps: float | None = None,
    own_taker_bps: float | None = None,
) -> CostModel:
    """From the newest curves of an instrument, where there are any.

    Args:
        own_maker_bps: The account's own rate, which wins over curve and flags; None: not known.

    Raises:
        CostCurveError: naming the document and the field.
    """
    maker_bps, taker_bps = float(flags.fees.maker_bp), float(flags.fees.taker_bp)
    if fees is not None:
        maker_bps = _figure(fees, "maker_bp", -100.0, 1_000.0, maker_bps)
        taker_bps = _figure(fees, "taker_bp", -100.0, 1_000.0, taker_bps)
    p_fill, drift_bps, curve = flags.cost.p_fill, flags.cost.drift_bps, None
    if slippage is not None:
        p_fill = _figure(slippage, "p_fill", 0.0, 1.0, p_fill)
        drift_bps = _figure(slippage, "drift_bps", 0.0, 1_000.0, drift_bps)
        curve = _curve(slippage)
    return CostModel(
        maker_fee_bps=maker_bps if own_maker_bps is None else own_maker_bps,
        taker_fee_bps=taker_bps if own_taker_bps is None else own_taker_bps,
        p_fill=p_fill,
        drift_bps=drift_bps,
        curve=curve,
    )


def check_curve(document: CostCurve) -> None:
    """
    Raises:
        CostCurveError: it cannot be used, whatever the flags say.
    """
    flags = RoutingFlags()
    if document.kind is CostCurveKind.FEES:
        cost_model(flags, fees=document)
    else:
        cost_model(flags, slippage=document)


def by_newest(curves: Iterable[CostCurve], kind: CostCurveKind, key: InstrumentKey) -> list[CostCurve]:
    """Those of `kind` that hold for `key`, the best first: one of its own stands before one that holds for all, a newer
    one before an older one."""
    mine = [curve for curve in curves if curve.kind is kind and curve.params.get("instrument") in (None, str(key))]
    return sorted(
        mine,
        key=lambda curve: (curve.params.get("instrument") is not None, curve.fitted_at, curve.version),
        reverse=True,
    )


def _curve(document: CostCurve) -> SlippageCurve | None:
    """None: the document tells only what a maker order meets."""
    regimes = document.params.get("regime_bps", {})
    if not isinstance(regimes, dict) or any(name not in Regime.__members__ for name in regimes):
        raise CostCurveError(document.curve_id, "regime_bps", regimes, "write {FROZEN, NORMAL, EXTREME: bps}")
    if not regimes and not any(name in document.params for name in _COEFFICIENTS):
        return None
    figures = {name: _figure(document, name, -_FIGURE_MAX, _FIGURE_MAX, 0.0) for name in _COEFFICIENTS}
    told = {
        Regime(name): _checked(document, f"regime_bps.{name}", value, -_FIGURE_MAX, _FIGURE_MAX)
        for name, value in regimes.items()
    }
    return SlippageCurve(**figures, regime_bps=told)


def _figure(document: CostCurve, name: str, low: float, high: float, default: float) -> float:
    if name not in document.params:
        return default
    return _checked(document, name, document.params[name], low, high)


def _checked(document: CostCurve, name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
        return float(value)
    raise CostCurveError(document.curve_id, name, value, f"write a number from {low:g} to {high:g}")
