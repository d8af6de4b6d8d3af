"""What a person types.

Owns the words on the command line and on the terminal: options, refusals with exit code 2, tables. The work is done
elsewhere; what only one command needs is imported by that command, so that `chimera --help` is quick.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from rich.markup import escape
from rich.table import Table

from chimera import __version__
from chimera.app.bundle_commands import bundle_app
from chimera.app.person_commands import approval_app, flatten, order_app, pause, position_app, resume
from chimera.app.terminal import DEFAULT_DATA, Data, Json, asking, err, out, refuse

app = typer.Typer(
    name="chimera",
    help="An unattended trading system for Binance USDT-M futures and spot.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
contracts_app = typer.Typer(help="What the system says: schemas of every message, document and call.")
app.add_typer(contracts_app, name="contracts")
app.add_typer(bundle_app, name="bundle")
app.add_typer(position_app, name="position")
app.add_typer(order_app, name="order")
app.add_typer(approval_app, name="approval")
app.command("flatten")(flatten)
app.command("pause")(pause)
app.command("resume")(resume)

Symbols = Annotated[str, typer.Option("--symbols", help="Comma-separated, e.g. BTCUSDT,ETHUSDT.")]


def main() -> None:
    app()


@contextmanager
def refusals(*more: type[Exception]) -> Iterator[None]:
    """Every known way in which a start can be refused, as one sentence and exit code 2; `more` are a command's own."""
    from chimera.adapters.kline_files import KlineFileError
    from chimera.adapters.simulated_venue.journal import JournalError
    from chimera.adapters.sqlite.documents import DataFolderError
    from chimera.app.client import NotRunning
    from chimera.app.data_folder import DataFolderProblem
    from chimera.app.people import PeopleProblem
    from chimera.app.serving import PortProblem
    from chimera.app.sides import UpProblem
    from chimera.contracts.settings import SettingsError
    from chimera.services.s12_gateway.passwords import PasswordRequired, WeakPassword

    known: tuple[type[Exception], ...] = (
        DataFolderProblem,
        DataFolderError,
        JournalError,
        KlineFileError,
        NotRunning,
        PasswordRequired,
        PeopleProblem,
        PortProblem,
        SettingsError,
        UpProblem,
        WeakPassword,
        *more,
    )
    try:
        yield
    except known as problem:
        refuse(str(problem))


