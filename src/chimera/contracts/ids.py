"""How every id and document key is derived.

Owns the spelling of ids. An id is computed from what it names and never drawn, so telling or writing a thing twice
is harmless, and a restart finds the ids it used before.

    signal_id -> intent_id -> client_order_id -> child ids
"""

import hashlib
import re

from chimera.contracts.enums import Purpose, Side
from chimera.contracts.instrument_key import InstrumentKey

CLIENT_ORDER_ID_LEN_MAX = 32
"""So that children (`-<n>`) fit the exchange's 36. Source: SERVICES, S3."""

VENUE_ID_LEN_MAX = 36

ORDER_ID_ALPHABET = re.compile(r"[.A-Za-z0-9:_-]+")
"""What an exchange accepts in a client order id."""

LIQUIDATION_PREFIX = "autoclose-"
"""What the exchange calls the orders of its liquidations."""

ADL_PREFIX = "adl_autoclose"
"""What the exchange calls every order by which it closes a position to balance somebody else's loss."""

RECON_STOP = "RECON-"
"""What the intents of the reconciler's own stops begin with."""

CONFIG_ACTIVE_KEY = "active"
"""`_key` of the one document in `config_active`."""


def digest(*parts: object, length: int = 16) -> str:
    """Hex hash of `parts`, the same in every process; `length` characters of it."""
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def signal_id(t0: int, instrument: InstrumentKey) -> str:
    return f"SIG-{t0}-{instrument.doc_key}"


def intent_id(signal_id: str, purpose: Purpose, k: int) -> str:
    """`k` is a durable count of the intents of this signal with this purpose."""
    return f"{signal_id}-{purpose.value}-{k}"


def client_order_id(prefix: str, symbol: str, t0: int, intent_id: str, attempt: int = 0) -> str:
    """Our name of an order at the exchange: `<prefix>-<sym>-<t0>-<4 characters>`.

    Args:
        prefix: CHIMERA_ID_PREFIX.
        attempt: raise it when the name is found taken by another intent.
    """
    hashed = digest(intent_id, length=4) if attempt == 0 else digest(intent_id, attempt, length=4)
    tail = f"-{t0}-{hashed}"
    base = symbol.removesuffix("USDT").lower()
    # A long symbol gives way: the time and the hash make the name unique, the symbol only makes it readable.
    return f"{prefix}-{base}"[: CLIENT_ORDER_ID_LEN_MAX - len(tail)] + tail


def client_order_id_of_intent(prefix: str, symbol: str, intent_id: str) -> str:
    """The name of an order whose sender gave none: from the intent alone, so that a repeat gets the same."""
    base = symbol.removesuffix("USDT").lower()
    return f"{prefix}-{base}"[:18] + f"-{digest(intent_id, length=12)}"


def child_order_id(client_order_id: str, leg: int) -> str:
    """Derived, not drawn: the same leg names the same order after a restart, however often it is sent."""
    return f"{client_order_id}-{leg}"


def protection_order_id(client_order_id: str, kind: str, k: int) -> str:
    """The `k`-th order of one kind (`s` stop, `t` target, `x` exit) that a position's keeper sends for an entry."""
    name = f"{client_order_id}-{kind}{k}"
    if len(name) <= VENUE_ID_LEN_MAX:
        return name
    return f"{client_order_id[:20]}-{kind}{digest(client_order_id, kind, k, length=12)}"


def addition_order_id(client_order_id: str, k: int) -> str:
    """The `k`-th order by which a position grows. It has children of its own, so it is as short as an entry's."""
    name = f"{client_order_id}-a{k}"
    if len(name) <= CLIENT_ORDER_ID_LEN_MAX:
        return name
    return f"{client_order_id[:17]}-a{digest(client_order_id, 'a', k, length=12)}"


def is_ours(client_order_id: str, prefix: str) -> bool:
    """Whether an order at the exchange was named by this installation."""
    return client_order_id.startswith(f"{prefix}-")


def recon_stop_id(instrument: InstrumentKey, k: int) -> str:
    """The intent of the k-th stop that the reconciler itself orders on an instrument."""
    return f"{RECON_STOP}{instrument.doc_key}-SL-{k}"


def guard_id(trade_id: str, number: int) -> str:
    """The intent of the guard with this number, from 1 on, of a SPOT trade."""
    return f"{trade_id}-GUARD-{number}"


def is_of_the_exchange(client_order_id: str) -> bool:
    """Whether the exchange itself closed a position by it: liquidation, ADL, settlement. It changes what we hold."""
    return client_order_id.startswith((LIQUIDATION_PREFIX, ADL_PREFIX, "settlement_autoclose-"))


