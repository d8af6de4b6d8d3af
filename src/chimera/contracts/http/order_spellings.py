"""How the three spellings of `POST /orders` become one `OrderIntent`.

Owns one table: a row says which field of ours it fills and under which names, in order, the three spellings tell it.

    (a) 000 D1      exec_policy.maker_wait_ms, sl, tp, exec_policy.type="OCO" with tp_price and sl_price
    (b) 003 2.2     maker_then_taker.wait_ms, oco.tp_px, guard_stop.enable, post_fill_actions (bare or in exec_policy)
    (c) OrderCmd    the stream's own words, widened as CONTRACTS 1.3 says

What is not told gets the default that CONTRACTS section 3 gives it. What is told twice must be told alike.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from chimera.contracts import ids
from chimera.contracts.base import NUMBER_ABS_MAX
from chimera.contracts.enums import Intent, Market, OrderType, Purpose, Routing, Side
from chimera.contracts.http.common import FieldProblem
from chimera.contracts.messages.orders import ExecPolicy, GuardStop, Oco, RiskRef, StopSpec, TargetSpec, Twap
from chimera.contracts.order_intent import (
    STOP_TYPES,
    TARGET_TYPES,
    OrderIntent,
    expiry_of,
    intent_of,
    purpose_of,
)

EPOCH_MS_MAX = 253_402_300_799_999


class OrderIntentError(ValueError):
    """A body that is no order. `problems` names each field, what was told and what to tell instead; answer 400."""

    def __init__(self, problems: tuple[FieldProblem, ...]) -> None:
        super().__init__("; ".join(f"{problem.field}={problem.value!r}: {problem.remedy}" for problem in problems))
        self.problems = problems


class _Unreadable(ValueError):
    """The text says what to write instead."""


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Unreadable("write a text that is not empty")
    return value


def _symbol(value: object) -> str:
    text = _text(value)
    if not (text.isascii() and text.isalnum() and text == text.upper()):
        raise _Unreadable("write a symbol as BTCUSDT, capital letters and digits alone")
    return text


def _order_id(value: object) -> str:
    text = _text(value)
    if len(text) > ids.CLIENT_ORDER_ID_LEN_MAX or not ids.ORDER_ID_ALPHABET.fullmatch(text):
        raise _Unreadable(f"write at most {ids.CLIENT_ORDER_ID_LEN_MAX} of the characters .A-Za-z0-9:_-")
    return text


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise _Unreadable("write a number")
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        raise _Unreadable("write a number, as 0.002") from None
    if not number.is_finite() or abs(number) > NUMBER_ABS_MAX:
        raise _Unreadable(f"write a finite number of at most {NUMBER_ABS_MAX:.0e}")
    return number


def _positive(value: object) -> Decimal:
    number = _number(value)
    if number <= 0:
        raise _Unreadable("write a number above 0")
    return number


def _not_negative(value: object) -> Decimal:
    number = _number(value)
    if number < 0:
        raise _Unreadable("write a number of at least 0")
    return number


def _whole(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = _number(value)
        if number != number.to_integral_value() or not low <= number <= high:
            raise _Unreadable(f"write a whole number from {low} to {high}")
        return int(number)

    return read


def _ratio(value: object) -> float:
    number = _number(value)
    if not 0 <= number <= 1:
        raise _Unreadable("write a fraction from 0 to 1")
    return float(number)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _Unreadable("write true or false")
    return value


def _one_of(words: type[StrEnum]) -> Callable[[object], StrEnum]:
    def read(value: object) -> StrEnum:
        if not isinstance(value, str) or value not in words.__members__:
            raise _Unreadable(f"write one of {', '.join(words.__members__)}")
        return words[value]

    return read


def _net_profit(value: object) -> str:
    if value != "net_profit_usdt":
        raise _Unreadable("write net_profit_usdt, the only target there is")
    return "net_profit_usdt"


_ms = _whole(0, 3_600_000)


@dataclass(frozen=True, slots=True)
class Row:
    """One field of ours (a dotted path), how to read it, and its names in the three spellings."""

    field: str
    read: Callable[[object], Any]
    names: tuple[str, ...]


ROWS: tuple[Row, ...] = (
    Row("intent_id", _text, ("intent_id", "cmd_id")),
    Row("signal_id", _text, ("signal_id",)),
    Row("parent_id", _text, ("parent_id",)),
    Row("client_order_id", _order_id, ("client_order_id", "clientOrderId")),
    Row("ts", _whole(0, EPOCH_MS_MAX), ("ts",)),
    Row("expires_at", _whole(0, EPOCH_MS_MAX), ("expires_at",)),
    Row("market", _one_of(Market), ("market",)),
    Row("symbol", _symbol, ("symbol",)),
    Row("side", _one_of(Side), ("side",)),
    Row("intent", _one_of(Intent), ("intent",)),
    Row("purpose", _one_of(Purpose), ("purpose",)),
    Row("qty", _positive, ("qty", "quantity")),
    Row("quote_qty", _positive, ("quote_qty",)),
    Row("type", _one_of(OrderType), ("type",)),
    Row("price", _positive, ("price",)),
    Row("reduce_only", _flag, ("reduce_only", "reduceOnly")),
    Row("leverage", _whole(1, 125), ("leverage",)),
    Row("entry_ref_price", _positive, ("entry_ref_price",)),
    Row("sl.type", _one_of(OrderType), ("sl.type", "post_fill_actions.stop_loss.type")),
    Row(
        "sl.price",
        _positive,
        ("sl.price", "sl_px", "post_fill_actions.stop_loss.price", "post_fill_actions.stop_loss.stop_price"),
    ),
    Row("sl.distance", _positive, ("sl.distance", "post_fill_actions.stop_loss.distance")),
    Row("tp.type", _one_of(OrderType), ("tp.type", "post_fill_actions.take_profit.type")),
    Row(
        "tp.price",
        _positive,
        ("tp.price", "tp_px", "post_fill_actions.take_profit.price", "post_fill_actions.take_profit.stop_price"),
    ),
    Row("tp.target", _net_profit, ("tp.target", "post_fill_actions.take_profit.target")),
    Row("tp.value", _not_negative, ("tp.value", "post_fill_actions.take_profit.value")),
    Row("tp.ratio", _not_negative, ("tp.ratio", "post_fill_actions.take_profit.ratio")),
    Row("guard_stop.enable", _flag, ("guard_stop.enable", "exec_policy.guard_stop.enable")),
    Row(
        "guard_stop.price",
        _positive,
        ("guard_stop.price", "guard_stop.stop_px", "exec_policy.guard_stop.price", "exec_policy.guard_stop.stop_px"),
    ),
    Row("exec_policy.routing", _one_of(Routing), ("exec_policy.routing",)),
    Row(
        "exec_policy.maker_wait_ms",
        _ms,
        (
            "exec_policy.maker_wait_ms",
            "exec_policy.maker_then_taker.wait_ms",
            "maker_then_taker.wait_ms",
            "exec_policy.maker_try_ms",
        ),
    ),
    Row("exec_policy.need_fill_ratio", _ratio, ("exec_policy.need_fill_ratio",)),
    Row("exec_policy.twap.enabled", _flag, ("exec_policy.twap.enabled", "twap.enabled")),
    Row("exec_policy.twap.slices", _whole(1, 100), ("exec_policy.twap.slices", "twap.slices")),
    Row("exec_policy.twap.gap_ms", _ms, ("exec_policy.twap.gap_ms", "twap.gap_ms")),
    Row("exec_policy.twap.jitter_ms", _ms, ("exec_policy.twap.jitter_ms", "twap.jitter_ms")),
    Row("exec_policy.twap.min_slice_usdt", _not_negative, ("exec_policy.twap.min_slice_usdt", "twap.min_slice_usdt")),
    Row("exec_policy.oco.enabled", _flag, ("exec_policy.oco.enabled", "oco.enabled")),
    Row(
        "exec_policy.oco.tp",
        _positive,
        ("exec_policy.oco.tp", "exec_policy.oco.tp_px", "exec_policy.tp_price", "oco.tp", "oco.tp_px"),
    ),
    Row(
        "exec_policy.oco.sl",
        _positive,
        ("exec_policy.oco.sl", "exec_policy.oco.sl_px", "exec_policy.sl_price", "oco.sl", "oco.sl_px"),
    ),
    Row("risk.rcu_rev", _whole(0, 2**53), ("risk.rcu_rev", "rcu_rev", "config_rev")),
    Row("risk.approval_token", _text, ("risk.approval_token", "approval_token")),
)
"""The one table. A null counts as not told."""

OBJECTS: tuple[str, ...] = (
    "sl",
    "tp",
    "guard_stop",
    "risk",
    "maker_then_taker",
    "twap",
    "oco",
    "post_fill_actions",
    "post_fill_actions.stop_loss",
    "post_fill_actions.take_profit",
    "exec_policy",
    "exec_policy.maker_then_taker",
    "exec_policy.twap",
    "exec_policy.oco",
    "exec_policy.guard_stop",
)
"""Names that hold other names: told as anything but an object, a stop would be lost without a word."""

NAMES: frozenset[str] = frozenset((*(name for row in ROWS for name in row.names), *OBJECTS, "exec_policy.type"))
"""All that a body may tell."""

ALIKE_RATIO = 0.8
"""From here on a name counts as misspelt: below, `stop` would be taken for `tp`."""

POLICY_WORDS: dict[str, Mapping[str, Any]] = {
    "MakerThenTaker": {"routing": "AUTO"},
    "AUTO": {"routing": "AUTO"},
    "DIRECT_TAKER": {"routing": "DIRECT_TAKER"},
    "MAKER_ONLY": {"routing": "MAKER_ONLY"},
    "OCO": {"oco": {"enabled": True}},
    "TWAP": {"twap": {"enabled": True}},
}
"""What `exec_policy` means as a single word, or by its `type`."""

_REQUIRED: dict[str, str] = {
    "intent_id": "give the order a name of your own; the same name is executed once",
    "market": "write FUT or SPOT",
    "symbol": "write a symbol as BTCUSDT",
    "side": "write BUY or SELL",
}


def parse_order_intent(raw: Mapping[str, Any], now_ms: int, id_prefix: str = "s3") -> OrderIntent:
    """The intent that a body of `POST /orders` tells, in whichever of the three spellings.

    Args:
        raw: the JSON object. One wrapped as `{"intent": {…}}` is unwrapped.
        now_ms: `ts` where the body tells none.
        id_prefix: CHIMERA_ID_PREFIX, for a client_order_id where the body tells none.

    Raises:
        OrderIntentError: naming every field that cannot be read, its value and what to write instead.
    """
    body, problems = _plain(raw)
    told = _read(body, problems)
    problems.extend(_unknown(body))
    problems.extend(
        FieldProblem(field=field, remedy=remedy)
        for field, remedy in _REQUIRED.items()
        if field not in told and all(problem.field != field for problem in problems)
    )
    problems.extend(_contradictions(told, problems))
    if problems:
        raise OrderIntentError(tuple(problems))
    return _build(told, now_ms, id_prefix)


def _plain(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[FieldProblem]]:
    """The body with its wrapper off and `exec_policy` as an object."""
    problems: list[FieldProblem] = []
    body = dict(raw)
    if isinstance(body.get("intent"), Mapping):
        body = {**body.pop("intent"), **body}
    policy = body.get("exec_policy")
    word = policy.get("type") if isinstance(policy, Mapping) else policy
    where = "exec_policy.type" if isinstance(policy, Mapping) else "exec_policy"
    if word is not None and not isinstance(word, Mapping):
        if not isinstance(word, str) or word not in POLICY_WORDS:
            remedy = f"write one of {', '.join(POLICY_WORDS)}, or an object"
            problems.append(FieldProblem(field=where, value=word, remedy=remedy))
            body["exec_policy"] = policy if isinstance(policy, Mapping) else None
        else:
            body["exec_policy"] = _merged(POLICY_WORDS[word], policy if isinstance(policy, Mapping) else {})
    for name in OBJECTS:
        value = _at(body, name)
        if value is not None and not isinstance(value, Mapping):
            problems.append(FieldProblem(field=name, value=value, remedy="write an object"))
    return body, problems


def _merged(meant: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """`told` with what the word means where it is silent."""
    merged = dict(told)
    for name, value in meant.items():
        present = merged.get(name)
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            merged[name] = {**value, **present}
        elif present is None:
            merged[name] = value
    return merged


def _at(body: Mapping[str, Any], path: str) -> Any:
    value: Any = body
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _read(body: Mapping[str, Any], problems: list[FieldProblem]) -> dict[str, Any]:
    """Field to value, by the table; what cannot be read is added to `problems`."""
    told: dict[str, Any] = {}
    for row in ROWS:
        for name in row.names:
            value = _at(body, name)
            if value is None:
                continue
            try:
                read = row.read(value)
            except _Unreadable as error:
                problems.append(FieldProblem(field=name, value=_shown(value), remedy=str(error)))
                continue
            if told.setdefault(row.field, read) != read:
                remedy = f"it says otherwise than another name of {row.field}; tell it once"
                problems.append(FieldProblem(field=name, value=_shown(value), remedy=remedy))
    return told


def _unknown(body: Mapping[str, Any], inside: str = "") -> Iterator[FieldProblem]:
    """Names that are nobody's: a misspelt stop would be no stop, so none is passed over."""
    for name, value in body.items():
        path = f"{inside}{name}"
        if path in OBJECTS and isinstance(value, Mapping):
            yield from _unknown(value, f"{path}.")
        elif path not in NAMES and value is not None:
            near = get_close_matches(path, NAMES, n=1, cutoff=ALIKE_RATIO)
            remedy = f"no such field{f'; {near[0]} is one' if near else ''}. Mend or leave it out"
            yield FieldProblem(field=path, value=_shown(value), remedy=remedy)


