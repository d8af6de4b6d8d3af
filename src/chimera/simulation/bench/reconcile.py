"""How long a comparison with the exchange takes, with what it mends: S5 over the real router, in virtual time.

    alike       as many orders and fills as are asked for, at the exchange and on file, of one day; nothing differs
    repaired    the same with a share that differs, half of it fills that are not on file (their orders still open
                there), a quarter orders that rest under our name and nobody wants, a quarter stops without a position,
                and some orders more that are open on file and were canceled at the exchange
    pauses      what the second took on the exchange's clock: questions that it limits are asked with pauses
    reference   each fill and each order read from the documents by itself, which a comparison did before it read many
                at once

The time of a row is the processor's: the exchange is in the process, and waits cost nothing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from statistics import median

from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.objects import MemoryObjects
from chimera.adapters.simulated_venue.feed import Tick
from chimera.adapters.simulated_venue.journal import NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedVenue
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.blueprint import NoMarket
from chimera.app.worlds import one_process_world
from chimera.contracts.collections import FILLS, INSTRUMENT_REGISTRY, ORDERS
from chimera.contracts.documents import Fill, Order
from chimera.contracts.enums import Market, OrderStatus, OrderType, Purpose, ReconcileStatus, Side
from chimera.contracts.http import ReconcileAnswer
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import NewOrder, VenueFill, VenueOrder
from chimera.domain.market.listing import listed
from chimera.domain.market.quotes import BookTop, MarkPrice
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.rules import ExchangeRules
from chimera.ports.documents import Put
from chimera.ports.peers import PeerCall
from chimera.ports.world import World
from chimera.runtime.http import LocalPeers
from chimera.runtime.runner import Runner
from chimera.services.s01_exchange.handlers.instruments import Fees, document_of
from chimera.services.s04_router import service as s4
from chimera.services.s04_router.settings import Settings as RouterSettings
from chimera.services.s05_reconciler import service as s5
from chimera.services.s05_reconciler.handlers.reconcile import RECON
from chimera.services.s05_reconciler.settings import Settings as ReconcilerSettings
from chimera.simulation.bench.rows import BenchOptions, BenchRow
from chimera.simulation.loop import run_virtual

NAME = "reconcile"
ENV = "dev"
KEY = InstrumentKey(Market.FUT, "BTCUSDT")
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
BEGIN_MS = 20_000 * DAY_MS + HOUR_MS
MID = Decimal(60_000)
QTY = Decimal("0.001")
FEES = Fees(Decimal("0.0005"), Decimal("0.0002"))
DIFFERS_ONE_IN = 100
PUT_AT_ONCE = 1_000
GONE_MAX = 10
"""Orders that are open on file only: so many are asked for in one comparison, with pauses."""
LATER_MS = 10_000
"""The router has come up, and nothing is young any more."""


@dataclass(frozen=True, slots=True)
class _Run:
    alike_ns: int
    repaired_ns: int
    market_ms: int
    reference_ns: int
    planned: int
    mended: int


def bench(options: BenchOptions) -> list[BenchRow]:
    runs = [run_virtual(_one(options.recon_orders)) for _ in range(options.runs)]
    n = options.recon_orders

    def row(case: str, figure: Callable[[_Run], float]) -> BenchRow:
        return BenchRow(bench=NAME, case=case, n=n, p50_ms=median(figure(run) for run in runs))

    repaired = median(run.repaired_ns for run in runs)
    return [
        row("compared, nothing differs", lambda run: run.alike_ns / 1e6),
        BenchRow(
            bench=NAME,
            case=f"compared and repaired, one in {DIFFERS_ONE_IN} differs",
            n=n,
            p50_ms=repaired / 1e6,
            rate_per_s=n / (repaired / 1e9),
            success_ratio=median(run.mended / run.planned for run in runs),
        ),
        row("the same on the exchange's clock, with the pauses between questions", lambda run: run.market_ms),
        row("reference: each fill and order read by itself", lambda run: run.reference_ns / 1e6),
    ]


async def _one(orders: int) -> _Run:
    clock = LoopClock(BEGIN_MS)
    rules = ExchangeRules(instruments=(listed(KEY),))
    venue = SimulatedVenue(
        exchange=Exchange(rules, spot_balances={}, fut_balances={"USDT": Decimal(1_000_000)}),
        rules=rules,
        feed=NoMarket(),
        clock=clock,
        journal=NoJournal(),
    )
    documents, peers = SqliteDocuments.in_loop(), LocalPeers()
    world = one_process_world(
        clock=clock,
        randomness=SeededRandomness(1),
        documents=documents,
        venue=venue,
        factor_feed=None,
        objects=MemoryObjects(),
        peers=peers,
    )
    await documents.put(INSTRUMENT_REGISTRY, document_of(listed(KEY), None, BEGIN_MS, FEES))
    await _trade(venue, orders)
    fills = await venue.fills(KEY, 0)
    await _file(documents, fills)
    reference_ns = await _read_by_one(documents, fills)
    router = Runner(s4.build(world, RouterSettings(env=ENV, keys=(KEY,))), world, ENV)
    peers.add("s4", router.all_routes())
    await router.start()
    await clock.sleep_until_ms(clock.now_ms() + LATER_MS)
    reconciler = await _start_reconciler(world, peers)
    alike_ns, _, alike = await _reconcile(world, peers)
    assert alike.status is ReconcileStatus.OK, alike
    planned = await _differ(venue, documents, fills)
    # Where nothing is known of an earlier comparison it looks a day back.
    await reconciler.stop()
    await documents.remove(RECON, "recon")
    reconciler = await _start_reconciler(world, peers)
    repaired_ns, market_ms, repaired = await _reconcile(world, peers)
    _, _, again = await _reconcile(world, peers)
    await reconciler.stop()
    await router.stop()
    await documents.close()
    mended = len(repaired.actions) if again.status is ReconcileStatus.OK else 0
    return _Run(alike_ns, repaired_ns, market_ms, reference_ns, planned, mended)


async def _trade(venue: SimulatedVenue, orders: int) -> None:
    """Bought and sold in turn over the first 23 hours of a day, so that it ends flat."""
    for number in range(orders // 2 * 2):
        await venue.clock.sleep_until_ms(BEGIN_MS + number * (DAY_MS - HOUR_MS) // orders)
        venue.apply(_tick(venue.clock.now_ms()))
        await venue.place(
            NewOrder(
                client_order_id=f"s3-btc-{number}",
                market=KEY.market,
                symbol=KEY.symbol,
                side=Side.SELL if number % 2 else Side.BUY,
                type=OrderType.MARKET,
                qty=QTY,
            )
        )


def _tick(now_ms: int) -> Tick:
    levels = (
        tuple((MID - 1 - step, Decimal(50)) for step in range(3)),
        tuple((MID + 1 + step, Decimal(50)) for step in range(3)),
    )
    book = BookTop(ts=now_ms, market=KEY.market, symbol=KEY.symbol, bids=levels[0], asks=levels[1], last=MID)
    funding_at_ms = (now_ms // (8 * HOUR_MS) + 1) * 8 * HOUR_MS
    return Tick(now_ms, (book,), (MarkPrice(now_ms, KEY.symbol, MID, 0.0, funding_at_ms, 8),), ())


async def _file(documents: SqliteDocuments, fills: Sequence[VenueFill]) -> None:
    puts: list[Put[Order] | Put[Fill]] = []
    for fill in fills:
        puts += [Put(FILLS, _fill_of(fill)), Put(ORDERS, _order_of(fill, OrderStatus.FILLED))]
    for start in range(0, len(puts), PUT_AT_ONCE):
        await documents.put_many(puts[start : start + PUT_AT_ONCE])


def _fill_of(fill: VenueFill) -> Fill:
    return Fill(
        fill_id=fill.fill_id,
        order_id=fill.client_order_id,
        client_order_id=fill.client_order_id,
        market=fill.market,
        symbol=fill.symbol,
        side=fill.side,
        price=fill.price,
        qty=fill.qty,
        fee_usdt=fill.fee,
        fee_qty=fill.fee,
        fee_asset=fill.fee_asset,
        realized_pnl_usdt=fill.realized_pnl_usdt,
        maker=fill.maker,
        timestamp=fill.ts,
    )


def _order_of(fill: VenueFill, status: OrderStatus) -> Order:
    filled = status is OrderStatus.FILLED
    return Order(
        order_id=fill.client_order_id,
        client_order_id=fill.client_order_id,
        market=fill.market,
        symbol=fill.symbol,
        side=fill.side,
        type=OrderType.MARKET,
        reduce_only=False,
        quantity=fill.qty,
        status=status,
        rcu_rev=1,
        created_at=fill.ts,
        intent_id=f"I-{fill.client_order_id}",
        venue_order_id=fill.venue_order_id if filled else None,
        purpose=Purpose.EXIT,
        filled_qty=fill.qty if filled else Decimal(0),
        avg_price=fill.price if filled else None,
        sent_at=fill.ts,
        updated_at=fill.ts,
    )


async def _differ(venue: SimulatedVenue, documents: SqliteDocuments, fills: Sequence[VenueFill]) -> int:
    """How many things differ from now on."""
    share = max(4, len(fills) // DIFFERS_ONE_IN)
    lost = fills[:: max(1, len(fills) // (share // 2))][: share // 2]
    for fill in lost:
        await documents.remove(FILLS, fill.fill_id)
        await documents.put(ORDERS, _order_of(fill, OrderStatus.NEW))
    venue.apply(_tick(venue.clock.now_ms()))
    for number in range(share // 4):
        await venue.place(_resting(f"s3-btc-lost-{number}", OrderType.LIMIT, MID - 1_000 - number))
        await venue.place(_resting(f"s3-btc-stray-{number}", OrderType.STOP_MARKET, MID - 1_000 - number))
    names = [f"s3-btc-gone-{number}" for number in range(min(GONE_MAX, share // 10))]
    gone = [await venue.place(_resting(name, OrderType.LIMIT, MID - 2_000)) for name in names]
    for name in names:
        await venue.cancel(KEY, name, conditional=False)
    # Filed when the router has heard of all that: it would book them by what it hears.
    await venue.clock.sleep_until_ms(venue.clock.now_ms() + LATER_MS)
    await documents.put_many([Put(ORDERS, _open_on_file(order)) for order in gone])
    return len(lost) + share // 4 * 2 + len(gone)


def _open_on_file(order: VenueOrder) -> Order:
    return Order(
        order_id=order.client_order_id,
        client_order_id=order.client_order_id,
        market=order.market,
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        quantity=order.qty,
        price=order.price,
        status=OrderStatus.NEW,
        rcu_rev=1,
        created_at=order.created_at_ms,
        intent_id=f"I-{order.client_order_id}",
        venue_order_id=order.venue_order_id,
        purpose=Purpose.EXIT,
        filled_qty=Decimal(0),
        updated_at=order.created_at_ms,
    )


def _resting(name: str, type_: OrderType, price: Decimal) -> NewOrder:
    stop = type_ is OrderType.STOP_MARKET
    return NewOrder(
        client_order_id=name,
        market=KEY.market,
        symbol=KEY.symbol,
        side=Side.SELL if stop else Side.BUY,
        type=type_,
        qty=QTY,
        price=None if stop else price,
        stop_price=price if stop else None,
        reduce_only=stop,
    )


async def _read_by_one(documents: SqliteDocuments, fills: Sequence[VenueFill]) -> int:
    began_ns = time.perf_counter_ns()
    for fill in fills:
        assert await documents.get(FILLS, fill.fill_id) is not None
        assert await documents.get(ORDERS, fill.client_order_id) is not None
    return time.perf_counter_ns() - began_ns


async def _start_reconciler(world: World, peers: LocalPeers) -> Runner:
    """It does nothing by itself: the one comparison is the one that is asked for. Nobody keeps positions, as the
    account is flat here and there."""
    service = s5.build(world, ReconcilerSettings(env=ENV, keys=(KEY,)))
    runner = Runner(replace(service, background=(), consumes=()), world, ENV)
    peers.add("s5", runner.all_routes())
    await runner.start()
    return runner


async def _reconcile(world: World, peers: LocalPeers) -> tuple[int, int, ReconcileAnswer]:
    """How long it took, in ns of ours and in ms of the market."""
    began_ns, began_ms = time.perf_counter_ns(), world.clock.now_ms()
    answer = await peers.call(PeerCall("s5", "POST", "/reconcile", body={"scope": "ALL"}, actor="bench"))
    took_ns, took_ms = time.perf_counter_ns() - began_ns, world.clock.now_ms() - began_ms
    assert answer.ok, answer.body
    return took_ns, took_ms, ReconcileAnswer.model_validate(answer.body)
