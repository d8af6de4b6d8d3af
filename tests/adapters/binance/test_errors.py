import pytest

from chimera.adapters.binance.errors import FAILURES, Failure, kind_of, meaning
from chimera.adapters.binance.hosts import Site
from chimera.ports.venue import (
    DuplicateOrder,
    InsufficientFunds,
    KeyRefused,
    NothingToReduce,
    OutcomeUnknown,
    RateLimited,
    Refused,
    UnknownOrder,
    VenueError,
    VenueUnavailable,
    WouldTake,
    WouldTrigger,
)

NOW_MS = 1_757_000_000_000
FUT, SPOT, WALLET = Site.FUTURES, Site.SPOT, Site.WALLET


def ident(row: Failure) -> str:
    return "-".join(str(part) for part in (row.site or "any", row.status or "", row.code or "", row.text) if part)


@pytest.mark.parametrize("row", [pytest.param(row, id=ident(row)) for row in FAILURES])
def test_every_row_is_reached_and_names_its_source(row: Failure) -> None:
    """No earlier row may swallow what a later one is for."""
    site = row.site or FUT
    status = row.status or 400

    found = kind_of(site, status, row.code, f"say: {row.text.upper()}.")

    assert found is row.kind
    assert row.source


@pytest.mark.parametrize(
    ("site", "status", "code", "text", "kind"),
    [
        (FUT, 429, -1003, "Too many requests; current limit is 2400 requests per minute.", RateLimited),
        (FUT, 418, -1003, "Way too many requests; IP banned until 1757000120000.", RateLimited),
        (SPOT, 400, -1015, "Too many new orders; current limit is 100 orders per TEN_SECONDS.", RateLimited),
        (FUT, 429, None, "<html>Too Many Requests</html>", RateLimited),
        (FUT, 503, None, "Unknown error, please check your request or try again later.", OutcomeUnknown),
        (FUT, 503, -1000, "Unknown error, please check your request or try again later.", OutcomeUnknown),
        (FUT, 503, None, "Service Unavailable.", VenueUnavailable),
        (
            FUT,
            503,
            -1008,
            "Request throttled by system-level protection. Reduce-only/close-position orders are exempt.",
            VenueUnavailable,
        ),
        (FUT, 503, None, "<html><body>upstream</body></html>", OutcomeUnknown),
        (FUT, 502, None, "<html><h1>502 Bad Gateway</h1></html>", OutcomeUnknown),
        (SPOT, 504, None, "", OutcomeUnknown),
        (FUT, 408, -1007, "Timeout waiting for response from backend server. Send status unknown;", OutcomeUnknown),
        (SPOT, 504, -1007, "Timeout waiting for response from backend server.", OutcomeUnknown),
        (FUT, 400, -1006, "An unexpected response was received from the message bus.", OutcomeUnknown),
        (FUT, 403, None, "<html>403 Forbidden</html>", VenueUnavailable),
        (WALLET, 403, None, "<html>403 Forbidden</html>", Refused),
        (FUT, 401, -2015, "Invalid API-key, IP, or permissions for action.", KeyRefused),
        (FUT, 401, -2014, "API-key format invalid.", KeyRefused),
        (FUT, 400, -1022, "Signature for this request is not valid.", KeyRefused),
        (SPOT, 400, -2008, "Invalid Api-Key ID.", KeyRefused),
        (FUT, 400, -1021, "Timestamp for this request is outside of the recvWindow.", VenueUnavailable),
        (FUT, 400, -5028, "Timestamp for this request is outside of the ME recvWindow.", VenueUnavailable),
        (FUT, 400, -2013, "Order does not exist.", UnknownOrder),
        (FUT, 400, -2011, "Unknown order sent.", UnknownOrder),
        (SPOT, 400, -2011, "Unknown order sent.", UnknownOrder),
        (SPOT, 400, -2011, "Order was not canceled due to cancel restrictions.", Refused),
        (SPOT, 400, -2026, "Order was canceled or expired with no executed qty over 90 days ago.", UnknownOrder),
        (FUT, 400, -2026, "This OrderType is not supported when reduceOnly.", Refused),
        (FUT, 400, -4117, "stop order is triggering", UnknownOrder),
        (FUT, 400, -4116, "ClientOrderId is duplicated.", DuplicateOrder),
        (SPOT, 400, -2010, "Duplicate order sent.", DuplicateOrder),
        (FUT, 400, -2019, "Margin is insufficient.", InsufficientFunds),
        (SPOT, 400, -2010, "Account has insufficient balance for requested action.", InsufficientFunds),
        (WALLET, 400, -5013, "Asset transfer failed: insufficient balance", InsufficientFunds),
        (FUT, 400, -2021, "Order would immediately trigger.", WouldTrigger),
        (SPOT, 400, -2010, "Order would trigger immediately.", WouldTrigger),
        (SPOT, 400, -2010, "Stop price would trigger immediately.", WouldTrigger),
        (FUT, 400, -5022, "Due to the order could not be executed as maker, the Post Only order will be", WouldTake),
        (SPOT, 400, -2010, "Order would immediately match and take.", WouldTake),
        (FUT, 400, -2022, "ReduceOnly Order is rejected.", NothingToReduce),
        (SPOT, 400, -2010, "Market is closed.", Refused),
        (SPOT, 400, -2010, "The relationship of the prices for the orders is not correct.", Refused),
        (SPOT, 400, -1013, "Filter failure: NOTIONAL", Refused),
        (FUT, 400, -4164, "Order's notional must be no smaller than 50 (unless you choose reduce only)", Refused),
        (FUT, 400, -4120, "Order type not supported for this endpoint.", Refused),
        (FUT, 400, -4046, "No need to change margin type.", Refused),
        (FUT, 404, None, "<html>no such page</html>", Refused),
        (FUT, 302, None, "", VenueUnavailable),
    ],
)
def test_a_failure_is_named_by_what_to_do_next(
    site: Site, status: int, code: int | None, text: str, kind: type[VenueError]
) -> None:
    found = meaning(site, status, code, text, now_ms=NOW_MS)

    assert type(found) is kind
    if isinstance(found, Refused):
        assert found.code == (status if code is None else code)
        assert found.text == text[:200]


@pytest.mark.parametrize(
    ("text", "header_ms", "speed", "waits_ms"),
    [
        pytest.param("slow down", 7_000, 1.0, 7_000, id="the header says"),
        pytest.param("IP banned until 1757000120000. Please", None, 1.0, 120_000, id="the text says"),
        pytest.param("IP banned until 1757000120000.", None, 10.0, 12_000, id="on a clock that runs ten times as fast"),
        pytest.param("IP banned until 1756999999999.", None, 1.0, 0, id="a ban that has ended"),
        pytest.param("Too many requests", None, 1.0, 60_000, id="nobody says: the window"),
    ],
)
def test_how_long_to_stay_away(text: str, header_ms: int | None, speed: float, waits_ms: int) -> None:
    found = meaning(FUT, 418, -1003, text, now_ms=NOW_MS, speed=speed, retry_after_ms=header_ms)

    assert isinstance(found, RateLimited)
    assert found.retry_after_ms == waits_ms
