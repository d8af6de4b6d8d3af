"""A person sells by hand what a SPOT trade of ours had bought: it is recognised, and what comes later is left alone."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.collections import INTENTS, ORDERS, system_state
from chimera.contracts.documents import SpotSettledState
from chimera.contracts.enums import IntentState, Market, Side, TradeStatus
from chimera.contracts.keys import SPOT_WAC
from chimera.contracts.messages import AlertEvent, ReconcileCmd
from chimera.ports.documents import DocumentsUnavailable
from chimera.simulation.loop import run_virtual
from tests.prove.flows import entry, reserve
from tests.prove.sweep import Kill, broken_by, steps_of
from tests.prove.timeline import HOUSE, Fuse, Timeline
from tests.services.meddling import Meddled
from tests.services.test_s05_recognised import alerts, fixes, restarted
from tests.services.test_s05_reconciler import reconcile
from tests.services.trading_floor import ENV, SPOT, Floor

D = Decimal
CLOSE = {"market": "SPOT", "symbol": "BTCUSDT"}


async def begin() -> tuple[Timeline, Floor]:
    timeline = Timeline.open()
    floor = await timeline.live(Fuse(None))
    await floor.start(*HOUSE, price="60000")
    await floor.settle(5_000)
    return timeline, floor


async def without_its_pair(floor: Floor) -> None:
    """As a person does who wants to sell the coins that the pair holds."""
    for name in floor.resting():
        await floor.venue.cancel(SPOT, name, conditional=False)
        return


async def btc(floor: Floor) -> Decimal:
    found = await floor.venue.balances()
    return sum((each.free + each.locked for each in found if each.asset == "BTC"), D(0))


async def intents(floor: Floor, kind: str) -> int:
    number = 0
    while await floor.world.documents.get(INTENTS, f"E1-{kind}-{number + 1}") is not None:
        number += 1
    return number


def told_of(floor: Floor, code: str) -> list[str]:
    return [alert.message for alert in floor.messages(AlertEvent) if alert.code == code]


@pytest.mark.parametrize("away", [(), ("s5",), ("s4", "s5", "s6")], ids=["all up", "S5 away", "all away"])
def test_coins_sold_by_hand_end_the_trade_and_free_its_budget(away: tuple[str, ...]) -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.enter(key=SPOT)
        opened = (await floor.trade()).qty_open
        if away:
            await floor.stop(*away)
        await without_its_pair(floor)
        await floor.by_hand("web_1", Side.SELL, str(opened), market=Market.SPOT)
        # For himself, before anybody could look.
        await floor.by_hand("web_2", Side.BUY, "0.002", market=Market.SPOT)
        await floor.settle(5_000)
        await floor.start(*away)
        await floor.settle(10_000)

        trade = await floor.trade()
        assert (trade.status, trade.reason, trade.qty_open) == (TradeStatus.CLOSED, "MANUAL", 0)
        assert (await floor.world.reservations.usage(Market.SPOT)).concurrency == 0
        assert [(event.detail or {})["after"] for event in await fixes(floor, "MANUAL_EXIT_ADOPTED")] == [float(opened)]
        assert len([text for text in told_of(floor, "RECON_FIXED") if "sold some of that by hand" in text]) == 1
        assert (await floor.world.documents.get(ORDERS, "web_1")) is not None
        assert (await floor.world.documents.get(ORDERS, "web_2")) is None
        assert (await floor.call("s6", "POST", "/positions/close", CLOSE)).status == 404
        await floor.move("58000", settle_ms=70_000)
        assert await btc(floor) == D("0.001998")
        assert floor.resting() == {}
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_of_a_part_sold_by_hand_the_rest_is_still_ours_to_sell() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_0", Side.BUY, "0.003", market=Market.SPOT)
        await floor.enter(key=SPOT)
        await without_its_pair(floor)
        # 0.002997 of these are their own.
        await floor.by_hand("web_1", Side.SELL, "0.00700", market=Market.SPOT)
        await floor.settle(10_000)

        trade = await floor.trade()
        assert (trade.status, trade.qty_open) == (TradeStatus.ACTIVE, D("0.00999") - D("0.004003"))
        held = await floor.world.snapshots.get_hash(SPOT_WAC.name(ENV, SPOT))
        bought = await floor.world.documents.get(ORDERS, "s3-btc-e1")
        assert bought is not None
        assert sum((bought.closed_by or {}).values(), D(0)) == D("0.004003")
        assert D(held["qty"]) == trade.qty_open

        # Looked at again it is the same, and coins that come later are not the trade's.
        await floor.by_hand("web_2", Side.BUY, "0.005", market=Market.SPOT)
        await floor.settle(70_000)
        await reconcile(floor)
        assert (await floor.trade()).qty_open == D("0.00999") - D("0.004003")

        await floor.call("s6", "POST", "/positions/close", CLOSE)
        await floor.settle(10_000)
        assert (await floor.trade()).status is TradeStatus.CLOSED
        assert await btc(floor) >= D("0.004995")
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_a_person_who_sells_their_own_sells_nothing_of_ours() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_0", Side.BUY, "0.02", market=Market.SPOT)
        await floor.enter(key=SPOT)
        await floor.by_hand("web_1", Side.SELL, "0.01", market=Market.SPOT)
        await floor.settle(70_000)

        assert (await floor.trade()).qty_open == D("0.00999")
        assert len(floor.resting()) == 2
        assert await fixes(floor, "MANUAL_EXIT_ADOPTED", "TRADE_CORRECTED", "HOLDING_SHORT") == []
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_coins_that_came_by_a_deposit_and_are_sold_at_once_were_never_ours() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_0", Side.BUY, "0.003", market=Market.SPOT)
        await floor.enter(key=SPOT)
        # From here on it is known what others held.
        await floor.by_hand("web_1", Side.SELL, "0.001", market=Market.SPOT)
        await floor.settle(20_000)
        move_coins(floor, "1")
        await floor.by_hand("web_2", Side.SELL, "0.5", market=Market.SPOT)
        await floor.settle(70_000)

        assert (await floor.trade()).qty_open == D("0.00999")
        assert len(floor.resting()) == 2
        assert await fixes(floor, "MANUAL_EXIT_ADOPTED", "TRADE_CORRECTED", "HOLDING_SHORT") == []
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_of_what_was_sold_by_hand_a_deposit_later_brings_nothing_back() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.enter(key=SPOT)
        await without_its_pair(floor)
        await floor.by_hand("web_1", Side.SELL, "0.004", market=Market.SPOT)
        await floor.settle(20_000)
        assert (await floor.trade()).qty_open == D("0.00599")
        move_coins(floor, "1")
        await floor.by_hand("web_2", Side.SELL, "0.5", market=Market.SPOT)
        await floor.settle(70_000)

        assert (await floor.trade()).qty_open == D("0.00599")
        assert len(await fixes(floor, "MANUAL_EXIT_ADOPTED")) == 1
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("restarts", [False, True], ids=["all up", "restarted"])
@pytest.mark.parametrize("withdrawn", ["-0.0199", "-0.019"])
def test_coins_that_a_person_withdraws_make_none_of_their_old_sales_one_of_ours(withdrawn: str, restarts: bool) -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_0", Side.BUY, "0.02", market=Market.SPOT)
        await floor.enter(key=SPOT)
        await floor.by_hand("web_1", Side.SELL, "0.015", market=Market.SPOT)
        await floor.settle(30_000)
        await floor.by_hand("web_2", Side.BUY, "0.015", market=Market.SPOT)
        await floor.settle(30_000)
        move_coins(floor, withdrawn)
        await floor.settle(70_000)
        if restarts:
            await restarted(floor)
        await floor.by_hand("web_3", Side.BUY, "0.0005", market=Market.SPOT)
        await floor.settle(70_000)

        assert (await floor.trade()).qty_open == D("0.00999")
        assert len(floor.resting()) == 2
        assert await fixes(floor, "MANUAL_EXIT_ADOPTED", "TRADE_CORRECTED", "HOLDING_SHORT") == []

        # What is left of their own is sold first, and of the rest it is known that it was ours.
        await without_its_pair(floor)
        await floor.by_hand("web_4", Side.SELL, "0.006", market=Market.SPOT)
        await floor.settle(20_000)
        assert (await floor.trade()).qty_open == await btc(floor) < D("0.006")
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_sales_and_a_withdrawal_while_nobody_looked_leave_us_what_the_wallet_has() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.by_hand("web_0", Side.BUY, "0.02", market=Market.SPOT)
        await floor.enter(key=SPOT)
        await floor.by_hand("web_1", Side.SELL, "0.001", market=Market.SPOT)
        await floor.settle(30_000)
        await floor.stop("s5")
        await floor.by_hand("web_2", Side.SELL, "0.015", market=Market.SPOT)
        await floor.by_hand("web_3", Side.BUY, "0.015", market=Market.SPOT)
        move_coins(floor, "-0.0189")
        await floor.start("s5")
        await floor.settle(70_000)

        assert (await floor.trade()).qty_open == D("0.00999")
        assert await fixes(floor, "MANUAL_EXIT_ADOPTED", "TRADE_CORRECTED", "HOLDING_SHORT") == []
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_a_person_who_trades_on_beside_withdrawn_coins_is_told_once_and_sells_their_own() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.enter(key=SPOT)
        await floor.settle(5_000)
        await without_its_pair(floor)
        move_coins(floor, "-0.006")
        await floor.settle(70_000)
        for number in range(1, 6):
            await floor.by_hand(f"web_{number}", Side.BUY, "0.003", market=Market.SPOT)
            await floor.settle(70_000)
            if number == 3:
                await restarted(floor)
            await floor.by_hand(f"web_{number}s", Side.SELL, "0.0028", market=Market.SPOT)
            await floor.settle(70_000)

        assert (await floor.trade()).qty_open == D("0.00999")
        [event] = await fixes(floor, "HOLDING_SHORT")
        assert (event.detail or {})["subject"] == "0.006 of SPOT:BTCUSDT"
        assert len([text for text in told_of(floor, "RECON_FIXED") if "left the wallet" in text]) == 1
        assert await fixes(floor, "MANUAL_EXIT_ADOPTED", "TRADE_CORRECTED") == []

        # More of it is news.
        move_coins(floor, "-0.002")
        await floor.settle(70_000)
        assert len(await fixes(floor, "HOLDING_SHORT")) == 2
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_a_look_that_fails_before_it_is_settled_whose_a_sale_was_attributes_it_again_the_same() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        documents = Meddled(floor.world.documents)
        floor.world = replace(floor.world, documents=documents)
        await floor.stop("s5")
        await floor.start("s5")
        await floor.enter(key=SPOT)
        await floor.settle(5_000)
        await without_its_pair(floor)

        async def put(real: Any, collection: Any, doc: Any, *rest: Any, **more: Any) -> Any:
            if isinstance(doc, SpotSettledState):
                raise DocumentsUnavailable("down")
            return await real(collection, doc, *rest, **more)

        documents.instead["put"] = put
        await floor.by_hand("web_1", Side.SELL, "0.004", market=Market.SPOT)
        await floor.settle(20_000)
        state = system_state(SpotSettledState)
        assert (await floor.trade()).qty_open == D("0.00599")
        assert await floor.world.documents.get(state, "spot_settled") is None
        documents.instead.clear()
        await floor.settle(70_000)

        settled = await floor.world.documents.get(state, "spot_settled")
        assert settled is not None
        assert settled.settled[str(SPOT)].held == {"E1": D("0.00599")}
        assert (await floor.trade()).qty_open == D("0.00599")
        assert len(await fixes(floor, "MANUAL_EXIT_ADOPTED")) == 1
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_a_guard_of_coins_that_were_sold_by_hand_watches_no_longer() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        intent = entry(floor, "E1", key=SPOT, qty="0.010", sl="59400", guarded=True)
        await reserve(floor, intent)
        await floor.call("s4", "POST", "/orders", intent)
        await floor.settle(5_000)
        await floor.by_hand("web_1", Side.SELL, "0.00999", market=Market.SPOT)
        await floor.settle(10_000)

        guard = await floor.world.documents.get(INTENTS, "E1-GUARD-1")
        assert guard is not None
        assert (guard.state, guard.reason) == (IntentState.CANCELED, "SOLD_BY_HAND")
        assert (await floor.trade()).status is TradeStatus.CLOSED
        await floor.by_hand("web_2", Side.BUY, "0.005", market=Market.SPOT)
        await floor.move("58000", settle_ms=70_000)
        assert await btc(floor) == D("0.004995")
        assert await intents(floor, "GUARD") == 1
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def move_coins(floor: Floor, qty: str) -> None:
    """Into the wallet, or out of it where negative, past every order book."""
    floor.venue.exchange.deposit(Market.SPOT, "BTC", D(qty), floor.world.clock.now_ms())


def test_exits_that_find_nothing_to_sell_end_and_are_told_once() -> None:
    async def scenario() -> None:
        timeline, floor = await begin()
        await floor.enter(key=SPOT)
        await floor.settle(5_000)
        await without_its_pair(floor)
        move_coins(floor, "-0.00999")
        answer = await floor.call("s6", "POST", "/positions/close", CLOSE)
        assert answer.status == 200
        await floor.settle(60_000)

        assert await intents(floor, "EXIT") == 3
        [told] = told_of(floor, "ORDER_RETRY_EXHAUSTED")
        assert "3 exits found nothing of 0.00999" in told
        assert len(await fixes(floor, "HOLDING_SHORT")) == 1
        [short] = [text for text in alerts(floor, "RECON_FIXED") if "left the wallet" in text]
        assert "0.00999 of SPOT:BTCUSDT" in short
        assert any(cmd.symbol == "BTCUSDT" for cmd in floor.messages(ReconcileCmd))

        await floor.settle(300_000)
        await floor.stop("s6")
        await floor.start("s6")
        await floor.settle(60_000)
        assert await intents(floor, "EXIT") == 3
        assert len(told_of(floor, "ORDER_RETRY_EXHAUSTED")) == 1

        # A person who asks again is heard again.
        move_coins(floor, "0.00999")
        again = await floor.call("s6", "POST", "/positions/close", CLOSE)
        await floor.settle(10_000)
        assert again.status == 200
        assert (await floor.trade()).status is TradeStatus.CLOSED
        last = await floor.world.documents.get(INTENTS, "E1-EXIT-4")
        assert last is not None
        assert last.state is IntentState.DONE
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_a_person_who_is_faster_than_a_guard_ends_it_and_what_he_buys_back_is_his() -> None:
    """The price falls through the stop while the coins are sold by hand: the guard finds nothing, none follows."""

    async def scenario() -> None:
        timeline, floor = await begin()
        intent = entry(floor, "E1", key=SPOT, qty="0.010", sl="59400", guarded=True)
        await reserve(floor, intent)
        await floor.call("s4", "POST", "/orders", intent)
        await floor.settle(5_000)
        await floor.by_hand("web_1", Side.SELL, "0.00999", market=Market.SPOT)
        await floor.move("59000", settle_ms=1_000)
        await floor.settle(15_000)
        tried = await intents(floor, "GUARD")
        trade = await floor.trade()
        assert trade.status is TradeStatus.CLOSED
        last = await floor.world.documents.get(INTENTS, f"E1-GUARD-{tried}")
        assert last is not None
        assert last.created_at <= (trade.updated_at or 0)

        await floor.by_hand("web_2", Side.BUY, "0.005", market=Market.SPOT)
        await floor.settle(120_000)
        assert await intents(floor, "GUARD") == tried
        assert await btc(floor) == D("0.004995")
        timeline.check("at the end")
        await floor.stop()

    run_virtual(scenario())


def test_killed_at_any_step_it_ends_the_same() -> None:
    """Also between the sale on file and the end of the guard that watched those coins."""

    labels = steps_of("sold by hand")
    kills = [Kill("sold by hand", step, "still") for step in range(1, len(labels) + 1)]

    assert len(kills) > 20
    assert [found for kill in kills if (found := broken_by(kill))] == []
