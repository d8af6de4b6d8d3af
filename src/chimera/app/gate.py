"""May this account be traded on? Asked before anything is, at an exchange that is reached over the network.

Owns the list of what must be true, each with its cause and its remedy. The start refuses on everything that is bad;
`doctor --venue` shows the whole list. Looks only: nothing is changed at the exchange.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from chimera.adapters.binance.hosts import Site
from chimera.adapters.binance.venue import BinanceVenue
from chimera.adapters.binance.wallet import Restrictions
from chimera.adapters.clocks import wall_ms
from chimera.app.findings import Finding, Level
from chimera.app.sides import Waiting
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.venue import Capabilities, RateLimited, Refused, VenueError

T = TypeVar("T")

log = structlog.get_logger(__name__)

SKEW_MS_MAX = 1_000
"""SERVICES S1: above it S4 refuses every entry, so nothing would ever be traded."""

ASK_AGAIN_MS_MIN = 1_000
"""An exchange that limits and does not say for how long is not asked more often."""

EXPIRY_NOTICE_MS = 7 * 86_400_000

KEY_PROBLEMS = {
    -1021: ("this machine's clock is off", "set the clock by NTP (for example `chronyc makestep`) and try again"),
    -1022: (
        "the signature is wrong: the secret does not belong to the key",
        "set S4_BINANCE_SECRET to the secret that was shown when the key was made, or S4_BINANCE_PRIVATE_KEY_PATH to"
        " the file of its private key",
    ),
    -2008: (
        "the key is unknown here",
        "set S4_BINANCE_KEY to a key of this environment: the testnet has keys of its own",
    ),
    -2014: ("the key is missing or badly written", "set S4_BINANCE_KEY and S4_BINANCE_SECRET"),
    -2015: (
        "the exchange does not let this key do that: it is unknown here, lacks the permission, or this machine's"
        " address is not on its list",
        "look at the key on the exchange's page: of this environment (the testnet has its own), futures and spot"
        " trading ticked, the address of this machine allowed",
    ),
}
"""Cause and remedy by code. Source: the exchange's error tables."""

ONE_WAY = "on the exchange's page set the futures position mode to One-way (only possible without positions and orders)"
SINGLE_ASSET = "on the exchange's page set the futures asset mode to Single-Asset"


async def examine(
    venue: BinanceVenue,
    keys: Sequence[InstrumentKey],
    clock: Clock,
    *,
    real_money: bool,
    withdrawing_key_allowed: bool,
    waiting: Waiting | None = None,
) -> list[Finding]:
    """Everything, in a stable order; what cannot be looked at is a finding as well. For `waiting` see
    `when_allowed`."""
    looks: list[tuple[str, Callable[[], Awaitable[list[Finding]]]]] = [
        ("exchange", lambda: _reach(venue)),
        ("exchange's clock", lambda: clock_findings(venue, clock)),
        ("symbols", lambda: _symbols(venue, keys)),
        ("futures key", lambda: _futures_account(venue)),
        ("fees", lambda: _fees(venue)),
        ("spot key", lambda: _spot_account(venue)),
        ("key permissions", lambda: _permissions(venue, real_money, withdrawing_key_allowed, clock.now_ms())),
    ]
    findings: list[Finding] = []
    for what, look in looks:
        try:
            findings += await when_allowed(look, clock, waiting)
        except VenueError as error:
            findings.append(_failed(what, error))
            if what == "exchange":
                break  # nobody is there: the rest would say the same
    return findings + capabilities(venue.capabilities, {key.market for key in keys})


async def when_allowed(ask: Callable[[], Awaitable[T]], clock: Clock, waiting: Waiting | None) -> T:
    """The answer; where this address has asked too much, asked again when the exchange lets it.

    A start waits: ending instead would have a supervisor start us at once and ask again, which is what makes a ban
    longer. Somebody who only looks is told for how long, and does not: `waiting` None.

    Raises:
        RateLimited: nobody waits.
    """
    while True:
        try:
            return await ask()
        except RateLimited as limited:
            if waiting is None:
                raise
            wait_ms = max(ASK_AGAIN_MS_MIN, limited.retry_after_ms)
            log.warning("this address has asked too much: waiting", wait_s=math.ceil(wait_ms / 1_000), why=str(limited))
            again = datetime.fromtimestamp((wall_ms() + wait_ms) / 1_000, UTC)
            waiting(f"the exchange limits this address; asked again at {again:%Y-%m-%d %H:%M:%S} UTC")
            await clock.sleep_until_ms(clock.now_ms() + clock.work_ms(wait_ms))
            waiting(None)


