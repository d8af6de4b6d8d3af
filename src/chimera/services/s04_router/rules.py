"""Which intents S4 accepts at all. Pure: facts in, a Problem raised or nothing.

400 what is malformed for this instrument, 422 what makes no sense, 409 what is forbidden now. Source: CONTRACTS 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from chimera.contracts.enums import HealthLevel, Market, OrderType, Purpose, Routing, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.execution.orders import CONDITIONAL_FUT, VenuePosition
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.runtime.restraints import Standing
from chimera.runtime.service import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What forbids a new entry at this moment. `None` means that it could not be learned, which forbids too."""

    kill_switch_on: bool
    health: HealthLevel | None
    paused_by: str | None
    halted_by: str | None
    reconciled: bool
    clock_offset_ms: int | None
    clock_offset_max_ms: int
    breaker_open: bool = False


TRADING = "TRADING"
"""Status of an instrument that may be entered."""


def forbidden(now: Now) -> tuple[str, str] | None:
    """(kind, why) of the most severe reason against a new entry, or None."""
    if now.kill_switch_on:
        return "kill-switch", "the kill switch is on; release it to enter again"
    if now.paused_by is not None:
        return "paused", f"entries are paused: {now.paused_by}"
    if now.halted_by is not None:
        return "halted", f"entries are halted: {now.halted_by}; a person must release it"
    if now.health is None or now.health is HealthLevel.RED:
        return "health-red", "system health is RED or unknown; exits and stops still pass"
    if not now.reconciled:
        return "not-reconciled", "the start-up reconciliation has not finished"
    if now.clock_offset_ms is None or abs(now.clock_offset_ms) > now.clock_offset_max_ms:
        return (
            "clock-skew",
            f"our clock is {now.clock_offset_ms} ms off the exchange's (limit {now.clock_offset_max_ms})",
        )
    if now.breaker_open:
        return "breaker-open", "the exchange answered with too many errors; entries wait until the breaker closes"
    return None


def check_entry_allowed(now: Now) -> None:
    reason = forbidden(now)
    if reason is not None:
        kind, why = reason
        raise Problem(409, kind, why, cause=kind.upper().replace("-", "_"))


def check_shape(intent: OrderIntent, instrument: Instrument) -> None:
    """What may be asked for on this instrument, whatever its prices and quantities."""
    if instrument.status != TRADING and intent.purpose.is_new_entry:
        raise Problem(422, "not-trading", f"{instrument.key} is {instrument.status}; only exits pass")
    check_offered(intent)


def off_grid(intent: OrderIntent, instrument: Instrument, *, dust: bool = False) -> tuple[str, str] | None:
    """(kind, why) of the first number that is off the instrument's grid, or None. `dust`: the position that it reduces
    is off the steps itself."""
    if intent.qty < instrument.step_size and not dust:
        return "qty-below-step", f"qty {intent.qty} is below stepSize {instrument.step_size}"
    if not instrument.qty_on_step(intent.qty) and not dust:
        return (
            "qty-off-step",
            f"qty {intent.qty} is not a multiple of stepSize {instrument.step_size};"
            f" nearest below is {instrument.floor_qty(intent.qty)}",
        )
    for name, price in prices_of(intent):
        if not instrument.price_on_tick(price):
            return (
                "price-off-tick",
                f"{name} {price} is not a multiple of tickSize {instrument.tick_size};"
                f" nearest is {instrument.round_price(price)}",
            )
    return None


def check_grid(intent: OrderIntent, instrument: Instrument, *, dust: bool) -> None:
    broken = off_grid(intent, instrument, dust=dust)
    if broken is not None:
        kind, why = broken
        raise Problem(400, kind, why)


def check_offered(intent: OrderIntent) -> None:
    """What asks for a way of execution or protection that there is not is refused: doing something else instead would
    fill at another price than was named, or leave what was bought without the stop that was asked for."""

    def refuse(what: str, instead: str) -> None:
        raise Problem(422, "not-offered", f"{what} is not offered; {instead}", intent_id=intent.intent_id)

    if intent.purpose is Purpose.GUARD:
        refuse("a guard by itself", "it follows an entry that asks for one by guard_stop")
    if intent.market is Market.SPOT and intent.purpose in (Purpose.ADD, Purpose.HEDGE):
        refuse(f"{intent.purpose} on SPOT", "send another ENTRY, which gets its own pair")
    limit = intent.type in (OrderType.LIMIT, OrderType.LIMIT_MAKER)
    conditional = intent.market is Market.FUT and intent.type in CONDITIONAL_FUT
    if intent.type is not OrderType.MARKET and not limit and (not conditional or intent.purpose.is_new_entry):
        refuse(f"{intent.purpose} by {intent.type} on {intent.market}", "send type MARKET, LIMIT or LIMIT_MAKER")
    if limit and intent.price is None:
        raise Problem(400, "price-missing", f"price is missing; a {intent.type} order names the price it rests at")
    if limit and intent.market is Market.SPOT and not intent.purpose.is_new_entry:
        refuse("a SPOT exit that rests", "the pair that rests already has a target; send type MARKET")
    if intent.exec_policy.routing is Routing.MAKER_ONLY and not intent.purpose.is_new_entry:
        refuse("routing MAKER_ONLY for an exit", "exits take; leave routing out")
    if intent.market is Market.SPOT and intent.purpose.is_new_entry:
        oco, guard = intent.exec_policy.oco, intent.guard_stop
        protected = (oco is not None and oco.enabled) or (guard is not None and guard.enable)
        if not protected and (intent.sl is not None or intent.tp is not None):
            refuse("a spot stop or target by itself", "give both prices as exec_policy.oco, or enable guard_stop")


