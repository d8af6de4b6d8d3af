"""The whole system over real klines, in virtual time.

Owns what a replay is asked for, which refusals there are before it begins, and its course: load, simulate, report. What
the run earned is reckoned in `replay_figures`, how it is shown stands in `replay_report`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from chimera.adapters.kline_files import load_klines
from chimera.adapters.simulated_venue.ticker import Ticker
from chimera.app.simulated_market import keys_for
from chimera.contracts.base import Message
from chimera.contracts.enums import Market
from chimera.contracts.flags import Flags
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import SignalEvent
from chimera.contracts.settings import ChimeraSettings, S1Settings, S3Settings, S4Settings
from chimera.domain.market.days import day_ms
from chimera.domain.market.listing import listed
from chimera.domain.market.source import FileSource
from chimera.domain.matching.rules import ExchangeRules
from chimera.simulation.loop import run_virtual
from chimera.simulation.replay_decisions import DecisionLog
from chimera.simulation.replay_figures import figures
from chimera.simulation.replay_report import ReplayReport
from chimera.simulation.simulator import Setup, simulate
from chimera.simulation.trace import Trace

DAY_MS = 86_400_000
LEAD = "BTCUSDT"
"""Whose days the signal reads."""

TICKS_PER_MINUTE = 4
STDOUT = Path("-")
START_USDT = Decimal(1_000)
"""In each wallet of a market that takes part."""


class ReplayProblem(Exception):
    """A replay that cannot begin as it was asked for; the text names the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """`start` and `end` are days as `yyyy-mm-dd` UTC, the end excluded; None: the first whole day, the last bar.

    `seed` decides what the files do not say: the order of extremes inside a bar, the books' sizes, a missing USDT/TWD.
    """

    folder: Path
    symbols: tuple[str, ...]
    markets: tuple[str, ...] = ("FUT", "SPOT")
    start: str | None = None
    end: str | None = None
    seed: int = 7
    decisions: Path | None = None
    """The file to which each decision goes as a line of JSON, see `replay_decisions`; `-` is stdout, None nowhere."""


@dataclass(slots=True)
class _Watch(Trace):
    """The trace, and beside it what S3 decided."""

    log: DecisionLog = field(default_factory=DecisionLog)

    # The trace is named in full: a slotted dataclass is made anew, and a bare super() would still mean the first one.

    def on_message(self, stream: str, message: Message) -> None:
        Trace.on_message(self, stream, message)
        if isinstance(message, SignalEvent):
            self.log.on_decision(message)

    def on_document(self, collection: str, key: str, body: str) -> None:
        Trace.on_document(self, collection, key, body)
        self.log.on_document(collection, key, body)


def replay(options: ReplayOptions, env: Mapping[str, str], quiet: bool) -> ReplayReport:
    """Run the system over the files. `quiet` leaves the progress bar out.

    Raises:
        ReplayProblem: the options fit neither themselves nor the files.
        KlineFileError: a file that must not be traded on.
        SettingsError: an environment variable that cannot be used.
    """
    keys = _keys(options)
    asked = _asked_period(options)
    shared, s3, s4 = ChimeraSettings.from_env(env), S3Settings.from_env(env), S4Settings.from_env(env)
    loaded = load_klines(options.folder, options.symbols)
    try:
        source = FileSource(loaded, keys, seed=options.seed)
    except ValueError as problem:
        raise ReplayProblem(f"{options.folder}: {problem}") from problem
    start_ms, end_ms = _period(options, source, asked)
    instruments = tuple(listed(key) for key in keys)
    with (
        _decisions_file(options.decisions) as write,
        _scratch_folder() as folder,
        _progress(start_ms, end_ms, quiet) as told,
    ):
        watch = _Watch(log=DecisionLog(write))
        setup = Setup(
            feed=Ticker(source, instruments, seed=options.seed, ticks_per_minute=TICKS_PER_MINUTE, end_ms=end_ms),
            rules=ExchangeRules(instruments=instruments),
            start_ms=start_ms,
            end_ms=end_ms,
            seed=options.seed,
            id_prefix=shared.id_prefix,
            env=shared.env,
            s3=s3,
            s4=s4,
            minute_days=S1Settings().minute_days,
            progress=told,
            trace=watch,
            # A wallet of a market that is left out would only be dead weight in equity and drawdown.
            spot_usdt=START_USDT if _trades(keys, Market.SPOT) else Decimal(0),
            fut_usdt=START_USDT if _trades(keys, Market.FUT) else Decimal(0),
            documents_file=folder / "documents.sqlite",
        )

        async def run() -> ReplayReport:
            ended = await simulate(setup)
            watch.log.close()
            found = await figures(ended, setup, watch.log.counted)
            await ended.documents.close()
            return ReplayReport(
                from_ms=start_ms,
                to_ms=end_ms,
                symbols=options.symbols,
                markets=tuple(dict.fromkeys(key.market.value for key in keys)),
                seed=options.seed,
                notes=(*source.notes, *_remarks(options, keys, s3), *found.halted),
                figures=found,
                examples=watch.log.examples,
                digest=watch.digest(),
                events=watch.events,
            )

        return run_virtual(run())