def told_apart(client_order_id: str, venue_order_id: str) -> str:
    """Our name of an order that the exchange calls `client_order_id`: the same, but where it gives all orders of a kind
    one name, as it does for ADL. There the order's number is appended, for a name is what an order is on file by."""
    if not venue_order_id or not is_of_the_exchange(client_order_id):
        return client_order_id
    kind = client_order_id.rstrip("-")
    return f"{kind}-{venue_order_id}" if kind.endswith("autoclose") else client_order_id


def as_told(client_order_id: str, venue_order_id: str) -> str:
    """What the exchange calls an ADL order that `told_apart` has named; every other name is its own."""
    if client_order_id.startswith(ADL_PREFIX) and client_order_id == f"{ADL_PREFIX}-{venue_order_id}":
        return ADL_PREFIX
    return client_order_id


def number_told(client_order_id: str) -> int | None:
    """The order number that may be in a name of `told_apart`. None: it is none of these. The exchange's own suffixes
    look alike, so whoever asks by it compares the answer's name."""
    kind, _, number = client_order_id.rpartition("-")
    is_one = is_of_the_exchange(client_order_id) and kind.endswith("autoclose")
    return int(number) if is_one and number.isascii() and number.isdigit() else None


def fill_id(instrument: InstrumentKey, venue_trade_id: int | str, side: Side) -> str:
    """The side belongs to it: a self-trade has one venue id and two fills."""
    return f"{instrument.doc_key}-{venue_trade_id}-{side.value[0]}"


def fill_order(ts: int, fill_id: str) -> tuple[int, int, str]:
    """What the fills of one instrument are sorted by: their time, then the exchange's number."""
    # Ids of one instrument differ in the number only, so a longer one is a later one.
    return ts, len(fill_id), fill_id


def kline_key(instrument: InstrumentKey, interval: str, open_time: int) -> str:
    return f"{instrument.doc_key}-{interval}-{open_time}"


def factor_bar_key(source: str, symbol: str, interval: str, open_time: int) -> str:
    return f"{source}-{symbol}-{interval}-{open_time}"


def snapshot_key(instrument: InstrumentKey, ts: int) -> str:
    return f"{instrument.doc_key}-{ts}"


def balance_key(market: str, asset: str, ts: int) -> str:
    return f"{market}-{asset}-{ts}"


def funding_key(symbol: str, funding_time: int) -> str:
    return f"FUT-{symbol}-{funding_time}"


def event_id(ts: int, *what: object) -> str:
    """`EVT-<ts>-<hash>`: `what` is whatever tells this event from another of the same millisecond."""
    return f"EVT-{ts}-{digest(*what, length=12)}"


def alert_id(ts: int, *what: object) -> str:
    return f"ALR-{ts}-{digest(*what, length=12)}"


def audit_id(ts: int, *what: object) -> str:
    return f"AUD-{ts}-{digest(*what, length=12)}"


def transfer_id(ts: int, *what: object) -> str:
    return f"TRF-{ts}-{digest(*what, length=12)}"


def request_id(ts: int, *what: object) -> str:
    """Name of a reconcile request."""
    return f"REQ-{ts}-{digest(*what, length=12)}"


def bundle_id(ts: int, bundle_hash: str) -> str:
    return f"BND-{ts}-{bundle_hash[:12]}"


def promotion_id(ts: int, *what: object) -> str:
    return f"PRM-{ts}-{digest(*what, length=12)}"


def simulation_id(ts: int, *what: object) -> str:
    return f"SIM-{ts}-{digest(*what, length=12)}"


def hypothesis_id(ts: int, *what: object) -> str:
    return f"HYP-{ts}-{digest(*what, length=12)}"


def experiment_id(ts: int, *what: object) -> str:
    return f"EXP-{ts}-{digest(*what, length=12)}"


def approval_id(ts: int, *what: object) -> str:
    return f"APR-{ts}-{digest(*what, length=12)}"


def metric_key(metric: str, ts: int, *tags: object) -> str:
    return f"{metric}-{ts}-{digest(*tags, length=8)}"


def metric_day_key(metric: str, day: str) -> str:
    """`day` is `yyyy-mm-dd`, UTC."""
    return f"{metric}:{day}"


def curve_id(kind: str, version: str) -> str:
    return f"{kind}-{version}"


def model_object(model_hash: str) -> str:
    """Where the object store keeps a trained model: under the sha256 of its file, so that it cannot be another."""
    return f"models/{model_hash}.onnx"


def lease_key(name: str) -> str:
    """`_key` of a lease in `system_state`."""
    return f"lease-{name}"
