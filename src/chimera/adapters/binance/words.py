"""Our words and theirs, both ways, for both markets.

Source: the "Enum definitions" pages (futures common-definition, spot enums). Foreign types that we never send are read
as the nearest of ours, so that a person's own orders can be listed.
"""

from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, TimeInForce, WorkingType
from chimera.domain.execution.orders import IncomeKind

FUT_TYPES = {
    "LIMIT": OrderType.LIMIT,
    "MARKET": OrderType.MARKET,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_MARKET,
    "STOP": OrderType.STOP_LOSS_LIMIT,
    "TAKE_PROFIT": OrderType.TAKE_PROFIT_LIMIT,
    "TRAILING_STOP_MARKET": OrderType.STOP_MARKET,
    "LIQUIDATION": OrderType.MARKET,
}
SPOT_TYPES = {
    word.value: word
    for word in (
        OrderType.LIMIT,
        OrderType.MARKET,
        OrderType.LIMIT_MAKER,
        OrderType.STOP_LOSS,
        OrderType.STOP_LOSS_LIMIT,
        OrderType.TAKE_PROFIT,
        OrderType.TAKE_PROFIT_LIMIT,
    )
}
FUT_ALGO_WORDS = frozenset({"STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP", "TAKE_PROFIT", "TRAILING_STOP_MARKET"})
"""Types that the futures exchange keeps in the algo book."""

STATUSES = {
    "NEW": OrderStatus.NEW,
    "NEW_INSURANCE": OrderStatus.NEW,
    "NEW_ADL": OrderStatus.NEW,
    "PENDING_NEW": OrderStatus.NEW,
    "PENDING_CANCEL": OrderStatus.NEW,
    "PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "EXPIRED": OrderStatus.CANCELED,
    "EXPIRED_IN_MATCH": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
}
"""NEW_INSURANCE and NEW_ADL stand in older documents only, of orders by which the exchange liquidates: with its
insurance fund, or with somebody else's position. What they fill, their fills tell."""
ALGO_STATUSES = {
    "NEW": OrderStatus.NEW,
    "TRIGGERING": OrderStatus.NEW,
    "TRIGGERED": OrderStatus.NEW,
    "CANCELED": OrderStatus.CANCELED,
    "EXPIRED": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
}
"""FINISHED is missing: what it means depends on the order that the trigger made."""
ALGO_TRIGGERED = frozenset({"TRIGGERING", "TRIGGERED", "FINISHED"})

_TIFS = {word.value: word for word in TimeInForce}
_INCOMES = {
    **{kind.value: kind for kind in IncomeKind},
    "SPECIAL_FUNDING_FEE": IncomeKind.FUNDING_FEE,
    "COMMISSION_REBATE": IncomeKind.COMMISSION,
    "API_REBATE": IncomeKind.COMMISSION,
    "REFERRAL_KICKBACK": IncomeKind.COMMISSION,
    "DELIVERED_SETTELMENT": IncomeKind.REALIZED_PNL,
}

TRANSFER_WORDS = {
    (Market.SPOT, Market.FUT): "MAIN_UMFUTURE",
    (Market.FUT, Market.SPOT): "UMFUTURE_MAIN",
}


def fut_type_of(word: str) -> OrderType:
    return FUT_TYPES.get(word, OrderType.LIMIT)


def spot_type_of(word: str) -> OrderType:
    return SPOT_TYPES.get(word, OrderType.LIMIT)


def fut_type_word(kind: OrderType, *, trails: bool = False) -> str:
    """`trails`: a STOP_MARKET that follows the price.

    Raises:
        ValueError: futures have no such order.
    """
    match kind:
        case OrderType.STOP_MARKET if trails:
            return "TRAILING_STOP_MARKET"
        case OrderType.LIMIT | OrderType.LIMIT_MAKER:
            return "LIMIT"
        case OrderType.STOP_LOSS_LIMIT:
            return "STOP"
        case OrderType.TAKE_PROFIT_LIMIT:
            return "TAKE_PROFIT"
        case OrderType.MARKET | OrderType.STOP_MARKET | OrderType.TAKE_PROFIT_MARKET:
            return kind.value
        case _:
            raise ValueError(f"futures have no order of type {kind}")


def spot_type_word(kind: OrderType) -> str:
    """
    Raises:
        ValueError: spot has no such order.
    """
    if kind.value not in SPOT_TYPES:
        raise ValueError(f"spot has no order of type {kind}")
    return kind.value


def side_of(word: str) -> Side:
    return Side(word)


def tif_of(word: str | None) -> TimeInForce:
    """GTD, RPI and GTE_GTC rest like GTC."""
    return _TIFS.get(word or "", TimeInForce.GTC)


def working_type_of(word: str | None) -> WorkingType:
    return WorkingType.MARK_PRICE if word == "MARK_PRICE" else WorkingType.CONTRACT_PRICE


def status_of(word: str) -> OrderStatus:
    """
    Raises:
        ValueError: the exchange has learnt a word; guessing whether an order is final is not for us.
    """
    try:
        return STATUSES[word]
    except KeyError:
        raise ValueError(f"the exchange says an order is {word!r}, which is no status that we know") from None


def reason_of(word: str, told: str | None = None) -> str | None:
    """Why an order ended without filling: what the exchange told, else its status; None while it may yet fill."""
    if STATUSES.get(word) not in (OrderStatus.CANCELED, OrderStatus.REJECTED):
        return None
    return told if told and told != "NONE" else ("USER" if word == "CANCELED" else word)


def income_kind_of(word: str) -> IncomeKind:
    """What we do not know came from outside of trading, as a transfer does."""
    return _INCOMES.get(word, IncomeKind.TRANSFER)
