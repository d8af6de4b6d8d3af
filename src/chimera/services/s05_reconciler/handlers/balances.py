"""Whether the wallets hold what our own books make of them, and if not, who moved the rest.

Owns the account's books: what each wallet held when it was last understood, and up to which fill that was counted. A
list of balances and a list of fills are never of one moment. So what agrees is believed at once (a fill that only one
of them had would show); what differs is asked for again, must be the same twice, as far apart as the exchange's queries
may lag, and only then is explained by the exchange's own lists, or told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import FILLS, FUNDING_RECORDS, ORDERS, TREASURY_TRANSFERS, system_state
from chimera.contracts.documents import BalancesState, CountedUntil, Fill, FundingRecord, TreasuryTransfer
from chimera.contracts.enums import Market, Severity, TransferResult
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.domain.execution.orders import Balance, Income, IncomeKind, VenueFill
from chimera.domain.reconcile.fixes import Fix
from chimera.domain.reconcile.money import Cause, Change, Moved, changes, moved_by_fill, wallet_name
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents, Query
from chimera.ports.venue import Venue
from chimera.runtime.telling import Teller
from chimera.services.s05_reconciler.findings import Findings
from chimera.services.s05_reconciler.settings import Settings

BALANCES = system_state(BalancesState)
QUOTE = "USDT"
OURS = (TransferResult.OK, TransferResult.PENDING)
RENEWED_MS = 86_400_000
"""So long nothing is written where nothing changes. The exchange's lists are asked for from then on: they reach back
some months, and spot's fills are asked for day by day."""

log = structlog.get_logger(__name__)


def base_asset(symbol: str) -> str:
    """Every instrument of ours is quoted in USDT."""
    return symbol.removesuffix(QUOTE)


def held_of(balances: Sequence[Balance]) -> dict[str, Decimal]:
    """Free and locked, by wallet."""
    return {wallet_name(each.market, each.asset): each.free + each.locked for each in balances}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What is counted of our own documents since the account was last understood, and how far that goes."""

    moved: list[Moved]
    until: dict[str, CountedUntil]
    funded_until: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The same of the exchange's lists. `seen`: rows of them, by name, with their time."""

    moved: list[Moved]
    until: dict[str, CountedUntil]
    seen: dict[str, int]


class NotOnFileYet(Exception):
    """Something of ours is in the exchange's lists that is not on file, and will be."""


