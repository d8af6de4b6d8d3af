"""Why the exchange says no, with the code and the text that Binance uses.

A refusal changes nothing. Futures and spot name the same reason differently; both spellings stand here, so that a
server in front of the matching can pass them on unchanged. Source: the exchange's error tables.
"""

from decimal import Decimal

from chimera.contracts.enums import Market, Side


class Refusal(Exception):
    """The request itself is wrong: `code` is negative, `text` is what the exchange would print."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


def bad_symbol() -> Refusal:
    return Refusal(-1121, "Invalid symbol.")


def missing(parameter: str) -> Refusal:
    return Refusal(-1102, f"Mandatory parameter '{parameter}' was not sent, was empty/null, or malformed.")


def not_required(parameter: str) -> Refusal:
    return Refusal(-1106, f"Parameter '{parameter}' sent when not required.")


def bad_type() -> Refusal:
    return Refusal(-1116, "Invalid orderType.")


def bad_time_in_force() -> Refusal:
    return Refusal(-1115, "Invalid timeInForce.")


def bad_parameter(parameter: str) -> Refusal:
    return Refusal(-1130, f"Data sent for parameter '{parameter}' is not valid.")


def bad_client_id(market: Market) -> Refusal:
    if market is Market.FUT:
        return Refusal(-4015, "Client order id is not valid.")
    return Refusal(
        -1100,
        "Illegal characters found in parameter 'newClientOrderId'; legal range is '^[\\.A-Z\\:/a-z0-9_-]{1,36}$'.",
    )


def closed(market: Market) -> Refusal:
    if market is Market.FUT:
        return Refusal(-4141, "Symbol is closed.")
    return Refusal(-2010, "Market is closed.")


def closing_only() -> Refusal:
    return Refusal(
        -4400,
        "Futures Trading Quantitative Rules violated, only reduceOnly order is allowed, please try again later.",
    )


def no_opening() -> Refusal:
    return Refusal(-4140, "Invalid symbol status for opening position.")


def cancel_only() -> Refusal:
    return Refusal(-2010, "This symbol is not permitted for this account.")


def duplicate(market: Market) -> Refusal:
    if market is Market.FUT:
        return Refusal(-4116, "ClientOrderId is duplicated.")
    return Refusal(-2010, "Duplicate order sent.")


def no_funds(market: Market) -> Refusal:
    if market is Market.FUT:
        return Refusal(-2019, "Margin is insufficient.")
    return Refusal(-2010, "Account has insufficient balance for requested action.")


def would_take(market: Market) -> Refusal:
    if market is Market.FUT:
        return Refusal(-5022, "Due to the order could not be executed as maker, the Post Only order will be rejected.")
    return Refusal(-2010, "Order would immediately match and take.")


def would_trigger(market: Market) -> Refusal:
    if market is Market.FUT:
        return Refusal(-2021, "Order would immediately trigger.")
    return Refusal(-2010, "Order would trigger immediately.")


def filter_failed(name: str) -> Refusal:
    """Spot answers every filter with one code and the filter's name."""
    return Refusal(-1013, f"Filter failure: {name}")


def price_off_tick() -> Refusal:
    return Refusal(-4014, "Price not increased by tick size.")


def price_not_positive() -> Refusal:
    return Refusal(-4001, "Price less than 0.")


def stop_price_not_positive() -> Refusal:
    return Refusal(-4006, "Stop price less than zero.")


def price_too_high(limit: Decimal) -> Refusal:
    return Refusal(-4016, f"Limit price can't be higher than {limit}.")


def price_too_low(limit: Decimal) -> Refusal:
    return Refusal(-4024, f"Limit price can't be lower than {limit}.")


def qty_not_positive() -> Refusal:
    return Refusal(-4003, "Quantity less than or equal to zero.")


def qty_too_small() -> Refusal:
    return Refusal(-4004, "Quantity less than min quantity.")


def qty_too_large() -> Refusal:
    return Refusal(-4005, "Quantity greater than max quantity.")


def qty_too_precise() -> Refusal:
    return Refusal(-1111, "Precision is over the maximum defined for this asset.")


def qty_off_step() -> Refusal:
    return Refusal(-4023, "Qty not increased by step size.")


def notional_too_small(minimum: Decimal) -> Refusal:
    return Refusal(-4164, f"Order's notional must be no smaller than {minimum} (unless you choose reduce only)")


