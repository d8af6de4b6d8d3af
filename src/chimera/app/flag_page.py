"""The page of everything that may be set, made from the contracts. A test fails when `docs/flags.md` is another.

Owns the page's words and form. Which flags and variables there are, and why, stands beside each of them.
"""

from collections.abc import Sequence
from itertools import groupby

from chimera.contracts.option_rows import OptionRow, flag_rows, variable_rows
from chimera.contracts.services import BY_ID

_HEAD = """\
# What may be set

Made by `chimera flags` from the contracts; a change here is lost, a change there (`make flags`) is not.

**Flags** stand in the configuration bundle and change while the system runs: `chimera bundle` drafts, compares, tries
and activates one. What a bundle does not tell has the default. **Variables** stand in the environment and are read at
the start. A flag wins over a variable, except over those that say *hard cap*. Fractions: 0.1 is 10 %.
"""


def flag_page() -> str:
    """The whole page, Markdown."""
    parts = [_HEAD, "## Flags of a bundle\n"]
    for group, rows in groupby(flag_rows(), key=lambda row: row.path.partition(".")[0]):
        parts.append(f"### {group}\n\n{_table('flag', tuple(rows))}\n")
    parts.append("## Variables of the environment\n")
    for service, variables in variable_rows().items():
        title = f"{service} · {BY_ID[service].title}" if service in BY_ID else "shared"
        parts.append(f"### {title}\n\n{_table('variable', variables)}\n")
    return "\n".join(parts)


def _table(what: str, rows: Sequence[OptionRow]) -> str:
    lines = [f"| {what} | unit | range | default | why |", "|---|---|---|---|---|"]
    for row in rows:
        why = f"{row.reason} (else `{row.also}`)" if row.also else row.reason
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.path}` | {row.unit} | {row.range} | {default} | {_cell(why)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
