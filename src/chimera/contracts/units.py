"""Which unit a number has: the last word of its name says so.

Owns the table that STYLE's habit of naming implies, for the flags' page, the schema and the words of a difference.
"""

_BY_ENDING: tuple[tuple[str, str], ...] = (
    ("_usdt", "USDT"),
    ("_bps", "bps"),
    ("_bp", "bps"),
    ("_pct", "fraction"),
    ("_ratio", "fraction"),
    ("_roe", "fraction of margin"),
    ("_mult", "factor"),
    ("_ms", "ms"),
    ("_sec", "s"),
    ("_min", "min"),
    ("_h", "h"),
    ("_d", "days"),
)

_SELDOM: dict[str, str] = {
    "min_free_usdt_spot": "USDT",
    "min_free_usdt_fut": "USDT",
    "large_order_usdt_threshold": "USDT",
    "spread_bp_gate": "bps",
    "slip_bp_hard": "bps",
    "spread_bp_limit": "bps",
    "latency_diff_ms_p95_max": "ms",
    "router_e2e_latency_p95_ms": "ms",
    "taker_pct_diff_7d_max": "fraction",
    "slippage_mape_7d_max": "fraction",
    "min_move": "fraction",
    "liquidation_buffer_min": "fraction",
    "dry_run_jaccard_min": "fraction",
    "ib_rate": "fraction",
    "model_auc": "fraction",
    "brier": "squared error",
    "hours": "h",
    "from_minute": "min",
    "to_minute": "min",
    "constant_p": "probability",
    "p_fill": "probability",
    "pos_net_roi_min": "fraction",
    "neg_net_roi_max": "fraction",
    "range": "USDT",
    "low": "ms",
    "medium": "ms",
    "high": "ms",
    "LOW": "ms",
    "MEDIUM": "ms",
    "HIGH": "ms",
    "drawdown_pct_max": "fraction",
    "slices": "count",
    "max_adds": "count",
    "max_entries_per_signal": "count",
    "concurrent_entries_per_market": "count",
    "maker_attempts": "count",
    "spot_submissions": "count",
    "labelled_decisions": "count",
    "latencies": "count",
    "priority": "",
}
"""Names whose last word is not the unit."""


def unit_of(name: str) -> str:
    """`bps` of `slip_bp_max`; empty where the name tells none.

    A `_max` or `_min` at the end is a bound and says nothing of the unit, unless nothing stands before it that does:
    `cooldown_min` is minutes, `roe_min` a fraction.
    """
    if name in _SELDOM:
        return _SELDOM[name]
    bare = name.removesuffix("_max").removesuffix("_min").removesuffix("_abs")
    if bare == "roe" or bare.endswith("_roe"):
        return "fraction of margin"
    for text in (bare, name):
        for ending, unit in _BY_ENDING:
            if text.endswith(ending):
                return unit
    return ""
