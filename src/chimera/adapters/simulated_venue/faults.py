"""Faults on demand at the simulated exchange: the plan's words become deeds.

Owns what a fault means to the exchange itself and to its account (the same behind the venue port and behind the
server), and what it means to a caller of the port in process. What it means in bytes belongs to the server.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from math import prod
from typing import TypeVar

import structlog

from chimera.adapters.simulated_venue.host import ExchangeHost
from chimera.adapters.simulated_venue.journal import JournalError
from chimera.adapters.simulated_venue.operator import Operator
from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, TimeInForce
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import (
    AccountChange,
    NewOco,
    NewOrder,
    OrderUpdated,
    StreamReset,
    VenueOrder,
)
from chimera.domain.market.instrument import Instrument
from chimera.domain.market.quotes import Bar, MarketEvent, MarkPrice
from chimera.domain.matching import refusals
from chimera.domain.matching.faults import Asked, Fault, FaultKind, FaultPlan, Reach, Trait, Turn
from chimera.domain.matching.refusals import Refusal
from chimera.ports.clock import Timer
from chimera.ports.venue import OutcomeUnknown, RateLimited, VenueUnavailable

T = TypeVar("T")
log = structlog.get_logger(__name__)

LOST_ANSWERS = frozenset(
    {
        FaultKind.ANSWER_LOST,
        FaultKind.ANSWER_LOST_FILLED,
        FaultKind.CANCEL_ANSWER_LOST,
        FaultKind.TRANSFER_ANSWER_LOST,
    }
)
"""The exchange does what was asked, and the caller never hears of it."""


def refusal_for(fault: Fault, market: Market | None) -> Refusal | None:
    """What the exchange says where the fault is that it says no; None for all other kinds."""
    spot = market is Market.SPOT
    match fault.kind:
        case FaultKind.ENGINE_TOO_LATE:
            if spot:
                return Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")
            return Refusal(-5028, "Timestamp for this request is outside of the ME recvWindow.")
        case FaultKind.KEY_REVOKED | FaultKind.IP_CHANGED:
            return Refusal(-2015, "Invalid API-key, IP, or permissions for action.")
        case FaultKind.BAD_SIGNATURE:
            return Refusal(-1022, "Signature for this request is not valid.")
        case FaultKind.STOP_TRIGGERING:
            return Refusal(-4117, "stop order is triggering")
        case FaultKind.STOP_REFUSED:
            reason = fault.word("reason")
            if reason == "would_trigger":
                return refusals.would_trigger(market or Market.FUT)
            if spot:
                return refusals.filter_failed("MAX_NUM_ALGO_ORDERS")
            if reason == "too_many":
                return refusals.too_many_conditionals()
            text = "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead."
            return Refusal(-4120, text)
        case FaultKind.OPENING_FORBIDDEN:
            if spot:
                return Refusal(-2010, "This action is disabled on this account.")
            if fault.word("reason") == "cooling_off":
                return Refusal(-4192, "Trade forbidden due to Cooling-off Period.")
            text = (
                "Futures Trading Quantitative Rules violated, only reduceOnly order is allowed, please try again later."
            )
            return Refusal(-4400, text)
        case _:
            return None


class ExchangeFaults:
    """What the plan does to the exchange and the account, whoever is in front of them."""

    def __init__(self, host: ExchangeHost, plan: FaultPlan, operator: Operator | None = None) -> None:
        self.plan = plan
        self.operator = operator or Operator(host)
        self._host = host
        self._timer: Timer | None = None
        self._drained: dict[int, tuple[Market, Decimal]] = {}
        self._filters: dict[int, Fault] = {}
        self._unfiltered: dict[InstrumentKey, Instrument] = {}
        plan.changed.append(self.look)

    def look(self) -> None:
        """Do what is due by now, and wake up when the next thing is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.take_turns()
        next_ms = self.plan.next_ms()
        if next_ms is not None and self._timer is None:  # what took its turn may have looked as well
            self._timer = self._host.clock.call_at_ms(max(next_ms, self._host.clock.now_ms()), self.look)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def ask(self, asked: Asked) -> Fault | None:
        """What bends this call; what begins with it has begun when this returns."""
        now_ms = self._host.clock.now_ms()
        fault = self.plan.on_call(asked, now_ms)
        next_ms = self.plan.next_ms()
        if next_ms is not None and next_ms <= now_ms:
            self.look()
        return fault

    def take_turns(self) -> None:
        for turn in self.plan.turns(self._host.clock.now_ms()):
            log.info("a fault " + ("begins" if turn.begins else "ends"), kind=turn.fault.kind.value, id=turn.number)
            try:
                self.turn(turn)
            except Refusal as refusal:
                # The account cannot do that now, as a human would find; the plan goes on.
                log.info("a fault found nothing to do", kind=turn.fault.kind.value, why=refusal.text)
            except JournalError as error:
                # It is done, and told as soon as it is written down.
                log.error("what a fault did is not written down yet", kind=turn.fault.kind.value, why=str(error))

    # --- around a call

    def prepare(self, fault: Fault, asked: Asked) -> None:
        """Bend the exchange so that it gives the answer by itself."""
        operator, market, symbol = self.operator, asked.market, asked.symbol
        if market is None or InstrumentKey(market, symbol) not in self._host.books:
            return
        order = self._order_of(asked)
        match fault.kind:
            case FaultKind.POST_ONLY_TAKES if asked.side is not None and asked.price is not None:
                operator.meet(market, symbol, asked.side, asked.price)
            case FaultKind.UNFILLABLE if asked.side is not None:
                operator.empty(market, symbol, asked.side, asked.price)
            case FaultKind.PARTIAL_FILLS if asked.side is not None and asked.qty is not None:
                operator.slice(market, symbol, asked.side, asked.qty, fault.whole("pieces"))
            case FaultKind.CANCEL_TOO_LATE if order is not None:
                operator.fill(order)
            case FaultKind.FILL_DURING_CANCEL if order is not None:
                operator.fill(order, (order.qty - order.filled_qty) / 2)
            case _:
                pass

    def restore(self, fault: Fault, asked: Asked) -> None:
        """After the call: the market is as it was, and what comes after an answer comes."""
        market = asked.market
        if market is None or InstrumentKey(market, asked.symbol) not in self._host.books:
            return
        if fault.kind in (FaultKind.POST_ONLY_TAKES, FaultKind.UNFILLABLE, FaultKind.PARTIAL_FILLS):
            self.operator.restore_book(market, asked.symbol)
        elif fault.kind is FaultKind.ANSWER_LOST_FILLED:
            order = self._order_of(asked)
            if order is not None:
                self.operator.fill(order)

    def _order_of(self, asked: Asked) -> VenueOrder | None:
        """The open order that the call names."""
        if asked.market is None:
            return None
        exchange = self._host.exchange
        if asked.client_order_id:
            found = exchange.order(asked.market, asked.symbol, asked.client_order_id)
        else:
            found = exchange.order_by_number(asked.market, asked.symbol, asked.venue_order_id)
        return found if found is not None and not found.status.is_final else None

    # --- at an instant

    def turn(self, turn: Turn) -> None:
        """Begin or end what acts on the exchange itself; faces add what acts on them.

        Raises:
            Refusal: there is nothing to do it to.
        """
        fault, name = turn.fault, f"{turn.fault.kind}-{turn.number}"
        operator = self.operator
        match fault.kind:
            case FaultKind.NO_FUNDS:
                self._drain(turn)
            case FaultKind.MARK_DIVERGES if turn.begins:
                operator.set_mark(name, fault.symbol, bps=fault.whole("bps"))
            case FaultKind.GAP_OVER_STOP_LIMIT if turn.begins:
                self._gap(fault, name)
            case FaultKind.OUTAGE if turn.begins:
                operator.freeze(name)
            case FaultKind.OUTAGE:
                operator.unbend(name)
                operator.shift_lastingly(fault.whole("bps"))
            case FaultKind.SYMBOL_HALTED:
                self._halt(turn, name)
            case FaultKind.FILTERS_CHANGED:
                self._change_filters(turn)
            case FaultKind.MARK_DIVERGES | FaultKind.GAP_OVER_STOP_LIMIT:
                operator.unbend(name)
            case _ if turn.begins:
                self._happen(fault)
            case _:
                pass

    def _happen(self, fault: Fault) -> None:
        operator = self.operator
        match fault.kind:
            case FaultKind.STOP_CANCELED_BY_HUMAN:
                for order in operator.stops(fault.market, fault.symbol)[:1]:
                    operator.cancel(order)
            case FaultKind.STOP_ORDER_REJECTED:
                stops = [order for order in operator.stops(Market.FUT, fault.symbol) if order.conditional]
                for order in stops[:1]:
                    operator.fail_stop(order)
            case FaultKind.SELF_TRADE:
                for order in operator.resting(fault.market, fault.symbol)[:1]:
                    operator.cross(order)
            case FaultKind.LEVERAGE_CHANGED:
                symbol = self._futures_symbol(fault.symbol)
                if fault.word("what") == "crossed":
                    operator.set_crossed(symbol)
                else:
                    operator.set_leverage(symbol, fault.whole("leverage"))
            case FaultKind.LIQUIDATION:
                operator.liquidate(self._futures_symbol(fault.symbol))
            case FaultKind.FUNDING:
                rate = fault.whole("rate_ppm") / 1_000_000
                operator.settle_funding(self._futures_symbol(fault.symbol), rate, jitter_ms=fault.whole("jitter_ms"))
            case FaultKind.HUMAN_ORDER:
                market = Market(fault.market or Market.FUT)
                symbol = fault.symbol or self._host.rules.instruments[0].symbol
                if InstrumentKey(market, symbol) in self._host.books:
                    notional, rests = Decimal(fault.whole("notional_usdt")), fault.word("what") == "limit"
                    operator.order_for(market, symbol, Side(fault.word("side")), notional, rests=rests)
            case _:
                pass

    def _drain(self, turn: Turn) -> None:
        if turn.begins:
            asked = turn.asked.market if turn.asked is not None else None
            market = Market(turn.fault.market or asked or Market.FUT)
            self._drained[turn.number] = (market, self.operator.free_usdt(market))
            self.operator.drain(market)
            return
        market, amount = self._drained.pop(turn.number, (Market.FUT, Decimal(0)))
        source = Market.SPOT if market is Market.FUT else Market.FUT
        amount = min(amount, self.operator.free_usdt(source))  # some of it may be in use there by now
        if amount > 0:
            self.operator.move(source, amount)

    def _gap(self, fault: Fault, name: str) -> None:
        """The price jumps over the limit of the newest spot stop, or as far from where it is."""
        past_bps = fault.whole("past_bps")
        stops = [stop for stop in self.operator.stops(Market.SPOT, fault.symbol) if stop.price is not None]
        if not stops:
            self.operator.shift(name, -past_bps, market=Market.SPOT, symbol=fault.symbol)
            return
        stop = stops[0]
        assert stop.price is not None
        best = self._host.books[stop.key].mid
        target = stop.price * (1 + stop.side.sign * Decimal(past_bps) / 10_000)
        bps = int((target / best - 1) * 10_000)
        self.operator.shift(name, bps, market=Market.SPOT, symbol=stop.symbol)

    def _halt(self, turn: Turn, name: str) -> None:
        fault, operator = turn.fault, self.operator
        for instrument in operator.listed(fault.market, fault.symbol):
            still = self.plan.under_way(FaultKind.SYMBOL_HALTED, instrument.market, instrument.symbol)
            status = still.word("status") if still is not None else "TRADING"
            operator.replace_instrument(replace(instrument, status=status))
        if not turn.begins:
            operator.unbend(name)
        elif fault.word("status") == "BREAK":
            operator.freeze(name, market=fault.market, symbol=fault.symbol)

    def _change_filters(self, turn: Turn) -> None:
        """Every change counts from what is listed without any; the last one's end puts exactly that back."""
        operator = self.operator
        if turn.begins:
            self._filters[turn.number] = turn.fault
        else:
            self._filters.pop(turn.number, None)
        for now in operator.listed(turn.fault.market, turn.fault.symbol):
            listed = self._unfiltered.setdefault(now.key, now)
            faults = [fault for fault in self._filters.values() if fault.applies(now.market, now.symbol)]
            tick = prod(fault.whole("tick_mult") for fault in faults)
            step = prod(fault.whole("step_mult") for fault in faults)
            operator.replace_instrument(
                replace(
                    now,
                    tick_size=listed.tick_size * tick,
                    step_size=listed.step_size * step,
                    min_qty=listed.min_qty * step,
                    market_step=listed.market_step * step,
                )
            )
            if not faults:
                del self._unfiltered[now.key]

    def _futures_symbol(self, symbol: str) -> str:
        """The symbol asked for; else one with a position; else the first."""
        if symbol:
            return symbol
        positions = self._host.exchange.positions()
        return positions[0].symbol if positions else self.operator.listed(Market.FUT)[0].symbol


