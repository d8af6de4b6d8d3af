"""What a client may say on a stream socket, and how the exchange answers.

Owns the five methods and their errors, word for word where they were recorded. Ids may be whole numbers, strings of at
most 36 characters, or null. Source: the exchange's pages on live subscribing; `1024` streams a connection.
"""

from dataclasses import dataclass
from typing import Any

import orjson

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
ID_LENGTH_MAX = 36

Id = int | str | None


class Unreadable(Exception):
    """
    Args:
        request_id: what the answer repeats, None where it could not be read.
    """

    def __init__(self, code: int, text: str, request_id: Id = None) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    params: list[Any]
    request_id: Id


def read(text: str | bytes) -> Request:
    """
    Raises:
        Unreadable: with the exchange's words.
    """
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Unreadable(3, f"Invalid JSON: expected value at line {error.lineno} column {error.colno}") from None
    if not isinstance(message, dict):
        raise Unreadable(2, "Invalid request: expected an object")
    request_id = message.get("id")
    if isinstance(request_id, bool) or not (request_id is None or isinstance(request_id, int | str)):
        raise Unreadable(2, "Invalid request: request ID must be an unsigned integer")
    if isinstance(request_id, str) and len(request_id) > ID_LENGTH_MAX:
        raise Unreadable(2, "Invalid request: request ID must be an unsigned integer")
    method = message.get("method")
    if not isinstance(method, str):
        column = len(text)
        raise Unreadable(2, f"Invalid request: missing field `method` at line 1 column {column}", request_id)
    if method not in METHODS:
        expected = ", ".join(f"`{each}`" for each in METHODS)
        raise Unreadable(2, f"Invalid request: unknown variant `{method}`, expected one of {expected}", request_id)
    params = message.get("params") or []
    if not isinstance(params, list):
        raise Unreadable(2, "Invalid request: params must be an array", request_id)
    return Request(method, params, request_id)


def streams(request: Request) -> list[str]:
    """
    Raises:
        Unreadable: a parameter is no string.
    """
    if not all(isinstance(each, str) for each in request.params):
        raise Unreadable(2, "Invalid request: stream name must be a string", request.request_id)
    return list(dict.fromkeys(request.params))


def combined(request: Request) -> bool:
    """The value of SET_PROPERTY.

    Raises:
        Unreadable: another property, or no boolean.
    """
    property_name(request)
    if len(request.params) > 2:
        raise Unreadable(2, "Invalid request: too many parameters", request.request_id)
    value = request.params[1] if len(request.params) == 2 else None
    if not isinstance(value, bool):
        raise Unreadable(1, "Invalid value type: expected Boolean", request.request_id)
    return value


def property_name(request: Request) -> str:
    """
    Raises:
        Unreadable: none, or one that does not exist: only `combined` does.
    """
    name = request.params[0] if request.params else None
    if not isinstance(name, str):
        raise Unreadable(2, "Invalid request: property name must be a string", request.request_id)
    if name != "combined":
        raise Unreadable(0, "Unknown property", request.request_id)
    return name


def answer(result: Any, request_id: Id) -> str:
    return orjson.dumps({"result": result, "id": request_id}).decode()


def error(unreadable: Unreadable) -> str:
    told = {"code": unreadable.code, "msg": unreadable.text}
    return orjson.dumps({"error": told, "id": unreadable.request_id}).decode()