def _shown(value: object) -> object:
    """`value` as far as JSON can say it (NaN and Infinity it cannot)."""
    return value if isinstance(value, (str, int, bool)) else str(value)


def _contradictions(told: Mapping[str, Any], problems: list[FieldProblem]) -> list[FieldProblem]:
    """What can be read field by field and still makes no order."""
    found: list[FieldProblem] = []

    def amiss(field: str, remedy: str) -> None:
        if all(problem.field != field for problem in problems):
            found.append(FieldProblem(field=field, value=_shown(told.get(field)), remedy=remedy))

    if "qty" not in told and "quote_qty" not in told:
        found.extend(
            ()
            if any(problem.field in ("qty", "quantity", "quote_qty") for problem in problems)
            else (FieldProblem(field="qty", remedy="write the quantity in base asset, above 0"),)
        )
    if told.get("type") in (OrderType.LIMIT, OrderType.LIMIT_MAKER) and "price" not in told:
        amiss("price", "a limit order needs its price")
    if told.get("type") in (*STOP_TYPES, *TARGET_TYPES) and "price" not in told:
        amiss("price", "a stop or take-profit order needs the price that triggers it")
    enabled = told.get("exec_policy.oco.enabled", "exec_policy.oco.tp" in told or "exec_policy.oco.sl" in told)
    if enabled:
        for leg in ("exec_policy.oco.tp", "exec_policy.oco.sl"):
            if leg not in told:
                amiss(leg, "an OCO needs both prices, tp and sl")
        if told.get("market") is Market.FUT:
            amiss("market", "an OCO is for SPOT; a FUT order has sl and tp")
    if "tp.target" in told and "tp.value" not in told and "tp.ratio" not in told:
        amiss("tp.value", "say how many USDT net the target is")
    stops = ("guard_stop.price", "exec_policy.oco.sl", "sl.price", "sl.distance")
    if told.get("guard_stop.enable") and not any(stop in told for stop in stops):
        amiss("guard_stop.price", "say at which price the guard sells")
    if "intent" in told and "purpose" in told and intent_of(told["purpose"]) is not told["intent"]:
        amiss("purpose", f"it does not go with intent {told['intent'].value}")
    return found


