"""The trial of the dead-man switch, at a real server of ours: what it sees, what it keeps, that it leaves nothing."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.data_folder import DataFolderProblem, open_folder
from chimera.app.dead_man_trial import Trial, findings_of, try_dead_man
from chimera.app.findings import Level
from chimera.app.remote import reach
from chimera.app.sides import UpProblem
from chimera.contracts.documents import DeadManSeen
from chimera.contracts.enums import Market, OrderType, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S4Settings
from chimera.domain.execution.orders import NewOrder
from chimera.ports.venue import OutcomeUnknown, VenueUnavailable
from chimera.services.s04_router.dead_man import SEEN, SEEN_KEY
from tests.services.meddling import Meddled
from tests.venue_server.running import KEY, SECRET, RunningVenue, running_venue

GOOD = S4Settings(binance_key=SecretStr(KEY), binance_secret=SecretStr(SECRET))
FUT = InstrumentKey(Market.FUT, "BTCUSDT")
SPEED = 20.0


@asynccontextmanager
async def trial_at() -> AsyncIterator[tuple[Trial, Meddled, SqliteDocuments]]:
    async with running_venue(speed=SPEED) as running, AsyncExitStack() as stack:
        reached = await reach(running.url, None, GOOD, stack)
        venue = Meddled(reached.venue)
        documents = SqliteDocuments.in_loop()
        stack.push_async_callback(documents.close)
        yield Trial(venue=venue, symbol="BTCUSDT", clock=reached.clock), venue, documents


async def is_clean(venue: Any) -> bool:
    return not await venue.inner.open_orders([FUT]) and not await venue.inner.positions()


async def test_a_switch_that_spares_the_stop_is_kept_where_the_router_looks() -> None:
    async with trial_at() as (trial, venue, documents):
        (finding,) = await findings_of(trial, documents, "testnet")

        seen = await documents.get(SEEN, SEEN_KEY)
        assert finding.level is Level.OK, finding
        assert seen is not None
        assert (seen.venue, seen.seen_at > 0) == ("testnet", True)
        assert await is_clean(venue)


async def test_a_switch_that_takes_the_stop_too_is_bad_and_what_was_kept_is_gone() -> None:
    async with trial_at() as (trial, venue, documents):
        await documents.put(SEEN, DeadManSeen(venue="testnet", seen_at=1, updated_at=1))
        stops: list[str] = []

        async def place(call: Any, order: NewOrder) -> Any:
            if order.conditional:
                stops.append(order.client_order_id)
            return await call(order)

        async def takes_all(call: Any, symbol: str, countdown_ms: int) -> None:
            await call(symbol, countdown_ms)
            for stop in stops if countdown_ms else ():
                await venue.inner.cancel(FUT, stop, conditional=True)

        venue.instead |= {"place": place, "cancel_all_after": takes_all}

        (finding,) = await findings_of(trial, documents, "testnet")

        assert (finding.level, "takes conditional orders" in finding.found) == (Level.BAD, True)
        assert await documents.get(SEEN, SEEN_KEY) is None
        assert await is_clean(venue)


async def does_nothing(call: Any, symbol: str, countdown_ms: int) -> None:
    pass


async def refuses(call: Any, symbol: str, countdown_ms: int) -> None:
    raise VenueUnavailable("not served")


async def loses_the_answer(call: Any, symbol: str, countdown_ms: int) -> None:
    await call(symbol, countdown_ms)
    raise OutcomeUnknown("lost")


@pytest.mark.parametrize(
    ("switch", "says"), [(does_nothing, "still rests"), (refuses, "not served"), (loses_the_answer, "lost")]
)
async def test_a_switch_that_does_not_work_proves_nothing_and_leaves_nothing(switch: Any, says: str) -> None:
    async with trial_at() as (trial, venue, documents):
        venue.instead["cancel_all_after"] = switch

        (finding,) = await findings_of(trial, documents, "testnet")

        assert (finding.level, says in finding.found) == (Level.BAD, True), finding
        assert finding.remedy
        assert await documents.get(SEEN, SEEN_KEY) is None
        assert await is_clean(venue)


async def test_without_a_stop_there_is_no_proof() -> None:
    async with trial_at() as (trial, venue, documents):

        async def place(call: Any, order: NewOrder) -> Any:
            if order.conditional:
                raise VenueUnavailable("no stops now")
            return await call(order)

        venue.instead["place"] = place
        (finding,) = await findings_of(trial, documents, "testnet")

        assert finding.level is Level.BAD
        assert await documents.get(SEEN, SEEN_KEY) is None
        assert await is_clean(venue)


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (
            NewOrder(
                client_order_id="mine",
                market=Market.FUT,
                symbol="BTCUSDT",
                side=Side.BUY,
                type=OrderType.STOP_MARKET,
                qty=Decimal("0.01"),
                stop_price=Decimal(200_000),
            ),
            "orders are open",
        ),
        (
            NewOrder(
                client_order_id="mine",
                market=Market.FUT,
                symbol="BTCUSDT",
                side=Side.BUY,
                type=OrderType.MARKET,
                qty=Decimal("0.01"),
            ),
            "a position is open",
        ),
    ],
    ids=["order", "position"],
)
async def test_nothing_is_tried_where_somebody_has_something_open(order: NewOrder, says: str) -> None:
    async with trial_at() as (trial, venue, documents):
        await venue.inner.place(order)
        sent: list[str] = []

        async def noted(call: Any, *args: Any, **named: Any) -> Any:
            sent.append(str(args))
            return await call(*args, **named)

        venue.instead |= {"place": noted, "cancel_all_after": noted, "cancel": noted}
        (finding,) = await findings_of(trial, documents, "testnet")

        assert (finding.level, says in finding.found) == (Level.BAD, True), finding
        assert sent == []


async def test_a_symbol_that_is_not_listed_is_named() -> None:
    async with trial_at() as (trial, venue, documents):
        other = Trial(venue=venue, symbol="DOGEUSDT", clock=trial.clock)
        (finding,) = await findings_of(other, documents, "testnet")

        assert (finding.level, "FUT:DOGEUSDT" in finding.found) == (Level.BAD, True)


# --- by the command


async def begun(data: Path) -> None:
    """A system was started there before, and does not run."""
    folder = open_folder(data)
    await SqliteDocuments.in_thread(folder.documents).close()
    folder.close()


async def kept(data: Path) -> DeadManSeen | None:
    documents = SqliteDocuments.in_thread(data / "documents.sqlite")
    try:
        return await documents.get(SEEN, SEEN_KEY)
    finally:
        await documents.close()


async def doctor(running: RunningVenue, data: Path, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chimera", "doctor", "--data", str(data), "--symbols", "BTCUSDT", *words),
        env={**os.environ, "S4_BINANCE_KEY": KEY, "S4_BINANCE_SECRET": SECRET},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_doctor_tries_it_when_it_is_told_to_and_only_then(tmp_path: Path) -> None:
    await begun(tmp_path)
    async with running_venue(speed=SPEED) as running:
        looked = await doctor(running, tmp_path, "--venue", running.url, "--json")
        assert "dead-man" not in looked[1]
        assert await kept(tmp_path) is None

        _, out, err = await doctor(running, tmp_path, "--venue", running.url, "--dead-man", "BTCUSDT", "--json")
        orders = (await running.signed("GET", "/fapi/v1/openOrders")).body
        algos = (await running.signed("GET", "/fapi/v1/openAlgoOrders")).body

    (finding,) = [each for each in json.loads(out) if each["what"] == "dead-man switch"]
    assert finding["level"] == "ok", (finding, err)
    seen = await kept(tmp_path)
    assert seen is not None
    assert seen.venue == "local"
    assert (orders, algos) == ([], [])


@pytest.mark.parametrize("words", [(), ("--venue", "sim"), ("--venue", "paper")])
async def test_the_doctor_needs_an_exchange_to_try_it_at(tmp_path: Path, words: tuple[str, ...]) -> None:
    async with running_venue() as running:
        code, _, err = await doctor(running, tmp_path, "--dead-man", "BTCUSDT", *words)

    assert code == 2
    assert "--venue testnet" in err


async def test_real_money_is_not_tried_with(tmp_path: Path) -> None:
    await begun(tmp_path)
    with pytest.raises(UpProblem, match="--venue testnet"):
        await try_dead_man("live", "BTCUSDT", tmp_path, GOOD)


async def test_a_folder_that_is_new_or_in_use_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    with pytest.raises(DataFolderProblem, match="Start it once"):
        await try_dead_man(nowhere, "BTCUSDT", tmp_path / "new", GOOD)
    assert not (tmp_path / "new").exists()

    await begun(tmp_path / "used")
    folder = open_folder(tmp_path / "used")
    try:
        with pytest.raises(DataFolderProblem, match="while the system does not run"):
            await try_dead_man(nowhere, "BTCUSDT", tmp_path / "used", GOOD)
    finally:
        folder.close()
