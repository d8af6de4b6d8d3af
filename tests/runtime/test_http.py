"""A service's own port: routes as the contracts say, refusals as problems, and no page of another site."""

import json
from typing import Any

import pytest
from pydantic import Field

from chimera.contracts.base import Contract
from chimera.contracts.http import Asked, HealthAnswer, Problem, ReadyAnswer
from chimera.runtime.guard import BrowserGuard
from chimera.runtime.http import build_app
from chimera.runtime.runner import Runner
from chimera.runtime.service import Reply, Request, Route, Service
from tests.services.small_world import ENV, small_world


class Order(Asked):
    qty: int = Field(gt=0)


class Page(Contract):
    limit: int = Field(default=10, ge=1, le=20)


async def say(request: Request) -> Reply:
    query = request.query.to_dict() if isinstance(request.query, Page) else dict(request.query)
    body = request.body.to_dict() if isinstance(request.body, Order) else request.body
    return Reply({"query": query, "body": body, "actor": request.actor})


async def fail(request: Request) -> Reply:
    raise RuntimeError("a bug")


SERVICE = Service(
    id="s3",
    card="a card",
    routes=(
        Route(method="GET", path="/pages", handle=say, summary="pages", query=Page),
        Route(method="POST", path="/orders", handle=say, summary="orders", body=Order),
        Route(
            method="POST", path="/texts", handle=say, summary="texts", read=lambda text: [text.media_type, text.text]
        ),
        Route(method="POST", path="/bug", handle=fail, summary="bug"),
    ),
    ready=lambda: False,
    ready_when="the weather",
)


class Port:
    """The service as it is served on its own port."""

    def __init__(self) -> None:
        self.runner = Runner(SERVICE, small_world().world, ENV)
        self.app = BrowserGuard(app=build_app(SERVICE, self.runner.all_routes()))

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, str]:
        """Status, body, content type."""
        told = {"host": "127.0.0.1:8103", **{name.replace("_", "-"): value for name, value in headers.items()}}
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in told.items()],
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        kind = dict(sent[0]["headers"])[b"content-type"].decode()
        return sent[0]["status"], json.loads(b"".join(each.get("body", b"") for each in sent[1:])), kind


async def test_a_program_without_an_origin_is_answered() -> None:
    status, answer, _ = await Port().ask("POST", "/orders", b'{"qty": 3}', x_chimera_actor="curl")

    assert (status, answer) == (200, {"query": {}, "body": {"qty": 3}, "actor": "curl"})


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"origin": "https://evil.example"}, id="a page of another site"),
        pytest.param({"origin": "http://127.0.0.1:9999"}, id="a page of another port"),
        pytest.param({"sec_fetch_site": "cross-site"}, id="a form of another site"),
        pytest.param({"host": "evil.example:8103"}, id="a name that was made to point here"),
    ],
)
async def test_a_page_of_another_site_changes_nothing(headers: dict[str, str]) -> None:
    status, problem, kind = await Port().ask("POST", "/orders", b'{"qty": 3}', **headers)

    assert (status, kind) == (403, "application/problem+json")
    assert problem["type"].startswith("urn:chimera:problem:")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "word"),
    [
        pytest.param("POST", "/orders", b'{"qty": -1}', 400, "malformed-body", id="a value out of range"),
        pytest.param("POST", "/orders", b'{"qty": NaN}', 400, "malformed-body", id="not a number"),
        pytest.param("POST", "/orders", b"{", 400, "malformed-body", id="no JSON"),
        pytest.param("POST", "/orders", b" " * 1_000_001, 413, "body-too-large", id="a body too large"),
        pytest.param("GET", "/pages?limit=0", b"", 400, "malformed-query", id="a query out of range"),
        pytest.param("GET", "/pages?limit=many", b"", 400, "malformed-query", id="a query that is no number"),
        pytest.param("GET", "/nowhere", b"", 404, "no-such-call", id="an unknown path"),
        pytest.param("GET", "/orders", b"", 405, "method-not-allowed", id="the wrong method"),
        pytest.param("POST", "/bug", b"", 500, "internal-error", id="a bug of ours"),
    ],
)
async def test_every_refusal_is_a_problem_document(method: str, path: str, body: bytes, status: int, word: str) -> None:
    told, problem, kind = await Port().ask(method, path, body)

    assert (told, kind) == (status, "application/problem+json")
    assert Problem.model_validate(problem).type == f"urn:chimera:problem:{word}"
    assert problem["status"] == status