def asked_too_much(limited: RateLimited) -> Finding:
    """For whoever does not wait."""
    wait_s = math.ceil(max(ASK_AGAIN_MS_MIN, limited.retry_after_ms) / 1_000)
    return Finding(
        "exchange",
        f"this address has asked too much: {str(limited).rstrip('.')}",
        f"wait {wait_s} s and try again",
        Level.BAD,
    )


def _failed(what: str, error: VenueError) -> Finding:
    refused = error if isinstance(error, Refused) else error.__cause__
    if isinstance(refused, Refused) and refused.code in KEY_PROBLEMS:
        cause, remedy = KEY_PROBLEMS[refused.code]
        return Finding(what, f"{cause} ({refused.code} {refused.text})", remedy, Level.BAD)
    if isinstance(error, RateLimited):
        return replace(asked_too_much(error), what=what)
    return Finding(
        what, str(error), "check the address of --venue and this machine's network, then try again", Level.BAD
    )


async def _reach(venue: BinanceVenue) -> list[Finding]:
    await venue.server_time_ms()
    return [Finding("exchange", f"{venue.name} answers")]


async def clock_findings(venue: BinanceVenue, clock: Clock) -> list[Finding]:
    offset_ms = await venue.rest.clocks[Site.FUTURES].measure()
    skew_ms = clock.work_ms(SKEW_MS_MAX)
    if abs(offset_ms) <= skew_ms:
        return [Finding("exchange's clock", f"{offset_ms:+d} ms from ours")]
    ahead = "behind" if offset_ms > 0 else "ahead of"
    return [
        Finding(
            "exchange's clock",
            f"this machine's clock is {abs(offset_ms) / 1_000:.1f} s {ahead} the exchange's: no entry would be sent",
            "set the clock by NTP (for example `chronyc makestep`) and try again",
            Level.BAD,
        )
    ]


async def _symbols(venue: BinanceVenue, keys: Sequence[InstrumentKey]) -> list[Finding]:
    return symbol_findings(await venue.instruments(), keys)


def symbol_findings(listed: Sequence[Instrument], keys: Sequence[InstrumentKey]) -> list[Finding]:
    """A symbol that the exchange does not list or does not trade any more."""
    by_key = {instrument.key: instrument for instrument in listed}
    findings = []
    for key in keys:
        instrument = by_key.get(key)
        if instrument is None:
            findings.append(
                Finding(str(key), "the exchange does not list it", "correct --symbols, or leave it out", Level.BAD)
            )
        elif instrument.status != "TRADING":
            findings.append(
                Finding(
                    str(key),
                    f"the exchange does not trade it now (status {instrument.status}): delisted or halted",
                    "leave it out of --symbols; close what is held of it on the exchange's page",
                    Level.BAD,
                )
            )
    return findings or [Finding("symbols", f"{len(keys)} instruments are traded there")]


async def _futures_account(venue: BinanceVenue) -> list[Finding]:
    if not venue.rest.has_key(Site.FUTURES):
        return [Finding("futures key", "none", "set S4_BINANCE_KEY and S4_BINANCE_SECRET", Level.BAD)]
    config = await venue.futures.account_config()
    modes = await venue.futures.modes()
    findings = []
    if not config.get("canTrade", True):
        findings.append(
            Finding("futures key", "the account may not trade futures", "tick Enable Futures for the key", Level.BAD)
        )
    if modes.hedge:
        findings.append(Finding("position mode", "hedge mode: we trade one-way", ONE_WAY, Level.BAD))
    if modes.multi_assets:
        findings.append(
            Finding("asset mode", "multi-assets mode: isolated margin is not possible in it", SINGLE_ASSET, Level.BAD)
        )
    return findings or [Finding("futures key", "trades futures, one-way, single-asset")]


async def _fees(venue: BinanceVenue) -> list[Finding]:
    try:
        in_bnb = await venue.futures.fee_burn()
    except Refused:  # of the key itself others tell
        return [Finding("fees", "this environment does not tell whether they are paid in BNB", level=Level.INFO)]
    if not in_bnb:
        return [Finding("fees", "futures fees are paid in USDT")]
    return [
        Finding(
            "fees",
            "futures fees are paid in BNB as long as there is some, and are booked here as if they were USDT: profits"
            " and losses would be wrong",
            "switch BNB for fees off in the futures preferences on the exchange's page, or keep no BNB in the futures"
            " wallet",
            Level.WARN,
        )
    ]


