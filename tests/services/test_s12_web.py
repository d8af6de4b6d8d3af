"""The gateway over real HTTP: who gets through, from which page, with which role, and how a refusal looks."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from chimera.app.serving import listen, server, stop
from chimera.contracts.enums import Role
from chimera.contracts.messages import AuditEvent
from chimera.contracts.streams import OPS_EVENTS
from chimera.ports.peers import BodyText
from chimera.runtime.runner import Runner
from chimera.runtime.service import Reply, Request, Route
from chimera.services.s12_gateway.pages import STYLE
from chimera.services.s12_gateway.service import build
from chimera.services.s12_gateway.settings import GatewaySettings
from chimera.services.s12_gateway.web import Web, build_web
from tests.loopback import free_ports
from tests.services.small_world import ENV, SmallWorld, small_world

SETTINGS = GatewaySettings(env=ENV, host_names=("trader.example",))


async def echo(request: Request) -> Reply:
    return Reply({"actor": request.actor, "body": request.body, "query": dict(request.query)})


def read(text: BodyText) -> list[str]:
    return [text.media_type, text.text]


@dataclass
class Client:
    """A browser or a program; `cookie`, `csrf` and `bearer` are sent where they are set."""

    http: aiohttp.ClientSession
    url: str
    cookie: str | None = None
    csrf: str | None = None
    bearer: str | None = None

    async def ask(
        self, method: str, path: str, body: Any = None, *, form: Any = None, **headers: str
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie is not None:
            sent["Cookie"] = f"chimera_session={self.cookie}"
        if self.csrf is not None:
            sent["X-CSRF-Token"] = self.csrf
        if self.bearer is not None:
            sent["Authorization"] = f"Bearer {self.bearer}"
        async with self.http.request(
            method, self.url + path, json=body, data=form, headers=sent, allow_redirects=False
        ) as answer:
            is_json = "json" in answer.headers.get("content-type", "")
            return answer.status, await (answer.json(content_type=None) if is_json else answer.text()), answer

    async def log_in(self, cookie: str) -> None:
        self.cookie = cookie
        _, me, _ = await self.ask("GET", "/auth/me")
        self.csrf = me["csrf_token"]


@dataclass
class Running:
    here: SmallWorld
    web: Web
    client: Client

    async def as_role(self, role: Role) -> Client:
        """A logged-in browser of somebody with this role."""
        cookie, _ = await self.web.access.open(role.value, role)
        browser = Client(self.client.http, self.client.url)
        await browser.log_in(cookie)
        return browser


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    here = small_world()
    service = build(here.world, SETTINGS)
    web = build_web(here.world, SETTINGS, Runner(service, here.world, ENV).all_routes())
    here.peers.add(
        "s3",
        (
            Route(method="POST", path="/decide", handle=echo, summary="echo"),
            Route(method="GET", path="/health", handle=echo, summary="echo"),
        ),
    )
    here.peers.add("s4", (Route(method="POST", path="/cancel", handle=echo, summary="echo"),))
    here.peers.add(
        "s10",
        (
            Route(method="POST", path="/promote", handle=echo, summary="echo"),
            Route(method="POST", path="/bundles", handle=echo, summary="echo", read=read),
        ),
    )
    port = free_ports()
    each = server(web.asgi)
    serving = asyncio.ensure_future(each.serve(sockets=[listen("127.0.0.1", port)]))
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield Running(here, web, Client(http, f"http://127.0.0.1:{port}"))
    await stop((each, serving))


async def test_the_printed_link_logs_in_once(running: Running) -> None:
    token = await running.web.access.new_link()

    status, page, answer = await running.client.ask("GET", f"/login?token={token}")
    again, refusal, _ = await running.client.ask("GET", f"/login?token={token}")

    cookie = answer.headers["set-cookie"]
    assert status == 200
    assert "url=/ui/" in page
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert again == 401
    assert "used before" in refusal
    await running.client.log_in(re.search(r"chimera_session=(\w+)", cookie)[1])
    assert (await running.client.ask("GET", "/auth/me"))[1]["role"] == "admin"


async def test_a_password_logs_in_by_json_and_by_form(running: Running) -> None:
    await running.web.passwords.set("ada", "heron glacier muffin seven")
    told = {"name": "ada", "password": "heron glacier muffin seven"}

    by_json = await running.client.ask("POST", "/auth/login", told)
    by_form = await running.client.ask("POST", "/auth/login", form=told)
    wrong = await running.client.ask("POST", "/auth/login", {**told, "password": "walnut tempest violin"})

    assert by_json[0] == 200
    assert by_json[1]["csrf_token"]
    assert by_form[0] == 200
    assert "set-cookie" in by_form[2].headers
    assert wrong[0] == 401
    assert "set-cookie" not in wrong[2].headers
    assert "walnut" not in str(wrong[1])


async def test_guessing_is_slowed_down_and_says_for_how_long(running: Running) -> None:
    for _ in range(5):
        await running.client.ask("POST", "/auth/login", {"name": "ada", "password": "a guess"})

    status, body, answer = await running.client.ask("POST", "/auth/login", {"name": "ada", "password": "a guess"})

    assert status == 429
    assert answer.headers["retry-after"] == "1"
    assert body["type"].endswith("too-many-tries")


async def test_a_call_carries_the_user_s_name_to_the_service(running: Running) -> None:
    browser = await running.as_role(Role.OPERATOR)

    status, body, _ = await browser.ask("POST", "/api/s3/decide?dry=1", {"symbol": "BTCUSDT"})

    assert status == 200
    assert body == {"actor": "operator", "body": {"symbol": "BTCUSDT"}, "query": {"dry": "1"}}


async def test_a_text_goes_through_as_it_was_written(running: Running) -> None:
    running.client.bearer = await running.web.access.set_api_token()

    for kind, text in (("application/yaml", "a: 1 # one\n"), ("application/json", '{"a":\n 1}')):
        status, body, _ = await running.client.ask("POST", "/api/s10/bundles", form=text, content_type=kind)
        assert (status, body["body"]) == (200, [kind, text])
    status, body, _ = await running.client.ask("POST", "/api/s3/decide", form="a: 1", content_type="text/yaml")
    assert (status, body["type"]) == (415, "urn:chimera:problem:media-type")


async def test_the_api_token_needs_no_csrf_token(running: Running) -> None:
    running.client.bearer = await running.web.access.set_api_token()

    status, body, _ = await running.client.ask("POST", "/api/s3/decide", {"symbol": "BTCUSDT"})

    assert (status, body["actor"]) == (200, "api")


async def test_a_browser_s_change_without_its_csrf_token_is_refused(running: Running) -> None:
    browser = await running.as_role(Role.OPERATOR)
    browser.csrf = None

    status, body, _ = await browser.ask("POST", "/api/s3/decide", {"symbol": "BTCUSDT"})

    assert status == 403
    assert body["type"].endswith("csrf-token")


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        pytest.param({"Origin": "https://evil.example"}, "foreign-origin", id="another site's page"),
        pytest.param({"Origin": "null"}, "foreign-origin", id="a sandboxed page"),
        pytest.param({"Origin": "http://127.0.0.1:1"}, "foreign-origin", id="another port of this machine"),
        pytest.param({"Sec_Fetch_Site": "cross-site"}, "foreign-origin", id="no origin, but the browser knows"),
        pytest.param({"Host": "evil.example"}, "host-not-allowed", id="a name that was rebound to us"),
    ],
)
async def test_a_foreign_page_changes_nothing_even_with_the_cookie(
    running: Running, headers: dict[str, str], kind: str
) -> None:
    browser = await running.as_role(Role.ADMIN)

    status, body, _ = await browser.ask("POST", "/kill-switch", {"state": "ON"}, **headers)

    assert status == 403
    assert body["type"].endswith(kind)


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8080", "192.168.1.7:8080", "trader.example"])
async def test_the_machine_s_own_names_and_addresses_are_answered(running: Running, host: str) -> None:
    status, _, _ = await running.client.ask("GET", "/health", Host=host)

    assert status == 200


async def test_a_websocket_of_a_foreign_page_or_of_nobody_is_refused(running: Running) -> None:
    url = running.client.url + "/ui/_nicegui_ws/socket.io/"
    browser = await running.as_role(Role.ADMIN)
    cookie = {"Cookie": f"chimera_session={browser.cookie}"}

    for headers in ({**cookie, "Origin": "https://evil.example"}, {"Origin": running.client.url}):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await running.client.http.ws_connect(url, headers=headers)
        assert refused.value.status == 403


@pytest.mark.parametrize(
    ("role", "method", "path", "body", "status"),
    [
        pytest.param(Role.VIEWER, "GET", "/api/s3/health", None, 200, id="viewer looks"),
        pytest.param(Role.VIEWER, "POST", "/api/s3/decide", {}, 403, id="viewer does not work"),
        pytest.param(Role.VIEWER, "POST", "/kill-switch", {"state": "ON"}, 200, id="viewer pulls"),
        pytest.param(Role.OPERATOR, "POST", "/kill-switch", {"state": "OFF"}, 403, id="operator does not release"),
        pytest.param(Role.ADMIN, "POST", "/kill-switch", {"state": "OFF"}, 200, id="admin releases"),
        pytest.param(Role.OPERATOR, "POST", "/api/s10/promote", {}, 403, id="operator does not promote"),
        pytest.param(Role.ADMIN, "POST", "/api/s10/promote", {}, 200, id="admin promotes"),
        pytest.param(Role.OPERATOR, "POST", "/auth/links", {}, 403, id="operator prints no link"),
        pytest.param(Role.ADMIN, "POST", "/auth/links", {}, 200, id="admin prints a link"),
        pytest.param(Role.ADMIN, "POST", "/kill-switch", {"state": "off"}, 400, id="a word that is none"),
        pytest.param(Role.ADMIN, "GET", "/api/s12/kill-switch", None, 404, id="the gateway is not its own peer"),
        pytest.param(Role.ADMIN, "GET", "/api/s99/health", None, 404, id="no such service"),
        pytest.param(Role.ADMIN, "GET", "/api/s7/health", None, 404, id="a service that does not run"),
    ],
)
async def test_each_role_may_do_its_own(
    running: Running, role: Role, method: str, path: str, body: Any, status: int
) -> None:
    browser = await running.as_role(role)

    assert (await browser.ask(method, path, body))[0] == status


async def test_nobody_unknown_gets_anything(running: Running) -> None:
    for path in ("/api/s3/health", "/kill-switch", "/metrics", "/auth/me"):
        status, body, _ = await running.client.ask("GET", path)
        assert status == 401, path
        assert body["type"].endswith("not-logged-in")


async def test_a_person_is_sent_to_the_login_and_a_program_is_told(running: Running) -> None:
    status, _, answer = await running.client.ask("GET", "/ui/", Accept="text/html")
    told, _, _ = await running.client.ask("GET", "/ui/")

    assert (status, answer.headers["location"]) == (303, "/login")
    assert told == 401


async def test_logging_out_ends_the_session(running: Running) -> None:
    browser = await running.as_role(Role.VIEWER)

    status, _, answer = await browser.ask("POST", "/auth/logout")

    assert status == 204
    assert 'chimera_session=""' in answer.headers["set-cookie"]
    assert (await browser.ask("GET", "/auth/me"))[0] == 401


async def test_the_kill_switch_can_be_pulled_by_a_known_browser_while_documents_are_down(running: Running) -> None:
    browser = await running.as_role(Role.VIEWER)
    running.here.documents.down = True

    status, body, _ = await browser.ask("POST", "/kill-switch", {"state": "ON"})

    assert (status, body["state"]) == (200, "ON")


async def test_a_person_sees_a_page_and_a_program_a_problem_when_a_store_is_down(running: Running) -> None:
    stranger = Client(running.client.http, running.client.url, cookie="0" * 64)
    running.here.documents.down = True

    page_status, page, _ = await stranger.ask("GET", "/ui/", Accept="text/html")
    status, problem, answer = await stranger.ask("GET", "/api/s3/health", Accept="text/html")

    assert (page_status, status) == (503, 503)
    assert "tries again by itself" in page
    assert "document store is unavailable" in page
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == 503


async def test_an_unknown_address_is_a_page_for_people(running: Running) -> None:
    browser = await running.as_role(Role.VIEWER)

    status, page, _ = await browser.ask("GET", "/no<b>where", Accept="text/html")

    assert status == 404
    assert "<b>" not in page
    assert "To the overview" in page


async def test_every_answer_forbids_framing_sniffing_and_keeping(running: Running) -> None:
    for path in ("/login", "/health", "/api/s3/health", "/nowhere"):
        _, _, answer = await running.client.ask("GET", path)
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], path
        assert "default-src 'none'" in answer.headers["content-security-policy"], path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["x-frame-options"] == "DENY"


async def test_the_login_page_has_no_script_and_the_one_style_that_its_policy_names(running: Running) -> None:
    _, page, _ = await running.client.ask("GET", "/login")

    assert "<script" not in page
    assert f"<style>{STYLE}</style>" in page
    assert "style=" not in page


async def test_a_body_that_is_no_json_is_400_and_an_endless_one_413(running: Running) -> None:
    running.client.bearer = await running.web.access.set_api_token()

    bad = await running.client.ask("POST", "/api/s3/decide", form=b"{", Content_Type="application/json")
    long = await running.client.ask("POST", "/api/s3/decide", form=b" " * 1_000_001)

    assert (bad[0], long[0]) == (400, 413)


async def test_what_somebody_has_the_router_do_is_written_down_by_name(running: Running) -> None:
    viewer, operator = await running.as_role(Role.VIEWER), await running.as_role(Role.OPERATOR)

    refused, _, _ = await viewer.ask("POST", "/api/s4/cancel", {"order_id": "o1"})
    done, _, _ = await operator.ask("POST", "/api/s4/cancel", {"order_id": "o2"})

    assert (refused, done) == (403, 200)
    told = [event for event in await running.here.told(OPS_EVENTS.name(ENV)) if isinstance(event, AuditEvent)]
    assert [(event.actor, event.action, event.subject) for event in told] == [("operator", "CALL", "s4 /cancel")]
    assert told[0].after == {"asked": {"order_id": "o2"}, "status": 200}


async def test_a_close_from_another_web_site_or_without_the_token_is_refused(running: Running) -> None:
    browser = await running.as_role(Role.OPERATOR)
    foreign, _, _ = await browser.ask("POST", "/positions/FUT:BTCUSDT/close", {}, Origin="https://evil.example")
    browser.csrf = None
    tokenless, told, _ = await browser.ask("POST", "/flatten", {"confirm": True})

    assert (foreign, tokenless) == (403, 403)
    assert told["type"] == "urn:chimera:problem:csrf-token"
