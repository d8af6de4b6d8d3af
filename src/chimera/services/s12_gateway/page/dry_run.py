"""A dry run as charts and tables: how a bundle would have decided of late, beside the one it is compared with. Pure."""

from typing import Any

from chimera.contracts.http.config import DryRunAnswer, DryRunFigures, DryRunLimit
from chimera.services.s12_gateway.page.charts import DOWN, GRID, INK, LAST, STOP, TARGET, TOOLTIP, UP
from chimera.services.s12_gateway.page.config_rows import FINDINGS, finding_rows
from chimera.services.s12_gateway.page.rows import Column, Row, Section, cell, row
from chimera.services.s12_gateway.page.words import at, instrument_name, percent

RATES = {
    "skip_entry_ratio": "refused by rules",
    "size_up_ratio": "sized up",
    "jaccard": "opened alike",
    "without_p_ratio": "model unheard",
}
"""Limits of shares, as the chart names them."""
LIMITS = (Column("Limit", "wrap"), Column("Found", "num"), Column("Allowed", "num"))
INSTRUMENTS = (
    Column("Instrument"),
    Column("Signals", "num"),
    Column("Asked", "num rare", "gates passed, and there was a side: the rules were asked"),
    Column("Refused", "num rare", "by rules, of those asked"),
    Column("Sized up", "num rare", "of those asked"),
    Column("Opened", "num"),
    Column("By the other", "num"),
    Column("By both", "num"),
    Column("Alike", "num", "opened by both, of what either opened"),
)
RULES = (Column("Rule"), Column("Fired", "num"), Column("In the other", "num"))
OUTCOMES = (Column("Ended as"), Column("Signals", "num"), Column("In the other", "num"))
NOTES = (Column("", "wrap dim"),)


def verdict(told: DryRunAnswer) -> tuple[str, str]:
    """In one line, and in which tone."""
    broken = [limit.words for limit in told.limits if not limit.passed]
    over = f"{told.signals:,} signals of {told.days} days, {told.asked:,} of them reached the rules"
    if told.passed:
        return f"Keeps its limits: {over}.", "good"
    return f"Does not keep its limits: {'; '.join(broken) or 'see below'} ({over}).", "bad"


def has_days(told: DryRunAnswer) -> bool:
    return any(day.opened or day.opened_by_reference for day in told.per_day)


def rate_options() -> dict[str, Any]:
    """The empty chart; `rate_patch` fills it."""
    return {
        "animation": False,
        "grid": {"left": 126, "right": 56, "top": 28, "bottom": 24},
        "tooltip": TOOLTIP | {"axisPointer": {"type": "none"}},
        "legend": {"top": 0, "left": 12, "textStyle": {"color": INK}, "data": ["found", "limit"]},
        "xAxis": {
            "type": "value",
            "min": 0,
            "max": 100,
            "axisLabel": {"color": INK, "fontSize": 11, "formatter": "{value} %"},
            "splitLine": {"lineStyle": {"color": GRID}},
        },
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [],
            "axisLine": {"lineStyle": {"color": GRID}},
            "axisTick": {"show": False},
            "axisLabel": {"color": INK, "fontSize": 12},
        },
        "series": [],
    }


def rate_patch(told: DryRunAnswer) -> dict[str, Any]:
    """A bar for each share, and where its limit stands: the first ones must stay below theirs, the last above."""
    limits = [limit for limit in told.limits if limit.name in RATES]
    names = [f"{RATES[limit.name]} {_sign(limit)}" for limit in limits]
    found = [
        {"value": round(limit.value * 100, 2), "itemStyle": {"color": TARGET if limit.passed else STOP}}
        for limit in limits
    ]
    marks = [[round(limit.limit * 100, 2), name] for limit, name in zip(limits, names, strict=True)]
    return {
        "yAxis": {"data": names},
        "series": [
            {
                "type": "bar",
                "name": "found",
                "data": found,
                "barWidth": 14,
                "itemStyle": {"color": TARGET},
                "label": {"show": True, "position": "right", "formatter": "{c} %", "color": INK, "fontSize": 11},
            },
            {
                "type": "scatter",
                "name": "limit",
                "data": marks,
                "symbol": "rect",
                "symbolSize": [3, 28],
                "itemStyle": {"color": LAST},
                "z": 5,
            },
        ],
    }


def _sign(limit: DryRunLimit) -> str:
    return "(min)" if limit.name == "jaccard" else "(max)"


