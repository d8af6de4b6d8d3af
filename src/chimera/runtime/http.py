"""A service's routes as a FastAPI application, and the same routes called without sockets.

Owns how a refusal looks on the wire: RFC 9457 problem details with a stable `type`, 400 for a malformed body or query.
What a route promises is written down by `runtime.openapi`.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog
from fastapi import FastAPI, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse

from chimera import __version__
from chimera.contracts.base import Contract
from chimera.contracts.http import PROBLEM_MEDIA_TYPE, PROBLEM_TYPE_BASE, FieldProblem
from chimera.contracts.services import BY_ID
from chimera.ports.errors import DependencyDown
from chimera.ports.peers import BodyText, PeerAnswer, PeerCall
from chimera.runtime.openapi import openapi_of
from chimera.runtime.service import Problem, Reply, Request, Route, Service

BODY_MAX_BYTES = 1_000_000
"""A body larger than this is refused before it is parsed."""
JSON = "application/json"
YAML = "application/yaml"
YAML_TYPES = frozenset({YAML, "application/x-yaml", "text/yaml", "text/x-yaml"})
_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
SHOWN_CHARS_MAX = 80
"""Of a value that a refusal repeats."""

log = structlog.get_logger(__name__)


def problem_body(problem: Problem) -> dict[str, Any]:
    return {
        "type": PROBLEM_TYPE_BASE + problem.kind,
        "title": problem.kind.replace("-", " "),
        "status": problem.status,
        "detail": problem.detail,
        **problem.more,
    }


def refusal(problem: Problem) -> Reply:
    return Reply(problem_body(problem), problem.status, PROBLEM_MEDIA_TYPE)


def _malformed(what: str, error: ValidationError, wanted: type[BaseModel]) -> Problem:
    """One sentence a field: where, what is wanted, what was given."""
    said, fields = [], []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"]) or what
        remedy = _no_such_field(wanted) if item["type"] == "extra_forbidden" else item["msg"]
        said.append(f"{field}: {remedy} (got {item['input']!r:.80})")
        fields.append(FieldProblem(field=field, value=_shown(item["input"]), remedy=remedy).to_dict())
    return Problem(400, f"malformed-{what}", "; ".join(said), errors=fields)


def _no_such_field(wanted: type[BaseModel]) -> str:
    names = (str(field.serialization_alias or name) for name, field in wanted.model_fields.items())
    return f"no such field; there are {', '.join(names)}. Mend or leave it out"


def _shown(given: Any) -> Any:
    """What was given, as far as it says something: never a whole body."""
    if isinstance(given, str):
        return given[:SHOWN_CHARS_MAX]
    return given if isinstance(given, bool | int | float) else None


def parse_body(route: Route, raw: Any) -> Any:
    """
    Raises:
        Problem: 400, naming field, value and remedy.
    """
    try:
        if route.parse is not None:
            return route.parse(raw)
        if route.body is not None:
            if isinstance(raw, route.body):
                return raw
            return route.body.model_validate({} if raw is None else raw)
    except ValidationError as error:
        assert route.body is not None
        raise _malformed("body", error, route.body) from error
    except ValueError as error:
        raise Problem(400, "malformed-body", str(error)) from error
    return raw


def read_body(route: Route, request: Request) -> Any:
    """The body by its text where the route reads texts, else by its value.

    Raises:
        Problem: 400, naming field, value and remedy; 415, the route does not read this language.
    """
    if request.text is None:
        return parse_body(route, request.body)
    if route.read is not None:
        return route.read(request.text)
    if request.text.media_type in YAML_TYPES:
        raise Problem(415, "media-type", f"this call reads {JSON}, not {request.text.media_type}")
    return parse_body(route, request.body)


def parse_query(route: Route, raw: Mapping[str, str]) -> Any:
    """
    Raises:
        Problem: 400, naming parameter, value and remedy.
    """
    if route.query is None:
        return raw
    try:
        return route.query.model_validate(raw)
    except ValidationError as error:
        raise _malformed("query", error, route.query) from error


async def answer(route: Route, request: Request) -> Reply:
    """Run a route; every failure becomes a problem with a status that says what the caller should do."""
    try:
        query = parse_query(route, request.query)
        body = read_body(route, request)
        return await route.handle(replace(request, body=body, query=query))
    except Problem as problem:
        return refusal(problem)
    except DependencyDown as down:
        return refusal(Problem(503, "dependency-down", f"{down}. Try again.", dependency=down.what))
    except Exception:
        log.exception("a route failed", route=route.path)
        return refusal(Problem(500, "internal-error", "This is a bug; the log of this moment says more."))


def to_plain(body: Any) -> Any:
    return body.to_dict() if isinstance(body, Contract) else body


class Routes:
    """The routes of one service, found by method and path."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.routes = routes
        self._exact = {(route.method, route.path): route for route in routes if "{" not in route.path}
        self._patterns = [
            (route.method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)), route)
            for route in routes
            if "{" in route.path
        ]

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
        exact = self._exact.get((method, path))
        if exact is not None:
            return exact, {}
        for wanted, pattern, route in self._patterns:
            match = pattern.fullmatch(path)
            if match is not None and wanted == method:
                return route, match.groupdict()
        return None


