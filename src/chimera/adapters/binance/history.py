"""Reading what the exchange hands out in pages, without a gap and without a double."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from chimera.adapters.binance.parse_futures import bar_of
from chimera.contracts.enums import Market
from chimera.domain.market.quotes import INTERVAL_MS, Bar

Rows = Sequence[dict[str, Any]]

TRADES_MAX = 1_000
INCOME_MAX = 1_000
ORDERS_MAX = 1_000
ASKED_ONE_BY_ONE = 5
"""Orders whose names we lack; of more, the list is read."""


async def trades_since(
    between: Callable[[int, int], Awaitable[Rows]],
    from_id: Callable[[int], Awaitable[Rows]],
    *,
    since_ms: int,
    now_ms: int,
    window_ms: int,
) -> list[dict[str, Any]]:
    """Trades from `since_ms` on, by id.

    The exchange looks for a time within one window only, and by id from there on without end: so windows are tried
    until one holds a trade, and the rest is read by id.
    """
    first: Rows = ()
    start_ms = since_ms
    while not first and start_ms <= now_ms:
        first = await between(start_ms, start_ms + window_ms - 1)
        start_ms += window_ms
    by_id = {int(row["id"]): row for row in first}
    page: Rows = first
    if len(first) < TRADES_MAX and start_ms > now_ms:
        page = ()
    while page:
        page = await from_id(max(by_id) + 1)
        by_id.update((int(row["id"]), row) for row in page)
        if len(page) < TRADES_MAX:
            break
    return [by_id[number] for number in sorted(by_id) if int(by_id[number]["time"]) >= since_ms]


async def orders_between(page_of: Callable[[int], Awaitable[Rows]], first_id: int, last_id: int) -> list[Rows]:
    """Pages of orders by number; `page_of(from_id)` answers those from `from_id` on."""
    pages: list[Rows] = []
    from_id = first_id
    while from_id <= last_id:
        page = await page_of(from_id)
        pages.append(page)
        if len(page) < ORDERS_MAX:
            break
        from_id = max(int(row["orderId"]) for row in page) + 1
    return pages


async def income_since(
    page_of: Callable[[int, int, int], Awaitable[Rows]], *, since_ms: int, now_ms: int, window_ms: int
) -> list[dict[str, Any]]:
    """Ledger rows from `since_ms` on, oldest first. `page_of(start_ms, end_ms, page)` answers rows by time.

    A row is known by its kind, number, symbol and asset: a number is unique within a kind only.
    """
    rows: dict[tuple[str, str, str, str], dict[str, Any]] = {}
    for window_at_ms in range(since_ms, now_ms + 1, window_ms):
        start_ms, end_ms, page = window_at_ms, window_at_ms + window_ms - 1, 1
        while True:
            answer = await page_of(start_ms, end_ms, page)
            for row in answer:
                rows[str(row["incomeType"]), str(row["tranId"]), str(row.get("symbol")), str(row["asset"])] = row
            if len(answer) < INCOME_MAX:
                break
            newest_ms = max(int(row["time"]) for row in answer)
            # More rows in one millisecond than a page holds: turn the page instead of the time.
            start_ms, page = (newest_ms, 1) if newest_ms > start_ms else (start_ms, page + 1)
    return sorted(rows.values(), key=lambda row: int(row["time"]))


async def closed_bars(
    page_of: Callable[[int, int], Awaitable[Sequence[Sequence[Any]]]],
    market: Market,
    symbol: str,
    interval: str,
    *,
    start_ms: int,
    end_ms: int,
    now_ms: Callable[[], int],
    page_max: int,
) -> list[Bar]:
    """Closed bars with start_ms <= open_time < end_ms. The last row of an answer is usually still open."""
    bars: list[Bar] = []
    step_ms = INTERVAL_MS[interval]
    cursor_ms = start_ms
    while cursor_ms < end_ms:
        rows = await page_of(cursor_ms, end_ms - 1)
        for row in rows:
            bar = bar_of(market, symbol, interval, row)
            if cursor_ms <= bar.open_time < end_ms and bar.close_time <= now_ms():
                bars.append(bar)
        if len(rows) < page_max:
            break
        cursor_ms = int(rows[-1][0]) + step_ms
    return bars