def day_options() -> dict[str, Any]:
    return {
        "animation": False,
        "grid": {"left": 8, "right": 56, "top": 30, "bottom": 24},
        "tooltip": TOOLTIP | {"axisPointer": {"type": "shadow"}},
        "legend": {"top": 0, "left": 12, "textStyle": {"color": INK}},
        "xAxis": {
            "type": "category",
            "data": [],
            "axisLine": {"lineStyle": {"color": GRID}},
            "axisTick": {"show": False},
            "axisLabel": {"color": INK, "fontSize": 11, "hideOverlap": True},
        },
        "yAxis": {
            "type": "value",
            "position": "right",
            "minInterval": 1,
            "axisLabel": {"color": INK, "fontSize": 11},
            "splitLine": {"lineStyle": {"color": GRID}},
        },
        "series": [],
    }


def day_patch(told: DryRunAnswer) -> dict[str, Any]:
    """Signals that would have been opened, by day: by both, by this bundle alone, by the other alone."""
    days = told.per_day
    both = [day.opened_by_both for day in days]
    mine = [day.opened - day.opened_by_both for day in days]
    others = [day.opened_by_reference - day.opened_by_both for day in days]
    return {
        "xAxis": {"data": [day.day[5:] for day in days]},
        "series": [
            _stack("opened by both", both, LAST),
            _stack("only by this bundle", mine, UP),
            _stack("only by the other", others, DOWN),
        ],
    }


def _stack(name: str, data: list[int], color: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": name,
        "stack": "opened",
        "data": data,
        "itemStyle": {"color": color},
        "barMaxWidth": 28,
    }


def sections(told: DryRunAnswer) -> list[Section]:
    other = "what is in force" if told.against_rev is None else f"rev {told.against_rev}"
    span = f"{at(told.from_ms, '%Y-%m-%d %H:%M')} to {at(told.to_ms, '%Y-%m-%d %H:%M')} UTC, beside {other}"
    made = (
        Section("Limits", LIMITS, [_limit_row(limit) for limit in told.limits], span),
        Section("By instrument", INSTRUMENTS, _instrument_rows(told)),
        Section("By rule", RULES, [_pair_row(each.rule_id, each.hits, each.hits_of_reference) for each in told.rules]),
        Section(
            "How the signals end",
            OUTCOMES,
            [_pair_row(each.outcome, each.signals, each.signals_of_reference) for each in told.outcomes],
        ),
        Section("Findings", FINDINGS, finding_rows(told.findings)),
        Section(
            "What this leaves out",
            NOTES,
            [row(str(number), cell(note)) for number, note in enumerate(told.notes)],
            f"reckoned in {told.duration_ms:,} ms",
        ),
    )
    return [section for section in made if section.rows]


def _pair_row(name: str, here: int, other: int) -> Row:
    return row(name, cell(name), cell(f"{here:,}", "" if here == other else "strong"), cell(f"{other:,}", "dim"))


def _limit_row(limit: DryRunLimit) -> Row:
    is_count = limit.name == "asked"
    found, allowed = (f"{value:,.0f}" if is_count else percent(value, 1) for value in (limit.value, limit.limit))
    least = is_count or limit.name == "jaccard"
    return row(
        limit.name,
        cell(f"{'✓' if limit.passed else '✕'} {limit.words}", "" if limit.passed else "bad strong"),
        cell(found, "strong" if limit.passed else "bad strong"),
        cell(f"{'≥' if least else '≤'} {allowed}", "dim"),
        tone="" if limit.passed else "refused",
    )


def _instrument_rows(told: DryRunAnswer) -> list[Row]:
    each = [
        _figures_row(f"{one.market.value}:{one.symbol}", instrument_name(f"{one.market.value}:{one.symbol}"), one)
        for one in told.instruments
    ]
    return [*each, _figures_row("all", "all", told, "strong")] if each else []


def _figures_row(key: str, name: str, of: DryRunFigures, tone: str = "") -> Row:
    return row(
        key,
        cell(name, tone),
        cell(f"{of.signals:,}", tone),
        cell(f"{of.asked:,}", tone),
        cell(percent(of.skip_entry_ratio, 1), tone),
        cell(percent(of.size_up_ratio, 1), tone),
        cell(f"{of.opened:,}", tone),
        cell(f"{of.opened_by_reference:,}", tone),
        cell(f"{of.opened_by_both:,}", tone),
        cell(percent(of.jaccard, 1), tone),
    )
