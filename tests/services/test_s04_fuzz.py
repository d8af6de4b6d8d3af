"""Whatever is posted to the router is carried out or refused by name, and nothing reaches the exchange that should not.

The bodies come from the OpenAPI document that S4 serves (schemathesis, what fits it and what does not) and from sound
orders in which fields are spoilt: absurd quantities, prices far from mid, unknown fields, NaN, signs, exponents, wrong
types, long and strange ids, the same intent with another body. Asked over S4's HTTP application in virtual time, on a
floor where S5 and S6 run. The quick cut asks some 400 times, CHIMERA_PROVE=full 10,000 times.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chimera.contracts.collections import INTENTS, ORDERS
from chimera.contracts.enums import Market, Purpose
from chimera.contracts.http import PROBLEM_TYPE_BASE
from chimera.domain.execution.orders import NewOco, NewOrder
from chimera.runtime.http import build_app
from chimera.simulation.loop import run_virtual
from tests.domain.matching.venue import FUT as FUT_RULES
from tests.domain.matching.venue import SPOT as SPOT_RULES
from tests.prove.extent import Record, count
from tests.runtime.asgi import JSON, PROBLEM, Answer, ask
from tests.services.meddling import Meddled, meddled_floor
from tests.services.test_s04_http import entry, exit_order, spot_entry, stop_order
from tests.services.trading_floor import Floor

AT_ONCE = 20
"""Calls on one floor: enough that one meets what another has left."""
CALLS = count(full=10_000, quick=400)
POSTS = (
    "/orders",
    "/cancel",
    "/orders/lookup",
    "/orders/refresh",
    "/orders/share",
    "/orders/guard",
    "/breaker/open",
    "/breaker/close",
)

REFUSALS = (400, 404, 409, 413, 415, 422)
"""The exchange answers all the time and so do the stores: 503 would be a lie."""

Call = tuple[str, bytes]


@dataclass
class Gate:
    """Stands before the exchange, and looks at every order that leaves against what is on file at that moment."""

    floor: Floor
    left: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    async def place(self, call: Any, order: NewOrder) -> Any:
        await self._look(order.client_order_id, entering=not order.reduce_only and order.stop_price is None)
        self._numbers(order.client_order_id, order.market, order.qty, (order.price, order.stop_price))
        return await call(order)

    async def place_oco(self, call: Any, oco: NewOco) -> Any:
        for name in (oco.target_client_id, oco.stop_client_id):
            await self._look(name, entering=False)
        prices = (oco.target_price, oco.stop_price, oco.stop_limit_price)
        self._numbers(oco.stop_client_id, Market.SPOT, oco.qty, prices)
        return await call(oco)

    async def _look(self, name: str, *, entering: bool) -> None:
        self.left.append(name)
        documents = self.floor.world.documents
        order = await documents.get(ORDERS, name)
        record = None if order is None else await documents.get(INTENTS, order.intent_id or "")
        if record is None:
            self.wrong.append(f"{name} left without an intent on file")
            return
        if name not in record.order_ids:
            self.wrong.append(f"{name} is not named by its intent {record.intent_id}")
        protected = record.intent.sl is not None or record.purpose is Purpose.ADD
        if entering and record.market is Market.FUT and record.purpose.is_new_entry and not protected:
            self.wrong.append(f"{name} enters and wishes no stop")

    def _numbers(self, name: str, market: Market, qty: Decimal, prices: Sequence[Decimal | None]) -> None:
        rules = FUT_RULES if market is Market.FUT else SPOT_RULES
        if not (qty.is_finite() and qty > 0 and rules.qty_on_step(qty)):
            self.wrong.append(f"{name} is for {qty}")
        for price in prices:
            if price is not None and not (price.is_finite() and price > 0 and rules.price_on_tick(price)):
                self.wrong.append(f"{name} has the price {price}")


# --- what is asked


def _document() -> dict[str, Any]:
    """The OpenAPI document as S4 serves it."""

    async def served() -> dict[str, Any]:
        floor = await Floor.open("s10", "s1", "s4")
        runner = floor.runners["s4"]
        answer = await ask(build_app(runner.service, runner.all_routes()), "GET", "/openapi.json")
        await floor.stop()
        body: dict[str, Any] = answer.body
        return body

    return run_virtual(served())


def _generated(path: str) -> st.SearchStrategy[Any]:
    """Bodies that fit the document, and bodies that do not."""
    mode = schemathesis.GenerationMode
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path]["POST"]
    cases = [operation.as_strategy(generation_mode=each) for each in (mode.POSITIVE, mode.NEGATIVE)]
    return st.one_of(cases).map(lambda case: case.body if _is_json(case.body) else None)


def _is_json(body: Any) -> bool:
    try:
        json.dumps(body)
    except (TypeError, ValueError):
        return False
    return True


DOCUMENT = _document()
SOUND = (entry(), spot_entry(), exit_order(), stop_order(), entry(side="SELL", sl={"distance": 600}, tp=None))
NAMES = st.sampled_from(["E1", "E2", "X1", "s3-btc-1", "s3-btc-1-1", "s3-btc-2", "s3-btc-x"])
STRANGE_NAMES = st.one_of(
    st.just(""),
    st.just("a" * 37),
    st.just("a" * 36),
    st.just("s3 btc"),
    st.just("s3/btc\n"),
    st.just("ＢＴＣ-1"),
    st.text(max_size=50),
)
NUMBERS = st.one_of(
    st.sampled_from(["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "1e308", "9" * 400, "-0", "-0.0"]),
    st.sampled_from(["0", "-1", "0.001", "1e15", "1e16", "1000000", "0.0000001", "59999.95", "1", "60000.1", "120000"]),
    st.integers(min_value=-(10**30), max_value=10**30).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
NEARLY = st.sampled_from(
    ["0.0105", "0.01000001", "0.0021", "0.0009", "59400.05", "59399.99", "60500.33", "0.5", "57000"]
)
"""Good sense, but for the grid, the room or the side."""
ODD = st.one_of(
    NEARLY.map(lambda text: Raw(text)),
    NUMBERS.map(lambda text: Raw(text)),
    NUMBERS,
    st.none(),
    st.booleans(),
    st.just([]),
    st.just({}),
    st.just([[]]),
    st.text(max_size=8),
)
FIELDS = (
    "intent_id", "client_order_id", "market", "symbol", "side", "intent", "purpose", "qty", "quote_qty", "type",
    "price", "reduce_only", "sl", "tp", "sl.price", "sl.distance", "tp.price", "tp.ratio", "tp.value", "leverage", "ts",
    "expires_at", "entry_ref_price", "exec_policy", "exec_policy.routing", "exec_policy.maker_wait_ms",
    "exec_policy.need_fill_ratio", "exec_policy.oco", "exec_policy.oco.tp", "exec_policy.twap",
    "exec_policy.twap.slices", "exec_policy.twap.gap_ms", "risk", "risk.rcu_rev", "parent_id", "signal_id",
    "guard_stop", "guard_stop.price", "no_such_field", "__class__",
)  # fmt: skip


class Raw(str):
    """A number as it is written, also where no JSON writer would write it so."""


def _set(body: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    for name in above:
        inner = body.get(name)
        body[name] = inner = dict(inner) if isinstance(inner, dict) else {}
        body = inner
    body[last] = value


def _written(value: Any) -> bytes:
    """JSON, and what is no JSON any more where a number is none."""
    if isinstance(value, Raw):
        return value.encode()
    if isinstance(value, dict):
        return (
            b"{" + b",".join(json.dumps(name).encode() + b":" + _written(each) for name, each in value.items()) + b"}"
        )
    if isinstance(value, list):
        return b"[" + b",".join(map(_written, value)) + b"]"
    return json.dumps(value).encode()


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """A sound order under one of few names, with up to three fields made odd."""
    body = dict(draw(st.sampled_from(SOUND)))
    body["intent_id"], body["client_order_id"] = draw(NAMES), draw(NAMES)
    for path in draw(st.lists(st.sampled_from(FIELDS), max_size=3)):
        value = draw(st.one_of(STRANGE_NAMES, ODD) if path.endswith("_id") else ODD)
        _set(body, path, value)
    if draw(st.booleans()):
        path = draw(st.sampled_from(("qty", "sl.price", "tp.price", "exec_policy.oco.sl", "price")))
        _set(body, path, Raw(draw(NEARLY)))
    if draw(st.booleans()):
        body.pop(draw(st.sampled_from(sorted(body))))
    return body


@st.composite
def grafted(draw: st.DrawFn) -> dict[str, Any]:
    """A sound order with some fields as the document would have them."""
    body, other = dict(draw(st.sampled_from(SOUND))), draw(ORDERS_BY_DOCUMENT)
    if not isinstance(other, dict) or not other:
        return body
    for name in draw(st.lists(st.sampled_from(sorted(other)), max_size=3)):
        body[name] = other[name]
    return body


ORDERS_BY_DOCUMENT = _generated("/orders")
CANCELS = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "order_id": st.one_of(NAMES, STRANGE_NAMES, ODD),
            "client_order_id": st.one_of(NAMES, ODD),
            "intent_id": st.one_of(NAMES, STRANGE_NAMES, ODD),
            "cascade_oco": st.one_of(st.booleans(), ODD),
            "escalate": st.one_of(st.booleans(), ODD),
            "reason": ODD,
            "no_such_field": ODD,
        },
    ),
    _generated("/cancel"),
)
CALLS_OF: dict[str, st.SearchStrategy[Any]] = {
    "/orders": st.one_of(spoilt(), spoilt(), grafted(), ORDERS_BY_DOCUMENT),
    "/cancel": CANCELS,
    **{path: _generated(path) for path in ("/orders/lookup", "/orders/share", "/breaker/open", "/breaker/close")},
    "/orders/refresh": st.one_of(st.none(), st.just({}), ODD),
    "/orders/guard": st.one_of(
        st.fixed_dictionaries({"intent_id": st.one_of(NAMES, STRANGE_NAMES, ODD)}), _generated("/orders/guard")
    ),
}


def calls() -> st.SearchStrategy[list[Call]]:
    """Mostly orders and cancels, now and then anything else."""
    weights = ["/orders"] * 12 + ["/cancel"] * 5 + list(POSTS[2:])
    one = st.sampled_from(weights).flatmap(
        lambda path: CALLS_OF[path].map(lambda body: (path, b"" if body is None else _written(body)))
    )
    return st.lists(one, min_size=AT_ONCE, max_size=AT_ONCE)


# --- what is answered


def judge(path: str, raw: bytes, answer: Answer) -> None:
    shown = f"{path} {raw[:400]!r}: {answer.status} {answer.text[:400]}"
    if answer.status == 200:
        assert answer.content_type == JSON, shown
        return
    assert answer.status in REFUSALS, shown
    assert answer.content_type == PROBLEM, shown
    said = answer.body
    assert said["status"] == answer.status, shown
    assert said["type"].startswith(PROBLEM_TYPE_BASE), shown
    assert said["detail"], shown
    for error in said.get("errors", ()):
        assert isinstance(error["field"], str), shown
        assert error["remedy"], shown
        assert error["field"] in said["detail"], shown


async def opened() -> tuple[Floor, Gate, Any]:
    floor = await meddled_floor("s4", "s5", "s6", venue=Meddled)
    gate = Gate(floor)
    floor.world.venue.instead |= {"place": gate.place, "place_oco": gate.place_oco}
    runner = floor.runners["s4"]
    return floor, gate, build_app(runner.service, runner.all_routes())


def named(raw: bytes) -> str | None:
    """The id under which an order was asked for, where it can be read."""
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    name = body.get("intent_id") if isinstance(body, dict) else None
    return name if isinstance(name, str) and name else None


@settings(
    max_examples=CALLS // AT_ONCE,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(several=calls())
def test_whatever_is_posted_is_carried_out_or_refused_by_name(record_property: Record, several: list[Call]) -> None:
    record_property("calls", len(several))

    async def scenario() -> None:
        floor, gate, app = await opened()
        for path, raw in several:
            name = named(raw) if path == "/orders" else None
            before = None if name is None else await floor.world.documents.get(INTENTS, name)
            answer = await ask(app, "POST", path, raw=raw)
            judge(path, raw, answer)
            if name is not None and answer.status != 200:
                after = await floor.world.documents.get(INTENTS, name)
                assert (after is None) == (before is None), f"{raw[:400]!r} was refused and is on file: {answer.text}"
            if name is not None and answer.status == 200 and answer.body["result"] == "OK":
                again = await ask(app, "POST", path, raw=raw)
                assert again.status == 200, f"{raw[:400]!r} was accepted, and again: {again.text}"
            assert gate.wrong == [], f"after {path} {raw[:400]!r}"
        await floor.settle(5_000)
        assert gate.wrong == []
        assert len(gate.left) == len(set(gate.left)), Counter(gate.left).most_common(3)
        await floor.stop()

    run_virtual(scenario())


def test_the_fuzz_reaches_what_it_should() -> None:
    """A fuzz that is refused at the door each time shows nothing."""

    async def scenario() -> None:
        floor, gate, app = await opened()
        for body in SOUND[:1]:
            answer = await ask(app, "POST", "/orders", raw=_written(body))
            judge("/orders", b"", answer)
            assert answer.body["status"] == "FILLED"
        assert gate.left[0] == "s3-btc-1"
        assert gate.wrong == []
        await floor.stop()

    run_virtual(scenario())
    posts = {path for path, told in DOCUMENT["paths"].items() if "post" in told}
    assert posts == set(POSTS), "a call that is not fuzzed, or is not there any more"


@pytest.mark.parametrize(
    ("order", "says"),
    [
        pytest.param({"intent_id": "nobody's"}, "without an intent", id="an order that nobody filed"),
        pytest.param({"qty": Decimal("0.0105")}, "is for 0.0105", id="off the step"),
        pytest.param({"qty": Decimal("NaN")}, "is for NaN", id="no number"),
        pytest.param({"price": Decimal("60000.05")}, "has the price", id="off the tick"),
    ],
)
def test_the_gate_sees_what_should_not_leave(order: dict[str, Any], says: str) -> None:
    async def scenario() -> None:
        floor, gate, _ = await opened()
        new: dict[str, Any] = {"qty": Decimal("0.010"), "price": None} | order
        new.pop("intent_id", None)
        leaving = NewOrder(
            client_order_id="stray", market=Market.FUT, symbol="BTCUSDT", side="BUY", type="MARKET", **new
        )
        await asyncio.gather(floor.world.venue.place(leaving), return_exceptions=True)
        assert any(says in each for each in gate.wrong), gate.wrong
        await floor.stop()

    run_virtual(scenario())


BAD = [
    pytest.param(entry(qty=Raw("1e300")), 400, id="an absurd quantity"),
    pytest.param(entry(qty=1_000_000), None, id="more than any account has"),
    pytest.param(entry(qty=Raw("1e-300")), 400, id="next to nothing"),
    pytest.param(entry(qty=Raw("1e400")), 400, id="a huge exponent"),
    pytest.param(entry(qty=Raw("-0.01")), 400, id="a negative quantity"),
    pytest.param(entry(qty=Raw("NaN")), 400, id="NaN"),
    pytest.param(entry(qty="NaN"), 400, id="NaN as a text"),
    pytest.param(entry(qty="Infinity"), 400, id="infinity as a text"),
    pytest.param(entry(qty=[0.01]), 400, id="a wrong type"),
    pytest.param(entry(qty=True), 400, id="a truth for a number"),
    pytest.param(entry(leverage=10**30), None, id="a leverage beyond all"),
    pytest.param(entry(sl=None), 422, id="no stop"),
    pytest.param(entry(sl={"price": Raw("-59400")}), None, id="a negative stop"),
    pytest.param(entry(type="LIMIT", price=30_000), None, id="a buy far below mid"),
    pytest.param(entry(type="LIMIT", price=120_000), None, id="a buy far above mid"),
    pytest.param(entry(no_such_field=1), 400, id="an unknown field"),
    pytest.param(entry(client_order_id="a" * 37), 400, id="an id of 37"),
    pytest.param(entry(client_order_id="s3 btc/1"), 400, id="an id outside the alphabet"),
    pytest.param(entry(client_order_id="ＢＴＣ"), 400, id="an id of wide letters"),
    pytest.param(entry(client_order_id=""), 400, id="an empty id"),
]


@pytest.mark.parametrize(("body", "status"), BAD)
def test_of_what_is_bad_nothing_reaches_the_exchange(body: dict[str, Any], status: int | None) -> None:
    """`status` None: by whichever rule is asked first, also after it was accepted."""

    async def scenario() -> None:
        floor, gate, app = await opened()

        answer = await ask(app, "POST", "/orders", raw=_written(body))
        await floor.settle(10_000)

        judge("/orders", _written(body), answer)
        assert status is None or answer.status == status, answer
        if answer.status == 200:
            ended = await ask(app, "GET", "/orders/E1")
            assert (ended.body["state"], ended.body["filled_qty"]) == ("REJECTED", 0), ended
            assert ended.body["reason"], ended
        assert gate.left == []
        assert floor.position_qty() == 0
        await floor.stop()

    run_virtual(scenario())


def test_the_same_intent_with_another_body_sends_nothing_more() -> None:
    async def scenario() -> None:
        floor, gate, app = await opened()
        await ask(app, "POST", "/orders", entry())
        await floor.settle(2_000)
        left = list(gate.left)

        for changed in (entry(qty=0.02), entry(side="SELL"), entry(sl={"price": 59000}), entry(leverage=10)):
            answer = await ask(app, "POST", "/orders", changed)
            judge("/orders", b"", answer)
            assert answer.status == 409
            assert answer.body["type"] == PROBLEM_TYPE_BASE + "intent-conflict"
        await floor.settle(2_000)

        assert gate.left == left
        await floor.stop()

    run_virtual(scenario())
