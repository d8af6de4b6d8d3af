"""May this account be traded on: every reason against it is named with its remedy, at a real server of ours."""

import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import SecretStr

from chimera.adapters.binance.wallet import Restrictions
from chimera.app.findings import Finding, Level
from chimera.app.gate import capabilities, permission_findings, symbol_findings, why_not
from chimera.app.remote import find, look_at, reach
from chimera.app.sides import UpProblem, refuse_by_name
from chimera.contracts.enums import Market
from chimera.contracts.settings import S4Settings
from chimera.domain.matching.refusals import Refusal
from chimera.ports.venue import Capabilities
from chimera.services.s12_gateway.page.settings import PageSettings
from chimera.venue_server.calls import Call
from chimera.venue_server.futures.account import FuturesAccount
from chimera.venue_server.spot.account import SpotAccount
from tests.domain.builders import BTC_FUT, BTC_SPOT
from tests.loopback import free_ports
from tests.venue_server.running import KEY, SECRET, RunningVenue, running_venue

GOOD = S4Settings(binance_key=SecretStr(KEY), binance_secret=SecretStr(SECRET))


def bad(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings if finding.level is Level.BAD}


async def no_change(venue: RunningVenue) -> None:
    pass


async def hedge(venue: RunningVenue) -> None:
    assert (await venue.signed("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true")).status == 200


async def multi_assets(venue: RunningVenue) -> None:
    assert (await venue.signed("POST", "/fapi/v1/multiAssetsMargin", multiAssetsMargin="true")).status == 200


async def no_futures(venue: RunningVenue) -> None:
    venue.venue.floor.keys.change(KEY, trades_futures=False)


async def other_address(venue: RunningVenue) -> None:
    venue.venue.floor.keys.change(KEY, ips=("203.0.113.7",))


async def may_withdraw(venue: RunningVenue) -> None:
    venue.venue.floor.keys.change(KEY, withdraws=True)


async def clock_off(venue: RunningVenue) -> None:
    venue.venue.floor.offset_ms = 3_600_000


Change = Callable[[RunningVenue], Awaitable[None]]


@pytest.mark.parametrize(
    ("change", "s4", "what", "says"),
    [
        pytest.param(
            no_change,
            S4Settings(binance_key=SecretStr(KEY), binance_secret=SecretStr("wrong")),
            "futures key",
            ("-1022", "secret does not belong", "S4_BINANCE_SECRET"),
            id="a wrong secret",
        ),
        pytest.param(
            no_change,
            S4Settings(binance_key=SecretStr("nobody"), binance_secret=SecretStr("x")),
            "futures key",
            ("-2015", "environment", "testnet"),
            id="a key of another environment",
        ),
        pytest.param(no_futures, GOOD, "key permissions", ("futures", "Enable Futures"), id="a key without futures"),
        pytest.param(other_address, GOOD, "futures key", ("-2015", "address"), id="an address that is not allowed"),
        pytest.param(
            may_withdraw, GOOD, "key permissions", ("withdraw", "S4_WITHDRAWING_KEY_ALLOWED"), id="a thief's key"
        ),
        pytest.param(hedge, GOOD, "position mode", ("hedge", "One-way"), id="hedge mode"),
        pytest.param(multi_assets, GOOD, "asset mode", ("multi-assets", "Single-Asset"), id="multi-assets mode"),
    ],
)
async def test_what_forbids_trading_is_named_with_its_remedy(
    change: Change, s4: S4Settings, what: str, says: tuple[str, ...]
) -> None:
    async with running_venue() as venue:
        await change(venue)

        found = bad(await look_at(venue.url, ("BTCUSDT",), s4))

    assert what in found, found
    text = f"{found[what].found} {found[what].remedy}"
    assert all(word in text for word in says), text


async def test_a_clock_that_is_an_hour_off_is_named() -> None:
    async with running_venue() as venue, AsyncExitStack() as stack:
        reached = await reach(venue.url, None, GOOD, stack)
        await clock_off(venue)

        found = bad(await reached.look((), GOOD))

    assert "3600" in found["exchange's clock"].found
    assert "NTP" in found["exchange's clock"].remedy


async def test_a_symbol_that_is_not_listed_is_named() -> None:
    async with running_venue() as venue:
        found = bad(await look_at(venue.url, ("BTCUSDT", "DOGEUSDT"), GOOD))

    assert list(found) == ["FUT:DOGEUSDT"]
    assert "--symbols" in found["FUT:DOGEUSDT"].remedy


async def test_an_account_in_order_may_be_traded_on() -> None:
    async with running_venue() as venue:
        findings = await look_at(venue.url, ("BTCUSDT", "ETHUSDT"), GOOD)

    assert why_not(findings) is None, findings


