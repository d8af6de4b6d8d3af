"""`chimera bundle`: drafts, compares, tries and activates configurations on the running system.

Owns what a person sees of it. Reading a file and the schema need no system; everything else asks the one that runs on
the data folder, by the calls of S10. What changes the configuration shows the change first and asks.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from chimera.app.terminal import DEFAULT_DATA, Data, Json, asking, err, out, refuse, say

bundle_app = typer.Typer(
    help="The configuration: draft it, compare it, try it, put it in force, take it back.", no_args_is_help=True
)

SLOW_S = 600.0
"""A dry run over a year reads for minutes."""

Reference = Annotated[str, typer.Argument(help="A bundle's id, its revision, or active.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
Reason = Annotated[str | None, typer.Option(help="Goes into the record and the audit trail.")]

DRAFT_PARTS = ("note", "flags", "rules", "factors", "instruments")
"""What a person writes of a bundle; the rest is the system's."""

MARKS = {"error": "[bold red]error[/]", "warning": "[yellow]warning[/]"}


@bundle_app.command("new")
def new(
    file: Annotated[Path, typer.Argument(help="YAML or JSON.")], data: Data = DEFAULT_DATA, as_json: Json = False
) -> None:
    """Store a file as a draft. Ends with 1 where the draft cannot be staged as it is."""
    kind, text = _read(file)
    body = _ask(data, "POST", "/bundles", text=(kind, text), file=file)
    if as_json:
        say(json.dumps(body))
    else:
        out.print(f"{body['status']} {body['bundle_id']}  hash {body['hash'][:12]}", highlight=False)
        _show_findings(body.get("findings", []), str(file))
    _end_by(body.get("findings", []))


