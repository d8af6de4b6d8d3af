"""Real market data from an exchange into files that `replay` reads.

Owns what is asked for, in which order, and when a file need not be fetched again. Public calls only: no key is read or
sent. Within the exchange's limits, below what a trading system on the same address keeps for itself.
"""

import difflib
import errno
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import polars as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from chimera.adapters.binance.budget import Budget, Priority
from chimera.adapters.binance.hosts import Site
from chimera.adapters.binance.rest import Rest, understood
from chimera.adapters.chance import SystemRandomness
from chimera.adapters.clocks import LoopClock
from chimera.adapters.market_files import (
    DAY_MS,
    Kind,
    Part,
    funding_rows,
    kline_rows,
    parts,
    reaches_ms,
    trade_rows,
    twd_rows,
    write,
)
from chimera.adapters.max.feed import MaxFactorFeed
from chimera.app.remote import Place, find
from chimera.app.sides import LIVE, TESTNET
from chimera.contracts.enums import Market
from chimera.domain.market.days import day_ms
from chimera.ports.clock import Clock
from chimera.ports.venue import RateLimited, Refused, VenueUnavailable
from chimera.runtime.retry import Backoff

T = TypeVar("T")
Tell = Callable[[float], None]
"""How much of a part is there, 0 to 1."""
Save = Callable[[Part, pl.DataFrame, int], None]
"""As `market_files.write`."""

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
KLINES_MAX = 1_000
FUNDING_MAX = 1_000
TRADES_MAX = 1_000
TRIES = 6
"""A call that is not served is sent so often, with waits of 1 to 30 s between."""
BAN_MS = 180_000
"""The exchange's limits last a minute; whoever is told to stay away for longer is banned."""
ADVICE = "what is finished is kept: run the same command again to go on"
_SITES = {Market.FUT: Site.FUTURES, Market.SPOT: Site.SPOT}
_ROOTS = {Market.FUT: "/fapi/v1", Market.SPOT: "/api/v3"}
_TRADES_WEIGHTS = {Market.FUT: 20, Market.SPOT: 4}
_UNKNOWN_SYMBOL = -1121


class DownloadProblem(Exception):
    """One sentence: what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadOptions:
    """`start` is the first day, `end` the day after the last (None: up to now), as 2025-05-04."""

    venue: str
    symbols: tuple[str, ...]
    markets: tuple[str, ...]
    what: tuple[str, ...]
    start: str
    end: str | None
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything of one kind, symbol and market."""

    kind: Kind
    market: Market
    symbol: str
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        return f"{self.symbol} {self.kind.value}" + ("" if self.kind is Kind.TWD else f" {self.market.value}")


@dataclass(slots=True)
class DownloadReport:
    """`parts` files of the period are in the folder, `fetched` of them new."""

    parts: int = 0
    fetched: int = 0
    rows: int = 0
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"parts": self.parts, "fetched": self.fetched, "rows": self.rows, "notes": self.notes}


async def download(
    options: DownloadOptions, *, quiet: bool = False, save: Save = write, tries: int = TRIES
) -> DownloadReport:
    """Fetch what is not there yet. `quiet` leaves the progress bars out.

    Raises:
        DownloadProblem: the options fit neither themselves nor the exchange, or it cannot be gone on.
        UpProblem: the address is no exchange's, or nothing answers.
    """
    kinds, markets, start_ms = _kinds(options), _markets(options), _day("--from", options.start)
    end_ms = None if options.end is None else _day("--to", options.end)
    if end_ms is not None and start_ms >= end_ms:
        raise DownloadProblem(
            f"--from {options.start} is not before --to {options.end}: --to is the day after the last one"
        )
    if options.venue not in (LIVE, TESTNET) and "://" not in options.venue:
        raise DownloadProblem(
            f"--venue {options.venue!r} has nothing to download; write live, testnet, or http://127.0.0.1:9900"
        )
    async with aiohttp.ClientSession(headers={"User-Agent": "chimera"}) as session:
        place = await find(options.venue, None, session)
        clock = LoopClock(place.now_ms, place.speed)
        with _bars(quiet) as bars:
            source = Source(place, clock, session, bars.say, tries)
            now_ms = await source.now_ms(markets)
            if start_ms >= now_ms:
                raise DownloadProblem(
                    f"--from {options.start} lies in the future of {place.name}; it is {_utc(now_ms)}"
                )
            listed = {market: await source.listed(market, options.symbols) for market in markets}
            report = DownloadReport()
            end_ms = min(end_ms or now_ms, now_ms)
            jobs = list(_jobs(options, kinds, listed, start_ms, end_ms, report))
            if not jobs:
                raise DownloadProblem("--what funding needs FUT among --markets: spot pays none")
            return await Run(source, report, bars, save, start_ms, end_ms).all(jobs)


