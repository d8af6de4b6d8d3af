"""Figures as chart options. Pure.

Every colour reads on a dark and on a light ground, so that the theme may change without the server. Blue is up, orange
is down. An axis knows nothing of the lines drawn on it, so its range is made here, stops and targets included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from chimera.contracts.documents import Trade
from chimera.contracts.enums import Side
from chimera.contracts.http.positions import PositionView
from chimera.services.s12_gateway.page.history import Candle, Point, net_of
from chimera.services.s12_gateway.page.words import at, number, signed

UP = "#3b8eea"
DOWN = "#e8862e"
INK = "#8593a3"
GRID = "rgba(133,147,163,0.14)"
STOP = "#e5484d"
TARGET = "#2ea88a"
LAST = "#8593a3"
PAD = 0.06
PLOT_PX = 344
"""The height of the drawing, near enough to keep labels apart."""
LABEL_PX = 27
TOOLTIP = {
    "trigger": "axis",
    "axisPointer": {"type": "cross", "label": {"backgroundColor": "#5d6b7a"}},
    "backgroundColor": "var(--raised)",
    "borderColor": "var(--line)",
    "textStyle": {"color": "var(--ink)", "fontSize": 12},
    "confine": True,
}


@dataclass(frozen=True, slots=True)
class PriceChart:
    """What is drawn: candles of `interval_ms`, the open position's lines, and trades, open and closed."""

    candles: Sequence[Candle]
    interval_ms: int
    places: int
    price: float | None
    position: PositionView | None
    trades: Sequence[Trade]


def price_options() -> dict[str, Any]:
    """The empty chart; `price_patch` fills it."""
    return {
        "animation": False,
        "grid": {"left": 8, "right": 74, "top": 30, "bottom": 26},
        "tooltip": TOOLTIP,
        "xAxis": {
            "type": "category",
            "data": [],
            "boundaryGap": True,
            "axisLine": {"lineStyle": {"color": GRID}},
            "axisTick": {"show": False},
            "axisLabel": {"color": INK, "fontSize": 11, "hideOverlap": True},
            "splitLine": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "position": "right",
            "scale": True,
            "axisLabel": {"color": INK, "fontSize": 11, "showMinLabel": False, "showMaxLabel": False},
            "splitLine": {"lineStyle": {"color": GRID}},
        },
        "dataZoom": [{"type": "inside", "filterMode": "none", "minValueSpan": 20}],
        "series": [_candles([], []), _segments([]), _marks("Entries", []), _marks("Exits", [])],
    }


def price_patch(chart: PriceChart) -> dict[str, Any]:
    """What changes from one moment to the next."""
    low, high = _range(chart)
    return {
        "xAxis": {"data": [_label(candle.open_time) for candle in chart.candles]},
        "yAxis": {"min": round(low, chart.places), "max": round(high, chart.places)},
        "series": [
            _candles(chart.candles, _levels(chart, low, high)),
            _segments([segment for trade in chart.trades if (segment := _segment(chart, trade))]),
            _marks("Entries", _entries(chart)),
            _marks("Exits", [mark for trade in chart.trades for mark in _exits(chart, trade)]),
        ],
    }


def _label(ts: int) -> str:
    return at(ts, "%m-%d %H:%M")


def _range(chart: PriceChart) -> tuple[float, float]:
    """Lowest and highest price in sight, the position's lines included, with some air."""
    prices = [price for candle in chart.candles for price in (candle.low, candle.high)]
    if chart.position is not None:
        lines = (chart.position.stop_price, chart.position.tp_price, chart.position.entry_price_avg)
        prices += [float(price) for price in lines if price is not None]
    if not prices:
        return 0.0, 1.0
    low, high = min(prices), max(prices)
    air = (high - low) * PAD or high * 0.001
    return low - air, high + air


def _candles(candles: Sequence[Candle], levels: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "candlestick",
        "name": "Price",
        "data": [[each.open, each.close, each.low, each.high] for each in candles],
        "itemStyle": {"color": UP, "color0": DOWN, "borderColor": UP, "borderColor0": DOWN},
        "barMaxWidth": 9,
        "markLine": {"silent": True, "symbol": "none", "animation": False, "data": levels},
    }


def _levels(chart: PriceChart, low: float, high: float) -> list[dict[str, Any]]:
    """Lines with a label each, the labels pushed apart where the lines are too close."""
    position = chart.position
    wanted: list[tuple[str, float | Decimal | None, str, str]] = [("", chart.price, LAST, "dotted")]
    if position is not None:
        wanted += [
            ("STOP", position.stop_price, STOP, "solid"),
            ("TARGET", position.tp_price, TARGET, "solid"),
            ("ENTRY", position.entry_price_avg, INK, "dashed"),
        ]
    lines = sorted((float(price), name, color, style) for name, price, color, style in wanted if price is not None)
    offsets = _apart([(line[0] - low) / (high - low) * PLOT_PX for line in lines])
    return [
        _level(name, price, chart.places, color, style, shift_px)
        for (price, name, color, style), shift_px in zip(lines, offsets, strict=True)
    ]


