"""The simulated exchange behind Binance's own REST and WebSocket protocol.

calls      a request, an answer, a route
numbers    how they are written
floor      what every route shares: the running exchange, keys, limits, faults, who listens
auth       keys, signatures, the time window
limits     weights and order counts, 429 and 418
asgi       HTTP and WebSocket in, one answer out: the order in which a request is looked at
server     one process: market, clock, journal, port
futures/   spot/   wallet   max   admin    the routes, and the words of their answers
streams/   what is pushed: market data, account events, who subscribed to what
"""