class VenueFaults(ExchangeFaults):
    """Faults as a caller of the venue port meets them, where no bytes are sent.

    Args:
        tell: hands account changes to every listener.
        tell_market: the same for market events.
    """

    def __init__(
        self,
        host: ExchangeHost,
        plan: FaultPlan,
        *,
        tell: Callable[[Sequence[AccountChange]], None],
        tell_market: Callable[[Sequence[MarketEvent]], None],
    ) -> None:
        super().__init__(host, plan)
        self._tell = tell
        self._tell_market = tell_market
        self._banned_until_ms = 0
        self._quiet: dict[int, str] = {}
        self._told: deque[AccountChange] = deque(maxlen=50)
        self._shuffled: list[AccountChange] | None = None

    # --- calls

    async def call(self, asked: Asked, work: Callable[[], T]) -> T:
        """`work` asks the exchange; around it goes wrong what is due.

        Raises:
            Refusal: the exchange's own, or the fault's.
            VenueUnavailable, RateLimited, OutcomeUnknown: as the port says.
        """
        clock = self._host.clock
        left_ms = self._banned_until_ms - clock.now_ms()
        if left_ms > 0:
            raise RateLimited("banned", int(left_ms / clock.speed) + 1)
        fault = self.ask(asked)
        if self.plan.under_way(FaultKind.OUTAGE) is not None:
            raise VenueUnavailable("it is down")
        if fault is None:
            return work()
        self._refuse(fault, asked)
        self.prepare(fault, asked)
        try:
            result = work()
            if fault.kind is FaultKind.DUPLICATE_ID and self._order_of(asked) is not None:
                result = work()
        finally:
            self.restore(fault, asked)
        if fault.kind is FaultKind.LATE:
            await clock.sleep_until_ms(clock.now_ms() + clock.work_ms(fault.whole("delay_ms")))
        elif fault.kind in LOST_ANSWERS or fault.kind is FaultKind.ANSWER_5XX:
            raise OutcomeUnknown(f"the answer to {asked.name} was lost")
        return result

    def _refuse(self, fault: Fault, asked: Asked) -> None:
        """Raise what keeps the request from the exchange."""
        match fault.kind:
            case FaultKind.REQUEST_LOST if Trait.CHANGES in asked.traits:
                raise OutcomeUnknown(f"{asked.name} was not answered")
            case FaultKind.REQUEST_LOST:
                raise VenueUnavailable(f"{asked.name} was not answered")
            case FaultKind.REFUSED_503 | FaultKind.HTML_BODY:
                raise VenueUnavailable("it refuses service")
            case FaultKind.RATE_429:
                raise RateLimited("too many requests", fault.whole("retry_after_s") * 1_000)
            case FaultKind.BAN_418:
                ban_ms = fault.whole("ban_s") * 1_000
                self._banned_until_ms = self._host.clock.now_ms() + self._host.clock.work_ms(ban_ms)
                raise RateLimited("banned", ban_ms)
            case _:
                refusal = refusal_for(fault, asked.market)
                if refusal is not None:
                    raise refusal

    def offset_ms(self) -> int:
        """How far the exchange's idea of the time is off."""
        fault = self.plan.under_way(FaultKind.CLOCK_OFFSET)
        return fault.whole("offset_ms") if fault is not None else 0

    def looked_up(self, order: VenueOrder) -> VenueOrder | None:
        """What a query of a conditional says while queries lag: None: not known yet."""
        fault = self.plan.under_way(FaultKind.ALGO_LOOKUP_LAG, order.market, order.symbol)
        if fault is None or not order.conditional or order.triggered:
            return order
        clock = self._host.clock
        now_ms = clock.now_ms()
        if now_ms - order.created_at_ms < clock.work_ms(fault.whole("placed_ms")):
            return None
        if order.status is OrderStatus.CANCELED and now_ms - order.updated_at_ms < clock.work_ms(
            fault.whole("canceled_ms")
        ):
            return replace(order, status=OrderStatus.NEW, reason=None)
        return order

    # --- streams

    def turn(self, turn: Turn) -> None:
        fault = turn.fault
        super().turn(turn)
        match fault.kind:
            case FaultKind.STREAM_STALLED | FaultKind.STREAM_CLOSED:
                self._hush(turn, fault.word("streams"))
            case FaultKind.OUTAGE:
                self._hush(turn, "all")
            case FaultKind.LISTEN_KEY_EXPIRED:
                self._hush(turn, "account")
            case _:
                pass

    def _hush(self, turn: Turn, streams: str) -> None:
        """Nothing is told while it lasts; then whoever listens to the account hears that something may be missing."""
        lasts = turn.begins and turn.fault.lasts_ms > 0
        if lasts:
            self._quiet[turn.number] = streams
        else:
            self._quiet.pop(turn.number, None)
        if not lasts and streams != "market" and not self._hushed("account"):
            self._tell((StreamReset(self._host.clock.now_ms()),))

    def _hushed(self, streams: str) -> bool:
        return any(each in ("all", streams) for each in self._quiet.values())

    def tell(self, changes: Sequence[AccountChange]) -> None:
        """Account changes on their way to whoever listens."""
        if self._hushed("account"):
            return
        now_ms = self._host.clock.now_ms()
        out: list[AccountChange] = []
        for change in changes:
            name, market, symbol = _event_name(change)
            fault = self.plan.on_event(Reach.EVENTS, name, market, symbol, now_ms)
            self._told.append(change)
            if fault is not None and fault.kind is FaultKind.EVENTS_LOST:
                continue
            out.append(change)
            if fault is not None and fault.kind is FaultKind.EVENTS_DOUBLED:
                out += list(self._told)[-fault.whole("last") :]
            elif fault is not None and fault.kind is FaultKind.EVENTS_SHUFFLED and self._shuffled is None:
                self._shuffled = []
                window_ms = self._host.clock.work_ms(fault.whole("window_ms"))
                self._host.clock.call_at_ms(now_ms + window_ms, self._deal)
        if self._shuffled is not None:
            self._shuffled += out
        elif out:
            self._tell(out)

    def _deal(self) -> None:
        """The window is over: what came last is told first, one after the other."""
        held, self._shuffled = self._shuffled or [], None
        for change in reversed(held):
            self._tell((change,))

    def market(self, events: Sequence[MarketEvent]) -> Sequence[MarketEvent]:
        """Market events on their way to whoever listens."""
        if self._hushed("market"):
            return ()
        now_ms = self._host.clock.now_ms()
        out: list[MarketEvent] = []
        for event in events:
            name, market = _stream_name(event)
            fault = self.plan.on_event(Reach.MARKET, name, market, event.symbol, now_ms)
            if fault is None or fault.kind is FaultKind.DEPTH_GAP:
                out.append(event)
            elif fault.kind is FaultKind.BAD_DATA:
                # Everything else is no value of ours: whoever reads bytes has refused it before.
                out += [_tenfold(event)] if fault.word("what") == "x10" else []
            elif fault.word("how") == "late":
                delay_ms = self._host.clock.work_ms(fault.whole("delay_ms"))
                self._host.clock.call_at_ms(now_ms + delay_ms, partial(self._tell_market, (event,)))
        return out


