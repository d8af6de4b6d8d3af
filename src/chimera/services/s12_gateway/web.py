"""The gateway's HTTP face: who are you, may you, then the call.

Owns what stands between a browser or program and every service: the checks of `runtime.guard`, the session or bearer
token, the CSRF token of a change that a browser makes, the role, and the form of a refusal (a page for people, a
problem for programs). A handler behind it gets the user's name as the actor.

    /login  /auth/…     log in, log out, who am I
    /api/s1/… s11/…     the services' own calls
    /kill-switch …      the gateway's own calls
    /ui/…               the page, mounted by whoever has one; `request.state.identity` says who looks
"""

import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

import structlog
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response

from chimera import __version__
from chimera.contracts.http import PROBLEM_MEDIA_TYPE
from chimera.contracts.http.gateway import LoginAnswer, LoginRequest
from chimera.contracts.services import BY_ID
from chimera.ports.errors import DependencyDown
from chimera.ports.peers import PeerCall, Peers
from chimera.ports.world import World
from chimera.runtime.audits import Audits
from chimera.runtime.guard import SAFE_METHODS, Asgi, BrowserGuard, Receive, Scope, Send, header, send_refusal
from chimera.runtime.http import BODY_MAX_BYTES, Routes, answer, problem_body, read_json, read_text, to_plain
from chimera.runtime.service import Problem, Request, Route
from chimera.runtime.telling import Teller
from chimera.services.s12_gateway import roles
from chimera.services.s12_gateway.access import Access, Identity
from chimera.services.s12_gateway.pages import CSP, HTML, UI_CSP, login_page, problem_page, welcome_page
from chimera.services.s12_gateway.passwords import Passwords
from chimera.services.s12_gateway.settings import GatewaySettings
from chimera.services.s12_gateway.throttle import Throttle

OPEN_PATHS = frozenset({"/login", "/auth/login", "/health", "/ready", "/favicon.ico", "/"})
"""No session needed: they tell nothing, or are the way in."""
UI = "/ui"
UI_ASSETS = ("/ui/_nicegui/", "/ui/static/")
PROGRAM_PATHS = ("/api/", "/auth/")
"""Under these, and for everything that is not a page visit, a refusal is a problem document."""
AUDITED_HERE = frozenset({"s4", "s5"})
"""Services that carry out what anybody tells them and leave it to the gateway to write down who did."""
AUDITED_THERE = ("/breaker/",)
"""Calls of theirs that they write down themselves, with what was before."""
CSRF_HEADER = "x-csrf-token"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Web:
    """`app` takes more routes and mounts; `asgi` is what the server must serve, with every check in front."""

    app: FastAPI
    asgi: Asgi
    access: Access
    passwords: Passwords


