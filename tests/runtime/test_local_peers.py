"""A route answers the same whether it is called in the process or over HTTP."""

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from chimera.contracts.base import Contract, Number
from chimera.contracts.http import PROBLEM_TYPE_BASE
from chimera.ports.documents import DocumentsUnavailable
from chimera.ports.peers import PeerCall
from chimera.runtime.http import BODY_MAX_BYTES, LocalPeers, build_app, to_plain
from chimera.runtime.service import Problem, Reply, Request, Route, Service
from tests.runtime.asgi import JSON, PROBLEM, ask


class Wish(Contract):
    name: str
    qty: Number = Decimal(1)


class Asked(Contract):
    limit: int = 10


class Granted(Contract):
    name: str
    qty: Number
    actor: str = ""


async def grant(request: Request) -> Reply:
    return Reply(Granted(name=request.body.name, qty=request.body.qty, actor=request.actor))


async def show(request: Request) -> Reply:
    return Reply({"id": request.path["id"], "limit": request.query.limit})


async def text(request: Request) -> Reply:
    return Reply("one two", 200, "text/plain; charset=utf-8")


async def made(request: Request) -> Reply:
    return Reply({"raw": request.body}, 201)


async def refuse(request: Request) -> Reply:
    raise Problem(409, "not-now", "come back later", cause="LUNCH")


async def lose(request: Request) -> Reply:
    raise DocumentsUnavailable("a failover")


async def fail(request: Request) -> Reply:
    raise RuntimeError("a secret detail")


def spelled(raw: Any) -> Any:
    if raw != {"spell": "it"}:
        raise ValueError("spell: write it")
    return raw


ROUTES = (
    Route(method="POST", path="/wishes", handle=grant, body=Wish, answer=Granted, summary="Grant a wish."),
    Route(method="GET", path="/wishes/{id}", handle=show, query=Asked, summary="Show one."),
    Route(method="GET", path="/text", handle=text, summary="Text."),
    Route(method="POST", path="/made", handle=made, summary="Anything."),
    Route(method="POST", path="/spelled", handle=made, parse=spelled, summary="Spelled."),
    Route(method="POST", path="/refused", handle=refuse, summary="Not now."),
    Route(method="POST", path="/lost", handle=lose, summary="Lost."),
    Route(method="POST", path="/failed", handle=fail, summary="Failed."),
)


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    status: int
    body: Any = None
    query: dict[str, str] = field(default_factory=dict)


CALLS = [
    pytest.param(Call("POST", "/wishes", 200, {"name": "a", "qty": 0.1}), id="a body"),
    pytest.param(Call("POST", "/wishes", 200, {"name": "a", "later": 1}), id="an unknown field"),
    pytest.param(Call("POST", "/wishes", 400, {"qty": "much"}), id="two fields wrong"),
    pytest.param(Call("POST", "/wishes", 400), id="no body"),
    pytest.param(Call("POST", "/wishes", 400, [1]), id="no object"),
    pytest.param(Call("GET", "/wishes/a-1", 200), id="a path parameter"),
    pytest.param(Call("GET", "/wishes/a-1", 200, query={"limit": "3"}), id="a query"),
    pytest.param(Call("GET", "/wishes/a-1", 400, query={"limit": "many"}), id="a query that cannot be read"),
    pytest.param(Call("GET", "/text", 200), id="text"),
    pytest.param(Call("POST", "/made", 201, {"any": ["thing", None, 1.5]}), id="another status"),
    pytest.param(Call("POST", "/spelled", 201, {"spell": "it"}), id="a spelling"),
    pytest.param(Call("POST", "/spelled", 400, {"spell": "that"}), id="a spelling that cannot be read"),
    pytest.param(Call("POST", "/refused", 409), id="a refusal"),
    pytest.param(Call("POST", "/lost", 503), id="a dependency down"),
    pytest.param(Call("POST", "/failed", 500), id="a bug"),
]


def the_app() -> Any:
    return build_app(Service(id="s8", card="A test's own.", routes=ROUTES), ROUTES)


@pytest.mark.parametrize("call", CALLS)
async def test_in_process_and_over_http_a_route_answers_the_same(call: Call) -> None:
    peers = LocalPeers()
    peers.add("s8", ROUTES)

    near = await peers.call(PeerCall("s8", call.method, call.path, call.body, call.query, actor="ada"))
    far = await ask(the_app(), call.method, call.path, call.body, query=call.query, actor="ada")

    assert near.status == far.status == call.status
    assert near.content_type == far.content_type
    if far.content_type in (JSON, PROBLEM):
        assert json.loads(json.dumps(to_plain(near.body))) == far.body
    else:
        assert near.body == far.text
    assert (far.content_type == PROBLEM) is (call.status >= 400)


async def test_a_malformed_body_names_every_field_its_value_and_the_remedy() -> None:
    answer = await ask(the_app(), "POST", "/wishes", {"qty": "much"})

    assert answer.body["type"] == f"{PROBLEM_TYPE_BASE}malformed-body"
    assert [(each["field"], each.get("value")) for each in answer.body["errors"]] == [("name", None), ("qty", "much")]
    assert all(each["remedy"] for each in answer.body["errors"])


async def test_a_bug_says_nothing_of_itself() -> None:
    answer = await ask(the_app(), "POST", "/failed")

    assert "secret" not in answer.text
    assert answer.body["type"] == f"{PROBLEM_TYPE_BASE}internal-error"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"{", 400, id="cut off"),
        pytest.param(b'{"name": "\xff"}', 400, id="no UTF-8"),
        pytest.param(b'{"name": "a", "qty": NaN}', 400, id="NaN"),
        pytest.param(b'{"name": "a", "qty": -Infinity}', 400, id="infinity"),
        pytest.param(b'{"name": "a", "qty": 1e999}', 400, id="infinity in digits"),
        pytest.param(b"[" * 50_000, 400, id="nested beyond reading"),
        pytest.param(b" " * (BODY_MAX_BYTES + 1), 413, id="too long"),
    ],
)
async def test_bytes_that_are_no_body_are_refused_as_a_problem(raw: bytes, status: int) -> None:
    answer = await ask(the_app(), "POST", "/wishes", raw=raw)

    assert (answer.status, answer.content_type) == (status, PROBLEM)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/nowhere", 404, id="no such path"),
        pytest.param("GET", "/wishes/a/b", 404, id="one part too many"),
        pytest.param("DELETE", "/wishes", 405, id="no such method"),
    ],
)
async def test_what_is_not_offered_is_a_problem_too(method: str, path: str, status: int) -> None:
    peers = LocalPeers()
    peers.add("s8", ROUTES)

    near = await peers.call(PeerCall("s8", method, path))
    far = await ask(the_app(), method, path)

    assert (far.status, far.content_type) == (status, PROBLEM)
    assert near.status in (404, 405)
    assert near.content_type == PROBLEM


async def test_a_service_that_is_not_in_this_process_is_no_such_call() -> None:
    answer = await LocalPeers().call(PeerCall("s9", "GET", "/health"))

    assert (answer.status, answer.body["type"]) == (404, f"{PROBLEM_TYPE_BASE}no-such-call")