def counterparty_too_far() -> Refusal:
    return Refusal(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")


def fok_unfillable() -> Refusal:
    return Refusal(-5021, "Due to the order could not be filled immediately, the FOK order has been rejected.")


def nothing_to_reduce() -> Refusal:
    return Refusal(-2022, "ReduceOnly Order is rejected.")


def qty_with_close_position() -> Refusal:
    return Refusal(-4137, "Quantity must be zero with closePosition equals true")


def reduce_only_with_close_position() -> Refusal:
    return Refusal(-4138, "Reduce only must be true with closePosition equals true")


def close_position_by(kind: str) -> Refusal:
    return Refusal(-4136, f"Target strategy invalid for orderType {kind},closePosition true")


def bad_activation_price() -> Refusal:
    return Refusal(-4135, "Invalid activation price")


def price_above_stop(limit: Decimal) -> Refusal:
    return Refusal(-4183, f"Limit price can't be higher than {limit}.")


def price_below_stop(limit: Decimal) -> Refusal:
    return Refusal(-4184, f"Limit price can't be lower than {limit}.")


def second_close_position() -> Refusal:
    return Refusal(-4130, "An open stop or take profit order with GTE and closePosition in the direction is existing.")


def too_many_orders() -> Refusal:
    return Refusal(-2025, "Reach max open order limit.")


def too_many_conditionals() -> Refusal:
    return Refusal(-4045, "Reach max stop order limit.")


def position_too_large() -> Refusal:
    return Refusal(-2027, "Exceeded the maximum allowable position at current leverage.")


def bad_leverage(leverage: int) -> Refusal:
    return Refusal(-4028, f"Leverage {leverage} is not valid")


def leverage_fixed() -> Refusal:
    return Refusal(-4161, "Leverage reduction is not supported in Isolated Margin Mode with open positions")


def margin_type_unchanged() -> Refusal:
    return Refusal(-4046, "No need to change margin type.")


def margin_type_with_orders() -> Refusal:
    return Refusal(-4047, "Margin type cannot be changed if there exists open orders.")


def margin_type_with_position() -> Refusal:
    return Refusal(-4048, "Margin type cannot be changed if there exists position.")


def crossed_not_offered() -> Refusal:
    """This exchange's own: the real one opens crossed positions."""
    return Refusal(-1130, "Data sent for parameter 'marginType' is not valid. Only ISOLATED margin is offered here.")


def margin_of_crossed() -> Refusal:
    return Refusal(-4049, "Add margin only support for isolated position.")


def margin_beyond_free() -> Refusal:
    return Refusal(-4050, "Cross balance insufficient.")


def margin_beyond_isolated() -> Refusal:
    return Refusal(-4051, "Isolated balance insufficient.")


def margin_of_nothing() -> Refusal:
    return Refusal(-4054, "Cannot add position margin: position is 0.")


def amount_not_positive() -> Refusal:
    return Refusal(-4055, "Amount must be positive.")


def dual_side_unchanged() -> Refusal:
    return Refusal(-4059, "No need to change position side.")


def position_side() -> Refusal:
    return Refusal(-4061, "Order's position side does not match user's setting.")


def dual_side_with_orders() -> Refusal:
    return Refusal(-4067, "Position side cannot be changed if there exists open orders.")


def dual_side_with_position() -> Refusal:
    return Refusal(-4068, "Position side cannot be changed if there exists position.")


def isolated_in_the_way() -> Refusal:
    return Refusal(
        -4167, "Unable to adjust to Multi-Assets mode with symbols of USDⓈ-M Futures under isolated-margin mode."
    )


def isolated_in_multi_assets() -> Refusal:
    return Refusal(-4168, "Unable to adjust to isolated-margin mode under the Multi-Assets mode.")


def multi_assets_unchanged() -> Refusal:
    return Refusal(-4171, "Adjusted asset mode is currently set and does not need to be adjusted repeatedly.")


def bad_combination() -> Refusal:
    return Refusal(-1128, "Combination of optional parameters invalid.")


def not_in_a_list() -> Refusal:
    return Refusal(-1158, "Order type not supported in OCO.")


def both_legs_limit() -> Refusal:
    return Refusal(-1168, "At least one OCO order must be contingent.")


def limit_leg_misplaced(side: Side) -> Refusal:
    if side is Side.BUY:
        return Refusal(-1165, "A limit order in a buy OCO must be below.")
    return Refusal(-1166, "A limit order in a sell OCO must be above.")


def stop_leg_misplaced(side: Side) -> Refusal:
    if side is Side.BUY:
        return Refusal(-1196, "A stop loss order in a buy OCO must be above.")
    return Refusal(-1197, "A stop loss order in a sell OCO must be below.")


def profit_leg_misplaced(side: Side) -> Refusal:
    if side is Side.BUY:
        return Refusal(-1198, "A take profit order in a buy OCO must be below.")
    return Refusal(-1199, "A take profit order in a sell OCO must be above.")


def price_relation() -> Refusal:
    return Refusal(-2010, "The relationship of the prices for the orders is not correct.")


def unknown_to_cancel() -> Refusal:
    return Refusal(-2011, "Unknown order sent.")


def unknown_order() -> Refusal:
    return Refusal(-2013, "Order does not exist.")


def not_amendable() -> Refusal:
    return Refusal(-5024, "Symbol is not in trading status. Order amendment is not permitted.")


def limit_only() -> Refusal:
    return Refusal(-5025, "Only limit order is supported.")


def nothing_to_amend() -> Refusal:
    return Refusal(-5027, "No need to modify the order.")


def amended_too_small(minimum: Decimal) -> Refusal:
    return Refusal(-5029, f"Order's notional must be no smaller than {minimum}")


def transfer_short() -> Refusal:
    return Refusal(-5013, "Asset transfer failed: insufficient balance")
