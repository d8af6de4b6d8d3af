"""The stream map: drawn from what services declare, and held against what the contracts allow them."""

import asyncio
from collections.abc import Mapping

from chimera.app.blueprint import ENV, drawn_house
from chimera.app.registry import SERVICES
from chimera.app.stream_map import declared, render, undeclared
from chimera.contracts.messages import AlertEvent, OrderResult
from chimera.contracts.streams import ALERTS, ORD_RESULT
from chimera.runtime.service import On, Service
from tests.domain.builders import BTC_FUT, BTC_SPOT


async def ignore(message: object) -> None:
    """A handler for a service that only declares."""


def built() -> Mapping[str, Service]:
    async def services() -> Mapping[str, Service]:
        return {service_id: runner.service for service_id, runner in (await drawn_house()).runners.items()}

    return asyncio.run(services())


def test_every_running_service_is_drawn() -> None:
    assert tuple(built()) == SERVICES


def test_services_write_and_read_only_what_the_contracts_declare() -> None:
    assert undeclared(built(), ENV) == ()


def test_what_the_contracts_do_not_allow_is_named() -> None:
    thief = Service(
        id="s1",
        card="",
        produces=("ord:result", "gossip"),
        consumes=(On(streams=(ALERTS.name(ENV),), payload=AlertEvent, handle=ignore),),
    )

    assert undeclared({"s1": thief}, ENV) == (
        "s1 produces ord:result, whose writers are s4",
        "s1 produces gossip, which is no stream",
        "s1 consumes alerts, whose readers are s11, s12",
    )


def test_a_map_names_writers_and_readers_once_for_all_instruments() -> None:
    router = Service(id="s4", card="", produces=("ord:result",))
    streams = tuple(ORD_RESULT.name(ENV, key) for key in (BTC_FUT.key, BTC_SPOT.key))
    keeper = Service(id="s6", card="", consumes=(On(streams=streams, payload=OrderResult, handle=ignore),))

    drawn = render(declared({"s6": keeper, "s4": router}, ENV))

    assert 's4 -- "ord:result" --> s6' in drawn
    assert drawn.count("| `ord:result:INSTR` | OrderResult | s4 | s6 |") == 1
