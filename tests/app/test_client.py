"""Finding and asking the running system: every way in which it cannot be asked has words of its own."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chimera.app.client import Answer, Client, NotRunning, WarmingUp
from chimera.app.front import Front
from chimera.app.serving import listen, server, stop
from chimera.runtime.guard import Asgi, Receive, Scope, Send
from tests.loopback import free_ports


def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def started(data: Path, *, port: int, pid: int | None = None, host: str = "127.0.0.1") -> Path:
    """What a start leaves in its folder."""
    (data / "run.json").write_text(json.dumps({"pid": pid or os.getpid(), "host": host, "port": port}))
    (data / "api-token").write_text("the token\n")
    return data


@asynccontextmanager
async def serving(app: Asgi) -> AsyncIterator[int]:
    port = free_ports()
    each = server(app)
    task = asyncio.get_running_loop().create_task(each.serve(sockets=[listen("127.0.0.1", port)]))
    yield port
    await stop((each, task))


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    headers = {key.decode(): value.decode() for key, value in scope["headers"]}
    body = json.loads((await receive())["body"] or "null")
    told = {"authorization": headers.get("authorization"), "path": scope["path"], "body": body}
    answer = json.dumps(told).encode()
    await send({"type": "http.response.start", "status": 201, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": answer})


async def test_a_call_carries_a_text_as_it_is(tmp_path: Path) -> None:
    async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        kind = dict(scope["headers"])[b"content-type"].decode()
        answer = json.dumps([kind, (await receive())["body"].decode()]).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": answer})

    async with serving(mirror) as port:
        client = Client(started(tmp_path, port=port))
        text = ("application/yaml", "a: ä\n")

        answer = await asyncio.to_thread(lambda: client.call("POST", "/bundles", text=text))

    assert answer.body == list(text)


async def test_a_call_carries_the_token_and_the_body(tmp_path: Path) -> None:
    async with serving(echo) as port:
        client = Client(started(tmp_path, port=port))

        answer = await asyncio.to_thread(client.call, "POST", "/decide", {"symbol": "BTCUSDT"})

    assert answer == Answer(
        201, {"authorization": "Bearer the token", "path": "/decide", "body": {"symbol": "BTCUSDT"}}
    )


async def test_a_call_to_this_machine_takes_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_ports()}")

    async with serving(echo) as port:
        answer = await asyncio.to_thread(Client(started(tmp_path, port=port)).call, "GET", "/status")

    assert answer.status == 201


@pytest.mark.parametrize("path", ["/status", "/kill-switch", "/api/s3/decide"])
async def test_a_system_that_warms_up_says_how_far_it_is(tmp_path: Path, path: str) -> None:
    async with serving(Front(lambda: (9, 14, "simulating 14 days"))) as port:
        with pytest.raises(WarmingUp, match=r"warming up \(day 9 of 14, simulating 14 days\); ask again"):
            await asyncio.to_thread(Client(started(tmp_path, port=port)).call, "GET", path)


def no_folder(data: Path) -> Path:
    return data / "nowhere"


def nothing_started(data: Path) -> Path:
    return data


def ended(data: Path) -> Path:
    return started(data, port=free_ports(), pid=ended_pid())


def not_listening(data: Path) -> Path:
    return started(data, port=free_ports())


def damaged(data: Path) -> Path:
    (data / "run.json").write_text('{"pid": 1')
    return data


def without_token(data: Path) -> Path:
    (started(data, port=free_ports()) / "api-token").unlink()
    return data


@pytest.mark.parametrize(
    ("state", "says"),
    [
        pytest.param(no_folder, "no data folder", id="no such folder"),
        pytest.param(nothing_started, "no system runs on", id="a folder on which nothing was started"),
        pytest.param(ended, "has ended", id="the process is gone"),
        pytest.param(not_listening, "nothing listens", id="nobody at the port"),
        pytest.param(damaged, "is damaged", id="a damaged file"),
        pytest.param(without_token, "start the system anew", id="no token"),
    ],
)
def test_who_cannot_be_asked_is_named_with_the_remedy(tmp_path: Path, state: Callable[[Path], Path], says: str) -> None:
    data = state(tmp_path)

    with pytest.raises(NotRunning) as refused:
        Client(data).call("GET", "/status")

    assert says in str(refused.value)
    assert "start" in str(refused.value)
    assert str(data) in str(refused.value)


async def test_a_system_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        while scope["type"] == "http" and (await receive())["type"] != "http.disconnect":
            pass

    async with serving(silent) as port:
        with pytest.raises(NotRunning, match="did not answer within"):
            await asyncio.to_thread(Client(started(tmp_path, port=port), timeout_s=0.1).call, "GET", "/status")


async def test_an_answer_that_is_no_json_is_told_as_text(tmp_path: Path) -> None:
    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 502, "headers": [(b"content-type", b"text/html")]})
            await send({"type": "http.response.body", "body": b"<h1>another program</h1>"})

    async with serving(page) as port:
        answer = await asyncio.to_thread(Client(started(tmp_path, port=port)).call, "GET", "/status")

    assert answer == Answer(502, {"detail": "<h1>another program</h1>"})
