"""Every S4_ variable of the seeds changes what it says it changes: an order, a limit on it, or where S4 connects."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chimera.adapters.binance.hosts import TESTNET
from chimera.app.embedded import UpOptions, UpProblem, up
from chimera.app.remote import Place, signer_of
from chimera.app.route_file import route_file
from chimera.contracts.enums import BreakerState, Regime
from chimera.contracts.flags import Flags
from chimera.contracts.settings import S4Settings, SettingsError
from chimera.domain.execution.breaker import Breaker
from chimera.domain.execution.downsize import GiveUp, Want, downsized
from chimera.domain.execution.last_gate import LastGate
from chimera.domain.execution.maker_wait import Market as WaitMarket
from chimera.domain.execution.maker_wait import maker_wait
from chimera.domain.execution.route import parse_table
from chimera.domain.execution.slicing import how_many, parts_for
from chimera.services.s04_router import service as s4
from chimera.services.s04_router.breaker import policy_of
from chimera.services.s04_router.gated_venue import gate_of
from chimera.services.s04_router.settings import Settings as RouterSettings
from chimera.simulation.loop import run_virtual
from tests.domain.builders import BTC_SPOT
from tests.ports.hand_clock import HandClock
from tests.services.trading_floor import ENV, FUT, SPOT, Floor

D = Decimal
T0 = 1_700_000_000_000
SEED_G = Path(__file__).parents[1] / "data" / "seed_000_g" / "route_table.json"
ROUTING = Flags().execution.routing
Look = Callable[[S4Settings], Any]


def wait_ms(told: S4Settings) -> int:
    """What a maker order of 120 USDT is given, by the route file where there is one, else 2,000 in a quiet market."""
    text = route_file(told.route_table_path)()
    quiet = WaitMarket(notional_usdt=D(120), spread_bps=1.0, depth_top1_usdt=1e6, regime=Regime.FROZEN)
    file = None if text is None else parse_table(text)
    return maker_wait(quiet, ROUTING.maker_wait, cap_ms=told.maker_max_wait_ms, file=file).wait_ms


def slices_of_a_large_order(told: S4Settings) -> int:
    return how_many(parts_for(D(20_000), ROUTING.twap), D(20_000), told.twap_max_slices)


def breaker(told: S4Settings) -> Breaker:
    return Breaker(policy_of(told, HandClock()))


def is_open_after(told: S4Settings, *calls: tuple[int, bool]) -> bool:
    found = breaker(told)
    for at_ms, failed in calls:
        found.end(T0 + at_ms, found.begin(T0 + at_ms), failed=failed)
    return found.standing.state is BreakerState.OPEN


def a_failure_of_70_s_ago_counts(told: S4Settings) -> bool:
    return is_open_after(told, *[(0, True)] * 9, (70_000, True))


def three_of_ten_open_it(told: S4Settings) -> bool:
    return is_open_after(told, *[(0, False)] * 7, *[(0, True)] * 3)


def five_of_five_open_it(told: S4Settings) -> bool:
    return is_open_after(told, *[(0, True)] * 5)


def opened(told: S4Settings) -> Breaker:
    found = breaker(told)
    for _ in range(20):
        found.end(T0, found.begin(T0), failed=True)
    return found


def holds_entries_for_a_minute(told: S4Settings) -> bool:
    return opened(told).forbids(T0 + 60_000)


def one_good_call_closes_it(told: S4Settings) -> bool:
    found = opened(told)
    found.end(T0 + 300_000, found.begin(T0 + 300_000), failed=False)
    return found.standing.state is BreakerState.CLOSED


def stopped(told: S4Settings, *orders: tuple[int, str, str]) -> bool:
    """Whether the last gate stops the last of these: ms, worth in USDT, price that it was made for at a mid of 100."""
    gate: LastGate = gate_of(told)
    said = [gate.refuses(T0 + at_ms, D(worth) / 100, D(100), D(price)) for at_ms, worth, price in orders]
    return said[-1] is not None


def trigger_of_a_stop(told: S4Settings) -> str:
    """Which price triggers the stop of an entry, as the exchange lists it."""

    class OwnFloor(Floor):
        def _build(self, service_id: str) -> Any:
            if service_id != "s4":
                return super()._build(service_id)
            settings = RouterSettings(env=ENV, keys=(FUT, SPOT), working_type=told.working_type)
            return s4.build(self.world, settings)

    async def scenario() -> str:
        floor = await OwnFloor.open("s10", "s1", "s4", "s5")
        await floor.enter()
        stop = next(order for order in await floor.venue.open_orders((FUT,)) if order.conditional)
        await floor.stop()
        return stop.working_type.value

    return run_virtual(scenario())


def signed_with(told: S4Settings) -> tuple[str, str]:
    signer = signer_of(told, Place("local", TESTNET, 1.0, 0, 0))
    return signer.key, signer.sign("x=1")


WANT = Want(qty=D(1), price=D(60_000), fee_ratio=D("0.001"), leverage=1, instrument=BTC_SPOT, min_slice_usdt=D(0))


def third_refusal_ends_it(told: S4Settings) -> bool:
    found = downsized(WANT, None, refusals=3, tries_max=told.funds_tries_max, retry_ms=told.funds_retry_ms)
    return isinstance(found, GiveUp)


def first_smaller_try_after(told: S4Settings) -> int:
    found = downsized(WANT, None, refusals=1, tries_max=told.funds_tries_max, retry_ms=told.funds_retry_ms)
    assert not isinstance(found, GiveUp)
    return found.after_ms


# variable, text, what is looked at, by default, with the variable. Source: 000 E, 003 section 12; below the line ours.
EFFECTS: list[tuple[str, str, Look, Any, Any]] = [
    ("S4_ROUTE_TABLE_PATH", str(SEED_G), wait_ms, 2_000, 1_500),
    ("S4_CB_ERROR_RATE_WINDOW", "90s", a_failure_of_70_s_ago_counts, False, True),
    ("S4_CB_ERROR_RATE_THRESH", "0.5", three_of_ten_open_it, True, False),
    ("S4_MAKER_MAX_WAIT_MS", "700", wait_ms, 2_000, 700),
    ("S4_TWAP_MAX_SLICES", "4", slices_of_a_large_order, 8, 4),
    ("S4_WORKING_TYPE", "CONTRACT_PRICE", trigger_of_a_stop, "MARK_PRICE", "CONTRACT_PRICE"),
    # --- not in the seeds
    ("S4_CB_CALLS_MIN", "5", five_of_five_open_it, False, True),
    ("S4_CB_OPEN_MS", "60000", holds_entries_for_a_minute, True, False),
    ("S4_CB_PROBES", "1", one_good_call_closes_it, False, True),
    ("S4_GATE_ORDERS_PER_S_MAX", "1", lambda told: stopped(told, (0, "9", "100"), (0, "9", "100")), False, True),
    ("S4_GATE_NOTIONAL_USDT_MAX", "100", lambda told: stopped(told, (0, "101", "100")), False, True),
    (
        "S4_GATE_DAY_NOTIONAL_USDT_MAX",
        "100",
        lambda told: stopped(told, (0, "60", "100"), (5_000, "60", "100")),
        False,
        True,
    ),
    ("S4_GATE_MID_DISTANCE_MAX", "0.01", lambda told: stopped(told, (0, "9", "102")), False, True),
    ("S4_FUNDS_TRIES_MAX", "2", third_refusal_ends_it, False, True),
    ("S4_FUNDS_RETRY_MS", "50", first_smaller_try_after, 200, 50),
]

# variable, text, field. S4_… wins over CHIMERA_…: `tests/contracts/test_settings.py`.
CONNECTIONS = [
    ("S4_DB_ARANGO_URI", "http://db:8529", "db_arango_uri"),
    ("S4_DB_ARANGO_USER", "s4", "db_arango_user"),
    ("S4_DB_ARANGO_PASS", "hush", "db_arango_pass"),
    ("S4_REDIS_ADDRESSES", "host1:6379", "redis_addresses"),
]

OF_THEIR_OWN = ("S4_EXCHANGE", "S4_BINANCE_KEY", "S4_BINANCE_SECRET", "S4_TESTNET", "S4_OCO_GUARDIAN")
"""Each has a test below."""


@pytest.mark.parametrize(("variable", "text", "look", "usual", "changed"), EFFECTS, ids=[each[0] for each in EFFECTS])
def test_a_variable_changes_what_it_says(variable: str, text: str, look: Look, usual: Any, changed: Any) -> None:
    assert look(S4Settings.from_env({})) == usual
    assert look(S4Settings.from_env({variable: text})) == changed


@pytest.mark.parametrize(("variable", "text", "field"), CONNECTIONS)
def test_a_variable_says_where_to_connect(variable: str, text: str, field: str) -> None:
    usual, told = S4Settings.from_env({}), S4Settings.from_env({variable: text})

    assert getattr(told, field) != getattr(usual, field)
    assert told.but(**{field: getattr(usual, field)}) == usual


def test_key_and_secret_sign_what_is_sent() -> None:
    one = S4Settings.from_env({"S4_BINANCE_KEY": "k1", "S4_BINANCE_SECRET": "s1"})
    other = S4Settings.from_env({"S4_BINANCE_KEY": "k1", "S4_BINANCE_SECRET": "s2"})

    assert signed_with(one)[0] == signed_with(other)[0] == "k1"
    assert signed_with(one)[1] != signed_with(other)[1]
    assert signed_with(S4Settings.from_env({"S4_BINANCE_KEY": "k3", "S4_BINANCE_SECRET": "s1"}))[0] == "k3"


def test_no_other_exchange_is_spoken() -> None:
    assert S4Settings.from_env({"S4_EXCHANGE": "binance"}).exchange == "binance"
    with pytest.raises(SettingsError, match="S4_EXCHANGE"):
        S4Settings.from_env({"S4_EXCHANGE": "kraken"})


def test_testnet_forbids_real_money(tmp_path: Path) -> None:
    options = UpOptions(data=tmp_path / "var", venue="live", understood=True)

    with pytest.raises(UpProblem, match="S4_TESTNET is true, which forbids real money"):
        asyncio.run(up(options, {"S4_TESTNET": "true"}, print))
    assert not (tmp_path / "var").exists()


def test_the_guardian_is_on_until_somebody_turns_it_off() -> None:
    assert S4Settings.from_env({}).oco_guardian
    assert not S4Settings.from_env({"S4_OCO_GUARDIAN": "false"}).oco_guardian


def test_the_breaker_counts_our_own_time_on_a_market_that_runs_faster() -> None:
    policy = policy_of(S4Settings(), HandClock(speed=60.0))

    assert (policy.window_ms, policy.open_ms) == (3_600_000, 18_000_000)


def test_no_variable_of_the_seeds_is_left_out() -> None:
    seeds = (
        "S4_EXCHANGE S4_BINANCE_KEY S4_BINANCE_SECRET S4_TESTNET S4_REDIS_ADDRESSES S4_DB_ARANGO_URI"
        " S4_DB_ARANGO_USER S4_DB_ARANGO_PASS S4_ROUTE_TABLE_PATH S4_CB_ERROR_RATE_WINDOW S4_CB_ERROR_RATE_THRESH"
        " S4_MAKER_MAX_WAIT_MS S4_TWAP_MAX_SLICES S4_OCO_GUARDIAN S4_WORKING_TYPE"
    )
    tested = {each[0] for each in EFFECTS} | {each[0] for each in CONNECTIONS} | set(OF_THEIR_OWN)

    assert set(seeds.split()) <= tested
    assert tested <= {variable.name for variable in S4Settings.variables()}
