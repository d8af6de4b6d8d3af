"""I5: the documents are the exchange's ledger, order by order and fill by fill, when nothing is in motion."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from chimera.contracts.collections import FILLS, ORDERS
from chimera.contracts.documents import Fill, Order
from chimera.domain.exact import average, money
from chimera.domain.execution.orders import VenueFill
from chimera.domain.matching.records import OrderRecord
from chimera.simulation.checkers.evidence import Evidence
from chimera.simulation.checkers.strangers import OUR_PREFIX, not_strangers

_ZERO = Decimal(0)


def check(evidence: Evidence, *, id_prefix: str = OUR_PREFIX) -> list[str]:
    files = {order.order_id: order for order in evidence.on_file(ORDERS)}
    expected = not_strangers(evidence, id_prefix)
    there = {record.client_order_id: record for record in evidence.orders}
    fills: dict[str, list[VenueFill]] = defaultdict(list)
    for fill in evidence.fills:
        fills[fill.client_order_id].append(fill)
    findings = []
    for name, record in there.items():
        file = files.get(name)
        if file is not None:
            findings += _differences(file, record, fills[name])
        elif expected(name):
            findings.append(f"order {name} is {record.status} at the exchange and not on file")
    for name, file in files.items():
        if name not in there and (not file.status.is_final or file.filled_qty):
            findings.append(f"order {name} is {file.status} on file and unknown to the exchange")
    ours = [fill for fill in evidence.fills if fill.client_order_id in files]
    return findings + _fill_differences(ours, evidence.on_file(FILLS))


def _differences(file: Order, record: OrderRecord, fills: list[VenueFill]) -> list[str]:
    quote = sum((fill.price * fill.qty for fill in fills), _ZERO)
    rows = (
        ("status", file.status.value, record.status.value),
        ("filled_qty", file.filled_qty or _ZERO, record.filled_qty),
        ("avg_price", file.avg_price, average(quote / record.filled_qty) if record.filled_qty else None),
        ("fee_usdt", file.fee_usdt or _ZERO, sum((_fee_usdt(fill) for fill in fills), _ZERO)),
        ("side", file.side.value, record.side.value),
        ("stop_price", file.stop_price, record.stop_price),
    )
    return [
        f"order {file.order_id}: {name} is {here} on file and {theirs} at the exchange"
        for name, here, theirs in rows
        if here != theirs
    ]


def _fill_differences(there: Iterable[VenueFill], here: Iterable[Fill]) -> list[str]:
    on_file = {fill.fill_id: fill for fill in here}
    findings = []
    known = set()
    for fill in there:
        fill_id = fill.fill_id
        known.add(fill_id)
        file = on_file.get(fill_id)
        if file is None:
            findings.append(f"fill {fill_id} of {fill.client_order_id}, {fill.qty} at {fill.price}, is not on file")
            continue
        rows = (
            ("order", file.order_id, fill.client_order_id),
            ("price", file.price, fill.price),
            ("qty", file.qty, fill.qty),
            ("fee_usdt", file.fee_usdt or _ZERO, _fee_usdt(fill)),
            ("realized_pnl_usdt", file.realized_pnl_usdt or _ZERO, fill.realized_pnl_usdt),
            ("timestamp", file.timestamp, fill.ts),
        )
        findings += [
            f"fill {fill_id}: {name} is {ours} on file and {theirs} at the exchange"
            for name, ours, theirs in rows
            if ours != theirs
        ]
    findings += [f"fill {name} is on file and unknown to the exchange" for name in on_file if name not in known]
    return findings


def _fee_usdt(fill: VenueFill) -> Decimal:
    return money(fill.fee if fill.fee_asset == "USDT" else fill.fee * fill.price)
