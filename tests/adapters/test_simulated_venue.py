"""The simulated exchange in process: the same market after a restart, durable before told, refusals in our words."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from chimera.adapters.clocks import LoopClock
from chimera.adapters.simulated_venue.feed import Tick
from chimera.adapters.simulated_venue.journal import FileJournal, JournalError, NoJournal
from chimera.adapters.simulated_venue.venue import SimulatedVenue, meaning
from chimera.app.simulated_market import Market, MarketPlan
from chimera.contracts.enums import Market as MarketKind
from chimera.contracts.enums import OrderStatus, OrderType, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.execution.orders import NewOrder, OrderUpdated
from chimera.domain.matching.account import StateRow
from chimera.domain.matching.exchange import Exchange
from chimera.domain.matching.refusals import Refusal
from chimera.ports.venue import (
    DuplicateOrder,
    InsufficientFunds,
    NothingToReduce,
    OutcomeUnknown,
    Refused,
    UnknownOrder,
    VenueUnavailable,
    WouldTake,
    WouldTrigger,
)
from chimera.simulation.loop import run_virtual

MINUTE_MS = 60_000
DAY_MS = 86_400_000
MIDNIGHT = 20_400 * DAY_MS
START = MIDNIGHT - 7 * MINUTE_MS
END = MIDNIGHT + 5 * MINUTE_MS
BTC = InstrumentKey(MarketKind.FUT, "BTCUSDT")


def market(ticks_per_minute: int = 4) -> Market:
    plan = MarketPlan.ending_at(
        ("BTCUSDT", "ETHUSDT"), seed=5, start_ms=START, end_ms=END, targets={"BTCUSDT": 65_400.0}
    )
    return Market.build(plan, None, ticks_per_minute=ticks_per_minute, end_ms=END)


def flat(symbol: str) -> Side | None:
    return None


def course(made: Market, after_ms: int) -> Iterator[Tick]:
    at = after_ms
    while (tick := made.ticker.next_after(at, flat)) is not None:
        at = tick.ts
        yield tick


def test_a_restart_at_any_tick_shows_the_same_market_from_there_on() -> None:
    whole = list(course(market(), START - 1))

    for position in range(0, len(whole), 3):
        rest = list(course(market(), whole[position].ts))
        assert rest == whole[position + 1 :], f"after {whole[position].ts}"


def test_a_bar_is_told_with_the_first_tick_after_it_closed() -> None:
    told = [(tick.ts, bar) for tick in course(market(), START - 1) for bar in tick.bars]

    assert told
    assert all(ts == bar.close_time for ts, bar in told)


def test_a_later_checkpoint_leads_to_the_same_market() -> None:
    first = market()
    plan = MarketPlan.ending_at(
        ("BTCUSDT", "ETHUSDT"), seed=5, start_ms=START, end_ms=END, targets={"BTCUSDT": 65_400.0}
    )
    whole = list(course(first, START - 1))
    checkpoint = first.checkpoint(END + 20 * DAY_MS) or first.checkpoint(END)

    again = Market.build(plan, checkpoint, ticks_per_minute=4, end_ms=END)

    assert list(course(again, START - 1)) == whole


def test_the_market_stands_at_its_target_when_the_warm_up_ends() -> None:
    *_, last = (tick for tick in course(market(), START - 1) if tick.books)
    bars = market().source.minutes(BTC, END - MINUTE_MS, END)

    assert last.ts < END
    assert float(bars.close[-1]) == pytest.approx(65_400.0, abs=0.1)


def buy(client_order_id: str, qty: str = "0.002") -> NewOrder:
    return NewOrder(
        client_order_id=client_order_id,
        market=MarketKind.FUT,
        symbol="BTCUSDT",
        side=Side.BUY,
        type=OrderType.MARKET,
        qty=Decimal(qty),
    )


def venue_on(journal: FileJournal | NoJournal, exchange: Exchange | None = None) -> SimulatedVenue:
    made = market()
    fresh = exchange or Exchange(
        made.rules, spot_balances={"USDT": Decimal(1_000)}, fut_balances={"USDT": Decimal(1_000)}
    )
    return SimulatedVenue(exchange=fresh, rules=made.rules, feed=made.ticker, clock=LoopClock(START), journal=journal)


def die(journal: FileJournal) -> None:
    """No close, no flush: the process is gone, and with it its hold on the folder."""
    os.close(journal._clock)


def test_what_was_told_is_found_again_by_another_process(tmp_path: Path) -> None:
    async def trade() -> None:
        journal = FileJournal(tmp_path)
        venue = venue_on(journal)
        venue.show_again(START)
        await venue.place(buy("a-1"))
        journal.mark_time(START + 5)
        die(journal)

    run_virtual(trade())
    found = FileJournal(tmp_path)
    exchange = Exchange.restore(market().rules, found.state())

    assert found.times_ms() == (START + 5, START)
    order = exchange.order(MarketKind.FUT, "BTCUSDT", "a-1")
    assert order is not None
    assert order.status is OrderStatus.FILLED
    assert [position.qty for position in exchange.positions()] == [Decimal("0.002")]


def test_a_trailing_stop_is_found_again_as_far_as_it_had_come(tmp_path: Path) -> None:
    async def trade() -> None:
        journal = FileJournal(tmp_path)
        venue = venue_on(journal)
        venue.show_again(START)
        await venue.place(buy("a-1"))
        trailing = NewOrder(
            client_order_id="trail",
            market=MarketKind.FUT,
            symbol="BTCUSDT",
            side=Side.SELL,
            type=OrderType.STOP_MARKET,
            qty=Decimal("0.002"),
            callback_ratio=Decimal("0.05"),
            reduce_only=True,
        )
        await venue.place(trailing)
        seen = venue.marks["BTCUSDT"]
        venue.apply(Tick(START + 1, (), (replace(seen, mark=seen.mark + 100),), ()))
        marks.append(seen.mark + 100)
        die(journal)

    marks: list[Decimal] = []
    run_virtual(trade())

    stored = FileJournal(tmp_path).state()["order"].values()
    assert [Decimal(row["extreme"]) for row in stored if row["client_order_id"] == "trail"] == marks


def test_what_could_not_be_written_is_not_answered_for_and_is_written_with_the_next(tmp_path: Path) -> None:
    async def trade() -> None:
        journal = FileJournal(tmp_path)
        venue = venue_on(journal)
        venue.show_again(START)
        somebody = sqlite3.connect(tmp_path / "venue.sqlite")
        somebody.execute("CREATE TRIGGER full BEFORE INSERT ON rows BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
        with pytest.raises(OutcomeUnknown, match="disk is full"):
            await venue.place(buy("a-1"))
        somebody.execute("DROP TRIGGER full")
        await venue.place(buy("a-2"))
        die(journal)

    run_virtual(trade())
    exchange = Exchange.restore(market().rules, FileJournal(tmp_path).state())

    assert [position.qty for position in exchange.positions()] == [Decimal("0.004")]


class WatchedJournal(NoJournal):
    """Counts the rows that were stored, so that a listener can see whether they were when it was told."""

    def __init__(self) -> None:
        self.stored: list[str] = []

    def commit(self, rows: Sequence[StateRow]) -> None:
        self.stored += [row.table for row in rows]


def test_a_change_is_in_the_journal_before_it_is_told() -> None:
    async def trade() -> None:
        journal = WatchedJournal()
        seen: list[tuple[object, int]] = []
        made = market()
        venue = SimulatedVenue(
            exchange=Exchange(made.rules, fut_balances={"USDT": Decimal(1_000)}),
            rules=made.rules,
            feed=made.ticker,
            clock=LoopClock(START),
            journal=journal,
            observe=lambda kind, change: seen.append((change, len(journal.stored))),
        )
        venue.show_again(START)
        await venue.place(buy("a-1"))

        assert any(isinstance(change, OrderUpdated) for change, _ in seen)
        assert all(stored > 0 for _, stored in seen)

    run_virtual(trade())


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (-2019, "Margin is insufficient.", InsufficientFunds),
        (-2010, "Account has insufficient balance for requested action.", InsufficientFunds),
        (-2021, "Order would immediately trigger.", WouldTrigger),
        (-2010, "Order would trigger immediately.", WouldTrigger),
        (-5022, "Due to the order could not be executed as maker", WouldTake),
        (-2010, "Order would immediately match and take.", WouldTake),
        (-2022, "ReduceOnly Order is rejected.", NothingToReduce),
        (-4116, "ClientOrderId is duplicated.", DuplicateOrder),
        (-2010, "Duplicate order sent.", DuplicateOrder),
        (-2011, "Unknown order sent.", UnknownOrder),
        (-4164, "Order's notional must be no smaller than 50", Refused),
    ],
)
def test_a_refusal_is_named_by_what_to_do_next(code: int, text: str, kind: type[Refused]) -> None:
    found = meaning(Refusal(code, text))

    assert type(found) is kind
    assert (found.code, found.text) == (code, text)


def test_an_exchange_that_is_down_changes_nothing() -> None:
    async def trade() -> None:
        venue = venue_on(NoJournal())
        venue.show_again(START)
        venue.set_down("maintenance")

        with pytest.raises(VenueUnavailable, match="maintenance"):
            await venue.place(buy("a-1"))
        venue.set_down(None)

        assert venue.exchange.order(MarketKind.FUT, "BTCUSDT", "a-1") is None

    run_virtual(trade())


def test_files_of_a_newer_version_are_refused_with_the_remedy(tmp_path: Path) -> None:

    FileJournal(tmp_path).close()
    with sqlite3.connect(tmp_path / "venue.sqlite") as db:
        db.execute("PRAGMA user_version=99")

    with pytest.raises(JournalError, match=r"newer version 99.*another --data"):
        FileJournal(tmp_path)


def test_a_folder_without_an_exchange_says_so(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="holds no exchange that ever ran"):
        FileJournal(tmp_path).times_ms()


def test_two_exchanges_never_run_on_one_account(tmp_path: Path) -> None:
    first = FileJournal(tmp_path)

    with pytest.raises(JournalError, match="in use by another process"):
        FileJournal(tmp_path)

    first.close()
    FileJournal(tmp_path).close()