def _event_name(change: AccountChange) -> tuple[str, Market | None, str]:
    """As the exchange calls the event that says this."""
    if isinstance(change, OrderUpdated):
        order = change.order
        if order.market is Market.SPOT:
            return "executionReport", order.market, order.symbol
        return (
            "ALGO_UPDATE" if order.conditional and not order.triggered else "ORDER_TRADE_UPDATE",
            order.market,
            order.symbol,
        )
    return "ACCOUNT_UPDATE", None, ""


def _stream_name(event: MarketEvent) -> tuple[str, Market]:
    if isinstance(event, Bar):
        return "kline", event.market
    return ("markPrice", Market.FUT) if isinstance(event, MarkPrice) else ("bookTicker", event.market)


def _tenfold(event: MarketEvent) -> MarketEvent:
    if isinstance(event, MarkPrice):
        return replace(event, mark=event.mark * 10)
    if isinstance(event, Bar):
        return replace(event, open=event.open * 10, high=event.high * 10, low=event.low * 10, close=event.close * 10)
    return replace(
        event,
        bids=tuple((price * 10, qty) for price, qty in event.bids),
        asks=tuple((price * 10, qty) for price, qty in event.asks),
        last=event.last * 10,
    )


def asked_to_place(order: NewOrder) -> Asked:
    """The call that places `order`."""
    traits = {Trait.SIGNED, Trait.CHANGES}
    if order.reduce_only or order.close_position:
        traits.add(Trait.REDUCES)
    else:
        traits.add(Trait.OPENS)
    if order.type is OrderType.LIMIT_MAKER or order.time_in_force is TimeInForce.GTX:
        traits.add(Trait.POST_ONLY)
    if order.stop_price is not None or order.callback_ratio is not None:
        traits |= {Trait.STOP, Trait.RESTS}
    elif order.type is OrderType.MARKET or order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
        traits.add(Trait.IMMEDIATE)
    else:
        traits.add(Trait.RESTS)
    return Asked(
        name="algo.place" if order.conditional else "order.place",
        market=order.market,
        symbol=order.symbol,
        traits=frozenset(traits),
        client_order_id=order.client_order_id,
        side=order.side,
        qty=order.qty,
        price=order.price,
    )


