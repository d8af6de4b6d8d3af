import hashlib
import hmac

import aiohttp
import pytest

from chimera.adapters.binance.budget import Budget, Priority
from chimera.adapters.binance.hosts import Site, local
from chimera.adapters.binance.rest import RECV_WINDOW_CHANGES_MS, Rest, Security
from chimera.adapters.binance.signing import HmacSigner
from chimera.adapters.binance.venue import BinanceVenue
from chimera.adapters.clocks import LoopClock
from chimera.contracts.settings import S5Settings
from chimera.ports.venue import OutcomeUnknown, RateLimited, Refused, VenueError, VenueUnavailable
from tests.loopback import free_ports

from .canned import Answer, Canned, refused
from .conftest import START_MS

ORDER = "/fapi/v1/order"
TIME = "/fapi/v1/time"


def rest_at(root: str, session: aiohttp.ClientSession, *, speed: float = 1.0, signed: bool = True) -> Rest:
    clock = LoopClock(START_MS, speed)
    signer = HmacSigner("the-key", "the-secret") if signed else None
    return Rest(
        session=session,
        hosts=local(root),
        clock=clock,
        budget=Budget(clock, None, "budget"),
        signer_futures=signer,
        signer_spot=signer,
        timeout_ms=20_000,
    )


@pytest.fixture
async def rest(exchange: Canned, session: aiohttp.ClientSession) -> Rest:
    return rest_at(exchange.root, session)


async def place(rest: Rest, *, timeout_ms: int | None = None, priority: Priority = Priority.ENTRY) -> object:
    return await rest.call(
        Site.FUTURES,
        "POST",
        ORDER,
        {"symbol": "BTCUSDT", "newClientOrderId": "a:b/c"},
        security=Security.SIGNED,
        weight=0,
        orders=1,
        priority=priority,
        changes=True,
        timeout_ms=timeout_ms,
    )


async def look(rest: Rest, *, timeout_ms: int | None = None) -> object:
    return await rest.call(
        Site.FUTURES,
        "GET",
        ORDER,
        {"symbol": "BTCUSDT"},
        security=Security.SIGNED,
        weight=1,
        timeout_ms=timeout_ms,
    )


async def test_a_signed_request_is_what_the_documents_want(rest: Rest, exchange: Canned) -> None:
    exchange.say(f"POST {ORDER}", {"orderId": 1})
    exchange.say(f"GET {ORDER}", {"orderId": 1})
    rest.clocks[Site.FUTURES].offset_ms = 5_000_000

    assert await place(rest) == {"orderId": 1}
    await look(rest)

    post, get = exchange.asked
    for asked in (post, get):
        expected = hmac.new(b"the-secret", asked.payload.encode(), hashlib.sha256).hexdigest()
        assert (asked.query + asked.body).endswith(f"&signature={expected}")
        assert asked.headers["x-mbx-apikey"] == "the-key"
        assert START_MS + 5_000_000 <= int(asked.params["timestamp"]) < START_MS + 6_000_000
    assert post.query == ""
    assert post.body.startswith("symbol=BTCUSDT&newClientOrderId=a%3Ab%2Fc&")
    assert post.headers["content-type"] == "application/x-www-form-urlencoded"
    assert get.body == ""


async def test_what_changes_something_is_too_old_before_its_silence_is_an_answer(
    exchange: Canned, session: aiohttp.ClientSession
) -> None:
    """Accepted later than a lookup that did not find it, it would be there twice."""
    exchange.say(f"POST {ORDER}", {})

    for speed in (0.5, 1.0, 10.0, 60.0):
        await place(rest_at(exchange.root, session, speed=speed))

    windows_ms = [int(asked.params["recvWindow"]) for asked in exchange.asked]
    assert windows_ms == [1_500] * 4
    assert S5Settings().lookup_lag_ms > RECV_WINDOW_CHANGES_MS


async def test_on_a_faster_clock_a_request_says_the_same_window(
    exchange: Canned, session: aiohttp.ClientSession
) -> None:
    exchange.say(f"GET {ORDER}", {})

    await look(rest_at(exchange.root, session))
    await look(rest_at(exchange.root, session, speed=10.0))
    await look(rest_at(exchange.root, session, speed=60.0))

    assert [asked.params["recvWindow"] for asked in exchange.asked] == ["5000"] * 3