def _apart(heights_px: Sequence[float]) -> list[int]:
    """How far up each label moves, for heights that grow, so that each has room above the one below."""
    shifts: list[int] = []
    free_px = 0.0
    for height_px in heights_px:
        placed = max(height_px, free_px)
        shifts.append(round(placed - height_px))
        free_px = placed + LABEL_PX
    return shifts


def _level(name: str, price: float, places: int, color: str, style: str, shift_px: int) -> dict[str, Any]:
    return {
        "yAxis": price,
        "lineStyle": {"color": color, "type": style, "width": 1.2},
        "label": {
            "formatter": f"{name}\n{number(price, places)}" if name else number(price, places),
            "position": "end",
            "offset": [0, -shift_px],
            "color": "#fff",
            "backgroundColor": color,
            "padding": [2, 4],
            "borderRadius": 2,
            "fontSize": 10,
            "lineHeight": 12,
        },
    }


def _segments(data: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "lines",
        "name": "Trades",
        "coordinateSystem": "cartesian2d",
        "silent": True,
        "z": 4,
        "data": data,
        "tooltip": {"show": False},
    }


def _segment(chart: PriceChart, trade: Trade) -> dict[str, Any] | None:
    """From the first entry to the last exit; nothing where the entry is out of sight."""
    if not trade.exits or not chart.candles or trade.opened_at < chart.candles[0].open_time:
        return None
    last = trade.exits[-1]
    return {
        "coords": [
            [_bucket(chart, trade.opened_at), float(trade.entry_price_avg)],
            [_bucket(chart, last.ts), float(last.price)],
        ],
        "lineStyle": {"color": UP if net_of(trade) > 0 else DOWN, "width": 1.6, "type": "dashed", "opacity": 0.9},
    }


def _bucket(chart: PriceChart, ts: int) -> str:
    newest = chart.candles[-1].open_time
    return _label(min(newest, ts // chart.interval_ms * chart.interval_ms))


def _marks(name: str, data: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "scatter", "name": name, "data": data, "z": 6, "symbolSize": 12}


def _entries(chart: PriceChart) -> list[dict[str, Any]]:
    marks = (
        _entry(chart, trade.opened_at, float(trade.entry_price_avg), trade.side is Side.BUY) for trade in chart.trades
    )
    return [mark for mark in marks if mark is not None]


def _entry(chart: PriceChart, ts: int, price: float, is_long: bool) -> dict[str, Any] | None:
    if not chart.candles or ts < chart.candles[0].open_time:
        return None
    return {
        "name": "long" if is_long else "short",
        "value": [_bucket(chart, ts), price],
        "symbol": "triangle",
        "symbolRotate": 0 if is_long else 180,
        "itemStyle": {"color": UP if is_long else DOWN, "borderColor": "#fff", "borderWidth": 1.2},
    }


def _exits(chart: PriceChart, trade: Trade) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{each.reason or each.purpose.value} {signed(each.pnl_usdt)}",
            "value": [_bucket(chart, each.ts), float(each.price)],
            "symbol": "diamond",
            "symbolSize": 11,
            "itemStyle": {"color": UP if each.pnl_usdt > 0 else DOWN, "borderColor": "#fff", "borderWidth": 1.2},
        }
        for each in trade.exits
        if chart.candles and each.ts >= chart.candles[0].open_time
    ]


def equity_options() -> dict[str, Any]:
    return {
        "animation": False,
        "grid": {"left": 8, "right": 56, "top": 10, "bottom": 24},
        "tooltip": TOOLTIP,
        "xAxis": {
            "type": "time",
            "axisLine": {"lineStyle": {"color": GRID}},
            "axisTick": {"show": False},
            "axisLabel": {"color": INK, "fontSize": 11, "hideOverlap": True},
            "splitLine": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "position": "right",
            "scale": True,
            "splitNumber": 4,
            "axisLabel": {"color": INK, "fontSize": 11},
            "splitLine": {"lineStyle": {"color": GRID}},
        },
        "useUTC": True,
        "series": [_equity_line([])],
    }


def equity_patch(points: Sequence[Point]) -> dict[str, Any]:
    return {"series": [_equity_line([[point.ts, round(point.value, 4)] for point in points])]}


def _equity_line(data: list[list[float]]) -> dict[str, Any]:
    first = data[0][1] if data else None
    return {
        "type": "line",
        "name": "Equity",
        "showSymbol": False,
        "data": data,
        "lineStyle": {"width": 1.6, "color": UP},
        "itemStyle": {"color": UP},
        "areaStyle": {"color": UP, "opacity": 0.1, "origin": "start"},
        "markLine": {
            "silent": True,
            "symbol": "none",
            "label": {"show": False},
            "lineStyle": {"color": INK, "type": "dashed", "width": 1},
            "data": [] if first is None else [{"yAxis": first}],
        },
    }
