"""Money between our two wallets: each transfer once, over a call of the exchange that moves it as often as it is sent.

Owns `treasury_transfers` from the moment the exchange is asked. The row is on disk before the call; a call without an
answer is looked up in the exchange's history, and only one that was never carried out is sent again. In one direction
there is one transfer at a time, so that two equal ones cannot be taken for each other.

    PENDING (sent_at) -> OK       answered, or found in the history
                      -> PENDING  again, when it was never carried out
                      -> FAIL     refused, over a limit, or never carried out and not to be repeated
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count

import structlog

from chimera.contracts.collections import TREASURY_TRANSFERS
from chimera.contracts.documents import TreasuryTransfer
from chimera.contracts.enums import EventKind, Market, Severity, TransferResult
from chimera.contracts.http.exchange import TransferAnswer, TransferRequest
from chimera.contracts.keys import LOCK_TREASURY
from chimera.contracts.messages import TransferEvent
from chimera.contracts.metrics import AlertCode
from chimera.contracts.settings import S1Settings
from chimera.contracts.streams import TREASURY_TRANSFERS as TRANSFERS_STREAM
from chimera.domain.execution.transfers import Next, Sought, matches, when_not_listed
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Query, RevisionConflict, Stored
from chimera.ports.errors import DependencyDown
from chimera.ports.state import Locks
from chimera.ports.venue import RateLimited, Refused, Venue, VenueError
from chimera.runtime.later import Later
from chimera.runtime.service import Problem, Reply, Request
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import DeadlinePassed, until

CALL_MS = 20_000
"""Shorter than the lock lives: whoever holds it next finds no call of ours in flight."""
LOCK_WAIT_MS = 5_000
LOCK_AGAIN_MS = 50
LOOK_EVERY_MS = 1_000
"""Between two looks into the exchange's history."""
DAY_MS = 86_400_000
CLAIMS_MS = 30 * DAY_MS
"""How long before a movement the transfer that it belongs to may have been asked for: an approval takes its time."""
UNTOLD_MS = 7 * DAY_MS
UNTOLD_MAX = 50
"""What ended lately is told after a restart where nobody knows that it was."""
DECIMALS = Decimal("1e-8")
_NAME = re.compile(r"[A-Za-z0-9_.:@+=-]{1,64}")

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Treasury:
    env: str
    owner: str
    """Of this process's locks; no other process has the same."""
    variables: S1Settings
    venue: Venue
    documents: Documents
    locks: Locks
    bus: Bus
    clock: Clock
    teller: Teller
    _later: Later[str] = field(init=False)
    _holders: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self._later = Later(self.clock)

    async def start(self) -> None:
        """Whatever was on its way is looked up, whatever ended untold is told; `follow` does it."""
        now_ms = self.clock.now_ms()
        for row in await self._with(TransferResult.PENDING):
            if row.sent_at is not None:
                self._later.at(row.transfer_id, now_ms)
        for result in (TransferResult.OK, TransferResult.FAIL):
            for row in await self._with(result, since_ms=now_ms - UNTOLD_MS, limit=UNTOLD_MAX):
                if row.told_at is None:
                    self._later.at(row.transfer_id, now_ms)

    async def follow(self) -> None:
        """Runs for ever."""
        await self._later.run(self._look_after)

    async def transfer(self, request: Request) -> Reply:
        """POST /xchg/treasury/transfer. PENDING: the exchange has not said; `treasury:transfers` tells the end."""
        wanted = self._wanted(request)
        known = await self.documents.get(TREASURY_TRANSFERS, wanted.transfer_id)
        if known is None or known.result is TransferResult.APPROVED:
            async with self._alone(wanted) as holder:
                row = await self._begin(wanted, holder)
        else:
            row = _same(known, wanted)
        return Reply(_answer(row))

    def _wanted(self, request: Request) -> TreasuryTransfer:
        asked: TransferRequest = request.body
        name = asked.transfer_id or request.idempotency_key
        if _NAME.fullmatch(name) is None:
            raise Problem(
                400,
                "malformed-body",
                f"transfer_id {name[:80]!r} names no transfer; give one of 1 to 64 letters, digits or _.:@+=-, "
                "or the header Idempotency-Key: asking again by the same name is safe",
            )
        if asked.from_market is asked.to_market:
            raise Problem(400, "malformed-body", f"from and to are both {asked.to_market.value}; name SPOT and FUT")
        if asked.amount_usdt != asked.amount_usdt.quantize(DECIMALS):
            raise Problem(
                400, "malformed-body", f"amount_usdt {asked.amount_usdt} has more than 8 decimals; the exchange has 8"
            )
        return TreasuryTransfer(
            transfer_id=name,
            from_market=asked.from_market,
            to_market=asked.to_market,
            amount_usdt=asked.amount_usdt,
            reason=asked.reason,
            result=TransferResult.PENDING,
            created_at=self.clock.now_ms(),
            requested_by=request.actor or "s1",
        )

    async def _begin(self, wanted: TreasuryTransfer, holder: str) -> TreasuryTransfer:
        stored = await self.documents.get_stored(TREASURY_TRANSFERS, wanted.transfer_id)
        row = wanted
        if stored is not None:
            row = _same(stored.doc, wanted)
            if row.result is not TransferResult.APPROVED:
                return row
        refusal = await self._over_a_limit(row)
        if refusal is not None:
            ended = await self._write(stored, self._ended(row, TransferResult.FAIL, refusal))
            return await self._told(ended)
        await self._settle_earlier(row, holder)
        return await self._send(stored, row.but(result=TransferResult.PENDING), holder)

    async def _over_a_limit(self, row: TreasuryTransfer) -> str | None:
        """Why it may not be; in words."""
        way = f"{row.from_market.value}:{row.to_market.value}"
        if not self.venue.capabilities.transfers:
            return f"{self.venue.name} moves no money through its API; move it by hand at the exchange"
        if way not in self.variables.transfer_directions:
            return f"{way} is not among S1_TRANSFER_DIRECTIONS"
        if row.amount_usdt > self.variables.transfer_usdt_max:
            return f"{row.amount_usdt} USDT is more than S1_TRANSFER_USDT_MAX, {self.variables.transfer_usdt_max}"
        now_ms = self.clock.now_ms()
        today_ms = now_ms - now_ms % DAY_MS
        moved = sum(
            (
                other.amount_usdt
                for other in await self._one_way(row, since_ms=today_ms - CLAIMS_MS)
                if other.result in (TransferResult.OK, TransferResult.PENDING) and (other.sent_at or 0) >= today_ms
            ),
            Decimal(0),
        )
        if moved + row.amount_usdt > self.variables.transfer_day_usdt_max:
            return (
                f"{moved} USDT went {way} today; {row.amount_usdt} more is over S1_TRANSFER_DAY_USDT_MAX,"
                f" {self.variables.transfer_day_usdt_max}"
            )
        return None

    async def _settle_earlier(self, row: TreasuryTransfer, holder: str) -> None:
        """
        Raises:
            Problem: 503, what became of an earlier transfer of this direction is not known yet.
        """
        for other in await self._with(TransferResult.PENDING):
            if other.sent_at is None or (other.from_market, other.to_market) != (row.from_market, row.to_market):
                continue
            settled = await self._settle(other.transfer_id, holder)
            if settled is not None and settled.result is TransferResult.PENDING:
                raise Problem(
                    503,
                    "transfer-open",
                    f"the exchange has not said what became of transfer {other.transfer_id}; try again in"
                    f" {(CALL_MS + self.variables.transfer_settle_ms) // 1_000} s",
                )

    # --- asking the exchange

    async def _send(
        self, before: Stored[TreasuryTransfer] | None, row: TreasuryTransfer, holder: str
    ) -> TreasuryTransfer:
        """One more try."""
        server_ms = await self.venue.server_time_ms()
        if not await self.locks.renew(self._lock(row), holder, ttl_ms=_LOCK_TTL_MS):
            raise _busy(row)
        row = row.but(
            sent_at=row.sent_at or server_ms,
            tried_at=server_ms,
            tries=(row.tries or 0) + 1,
            updated_at=self.clock.now_ms(),
        )
        sent = await self._write(before, row)
        self._look_later(row)
        why: Exception
        try:
            tran_id = await until(
                self.clock,
                self.clock.now_ms() + self.clock.work_ms(CALL_MS),
                self.venue.transfer(row.from_market, row.to_market, row.amount_usdt),
            )
        except Refused as refused:
            why = refused
            if row.tries == 1:
                return await self._told(await self._write(sent, self._ended(row, TransferResult.FAIL, str(refused))))
        except (VenueError, DeadlinePassed) as failed:
            why = failed
        else:
            return await self._told(await self._write(sent, self._moved(row, tran_id)))
        noted = row.but(message=str(why) or "no answer in time", updated_at=self.clock.now_ms())
        return (await self._write(sent, noted)).doc

    async def _settle(self, transfer_id: str, holder: str) -> TreasuryTransfer | None:
        """Look at one that is on its way, or that ended and was not told. None: there is nothing (more) to do."""
        stored = await self.documents.get_stored(TREASURY_TRANSFERS, transfer_id)
        if stored is None:
            return None
        row = stored.doc
        if row.result in (TransferResult.OK, TransferResult.FAIL) and row.told_at is None:
            return await self._told(stored)
        if row.result is not TransferResult.PENDING or row.sent_at is None:
            return None
        sought = self._sought(row, row.sent_at)
        now_ms = await self.venue.server_time_ms()
        history = await self.venue.transfers(sought.listed_from_ms)
        found = matches(sought, history, await self._claimed_by_others(row))
        if found:
            ended = await self._told(await self._write(stored, self._moved(row, found[0].tran_id)))
            if sought.tries > 1 and len(found) > 1:
                await self._moved_twice(row, found[1].tran_id)
            return ended
        match when_not_listed(
            sought,
            now_ms,
            repeats=self.variables.transfer_repeats,
            repeat_within_ms=self.clock.work_ms(self.variables.transfer_repeat_within_ms),
        ):
            case Next.WAIT:
                return row
            case Next.REPEAT:
                return await self._send(stored, row, holder)
            case Next.GIVE_UP:
                why = f"the exchange lists no such movement after {sought.tries} tries: {row.message or 'no answer'}"
                return await self._told(await self._write(stored, self._ended(row, TransferResult.FAIL, why)))

    def _sought(self, row: TreasuryTransfer, sent_at: int) -> Sought:
        return Sought(
            source=row.from_market,
            target=row.to_market,
            amount_usdt=row.amount_usdt,
            first_ms=sent_at,
            last_ms=row.tried_at or sent_at,
            tries=row.tries or 1,
            settle_ms=self.clock.work_ms(CALL_MS + self.variables.transfer_settle_ms),
        )

    async def _claimed_by_others(self, row: TreasuryTransfer) -> set[int]:
        rows = await self._one_way(row, since_ms=(row.sent_at or 0) - CLAIMS_MS)
        return {int(other.tx_id) for other in rows if other.tx_id and other.transfer_id != row.transfer_id}

    async def _look_after(self, transfer_id: str) -> None:
        try:
            row = await self.documents.get(TREASURY_TRANSFERS, transfer_id)
            if row is None:
                return
            async with self._alone(row) as holder:
                settled = await self._settle(transfer_id, holder)
        except (VenueError, DependencyDown, Problem) as why:
            log.warning("a transfer cannot be settled yet", transfer_id=transfer_id, why=str(why))
            wait_ms = why.retry_after_ms if isinstance(why, RateLimited) else LOOK_EVERY_MS
            self._later.at(transfer_id, self.clock.now_ms() + self.clock.work_ms(max(wait_ms, LOOK_EVERY_MS)))
            return
        if settled is not None and (settled.result is TransferResult.PENDING or settled.told_at is None):
            self._look_later(settled)

    def _look_later(self, row: TreasuryTransfer) -> None:
        self._later.at(row.transfer_id, self.clock.now_ms() + self.clock.work_ms(LOOK_EVERY_MS))

    # --- the row and what is told of it

    def _moved(self, row: TreasuryTransfer, tran_id: int) -> TreasuryTransfer:
        return self._ended(row, TransferResult.OK, None).but(tx_id=str(tran_id))

    def _ended(self, row: TreasuryTransfer, result: TransferResult, why: str | None) -> TreasuryTransfer:
        return row.but(result=result, message=why, updated_at=self.clock.now_ms())

    async def _write(self, before: Stored[TreasuryTransfer] | None, row: TreasuryTransfer) -> Stored[TreasuryTransfer]:
        """
        Raises:
            Problem: 409, somebody else has changed it: whoever did goes on with it.
        """
        try:
            if before is None:
                return Stored(row, await self.documents.insert(TREASURY_TRANSFERS, row))
            return Stored(row, await self.documents.replace(TREASURY_TRANSFERS, row, rev=before.rev))
        except (DuplicateKey, RevisionConflict) as changed:
            raise Problem(
                409, "changed-meanwhile", f"transfer {row.transfer_id} is worked on by somebody else; ask again"
            ) from changed

    async def _told(self, ended: Stored[TreasuryTransfer]) -> TreasuryTransfer:
        """On file it is; what cannot be told now is told later."""
        row = ended.doc
        try:
            await self._tell(row)
            told = row.but(told_at=self.clock.now_ms())
            await self._write(ended, told)
        except (DependencyDown, Problem) as why:
            log.warning("a transfer ended and could not be told", transfer_id=row.transfer_id, why=str(why))
            self._look_later(row)
            return row
        self._later.forget(row.transfer_id)
        return told

    async def _tell(self, row: TreasuryTransfer) -> None:
        await self.bus.publish(
            TRANSFERS_STREAM.name(self.env),
            TransferEvent(
                ts=row.updated_at or row.created_at,
                transfer_id=row.transfer_id,
                from_market=row.from_market,
                to_market=row.to_market,
                amount_usdt=row.amount_usdt,
                reason=row.reason,
                result=row.result,
            ),
        )
        await self.teller.event(EventKind.TRANSFER, None, row.transfer_id, **row.to_dict())
        await self.teller.audit(row.requested_by or "s1", "TRANSFER", row.transfer_id, None, row.to_dict())

    async def _moved_twice(self, row: TreasuryTransfer, tran_id: int) -> None:
        await self.teller.alert(
            AlertCode.RECON_FAILED,
            Severity.ERROR,
            f"transfer {row.transfer_id} of {row.amount_usdt} USDT from {row.from_market.value} to"
            f" {row.to_market.value} was repeated, and both were carried out: move {tran_id} back, or leave it;"
            " S1_TRANSFER_SETTLE_MS is too short for this exchange",
            transfer_id=row.transfer_id,
        )

    async def _with(
        self, result: TransferResult, *, since_ms: int | None = None, limit: int | None = None
    ) -> list[TreasuryTransfer]:
        """Oldest first, the newest `limit`."""
        rows = await self.documents.find(
            Query(
                collection=TREASURY_TRANSFERS,
                index="by_result",
                equal=(("result", result.value),),
                at_least=since_ms,
                descending=True,
                limit=limit,
            )
        )
        return list(reversed(rows))

    async def _one_way(self, row: TreasuryTransfer, *, since_ms: int) -> list[TreasuryTransfer]:
        return list(
            await self.documents.find(
                Query(
                    collection=TREASURY_TRANSFERS,
                    index="by_dir",
                    equal=(("from", row.from_market.value), ("to", row.to_market.value)),
                    at_least=since_ms,
                )
            )
        )

    # --- one at a time

    @asynccontextmanager
    async def _alone(self, row: TreasuryTransfer) -> AsyncIterator[str]:
        """Nobody else works on this direction; what is given is the holder's name.

        Raises:
            Problem: 503, somebody does for long.
        """
        lock, holder = self._lock(row), f"{self.owner}-{next(self._holders)}"
        deadline_ms = self.clock.now_ms() + self.clock.work_ms(LOCK_WAIT_MS)
        while await self.locks.acquire(lock, holder, ttl_ms=_LOCK_TTL_MS) is None:
            if self.clock.now_ms() >= deadline_ms:
                raise _busy(row)
            await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(LOCK_AGAIN_MS))
        try:
            yield holder
        finally:
            with suppress(DependencyDown):  # it ends by itself
                await self.locks.release(lock, holder)

    def _lock(self, row: TreasuryTransfer) -> str:
        return LOCK_TREASURY.name(self.env, row.from_market.value, row.to_market.value)