@dataclass(slots=True, kw_only=True)
class Balances:
    settings: Settings
    documents: Documents
    venue: Venue
    clock: Clock
    teller: Teller
    _doubted: dict[str, Decimal] = field(default_factory=dict)
    """By how much the wallets differed the last time from what our books make of them."""
    _doubted_since_ms: int = 0

    async def compare(self, findings: Findings) -> bool:
        """True: a difference was seen for the first time, and is to be looked at again soon."""
        began_ms = self.clock.now_ms()
        held = held_of(await self.venue.balances())
        state = await self.documents.get(BALANCES, "balances")
        if state is None:
            await self._begin(held, began_ms)
            return False
        ours = await self._ours(state)
        agrees = not changes(state.held, held, ours.moved, least=self.settings.balance_diff_min)
        findings.agree(agrees)
        if agrees:
            self._doubted = {}
            await self._keep(state, _due(state.held, ours.moved), ours.until, ours.funded_until, state.seen, began_ms)
            return False
        if held_of(await self.venue.balances()) != held:
            return False
        try:
            theirs = await self._theirs(state, ours.until)
        except NotOnFileYet as what:
            log.info("balances are not compared yet", why=str(what))
            return False
        found = changes(state.held, held, [*ours.moved, *theirs.moved], least=self.settings.balance_diff_min)
        if not self._is_sure({change.wallet: change.after - change.expected for change in found}):
            return self._doubted_since_ms >= began_ms and bool(found)
        for change in found:
            await self._tell(change, state.at, findings)
        self._doubted = {}
        await self._keep(state, held, theirs.until, ours.funded_until, theirs.seen, began_ms)
        return False

    def _is_sure(self, doubt: dict[str, Decimal]) -> bool:
        """Whether it was the same before, so long ago that no list was behind. That nothing is left is sure at once."""
        if doubt and doubt != self._doubted:
            first = not self._doubted
            self._doubted = doubt
            # What goes on changing is looked at at the usual pace.
            self._doubted_since_ms = self.clock.now_ms() if first else 0
            return False
        return not doubt or self.clock.now_ms() - self._doubted_since_ms >= self.clock.work_ms(
            self.settings.lookup_lag_ms
        )

    def _margin_ms(self) -> int:
        return self.clock.work_ms(self.settings.fills_margin_ms)

    async def _begin(self, held: dict[str, Decimal], began_ms: int) -> None:
        """The first time there is nothing to compare with. What was counted is read between two equal looks."""
        since_ms = began_ms - self._margin_ms()
        until = {str(key): await self._newest(key, since_ms) for key in self.settings.keys}
        funded = {key.symbol: await self._newest_funding(key.symbol) for key in self.settings.keys}
        seen = {
            **{_row(each.tran_id, "TRANSFER"): each.ts for each in await self.venue.transfers(since_ms)},
            **{_row(each.tran_id, each.kind): each.ts for each in await self.venue.income(since_ms)},
        }
        if held_of(await self.venue.balances()) == held:
            await self._put(held, until, funded, seen, began_ms)

    async def _ours(self, state: BalancesState) -> Counted:
        moved: list[Moved] = []
        until: dict[str, CountedUntil] = {}
        funded_until: dict[str, int] = {}
        for key in self.settings.keys:
            until[str(key)] = since = state.counted.get(str(key), CountedUntil())
            for fill in await self._fills_on_file(key, since):
                assert fill.side is not None, f"fill {fill.fill_id} has no side"
                moved += moved_by_fill(
                    fill.market,
                    fill.side,
                    fill.price,
                    fill.qty,
                    fill.fee_qty or Decimal(0),
                    fill.fee_asset or QUOTE,
                    fill.realized_pnl_usdt or Decimal(0),
                    base_asset(fill.symbol),
                    QUOTE,
                )
                until[str(key)] = _later(until[str(key)], CountedUntil(ts=fill.timestamp, fill_id=fill.fill_id))
            if key.market is Market.FUT:
                funded_until[key.symbol] = state.funded_until.get(key.symbol, 0)
                for record in await self._settled_since(key.symbol, funded_until[key.symbol] + 1):
                    moved.append(Moved(wallet=wallet_name(Market.FUT, QUOTE), amount=record.amount_usdt))
                    funded_until[key.symbol] = max(funded_until[key.symbol], record.funding_time)
        return Counted(moved=moved, until=until, funded_until=funded_until)

    async def _fills_on_file(self, key: InstrumentKey, since: CountedUntil) -> list[Fill]:
        found = await self.documents.find(
            Query(collection=FILLS, index="by_sym_time", equal=(("symbol", key.symbol),), at_least=since.ts)
        )
        return [
            fill
            for fill in found
            if fill.market is key.market and ids.fill_order(fill.timestamp, fill.fill_id) > _place(since)
        ]

    async def _settled_since(self, symbol: str, since_ms: int) -> Sequence[FundingRecord]:
        return await self.documents.find(
            Query(collection=FUNDING_RECORDS, index="by_sym_time", equal=(("symbol", symbol),), at_least=since_ms)
        )

    async def _theirs(self, state: BalancesState, counted: Mapping[str, CountedUntil]) -> Listed:
        """
        Raises:
            NotOnFileYet: our own books are behind.
        """
        since_ms = state.at - self._margin_ms()
        moved: list[Moved] = []
        until = dict(counted)
        for key in self.settings.keys:
            for fill in await self._fills_of_others(key, state.counted.get(str(key), CountedUntil()), since_ms):
                until[str(key)] = _later(until[str(key)], CountedUntil(ts=fill.ts, fill_id=fill.fill_id))
                moved += moved_by_fill(
                    fill.market,
                    fill.side,
                    fill.price,
                    fill.qty,
                    fill.fee,
                    fill.fee_asset,
                    fill.realized_pnl_usdt,
                    base_asset(fill.symbol),
                    QUOTE,
                    Cause.STRANGERS_FILLS,
                )
        seen = {name: ts for name, ts in state.seen.items() if ts >= since_ms - self._margin_ms()}
        moved += await self._transfers(since_ms, seen)
        moved += await self._ledger(state, since_ms, seen)
        return Listed(moved=moved, until=until, seen=seen)

    async def _fills_of_others(self, key: InstrumentKey, since: CountedUntil, since_ms: int) -> list[VenueFill]:
        fills = [
            fill
            for fill in await self.venue.fills(key, max(since.ts, since_ms))
            if ids.fill_order(fill.ts, fill.fill_id) > _place(since)
        ]
        on_file = await self.documents.get_values(FILLS, (fill.fill_id for fill in fills), ())
        others = [fill for fill in fills if fill.fill_id not in on_file]
        orders = await self.documents.get_values(ORDERS, (fill.client_order_id for fill in others), ())
        for fill in others:
            if fill.client_order_id in orders or ids.is_of_the_exchange(fill.client_order_id):
                raise NotOnFileYet(f"fill {fill.fill_id} of {fill.client_order_id}")
        return others

    async def _transfers(self, since_ms: int, seen: dict[str, int]) -> list[Moved]:
        """Between the two wallets; those that we asked for are ours."""
        moved: list[Moved] = []
        ours: set[str | None] | None = None
        for transfer in await self.venue.transfers(since_ms):
            if seen.setdefault(_row(transfer.tran_id, "TRANSFER"), 0):
                continue
            seen[_row(transfer.tran_id, "TRANSFER")] = transfer.ts
            if ours is None:
                ours = {each.tx_id for result in OURS for each in await self._requested(result)}
            cause = None if str(transfer.tran_id) in ours else Cause.TRANSFER
            amount, asset = transfer.amount, transfer.asset
            moved.append(Moved(wallet=wallet_name(transfer.source, asset), amount=-amount, cause=cause))
            moved.append(Moved(wallet=wallet_name(transfer.target, asset), amount=amount, cause=cause))
        return moved

    async def _requested(self, result: TransferResult) -> Sequence[TreasuryTransfer]:
        return await self.documents.find(
            Query(collection=TREASURY_TRANSFERS, index="by_result", equal=(("result", result.value),))
        )

    async def _ledger(self, state: BalancesState, since_ms: int, seen: dict[str, int]) -> list[Moved]:
        """Of the futures ledger what no fill of our instruments tells, and no list of transfers."""
        symbols = {key.symbol for key in self.settings.keys if key.market is Market.FUT}
        moved: list[Moved] = []
        for row in await self.venue.income(since_ms):
            name = _row(row.tran_id, row.kind)
            if seen.setdefault(name, 0):
                continue
            seen[name] = row.ts
            if row.kind is IncomeKind.FUNDING_FEE and row.symbol in symbols:
                if not await self._is_settled(row.symbol, row.tran_id, state):
                    raise NotOnFileYet(f"funding {row.tran_id} of {row.symbol}")
            elif row.kind is IncomeKind.INSURANCE_CLEAR:
                moved.append(_moved_by(row, Cause.INSURANCE))
            elif row.kind is not IncomeKind.TRANSFER and row.symbol not in symbols:
                moved.append(_moved_by(row, Cause.OTHER_SYMBOLS))
        return moved

    async def _is_settled(self, symbol: str, tran_id: int, state: BalancesState) -> bool:
        records = await self._settled_since(symbol, state.funded_until.get(symbol, 0))
        return any(record.venue_id == str(tran_id) for record in records)

    async def _tell(self, change: Change, since_ms: int, findings: Findings) -> None:
        unknown = abs(change.unexplained) > self.settings.balance_diff_min
        fix = Fix.BALANCE_DIFFERS if unknown else Fix.BALANCE_EXPLAINED
        causes = {cause.value: float(amount) for cause, amount in change.causes.items()}
        if unknown:
            log.warning("a balance that nothing explains", wallet=change.wallet, by=str(change.unexplained))
            await self.teller.alert(
                AlertCode.RECON_FIXED,
                Severity.WARN,
                f"{change.wallet}: our books make it {change.expected}, the exchange holds {change.after}; "
                f"{change.unexplained} of that came or went without us (a deposit, a withdrawal, trading elsewhere)",
                wallet=change.wallet,
            )
        noted = await findings.note(
            fix,
            None,
            change.wallet,
            at_ms=since_ms,
            before=float(change.expected),
            after={"held": float(change.after), "causes": causes, "unexplained": float(change.unexplained)},
        )
        if unknown:
            # What others did is on file now, and was never amiss in our books.
            findings.done(noted)

    async def _keep(
        self,
        state: BalancesState,
        held: Mapping[str, Decimal],
        until: Mapping[str, CountedUntil],
        funded_until: Mapping[str, int],
        seen: Mapping[str, int],
        at_ms: int,
    ) -> None:
        new = (dict(held), dict(until), dict(funded_until))
        if new != (state.held, state.counted, state.funded_until) or at_ms - state.at >= RENEWED_MS:
            await self._put(*new, dict(seen), at_ms)

    async def _put(
        self,
        held: dict[str, Decimal],
        until: dict[str, CountedUntil],
        funded_until: dict[str, int],
        seen: dict[str, int],
        at_ms: int,
    ) -> None:
        await self.documents.put(
            BALANCES,
            BalancesState(
                at=at_ms,
                held=held,
                counted=until,
                funded_until=funded_until,
                seen=seen,
                updated_at=self.clock.now_ms(),
            ),
        )

    async def _newest(self, key: InstrumentKey, since_ms: int) -> CountedUntil:
        """The newest fill on file, not before `since_ms`."""
        newest = CountedUntil(ts=max(0, since_ms))
        for fill in await self._fills_on_file(key, newest):
            newest = _later(newest, CountedUntil(ts=fill.timestamp, fill_id=fill.fill_id))
        return newest

    async def _newest_funding(self, symbol: str) -> int:
        found = await self.documents.find(
            Query(
                collection=FUNDING_RECORDS,
                index="by_sym_time",
                equal=(("symbol", symbol),),
                descending=True,
                limit=1,
            )
        )
        return found[0].funding_time if found else 0


def _due(held: Mapping[str, Decimal], moved: Sequence[Moved]) -> dict[str, Decimal]:
    """What our books make of the wallets. A rest too small to tell is not taken over: many of them are not small."""
    due = dict(held)
    for each in moved:
        due[each.wallet] = due.get(each.wallet, Decimal(0)) + each.amount
    return due


def _place(until: CountedUntil) -> tuple[int, int, str]:
    return ids.fill_order(until.ts, until.fill_id)


def _later(one: CountedUntil, other: CountedUntil) -> CountedUntil:
    return max(one, other, key=_place)


def _row(tran_id: int, kind: str) -> str:
    """The exchange's numbers are its own of each kind."""
    return f"{kind} {tran_id}"


def _moved_by(row: Income, cause: Cause) -> Moved:
    return Moved(wallet=wallet_name(Market.FUT, row.asset), amount=row.amount, cause=cause)
