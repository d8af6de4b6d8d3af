"""What a bundle would have done with the signals of the last days, beside another one.

Read in small pieces, so that nobody waits for it: the store hands over a few hundred signals, and between two pieces
everybody else has his turn. What is reckoned is reckoned beside the loop. Nothing is written: the answer is all.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from chimera.contracts.collections import INSTRUMENT_REGISTRY, SIGNALS
from chimera.contracts.documents import ConfigBundle, Signal
from chimera.contracts.documents import Instrument as Listed
from chimera.contracts.enums import Market
from chimera.contracts.http.config import (
    DryRunAnswer,
    DryRunDay,
    DryRunInstrument,
    DryRunLimit,
    DryRunOutcome,
    DryRunRequest,
    DryRunRule,
)
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S3Settings, S10Settings
from chimera.domain.config.dry_run import (
    DAY_MS,
    Columns,
    DryRun,
    DryRunLimits,
    Figures,
    Policy,
    Replayed,
    day_name,
    factors_read,
    replay,
    summed_up,
)
from chimera.domain.decision.model import CONSTANT
from chimera.domain.decision.plan_of import Content, content_of, plan_of
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.compute import Compute
from chimera.ports.documents import Documents, Query
from chimera.runtime.instruments import instrument_of
from chimera.runtime.service import Problem, Reply, Request
from chimera.services.s10_config.handlers.bundles import as_answer, refused
from chimera.services.s10_config.handlers.judging import Judge
from chimera.services.s10_config.handlers.lookup import stored_bundle

PIECE = 250
"""Signals that are read in one turn of the loop: some milliseconds."""
NEUTRAL = (
    "The account is neutral: at every moment nothing is open, the whole budget is free and nothing is halted, so that"
    " each minute of a signal day may count as opened."
)
MODEL_NOT_ASKED = (
    "A trained model is not asked again: what the model in force then said is used, and nothing where it said nothing."
)


@dataclass(slots=True, kw_only=True)
class RunDry:
    documents: Documents
    compute: Compute
    clock: Clock
    settings: S10Settings
    s3: S3Settings
    feature_age_ms_max: int
    judge: Judge
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, request: Request) -> Reply:
        """POST /bundles/{id}/dry-run."""
        wanted: DryRunRequest = request.body
        bundle = (await stored_bundle(self.documents, request.path["id"])).doc
        reference = (await stored_bundle(self.documents, wanted.against)).doc
        for each in (bundle, reference):
            faults = await self.judge.faults(each)
            if faults:
                raise refused(422, "bundle-not-clean", faults)
        days = wanted.days or self.settings.dry_run_days
        # Two at once would hold twice the memory and be done no sooner.
        async with self._one_at_a_time:
            return Reply(await self._answer(bundle, reference, days, wanted.symbols))

    async def _answer(
        self, bundle: ConfigBundle, reference: ConfigBundle, days: int, symbols: Sequence[str] | None
    ) -> DryRunAnswer:
        began_ns = self.clock.perf_ns()
        to_ms = self.clock.now_ms()
        from_ms = max(0, to_ms - days * DAY_MS)
        listed = await self._listed(symbols)
        candidates, references = (self._policies(each, listed) for each in (bundle, reference))
        columns = {
            key: Columns(instrument_of(each), factors_read(key, (candidates[key], references[key])))
            for key, each in listed.items()
            if candidates[key].config is not None or references[key].config is not None
        }
        notes = [NEUTRAL, *self._unsizable(columns)]
        if columns:
            async for signals in self._pieces(from_ms, to_ms, symbols):
                # In its turn beside the loop, which goes on meanwhile.
                await self.compute.run(partial(_share_out, signals, columns))
        replays = [
            await self.compute.run(partial(_replay, columns[key], candidates[key], references[key])) for key in columns
        ]
        found = summed_up(replays, self._limits())
        if any(each.flags.model.name != CONSTANT for each in (bundle, reference)):
            notes.append(MODEL_NOT_ASKED)
            if found.total.without_p:
                notes.append(_unanswered(found.total))
        notes += [
            f"{name} stands in no stored signal of {', '.join(map(str, keys))}: it was not computed then, and whoever"
            " needs it finds it missing."
            for name, keys in found.unknown.items()
        ]
        return _told(
            found,
            bundle,
            reference,
            days=days,
            from_ms=from_ms,
            to_ms=to_ms,
            notes=notes,
            duration_ms=(self.clock.perf_ns() - began_ns) // 1_000_000,
        )

    async def _listed(self, symbols: Sequence[str] | None) -> dict[InstrumentKey, Listed]:
        """What the exchange lists, of the symbols that are asked for.

        Raises:
            Problem: 422, a symbol is not listed.
        """
        every = await self.documents.find(Query(collection=INSTRUMENT_REGISTRY, index="by_instr"))
        known = {each.symbol for each in every}
        for symbol in symbols or ():
            if symbol not in known:
                raise Problem(
                    422, "not-listed", f"symbols: {symbol!r} is not listed; there are {', '.join(sorted(known))}"
                )
        return {
            InstrumentKey(each.market, each.symbol): each for each in every if symbols is None or each.symbol in symbols
        }

    def _unsizable(self, columns: dict[InstrumentKey, Columns]) -> list[str]:
        """Take out what could not be sized yet, and say so."""
        without = [key for key, each in columns.items() if key.market is Market.FUT and not each.instrument.brackets]
        for key in without:
            del columns[key]
        return [f"{key} is left out: the exchange's leverage brackets are not on file yet." for key in without]

    def _policies(self, bundle: ConfigBundle, listed: dict[InstrumentKey, Listed]) -> dict[InstrumentKey, Policy]:
        content = content_of(bundle.flags, bundle.rules, bundle.factors, bundle.instruments, rev=bundle.rev or 0)
        return {key: self._policy(content, each) for key, each in listed.items()}

    def _policy(self, content: Content, listed: Listed) -> Policy:
        flags, instrument = content.flags, instrument_of(listed)
        traded = instrument.symbol in self.s3.symbols and instrument.market in flags.strategy.markets.get(
            instrument.symbol, ()
        )
        return Policy(
            config=plan_of(content, instrument, self.s3, feature_age_ms_max=self.feature_age_ms_max)
            if traded
            else None,
            windows=flags.risk.windows,
            taker_fee_ratio=listed.taker_fee_ratio or flags.execution.routing.fees.taker_bp / 10_000,
            constant_p=flags.model.constant_p if flags.model.name == CONSTANT else None,
        )

    async def _pieces(self, from_ms: int, to_ms: int, symbols: Sequence[str] | None) -> AsyncIterator[Sequence[Signal]]:
        """Every signal of the time once, oldest first for each of the ways by which they are found."""
        if symbols is None:
            async for piece in self._walk("by_t0", (), from_ms, to_ms):
                yield piece
            return
        for symbol in dict.fromkeys(symbols):
            async for piece in self._walk("by_t0_sym", (("symbol", symbol),), from_ms, to_ms):
                yield piece

    async def _walk(
        self, index: str, equal: tuple[tuple[str, str], ...], from_ms: int, to_ms: int
    ) -> AsyncIterator[Sequence[Signal]]:
        at_ms, limit = from_ms, PIECE
        seen: frozenset[str] = frozenset()
        while True:
            found = await self.documents.find(
                Query(collection=SIGNALS, index=index, equal=equal, at_least=at_ms, below=to_ms, limit=limit)
            )
            # The last moment of the piece before may go on in this one.
            yield [signal for signal in found if signal.signal_id not in seen]
            if len(found) < limit:
                return
            last_ms = found[-1].t0
            # A moment with more signals than a piece holds needs a larger piece, or it would be read for ever.
            stays = last_ms == at_ms
            limit = 2 * limit if stays else PIECE
            at_ms = last_ms
            now_seen = frozenset(signal.signal_id for signal in found if signal.t0 == last_ms)
            seen = seen | now_seen if stays else now_seen

    def _limits(self) -> DryRunLimits:
        own = self.settings
        return DryRunLimits(
            skip_entry_ratio_max=own.dry_run_skip_ratio_max,
            size_up_ratio_max=own.dry_run_size_up_ratio_max,
            jaccard_min=own.dry_run_jaccard_min,
            asked_min=own.dry_run_asked_min,
            without_p_ratio_max=own.dry_run_without_p_ratio_max,
        )


def _unanswered(total: Figures) -> str:
    return (
        f"Of {total.without_p} of the {total.model_asked} signals that a trained model is asked of, no answer is on"
        " file: they are decided as if it had nothing against them, so that too many are opened, and with another size."
    )


def _share_out(signals: Sequence[Signal], columns: dict[InstrumentKey, Columns]) -> None:
    by_key: dict[InstrumentKey, list[Signal]] = {}
    for signal in signals:
        by_key.setdefault(InstrumentKey(signal.market, signal.symbol), []).append(signal)
    for key, each in by_key.items():
        if key in columns:
            columns[key].take(each)


def _replay(columns: Columns, candidate: Policy, reference: Policy) -> Replayed:
    instrument: Instrument = columns.instrument
    return replay(columns.table(), instrument, candidate, reference)


def _figures(figures: Figures) -> dict[str, float]:
    return {
        **asdict(figures),
        "skip_entry_ratio": figures.skip_entry_ratio,
        "size_up_ratio": figures.size_up_ratio,
        "jaccard": figures.jaccard,
    }


def _told(
    found: DryRun,
    bundle: ConfigBundle,
    reference: ConfigBundle,
    *,
    days: int,
    from_ms: int,
    to_ms: int,
    notes: Sequence[str],
    duration_ms: int,
) -> DryRunAnswer:
    return DryRunAnswer.model_validate(
        {
            **_figures(found.total),
            "bundle_id": bundle.bundle_id,
            "against": reference.bundle_id,
            "rev": bundle.rev,
            "against_rev": reference.rev,
            "days": days,
            "from_ms": from_ms,
            "to_ms": to_ms,
            "passed": found.passed,
            "limits": tuple(DryRunLimit.model_validate(asdict(each)) for each in found.limits),
            "instruments": tuple(
                DryRunInstrument.model_validate({**_figures(figures), "market": key.market, "symbol": key.symbol})
                for key, figures in found.instruments
            ),
            "rules": tuple(
                DryRunRule(rule_id=rule_id, hits=mine, hits_of_reference=theirs)
                for rule_id, (mine, theirs) in found.rules.items()
            ),
            "outcomes": tuple(
                DryRunOutcome(outcome=outcome, signals=mine, signals_of_reference=theirs)
                for outcome, (mine, theirs) in found.outcomes.items()
            ),
            "per_day": tuple(
                DryRunDay(
                    day=day_name(each.day),
                    signals=each.signals,
                    opened=each.opened,
                    opened_by_reference=each.opened_by_reference,
                    opened_by_both=each.opened_by_both,
                )
                for each in found.days
            ),
            "notes": tuple(notes),
            "duration_ms": duration_ms,
            "findings": as_answer(bundle).findings,
        }
    )
