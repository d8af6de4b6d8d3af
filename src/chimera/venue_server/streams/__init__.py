"""What the exchange pushes.

hub              the sockets' doors, who listens to what, and who is told when the market or the account moved
connection       one WebSocket: its queue, its limits, its end
control          SUBSCRIBE and its like, as read from a message
topics           a stream's name and whoever listens to it: each event is written once for all of them
market           market streams by name: which exist, and what a tick says on each
depth            books as the exchange shows them, and the chain of their update ids
futures_account  account changes in the words of the futures user stream
spot_account     the same for spot
"""