@pytest.mark.parametrize(
    ("answer", "placing", "looking"),
    [
        pytest.param(Answer(lost=True), OutcomeUnknown, VenueUnavailable, id="cut off"),
        pytest.param(Answer(raw=b"<html>all is well</html>"), OutcomeUnknown, VenueUnavailable, id="200 and no JSON"),
        pytest.param(Answer(raw=b""), OutcomeUnknown, VenueUnavailable, id="200 and nothing"),
        pytest.param(
            Answer(raw=b"<html>502</html>", status=502), OutcomeUnknown, VenueUnavailable, id="502 by a gateway"
        ),
        pytest.param(
            Answer(raw=b"Unknown error, please check your request or try again later.", status=503),
            OutcomeUnknown,
            VenueUnavailable,
            id="503 sent and not answered",
        ),
        pytest.param(
            Answer({"timestamp": START_MS, "path": ORDER, "msg": "Service Unavailable."}, 503),
            VenueUnavailable,
            VenueUnavailable,
            id="503 not sent",
        ),
        pytest.param(
            Answer(raw=b"<html><h1>503 Service Unavailable</h1></html>", status=503),
            OutcomeUnknown,
            VenueUnavailable,
            id="503 by a proxy",
        ),
        pytest.param(refused(-1008, "Request throttled", 503), VenueUnavailable, VenueUnavailable, id="503 throttled"),
        pytest.param(refused(-1007, "Timeout", 408), OutcomeUnknown, VenueUnavailable, id="408"),
        pytest.param(Answer(raw=b"<html>403</html>", status=403), VenueUnavailable, VenueUnavailable, id="firewall"),
        pytest.param(refused(-4164, "too small"), Refused, Refused, id="refused"),
        pytest.param(Answer({"code": -4164, "msg": "too small"}), Refused, Refused, id="refused with 200"),
        pytest.param(Answer(raw=b"\xff\xfe<html>", status=400), Refused, Refused, id="400 that nobody can read"),
    ],
)
async def test_what_became_of_a_call(
    rest: Rest, exchange: Canned, answer: Answer, placing: type[VenueError], looking: type[VenueError]
) -> None:
    exchange.say(f"POST {ORDER}", answer)
    exchange.say(f"GET {ORDER}", answer)

    with pytest.raises(placing) as placed:
        await place(rest)
    with pytest.raises(looking) as looked:
        await look(rest)

    assert (placed.type, looked.type) == (placing, looking)
    assert len(exchange.of(f"POST {ORDER}")) == 1


async def test_an_answer_that_does_not_come_leaves_the_outcome_unknown(rest: Rest, exchange: Canned) -> None:
    exchange.say(f"POST {ORDER}", Answer(never=True))
    exchange.say(f"GET {ORDER}", Answer(never=True))

    with pytest.raises(OutcomeUnknown, match="not answered within 300 ms"):
        await place(rest, timeout_ms=300)
    with pytest.raises(VenueUnavailable):
        await look(rest, timeout_ms=300)


async def test_what_never_left_changed_nothing(session: aiohttp.ClientSession) -> None:
    rest = rest_at(f"http://127.0.0.1:{free_ports()}", session)

    with pytest.raises(VenueUnavailable, match="not sent"):
        await place(rest)


async def test_a_clock_that_differs_is_measured_and_the_request_sent_once_more(rest: Rest, exchange: Canned) -> None:
    late = refused(-1021, "Timestamp for this request is outside of the recvWindow.")
    exchange.say(f"POST {ORDER}", late, {"orderId": 1})
    exchange.say(f"GET {TIME}", {"serverTime": START_MS + 3_600_000})

    assert await place(rest) == {"orderId": 1}

    first, second = exchange.of(f"POST {ORDER}")
    assert int(second.params["timestamp"]) - int(first.params["timestamp"]) >= 3_590_000
    assert first.params["newClientOrderId"] == second.params["newClientOrderId"]