def _build(told: Mapping[str, Any], now_ms: int, id_prefix: str) -> OrderIntent:
    market: Market = told["market"]
    type: OrderType = told.get("type", OrderType.MARKET)
    purpose, intent = _meaning(told, type)
    ts = told.get("ts", now_ms)
    return OrderIntent(
        intent_id=told["intent_id"],
        signal_id=told.get("signal_id"),
        parent_id=told.get("parent_id"),
        client_order_id=told.get("client_order_id")
        or ids.client_order_id_of_intent(id_prefix, told["symbol"], told["intent_id"]),
        ts=ts,
        market=market,
        symbol=told["symbol"],
        side=told["side"],
        intent=intent,
        purpose=purpose,
        qty=told.get("qty", Decimal(0)),
        quote_qty=told.get("quote_qty"),
        type=type,
        price=told.get("price"),
        reduce_only=told.get("reduce_only", not purpose.is_new_entry),
        sl=_stop(told, market),
        tp=_target(told, market),
        guard_stop=GuardStop(**_group(told, "guard_stop")) if _group(told, "guard_stop") else None,
        entry_ref_price=told.get("entry_ref_price"),
        expires_at=told.get("expires_at", expiry_of(purpose, ts)),
        exec_policy=_policy(told),
        risk=RiskRef(**_group(told, "risk")),
        leverage=told.get("leverage"),
    )


