"""What S4 needs to know before it starts. Numbers a person changes at run time are in the bundle, not here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from chimera.contracts.enums import WorkingType
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S3Settings, S4Settings


def no_file() -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times are ms of our own work where nothing else is said.

    Attributes:
        sync_wait_ms: S4_SYNC_WAIT_MS: how long POST /orders waits for a final state before it answers ACCEPTED.
        lookup_lag_ms: An order that the exchange does not know this long after sending never arrived. Binance's query
            by id was seen to lag a placement by 1.5 s.
        ask_after_ms: Venue time: an order that was neither answered nor shown for so long is asked for.
        listed_within_ms: Venue time: how long a stop may take to be listed before the attempt counts as failed. Three
            attempts fit into invariant I2's 2 s.
        stop_attempts: After so many, the position is closed at market.
        look_ms: Market time: how often what forbids an entry is looked at while something of it rests or waits.
        rest_ask_ms: Market time: a resting futures entry is looked up so often, a fifth as often on SPOT: its stop is
            due 2 s after a fill that a silent stream does not tell.
        entry_tries: How often an entry is offered to an exchange that does not serve us. Its tries end before POST
            /orders answers, so that the caller is told 503.
        taker_fee_ratio: What a target is reckoned with while the exchange does not say what it takes.
        exit_tries: The same for an exit; after so many whoever ordered it is told that it failed.
        holdings_ms: How often what is held is recorded.
        isolated_ms: How long margin type and leverage are believed to be what we set: a person may change them.
        close_tries_max: How often a close that the exchange refuses is sent again before a person is asked to do it.
        rules_ms: How often the exchange's rules are asked for besides; a refusal that names one asks at once.
        retry_max_ms: What waits for a dependency asks at least this often: a position may be naked for 2 s.
        report_pause_ms: Where somebody else's orders fill, the reconciler is asked to look at most this often: a look
            costs some 25 of the 2,400 request weights of a minute.
        report_pause_max_ms: The pause doubles up to this while it goes on and on.
        fill_wait_ms: Venue time: how long the account stream has to tell the fills of an answered market order.
            Then we ask.
        dead_man_ms: S4_DEAD_MAN_MS: the exchange's countdown over resting entries; 0 is none.
        variables: What the environment says of execution: hard caps, breaker, last gate, route table.
        s3: S3's variables, for the limits of the book where a bundle is silent.
        route_file: Reads the file at S4_ROUTE_TABLE_PATH.
        tick_interval_ms: How often the exchange's top of book moves at most; a book may be so old without being stale.
    """

    env: str
    keys: tuple[InstrumentKey, ...]
    id_prefix: str = "s3"
    working_type: WorkingType = WorkingType.MARK_PRICE
    leverage_max: int = 20
    sync_wait_ms: int = 500
    lookup_lag_ms: int = 2_000
    ask_after_ms: int = 400
    listed_within_ms: int = 600
    stop_attempts: int = 3
    look_ms: int = 250
    rest_ask_ms: int = 1_000
    entry_tries: int = 2
    exit_tries: int = 6
    taker_fee_ratio: Decimal = Decimal("0.001")
    fill_wait_ms: int = 400
    retry_max_ms: int = 1_000
    report_pause_ms: int = 1_000
    report_pause_max_ms: int = 5_000
    holdings_ms: int = 10_000
    rules_ms: int = 60_000
    isolated_ms: int = 60_000
    close_tries_max: int = 5
    dead_man_ms: int = 0
    variables: S4Settings = field(default_factory=S4Settings)
    s3: S3Settings = field(default_factory=S3Settings)
    route_file: Callable[[], str | None] = no_file
    tick_interval_ms: int = 0

    @property
    def snap_age_ms_max(self) -> int:
        """An older book is none."""
        return max(self.variables.snap_age_ms_max, self.tick_interval_ms * 5 // 2)
