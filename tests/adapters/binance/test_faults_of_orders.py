"""What the connector makes of it when orders, stops and the account are not what was asked for."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, TimeInForce
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import FundingSettled, IncomeKind, NewOco, NewOrder, OrderUpdated, PositionChanged
from chimera.domain.matching.faults import FaultKind
from chimera.ports.venue import (
    DuplicateOrder,
    InsufficientFunds,
    Refused,
    UnknownOrder,
    WouldTake,
    WouldTrigger,
)
from tests.adapters.binance.wire import BOTH, Wire, resting, shows, wired
from tests.ports.test_venue import FUT, SPOT, D, order, stop


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with wired() as made:
        yield made


def post_only(name: str, key: InstrumentKey) -> NewOrder:
    if key == SPOT:
        return replace(resting(name, key), type=OrderType.LIMIT_MAKER)
    return replace(resting(name, key), time_in_force=TimeInForce.GTX)


def ended(wire: Wire, name: str) -> bool:
    return any(each.status.is_final for each in wire.orders_told(name))


# --- what is refused


@shows(FaultKind.NO_FUNDS)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_money_that_a_human_moved_away_is_missing_by_name(wire: Wire, key: InstrumentKey) -> None:
    fault = await wire.arm(FaultKind.NO_FUNDS, market=key.market.value)

    with pytest.raises(InsufficientFunds):
        await wire.venue.place(resting("poor", key))
    left = await wire.balance(key.market, "USDT")
    await wire.disarm(fault)

    assert left == 0
    assert (await wire.venue.place(resting("rich", key))).status is OrderStatus.NEW


@shows(FaultKind.FILTERS_CHANGED)
async def test_rules_that_change_while_we_trade_are_there_to_be_asked_for(wire: Wire) -> None:
    before = {each.key: each for each in await wire.venue.instruments()}
    fine = replace(resting("fine", qty="0.011"), price=D("59000.10"))
    await wire.venue.place(fine)
    await wire.arm(FaultKind.FILTERS_CHANGED, params={"tick_mult": 10, "step_mult": 10})

    with pytest.raises(Refused) as refused:
        await wire.venue.place(replace(fine, client_order_id="again"))
    now = {each.key: each for each in await wire.venue.instruments()}
    rounded = replace(
        fine,
        client_order_id="rounded",
        price=now[FUT].round_price(D("59000.10")),
        qty=now[FUT].floor_qty(D("0.011")),
    )

    assert refused.value.code in (-1111, -4014, -4023)
    for key in BOTH:
        assert (now[key].tick_size, now[key].step_size) == (before[key].tick_size * 10, before[key].step_size * 10)
    assert (await wire.venue.place(rounded)).qty == D("0.01")


@shows(FaultKind.POST_ONLY_TAKES)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_a_post_only_order_that_would_take_is_refused_without_a_trace(wire: Wire, key: InstrumentKey) -> None:
    await wire.arm(FaultKind.POST_ONLY_TAKES)

    with pytest.raises(WouldTake):
        await wire.venue.place(post_only("maker", key))
    with pytest.raises(UnknownOrder):
        await wire.venue.order(key, "maker", conditional=False)

    assert (await wire.venue.place(post_only("maker", key))).status is OrderStatus.NEW


@shows(FaultKind.UNFILLABLE)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_what_finds_nobody_ends_with_what_it_got(wire: Wire, key: InstrumentKey) -> None:
    await wire.listen()
    ioc = order("ioc", "0.01", key=key, type=OrderType.LIMIT, price=D("60001"), time_in_force=TimeInForce.IOC)
    await wire.arm(FaultKind.UNFILLABLE, count=2)
    since_ms = wire.clock.now_ms() - 1

    await wire.venue.place(ioc)
    await wire.venue.place(order("market", "0.1", key=key))
    await wire.until(lambda: ended(wire, "ioc") and ended(wire, "market"))
    fills = await wire.venue.fills(key, since_ms)

    nothing = await wire.venue.order(key, "ioc", conditional=False)
    assert (nothing.status, nothing.filled_qty) == (OrderStatus.CANCELED, 0)
    part = await wire.venue.order(key, "market", conditional=False)
    assert part.status is OrderStatus.CANCELED
    assert 0 < part.filled_qty < part.qty
    assert part.filled_qty == sum(fill.qty for fill in fills) == sum(fill.qty for fill in wire.fills_told("market"))
    assert wire.orders_told("market")[-1].filled_qty == part.filled_qty


@shows(FaultKind.SELF_TRADE)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_an_order_that_would_have_met_our_own_ends_with_that_reason(wire: Wire, key: InstrumentKey) -> None:
    await wire.listen()
    if key == SPOT:
        await wire.venue.place(order("hold", "0.02", key=SPOT))
    await wire.venue.place(resting("mine", key))

    await wire.arm(FaultKind.SELF_TRADE, market=key.market.value)
    await wire.until(lambda: ended(wire, "mine"))

    (told,) = [each for each in wire.orders_told("mine") if each.status.is_final]
    found = await wire.venue.order(key, "mine", conditional=False)
    assert told.status is found.status is OrderStatus.CANCELED
    assert told.reason == found.reason == "EXPIRED_IN_MATCH"
    assert wire.fills_told("mine") == []


@shows(FaultKind.DUPLICATE_ID)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_an_id_that_is_there_already_says_that_the_first_one_landed(wire: Wire, key: InstrumentKey) -> None:
    await wire.arm(FaultKind.DUPLICATE_ID)

    with pytest.raises(DuplicateOrder):
        await wire.venue.place(resting("twice", key))

    assert [each.client_order_id for each in await wire.venue.open_orders()] == ["twice"]


@shows(FaultKind.DUPLICATE_ID)
async def test_the_id_of_a_stop_that_is_there_already_as_well(wire: Wire) -> None:
    await wire.venue.place(order("open", "0.01"))
    await wire.arm(FaultKind.DUPLICATE_ID, calls="algo.place")

    with pytest.raises(DuplicateOrder):
        await wire.venue.place(stop("sl", "59000"))

    assert [each.client_order_id for each in await wire.venue.open_orders()] == ["sl"]


@shows(FaultKind.OPENING_FORBIDDEN)
@pytest.mark.parametrize("reason", ["cooling_off", "quantitative_rules"])
async def test_an_account_that_may_only_reduce_still_reduces(wire: Wire, reason: str) -> None:
    await wire.venue.place(order("open", "0.01"))
    await wire.arm(FaultKind.OPENING_FORBIDDEN, duration_ms=600_000, params={"reason": reason})

    with pytest.raises(Refused) as refused:
        await wire.venue.place(order("more", "0.01"))
    await wire.venue.place(stop("sl", "59000"))
    await wire.venue.place(order("close", "0.01", Side.SELL, reduce_only=True))

    assert refused.value.code == {"cooling_off": -4192, "quantitative_rules": -4400}[reason]
    assert list(await wire.venue.positions()) == []


@shows(FaultKind.SYMBOL_HALTED)
@pytest.mark.parametrize("key", BOTH, ids=str)
@pytest.mark.parametrize("status", ["BREAK", "CANCEL_ONLY", "SETTLING"])
async def test_a_halted_symbol_takes_cancels_and_says_what_it_is(wire: Wire, key: InstrumentKey, status: str) -> None:
    await wire.venue.place(resting("rest", key))
    fault = await wire.arm(
        FaultKind.SYMBOL_HALTED, market=key.market.value, symbol="BTCUSDT", params={"status": status}
    )

    with pytest.raises(Refused):
        await wire.venue.place(resting("more", key))
    listed = {each.key: each.status for each in await wire.venue.instruments()}
    canceled = await wire.venue.cancel(key, "rest", conditional=False)
    await wire.disarm(fault)

    assert listed[key] == status
    assert listed[FUT if key == SPOT else SPOT] == "TRADING"
    assert canceled.status is OrderStatus.CANCELED
    assert (await wire.venue.place(resting("more", key))).status is OrderStatus.NEW


@shows(FaultKind.PARTIAL_BATCH)
async def test_orders_go_one_by_one_and_each_has_an_outcome_of_its_own() -> None:
    async with wired(never=frozenset({FaultKind.PARTIAL_BATCH})) as wire:
        await wire.arm(FaultKind.PARTIAL_BATCH, count=9)

        outcomes = await asyncio.gather(
            *(wire.venue.place(each) for each in (resting("a"), resting("bad", qty="0.0001"), resting("c"))),
            return_exceptions=True,
        )

        assert [isinstance(each, Refused) for each in outcomes] == [False, True, False]
        assert {each.client_order_id for each in await wire.venue.open_orders()} == {"a", "c"}


# --- cancels that come too late


@shows(FaultKind.CANCEL_TOO_LATE)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_a_cancel_that_a_fill_was_faster_than_sends_us_to_look(wire: Wire, key: InstrumentKey) -> None:
    await wire.listen()
    await wire.venue.place(resting("quick", key))
    await wire.arm(FaultKind.CANCEL_TOO_LATE)

    with pytest.raises(UnknownOrder):
        await wire.venue.cancel(key, "quick", conditional=False)

    found = await wire.venue.order(key, "quick", conditional=False)
    assert (found.status, found.filled_qty) == (OrderStatus.FILLED, D("0.01"))
    assert (await wire.fill_of("quick")).qty == D("0.01")


@shows(FaultKind.FILL_DURING_CANCEL)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_what_filled_before_its_cancel_is_counted(wire: Wire, key: InstrumentKey) -> None:
    await wire.listen()
    await wire.venue.place(resting("half", key))
    since_ms = wire.clock.now_ms() - 1_000
    await wire.arm(FaultKind.FILL_DURING_CANCEL)

    canceled = await wire.venue.cancel(key, "half", conditional=False)
    await wire.until(lambda: ended(wire, "half"))

    assert canceled.status is OrderStatus.CANCELED
    assert 0 < canceled.filled_qty < canceled.qty
    assert sum(fill.qty for fill in wire.fills_told("half")) == canceled.filled_qty
    assert sum(fill.qty for fill in await wire.venue.fills(key, since_ms)) == canceled.filled_qty
    assert wire.orders_told("half")[-1].filled_qty == canceled.filled_qty


@shows(FaultKind.PARTIAL_FILLS)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_pieces_add_up_to_the_order(wire: Wire, key: InstrumentKey) -> None:
    await wire.listen()
    await wire.arm(FaultKind.PARTIAL_FILLS, params={"pieces": 4})
    since_ms = wire.clock.now_ms() - 1

    await wire.venue.place(order("pieces", "0.02", key=key))
    await wire.until(lambda: ended(wire, "pieces"))
    told = wire.fills_told("pieces")

    assert len(told) == 4
    assert len({fill.trade_id for fill in told}) == 4
    assert sum(fill.qty for fill in told) == D("0.02")
    assert [each.filled_qty for each in wire.orders_told("pieces")][-4:] == [D("0.005") * step for step in range(1, 5)]
    assert list(await wire.venue.fills(key, since_ms)) == told


# --- stops


@shows(FaultKind.STOP_TRIGGERING)
async def test_a_stop_that_triggers_just_now_cannot_be_canceled_any_more(wire: Wire) -> None:
    await wire.venue.place(order("open", "0.01"))
    await wire.venue.place(stop("sl", "59000"))
    await wire.arm(FaultKind.STOP_TRIGGERING)

    with pytest.raises(UnknownOrder):
        await wire.venue.cancel(FUT, "sl", conditional=True)

    wire.price("58990.0")
    assert (await wire.venue.order(FUT, "sl", conditional=True)).status is OrderStatus.FILLED


@shows(FaultKind.ALGO_LOOKUP_LAG)
async def test_a_new_stop_is_listed_before_it_can_be_asked_for(wire: Wire) -> None:
    await wire.listen()
    await wire.venue.place(order("open", "0.01"))
    await wire.arm(FaultKind.ALGO_LOOKUP_LAG, duration_ms=600_000, params={"placed_ms": 1_000, "canceled_ms": 1_000})
    lag_ms = wire.venue.capabilities.lookup_lag_ms

    await wire.venue.place(stop("sl", "59000"))
    found = await wire.venue.order(FUT, "sl", conditional=True)
    listed = [each.client_order_id for each in await wire.venue.open_orders()]
    await wire.until(lambda: bool(wire.orders_told("sl")))

    assert found.status is OrderStatus.NEW
    assert listed == ["sl"]
    assert lag_ms >= 1_000
    await wire.eventually(lambda: _status_is(wire, "sl", OrderStatus.NEW))
    canceled = await wire.venue.cancel(FUT, "sl", conditional=True)
    assert canceled.status is OrderStatus.CANCELED
    assert list(await wire.venue.open_orders()) == []
    await wire.until(lambda: ended(wire, "sl"))
    await wire.eventually(lambda: _status_is(wire, "sl", OrderStatus.CANCELED))


@shows(FaultKind.ALGO_LOOKUP_LAG)
async def test_a_stop_that_was_never_placed_is_unknown_at_once(wire: Wire) -> None:
    await wire.arm(FaultKind.ALGO_LOOKUP_LAG, duration_ms=600_000)

    with pytest.raises(UnknownOrder):
        await wire.venue.order(FUT, "never", conditional=True)


@shows(FaultKind.ALGO_LOOKUP_LAG)
async def test_a_stop_of_another_life_is_canceled_within_the_lag(wire: Wire) -> None:
    """The connector did not see it placed, and the query does not know it yet."""
    await wire.venue.place(order("open", "0.01"))
    await wire.arm(FaultKind.ALGO_LOOKUP_LAG, duration_ms=600_000, params={"placed_ms": 800, "canceled_ms": 800})
    reply = await wire.running.signed(
        "POST",
        "/fapi/v1/algoOrder",
        algoType="CONDITIONAL",
        symbol="BTCUSDT",
        side="SELL",
        type="STOP_MARKET",
        quantity="0.01",
        triggerPrice="59000",
        reduceOnly="true",
        clientAlgoId="sl",
    )
    assert reply.status == 200, reply.body

    canceled = await wire.venue.cancel(FUT, "sl", conditional=True)

    assert (canceled.status, canceled.stop_price) == (OrderStatus.CANCELED, D("59000"))


async def _status_is(wire: Wire, name: str, status: OrderStatus) -> bool:
    """Within the lag of its placement, and not listed any more, it may be told as unknown."""
    try:
        return (await wire.venue.order(FUT, name, conditional=True)).status is status
    except UnknownOrder:
        return False


@shows(FaultKind.STOP_REFUSED)
@pytest.mark.parametrize(
    ("reason", "kind", "code"),
    [("would_trigger", WouldTrigger, -2021), ("too_many", Refused, -4045), ("not_here", Refused, -4120)],
)
async def test_a_stop_that_is_refused_says_why(wire: Wire, reason: str, kind: type[Refused], code: int) -> None:
    await wire.venue.place(order("open", "0.01"))
    await wire.arm(FaultKind.STOP_REFUSED, params={"reason": reason})

    with pytest.raises(kind) as refused:
        await wire.venue.place(stop("sl", "59000"))

    assert refused.value.code == code
    assert list(await wire.venue.open_orders()) == []
    await wire.venue.place(order("close", "0.01", Side.SELL, reduce_only=True))


@shows(FaultKind.STOP_REFUSED)
async def test_a_pair_that_is_refused_says_why(wire: Wire) -> None:
    await wire.venue.place(order("hold", "0.02", key=SPOT))
    await wire.arm(FaultKind.STOP_REFUSED)

    with pytest.raises(WouldTrigger):
        await wire.venue.place_oco(pair())

    assert list(await wire.venue.open_orders()) == []


def pair(stop_limit: str | None = None) -> NewOco:
    return NewOco(
        list_client_id="pair",
        symbol="BTCUSDT",
        side=Side.SELL,
        qty=D("0.01"),
        target_client_id="pair-tp",
        target_price=D("61000"),
        stop_client_id="pair-sl",
        stop_price=D("59000"),
        stop_limit_price=D(stop_limit) if stop_limit else None,
    )


@shows(FaultKind.STOP_CANCELED_BY_HUMAN)
async def test_a_stop_that_a_human_takes_away_is_told(wire: Wire) -> None:
    await wire.listen()
    await wire.venue.place(order("open", "0.01"))
    await wire.venue.place(stop("sl", "59000"))

    await wire.arm(FaultKind.STOP_CANCELED_BY_HUMAN)
    await wire.until(lambda: ended(wire, "sl"))

    assert wire.orders_told("sl")[-1].status is OrderStatus.CANCELED
    assert list(await wire.venue.open_orders()) == []


@shows(FaultKind.STOP_CANCELED_BY_HUMAN)
async def test_a_spot_pair_that_a_human_takes_away_is_told_leg_by_leg(wire: Wire) -> None:
    await wire.listen()
    await wire.venue.place(order("hold", "0.02", key=SPOT))
    await wire.venue.place_oco(pair())

    await wire.arm(FaultKind.STOP_CANCELED_BY_HUMAN)
    await wire.until(lambda: ended(wire, "pair-sl") and ended(wire, "pair-tp"))

    assert list(await wire.venue.open_orders()) == []


@shows(FaultKind.STOP_ORDER_REJECTED)
async def test_a_stop_whose_order_came_to_nothing_is_told_as_ended_unfilled(wire: Wire) -> None:
    await wire.listen()
    await wire.venue.place(order("open", "0.01"))
    await wire.venue.place(stop("sl", "59000"))

    await wire.arm(FaultKind.STOP_ORDER_REJECTED)
    await wire.until(lambda: ended(wire, "sl"))

    told = wire.orders_told("sl")[-1]
    found = await wire.venue.order(FUT, "sl", conditional=True)
    assert told.status is found.status is OrderStatus.CANCELED
    assert (told.triggered, told.filled_qty, found.filled_qty) == (True, 0, 0)
    (position,) = await wire.venue.positions()
    assert position.qty == D("0.01")


@shows(FaultKind.GAP_OVER_STOP_LIMIT)
async def test_a_stop_limit_that_the_price_jumped_over_rests_and_sells_nothing(wire: Wire) -> None:
    await wire.listen()
    await wire.venue.place(order("hold", "0.02", key=SPOT))
    await wire.venue.place_oco(pair("58900"))

    await wire.arm(FaultKind.GAP_OVER_STOP_LIMIT, params={"past_bps": 100})
    wire.price("60000.0")
    await wire.until(lambda: any(top.bid < 58_900 for top in wire.tops(Market.SPOT)))

    found = await wire.venue.order(SPOT, "pair-sl", conditional=False)
    assert (found.status, found.filled_qty) == (OrderStatus.NEW, 0)
    assert wire.fills_told("pair-sl") == []
    canceled = await wire.venue.cancel(SPOT, "pair-sl", conditional=False)
    assert canceled.status is OrderStatus.CANCELED
    await wire.venue.place(order("guard", "0.01", Side.SELL, key=SPOT))
    assert (await wire.fill_of("guard")).price < D("58900")


# --- what others do to the account


@shows(FaultKind.LEVERAGE_CHANGED)
@pytest.mark.parametrize("what", ["leverage", "crossed"])
async def test_a_leverage_that_a_human_changed_is_seen_and_set_again(wire: Wire, what: str) -> None:
    await wire.venue.ensure_isolated("BTCUSDT", 10)

    await wire.arm(FaultKind.LEVERAGE_CHANGED, symbol="BTCUSDT", params={"what": what, "leverage": 3})
    (changed,) = await wire.connector.futures.symbol_config("BTCUSDT")
    await wire.venue.ensure_isolated("BTCUSDT", 10)
    (mended,) = await wire.connector.futures.symbol_config("BTCUSDT")

    assert (changed.leverage, changed.isolated) == ((3, True) if what == "leverage" else (10, False))
    assert (mended.leverage, mended.isolated) == (10, True)


@shows(FaultKind.HUMAN_ORDER)
@pytest.mark.parametrize("key", BOTH, ids=str)
async def test_a_humans_order_is_told_under_its_own_name(wire: Wire, key: InstrumentKey) -> None:
    await wire.listen()
    since_ms = wire.clock.now_ms() - 1

    for what in ("limit", "market"):
        await wire.arm(
            FaultKind.HUMAN_ORDER,
            market=key.market.value,
            symbol="BTCUSDT",
            params={"what": what, "notional_usdt": 600},
        )
    await wire.until(lambda: any(each.fill is not None for each in _foreign(wire)))
    (rests,) = await wire.venue.open_orders()
    (fill,) = await wire.venue.fills(key, since_ms)

    told = _foreign(wire)
    assert {each.order.client_order_id for each in told} == {rests.client_order_id, fill.client_order_id}
    assert [each.fill for each in told if each.fill is not None] == [fill]
    if key == FUT:
        (position,) = await wire.venue.positions()
        assert position.qty == fill.qty


def _foreign(wire: Wire) -> list[OrderUpdated]:
    return [
        each for each in wire.told if isinstance(each, OrderUpdated) and each.order.client_order_id.startswith("web_")
    ]


@shows(FaultKind.LIQUIDATION)
async def test_a_liquidation_is_told_as_such_and_leaves_the_account_flat(wire: Wire) -> None:
    await wire.listen()
    await wire.venue.place(order("open", "0.01"))
    await wire.fill_of("open")

    await wire.arm(FaultKind.LIQUIDATION)
    await wire.until(lambda: any(isinstance(each, PositionChanged) and each.position is None for each in wire.told))
    forced: list[Any] = [
        each
        for each in wire.told
        if isinstance(each, OrderUpdated) and each.order.client_order_id.startswith("autoclose-")
    ]

    assert sum(each.fill.qty for each in forced if each.fill) == D("0.01")
    assert forced[-1].order.reason == "LIQUIDATION"
    assert list(await wire.venue.positions()) == []


@shows(FaultKind.FUNDING)
@pytest.mark.parametrize("rate_ppm", [1_000, -1_000])
async def test_a_settlement_is_told_once_with_its_line_of_the_ledger(wire: Wire, rate_ppm: int) -> None:
    await wire.listen()
    await wire.venue.place(order("open", "0.01"))
    await wire.fill_of("open")
    since_ms = wire.clock.now_ms() - 1

    await wire.arm(FaultKind.FUNDING, params={"rate_ppm": rate_ppm, "jitter_ms": 2})
    await wire.until(lambda: bool(_settlements(wire)))
    await wire.pass_ms(1_000)

    (settled,) = _settlements(wire)
    (line,) = [each for each in await wire.venue.income(since_ms) if each.kind is IncomeKind.FUNDING_FEE]
    assert settled.income == line
    assert line.amount == (D("-0.6") if rate_ppm > 0 else D("0.6"))


@shows(FaultKind.FUNDING, FaultKind.HTML_BODY, FaultKind.EVENTS_DOUBLED)
async def test_a_settlement_that_is_announced_twice_and_cannot_be_read_at_first_is_told_once(wire: Wire) -> None:
    await wire.listen()
    await wire.venue.place(order("open", "0.01"))
    await wire.fill_of("open")

    await wire.arm(FaultKind.HTML_BODY, calls="income", count=2)
    await wire.arm(FaultKind.EVENTS_DOUBLED, calls="ACCOUNT_UPDATE")
    await wire.arm(FaultKind.FUNDING, params={"rate_ppm": 1_000})
    await wire.until(lambda: bool(_settlements(wire)))
    await wire.pass_ms(1_500)

    (settled,) = _settlements(wire)
    assert settled.income.amount == D("-0.6")


@shows(FaultKind.OUTAGE)
async def test_a_stop_that_triggered_while_the_exchange_was_away_is_found_with_its_fill(wire: Wire) -> None:
    await wire.venue.place(order("open", "0.01"))
    await wire.venue.place(stop("sl", "59500"))
    since_ms = wire.clock.now_ms() - 1
    fault = await wire.arm(FaultKind.OUTAGE, params={"bps": -300})
    wire.price("60000.0")
    await wire.disarm(fault)
    wire.price("60000.0")

    found = await wire.venue.order(FUT, "sl", conditional=True)
    sold = [fill for fill in await wire.venue.fills(FUT, since_ms) if fill.client_order_id == "sl"]

    assert (found.status, found.triggered) == (OrderStatus.FILLED, True)
    assert [fill.qty for fill in sold] == [D("0.01")]
    assert sold[0].price < 58_300
    assert list(await wire.venue.positions()) == []


def _settlements(wire: Wire) -> list[FundingSettled]:
    return [each for each in wire.told if isinstance(each, FundingSettled)]
