"""Bodies of S1."""

from pydantic import Field

from chimera.contracts.base import Contract, Number
from chimera.contracts.enums import Market, TransferResult
from chimera.contracts.http.common import Asked


class TransferRequest(Asked):
    """`POST /xchg/treasury/transfer`, the gateway's `POST /treasury/transfer`. One transfer_id moves money once.

    Without transfer_id the header Idempotency-Key names the transfer.
    """

    transfer_id: str | None = None
    from_market: Market = Field(validation_alias="from", serialization_alias="from")
    to_market: Market = Field(validation_alias="to", serialization_alias="to")
    amount_usdt: Number = Field(gt=0)
    reason: str = "MANUAL"


class TransferAnswer(Contract):
    """What became of it; PENDING waits for approval or for the exchange."""

    transfer_id: str
    result: TransferResult
    message: str | None = None