def _meaning(told: Mapping[str, Any], type: OrderType) -> tuple[Purpose, Intent]:
    """Purpose and intent, each from the other, or from reduce_only where neither is told."""
    if "purpose" in told:
        return told["purpose"], told.get("intent", intent_of(told["purpose"]))
    intent: Intent = told.get("intent", Intent.EXIT if told.get("reduce_only") else Intent.ENTRY)
    return purpose_of(intent, type), intent


def _group(told: Mapping[str, Any], group: str) -> dict[str, Any]:
    """The told fields right under `group`, by their last word."""
    start = f"{group}."
    return {
        field.removeprefix(start): value
        for field, value in told.items()
        if field.startswith(start) and "." not in field.removeprefix(start)
    }


def _stop(told: Mapping[str, Any], market: Market) -> StopSpec | None:
    stop = _group(told, "sl")
    usual = OrderType.STOP_MARKET if market is Market.FUT else OrderType.STOP_LOSS
    return StopSpec(**{"type": usual, **stop}) if stop else None


def _target(told: Mapping[str, Any], market: Market) -> TargetSpec | None:
    target = _group(told, "tp")
    usual = OrderType.TAKE_PROFIT_MARKET if market is Market.FUT else OrderType.LIMIT_MAKER
    return TargetSpec(**{"type": usual, **target}) if target else None


def _policy(told: Mapping[str, Any]) -> ExecPolicy:
    policy = _group(told, "exec_policy")
    twap = _group(told, "exec_policy.twap")
    oco = _group(told, "exec_policy.oco")
    return ExecPolicy(
        **policy,
        twap=Twap(**{"enabled": twap.get("slices", 1) > 1, **twap}) if twap else None,
        oco=Oco(**{"enabled": True, **oco}) if oco else None,
    )