@contextmanager
def _decisions_file(path: Path | None) -> Iterator[Callable[[str], None] | None]:
    """What writes a line to it. A file that is there is replaced."""
    if path is None:
        yield None
    elif path == STDOUT:
        yield partial(_write_line, sys.stdout)
    else:
        try:
            opened = path.open("w", encoding="utf-8")
        except OSError as problem:
            raise ReplayProblem(f"--decisions {path} cannot be written: {problem.strerror or problem}") from problem
        with opened as file:
            yield partial(_write_line, file)


def _write_line(file: TextIO, line: str) -> None:
    file.write(line)
    file.write("\n")


# --- what was asked for


def _keys(options: ReplayOptions) -> tuple[InstrumentKey, ...]:
    known = [market.value for market in Market]
    for name in options.markets:
        if name not in known:
            raise ReplayProblem(f"--markets: {name!r} is no market; write FUT, SPOT or FUT,SPOT")
    if not options.markets:
        raise ReplayProblem("--markets names nothing; write FUT, SPOT or FUT,SPOT")
    keys = tuple(key for key in keys_for(options.symbols) if key.market.value in options.markets)
    for symbol in options.symbols:
        if not any(key.symbol == symbol for key in keys):
            raise ReplayProblem(
                f"{symbol} is not traded in {', '.join(options.markets)}: leave it out of --symbols, "
                "or add FUT to --markets"
            )
    return keys


def _trades(keys: tuple[InstrumentKey, ...], market: Market) -> bool:
    return any(key.market is market for key in keys)


def _asked_period(options: ReplayOptions) -> tuple[int | None, int | None]:
    start_ms, end_ms = _day_ms("--from", options.start), _day_ms("--to", options.end)
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise ReplayProblem(
            f"--from {options.start} is not before --to {options.end}: --to is the day after the last one"
        )
    return start_ms, end_ms


def _day_ms(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return day_ms(text)
    except ValueError as error:
        raise ReplayProblem(f"{option} {error}") from error


def _period(options: ReplayOptions, source: FileSource, asked: tuple[int | None, int | None]) -> tuple[int, int]:
    """What is replayed: whole days from the first one on, up to the last bar, inside what the files hold."""
    last_ms = source.end_ms
    assert last_ms is not None, "files end"
    held = f"the files hold {_utc(source.start_ms)} to {_utc(last_ms)}"
    start_ms, end_ms = asked
    if start_ms is None:
        midnight_ms = -(-source.start_ms // DAY_MS) * DAY_MS
        start_ms = midnight_ms if midnight_ms < (end_ms or last_ms) else source.start_ms
    elif source.start_ms - DAY_MS < start_ms < last_ms:
        # The day on which the files begin is a day that they hold.
        start_ms = max(start_ms, source.start_ms)
    else:
        raise ReplayProblem(f"--from {options.start} lies outside the data: {held}")
    if end_ms is None:
        end_ms = last_ms
    elif not start_ms < end_ms < last_ms + DAY_MS:
        raise ReplayProblem(f"--to {options.end} lies outside the data: {held}")
    return start_ms, min(end_ms, last_ms)


def _remarks(options: ReplayOptions, keys: tuple[InstrumentKey, ...], s3: S3Settings) -> Iterator[str]:
    """What a reader of the figures would otherwise wonder about."""
    for name in Market:
        if name.value not in options.markets:
            yield f"{name} is left out by --markets"
    traded = Flags().strategy.markets
    for key in keys:
        if key.market not in traded.get(key.symbol, ()):
            yield f"{key} is watched and not traded: strategy.markets of the default bundle does not name it"
        elif key.symbol not in s3.symbols:
            yield f"{key} is watched and not traded: S3_SYMBOLS does not name it"
    if LEAD not in options.symbols:
        yield f"nothing is opened without {LEAD}: the signal reads its days; add it to --symbols"


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M") + " UTC"


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """Where the documents lie while they are needed: a year of them would not fit into memory."""
    try:
        made = TemporaryDirectory(prefix="chimera-replay-")
    except OSError as problem:
        raise ReplayProblem(
            f"there is no folder for scratch files: {problem}. Set TMPDIR to a writable one"
        ) from problem
    with made as folder:
        yield Path(folder)


@contextmanager
def _progress(start_ms: int, end_ms: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar over market time, on stderr: what is shown on stdout is the result."""
    columns = (
        TextColumn("replay"),
        BarColumn(),
        TextColumn("{task.fields[day]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("replay", total=end_ms - start_ms, day=_utc(start_ms)[:10])
        yield lambda at_ms: progress.update(task, completed=at_ms - start_ms, day=_utc(at_ms)[:10])