@bundle_app.command("lint")
def lint(
    what: Annotated[str, typer.Argument(help="A file, or a bundle's id, its revision, or active.")],
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Say everything that is wrong. A file is judged here, without a running system."""
    if Path(what).is_file():
        findings = _lint_file(Path(what))
        if as_json:
            say(json.dumps({"file": what, "findings": findings}))
    else:
        if Path(what).suffix in (".yaml", ".yml", ".json"):
            refuse(f"there is no file {what}")
        body = _ask(data, "POST", f"/bundles/{what}/lint", {})
        findings = body.get("findings", [])
        if as_json:
            say(json.dumps(body))
    if not as_json:
        _show_findings(findings, what)
    _end_by(findings)


@bundle_app.command("diff")
def diff(
    bundle: Reference,
    against: Annotated[str, typer.Argument(help="What it is compared with.")] = "active",
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Say what a bundle changes of another, by meaning: order within a list is none."""
    body = _diff(data, bundle, against)
    if as_json:
        say(json.dumps(body))
    else:
        _show_diff(body)


@bundle_app.command("dry-run")
def dry_run(
    bundle: Reference,
    days: Annotated[int | None, typer.Option(min=1, max=365, help="How far back; S10_DRY_RUN_DAYS otherwise.")] = None,
    symbols: Annotated[str | None, typer.Option(help="Comma-separated; all otherwise.")] = None,
    against: Annotated[str, typer.Option(help="What it is run beside.")] = "active",
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Say what a bundle would have done with the signals of the last days. Ends with 1 where it breaks a limit."""
    wanted: dict[str, Any] = {"against": against}
    if days is not None:
        wanted["days"] = days
    if symbols is not None:
        wanted["symbols"] = [each.strip().upper() for each in symbols.split(",") if each.strip()]
    body = _ask(data, "POST", f"/bundles/{bundle}/dry-run", wanted, timeout_s=SLOW_S)
    if as_json:
        say(json.dumps(body))
    else:
        _show_dry_run(body)
    if not body["passed"]:
        raise typer.Exit(1)


@bundle_app.command("stage")
def stage(bundle: Reference, data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Give a clean draft its revision; from then on nothing of it changes."""
    body = _ask(data, "POST", f"/bundles/{bundle}/stage", {})
    if as_json:
        say(json.dumps(body))
        return
    out.print(f"{body['status']} rev {body['rev']}  {body['bundle_id']}", highlight=False)
    _show_findings(body.get("findings", []), body["bundle_id"])


@bundle_app.command("activate")
def activate(
    bundle: Reference, reason: Reason = None, yes: Yes = False, data: Data = DEFAULT_DATA, as_json: Json = False
) -> None:
    """Put a staged bundle in force, after showing what changes. Refused where somebody switched in between."""
    active = _ask(data, "GET", "/active")
    chosen = _ask(data, "GET", f"/bundles/{bundle}")["bundle"]
    if chosen.get("rev") is None:
        refuse(f"{chosen['bundle_id']} has no revision yet: chimera bundle stage {chosen['bundle_id']}")
    _confirm(data, str(chosen["rev"]), f"Activate rev {chosen['rev']} in place of rev {active['rev']}?", yes, as_json)
    wanted = {"bundle_id": chosen["bundle_id"], "mode": "FULL", "expected_seq": active["seq"], "reason": reason}
    _show_switch(_ask(data, "POST", "/promote", wanted), as_json)


@bundle_app.command("rollback")
def rollback(
    to_rev: Annotated[int | None, typer.Option(help="A revision that was in force; the one before otherwise.")] = None,
    reason: Reason = None,
    yes: Yes = False,
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
) -> None:
    """Put back what was in force before, after showing what changes."""
    active = _ask(data, "GET", "/active")
    target = to_rev if to_rev is not None else next(iter(active.get("way_back", [])), None)
    if target is None:
        refuse(f"nothing was in force before rev {active['rev']}; activate a bundle instead")
    _confirm(data, str(target), f"Roll back from rev {active['rev']} to rev {target}?", yes, as_json)
    wanted = {"to_rev": target, "expected_seq": active["seq"], "reason": reason}
    _show_switch(_ask(data, "POST", "/rollback", wanted), as_json)


@bundle_app.command("list")
def list_bundles(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Every bundle, newest first."""
    body = _ask(data, "GET", "/bundles")
    if as_json:
        say(json.dumps(body))
        return
    table = Table(title="Bundles", title_justify="left")
    for column in ("rev", "status", "id", "created", "by", "findings", "note"):
        table.add_column(column, justify="right" if column == "rev" else "left", overflow="fold")
    for each in body["bundles"]:
        status = f"[bold green]{each['status']}[/]" if each["status"] == "ACTIVE" else each["status"]
        table.add_row(
            str(each.get("rev", "–")),
            status,
            each["bundle_id"],
            _when(each.get("created_at")),
            escape(each.get("created_by", "")),
            _counted(each.get("findings", [])),
            escape(each.get("note", "")),
        )
    out.print(table)


@bundle_app.command("show")
def show(bundle: Reference = "active", data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Print a bundle as YAML to go on from: chimera bundle show > my.yaml, change it, chimera bundle new my.yaml."""
    from chimera.domain.config.writing import write_yaml

    body = _ask(data, "GET", f"/bundles/{bundle}")["bundle"]
    if as_json:
        say(json.dumps(body))
        return
    revision = f"rev {body['rev']}, " if body.get("rev") is not None else ""
    say(f"# {revision}{body['bundle_id']}, {body['status']}, hash {body['hash']}")
    say("# yaml-language-server: $schema=bundle.schema.json   (chimera bundle schema > bundle.schema.json)")
    say(write_yaml({name: body[name] for name in DRAFT_PARTS if body.get(name) is not None}).rstrip("\n"))


@bundle_app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a bundle, by which editors complete and check. Needs no running system."""
    from chimera.domain.config.schema import draft_schema

    say(json.dumps(draft_schema(), indent=2, ensure_ascii=False))


def _read(file: Path) -> tuple[str, str]:
    """Media type and text."""
    from chimera.runtime.http import JSON, YAML

    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        refuse(f"{file} cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        refuse(f"{file} is not UTF-8: {error.reason} at byte {error.start}")
    return (JSON if file.suffix == ".json" else YAML), text


def _lint_file(file: Path) -> list[dict[str, Any]]:
    """Everything that can be found without the exchange's list of instruments, as `LintFinding`s."""
    from chimera.domain.config.lint import cautions
    from chimera.domain.config.lint import lint as faults_of
    from chimera.domain.config.source_lines import line_of, lines_of
    from chimera.ports.peers import BodyText
    from chimera.runtime.service import Problem
    from chimera.services.s10_config.handlers.bundles import read_draft

    kind, text = _read(file)
    try:
        draft = read_draft(BodyText(kind, text))
    except Problem as problem:
        return _as_findings(problem.more.get("errors", []), str(problem))
    lines = lines_of(text)
    faults = faults_of(draft.to_dict())
    warned = () if faults else cautions(draft.flags, draft.rules, draft.factors)
    return [
        {
            "level": level,
            "path": each.path,
            "message": f"{each.value!r:.200}",
            "remedy": each.remedy,
            "line": line_of(lines, each.path),
        }
        for level, found in (("error", faults), ("warning", warned))
        for each in found
    ]


def _as_findings(errors: list[dict[str, Any]], detail: str) -> list[dict[str, Any]]:
    """A refusal's fields in the form of findings."""
    if not errors:
        return [{"level": "error", "path": "", "message": "", "remedy": detail}]
    return [
        {
            "level": "error",
            "path": each.get("field", ""),
            "message": f"{each.get('value')!r:.200}",
            "remedy": each.get("remedy", ""),
            "line": each.get("line"),
        }
        for each in errors
    ]


def _ask(
    data: Path,
    method: str,
    path: str,
    body: Any = None,
    *,
    text: tuple[str, str] | None = None,
    file: Path | None = None,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """An answer of S10; a refusal ends the command: 1 with its findings, 2 otherwise."""
    from chimera.app.client import TIMEOUT_S, Client

    with asking():
        answer = Client(data, timeout_s or TIMEOUT_S).call(method, f"/api/s10{path}", body, text=text)
    if answer.status not in (200, 201):
        _refused(answer.body if isinstance(answer.body, dict) else {"detail": str(answer.body)}, file)
    found: dict[str, Any] = answer.body
    return found


def _refused(problem: dict[str, Any], file: Path | None) -> NoReturn:
    errors = problem.get("errors", [])
    if not errors:
        refuse(str(problem.get("detail", problem)))
    _show_findings(_as_findings(errors, ""), str(file) if file is not None else "", to_err=True)
    raise typer.Exit(1)


def _diff(data: Path, bundle: str, against: str) -> dict[str, Any]:
    from urllib.parse import quote

    return _ask(data, "GET", f"/bundles/{quote(bundle, safe='')}/diff?against={quote(against, safe='')}")


def _confirm(data: Path, to: str, question: str, yes: bool, as_json: bool) -> None:
    """Show what would change and ask."""
    body = _diff(data, to, "active")
    if not as_json:
        _show_diff(body)
    if yes:
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        refuse("nobody answered, and nothing was changed; --yes does it without asking")
    if not agreed:
        refuse("nothing was changed")


def _end_by(findings: list[dict[str, Any]]) -> None:
    if any(each["level"] == "error" for each in findings):
        raise typer.Exit(1)


def _counted(findings: list[dict[str, Any]]) -> str:
    counts = {level: sum(each["level"] == level for each in findings) for level in MARKS}
    return ", ".join(f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items() if count)


def _show_findings(findings: list[dict[str, Any]], where: str, *, to_err: bool = False) -> None:
    console = err if to_err else out
    if not findings:
        console.print(f"{where}: nothing is wrong" if where else "nothing is wrong", highlight=False)
        return
    table = Table(title=_counted(findings), title_justify="left")
    lined = any(each.get("line") for each in findings)
    for column in ("", *(("line",) if lined else ()), "where", "what stands there", "remedy"):
        table.add_column(column, overflow="fold", justify="right" if column == "line" else "left")
    for each in findings:
        table.add_row(
            MARKS[each["level"]],
            *((str(each.get("line") or ""),) if lined else ()),
            *(escape(str(each.get(name) or "")) for name in ("path", "message", "remedy")),
        )
    console.print(table)


def _show_diff(body: dict[str, Any]) -> None:
    names = [
        f"rev {rev}" if rev is not None else bundle_id
        for rev, bundle_id in ((body.get("against_rev"), body["against"]), (body.get("rev"), body["bundle_id"]))
    ]
    changes = body.get("differences", [])
    if not changes:
        out.print(f"{names[0]} and {names[1]} say the same.", highlight=False)
        return
    table = Table(title=f"From {names[0]} to {names[1]}: {len(changes)} difference(s)", title_justify="left")
    for column in ("", "where", "what changes"):
        table.add_column(column, overflow="fold")
    signs = {"ADDED": "[green]+[/]", "REMOVED": "[red]-[/]", "CHANGED": "[yellow]~[/]"}
    for each in changes:
        table.add_row(signs[each["kind"]], escape(each["path"]), escape(each["words"]))
    out.print(table)


def _show_switch(body: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say(json.dumps(body))
        return
    later = "" if body["status"] == "DONE" else "; it is told within seconds"
    out.print(
        f"rev {body['to_rev']} is in force, seq {body['seq']} (before: rev {body['from_rev']}){later}", highlight=False
    )


def _show_dry_run(body: dict[str, Any]) -> None:
    word = "[bold green]passed[/]" if body["passed"] else "[bold red]not passed[/]"
    reference = f"rev {body['against_rev']}" if body.get("against_rev") is not None else body["against"]
    out.print(
        f"{word}  {body['signals']} signals of {body['days']} days beside {reference}, in {body['duration_ms']} ms",
        highlight=False,
    )
    limits = Table(title="Limits", title_justify="left")
    for column in ("", "limit", "found"):
        limits.add_column(column)
    for each in body["limits"]:
        limits.add_row(
            "[green]kept[/]" if each["passed"] else "[bold red]broken[/]", each["name"], escape(each["words"])
        )
    out.print(limits)
    table = Table(title="Opened", title_justify="left")
    for column in ("instrument", "signals", "reached rules", "opened", "before", "both", "in common"):
        table.add_column(column, justify="left" if column == "instrument" else "right")
    every = [(f"{each['market']}:{each['symbol']}", each) for each in body.get("instruments", [])]
    for name, each in [*every, ("all", body)]:
        counts = ("signals", "asked", "opened", "opened_by_reference", "opened_by_both")
        table.add_row(name, *(str(each[count]) for count in counts), f"{each['jaccard']:.1%}")
    out.print(table)
    for title, rows, name, mine, theirs in (
        ("Rules that fired", body.get("rules", []), "rule_id", "hits", "hits_of_reference"),
        ("How signals ended", body.get("outcomes", []), "outcome", "signals", "signals_of_reference"),
    ):
        if rows:
            counted = Table(title=title, title_justify="left")
            for column in ("", "now", "before"):
                counted.add_column(column, justify="right" if column else "left")
            for each in rows:
                counted.add_row(escape(each[name]), str(each[mine]), str(each[theirs]))
            out.print(counted)
    for note in body.get("notes", []):
        out.print(f"[dim]{escape(note)}[/]", highlight=False)


def _when(epoch_ms: int | None) -> str:
    if epoch_ms is None:
        return "–"
    return datetime.fromtimestamp(epoch_ms / 1_000, tz=UTC).strftime("%Y-%m-%d %H:%M")