def asked_to_place_list(oco: NewOco) -> Asked:
    return Asked(
        name="orderList.place",
        market=Market.SPOT,
        symbol=oco.symbol,
        traits=frozenset({Trait.SIGNED, Trait.CHANGES, Trait.OPENS, Trait.RESTS, Trait.STOP}),
        client_order_id=oco.target_client_id,
        side=oco.side,
        qty=oco.qty,
        price=oco.target_price,
    )


def asked_to_cancel(key: InstrumentKey, client_order_id: str, *, conditional: bool) -> Asked:
    return Asked(
        name="algo.cancel" if conditional else "order.cancel",
        market=key.market,
        symbol=key.symbol,
        traits=frozenset({Trait.SIGNED, Trait.CHANGES, Trait.REDUCES}),
        client_order_id=client_order_id,
    )


def asked_to_change(name: str, symbol: str = "") -> Asked:
    """Anything else that changes the account."""
    market = Market.FUT if symbol else None
    return Asked(name=name, market=market, symbol=symbol, traits=frozenset({Trait.SIGNED, Trait.CHANGES}))


def asked_for(name: str, key: InstrumentKey | None = None, *, signed: bool = False) -> Asked:
    """A question."""
    traits = frozenset({Trait.SIGNED}) if signed else frozenset()
    if key is None:
        return Asked(name=name, traits=traits)
    return Asked(name=name, market=key.market, symbol=key.symbol, traits=traits)
