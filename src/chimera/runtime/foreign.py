"""Whether somebody else holds an instrument: a person's own position is known by the stop that S5 gave it.

The exchange has one position of a futures instrument. An entry beside somebody else's would close that, or be closed
with it, so S3 and S4 leave the instrument alone meanwhile.
"""

from chimera.contracts.collections import ORDERS
from chimera.contracts.documents import Order
from chimera.contracts.enums import OrderStatus
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.documents import Documents, Query


async def foreign_stop(documents: Documents, key: InstrumentKey) -> Order | None:
    """The stop of somebody else's position, None where there is none."""
    open_orders = Query(collection=ORDERS, index="by_status", equal=(("status", OrderStatus.NEW.value),))
    return next(
        (
            order
            for order in await documents.find(open_orders)
            if order.is_nobodys_stop and (order.market, order.symbol) == (key.market, key.symbol)
        ),
        None,
    )
