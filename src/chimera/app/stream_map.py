"""Who tells whom, drawn from what the services declare.

Owns the text of the stream map, which stands in ARCHITECTURE.md as well. What a service declares beyond its contract is
a mistake, and `undeclared` names it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from chimera.app.blueprint import ENV, drawn_house
from chimera.contracts.services import BY_ID
from chimera.contracts.streams import STREAMS, Stream
from chimera.runtime.service import Service

HOUSE_WIDE_MIN = 4
"""A stream with so many writers or readers is everybody's: its arrows would cover the picture."""


@dataclass(frozen=True, slots=True)
class Declared:
    """Ids of the running services that write and that read a stream, in the order of their numbers."""

    stream: Stream
    writers: tuple[str, ...]
    readers: tuple[str, ...]

    @property
    def family(self) -> str:
        return family_of(self.stream)

    @property
    def is_house_wide(self) -> bool:
        return max(len(self.writers), len(self.readers)) >= HOUSE_WIDE_MIN


def family_of(stream: Stream) -> str:
    """`ord:result` of `ord:result:INSTR`: what a service's `produces` names."""
    return stream.base.rstrip(":")


def stream_map() -> str:
    """The map of the services that run today, as Markdown. Must not be called in a running loop."""

    async def declared_services() -> Mapping[str, Service]:
        return {service_id: runner.service for service_id, runner in (await drawn_house()).runners.items()}

    return render(declared(asyncio.run(declared_services()), ENV))


def declared(services: Mapping[str, Service], env: str) -> tuple[Declared, ...]:
    """Every stream that somebody writes or reads, in the order of the contracts."""
    ids = [service_id for service_id in BY_ID if service_id in services]
    found = []
    for stream in STREAMS.values():
        writers = tuple(each for each in ids if family_of(stream) in services[each].produces)
        readers = tuple(each for each in ids if stream in _consumed(services[each], env))
        if writers or readers:
            found.append(Declared(stream, writers, readers))
    return tuple(found)


def undeclared(services: Mapping[str, Service], env: str) -> tuple[str, ...]:
    """What services write or read although the contracts do not say so, one sentence each."""
    findings = []
    families = {family_of(stream): stream for stream in STREAMS.values()}
    for service_id, service in services.items():
        for family in service.produces:
            if family not in families:
                findings.append(f"{service_id} produces {family}, which is no stream")
            elif service_id not in families[family].writers:
                findings.append(
                    f"{service_id} produces {family}, whose writers are {', '.join(families[family].writers)}"
                )
        for stream in _consumed(service, env):
            if service_id not in stream.readers:
                findings.append(
                    f"{service_id} consumes {stream.pattern}, whose readers are {', '.join(stream.readers)}"
                )
    return tuple(findings)


def _consumed(service: Service, env: str) -> tuple[Stream, ...]:
    names = [name for on in service.consumes for name in on.streams]
    return tuple(
        stream
        for stream in STREAMS.values()
        if any(name == f"{env}:{stream.base}" or _is_of(stream, env, name) for name in names)
    )


def _is_of(stream: Stream, env: str, name: str) -> bool:
    return (stream.per_instrument or stream.per_service) and name.startswith(f"{env}:{stream.base}")


def render(found: tuple[Declared, ...]) -> str:
    """A picture of who tells whom, and a table of every stream."""
    return f"{_picture(found)}\n\n{_table(found)}"


def _picture(found: tuple[Declared, ...]) -> str:
    arrows: dict[tuple[str, str], list[str]] = {}
    for each in found:
        if not each.is_house_wide:
            for writer in each.writers:
                for reader in each.readers:
                    arrows.setdefault((writer, reader), []).append(each.family)
    ids = [service_id for service_id in BY_ID if any(service_id in arrow for arrow in arrows)]
    lines = ["```mermaid", "flowchart LR"]
    lines += [f'    {service_id}["{service_id} {BY_ID[service_id].title}"]' for service_id in ids]
    lines += [
        f'    {writer} -- "{"<br>".join(families)}" --> {reader}' for (writer, reader), families in arrows.items()
    ]
    return "\n".join([*lines, "```"])


def _table(found: tuple[Declared, ...]) -> str:
    lines = ["| stream | payload | written by | read by |", "|---|---|---|---|"]
    lines += [
        f"| `{each.stream.pattern}` | {each.stream.payload.__name__} | {_ids(each.writers)} | {_ids(each.readers)} |"
        for each in found
    ]
    return "\n".join(lines)


def _ids(ids: tuple[str, ...]) -> str:
    return ", ".join(ids) or "–"