async def test_a_clock_that_still_differs_is_told_and_not_tried_for_ever(rest: Rest, exchange: Canned) -> None:
    exchange.say(f"POST {ORDER}", refused(-5028, "Timestamp for this request is outside of the ME recvWindow."))
    exchange.say(f"GET {TIME}", {"serverTime": START_MS})

    with pytest.raises(VenueUnavailable, match="-5028"):
        await place(rest)

    assert len(exchange.of(f"POST {ORDER}")) == 2


async def test_a_slow_answer_moves_the_offset_little(exchange: Canned, session: aiohttp.ClientSession) -> None:
    rest = rest_at(exchange.root, session)
    wrong = {"serverTime": START_MS + 9_000_000}
    right = {"serverTime": START_MS + 1_000_000}
    exchange.say(f"GET {TIME}", right, wrong, right, wrong, right)

    offset_ms = await rest.clocks[Site.FUTURES].measure()

    assert 900_000 < offset_ms <= 1_000_000


async def test_whoever_asks_the_time_keeps_the_offset_true(venue: BinanceVenue, exchange: Canned) -> None:
    exchange.say(f"GET {TIME}", {"serverTime": START_MS + 700_000})

    assert await venue.server_time_ms() == START_MS + 700_000

    assert 600_000 < venue.rest.clocks[Site.FUTURES].offset_ms <= 700_000


async def test_headers_are_counted_and_stops_keep_their_room(rest: Rest, exchange: Canned) -> None:
    exchange.say(f"GET {ORDER}", Answer({}, headers={"X-MBX-USED-WEIGHT-1M": "2300"}))
    exchange.say(f"POST {ORDER}", Answer({}, headers={"X-MBX-ORDER-COUNT-10S": "290"}))

    await look(rest)
    with pytest.raises(RateLimited):
        await look(rest)
    await place(rest)
    with pytest.raises(RateLimited):
        await place(rest)
    await place(rest, priority=Priority.PROTECTIVE)

    assert len(exchange.asked) == 3


async def test_after_429_only_stops_are_sent_and_after_418_nothing(rest: Rest, exchange: Canned) -> None:
    exchange.say(f"GET {ORDER}", refused(-1003, "Too many requests", 429, Retry_After="30"))
    exchange.say(
        f"POST {ORDER}",
        {"orderId": 1},
        refused(-1003, f"Way too many requests; IP banned until {START_MS + 120_000}.", 418),
    )

    with pytest.raises(RateLimited) as slowed:
        await look(rest)
    with pytest.raises(RateLimited):
        await look(rest)
    await place(rest, priority=Priority.PROTECTIVE)
    with pytest.raises(RateLimited) as banned:
        await place(rest, priority=Priority.PROTECTIVE)
    with pytest.raises(RateLimited, match="banned"):
        await place(rest, priority=Priority.PROTECTIVE)

    assert slowed.value.retry_after_ms == 30_000
    assert 0 < banned.value.retry_after_ms <= 120_000
    assert len(exchange.asked) == 3


async def test_without_a_key_only_public_calls_go(exchange: Canned, session: aiohttp.ClientSession) -> None:
    rest = rest_at(exchange.root, session, signed=False)
    exchange.say(f"GET {TIME}", {"serverTime": START_MS})

    assert await rest.time_ms(Site.FUTURES) == START_MS
    with pytest.raises(Refused, match="needs an API key"):
        await look(rest)

    assert len(exchange.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(lost=True), id="cut off"),
        pytest.param(Answer(never=True), id="late"),
        pytest.param(Answer(raw=b"<html>", status=502), id="gateway"),
        pytest.param(refused(-1022, "Signature for this request is not valid."), id="refused"),
    ],
)
async def test_no_error_shows_a_secret(rest: Rest, exchange: Canned, answer: Answer) -> None:
    exchange.say(f"GET {ORDER}", answer)

    with pytest.raises(VenueError) as caught:
        await look(rest, timeout_ms=300)

    error: BaseException | None = caught.value
    signature = exchange.asked[0].params["signature"]
    assert error is not None
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert not any(secret in repr(error) for secret in (signature, "the-key", "the-secret"))
