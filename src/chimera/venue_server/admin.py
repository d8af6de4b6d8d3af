"""What whoever runs the exchange may ask of it: faults, keys, money, prices, time, a human's orders, the whole ledger.

Owns the routes below `/admin`. They take and give JSON, need no key, and answer nobody but this machine. A body that
means nothing is refused with the field, its value and what it should be.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

import orjson

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.simulated_venue.operator import LASTING, Operator
from chimera.contracts.enums import Market, Side
from chimera.domain.matching.codec import to_row
from chimera.domain.matching.exchange import Changes
from chimera.domain.matching.faults import DRAWN, SPECS, Fault, FaultError, FaultKind, FaultPlan
from chimera.domain.matching.refusals import Refusal
from chimera.venue_server.auth import ApiKey
from chimera.venue_server.calls import Call, Handler, Route, Site, refuse_too_precise
from chimera.venue_server.floor import Floor

HERE = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
BAD = -1130
BPS = 10_000
SHIFT, MARK = "admin-shift-", "admin-mark-"
STATUSES = ("TRADING", "BREAK", "CLOSE_ONLY", "CANCEL_ONLY", "SETTLING")
FILTERS = ("tick_size", "step_size", "min_qty", "max_qty", "min_notional", "market_step", "market_max_qty")

PERMISSIONS = ("reads", "trades_spot", "trades_futures", "withdraws", "transfers")


def admin_routes(floor: Floor, plan: FaultPlan, operator: Operator) -> list[Route]:
    faults, ground = _Faults(floor, plan), _Ground(floor, operator)
    return [
        _route("POST", "/admin/faults", faults.arm),
        _route("GET", "/admin/faults", faults.show),
        _route("DELETE", "/admin/faults", faults.disarm),
        _route("GET", "/admin/faults/kinds", faults.kinds),
        _route("POST", "/admin/faults/draw", faults.draw),
        _route("POST", "/admin/keys", ground.keys),
        _route("POST", "/admin/account", ground.account),
        _route("POST", "/admin/market", ground.market),
        _route("POST", "/admin/clock", ground.clock),
        _route("POST", "/admin/orders", ground.orders),
        _route("GET", "/admin/ledger", ground.ledger),
    ]


def _route(method: str, path: str, handler: Handler) -> Route:
    name = path.removeprefix("/admin/").replace("/", ".")
    return Route(method=method, path=path, handler=_only_here(handler), name=name, site=Site.ADMIN, weight=0)


def _only_here(handler: Handler) -> Handler:
    def guarded(call: Call) -> Any:
        # A page in this machine's browser comes from here as well, and must not run the exchange.
        if call.address not in HERE or "origin" in call.headers:
            raise Refusal(-2015, "Only a program on the exchange's own machine may ask for that.")
        return handler(call)

    return guarded


class Body:
    """A JSON object of a request; what is wrong with it is said by field.

    Raises:
        Refusal: it is no object.
    """

    def __init__(self, value: Any, name: str = "body") -> None:
        if not isinstance(value, dict):
            raise wrong(name, value, "a JSON object")
        self._values: dict[str, Any] = value
        self._name = "" if name == "body" else f"{name}."
        self._known: list[str] = []

    @classmethod
    def of(cls, call: Call) -> "Body":
        return cls(read(call))

    def has(self, name: str) -> bool:
        self._known.append(name)
        return self._values.get(name) is not None

    def part(self, name: str) -> "Body":
        return Body(self._values.get(name), f"{self._name}{name}")

    def text(self, name: str, default: str | None = None) -> str:
        return str(self._get(name, default, str, "a text"))

    def flag(self, name: str, default: bool | None = None) -> bool:
        return bool(self._get(name, default, bool, "true or false"))

    def whole(self, name: str, default: int | None = None) -> int:
        value = self._get(name, default, int, "a whole number")
        if isinstance(value, bool):
            raise wrong(f"{self._name}{name}", value, "a whole number")
        return int(value)

    def number(self, name: str) -> Decimal:
        value = self._get(name, None, (str, int, float), "a number")
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            number = Decimal("NaN")
        if isinstance(value, bool) or not number.is_finite():
            raise wrong(f"{self._name}{name}", value, "a number, best as a text")
        return number

    def above_zero(self, name: str) -> Decimal:
        number = self.number(name)
        if number <= 0:
            raise wrong(f"{self._name}{name}", str(number), "above 0")
        return number

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._get(name, None, list, "a list of texts")
        if not all(isinstance(each, str) for each in value):
            raise wrong(f"{self._name}{name}", value, "a list of texts")
        return tuple(value)

    def word(self, name: str, words: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(name, default)
        if value not in words:
            raise wrong(f"{self._name}{name}", value, "one of " + ", ".join(words))
        return value

    def end(self) -> None:
        """
        Raises:
            Refusal: a field that nobody asked for.
        """
        for name, value in self._values.items():
            if name not in self._known:
                raise wrong(f"{self._name}{name}", value, "a field here: " + ", ".join(dict.fromkeys(self._known)))

    def _get(self, name: str, default: Any, kind: Any, remedy: str) -> Any:
        self._known.append(name)
        value = self._values.get(name)
        if value is None:
            value = default
        if not isinstance(value, kind):
            raise wrong(f"{self._name}{name}", value, remedy)
        return value


def read(call: Call) -> Any:
    try:
        return orjson.loads(call.body or "{}")
    except orjson.JSONDecodeError as error:
        raise wrong("body", call.body[:40], f"JSON: {error}") from None


def wrong(name: str, value: object, remedy: str) -> Refusal:
    return Refusal(BAD, str(FaultError(name, value, remedy)))


class _Faults:
    def __init__(self, floor: Floor, plan: FaultPlan) -> None:
        self._floor = floor
        self._plan = plan

    def arm(self, call: Call) -> Any:
        """One fault or a list of them; `in_ms` counts from now, where `at_ms` is market time."""
        asked = read(call)
        rows = asked if isinstance(asked, list) else [asked]
        now_ms = self._floor.clock.now_ms()
        faults = []
        for index, row in enumerate(rows):
            prefix = f"[{index}]." if isinstance(asked, list) else ""
            if not isinstance(row, dict):
                raise wrong(prefix or "body", row, "a JSON object")
            given = dict(row)
            in_ms = given.pop("in_ms", None)
            if in_ms is not None:
                if not isinstance(in_ms, int) or isinstance(in_ms, bool) or in_ms < 0:
                    raise wrong(f"{prefix}in_ms", in_ms, "a whole number from 0")
                given["at_ms"] = now_ms + in_ms
            faults.append(self._fault(given, prefix))
        return {"ids": list(self._plan.arm(*faults))}

    def show(self, call: Call) -> Any:
        return {
            "now_ms": self._floor.clock.now_ms(),
            "faults": [armed.to_json() for armed in self._plan.armed],
            "hits": {kind.value: hits for kind, hits in self._plan.hits().items() if hits},
        }

    def disarm(self, call: Call) -> Any:
        number = call.maybe_whole("id")
        gone = self._plan.disarm(number)
        if number is not None and not gone:
            raise wrong("id", number, "armed: see GET /admin/faults")
        return {"disarmed": gone}

    def kinds(self, call: Call) -> Any:
        """What may be armed, and what each may be told."""
        return [
            {
                "kind": kind.value,
                "faults": list(spec.numbers),
                "reach": spec.reach.name,
                "calls": spec.calls,
                "duration_ms": spec.lasts.default,
                "params": {
                    name: {each.name: getattr(param, each.name) for each in fields(param) if each.name != "drawn"}
                    for name, param in spec.params.items()
                },
            }
            for kind, spec in SPECS.items()
        ]

    def draw(self, call: Call) -> Any:
        """Arm faults that a seed draws, from now on."""
        body = Body.of(call)
        seed, per_hour, for_ms = body.whole("seed"), body.number("per_hour"), body.whole("for_ms")
        kinds = tuple(DRAWN)
        if body.has("kinds"):
            kinds = tuple(self._kinds(call))
        body.end()
        if per_hour <= 0 or for_ms <= 0:
            raise wrong("per_hour, for_ms", (str(per_hour), for_ms), "above 0")
        now_ms = self._floor.clock.now_ms()
        drawn = FaultPlan.draw(
            SeededRandomness(seed).uniform,
            from_ms=now_ms,
            to_ms=now_ms + for_ms,
            per_hour=float(per_hour),
            kinds=kinds,
            symbols=tuple(dict.fromkeys(instrument.symbol for instrument in self._floor.host.rules.instruments)),
        )
        return {"ids": [*self._plan.arm(*(armed.fault for armed in drawn.armed))]}

    def _kinds(self, call: Call) -> list[FaultKind]:
        named = read(call)["kinds"]
        if not isinstance(named, list) or not named:
            raise wrong("kinds", named, "a list of kinds")
        for name in named:
            if name not in [kind.value for kind in FaultKind]:
                raise wrong("kinds", name, "one of " + ", ".join(FaultKind))
        return [FaultKind(name) for name in named]

    def _fault(self, row: Mapping[str, Any], prefix: str) -> Fault:
        try:
            return Fault.from_json(row)
        except FaultError as error:
            raise wrong(f"{prefix}{error.field}", error.value, error.remedy) from None


class _Ground:
    """Everything that is not a fault."""

    def __init__(self, floor: Floor, operator: Operator) -> None:
        self._floor = floor
        self._operator = operator

    def keys(self, call: Call) -> Any:
        """`action`: add, change or revoke."""
        body = Body.of(call)
        action, name = body.word("action", ("add", "change", "revoke")), body.text("key")
        ring = self._floor.keys
        known = {key.key: key for key in ring.all}
        if action != "add" and name not in known:
            raise wrong("key", name, "a known key: " + ", ".join(known))
        if action == "revoke":
            body.end()
            ring.revoke(name)
            return {"keys": [_shown(key) for key in ring.all]}
        key = known[name] if action == "change" else ApiKey(key=name)
        changed: dict[str, Any] = {each: body.flag(each, getattr(key, each)) for each in PERMISSIONS}
        for each in ("secret", "public_key"):
            changed[each] = body.text(each, getattr(key, each))
        if body.has("ips"):
            changed["ips"] = body.texts("ips")
        body.end()
        try:
            ring.add(replace(key, **changed))
        except ValueError as error:
            raise wrong("secret, public_key", "…", str(error)) from None
        return {"keys": [_shown(each) for each in ring.all]}

    def account(self, call: Call) -> Any:
        """Any of: deposit, withdraw, dual_side, multi_assets, leverage, margin_type; done in this order."""
        body = Body.of(call)
        exchange, clock = self._floor.exchange, self._floor.clock
        work: list[Callable[[], Changes]] = []
        for name, sign in (("deposit", 1), ("withdraw", -1)):
            if body.has(name):
                part = body.part(name)
                market, asset, amount = self._market(part), part.text("asset", "USDT"), part.above_zero("amount")
                refuse_too_precise(amount)
                part.end()
                work.append(partial(self._deposit, market, asset, sign * amount))
        if body.has("dual_side"):
            dual_side = body.flag("dual_side")
            work.append(lambda: exchange.set_dual_side(dual_side, clock.now_ms()))
        if body.has("multi_assets"):
            multi_assets = body.flag("multi_assets")
            work.append(lambda: exchange.set_multi_assets(multi_assets, clock.now_ms()))
        if body.has("leverage"):
            part = body.part("leverage")
            symbol, leverage = self._symbol(part, Market.FUT), part.whole("leverage")
            part.end()
            work.append(lambda: exchange.set_leverage(symbol, leverage, clock.now_ms()))
        if body.has("margin_type"):
            part = body.part("margin_type")
            of_type, isolated = self._symbol(part, Market.FUT), part.flag("isolated")
            part.end()
            work.append(lambda: exchange.set_margin_type(of_type, isolated=isolated, now_ms=clock.now_ms()))
        body.end()
        for each in work:
            self._floor.settle(each())
        return {"balances": [to_row(balance) for balance in exchange.balances()]}

    def market(self, call: Call) -> Any:
        """Any of: clear, shift, mark, status, filters, funding; done in this order."""
        body = Body.of(call)
        operator = self._operator
        work: list[Callable[[], object]] = []
        if body.has("clear") and body.flag("clear"):
            work.append(self._clear)
        if body.has("shift"):
            part = body.part("shift")
            bps, market, symbol = part.whole("bps"), part.word("market", ("", *Market), ""), part.text("symbol", "")
            part.end()
            if bps <= -BPS:
                raise wrong("shift.bps", bps, f"above -{BPS}")
            work.append(partial(operator.shift, f"{SHIFT}{market}-{symbol}", bps, market=market, symbol=symbol))
        if body.has("mark"):
            part = body.part("mark")
            of_mark = self._symbol(part, Market.FUT)
            price = part.above_zero("price") if part.has("price") else None
            mark_bps = part.whole("bps", 0)
            part.end()
            work.append(partial(operator.set_mark, f"{MARK}{of_mark}", of_mark, bps=mark_bps, price=price))
        if body.has("status"):
            part = body.part("status")
            work.append(self._replacing(part, status=part.word("status", STATUSES)))
        if body.has("filters"):
            part = body.part("filters")
            work.append(self._replacing(part, **{name: part.above_zero(name) for name in FILTERS if part.has(name)}))
        if body.has("funding"):
            part = body.part("funding")
            settled, rate = self._symbol(part, Market.FUT), part.number("rate")
            part.end()
            work.append(partial(operator.settle_funding, settled, float(rate)))
        body.end()
        for each in work:
            each()
        return {
            "bends": list(operator.bends),
            "books": {
                str(key): {"bid": str(book.bid), "ask": str(book.ask)} for key, book in self._floor.host.books.items()
            },
            "marks": {symbol: str(mark.mark) for symbol, mark in self._floor.host.marks.items()},
        }

    def clock(self, call: Call) -> Any:
        body = Body.of(call)
        offset_ms = body.whole("offset_ms")
        body.end()
        self._floor.offset_ms = offset_ms
        return {"offset_ms": offset_ms, "serverTime": self._floor.now_ms()}

    def orders(self, call: Call) -> Any:
        """A human's own order; or `cancel`: the client id of any open order that a human takes away."""
        body = Body.of(call)
        market = self._market(body)
        symbol = self._symbol(body, market)
        if body.has("cancel"):
            client_order_id = body.text("cancel")
            body.end()
            found = self._floor.exchange.order(market, symbol, client_order_id)
            if found is None or found.status.is_final:
                raise wrong("cancel", client_order_id, f"an open order of {market}:{symbol}")
            self._operator.cancel(found)
            found = self._floor.exchange.order(market, symbol, client_order_id)
            return to_row(found) if found is not None else {}
        side, qty = Side(body.word("side", tuple(Side))), body.above_zero("qty")
        price = body.above_zero("price") if body.has("price") else None
        body.end()
        return to_row(self._operator.place(market, symbol, side, qty=qty, price=price))

    def ledger(self, call: Call) -> Any:
        """Everything the exchange remembers of the account, oldest first."""
        exchange = self._floor.exchange
        return {
            "now_ms": self._floor.clock.now_ms(),
            "orders": [
                {
                    **to_row(order),
                    "fills": [to_row(fill) for fill in exchange.fills_of(market, order.symbol, order.venue_order_id)],
                }
                for market in Market
                for order in exchange.orders(market)
            ],
            "balances": [to_row(balance) for balance in exchange.balances()],
            "positions": [to_row(position) for position in exchange.positions()],
            "income": [to_row(income) for income in exchange.income()],
            "transfers": [to_row(transfer) for transfer in exchange.transfers()],
            "leverage": {
                instrument.symbol: exchange.leverage(instrument.symbol) for instrument in self._operator.listed("FUT")
            },
        }

    def _deposit(self, market: Market, asset: str, amount: Decimal) -> Changes:
        return self._floor.exchange.deposit(market, asset, amount, self._floor.clock.now_ms())

    def _clear(self) -> None:
        for name in self._operator.bends:
            if name.startswith((SHIFT, MARK, LASTING)):
                self._operator.unbend(name)

    def _replacing(self, part: Body, **changes: Any) -> Callable[[], object]:
        market = self._market(part)
        symbol = self._symbol(part, market)
        part.end()

        def work() -> None:
            changed = replace(self._operator.instrument(market, symbol), **changes)
            try:
                self._operator.replace_instrument(changed)
            except ValueError as error:
                raise wrong("filters", {name: str(value) for name, value in changes.items()}, str(error)) from None

        return work

    def _market(self, body: Body) -> Market:
        return Market(body.word("market", tuple(Market), Market.FUT))

    def _symbol(self, body: Body, market: Market) -> str:
        symbol = body.text("symbol")
        listed = [instrument.symbol for instrument in self._operator.listed(market)]
        if symbol not in listed:
            raise wrong("symbol", symbol, f"listed on {market}: {', '.join(listed)}")
        return symbol


def _shown(key: ApiKey) -> dict[str, Any]:
    return {"key": key.key, "ips": list(key.ips), **{name: getattr(key, name) for name in PERMISSIONS}}