def configure_log(level: str) -> None:
    """Structured lines on stderr: the terminal's own output stays readable."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def show_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def common(
    log: Annotated[LogLevel, typer.Option("--log", help="How much to say on stderr.")] = LogLevel.WARNING,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    configure_log(log.value)


def symbols_of(text: str, known: Collection[str] | None = None) -> tuple[str, ...]:
    """
    Args:
        known: which symbols there are; None: any that is written as one.

    Raises:
        typer.Exit: with the name of the symbol that cannot be traded.
    """
    from chimera.contracts.enums import Market
    from chimera.contracts.instrument_key import InstrumentKey
    from chimera.domain.market.listing import listed

    symbols = tuple(dict.fromkeys(part.strip().upper() for part in text.split(",") if part.strip()))
    if not symbols:
        refuse("--symbols names nothing; write e.g. --symbols BTCUSDT,ETHUSDT")
    for symbol in symbols:
        try:
            listed(InstrumentKey(Market.FUT, symbol))
        except ValueError as error:
            refuse(f"--symbols: {error}")
        if known is not None and symbol not in known:
            refuse(f"--symbols: the simulated exchange does not list {symbol}; use any of {', '.join(known)}")
    return symbols


VENUES = ("sim", "paper", "testnet", "live")


def venue_of(text: str) -> str:
    """
    Raises:
        typer.Exit: it is neither a known word nor a URL.
    """
    from chimera.app.sides import is_url

    if text not in VENUES and not is_url(text):
        refuse(
            f"--venue {text!r}: known are {', '.join(VENUES)}, or the URL of an exchange's server such as"
            " http://127.0.0.1:9900"
        )
    return text.rstrip("/")


@app.command()
def up(
    venue: Annotated[
        str,
        typer.Option(
            help="sim: simulated, in process. paper: live prices, simulated fills. testnet, live: Binance. Or the URL"
            " of a server that speaks its protocol: http on this machine, https elsewhere."
        ),
    ] = "sim",
    i_understand: Annotated[
        bool,
        typer.Option(
            "--i-understand",
            help="Needed where it may be real money: --venue live, or an https URL beyond this machine.",
        ),
    ] = False,
    market_data: Annotated[
        str, typer.Option(help="With --venue paper: live, testnet or a URL to take prices from.")
    ] = "live",
    symbols: Symbols = "BTCUSDT,ETHUSDT",
    warmup_days: Annotated[int, typer.Option(min=0, max=90, help="Simulated days before a new folder's start.")] = 14,
    speed: Annotated[
        float | None,
        typer.Option(min=0.1, max=600, help="Market time per real time; default 60 for sim, else the exchange's own."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The demonstration market's seed.")] = 7,
    data: Data = DEFAULT_DATA,
    host: Annotated[str, typer.Option(help="Beyond loopback a password must be set first.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Of the page and the gateway.")] = 8080,
    service_ports: Annotated[
        int | None, typer.Option(min=1, max=65_524, help="Also serve S1 on this port, S2 on the next, … S12.")
    ] = None,
    end_ms: Annotated[int | None, typer.Option(hidden=True, min=0)] = None,
) -> None:
    """Start the whole system and trade; prints one link to the page."""
    import uvloop

    from chimera.app.embedded import up as run
    from chimera.app.sides import SIM, UpOptions
    from chimera.domain.market.market_config import KNOWN

    venue = venue_of(venue)
    options = UpOptions(
        data=data,
        venue=venue,
        understood=i_understand,
        market_data=venue_of(market_data),
        symbols=symbols_of(symbols, KNOWN if venue == SIM else None),
        warmup_days=warmup_days,
        speed=speed,
        seed=seed,
        host=host,
        port=port,
        service_ports=service_ports,
        end_ms=end_ms,
    )
    with refusals():
        uvloop.run(run(options, os.environ, lambda text: out.print(text, highlight=False, soft_wrap=True)))


@app.command()
def venue(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="One port for all of the exchange's hosts.")] = 9900,
    symbols: Symbols = "BTCUSDT,ETHUSDT",
    seed: Annotated[int, typer.Option(min=0, help="The generated market's seed.")] = 7,
    klines: Annotated[Path | None, typer.Option(help="Let the market go as these kline files went.")] = None,
    speed: Annotated[float, typer.Option(min=0.1, max=600, help="Market time per real time.")] = 1.0,
    state: Annotated[
        Path | None, typer.Option(help="Folder of the account; without it the account ends with the process.")
    ] = None,
    start_ms: Annotated[int | None, typer.Option(min=0, help="Market time of a new exchange, epoch ms.")] = None,
    spot_usdt: Annotated[float, typer.Option(min=0, help="In a new account's spot wallet.")] = 10_000.0,
    fut_usdt: Annotated[float, typer.Option(min=0, help="In a new account's futures wallet.")] = 10_000.0,
    api_key: Annotated[str, typer.Option(help="Instead of the well-known one that `up --venue` tries.")] = "",
    api_secret: Annotated[str, typer.Option(help="Instead of the well-known one.")] = "",
    limit_scale: Annotated[int, typer.Option(min=1, help="Multiplies the exchange's rate limits.")] = 1,
    ticks_per_minute: Annotated[
        int | None, typer.Option(min=4, max=60_000, help="Of market time; default four a real second.")
    ] = None,
) -> None:
    """Serve a simulated exchange that speaks Binance's REST and WebSocket protocol, on loopback."""
    from decimal import Decimal

    import uvloop

    from chimera.domain.market.market_config import KNOWN
    from chimera.venue_server.limits import LimitRules
    from chimera.venue_server.server import VenueOptions, VenueProblem, serve

    options = VenueOptions(
        port=port,
        symbols=symbols_of(symbols, None if klines else KNOWN),
        seed=seed,
        klines=klines,
        speed=speed,
        state=state,
        start_ms=start_ms,
        spot_usdt=Decimal(str(spot_usdt)),
        fut_usdt=Decimal(str(fut_usdt)),
        api_key=api_key,
        api_secret=api_secret,
        limits=LimitRules(scale=limit_scale),
        ticks_per_minute=ticks_per_minute,
    )
    with refusals(VenueProblem):
        uvloop.run(serve(options, lambda text: out.print(text, highlight=False, soft_wrap=True)))


