"""The account: balances and settled funding, told as they change and asked for in case a change was not told.

Owns `wallet:*`, the balances on file and the funding records. A settlement is booked once, whoever tells it first: its
key is the symbol and the time it was due.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from chimera.contracts.collections import BALANCES_SNAPSHOTS, FUNDING_RECORDS
from chimera.contracts.documents import BalanceSnapshot, FundingRecord
from chimera.contracts.enums import FundingKind, Market, Severity
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.keys import WALLET_FUT, WALLET_SPOT
from chimera.contracts.messages import AccountEvent, FundingEvent
from chimera.contracts.metrics import AlertCode
from chimera.contracts.streams import ACCT_EVENTS, MKT_FUNDING
from chimera.domain.exact import exact
from chimera.domain.execution.orders import (
    Balance,
    BalancesChanged,
    FundingSettled,
    Income,
    IncomeKind,
    StreamReset,
)
from chimera.ports.bus import Bus
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, DuplicateKey, Put, Query
from chimera.ports.state import Snapshots
from chimera.ports.venue import KeyRefused, RateLimited, Venue, VenueUnavailable
from chimera.runtime.telling import Teller
from chimera.services.s01_exchange.handlers.marks import Marks

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
BOOKED_WITHIN_MS = 15_000
"""A settlement is booked some ms after the full hour, in a busy market some seconds."""
LEDGER_EVERY_MS = 600_000
"""Market time between two looks into the income ledger; the stream usually tells a settlement first."""
FIRST_LEDGER_MS = 7 * DAY_MS
"""How far back an account that we have never seen is read: the span of the exchange's own answer."""

log = structlog.get_logger(__name__)


