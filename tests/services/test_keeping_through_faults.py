"""Random trades in a random market while services die and the exchange goes away: in the end everything is settled.

Safety is asked for whenever all are there: what is open is covered by stops for exactly its quantity. In the end
everything is flat, nothing of ours rests, no budget is held, and the trades' results are the exchange's own.
"""

import random
from decimal import Decimal

import pytest

from chimera.contracts.collections import FILLS, SYSTEM_STATE, TRADES
from chimera.contracts.enums import Market, OrderType, Side, TradeStatus
from chimera.ports.documents import Query
from chimera.simulation.loop import run_virtual
from tests.services.test_s06_positions import venue_net
from tests.services.trading_floor import FUT, SPOT, Floor

D = Decimal
STEPS = 40
CRASHES = (("s6",), ("s5",), ("s4",), ("s1",), ("s4", "s6"), ("s4", "s5", "s6"))


def uncovered(floor: Floor) -> Decimal:
    """Open quantity less what listed stops would close; 0 is right, above is naked."""
    exchange = floor.venue.exchange
    stops = (order for order in exchange.open_conditional() if order.type is OrderType.STOP_MARKET)
    return abs(floor.position_qty()) - sum((order.qty - order.filled_qty for order in stops), D(0))


async def open_something(floor: Floor, name: str, price: int, chance: random.Random) -> None:
    key = chance.choice((FUT, FUT, SPOT))
    for status in TradeStatus:
        where = (("market", key.market.value), ("symbol", key.symbol), ("status", status.value))
        if status is not TradeStatus.CLOSED and await floor.world.documents.find(
            Query(collection=TRADES, index="by_instr", equal=where)
        ):
            return
    side = chance.choice((Side.BUY, Side.SELL)) if key is FUT else Side.BUY
    steps = D(chance.randint(1, 40)) / 1000 if key is FUT else D(chance.randint(20, 400)) / 100_000
    wants_target = key is SPOT or chance.random() < 0.8
    await floor.enter(
        name,
        side,
        str(steps),
        sl=str(price - side.sign * chance.randint(100, 600)),
        tp=str(price + side.sign * chance.randint(100, 900)) if wants_target else None,
        key=key,
    )


async def hurt(floor: Floor, price: int, chance: random.Random) -> None:
    """A crash of some services, or an outage of the exchange, while the market moves on."""
    after = str(round(price * (1 + chance.gauss(0, 0.003))))
    crash = chance.choice((*CRASHES, ()))
    if crash:
        await floor.stop(*crash)
        await floor.move(after)
        await floor.start(*crash)
    else:
        floor.venue.set_down("maintenance")
        await floor.move(after, settle_ms=chance.randint(500, 8_000))
        floor.venue.set_down(None)
    await floor.settle(15_000)


@pytest.mark.parametrize("seed", range(6))
def test_everything_is_settled_whatever_happened(seed: int) -> None:
    async def scenario() -> None:
        chance = random.Random(seed)
        floor = await Floor.open(usdt="100000")
        price = 60_000
        for step in range(STEPS):
            price = round(price * (1 + chance.gauss(0, 0.004)))
            await floor.move(str(price))
            # What the halts do is another test's business.
            await floor.world.documents.remove(SYSTEM_STATE, "halts")
            if chance.random() < 0.5:
                await open_something(floor, f"E{step}", price, chance)
            if seed % 3 and chance.random() < 0.2:
                await hurt(floor, price, chance)
            assert uncovered(floor) == 0, f"step {step}: {floor.resting()}"

        await floor.move(str(price + 6_000))
        await floor.move(str(price - 6_000))
        await floor.settle(65_000)

        documents = floor.world.documents
        trades = await documents.find(Query(collection=TRADES, index="by_time", at_least=0))
        assert [trade.trade_id for trade in trades if trade.status is not TradeStatus.CLOSED] == []
        net = sum((t.realized_pnl_usdt - t.fees_usdt + t.funding_usdt for t in trades if t.market is Market.FUT), D(0))
        exchange = floor.venue.exchange
        assert abs(net - venue_net(floor)) <= D("1e-8")
        assert floor.resting() == {}
        assert [(await floor.world.reservations.usage(market)).amount_usdt for market in Market] == [0, 0]
        assert await documents.count(FILLS) == sum(len(exchange.fills(market, "BTCUSDT")) for market in Market)
        await floor.stop()

    run_virtual(scenario())
