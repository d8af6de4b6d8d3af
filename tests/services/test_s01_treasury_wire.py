"""S1 over the connector to an exchange of its own process: an answer lost on the wire moves money once."""

from decimal import Decimal
from typing import Any

from chimera.adapters.binance.hosts import local
from chimera.adapters.binance.signing import HmacSigner
from chimera.adapters.binance.venue import create_venue
from chimera.adapters.chance import SeededRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.memory.bus import MemoryBus
from chimera.adapters.memory.state import MemoryLocks
from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import TREASURY_TRANSFERS
from chimera.contracts.enums import Market, TransferResult
from chimera.contracts.http.exchange import TransferRequest
from chimera.contracts.settings import S1Settings
from chimera.runtime.service import Request
from chimera.runtime.telling import Teller
from chimera.services.s01_exchange.handlers.treasury import Treasury
from tests.services.trading_floor import ENV
from tests.venue_server.running import KEY, SECRET, RunningVenue, running_venue


async def arm(venue: RunningVenue, **fault: Any) -> None:
    async with venue.session.post(f"{venue.url}/admin/faults", json=[fault]) as response:
        assert response.status == 200, await response.text()


async def test_an_answer_lost_on_the_wire_moves_money_once() -> None:
    async with running_venue(still=True) as running:
        clock = LoopClock(running.now_ms)
        signer = HmacSigner(KEY, SECRET)
        venue = create_venue(
            name="local",
            hosts=local(running.url),
            clock=clock,
            randomness=SeededRandomness(1),
            snapshots=None,
            signer_futures=signer,
            signer_spot=signer,
        )
        bus, documents = MemoryBus(clock), SqliteDocuments.in_loop()
        treasury = Treasury(
            env=ENV,
            owner="s1-test",
            variables=S1Settings(),
            venue=venue,
            documents=documents,
            locks=MemoryLocks(clock),
            bus=bus,
            clock=clock,
            teller=Teller(source="s1", env=ENV, bus=bus, documents=documents, clock=clock),
        )
        answers: list[Any] = []
        try:
            await arm(running, kind="TRANSFER_ANSWER_LOST", params={"how": "reset"})
            for name in ("T1", "T2"):
                wanted = TransferRequest(
                    transfer_id=name, from_market=Market.SPOT, to_market=Market.FUT, amount_usdt=Decimal("12.34")
                )
                answers.append(await treasury.transfer(Request(wanted, actor="ada")))
            rows = [await documents.get(TREASURY_TRANSFERS, name) for name in ("T1", "T2")]
        finally:
            await venue.close()
        moved = running.venue.floor.exchange.transfers()

    assert [answer.body.result for answer in answers] == [TransferResult.PENDING, TransferResult.OK]
    assert [row and (row.result, row.tries) for row in rows] == [(TransferResult.OK, 1)] * 2
    assert [row and row.tx_id for row in rows] == [str(each.tran_id) for each in moved]
