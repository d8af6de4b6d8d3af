"""Bodies of S3."""

from pydantic import Field

from chimera.contracts.base import Contract, EpochMs, Estimate, JsonObject, Number
from chimera.contracts.enums import Action, DecisionTrigger, Market, Reason, Side
from chimera.contracts.http.common import Asked
from chimera.contracts.order_intent import OrderIntent


class DecideContext(Contract):
    """Who asks, and of which moment."""

    trigger: DecisionTrigger = DecisionTrigger.MANUAL
    t0: EpochMs | None = None


class DecideRequest(Asked):
    """`POST /decide`, `POST /dryrun`. Without market the symbol's first one; `sideHint` wins over the signal.

    `dry_run` reserves, writes and emits nothing.
    """

    symbol: str = Field(pattern=r"^[A-Z0-9]{3,20}$")
    market: Market | None = None
    side_hint: Side | None = Field(default=None, validation_alias="sideHint", serialization_alias="sideHint")
    dry_run: bool = False
    context: DecideContext = DecideContext()


class DecidedIntent(OrderIntent):
    """The intent of an `open`, with the prices that stop and target would have at the reference price."""

    tp_px: Number | None = None
    sl_px: Number | None = None


class DecideAnswer(Contract):
    """What was decided and the whole way there. Multipliers are factors of 1, model_p a probability."""

    decision: Action
    reason: Reason
    detail: str | None = None
    intent: DecidedIntent | None = None
    config_rev: int
    rules_fired: tuple[str, ...] = ()
    model_p: Estimate | None = None
    signal_id: str | None = None
    size_mult: Estimate | None = None
    tp_mult: Estimate | None = None
    sl_mult: Estimate | None = None
    trail: JsonObject = Field(default_factory=dict)


class DecideBatchRequest(Asked):
    """`POST /decide/batch`: each is decided by itself, in order."""

    requests: tuple[DecideRequest, ...] = Field(min_length=1, max_length=1_000)


class DecideBatchAnswer(Contract):
    """One answer for each request, in order."""

    answers: tuple[DecideAnswer, ...]


class ReservationView(Contract):
    """What one intent takes of the risk budget. `state`: RESERVED on its way, OPEN filled."""

    intent_id: str
    market: Market
    symbol: str
    amount_usdt: Number
    state: str
    ts: EpochMs


class ReservationsAnswer(Contract):
    """`GET /reservations`: everything that is reserved, by intent id."""

    reservations: tuple[ReservationView, ...] = ()
