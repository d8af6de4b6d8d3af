"""Who gets in, for how long, how often they may try, and with which password."""

import pytest

from chimera.contracts.collections import SESSIONS, USERS
from chimera.contracts.enums import Role
from chimera.services.s12_gateway import roles
from chimera.services.s12_gateway.access import Access
from chimera.services.s12_gateway.passwords import PasswordRequired, Passwords, WeakPassword, require_password_for
from chimera.services.s12_gateway.throttle import FREE_TRIES, Throttle
from tests.ports.hand_clock import HandClock
from tests.services.small_world import SmallWorld, small_world

HOUR_MS = 3_600_000


def access_of(here: SmallWorld) -> Access:
    return Access(
        documents=here.documents,
        clock=here.clock,
        randomness=here.world.randomness.fork("access"),
        session_ms=12 * HOUR_MS,
        idle_ms=HOUR_MS,
    )


async def test_a_session_lives_while_it_is_used_and_ends_when_idle() -> None:
    here = small_world()
    access = access_of(here)
    cookie, _ = await access.open("ada", Role.OPERATOR)

    for _ in range(3):
        await here.clock.advance(HOUR_MS - 1)
        assert await access.by_cookie(cookie) is not None
    await here.clock.advance(HOUR_MS)

    assert await access.by_cookie(cookie) is None


async def test_a_session_in_steady_use_still_ends_after_twelve_hours() -> None:
    here = small_world()
    access = access_of(here)
    cookie, _ = await access.open("ada", Role.OPERATOR)

    for _ in range(23):
        await here.clock.advance(HOUR_MS // 2)
        assert await access.by_cookie(cookie) is not None
    await here.clock.advance(HOUR_MS // 2)

    assert await access.by_cookie(cookie) is None


async def test_the_market_s_speed_does_not_shorten_a_session() -> None:
    here = small_world()
    here.clock.speed = 60.0
    access = access_of(here)
    cookie, _ = await access.open("ada", Role.OPERATOR)

    await here.clock.advance(59 * HOUR_MS)

    assert await access.by_cookie(cookie) is not None


async def test_only_hashes_are_kept() -> None:
    here = small_world()
    access = access_of(here)
    cookie, identity = await access.open("ada", Role.OPERATOR)

    assert await here.documents.get(SESSIONS, cookie) is None
    assert cookie not in (await here.documents.get(SESSIONS, identity.session_hash)).to_json()


async def test_a_link_works_once_and_a_new_one_replaces_it() -> None:
    here = small_world()
    access = access_of(here)
    old, new = await access.new_link(), await access.new_link()

    assert await access.use_link(old) is None
    assert await access.use_link(new) is not None
    assert await access.use_link(new) is None


async def test_one_kind_of_token_never_stands_in_for_another() -> None:
    here = small_world()
    access = access_of(here)
    link, api = await access.new_link(), await access.set_api_token()
    cookie, _ = await access.open("ada", Role.ADMIN)

    assert await access.by_bearer(cookie) is None
    assert await access.by_bearer(link) is None
    assert await access.by_cookie(api) is None
    assert await access.use_link(api) is None
    assert await access.by_bearer(api) is not None


async def test_the_api_token_survives_a_restart_when_it_is_set_again() -> None:
    here = small_world()
    token = await access_of(here).set_api_token()
    restarted = access_of(here)

    assert await restarted.set_api_token(token) == token
    assert await restarted.by_bearer(token) is not None
    other = await restarted.set_api_token("another token")
    assert await restarted.by_bearer(token) is None
    assert await restarted.by_bearer(other) is not None


async def test_whoever_was_known_a_moment_ago_is_known_while_documents_are_down() -> None:
    here = small_world()
    access = access_of(here)
    cookie, identity = await access.open("ada", Role.VIEWER)
    await access.by_cookie(cookie)
    here.documents.down = True

    assert await access.by_cookie(cookie) == identity


async def test_a_logout_is_final() -> None:
    here = small_world()
    access = access_of(here)
    cookie, identity = await access.open("ada", Role.VIEWER)

    await access.close(identity.session_hash)

    assert await access.by_cookie(cookie) is None


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("short-1", id="too short"),
        pytest.param("aaaaaaaaaaaaaaaa", id="one letter"),
        pytest.param("123456789012345", id="digits only"),
        pytest.param("Password1234!", id="the classic"),
        pytest.param("P@ssw0rdP@ssw0rd", id="the classic, twice and disguised"),
        pytest.param("qwertyuiop12", id="along the keyboard"),
        pytest.param("administrator1", id="the role"),
        pytest.param("margarethe1234", id="the name"),
    ],
)
async def test_weak_passwords_are_refused_with_a_remedy(password: str) -> None:
    here = small_world()

    with pytest.raises(WeakPassword, match="use at least 12 characters"):
        await Passwords(here.documents, here.clock).set("margarethe", password)

    assert await here.documents.count(USERS) == 0


