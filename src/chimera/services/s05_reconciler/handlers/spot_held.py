"""Whether a wallet still holds what our SPOT trades bought, and what a person sold of it by hand written down.

Owns when the exchange's view of a wallet is believed, and up to which fill it is settled whose the coins were. The
convention is `domain/reconcile/spot_shares`; why: ADR 0032.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts import ids
from chimera.contracts.collections import INSTRUMENT_REGISTRY, ORDERS, system_state
from chimera.contracts.documents import CountedUntil, SpotSettled, SpotSettledState, Trade
from chimera.contracts.enums import Market, Severity, Side
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.metrics import AlertCode
from chimera.domain.execution.orders import VenueFill
from chimera.domain.market.instrument import Instrument
from chimera.domain.reconcile.fixes import Fix, sentence_of
from chimera.domain.reconcile.spot_shares import SpotMoved, SpotShares, spot_shares
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.peers import Peers
from chimera.ports.venue import Venue
from chimera.runtime.instruments import instrument_of
from chimera.runtime.telling import Teller
from chimera.services.s05_reconciler.findings import CannotCompare, Findings
from chimera.services.s05_reconciler.handlers.fills import Fills, Seen
from chimera.services.s05_reconciler.handlers.sharing import Before, Sharing, place_of, read_again
from chimera.services.s05_reconciler.handlers.trades import ask_s6, entry_unfinished, held_trades
from chimera.services.s05_reconciler.settings import Settings

SPOT_SETTLED = system_state(SpotSettledState)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """What the wallet holds, and whose it is by the exchange's own fills since the oldest trade's first."""

    held: Decimal
    shares: SpotShares
    fills: tuple[VenueFill, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotHeld:
    settings: Settings
    documents: Documents
    venue: Venue
    peers: Peers
    fills: Fills
    sharing: Sharing
    clock: Clock
    teller: Teller
    _before: dict[InstrumentKey, Before] = field(default_factory=dict)
    """What others held when the oldest of the open trades began."""

    async def compare(
        self, keys: Sequence[InstrumentKey], seen: Mapping[InstrumentKey, Seen], findings: Findings
    ) -> bool:
        """True: something has moved so lately that the exchange's own view may be behind; it is to be looked at again.

        Raises:
            CannotCompare: of one instrument at least; the others were seen to.
        """
        moving = False
        failed: CannotCompare | None = None
        for key in keys:
            if key.market is not Market.SPOT:
                continue
            trades = await held_trades(self.documents, key)
            patience_ms = self.clock.work_ms(self.settings.entry_patience_ms)
            # An entry under way buys what the trades do not tell yet; its end stirs the next look.
            if not trades or await entry_unfinished(self.documents, key, self.clock.now_ms() - patience_ms):
                continue
            try:
                settled = await self._compare_one(key, trades, seen[key], findings)
            except CannotCompare as cannot:
                failed = cannot
                continue
            moving = moving or not settled
        if failed is not None:
            raise failed
        return moving

    async def _compare_one(self, key: InstrumentKey, trades: Sequence[Trade], seen: Seen, findings: Findings) -> bool:
        """False: not sure yet. Strangers' fills may leave enough in the wallet, and yet have sold the trades'."""
        instrument = await self._instrument(key)
        agrees = await self._held(instrument) >= _open_qty(trades) - self.settings.balance_diff_min
        findings.agree(agrees)
        if agrees and not seen.strangers:
            return True
        await ask_s6(self.peers, key)
        trades = await held_trades(self.documents, key)
        if not trades:
            return not self.fills.is_young(seen.newest_ms)
        owned = await self._owned(instrument, trades)
        if owned is None:
            return False
        await self._write(key, trades, owned, findings)
        # Not before: what is settled is not attributed any more, so a run that ends in between must find it open.
        short_since = await self._settle(key, trades, owned)
        await self._tell_short(instrument, owned, short_since, findings)
        return not self.fills.is_young(owned.fills[-1].ts)

    async def _write(self, key: InstrumentKey, trades: Sequence[Trade], owned: Owned, findings: Findings) -> None:
        before, ours = _open_qty(trades), sum(owned.shares.held.values(), Decimal(0))
        noted = None
        if ours != before:
            noted = await findings.note(
                Fix.TRADE_CORRECTED,
                key,
                str(key),
                at_ms=owned.fills[-1].ts,
                before=float(before),
                after=float(ours),
            )
        wrote = [
            await self.sharing.write_spot(trade, owned.shares.closed_by[trade.trade_id], owned.fills, findings)
            for trade in trades
        ]
        after = before
        if any(wrote):
            await ask_s6(self.peers, key)
            after = _open_qty(await held_trades(self.documents, key))
        if noted is not None and after != before:
            findings.done(noted)
        elif noted is not None:
            await findings.withdraw(noted)
        if any(wrote):
            await self.teller.alert(
                AlertCode.RECON_FIXED,
                Severity.WARN,
                f"{key}: our books had {_plain(before)} open, and a person sold some of that by hand; {_plain(ours)}"
                f" of it is left, beside {_plain(owned.shares.others)} of others, and on file is now {_plain(after)}",
                symbol=key.symbol,
            )

    async def _owned(self, instrument: Instrument, trades: Sequence[Trade]) -> Owned | None:
        """None while it may be moving: what others held comes from the wallet of now, and either of wallet and fills
        may be behind the other."""
        key = instrument.key
        held = await self._held(instrument)
        first = min(ids.fill_order(fill.ts, fill.fill_id) for trade in trades for fill in trade.entries)
        listed = await self.venue.fills(key, trades[0].opened_at)
        fills = [fill for fill in sorted(listed, key=place_of) if place_of(fill) >= first]
        known = {fill.fill_id for fill in fills}
        if not {fill.fill_id for trade in trades for fill in trade.entries} <= known:
            return None
        net = sum((_net(fill, instrument.base_asset) for fill in fills), Decimal(0))
        seen = Before(trade_id=trades[0].trade_id, qty=held - net, at_ms=self.clock.now_ms())
        # A deposit moves the wallet too: sold at once, it would look like coins of ours.
        before = read_again(self._before.get(key), seen, fills[-1].ts, self.fills, only_fills=False)
        self._before[key] = before
        if not before.sure:
            return None
        settled = _that_goes_for(trades, (await self._settled()).settled.get(str(key)))
        moved = [await self._moved(fill, trades, instrument.base_asset, settled) for fill in fills]
        on_file = {trade.trade_id: await self.sharing.closed_on_file(trade) for trade in trades}
        return Owned(held=held, shares=spot_shares(before.qty, moved, on_file, settled), fills=tuple(fills))

    async def _settled(self) -> SpotSettledState:
        state = await self.documents.get(SPOT_SETTLED, "spot_settled")
        return state or SpotSettledState(updated_at=self.clock.now_ms())

    async def _settle(self, key: InstrumentKey, trades: Sequence[Trade], owned: Owned) -> int:
        """From here on it stays so, however the wallet changes.

        Returns: when as much as now was first seen to be short, by the newest fill of then.
        """
        state, shares, newest = await self._settled(), owned.shares, owned.fills[-1]
        known = state.settled.get(str(key))
        since = known.short_since if known is not None and known.short == shares.short > 0 else newest.ts
        for trade in trades:
            if await self.sharing.closed_on_file(trade) != shares.closed_by[trade.trade_id]:
                return since
        settled = SpotSettled(
            until=CountedUntil(ts=newest.ts, fill_id=newest.fill_id),
            held=dict(shares.held),
            others=shares.others,
            short=shares.short,
            short_since=since if shares.short > 0 else 0,
        )
        if settled != known:
            now_ms = self.clock.now_ms()
            await self.documents.put(
                SPOT_SETTLED, SpotSettledState(settled={**state.settled, str(key): settled}, updated_at=now_ms)
            )
        return since

    async def _moved(
        self, fill: VenueFill, trades: Sequence[Trade], base_asset: str, settled: SpotSettled | None
    ) -> SpotMoved:
        name = fill.client_order_id
        order = await self.documents.get(ORDERS, name)
        if order is None and ids.is_ours(name, self.settings.id_prefix):
            await self.fills.look_up(fill.key, name)
            order = await self.documents.get(ORDERS, name)
        qty = _net(fill, base_asset)
        old = settled is not None and place_of(fill) <= _place(settled)
        if order is None or order.is_strangers:
            return SpotMoved(fill_id=fill.fill_id, qty=qty, strangers=True, settled=old)
        whose = next(
            (
                trade.trade_id
                for trade in trades
                # An exit that a person sent through us without naming the trade is told by the trade alone.
                if trade.trade_id in (order.intent_id, order.parent_id)
                or any(exit.order_id == name for exit in trade.exits)
            ),
            None,
        )
        return SpotMoved(fill_id=fill.fill_id, qty=qty, trade_id=whose, settled=old)

    async def _tell_short(self, instrument: Instrument, owned: Owned, since_ms: int, findings: Findings) -> None:
        """Coins that left otherwise than by a sale: no fill closes a trade for them, so a person has to know. Once,
        whatever the person buys and sells beside them."""
        ours = sum(owned.shares.held.values(), Decimal(0))
        short = ours - owned.held
        price = owned.fills[-1].price
        # A fee that the exchange took in the same asset is no news, and nothing that could be sold.
        if short < instrument.step_size or short * price < instrument.min_notional:
            return
        subject = f"{_plain(owned.shares.short)} of {instrument.key}"
        fresh = await findings.fixed(
            Fix.HOLDING_SHORT,
            instrument.key,
            subject,
            at_ms=since_ms,
            before=float(ours),
            after=float(owned.held),
        )
        if fresh:
            await self.teller.alert(
                AlertCode.RECON_FIXED,
                Severity.ERROR,
                f"{instrument.key}: {sentence_of(Fix.HOLDING_SHORT, subject)}: {_plain(ours)} is open, and the wallet"
                f" holds {_plain(owned.held)}",
                symbol=instrument.symbol,
            )

    async def _held(self, instrument: Instrument) -> Decimal:
        """Free and locked."""
        return sum(
            (
                each.free + each.locked
                for each in await self.venue.balances()
                if (each.market, each.asset) == (Market.SPOT, instrument.base_asset)
            ),
            Decimal(0),
        )

    async def _instrument(self, key: InstrumentKey) -> Instrument:
        listed = await self.documents.get(INSTRUMENT_REGISTRY, key.doc_key)
        if listed is None:
            raise CannotCompare(f"the rules of {key} are not known yet")
        return instrument_of(listed)


def _that_goes_for(trades: Sequence[Trade], settled: SpotSettled | None) -> SpotSettled | None:
    """None where it says nothing of these trades, or knew nothing of one that had begun: all is looked at anew."""
    if settled is None or not any(trade.trade_id in settled.held for trade in trades):
        return None
    unknown = (trade for trade in trades if trade.trade_id not in settled.held)
    firsts = (ids.fill_order(fill.ts, fill.fill_id) for trade in unknown for fill in trade.entries)
    return settled if all(first > _place(settled) for first in firsts) else None


def _place(settled: SpotSettled) -> tuple[int, int, str]:
    return ids.fill_order(settled.until.ts, settled.until.fill_id)


def _open_qty(trades: Sequence[Trade]) -> Decimal:
    return sum((trade.qty_open for trade in trades), Decimal(0))


def _plain(qty: Decimal) -> str:
    """Without zeros at its end."""
    return f"{qty.normalize():f}"


def _net(fill: VenueFill, base_asset: str) -> Decimal:
    """What it put into the wallet, or took out of it."""
    in_base = fill.side is Side.BUY and fill.fee_asset == base_asset
    return fill.side.sign * fill.qty - (fill.fee if in_base else Decimal(0))