def _kinds(options: DownloadOptions) -> tuple[Kind, ...]:
    known = [kind.value for kind in Kind]
    for name in options.what:
        if name not in known:
            raise DownloadProblem(f"--what: {name!r} is nothing that can be downloaded; use any of {', '.join(known)}")
    if not options.what:
        raise DownloadProblem(f"--what names nothing; use any of {', '.join(known)}")
    return tuple(Kind(name) for name in dict.fromkeys(options.what))


def _markets(options: DownloadOptions) -> tuple[Market, ...]:
    known = [market.value for market in Market]
    for name in options.markets:
        if name not in known:
            raise DownloadProblem(f"--markets: {name!r} is no market; write FUT, SPOT or FUT,SPOT")
    if not options.markets:
        raise DownloadProblem("--markets names nothing; write FUT, SPOT or FUT,SPOT")
    return tuple(Market(name) for name in dict.fromkeys(options.markets))


def _day(option: str, text: str) -> int:
    try:
        return day_ms(text)
    except ValueError as error:
        raise DownloadProblem(f"{option} {error}") from error


def _jobs(
    options: DownloadOptions,
    kinds: Sequence[Kind],
    listed: Mapping[Market, Mapping[str, int]],
    start_ms: int,
    end_ms: int,
    report: DownloadReport,
) -> Iterator[Job]:
    """
    Raises:
        DownloadProblem: a symbol that no market lists.
    """
    for symbol in options.symbols:
        if not any(symbol in symbols for symbols in listed.values()):
            near = difflib.get_close_matches(symbol, sorted({name for each in listed.values() for name in each}))
            hint = f"did you mean {' or '.join(near)}?" if near else "correct it, or leave it out"
            raise DownloadProblem(
                f"--symbols: {options.venue} lists no {symbol} in {' or '.join(options.markets)}; {hint}"
            )
    for symbol in options.symbols:
        for market, symbols in listed.items():
            if symbol not in symbols:
                report.notes.append(f"{symbol} is not listed in {market.value}")
                continue
            for kind in kinds:
                if kind is Kind.TWD or (kind is Kind.FUNDING and market is Market.SPOT):
                    continue
                spans = tuple(parts(options.out, kind, market, symbol, start_ms, end_ms))
                yield Job(kind=kind, market=market, symbol=symbol, parts=spans)
    if Kind.TWD in kinds:
        spans = tuple(parts(options.out, Kind.TWD, Market.SPOT, "USDTTWD", start_ms, end_ms))
        yield Job(kind=Kind.TWD, market=Market.SPOT, symbol="USDTTWD", parts=spans)


@dataclass(slots=True)
class Run:
    """One job after the other. `end_ms` is where what was asked for ends, or the present."""

    source: "Source"
    report: DownloadReport
    bars: "Bars"
    save: Save
    start_ms: int
    end_ms: int

    async def all(self, jobs: Sequence[Job]) -> DownloadReport:
        """
        Raises:
            DownloadProblem: a symbol of which there is nothing of a kind in any market; the rest is there.
        """
        found = {job: await self._one(job) for job in jobs}
        for job in jobs:
            alike = [other for other in jobs if (other.kind, other.symbol) == (job.kind, job.symbol)]
            if not any(found[other] for other in alike):
                raise DownloadProblem(
                    f"there are no {job.kind.value} of {job.symbol} between {_utc(self.start_ms)} and"
                    f" {_utc(self.end_ms)} {self.source.since(job)}; choose another period, or leave"
                    f" {job.kind.value if job.kind is not Kind.KLINES else job.symbol} out"
                )
            if not found[job]:
                self.report.notes.append(f"there are no {job.name} in this period {self.source.since(job)}")
        return self.report

    async def _one(self, job: Job) -> bool:
        """Whether there is anything."""
        told = self.bars.add(job)
        found = False
        for number, part in enumerate(job.parts):
            told(number)
            if reaches_ms(part.path) >= min(part.end_ms, self.end_ms):
                self.report.parts += 1
                found = True
                continue
            table, until_ms = await self.source.fetch(job, part, partial(_within, told, number))
            if table.is_empty():
                continue
            found = True
            self._save(part, table, until_ms)
            if job.kind is Kind.KLINES:
                self._note_gaps(job, part, table, until_ms)
            self.report.parts += 1
            self.report.fetched += 1
            self.report.rows += len(table)
        told(len(job.parts))
        return found

    def _save(self, part: Part, table: pl.DataFrame, until_ms: int) -> None:
        try:
            self.save(part, table, until_ms)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DownloadProblem(
                    f"{part.path}: the disk is full. Free some space, or choose another folder with --out; {ADVICE}"
                ) from error
            raise DownloadProblem(
                f"{part.path}: cannot be written: {error.strerror or error}. Choose another folder with --out"
            ) from error

    def _note_gaps(self, job: Job, part: Part, table: pl.DataFrame, until_ms: int) -> None:
        """Bars that the exchange itself does not have, between its first and where the part ends."""
        first_ms = int(table["open_time"][0])
        missing = (min(until_ms, part.end_ms) - first_ms) // MINUTE_MS - len(table)
        if missing > 0:
            self.report.notes.append(
                f"{job.name}: {missing} minutes of {_utc(part.start_ms)[:10]} are not there at the exchange;"
                " replay needs a period without gaps"
            )


