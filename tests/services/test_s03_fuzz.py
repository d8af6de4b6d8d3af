"""What nobody can read is refused with 400 and the field's name, by every call of S3 that decides; nothing changes."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.contracts.collections import COLLECTIONS
from chimera.contracts.http import PROBLEM_TYPE_BASE
from chimera.runtime.http import build_app
from chimera.simulation.loop import run_virtual
from tests.runtime.asgi import PROBLEM, Answer, ask
from tests.services.test_s03_strategy import Desk
from tests.services.trading_floor import FUT

GOOD: dict[str, Any] = {"symbol": "BTCUSDT", "market": "FUT", "sideHint": "BUY"}
PATHS = ("/decide", "/dryrun")

MALFORMED: list[tuple[str, Any]] = [
    ("symbol", {}),
    *(("symbol", {**GOOD, "symbol": value}) for value in (None, 7, 1.5, True, [], {}, "", "btcusdt", "BTC/USDT")),
    *(("symbol", {**GOOD, "symbol": value}) for value in ("BT", "A" * 21, "BTCUSDT\n", "BTCUSDT ", "ＢＴＣ", "💰" * 4)),
    *(("market", {**GOOD, "market": value}) for value in ("", "fut", "MARGIN", 1, [], {}, ["FUT"])),
    *(("sideHint", {**GOOD, "sideHint": value}) for value in ("", "buy", "LONG", 1, True, [], ["BUY"])),
    *(("dry_run", {**GOOD, "dry_run": value}) for value in ("perhaps", 2, -1, 0.5, [], {}, None)),
    *(("context", {**GOOD, "context": value}) for value in (None, 1, "manual", [], ["manual"])),
    *(("context.trigger", {**GOOD, "context": {"trigger": value}}) for value in ("", "MANUAL", 1, None, [], {})),
    *(("context.t0", {**GOOD, "context": {"t0": value}}) for value in ("soon", -1, 1.5, [], {}, 10**30)),
    *((name, {**GOOD, name: 1}) for name in ("side", "side_hint", "qty", "dryRun", "__class__")),
]


class Counter:
    """Asks one S3 over its HTTP face, and knows everything that could have changed."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        runner = desk.runners["s3"]
        self.app = build_app(runner.service, runner.all_routes())

    async def everything(self) -> tuple[dict[str, int], int, Any]:
        documents = self.desk.world.documents
        counts = {name: await documents.count(collection) for name, collection in COLLECTIONS.items()}
        return counts, len(self.desk.told), await self.desk.world.reservations.all()

    async def refuses(self, path: str, field: str | None, body: Any = None, *, raw: bytes | None = None) -> Answer:
        before = await self.everything()

        answer = await ask(self.app, "POST", path, body, raw=raw)

        shown = raw[:80] if raw is not None else json.dumps(body)[:200]
        assert answer.status == 400, f"{path} {shown}: {answer.status} {answer.text[:300]}"
        assert answer.content_type == PROBLEM
        said = answer.body
        assert (said["status"], said["type"]) == (400, PROBLEM_TYPE_BASE + "malformed-body"), said
        if field is not None:
            fields = [error["field"] for error in said["errors"]]
            assert field in fields, f"{path} {shown}: names {fields}"
            assert field in said["detail"]
            assert all(error["remedy"] for error in said["errors"])
        else:
            assert said["detail"]
        assert await self.everything() == before, f"{path} {shown} changed something"
        return answer


async def opened() -> Counter:
    desk = await Desk.begin()
    await desk.see(0.0, key=FUT)
    return Counter(desk)


@pytest.mark.parametrize("path", PATHS)
def test_each_malformed_field_is_named_and_nothing_changes(path: str) -> None:
    async def scenario() -> None:
        counter = await opened()
        for field, body in MALFORMED:
            await counter.refuses(path, field, body)
        # All of them were refused for what they are: the good one is understood.
        assert (await ask(counter.app, "POST", path, GOOD)).status == 200
        await counter.desk.stop()

    run_virtual(scenario())