def check_entry_sense(intent: OrderIntent, instrument: Instrument, price: Decimal | None) -> None:
    """`price` is the present mid, or what the entry was made for."""
    if intent.reduce_only:
        raise Problem(422, "reduce-only-entry", "reduce_only and a new entry exclude each other; leave reduce_only out")
    if intent.market is Market.SPOT and intent.side is Side.SELL:
        raise Problem(422, "spot-sell-entry", "spot is entered by BUY; to sell what is held send intent EXIT")
    if intent.qty > instrument.market_max_qty:
        raise Problem(
            422,
            "qty-above-max",
            f"qty {intent.qty} is above the {instrument.market_max_qty} that {instrument.key} takes in one order at"
            f" market: no stop could cover it; send at most {instrument.market_max_qty}",
        )
    if price is not None and intent.qty * price < instrument.min_notional:
        raise Problem(
            422,
            "below-min-notional",
            f"qty {intent.qty} is worth {intent.qty * price:.2f} USDT;"
            f" {instrument.key} wants at least {instrument.min_notional}",
        )
    if intent.market is Market.FUT and (intent.sl is None or (intent.sl.price is None and intent.sl.distance is None)):
        raise Problem(422, "entry-without-stop", "a futures entry needs a stop: give sl.price or sl.distance")
    if intent.market is Market.FUT and intent.sl is not None and intent.sl.price is not None and price is not None:
        wrong = intent.side.sign * (price - intent.sl.price) <= 0
        if wrong:
            raise Problem(
                422,
                "stop-on-wrong-side",
                f"sl.price {intent.sl.price} would trigger at once: the price is {price}",
            )
    if intent.market is Market.SPOT and price is not None:
        check_pair_sense(intent, price)


def check_pair_sense(intent: OrderIntent, price: Decimal) -> None:
    """Of a spot entry. A pair that the exchange cannot hold would be answered by buying and selling at once."""
    oco = intent.exec_policy.oco
    if oco is None or not oco.enabled:
        return
    if oco.tp is not None and oco.tp <= price:
        raise Problem(
            422,
            "target-on-wrong-side",
            f"exec_policy.oco.tp {oco.tp} is not above the price {price}; what is bought is sold above it",
        )
    if oco.sl is not None and oco.sl >= price:
        raise Problem(
            422,
            "stop-on-wrong-side",
            f"exec_policy.oco.sl {oco.sl} would trigger at once: the price is {price}; give one below it",
        )


def check_reduces(intent: OrderIntent, positions: Sequence[VenuePosition]) -> None:
    """Of a futures exit, stop or target: there must be a position that it makes smaller."""
    held = next((position.qty for position in positions if position.symbol == intent.symbol), Decimal(0))
    if intent.side.sign * held < 0:
        return
    stands = f"the position is {held}" if held else "there is no position"
    raise Problem(
        422, "nothing-to-reduce", f"{intent.side} {intent.qty} {intent.instrument} would reduce nothing: {stands}"
    )


def is_futures_exit(intent: OrderIntent) -> bool:
    """An exit, stop or target that the exchange itself cuts to the position."""
    return intent.market is Market.FUT and intent.reduce_only and not intent.purpose.is_new_entry


def is_late(intent: OrderIntent, clock: Clock) -> bool:
    ends_ms = deadline_ms(intent, clock)
    return ends_ms is not None and clock.now_ms() > ends_ms


def deadline_ms(intent: OrderIntent, clock: Clock) -> int | None:
    """`expires_at` limits our own work, so a market that runs faster than the wall stretches it."""
    return None if intent.expires_at is None else intent.ts + clock.work_ms(intent.expires_at - intent.ts)


def prices_of(intent: OrderIntent) -> list[tuple[str, Decimal]]:
    oco = intent.exec_policy.oco
    named = (
        ("price", intent.price),
        ("sl.price", intent.sl.price if intent.sl else None),
        ("tp.price", intent.tp.price if intent.tp else None),
        ("exec_policy.oco.tp", oco.tp if oco else None),
        ("exec_policy.oco.sl", oco.sl if oco else None),
    )
    return [(name, price) for name, price in named if price is not None]


def legs_of(intent: OrderIntent) -> int:
    """How many ids an intent may send: an entry carries its protection with it."""
    return 5 if intent.purpose in (Purpose.ENTRY, Purpose.ADD, Purpose.HEDGE) else 1


def now_of(standing: Standing, key: InstrumentKey, *, breaker_open: bool = False) -> Now:
    return Now(
        kill_switch_on=standing.kill_switch_on,
        health=standing.health,
        paused_by=standing.paused_by(key),
        halted_by=standing.halted_by,
        reconciled=standing.reconciled,
        clock_offset_ms=standing.clock_offset_ms,
        clock_offset_max_ms=standing.clock_offset_max_ms,
        breaker_open=breaker_open,
    )