_LOCK_TTL_MS = (LOCK_TREASURY.ttl_s or 0) * 1_000
assert _LOCK_TTL_MS > CALL_MS, "a call in flight holds the lock to its end"


def _same(known: TreasuryTransfer, wanted: TreasuryTransfer) -> TreasuryTransfer:
    """
    Returns: the known one.

    Raises:
        Problem: 409, the name belongs to another transfer.
    """
    if _content(known) != _content(wanted):
        raise Problem(
            409,
            "transfer-id-taken",
            f"transfer {known.transfer_id} is {known.amount_usdt} USDT from {known.from_market.value} to"
            f" {known.to_market.value} for {known.reason}; give another transfer another id",
        )
    return known


def _busy(row: TreasuryTransfer) -> Problem:
    way = f"{row.from_market.value} to {row.to_market.value}"
    return Problem(503, "transfer-open", f"another transfer from {way} is under way; try again")


def _content(row: TreasuryTransfer) -> tuple[Market, Market, Decimal, str]:
    return row.from_market, row.to_market, row.amount_usdt, row.reason


def _answer(row: TreasuryTransfer) -> TransferAnswer:
    message = row.message
    if row.result is TransferResult.PENDING:
        message = (
            "waits for approval" if row.sent_at is None else f"the exchange has not said yet: {message or 'asked'}"
        )
    return TransferAnswer(transfer_id=row.transfer_id, result=row.result, message=message)