def test_one_malformed_request_refuses_the_whole_batch_before_any_is_decided() -> None:
    async def scenario() -> None:
        counter = await opened()
        for field, body in MALFORMED:
            for place in (0, 2):
                requests: list[Any] = [GOOD, GOOD]
                requests.insert(place, body)
                await counter.refuses("/decide/batch", f"requests.{place}.{field}", {"requests": requests})
        for requests in (None, 1, "all", {}, [], [GOOD] * 1_001):
            await counter.refuses("/decide/batch", "requests", {"requests": requests})
        await counter.refuses("/decide/batch", "requests", {})
        await counter.refuses("/decide/batch", "requests", GOOD)
        for number, item in enumerate((None, 1, "BTCUSDT", [GOOD])):
            await counter.refuses("/decide/batch", f"requests.{number}", {"requests": [GOOD] * number + [item]})
        await counter.desk.stop()

    run_virtual(scenario())


@pytest.mark.parametrize("path", [*PATHS, "/decide/batch"])
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"symbol=BTCUSDT", id="a form"),
        pytest.param(b'{"symbol": "BTCUSDT"', id="cut off"),
        pytest.param(b'{"symbol": "BTCUSDT",}', id="a comma too many"),
        pytest.param(b'{"symbol": NaN}', id="a number that is none"),
        pytest.param(b'{"symbol": Infinity}', id="infinity"),
        pytest.param(b'\xff\xfe{"symbol": "BTCUSDT"}', id="no utf-8"),
        pytest.param(b'{"symbol": "\xc3("}', id="broken utf-8 inside"),
        pytest.param(b"[" * 100_000, id="nested for ever"),
        pytest.param(b'{"a":' * 50_000 + b"1" + b"}" * 50_000, id="nested objects for ever"),
        pytest.param(b"null", id="null"),
        pytest.param(b"true", id="a truth"),
        pytest.param(b"7", id="a number"),
        pytest.param(b'"BTCUSDT"', id="a text"),
        pytest.param(b'[{"symbol": "BTCUSDT"}]', id="a list"),
        pytest.param(b'{"symbol": ' + b"9" * 5_000 + b"}", id="a number of five thousand digits"),
    ],
)
def test_what_is_no_json_object_is_refused_and_changes_nothing(path: str, raw: bytes) -> None:
    async def scenario() -> None:
        counter = await opened()
        await counter.refuses(path, None, raw=raw)
        await counter.desk.stop()

    run_virtual(scenario())


def test_a_body_that_is_too_large_is_refused_unread() -> None:
    async def scenario() -> None:
        counter = await opened()
        before = await counter.everything()

        answer = await ask(counter.app, "POST", "/decide", raw=b'{"symbol": "' + b"A" * 1_000_001 + b'"}')

        assert (answer.status, answer.content_type) == (413, PROBLEM)
        assert await counter.everything() == before
        await counter.desk.stop()

    run_virtual(scenario())


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["BTCUSDT", "FUT", "SPOT", "BUY", "SELL", "manual", "stream", "symbol"]),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
near_misses = st.fixed_dictionaries(
    {},
    optional={
        "symbol": st.one_of(st.just("BTCUSDT"), anything),
        "market": st.one_of(st.sampled_from(["FUT", "SPOT"]), anything),
        "sideHint": st.one_of(st.sampled_from(["BUY", "SELL"]), anything),
        "dry_run": st.one_of(st.booleans(), anything),
        "context": st.one_of(
            st.fixed_dictionaries({}, optional={"trigger": st.one_of(st.just("manual"), anything), "t0": anything}),
            anything,
        ),
    },
)


@settings(max_examples=25)
@given(bodies=st.lists(st.one_of(near_misses, near_misses, anything), min_size=10, max_size=30))
def test_whatever_is_sent_is_decided_or_refused_and_never_a_bug(bodies: Sequence[Any]) -> None:
    async def scenario() -> None:
        counter = await opened()
        for body in bodies:
            for path, sent in (("/dryrun", body), ("/decide", body), ("/decide/batch", {"requests": [body]})):
                before = await counter.everything()
                answer = await ask(counter.app, "POST", path, sent)
                assert answer.status in (200, 400), f"{path} {json.dumps(sent)[:300]}: {answer.status} {answer.text}"
                if answer.status == 400:
                    assert answer.content_type == PROBLEM
                    assert answer.body["detail"]
                    assert await counter.everything() == before
        assert len(await counter.desk.intents()) <= 2
        await counter.desk.stop()

    run_virtual(scenario())