async def test_a_malformed_field_is_named_with_value_and_remedy() -> None:
    _, problem, _ = await Port().ask("POST", "/orders", b'{"qty": -1}')

    assert problem["errors"] == [{"field": "qty", "value": -1, "remedy": "Input should be greater than 0"}]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        pytest.param(rb'{"a": [1, {"note": "\ud800"}]}', "a[1].note", id="in a value"),
        pytest.param(rb'{"a": {"x\uDFFFy": 1}}', "a", id="in a name"),
        pytest.param(rb'"\udc00"', "the body", id="the whole body"),
    ],
)
async def test_half_a_character_is_refused_where_it_is_read(body: bytes, where: str) -> None:
    status, problem, _ = await Port().ask("POST", "/texts", body, content_type="application/json")

    assert (status, problem["type"].split(":")[-1]) == (400, "malformed-body")
    assert problem["detail"].startswith(f"{where}: ")
    assert "surrogate" in problem["detail"]


async def test_a_character_in_two_halves_is_whole() -> None:
    body = rb'{"note": "\ud83d\ude00", "path": "c:\\ud800"}'

    status, answer, _ = await Port().ask("POST", "/texts", body, content_type="application/json")

    assert (status, answer["body"][1]) == (200, body.decode())


async def test_a_misspelt_field_is_refused_with_those_there_are() -> None:
    status, problem, _ = await Port().ask("POST", "/orders", b'{"qty": 1, "qyt": 2}')

    assert status == 400
    assert problem["errors"] == [
        {"field": "qyt", "value": 2, "remedy": "no such field; there are qty. Mend or leave it out"}
    ]
    assert "qyt: no such field" in problem["detail"]


async def test_a_query_has_its_defaults_and_its_types() -> None:
    port = Port()

    assert (await port.ask("GET", "/pages"))[1]["query"] == {"limit": 10}
    assert (await port.ask("GET", "/pages?limit=20"))[1]["query"] == {"limit": 20}


async def test_health_and_readiness_are_those_of_the_contracts() -> None:
    port = Port()
    health = HealthAnswer.model_validate((await port.ask("GET", "/health"))[1])
    before, recovering, _ = await port.ask("GET", "/ready")
    await port.runner.start()
    after, waiting, _ = await port.ask("GET", "/ready")
    await port.runner.stop()

    assert (health.service, health.arango) == ("s3", "OK")
    assert (before, ReadyAnswer.model_validate(recovering).waiting_for) == (503, ("recovery",))
    assert (after, ReadyAnswer.model_validate(waiting).waiting_for) == (503, ("the weather",))


async def test_the_document_of_the_routes_is_served_and_no_page_with_foreign_scripts() -> None:
    port = Port()

    document = (await port.ask("GET", "/openapi.json"))[1]

    assert document["info"]["description"] == "a card"
    assert set(document["paths"]) == {"/bug", "/health", "/metrics", "/orders", "/pages", "/ready", "/texts"}
    for path in ("/docs", "/redoc"):
        assert (await port.ask("GET", path))[0] == 404


async def test_yaml_is_refused_where_no_text_is_read() -> None:
    status, answer, _ = await Port().ask("POST", "/orders", b"qty: 1", content_type="application/yaml")

    assert (status, answer["type"]) == (415, "urn:chimera:problem:media-type")
    assert "application/json" in answer["detail"]


async def test_a_text_comes_whole_to_the_route_that_reads_it() -> None:
    for kind, read_as in (("text/x-yaml; charset=utf-8", "application/yaml"), ("", "application/json")):
        status, answer, _ = await Port().ask("POST", "/texts", b'{"a":\n "\xc3\xa4"}', content_type=kind)

        assert (status, answer["body"]) == (200, [read_as, '{"a":\n "ä"}'])


async def test_a_text_in_no_known_letters_is_malformed() -> None:
    status, answer, _ = await Port().ask("POST", "/texts", b"a: \xff", content_type="application/yaml")

    assert (status, answer["type"]) == (400, "urn:chimera:problem:malformed-body")
    assert "UTF-8" in answer["detail"]