def build_web(world: World, settings: GatewaySettings, routes: tuple[Route, ...]) -> Web:
    """`routes` are all of S12's, the common ones included."""
    access = Access(
        documents=world.documents,
        clock=world.clock,
        randomness=world.randomness.fork("s12/access"),
        session_ms=settings.session_ms,
        idle_ms=settings.idle_ms,
    )
    passwords = Passwords(world.documents, world.clock)
    teller = Teller(source="s12", env=settings.env, bus=world.bus, documents=world.documents, clock=world.clock)
    app = FastAPI(title="Chimera gateway", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)
    _add_login(app, Login(access, passwords, Throttle(world.clock), teller, settings))
    _add_calls(app, Calls(world.peers, Routes(routes), Audits(teller=teller)), routes)
    gate = Gate(app=app, access=access, cookie_name=settings.cookie_name)
    guard = BrowserGuard(
        app=gate,
        names=settings.host_names,
        csp_of=lambda path: UI_CSP if _is_under(path, UI) else CSP,
        cacheable=lambda path: path.startswith(UI_ASSETS),
        refuse=_refusal,
    )
    return Web(app, guard, access, passwords)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """ASGI middleware: nobody unknown passes, and no change that the user's own page did not ask for."""

    app: Asgi
    access: Access
    cookie_name: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            identity = await self._identify(scope)
            self._check(scope, identity)
        except DependencyDown as down:
            await self._refuse(scope, send, Problem(503, "dependency-down", f"{down}.", dependency=down.what))
            return
        except Problem as problem:
            await self._refuse(scope, send, problem)
            return
        scope.setdefault("state", {})["identity"] = identity
        await self.app(scope, receive, send)

    async def _identify(self, scope: Scope) -> Identity | None:
        bearer = header(scope, "authorization")
        if bearer is not None and bearer[:7].lower() == "bearer ":
            return await self.access.by_bearer(bearer[7:].strip())
        cookie = HttpRequest({"type": "http", "headers": scope["headers"]}).cookies.get(self.cookie_name)
        return await self.access.by_cookie(cookie) if cookie else None

    def _check(self, scope: Scope, identity: Identity | None) -> None:
        path: str = scope["path"]
        if path in OPEN_PATHS:
            return
        if identity is None:
            raise Problem(
                401,
                "not-logged-in",
                "log in at /login, or send Authorization: Bearer <the token in the data folder's file api-token>",
            )
        if scope["type"] == "websocket" or scope["method"] in SAFE_METHODS or not identity.by_cookie:
            return
        if _is_under(path, UI):
            # The page's own transport posts without our header; a browser always names the origin of a POST, and the
            # guard in front has already refused a foreign one.
            if header(scope, "origin") is None:
                raise Problem(403, "no-origin", "a change of the page must say where it comes from")
            return
        if not hmac.compare_digest(header(scope, CSRF_HEADER) or "", identity.csrf_token):
            raise Problem(
                403, "csrf-token", "send the header X-CSRF-Token with the csrf_token that GET /auth/me returns"
            )

    async def _refuse(self, scope: Scope, send: Send, problem: Problem) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": problem.kind})
            return
        if problem.status == 401 and _is_page_visit(scope):
            await RedirectResponse("/login", 303)(scope, _nothing, send)
            return
        await send_refusal(send, problem, *_refusal(scope, problem))


