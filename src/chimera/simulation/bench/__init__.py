"""What `chimera bench NAME` measures. Nothing is asserted: figures depend on the machine and on what else it does.

sim             virtual days per second of ours, whole system
memory          resident memory over thirty virtual days
decide          one decision: pure, in the process, over HTTP, with everything that is stored
dryrun          signals a second of a dry run: in columns, and from stored documents, with what others wait meanwhile
config          from a switch of the configuration to the last reader that follows: by event, and by poll
venue           orders and market events a second of the exchange's server
connector       processor time of an order call and of a market event, beside other clients; memory over reconnects
reconcile       a comparison with the exchange: ten thousand orders and fills, alike, and with what is mended
orders          intents of every kind through POST /orders: to the answer, the first fill and the end; orders a second
recovery        from kill -9 to trading again, and how long a position had no stop
features        market events a second through the feature book and through S2; memory of an instrument
tick-to-order   from the exchange's event to the order at the exchange, with and without durable writes, in process or
                over sockets
"""

from collections.abc import Callable

from chimera.simulation.bench import (
    config,
    connector,
    decide,
    dryrun,
    features,
    orders,
    reconcile,
    recovery,
    sim,
    tick_to_order,
    venue,
)
from chimera.simulation.bench.rows import BenchOptions, BenchRow, BenchVenue, show

BENCHES: dict[str, Callable[[BenchOptions], list[BenchRow]]] = {
    "sim": sim.bench_sim,
    "memory": sim.bench_memory,
    decide.NAME: decide.bench,
    dryrun.NAME: dryrun.bench,
    config.NAME: config.bench,
    connector.NAME: connector.bench,
    features.NAME: features.bench,
    orders.NAME: orders.bench,
    reconcile.NAME: reconcile.bench,
    recovery.NAME: recovery.bench,
    tick_to_order.NAME: tick_to_order.bench,
    venue.NAME: venue.bench,
}

__all__ = ["BENCHES", "BenchOptions", "BenchRow", "BenchVenue", "show"]
