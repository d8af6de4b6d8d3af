"""Wait and slices by notional, as somebody measured them: a table of rows, or a curve of the wait.

Owns the two forms and how they are read. The table is the file at S4_ROUTE_TABLE_PATH (000 G) or the field `table` of
`router:curves:INSTR`; the curve is the fields `a`, `b` and `c` of the same key. Which of them holds is `maker_wait`'s
and `slicing`'s business. Pure.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise

WAIT_MS_MAX = 60_000
"""The most that a row may ask for, as the flags know it; S4_MAKER_MAX_WAIT_MS caps it again."""
SLICES_MAX = 100
GAP_MS_MAX = 600_000
ROWS_MAX = 1_000
"""More rows than a person writes or a fit yields: such a file is something else."""


class RouteError(ValueError):
    """A table or curve cannot be used: which field, its value, and what to write instead."""

    def __init__(self, field: str, value: object, remedy: str) -> None:
        super().__init__(f"{field}={_shown(value)}: {remedy}")
        self.field = field
        self.value = value
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRow:
    """For orders up to `notional_usdt_max`. None: the row says nothing of slices, the buckets of the flags do."""

    notional_usdt_max: Decimal
    maker_wait_ms: int
    slices: int | None = None
    gap_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RouteTable:
    """At least one row, by rising `notional_usdt_max`."""

    rows: tuple[RouteRow, ...]

    def row_for(self, notional_usdt: Decimal) -> RouteRow:
        """The first row that reaches so far; above the last row it is the last one."""
        for row in self.rows:
            if notional_usdt <= row.notional_usdt_max:
                return row
        return self.rows[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitCurve:
    """wait in ms = a + b / spread_bps + c * ln(depth_top1_usdt). Source: SERVICES S4."""

    a: float
    b: float
    c: float

    def wait_ms(self, spread_bps: float | None, depth_top1_usdt: float | None) -> float | None:
        """None where the book does not tell what the curve needs: a locked market has no spread to divide by."""
        if spread_bps is None or depth_top1_usdt is None or not spread_bps > 0.0 or not depth_top1_usdt > 0.0:
            return None
        wait = self.a + self.b / spread_bps + self.c * math.log(depth_top1_usdt)
        return wait if math.isfinite(wait) else None


Route = RouteTable | WaitCurve


def parse_table(text: str) -> RouteTable:
    """The JSON of 000 G: `[{"notional_usdt_max":200,"maker_wait_ms":1500,"twap":{"slices":1,"gap_ms":0}}, …]`.

    Raises:
        RouteError: naming the row and the field.
    """
    try:
        # Numbers stay as they are written; NaN and Infinity are no JSON.
        body = json.loads(text, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RouteError("route table", text[:40], f"this is no JSON ({error}); write a list of rows") from None
    if not isinstance(body, list) or not 0 < len(body) <= ROWS_MAX:
        raise RouteError("route table", body, f"write a list of 1 to {ROWS_MAX} rows, as 000 G shows")
    rows = tuple(_row(i, row) for i, row in enumerate(body))
    for i, (before, after) in enumerate(pairwise(rows), start=1):
        if after.notional_usdt_max <= before.notional_usdt_max:
            raise RouteError(
                f"[{i}].notional_usdt_max",
                after.notional_usdt_max,
                f"rows rise: more than the {before.notional_usdt_max} of the row before",
            )
    return RouteTable(rows)


def parse_curves(fields: Mapping[str, str]) -> Route | None:
    """`router:curves:INSTR`: `table`, or `a`, `b` and `c`; other fields are somebody else's. None: the key is empty.

    Raises:
        RouteError: naming the field.
    """
    if "table" in fields:
        if any(name in fields for name in ("a", "b", "c")):
            raise RouteError("table", "and a, b, c", "a wait cannot follow both; leave the table or the curve out")
        return parse_table(fields["table"])
    if not any(name in fields for name in ("a", "b", "c")):
        if fields:
            raise RouteError("router:curves", sorted(fields), "write `table`, or `a`, `b` and `c`")
        return None
    return WaitCurve(a=_coefficient("a", fields), b=_coefficient("b", fields), c=_coefficient("c", fields))


def _row(i: int, row: object) -> RouteRow:
    if not isinstance(row, dict):
        raise RouteError(f"[{i}]", row, "a row is an object with notional_usdt_max and maker_wait_ms")
    twap = row.get("twap")
    if twap is not None and not isinstance(twap, dict):
        raise RouteError(f"[{i}].twap", twap, 'write {"slices":2,"gap_ms":600}, or leave it out')
    return RouteRow(
        notional_usdt_max=_amount(f"[{i}].notional_usdt_max", row.get("notional_usdt_max")),
        maker_wait_ms=_whole(f"[{i}].maker_wait_ms", row.get("maker_wait_ms"), 0, WAIT_MS_MAX),
        slices=_optional(f"[{i}].twap.slices", twap, "slices", 1, SLICES_MAX),
        gap_ms=_optional(f"[{i}].twap.gap_ms", twap, "gap_ms", 0, GAP_MS_MAX),
    )


def _optional(field: str, twap: Mapping[str, object] | None, name: str, low: int, high: int) -> int | None:
    if twap is None or name not in twap:
        return None
    return _whole(field, twap[name], low, high)


def _amount(field: str, value: object) -> Decimal:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        amount = Decimal(value)
        if amount.is_finite() and 0 < amount <= Decimal("1e15"):
            return amount
    raise RouteError(field, value, "write an amount in USDT above 0")


def _whole(field: str, value: object, low: int, high: int) -> int:
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise RouteError(field, value, f"write a whole number from {low} to {high}")


def _coefficient(name: str, fields: Mapping[str, str]) -> float:
    text = fields.get(name)
    if text is None:
        raise RouteError(name, None, "a curve needs a, b and c; write 0 for what has no effect")
    try:
        value = float(Decimal(text))
    except InvalidOperation:
        value = math.nan
    if not abs(value) <= 1e12:
        raise RouteError(name, text, "write a finite number up to 1e12 either way")
    return value


def _no_number(text: str) -> Decimal:
    raise ValueError(f"{text} is no number")


def _shown(value: object) -> str:
    text = repr(str(value) if isinstance(value, Decimal) else value)
    return text if len(text) <= 80 else text[:80] + "…"


def shown(route: Route | None) -> Sequence[object] | None:
    """What tells one route from another, for a revision."""
    match route:
        case None:
            return None
        case WaitCurve():
            return (route.a, route.b, route.c)
        case RouteTable():
            return [(str(row.notional_usdt_max), row.maker_wait_ms, row.slices, row.gap_ms) for row in route.rows]