def _within(tell: Tell, number: int, done: float) -> None:
    tell(number + done)


@dataclass(slots=True)
class Source:
    """The exchange's public calls, asked patiently."""

    place: Place
    clock: Clock
    session: aiohttp.ClientSession
    say: Callable[[str], None]
    tries: int
    _rest: Rest = field(init=False)
    _since_ms: dict[tuple[Market, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        budget = Budget(self.clock, None, "")
        self._rest = Rest(session=self.session, hosts=self.place.hosts, clock=self.clock, budget=budget)

    async def now_ms(self, markets: Sequence[Market]) -> int:
        """The earliest of their clocks; each market's own says from now on what is closed there."""
        for market in markets:
            await self._patiently(self._rest.clocks[_SITES[market]].ask)
        return min(self._rest.clocks[_SITES[market]].now_ms() for market in markets)

    async def listed(self, market: Market, symbols: Sequence[str]) -> Mapping[str, int]:
        """Those symbols that the market lists, in futures all it lists, and since when (0: it does not say)."""
        if market is Market.FUT:
            info = await self._get(market, "exchangeInfo", {}, weight=1)
            found = self._understood(
                lambda info: {str(row["symbol"]): int(row.get("onboardDate", 0)) for row in info["symbols"]}, info
            )
        else:
            found = {}
            for symbol in symbols:
                try:
                    await self._get(market, "exchangeInfo", {"symbol": symbol}, weight=20)
                except Refused as refused:
                    if refused.code != _UNKNOWN_SYMBOL:
                        raise _refused(refused) from refused
                else:
                    found[symbol] = 0
        self._since_ms |= {(market, symbol): since_ms for symbol, since_ms in found.items()}
        return found

    def since(self, job: Job) -> str:
        since_ms = self._since_ms.get((job.market, job.symbol), 0)
        return f"(listed since {_utc(since_ms)[:10]})" if since_ms else f"at {self.place.name}"

    async def fetch(self, job: Job, part: Part, tell: Tell) -> tuple[pl.DataFrame, int]:
        """What there is of a part, and until when that is all."""
        # Read before asking: what closes meanwhile is left for the next time.
        until_ms = min(part.end_ms, self._rest.clocks[_SITES[job.market]].now_ms())
        try:
            match job.kind:
                case Kind.KLINES:
                    return await self._klines(job, part, until_ms, tell), until_ms
                case Kind.FUNDING:
                    return await self._funding(job, part, until_ms), until_ms
                case Kind.TRADES:
                    return await self._trades(job, part, until_ms, tell), until_ms
                case Kind.TWD:
                    return await self._twd(part, until_ms), until_ms
        except Refused as refused:
            raise _refused(refused) from refused

    async def _klines(self, job: Job, part: Part, until_ms: int, tell: Tell) -> pl.DataFrame:
        rows: list[Sequence[Any]] = []
        at_ms = part.start_ms
        while at_ms + MINUTE_MS <= until_ms:
            limit = min(KLINES_MAX, (until_ms - at_ms) // MINUTE_MS)
            page = await self._get(
                job.market,
                "klines",
                {
                    "symbol": job.symbol,
                    "interval": "1m",
                    "startTime": at_ms,
                    "endTime": until_ms - MINUTE_MS,
                    "limit": limit,
                },
                weight=_klines_weight(job.market, limit),
            )
            rows += self._understood(lambda page: [row for row in page if int(row[6]) < until_ms], page)
            if len(page) < limit:
                break
            at_ms = int(page[-1][0]) + MINUTE_MS
            tell((at_ms - part.start_ms) / DAY_MS)
        return self._understood(kline_rows, rows)

    async def _funding(self, job: Job, part: Part, until_ms: int) -> pl.DataFrame:
        rows: list[Mapping[str, Any]] = []
        at_ms = part.start_ms
        while at_ms < until_ms:
            query = {"symbol": job.symbol, "startTime": at_ms, "endTime": until_ms - 1, "limit": FUNDING_MAX}
            page = await self._get(job.market, "fundingRate", query, weight=1)
            rows += page
            if len(page) < FUNDING_MAX:
                break
            at_ms = max(int(row["fundingTime"]) for row in page) + 1
        return self._understood(funding_rows, rows)

    async def _trades(self, job: Job, part: Part, until_ms: int, tell: Tell) -> pl.DataFrame:
        """By time within an hour until one is found, by number from there on."""
        tables: list[pl.DataFrame] = []
        page: list[Mapping[str, Any]] = []
        at_ms = part.start_ms
        while not page and at_ms < until_ms:
            ends_ms = min(at_ms + HOUR_MS, until_ms) - 1
            page = await self._trades_page(job, {"startTime": at_ms, "endTime": ends_ms})
            at_ms += HOUR_MS
        while page:
            tables.append(self._understood(lambda page: trade_rows([row for row in page if row["T"] < until_ms]), page))
            newest_ms = int(page[-1]["T"])
            tell((min(newest_ms, until_ms) - part.start_ms) / DAY_MS)
            if newest_ms >= until_ms:
                break
            page = await self._trades_page(job, {"fromId": int(page[-1]["a"]) + 1})
        return pl.concat([trade_rows([]), *tables])

    async def _trades_page(self, job: Job, more: Mapping[str, int]) -> list[Mapping[str, Any]]:
        query = {"symbol": job.symbol, "limit": TRADES_MAX, **more}
        page: list[Mapping[str, Any]] = await self._get(
            job.market, "aggTrades", query, weight=_TRADES_WEIGHTS[job.market]
        )
        return page

    async def _twd(self, part: Part, until_ms: int) -> pl.DataFrame:
        feed = MaxFactorFeed(base_url=self.place.hosts.max_rest, session=self.session, clock=self.clock)
        return twd_rows(await self._patiently(lambda: feed.bars("1h", part.start_ms, until_ms - HOUR_MS + 1)))

    def _understood(self, parse: Callable[[Any], T], answer: Any) -> T:
        """
        Raises:
            DownloadProblem: it is not what the exchange documents.
        """
        try:
            return understood(parse, answer)
        except (VenueUnavailable, pl.exceptions.PolarsError) as error:
            why = f"{self.place.name} says what nobody expects: {error}"
            raise DownloadProblem(f"{why}. Try again later; {ADVICE}") from error

    async def _get(self, market: Market, call: str, query: Mapping[str, Any], *, weight: int) -> Any:
        return await self._patiently(
            lambda: self._rest.call(
                _SITES[market], "GET", f"{_ROOTS[market]}/{call}", query, weight=weight, priority=Priority.DATA
            )
        )

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """
        Raises:
            DownloadProblem: banned, or not served however often it is asked.
            Refused: the question is wrong.
        """
        backoff = Backoff(self.clock, SystemRandomness(), first_ms=1_000, max_ms=30_000)
        while True:
            try:
                return await ask()
            except RateLimited as limited:
                wait_ms = limited.retry_after_ms
                if wait_ms > BAN_MS:
                    raise DownloadProblem(
                        f"{self.place.name} wants no calls from this address for {wait_ms // 60_000} minutes; {ADVICE}"
                        " after that"
                    ) from limited
                self.say(f"waiting {max(1, wait_ms // 1_000)} s: the limit of calls is reached")
                await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(wait_ms + 100))
            except VenueUnavailable as down:
                if backoff.tried + 1 >= self.tries:
                    raise DownloadProblem(
                        f"{self.place.name} cannot be reached: {down.why}. Check the network and the address; {ADVICE}"
                    ) from down
                self.say(f"no answer, trying again: {down.why}")
                await backoff.wait()
            else:
                self.say("")


def _klines_weight(market: Market, limit: int) -> int:
    if market is Market.SPOT:
        return 2
    return 1 if limit < 100 else 2 if limit < 500 else 5


def _refused(refused: Refused) -> DownloadProblem:
    return DownloadProblem(f"the exchange refuses: {refused.code} {refused.text}. Correct --symbols or the period")


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M") + " UTC"


# --- what a person sees


@dataclass(slots=True)
class Bars:
    """A bar for each job, on stderr: what is shown on stdout is the result."""

    progress: Progress

    def add(self, job: Job) -> Tell:
        task = self.progress.add_task(job.name, total=len(job.parts), note="")
        return lambda done: self.progress.update(task, completed=done)

    def say(self, text: str) -> None:
        for task in self.progress.tasks[-1:]:
            self.progress.update(task.id, note=text)


@contextmanager
def _bars(quiet: bool) -> Iterator[Bars]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total} files"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        yield Bars(progress)