@dataclass(frozen=True, slots=True)
class Login:
    """Getting in and out."""

    access: Access
    passwords: Passwords
    throttle: Throttle
    teller: Teller
    settings: GatewaySettings

    async def page(self, request: HttpRequest) -> Response:
        """GET /login, with `?token=` the printed link: worth one session, once."""
        token = request.query_params.get("token")
        if token is None:
            return Response(login_page(), media_type=HTML)
        opened = await self.access.use_link(token)
        if opened is None:
            used = "This link was used before or is too old. Log in with a password, or have a new link printed."
            return Response(login_page(used), 401, media_type=HTML)
        await self._tell(opened[1], "LOGIN", "link")
        return self._with_cookie(Response(welcome_page(), media_type=HTML), opened[0])

    async def by_password(self, request: HttpRequest) -> Response:
        """POST /auth/login, JSON or the login page's form."""
        is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        try:
            wanted = await self._read(request, is_form=is_form)
            cookie, identity, how = await self._open(wanted, request.client.host if request.client else "?")
        except Problem as problem:
            if is_form:
                return Response(login_page(problem.detail), problem.status, media_type=HTML)
            return _problem_response(request.scope, problem)
        await self._tell(identity, "LOGIN", how)
        plain = Response(welcome_page(), media_type=HTML) if is_form else _json(_login_answer(identity))
        return self._with_cookie(plain, cookie)

    async def who(self, request: HttpRequest) -> Response:
        """GET /auth/me."""
        return _json(_login_answer(request.state.identity))

    async def log_out(self, request: HttpRequest) -> Response:
        """POST /auth/logout."""
        identity: Identity = request.state.identity
        if identity.by_cookie:
            await self.access.close(identity.session_hash)
            await self._tell(identity, "LOGOUT", "session")
        response = Response(status_code=204)
        response.delete_cookie(self.settings.cookie_name, path="/", httponly=True, samesite="strict")
        return response

    async def new_link(self, request: HttpRequest) -> Response:
        """POST /auth/links: a fresh one-time link, for who lost the session and has no password."""
        identity: Identity = request.state.identity
        if not roles.has(identity.role, roles.needed("s12", "POST", "/auth/links", None)):
            return _problem_response(request.scope, _forbidden(identity, "POST /auth/links"))
        token = await self.access.new_link()
        await self._tell(identity, "LOGIN_LINK", "new")
        return _json({"path": f"/login?token={token}"})

    async def _read(self, request: HttpRequest, *, is_form: bool) -> LoginRequest:
        if not is_form:
            raw = await read_json(request)
        else:
            if int(request.headers.get("content-length", "0") or 0) > BODY_MAX_BYTES:
                raise Problem(413, "body-too-large", f"at most {BODY_MAX_BYTES} bytes are read")
            fields = parse_qs((await request.body()).decode("utf-8", "replace"))
            raw = {name: values[0] for name, values in fields.items()}
        try:
            return LoginRequest.model_validate(raw)
        except ValidationError as error:
            # Without the values: a password in a log or an answer is a password lost.
            fields_named = ", ".join(".".join(str(part) for part in item["loc"]) or "body" for item in error.errors())
            raise Problem(400, "malformed-body", f"give name and password, or token ({fields_named})") from None

    async def _open(self, wanted: LoginRequest, address: str) -> tuple[str, Identity, str]:
        if wanted.token is not None:
            opened = await self.access.use_link(wanted.token.get_secret_value())
            if opened is None:
                raise Problem(401, "login-refused", "the token was used before or is too old")
            return *opened, "link"
        if wanted.name is None or wanted.password is None:
            raise Problem(400, "malformed-body", "give name and password, or token")
        wait_ms = self.throttle.begin(address, wanted.name)
        if wait_ms > 0:
            wait_s = -(-wait_ms // 1_000)
            raise Problem(429, "too-many-tries", f"too many tries; wait {wait_s} s", retry_after_s=wait_s)
        user = await self.passwords.check(wanted.name, wanted.password.get_secret_value())
        if user is None:
            raise Problem(401, "login-refused", "name or password is wrong")
        self.throttle.succeeded(address, wanted.name)
        return *(await self.access.open(user.name, user.role)), "password"

    async def _tell(self, identity: Identity, action: str, how: str) -> None:
        try:
            await self.teller.audit(identity.user, action, how)
        except DependencyDown as down:
            # Somebody must be able to log in and pull the switch while the bus is down.
            log.warning("a login could not be audited", user=identity.user, why=str(down))

    def _with_cookie(self, response: Response, cookie: str) -> Response:
        response.set_cookie(
            self.settings.cookie_name,
            cookie,
            max_age=self.settings.session_ms // 1_000,
            path="/",
            secure=self.settings.secure,
            httponly=True,
            samesite="strict",
        )
        return response


@dataclass(frozen=True, slots=True)
class Calls:
    """The services' calls for whoever's role allows them."""

    peers: Peers
    own: Routes
    audits: Audits

    async def proxy(self, request: HttpRequest) -> Response:
        """/api/<service>/<path>."""
        service = request.path_params["service"]
        if service not in BY_ID or service == "s12":
            return _problem_response(
                request.scope, Problem(404, "no-such-service", f"there is no service {service!r} here; use s1 … s11")
            )
        return await self._call(request, service, "/" + request.path_params["path"])

    async def own_call(self, request: HttpRequest) -> Response:
        return await self._call(request, "s12", request.scope["path"])

    async def _call(self, request: HttpRequest, service: str, path: str) -> Response:
        identity: Identity | None = request.state.identity
        try:
            body, text = await read_text(request) if request.method not in SAFE_METHODS else (None, None)
            if identity is not None:
                if not roles.has(identity.role, roles.needed(service, request.method, path, body)):
                    raise _forbidden(identity, f"{request.method} {path} of {service}")
            elif path not in OPEN_PATHS:
                raise Problem(401, "not-logged-in", "log in at /login")
            user = identity.user if identity else ""
            query = dict(request.query_params)
            key = request.headers.get("idempotency-key", "")
            if service == "s12":
                return await self._answer_own(request, path, Request(body, {}, query, user, key, text))
            told = await self.peers.call(PeerCall(service, request.method, path, body, query, user, key, text))
            if told.ok and _is_audited_here(service, request.method, path):
                after = {"asked": body, "status": told.status}
                await self.audits.tell(user, "CALL", f"{service} {path}", None, after)
        except Problem as problem:
            return _problem_response(request.scope, problem)
        except DependencyDown as down:
            return _problem_response(request.scope, Problem(503, "dependency-down", f"{down}.", dependency=down.what))
        return _response(told.status, told.body, told.content_type)

    async def _answer_own(self, request: HttpRequest, path: str, asked: Request) -> Response:
        found = self.own.find(request.method, path)
        if found is None:
            raise Problem(404, "no-such-call", f"the gateway does not offer {request.method} {path}")
        route, names = found
        reply = await answer(route, replace(asked, path=names))
        return _response(reply.status, to_plain(reply.body), reply.content_type)


def _add_login(app: FastAPI, login: Login) -> None:
    _add(app, "/login", "GET", login.page)
    _add(app, "/auth/login", "POST", login.by_password)
    _add(app, "/auth/logout", "POST", login.log_out)
    _add(app, "/auth/me", "GET", login.who)
    _add(app, "/auth/links", "POST", login.new_link)
    _add(app, "/", "GET", _to_ui)


def _add_calls(app: FastAPI, calls: Calls, routes: tuple[Route, ...]) -> None:
    for method in ("GET", "POST"):
        _add(app, "/api/{service}/{path:path}", method, calls.proxy)
    for route in routes:
        _add(app, route.path, route.method, calls.own_call)


def _add(app: FastAPI, path: str, method: str, endpoint: Callable[[HttpRequest], Awaitable[Response]]) -> None:
    app.add_route(path, endpoint, methods=[method])


async def _to_ui(request: HttpRequest) -> Response:
    return RedirectResponse(UI + "/", 303)


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def _on_http_exception(request: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "refused")
    return _problem_response(request.scope, Problem(error.status_code, kind, f"{request.url.path}: {error.detail}"))


async def _on_bug(request: HttpRequest, error: Exception) -> Response:
    problem = Problem(500, "internal-error", "This is a bug; the log of this moment says more.")
    return _problem_response(request.scope, problem)


def _forbidden(identity: Identity, what: str) -> Problem:
    return Problem(403, "role", f"{identity.user} is {identity.role.value}; {what} needs a higher role")


def _is_audited_here(service: str, method: str, path: str) -> bool:
    return service in AUDITED_HERE and method not in SAFE_METHODS and not path.startswith(AUDITED_THERE)


def _is_under(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


def _is_page_visit(scope: Scope) -> bool:
    """A person's browser asks for a page, not a program for data."""
    return (
        scope["method"] in SAFE_METHODS
        and not scope["path"].startswith(PROGRAM_PATHS)
        and "text/html" in (header(scope, "accept") or "")
    )


def _refusal(scope: Scope, problem: Problem) -> tuple[str, bytes]:
    if _is_page_visit(scope):
        return HTML, problem_page(problem.status, problem.detail).encode()
    return PROBLEM_MEDIA_TYPE, json.dumps(problem_body(problem)).encode()


def _problem_response(scope: Scope, problem: Problem) -> Response:
    content_type, body = _refusal(scope, problem)
    retry_after_s = problem.more.get("retry_after_s")
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return Response(body, problem.status, headers, content_type)


def _login_answer(identity: Identity) -> dict[str, Any]:
    return LoginAnswer(
        name=identity.user, role=identity.role, csrf_token=identity.csrf_token, expires_at=identity.expires_at
    ).to_dict()


def _json(body: dict[str, Any]) -> Response:
    return Response(json.dumps(body), media_type="application/json")


def _response(status: int, body: Any, content_type: str) -> Response:
    if isinstance(body, str):
        return Response(body, status, media_type=content_type)
    return Response(json.dumps(body), status, media_type=content_type)