def funding_time_of(income: Income) -> int:
    """When the settlement was due: as the ledger says, else the full hour where it was booked near one. An exchange
    that settles at another moment settled then."""
    if len(income.detail) == 13 and income.detail.isdecimal():
        return int(income.detail)
    hour_ms = (income.ts + HOUR_MS // 2) // HOUR_MS * HOUR_MS
    return hour_ms if abs(income.ts - hour_ms) <= BOOKED_WITHIN_MS else income.ts


@dataclass(slots=True, kw_only=True)
class Account:
    env: str
    symbols: frozenset[str]
    """Perpetuals that are watched: only their settlements are told."""
    snapshot_ms: int
    venue: Venue
    documents: Documents
    bus: Bus
    snapshots: Snapshots
    clock: Clock
    marks: Marks
    teller: Teller
    _told: dict[tuple[Market, str], Balance] = field(default_factory=dict)
    _changes: int = 0
    _full_at_ms: int = 0
    _ledger_at_ms: int = 0
    _ledger_since_ms: int = 0
    _wallets: dict[Market, str] = field(init=False)

    def __post_init__(self) -> None:
        self._wallets = {Market.SPOT: WALLET_SPOT.name(self.env), Market.FUT: WALLET_FUT.name(self.env)}

    async def start(self) -> None:
        self._ledger_since_ms = await self._booked_until_ms()
        self._ledger_at_ms = 0
        await self.poll()

    async def listen(self) -> None:
        async for changes in self.venue.account_events():
            for change in changes:
                if isinstance(change, BalancesChanged):
                    await self._balances(change.balances, change.ts)
                elif isinstance(change, FundingSettled):
                    await self._book(change.income, change.rate)
                elif isinstance(change, StreamReset):
                    self._ledger_at_ms = 0
                    await self.poll()

    async def poll(self) -> None:
        """Ask for everything; tell what differs from what was told. Whoever is limited, or whose key is refused, is
        told by name: everything else that asks only waits."""
        try:
            await self._poll()
        except RateLimited as limited:
            await self.teller.alert(AlertCode.RATE_LIMITED, Severity.WARN, str(limited))
            raise
        except VenueUnavailable as down:
            if isinstance(down.__cause__, KeyRefused):
                await self.teller.alert(AlertCode.KEY_PERMISSIONS, Severity.FATAL, str(down))
            raise

    async def _poll(self) -> None:
        changes = self._changes
        balances = await self.venue.balances()
        # An answer that a change overtook may be older than the change: the next poll is not far.
        if changes == self._changes:
            now_ms = self.clock.now_ms()
            if now_ms >= self._full_at_ms:
                self._full_at_ms = now_ms + self.snapshot_ms
                await self._balances(balances, now_ms, all_on_file=True)
            else:
                await self._balances(balances, now_ms)
            await self._restamp(now_ms)
        if self.clock.now_ms() >= self._ledger_at_ms:
            await self._read_ledger()

    async def _balances(self, balances: Sequence[Balance], ts: int, *, all_on_file: bool = False) -> None:
        changed = [balance for balance in balances if self._told.get((balance.market, balance.asset)) != balance]
        on_file = balances if all_on_file else changed
        if on_file:
            await self.documents.put_many(
                [
                    Put(
                        BALANCES_SNAPSHOTS,
                        BalanceSnapshot(
                            market=balance.market,
                            asset=balance.asset,
                            free=balance.free,
                            locked=balance.locked,
                            ts=ts,
                        ),
                    )
                    for balance in on_file
                ]
            )
        for balance in changed:
            self._changes += 1
            await self._wallet(balance, ts)
            await self.bus.publish(
                ACCT_EVENTS.name(self.env),
                AccountEvent(
                    ts=ts,
                    market=balance.market,
                    asset=balance.asset,
                    free=balance.free,
                    locked=balance.locked,
                ),
            )
            self._told[(balance.market, balance.asset)] = balance

    async def _wallet(self, balance: Balance, ts: int) -> None:
        if balance.asset != "USDT":
            return
        if balance.market is Market.SPOT:
            fields = {"free": str(balance.free), "locked": str(balance.locked), "updated_at": str(ts)}
        else:
            fields = {
                "free": str(balance.free),
                "cross": str(balance.free),
                "isolated": str(balance.locked),
                "updated_at": str(ts),
            }
        await self.snapshots.set_hash(self._wallets[balance.market], fields)

    async def _restamp(self, now_ms: int) -> None:
        """Nothing changed is news too: the wallets say until when they hold."""
        stamp = {"updated_at": str(now_ms)}
        for market, wallet in self._wallets.items():
            if (market, "USDT") in self._told:
                await self.snapshots.set_hash(wallet, stamp)

    async def _read_ledger(self) -> None:
        began_ms = self.clock.now_ms()
        for income in await self.venue.income(self._ledger_since_ms):
            if income.kind is IncomeKind.FUNDING_FEE:
                await self._book(income)
        # The ledger may list a settlement some time after it was due.
        self._ledger_since_ms = max(self._ledger_since_ms, began_ms - DAY_MS)
        self._ledger_at_ms = began_ms + LEDGER_EVERY_MS

    async def _book(self, income: Income, rate: float | None = None) -> None:
        """On file once, then told, with the rate that was announced where the settlement did not tell it. One that
        nobody told us is written as 0: the amount is what counts."""
        if rate is None:
            rate = self.marks.rate_at(income.symbol, funding_time_of(income))
        if income.symbol not in self.symbols:
            log.warning("funding of a symbol that is not watched", symbol=income.symbol, amount=str(income.amount))
        funding_rate = exact(rate if rate is not None else 0.0)
        record = FundingRecord(
            symbol=income.symbol,
            funding_time=funding_time_of(income),
            funding_rate=funding_rate,
            amount_usdt=income.amount,
            venue_id=str(income.tran_id),
        )
        try:
            await self.documents.insert(FUNDING_RECORDS, record)
        except DuplicateKey:
            return
        await self._tell_settled(record)

    async def _tell_settled(self, record: FundingRecord) -> None:
        await self.bus.publish(
            MKT_FUNDING.name(self.env, InstrumentKey(Market.FUT, record.symbol)),
            FundingEvent(
                ts=self.clock.now_ms(),
                symbol=record.symbol,
                rate=record.funding_rate,
                funding_time=record.funding_time,
                kind=FundingKind.SETTLED,
                amount_usdt=record.amount_usdt,
            ),
        )

    async def _booked_until_ms(self) -> int:
        """A day before the newest settlement on file. That one is told again: we may have died between file and bus."""
        newest_ms = 0
        for symbol in sorted(self.symbols):
            records = await self.documents.find(
                Query(
                    collection=FUNDING_RECORDS,
                    index="by_sym_time",
                    equal=(("symbol", symbol),),
                    descending=True,
                    limit=1,
                )
            )
            for record in records:
                newest_ms = max(newest_ms, record.funding_time)
                if record.funding_time > self.clock.now_ms() - DAY_MS:
                    await self._tell_settled(record)
        return newest_ms - DAY_MS if newest_ms else max(0, self.clock.now_ms() - FIRST_LEDGER_MS)