async def test_a_changed_password_ends_the_sessions_of_the_old_one() -> None:
    here = small_world()
    passwords, access = Passwords(here.documents, here.clock), access_of(here)
    await passwords.set("ada", "heron glacier muffin seven")
    cookie, _ = await access.open("ada", Role.ADMIN)

    await passwords.set("ada", "walnut tempest violin nine")

    assert await access.by_cookie(cookie) is None
    assert await passwords.check("ada", "heron glacier muffin seven") is None
    assert (await passwords.check("ada", "walnut tempest violin nine")).role is Role.ADMIN
    assert await passwords.check("nobody", "walnut tempest violin nine") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
async def test_loopback_needs_no_password(host: str) -> None:
    await require_password_for(host, small_world().documents)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "trader.example"])
async def test_listening_beyond_loopback_demands_a_password_first(host: str) -> None:
    here = small_world()
    with pytest.raises(PasswordRequired, match="chimera password --name"):
        await require_password_for(host, here.documents)

    await Passwords(here.documents, here.clock).set("admin", "heron glacier muffin seven")

    await require_password_for(host, here.documents)


async def test_guessing_gets_slower_by_address_and_by_account() -> None:
    clock = HandClock()
    throttle = Throttle(clock)
    for _ in range(FREE_TRIES):
        assert throttle.begin("6.6.6.6", "ada") == 0

    assert throttle.begin("6.6.6.6", "bob") > 0
    assert throttle.begin("7.7.7.7", "ada") > 0
    assert throttle.begin("7.7.7.7", "bob") == 0
    await clock.advance(1_000)
    assert throttle.begin("6.6.6.6", "ada") == 0
    assert throttle.begin("6.6.6.6", "ada") == 2_000


def test_success_forgets_the_failures() -> None:
    throttle = Throttle(HandClock())
    for _ in range(FREE_TRIES):
        throttle.begin("6.6.6.6", "ada")

    throttle.succeeded("6.6.6.6", "ada")

    assert throttle.begin("6.6.6.6", "ada") == 0


@pytest.mark.parametrize(
    ("service", "method", "path", "body", "least"),
    [
        pytest.param("s3", "GET", "/health", None, Role.VIEWER, id="looking"),
        pytest.param("s3", "POST", "/decide", {}, Role.OPERATOR, id="working"),
        pytest.param("s12", "POST", "/kill-switch", {"state": "ON"}, Role.VIEWER, id="anybody pulls"),
        pytest.param("s12", "POST", "/kill-switch", None, Role.VIEWER, id="pulling is the default"),
        pytest.param("s12", "POST", "/kill-switch", {"state": "OFF"}, Role.ADMIN, id="releasing is not anybody's"),
        pytest.param("s12", "POST", "/halts/DRAWDOWN/release", {}, Role.ADMIN, id="releasing a halt"),
        pytest.param("s10", "POST", "/promote", {}, Role.ADMIN, id="promoting"),
        pytest.param("s4", "POST", "/breaker/open", {"reason": "x"}, Role.OPERATOR, id="holding entries back"),
        pytest.param("s4", "POST", "/breaker/close", {"reason": "x"}, Role.ADMIN, id="letting entries out again"),
        pytest.param("s12", "POST", "/pause", {}, Role.OPERATOR, id="pausing"),
    ],
)
def test_each_call_has_its_least_role(service: str, method: str, path: str, body: object, least: Role) -> None:
    assert roles.needed(service, method, path, body) is least
