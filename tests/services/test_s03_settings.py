"""Every S3_ variable of the seeds changes what it says it changes: a decision, or where S3 connects."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chimera.contracts.settings import S3Settings
from chimera.contracts.streams import CFG_EVENTS
from chimera.simulation.loop import run_virtual
from tests.services.meddling import Meddled
from tests.services.test_s03_strategy import HOUSE, Desk
from tests.services.trading_floor import ENV


class DeafToSwitches(Meddled):
    """A bus on which the events of the configuration get lost on their way to a reader."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.instead["read_broadcast"] = self._broadcast

    async def _broadcast(self, call: Any, stream: str, *args: Any, **kwargs: Any) -> Any:
        if stream == CFG_EVENTS.name(ENV):
            await asyncio.Event().wait()
        return await call(stream, *args, **kwargs)


Look = Callable[[Desk], Awaitable[Any]]


async def decided(desk: Desk) -> Any:
    """What becomes of a signal on which all is well: the detail, and what was planned."""
    decision = (await desk.signal(await desk.see())).decision
    if decision.detail != "OK":
        return decision.detail
    assert decision.trail is not None
    plan = decision.trail["plan"]
    return plan["qty"], plan["leverage"], round(plan["stop_distance"], 6)


async def decided_where_the_bundle_is_silent(desk: Desk) -> Any:
    await desk.promote(flags={"risk": {}})
    await desk.settle(6_000)
    return await decided(desk)


async def revision_after_a_lost_event(desk: Desk) -> Any:
    """Which revision decides 2 s after a switch of which no event arrived, before the fifth second of S3's life."""

    await desk.see(0.0)
    await desk.promote(flags={"spot": {"quote_usdt": 60}})
    await desk.settle(1_000)
    return (await desk.decide("/dryrun")).body["config_rev"]


AS_DEFAULT = (0.006, 20, 150.0)

# variable, text, what is looked at, by default, with the variable. Source: 000 E.
EFFECTS: list[tuple[str, str, Look, Any, Any]] = [
    ("S3_SYMBOLS", "ETHUSDT", decided, AS_DEFAULT, "NOT_TRADED"),
    ("S3_MAX_FUNDING_ABS", "0.00005", decided, AS_DEFAULT, "FUNDING"),
    ("S3_SPREAD_BP_LIMIT_DEFAULT", "0.3", decided, AS_DEFAULT, "SPREAD"),
    ("S3_DEPTH_TOP1_USDT_MIN_DEFAULT", "4000000", decided, AS_DEFAULT, "DEPTH"),
    ("S3_LEVERAGE_DEFAULT", "10", decided, AS_DEFAULT, (0.003, 10, 150.0)),
    ("S3_MARGIN_BASE_USDT", "40", decided, AS_DEFAULT, (0.013, 20, 92.307692)),
    ("S3_MAX_LOSS_USDT", "0.3", decided, AS_DEFAULT, (0.006, 20, 50.0)),
    ("S3_ATR_MULT", "0.5", decided, AS_DEFAULT, (0.006, 20, 50.0)),
    ("S3_CONCURRENT_ENTRIES_PER_MARKET", "0", decided_where_the_bundle_is_silent, AS_DEFAULT, "CONCURRENCY"),
    ("S3_CONFIG_POLL_SEC", "1", revision_after_a_lost_event, 1, 2),
]

# variable, text, field. Sn_… wins over CHIMERA_…: `tests/contracts/test_settings.py`.
CONNECTIONS = [
    ("S3_DB_ARANGO_URI", "http://db:8529", "db_arango_uri"),
    ("S3_DB_ARANGO_USER", "s3", "db_arango_user"),
    ("S3_DB_ARANGO_PASS", "hush", "db_arango_pass"),
    ("S3_REDIS_ADDRESSES", "host1:6379", "redis_addresses"),
]


def looked_at(variables: S3Settings, look: Look) -> Any:
    class OwnDesk(Desk):
        pass

    OwnDesk.variables = variables

    async def scenario() -> Any:
        desk = await OwnDesk.begin(*HOUSE, bus=DeafToSwitches)
        seen = await look(desk)
        await desk.stop()
        return seen

    return run_virtual(scenario())


@pytest.mark.parametrize(("variable", "text", "look", "usual", "changed"), EFFECTS, ids=[each[0] for each in EFFECTS])
def test_a_variable_changes_what_is_decided(variable: str, text: str, look: Look, usual: Any, changed: Any) -> None:
    assert looked_at(S3Settings.from_env({}), look) == usual
    assert looked_at(S3Settings.from_env({variable: text}), look) == changed


def test_what_the_bundle_says_of_concurrency_wins_over_the_variable() -> None:
    async def look(desk: Desk) -> Any:
        await desk.promote(flags={"risk": {"concurrent_entries_per_market": 1}})
        await desk.settle(6_000)
        return await decided(desk)

    assert looked_at(S3Settings.from_env({"S3_CONCURRENT_ENTRIES_PER_MARKET": "0"}), look) == AS_DEFAULT


@pytest.mark.parametrize(("variable", "text", "field"), CONNECTIONS)
def test_a_variable_says_where_to_connect(variable: str, text: str, field: str) -> None:
    usual, told = S3Settings.from_env({}), S3Settings.from_env({variable: text})

    assert getattr(told, field) != getattr(usual, field)
    assert told.but(**{field: getattr(usual, field)}) == usual


def test_no_variable_of_the_seeds_is_left_out() -> None:
    seeds = (
        "S3_DB_ARANGO_URI S3_DB_ARANGO_USER S3_DB_ARANGO_PASS S3_REDIS_ADDRESSES S3_SYMBOLS S3_MAX_FUNDING_ABS"
        " S3_SPREAD_BP_LIMIT_DEFAULT S3_DEPTH_TOP1_USDT_MIN_DEFAULT S3_LEVERAGE_DEFAULT S3_MARGIN_BASE_USDT"
        " S3_MAX_LOSS_USDT S3_ATR_MULT S3_CONCURRENT_ENTRIES_PER_MARKET S3_CONFIG_POLL_SEC"
    )

    assert {each[0] for each in EFFECTS} | {each[0] for each in CONNECTIONS} == set(seeds.split())