@app.command("warm-up", hidden=True)
def warm_up_command(
    data: Data,
    days: Annotated[int, typer.Option()],
    seed: Annotated[int, typer.Option()],
    symbols: Symbols,
    end_ms: Annotated[int, typer.Option()],
) -> None:
    """The child of `up` that simulates the past into a new data folder."""
    from chimera.contracts.settings import ChimeraSettings, S3Settings, S4Settings
    from chimera.simulation.warmup import tell_json, warm_up

    shared = ChimeraSettings.from_env(os.environ)
    with refusals():
        warm_up(
            data,
            symbols=symbols_of(symbols),
            days=days,
            seed=seed,
            end_ms=end_ms,
            id_prefix=shared.id_prefix,
            env=shared.env,
            s3=S3Settings.from_env(os.environ),
            s4=S4Settings.from_env(os.environ),
            tell=tell_json,
        )


@app.command()
def replay(
    klines: Annotated[Path, typer.Option(help="Folder of kline files: feather, parquet, CSV, or the exchange's zip.")],
    symbols: Symbols = "BTCUSDT,ETHUSDT",
    start: Annotated[
        str | None, typer.Option("--from", help="First day, yyyy-mm-dd UTC; earlier bars warm up.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Day after the last, yyyy-mm-dd UTC.")] = None,
    markets: Annotated[str, typer.Option(help="FUT, SPOT or FUT,SPOT.")] = "FUT,SPOT",
    seed: Annotated[int, typer.Option(min=0, help="Of everything that the files do not say.")] = 7,
    decisions: Annotated[
        Path | None,
        typer.Option(
            allow_dash=True,
            help="File for every decision with its whole trail, one JSON object a line; - writes them to stdout, and "
            "the report to stderr.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the whole system over real klines in virtual time."""
    from chimera.simulation.replay import STDOUT, ReplayOptions, ReplayProblem
    from chimera.simulation.replay import replay as run
    from chimera.simulation.replay_report import render

    with refusals(ReplayProblem):
        report = run(
            ReplayOptions(
                folder=klines,
                symbols=symbols_of(symbols),
                markets=tuple(part.strip().upper() for part in markets.split(",") if part.strip()),
                start=start,
                end=end,
                seed=seed,
                decisions=decisions,
            ),
            os.environ,
            quiet=as_json,
        )
    is_taken = decisions == STDOUT
    if as_json:
        print(json.dumps(report.to_json()), file=sys.stderr if is_taken else sys.stdout)
    else:
        render(report, err if is_taken else out)
    if not report.agrees:
        raise typer.Exit(1)


@app.command()
def simulate(
    seeds: Annotated[str, typer.Option(help="From and to, as 1..200, or one number.")] = "1..20",
    seed: Annotated[int | None, typer.Option(min=0, help="This one alone.")] = None,
    days: Annotated[float, typer.Option(min=0.05, max=30, help="Virtual days of each seed, in whole hours.")] = 1.0,
    faults: Annotated[
        str,
        typer.Option(
            help="swarm: each seed draws which kinds come and how often; single: one kind all the way; sweep: one fault"
            " at each step of a run in peace; none."
        ),
    ] = "swarm",
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind of fault; may be given again.")] = None,
    every: Annotated[int, typer.Option(min=1, help="sweep: only each so-many-th step.")] = 1,
    plan: Annotated[Path | None, typer.Option(help="A plan that an earlier run has kept; none is drawn.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes at once.")] = os.cpu_count() or 1,
    story: Annotated[bool, typer.Option("--story", help="Tell everything that happened; of one seed.")] = False,
    about: Annotated[str, typer.Option(help="story: only lines with one of these words, and the faults.")] = "",
    keep: Annotated[Path, typer.Option(help="Folder for plans and stories of what broke.")] = Path("var/simulate"),
    as_json: Json = False,
) -> None:
    """Attack the whole system in virtual time, by seed; every invariant must hold."""
    from chimera.simulation.attack.report import Attack, AttackProblem, run_attack

    with refusals(AttackProblem):
        attack = Attack.read(
            seeds=seeds if seed is None else str(seed),
            days=days,
            mode=faults,
            kinds=tuple(kind or ()),
            every=every,
            plan=plan,
            jobs=jobs,
            story=story,
            about=tuple(word for word in about.split(",") if word),
            keep=keep,
        )
    held = run_attack(attack, out, err, as_json=as_json)
    if not held:
        raise typer.Exit(1)


@app.command()
def download(
    start: Annotated[str, typer.Option("--from", help="First day, yyyy-mm-dd UTC.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder; what is there is not fetched again.")],
    end: Annotated[str | None, typer.Option("--to", help="Day after the last, yyyy-mm-dd UTC; default: now.")] = None,
    symbols: Symbols = "BTCUSDT,ETHUSDT",
    what: Annotated[str, typer.Option(help="Any of klines, funding, trades, twd.")] = "klines,funding,twd",
    markets: Annotated[str, typer.Option(help="FUT, SPOT or FUT,SPOT.")] = "FUT,SPOT",
    venue: Annotated[str, typer.Option(help="live, testnet, or an address as http://127.0.0.1:9900.")] = "live",
    as_json: Json = False,
) -> None:
    """Fetch market data from an exchange, without a key, into files that `replay` reads."""
    from chimera.app.download import DownloadOptions, DownloadProblem
    from chimera.app.download import download as run

    options = DownloadOptions(
        venue=venue,
        symbols=symbols_of(symbols),
        markets=tuple(part.strip().upper() for part in markets.split(",") if part.strip()),
        what=tuple(part.strip().lower() for part in what.split(",") if part.strip()),
        start=start,
        end=end,
        out=out_folder,
    )
    with refusals(DownloadProblem):
        report = asyncio.run(run(options, quiet=as_json))
    if as_json:
        print(json.dumps(report.to_json()))
        return
    for note in report.notes:
        out.print(note, highlight=False, soft_wrap=True)
    out.print(
        f"{report.parts} files in {out_folder}, {report.fetched} of them new ({report.rows:,} rows)."
        f"  chimera replay --klines {out_folder} --symbols {','.join(options.symbols)} --from {start}",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def decide(
    symbol: str,
    dry_run: Annotated[bool, typer.Option("--dry-run/--open", help="Say what would be decided; or decide.")] = True,
    market: Annotated[str | None, typer.Option(help="FUT or SPOT; default the symbol's first.")] = None,
    side: Annotated[str | None, typer.Option(help="BUY or SELL, instead of the signal.")] = None,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Ask the running system for a decision now."""
    from chimera.app.client import Client

    body: dict[str, Any] = {"symbol": symbol.upper(), "dry_run": dry_run}
    body |= {"market": market.upper()} if market else {}
    body |= {"sideHint": side.upper()} if side else {}
    with asking():
        answer = Client(data).call("POST", "/api/s3/decide", body)
    if answer.status != 200:
        refuse(str(answer.body.get("detail", answer.body)))
    if as_json:
        print(json.dumps(answer.body))
        return
    _show_decision(answer.body)


def _show_decision(body: dict[str, Any]) -> None:
    table = Table(title=f"{body['decision'].upper()}  {body['reason']}  {body.get('detail', '')}", title_justify="left")
    for column in ("gate", "value", "limit", ""):
        table.add_column(column, justify="right" if column in ("value", "limit") else "left")
    for gate in body.get("trail", {}).get("gates", []):
        value = gate["value"]
        table.add_row(
            gate["code"],
            "–" if value is None else f"{value:.6g}",
            f"{gate['limit']:.6g}",
            "[green]passed[/]" if gate["passed"] else "[bold red]refused[/]",
        )
    out.print(table)
    intent = body.get("intent")
    if intent:
        out.print(
            f"{intent['side']} {intent['qty']} {intent['symbol']} {intent['market']}"
            f"  stop {intent.get('sl_px')}  target {intent.get('tp_px')}  config rev {body['config_rev']}",
            highlight=False,
        )


@app.command()
def status(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """How the system on that data folder is: health, equity, positions with their stops, last decision."""
    from chimera.app.client import Client

    with asking():
        answer = Client(data).call("GET", "/status")
    if answer.status != 200:
        refuse(str(answer.body.get("detail", answer.body.get("note", answer.body))))
    if as_json:
        print(json.dumps(answer.body))
        return
    _show_status(answer.body)


def _show_status(body: dict[str, Any]) -> None:
    kill = "[bold red]ON[/]" if body["kill_switch"] == "ON" else "off"
    equity = "–" if body.get("equity_usdt") is None else f"{body['equity_usdt']:,.2f}"
    out.print(
        f"health [bold]{body['health']}[/]  equity [bold]{equity}[/] USDT"
        f"  trades {body['trades']}, {body['open_trades']} open  realised {body['realised_pnl_usdt']:+,.2f} USDT"
        f"  config rev {body.get('config_rev', '–')}  kill switch {kill}  market time {body['market_time']}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(title="Open positions", title_justify="left")
    for column in ("instrument", "side", "qty", "entry", "mark", "stop", "target", "ROE"):
        table.add_column(column, justify="left" if column in ("instrument", "side") else "right")
    for each in body["positions"]:
        table.add_row(
            f"{each['market']}:{each['symbol']}",
            each["side"],
            *(_figure(each.get(name)) for name in ("qty", "entry_price_avg", "mark_price", "stop_price", "tp_price")),
            "–" if each.get("roe") is None else f"{each['roe']:+.2%}",
        )
    out.print(table if body["positions"] else "No open position.")
    for each in body.get("restraints", []):
        name = f"{each['name']} {each['scope']}" if each.get("scope") else each["name"]
        out.print(
            f"[bold yellow]no new entries:[/] {escape(name)}: {escape(each['why'])}. {escape(each['remedy'])}",
            highlight=False,
            soft_wrap=True,
        )
    last = body.get("last_decision")
    if last:
        out.print(
            f"last decision: {last['instrument']} {last['action']} {last['reason']} {last['detail']}", highlight=False
        )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.8g}"


class SwitchWord(StrEnum):
    ON = "on"
    OFF = "off"
    STATUS = "status"


@app.command("kill-switch")
def kill_switch(
    word: Annotated[SwitchWord, typer.Argument(help="on, off or status")],
    reason: Annotated[str, typer.Option(help="Goes into the audit trail.")] = "command line",
    data: Data = DEFAULT_DATA,
) -> None:
    """Stop new entries, allow them again, or ask. Works without the page; `on` even while the system is down."""
    from chimera.app.client import Client, NotRunning
    from chimera.app.data_folder import KILL_NAME

    kill_file = data / KILL_NAME
    if word is SwitchWord.ON and data.is_dir():
        # First the road that needs nobody; once the system has taken it, its document holds the switch.
        kill_file.write_text(f"{reason}\n", encoding="utf-8")
    elif word is SwitchWord.OFF:
        kill_file.unlink(missing_ok=True)
    try:
        if word is SwitchWord.STATUS:
            answer = Client(data).call("GET", "/kill-switch")
        else:
            answer = Client(data).call("POST", "/kill-switch", {"state": word.value.upper(), "reason": reason})
    except NotRunning as why:
        if word is SwitchWord.ON and kill_file.exists():
            out.print(f"The system is not running; {kill_file} will keep it from entering when it starts.")
            return
        refuse(str(why))
    if answer.status != 200:
        refuse(str(answer.body.get("detail", answer.body)))
    if word is SwitchWord.ON:
        kill_file.unlink(missing_ok=True)
    out.print(f"kill switch {answer.body['state']}", highlight=False)


@app.command()
def password(
    name: Annotated[str, typer.Option(help="The user.")] = "admin",
    data: Data = DEFAULT_DATA,
) -> None:
    """Set a user's password, needed before --host goes beyond loopback. The system must not be running."""
    from chimera.app.people import set_password

    text = typer.prompt(f"New password for {name} (at least 12 characters)", hide_input=True, confirmation_prompt=True)
    with refusals():
        asyncio.run(set_password(data, name, text))
    out.print(f"The password of {name} is set.")


@app.command()
def doctor(
    data: Data = DEFAULT_DATA,
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 8080,
    venue: Annotated[
        str | None, typer.Option(help="Look at this exchange and its account too: testnet, live, or a server's URL.")
    ] = None,
    symbols: Symbols = "BTCUSDT,ETHUSDT",
    dead_man: Annotated[
        str | None,
        typer.Option(
            metavar="SYMBOL",
            help="With --venue testnet: try on this symbol, by two small orders far from the market, whether the"
            " dead-man switch spares stops, and keep the answer in --data for S4_DEAD_MAN_MS.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at versions, ports, disk, clock, data folder and exchange; say what is missing and what mends it."""
    from chimera.app.doctor import examine
    from chimera.app.sides import PAPER, SIM

    if dead_man is not None and (venue is None or venue_of(venue) in (SIM, PAPER)):
        refuse(f"--dead-man {dead_man}: name the exchange to try it at, --venue testnet")
    findings = examine(data, port)
    if venue is not None and venue_of(venue) not in (SIM, PAPER):
        from chimera.app.dead_man_trial import try_dead_man
        from chimera.app.remote import look_at
        from chimera.contracts.settings import S4Settings

        with refusals():
            s4 = S4Settings.from_env(os.environ)
            findings += asyncio.run(look_at(venue_of(venue), symbols_of(symbols), s4))
            if dead_man is not None:
                findings += asyncio.run(try_dead_man(venue_of(venue), symbols_of(dead_man)[0], data, s4))
    if as_json:
        print(json.dumps([finding.to_json() for finding in findings]))
    else:
        table = Table(title="chimera doctor", title_justify="left")
        for column in ("", "what", "found", "remedy"):
            table.add_column(column, overflow="fold")
        for finding in findings:
            table.add_row(finding.mark, *map(escape, (finding.what, finding.found, finding.remedy)))
        out.print(table)
    if any(finding.bad for finding in findings):
        raise typer.Exit(1)


@contracts_app.command("export")
def contracts_export(folder: Path) -> None:
    """Write every JSON Schema, the OpenAPI documents and the AsyncAPI document; the same bytes each time."""
    from chimera.app.openapi import everything

    files = everything()
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        refuse(f"{folder} cannot be written: {error.strerror}. Name another folder.")
    out.print(f"{len(files)} files in {folder}", highlight=False)


@app.command("flags")
def flags() -> None:
    """Print the page of everything that may be set: flags of a bundle, variables of the environment."""
    from chimera.app.flag_page import flag_page

    print(flag_page(), end="")


@app.command("map")
def stream_map() -> None:
    """Print the stream map: who tells whom."""
    from chimera.app.stream_map import stream_map as draw

    print(draw())


@app.command()
def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="sim, memory, decide, dryrun, config, venue, connector, features, orders, reconcile, recovery,"
            " tick-to-order"
        ),
    ],
    as_json: Json = False,
    days: Annotated[float, typer.Option(min=0.1, max=60, help="sim: virtual days.")] = 3.0,
    profile: Annotated[bool, typer.Option("--profile", help="sim: show where the time goes.")] = False,
    venue: Annotated[str, typer.Option(help="tick-to-order: sim, in process, or http, over sockets.")] = "sim",
) -> None:
    """Measure; nothing is asserted. Medians of several runs."""
    from chimera.simulation.bench import BENCHES, BenchOptions, BenchVenue, show

    if name not in BENCHES:
        refuse(f"there is no bench {name!r}; use one of {', '.join(BENCHES)}")
    if venue not in tuple(BenchVenue):
        refuse(f"--venue {venue!r}: known are {', '.join(BenchVenue)}")
    rows = BENCHES[name](BenchOptions(days=days, profile=profile, venue=BenchVenue(venue)))
    if as_json:
        for row in rows:
            print(json.dumps(row.to_json()))
    else:
        show(name, rows, out)