async def test_an_address_where_nobody_is_says_so_and_how_to_start_one() -> None:
    (finding,) = await look_at(f"http://127.0.0.1:{free_ports()}", ("BTCUSDT",), GOOD)

    assert "does not answer" in finding.found


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param({"kind": "RATE_429", "params": {"retry_after_s": 7}}, "wait 7 s", id="limited"),
        pytest.param({"kind": "BAN_418", "params": {"ban_s": 600}}, "wait 600 s", id="banned"),
    ],
)
async def test_who_only_looks_is_told_how_long_the_exchange_limits_us_and_does_not_wait(
    fault: dict[str, Any], says: str
) -> None:
    async with running_venue() as venue:
        await venue.session.post(f"{venue.url}/admin/faults", json={**fault, "in_ms": 0, "duration_ms": 600_000})
        (finding,) = await look_at(venue.url, ("BTCUSDT",), GOOD)

    assert finding.bad
    assert "asked too much" in finding.found
    assert says in finding.remedy


async def test_a_look_that_is_limited_on_its_way_says_so_of_what_it_could_not_see() -> None:
    async with running_venue() as venue, AsyncExitStack() as stack:
        reached = await reach(venue.url, None, GOOD, stack)
        await venue.session.post(
            f"{venue.url}/admin/faults",
            json={"kind": "RATE_429", "calls": "account", "params": {"retry_after_s": 7}, "in_ms": 0, "count": 100},
        )
        found = bad(await reached.look((), GOOD))

    assert "wait 7 s" in found["spot key"].remedy


async def test_a_server_that_limits_before_it_says_who_it_is_is_waited_for_by_a_start_alone() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if len(asked) <= 2:
            return web.json_response({"code": -1003}, status=418, headers={"Retry-After": "1"})
        if request.path != "/fapi/v1/time":
            return web.json_response({}, status=404)
        return web.json_response({"serverTime": 1_790_000_000_000})

    app, port, notes = web.Application(), free_ports(), list[str | None]()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(UpProblem, match=r"asked too much: .*418.*Wait 1 s"):
                await find(f"http://127.0.0.1:{port}", None, session)
            place = await find(f"http://127.0.0.1:{port}", None, session, waiting=notes.append)
    finally:
        await runner.cleanup()

    assert place.now_ms == 1_790_000_000_000
    assert "asked again at " in (notes[0] or "")
    assert notes[1:] == [None]


async def test_another_speed_than_the_exchanges_is_refused() -> None:
    async with running_venue(speed=10) as venue, AsyncExitStack() as stack:
        with pytest.raises(UpProblem, match=r"--speed 5.*runs at 10"):
            await reach(venue.url, 5.0, GOOD, stack)


@pytest.mark.parametrize(
    ("venue", "understood", "says"),
    [
        pytest.param("live", False, "--i-understand", id="live"),
        pytest.param("https://fapi.binance.com", True, "--venue live", id="Binance"),
        pytest.param("https://API.Binance.COM.:443", True, "--venue live", id="Binance, written otherwise"),
        pytest.param("https://127.0.0.1@testnet.binancefuture.com", True, "--venue testnet", id="Binance in disguise"),
        pytest.param("http://192.0.2.1:9900", True, "in clear", id="http"),
        pytest.param("http://127.evil.example", True, "in clear", id="no loopback address"),
        pytest.param("https://192.0.2.1:9900", False, "--i-understand", id="https"),
        pytest.param("https://[", True, "no address", id="no host"),
    ],
)
async def test_a_key_does_not_go_where_it_must_not(venue: str, understood: bool, says: str) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(UpProblem, match=says):
            await reach(venue, None, GOOD, stack, understood=understood)


@pytest.mark.parametrize(
    ("venue", "understood"),
    [
        pytest.param("testnet", False, id="testnet"),
        pytest.param("live", True, id="live"),
        pytest.param("http://localhost:9900", False, id="this machine by name"),
        pytest.param("http://127.0.0.2:9900", False, id="this machine"),
        pytest.param("http://[::1]:9900", False, id="this machine by IPv6"),
        pytest.param("https://192.0.2.1:9900", True, id="elsewhere"),
    ],
)
def test_what_is_understood_or_costs_nothing_may_be_asked(venue: str, understood: bool) -> None:
    refuse_by_name(venue, understood=understood)


async def test_the_doctor_sends_no_key_to_binance_by_address_and_looks_elsewhere_unasked() -> None:
    (binance,) = await look_at("https://api.binance.com", ("BTCUSDT",), GOOD)
    (elsewhere,) = await look_at("https://nobody.invalid", ("BTCUSDT",), GOOD)

    assert "--venue live" in binance.found
    assert "does not answer" in elsewhere.found