async def _spot_account(venue: BinanceVenue) -> list[Finding]:
    account = await venue.spot.account()
    if not account.get("canTrade", True):
        return [
            Finding(
                "spot key",
                "the account may not trade spot",
                "tick Enable Spot & Margin Trading for the key, and see on the exchange's page whether the account is"
                " restricted",
                Level.BAD,
            )
        ]
    return [Finding("spot key", "reads the spot account, which may trade")]


async def _permissions(
    venue: BinanceVenue, real_money: bool, withdrawing_key_allowed: bool, now_ms: int
) -> list[Finding]:
    if not venue.capabilities.transfers:
        return [Finding("key permissions", "this environment does not tell", level=Level.INFO)]
    return permission_findings(await venue.wallet.restrictions(), real_money, withdrawing_key_allowed, now_ms)


def permission_findings(
    may: Restrictions, real_money: bool, withdrawing_key_allowed: bool, now_ms: int
) -> list[Finding]:
    """What a key that trades by itself must and must not be allowed."""
    findings = []
    if may.withdrawals:
        findings.append(
            Finding(
                "key permissions",
                "the key may withdraw: whoever steals it can empty the account",
                "make a key without Enable Withdrawals, or set S4_WITHDRAWING_KEY_ALLOWED=true if you accept that",
                Level.WARN if withdrawing_key_allowed else Level.BAD,
            )
        )
    if not may.futures:
        findings.append(
            Finding("key permissions", "the key may not trade futures", "tick Enable Futures for the key", Level.BAD)
        )
    if not may.spot_trading:
        findings.append(
            Finding(
                "key permissions", "the key may not trade spot", "tick Enable Spot & Margin Trading for it", Level.BAD
            )
        )
    if may.expires_at_ms is not None and may.expires_at_ms - now_ms <= EXPIRY_NOTICE_MS:
        gone = may.expires_at_ms <= now_ms
        until = datetime.fromtimestamp(may.expires_at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        findings.append(
            Finding(
                "key permissions",
                f"the key's trading authority {'ended' if gone else 'ends'} on {until}",
                "renew it on the exchange's page, best restricted to the address of this machine, or make a new key and"
                " set S4_BINANCE_KEY and S4_BINANCE_SECRET",
                Level.BAD if gone else Level.WARN,
            )
        )
    if real_money and not may.ip_restricted:
        findings.append(
            Finding(
                "key permissions",
                "the key works from anywhere",
                "restrict it to the address of this machine on the exchange's page",
                Level.WARN,
            )
        )
    if not may.universal_transfer:
        findings.append(
            Finding(
                "key permissions",
                "the key may not move money between spot and futures: treasury transfers will fail",
                "tick Permits Universal Transfer if you want them",
                Level.INFO,
            )
        )
    return findings or [Finding("key permissions", "trades and reads, cannot withdraw")]


def capabilities(can: Capabilities, markets: set[Market]) -> list[Finding]:
    """What the exchange lacks: refused where the system cannot do without, told where it falls back."""
    findings = []
    if Market.FUT in markets and not (can.stop_market and can.reduce_only):
        findings.append(
            Finding(
                "capabilities",
                "the exchange holds no reduce-only stop orders: a futures position could not be protected",
                "trade spot alone there (strategy.markets), or use another exchange",
                Level.BAD,
            )
        )
    if Market.SPOT in markets and not can.oco:
        findings.append(
            Finding(
                "capabilities",
                "no OCO pairs: spot exits would have to be watched by this machine alone",
                "leave spot out of strategy.markets there",
                Level.BAD,
            )
        )
    if not can.post_only:
        findings.append(Finding("capabilities", "no post-only orders: entries go as taker orders", level=Level.INFO))
    return findings


def why_not(findings: Sequence[Finding]) -> str | None:
    """Everything bad in one text for a refused start; None when the account may be traded on."""
    bad = [
        f"{finding.what}: {finding.found}. {finding.remedy[:1].upper()}{finding.remedy[1:]}."
        for finding in findings
        if finding.bad
    ]
    return "\n".join(bad) or None
