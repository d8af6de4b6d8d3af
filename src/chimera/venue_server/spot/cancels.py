"""What the end of an order is told with: the id of the request that asked for it."""

from collections.abc import Sequence

from chimera.domain.execution.orders import AccountChange, OrderUpdated
from chimera.venue_server.floor import Floor


def settle_cancel(floor: Floor, changes: Sequence[AccountChange], cancel_id: str) -> None:
    """Store and tell; whoever tells of an ended order finds in the floor what its cancel called itself."""
    for change in changes:
        if isinstance(change, OrderUpdated):
            floor.cancel_ids[change.order.venue_order_id] = cancel_id
    try:
        floor.settle(changes)
    finally:
        floor.cancel_ids.clear()