class LocalPeers:
    """Services of this process, called directly: the same routes, the same problems, no socket."""

    def __init__(self) -> None:
        self._routes: dict[str, Routes] = {}

    def add(self, service_id: str, routes: tuple[Route, ...]) -> None:
        self._routes[service_id] = Routes(routes)

    async def call(self, call: PeerCall) -> PeerAnswer:
        routes = self._routes.get(call.service)
        found = routes.find(call.method, call.path) if routes else None
        if found is None:
            missing = Problem(404, "no-such-call", f"{call.service} does not offer {call.method} {call.path}")
            return PeerAnswer(404, problem_body(missing), PROBLEM_MEDIA_TYPE)
        route, path = found
        asked = Request(call.body, path, call.query, call.actor, call.idempotency_key, call.text)
        reply = await answer(route, asked)
        return PeerAnswer(reply.status, to_plain(reply.body), reply.content_type)


def to_response(reply: Reply) -> Response:
    if isinstance(reply.body, str):
        return Response(reply.body, reply.status, media_type=reply.content_type)
    return JSONResponse(to_plain(reply.body), reply.status, media_type=reply.content_type)


async def read_text(request: HttpRequest) -> tuple[Any, BodyText | None]:
    """The body as a value, and as the text that it was; YAML has no value before a route reads it.

    Raises:
        Problem: 400 or 413.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    raw = await _read_bytes(request)
    if not raw:
        return None, None
    if media_type in YAML_TYPES:
        return None, BodyText(YAML, _decoded(raw))
    text = _decoded(raw)
    return _json(text), BodyText(JSON, text)


async def read_json(request: HttpRequest) -> Any:
    """
    Raises:
        Problem: 400 or 413.
    """
    raw = await _read_bytes(request)
    return _json(_decoded(raw)) if raw else None


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problem(400, "malformed-body", f"the body is not UTF-8: {error.reason} at byte {error.start}") from error


async def _read_bytes(request: HttpRequest) -> bytes:
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > BODY_MAX_BYTES:
        raise Problem(413, "body-too-large", f"the body has {length} bytes; at most {BODY_MAX_BYTES} are read")
    chunks = bytearray()
    async for chunk in request.stream():
        chunks += chunk
        if len(chunks) > BODY_MAX_BYTES:
            raise Problem(413, "body-too-large", f"at most {BODY_MAX_BYTES} bytes are read")
    return bytes(chunks)


def _json(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise Problem(400, "malformed-body", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Problem(400, "malformed-body", "the body is nested too deeply to be read") from error
    # Only an escape can bring one in, so that hardly any body is walked through.
    where = _half_a_character(value) if _ESCAPED_HALF.search(text) else None
    if where is not None:
        raise Problem(
            400,
            "malformed-body",
            f"{where[:SHOWN_CHARS_MAX] or 'the body'}: half a character (a lone surrogate, \\ud800 to \\udfff), which"
            " no text can hold; write the whole character",
        )
    return value


def _half_a_character(value: Any) -> str | None:
    """The path of a text, or of the group of a name, that holds a lone surrogate."""
    left = [("", value)]
    while left:
        path, part = left.pop()
        if isinstance(part, str) and _HALF_A_CHARACTER.search(part):
            return path
        if isinstance(part, dict):
            if any(_HALF_A_CHARACTER.search(name) for name in part):
                return path
            left += [(f"{path}.{name}" if path else name, each) for name, each in part.items()]
        elif isinstance(part, list):
            left += [(f"{path}[{place}]", each) for place, each in enumerate(part)]
    return None


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number that anybody can trade on")


def endpoint_of(route: Route) -> Callable[[HttpRequest], Awaitable[Response]]:
    async def endpoint(request: HttpRequest) -> Response:
        try:
            raw, text = await read_text(request) if request.method in ("POST", "PUT", "PATCH") else (None, None)
        except Problem as problem:
            return to_response(refusal(problem))
        actor = request.headers.get("x-chimera-actor", "")
        key = request.headers.get("idempotency-key", "")
        asked = Request(raw, request.path_params, dict(request.query_params), actor, key, text)
        return to_response(await answer(route, asked))

    return endpoint


class ServiceApp(FastAPI):
    """The HTTP face of one service; /openapi.json is made from the same routes."""

    def __init__(self, service: Service, routes: tuple[Route, ...]) -> None:
        name = BY_ID[service.id]
        super().__init__(title=f"Chimera {name.id}: {name.title}", version=__version__, docs_url=None, redoc_url=None)
        self._document = openapi_of(service, routes)
        self.add_exception_handler(HTTPException, _on_http_exception)
        for route in routes:
            self.add_route(route.path, endpoint_of(route), methods=[route.method])

    def openapi(self) -> dict[str, Any]:
        return self._document


async def _on_http_exception(request: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = {404: "no-such-call", 405: "method-not-allowed"}.get(error.status_code, "refused")
    return to_response(refusal(Problem(error.status_code, kind, f"{request.url.path}: {error.detail}")))


def build_app(service: Service, routes: tuple[Route, ...]) -> FastAPI:
    """Put `guard.BrowserGuard` in front where a browser can reach it."""
    return ServiceApp(service, routes)