@pytest.mark.parametrize(
    ("host", "name", "real_money"),
    [
        pytest.param("127.0.0.1", "local", False, id="this machine"),
        pytest.param("127.0.0.1.example", "remote", True, id="elsewhere"),
    ],
)
async def test_a_server_elsewhere_counts_as_real_money(host: str, name: str, real_money: bool) -> None:
    connector = aiohttp.TCPConnector(resolver=ToThisMachine())
    named = {"Host": "127.0.0.1"}  # as a proxy would: our server answers to no name that leads here
    async with running_venue() as venue, aiohttp.ClientSession(connector=connector, headers=named) as session:
        place = await find(venue.url.replace("127.0.0.1", host), None, session)

    assert (place.name, place.real_money) == (name, real_money)
    page = PageSettings(env="local", keys=(), storage=Path(), venue=place.name)
    assert page.is_live is real_money


class ToThisMachine(AbstractResolver):
    """Every name is this machine's."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """It holds nothing."""


def test_a_delisted_symbol_is_told_from_an_unknown_one() -> None:
    delisted = replace(BTC_FUT, status="SETTLING")

    (finding,) = symbol_findings([delisted, BTC_SPOT], [delisted.key])

    assert finding.bad
    assert "SETTLING" in finding.found


NOW_MS = 1_790_000_000_000
DAY_MS = 86_400_000

ALL = Restrictions(
    ip_restricted=True,
    reading=True,
    withdrawals=False,
    internal_transfer=False,
    universal_transfer=True,
    margin=False,
    futures=True,
    spot_trading=True,
    expires_at_ms=None,
)


@pytest.mark.parametrize(
    ("may", "allowed", "level"),
    [
        pytest.param(ALL, False, Level.OK, id="as it should be"),
        pytest.param(replace(ALL, withdrawals=True), False, Level.BAD, id="withdrawals"),
        pytest.param(replace(ALL, withdrawals=True), True, Level.WARN, id="withdrawals, overruled"),
        pytest.param(replace(ALL, ip_restricted=False), False, Level.WARN, id="from anywhere"),
        pytest.param(replace(ALL, spot_trading=False), False, Level.BAD, id="no spot"),
        pytest.param(replace(ALL, expires_at_ms=NOW_MS + 8 * DAY_MS), False, Level.OK, id="ends later"),
    ],
)
def test_a_key_for_real_money_must_not_be_able_to_withdraw(may: Restrictions, allowed: bool, level: Level) -> None:
    (finding,) = permission_findings(may, True, allowed, NOW_MS)

    assert finding.level is level


@pytest.mark.parametrize(
    ("expires_at_ms", "level", "says"),
    [
        pytest.param(NOW_MS, Level.BAD, "ended on 2026-09-21 14:13 UTC", id="ended"),
        pytest.param(NOW_MS + 1, Level.WARN, "ends on 2026-09-21 14:13 UTC", id="ends now"),
        pytest.param(NOW_MS + 7 * DAY_MS, Level.WARN, "ends on 2026-09-28 14:13 UTC", id="ends this week"),
    ],
)
def test_a_key_whose_authority_ends_is_told_with_its_day(expires_at_ms: int, level: Level, says: str) -> None:
    (finding,) = permission_findings(replace(ALL, expires_at_ms=expires_at_ms), True, False, NOW_MS)

    assert finding.level is level
    assert says in finding.found
    assert "address of this machine" in finding.remedy


async def test_an_account_that_may_not_trade_spot_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    told = SpotAccount.account
    monkeypatch.setattr(SpotAccount, "account", lambda self, call: told(self, call) | {"canTrade": False})
    async with running_venue() as venue:
        found = bad(await look_at(venue.url, ("BTCUSDT",), GOOD))

    assert list(found) == ["spot key"]
    assert "Enable Spot" in found["spot key"].remedy


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        pytest.param({"feeBurn": True}, Level.WARN, id="in BNB"),
        pytest.param({"feeBurn": False}, Level.OK, id="in USDT"),
        pytest.param(None, Level.INFO, id="not told"),
    ],
)
async def test_fees_paid_in_bnb_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, bool] | None, level: Level
) -> None:
    def tell(self: FuturesAccount, call: Call) -> dict[str, bool]:
        if answer is None:
            raise Refusal(-5000, "Path /fapi/v1/feeBurn is invalid")
        return answer

    monkeypatch.setattr(FuturesAccount, "fee_burn", tell)
    async with running_venue() as venue:
        findings = await look_at(venue.url, ("BTCUSDT",), GOOD)

    (fees,) = (finding for finding in findings if finding.what == "fees")
    assert fees.level is level
    assert why_not(findings) is None
    assert level is not Level.WARN or "switch BNB" in fees.remedy


def test_an_exchange_without_stops_or_pairs_is_refused_and_one_without_post_only_is_not() -> None:
    can = Capabilities(
        oco=False,
        post_only=False,
        reduce_only=True,
        stop_market=False,
        trailing_stop=False,
        dead_man_switch=False,
        transfers=True,
        lookup_lag_ms=0,
    )

    found = capabilities(can, {Market.FUT, Market.SPOT})

    assert [finding.level for finding in found] == [Level.BAD, Level.BAD, Level.INFO]
    assert why_not(capabilities(replace(can, oco=True, stop_market=True), {Market.FUT, Market.SPOT})) is None
