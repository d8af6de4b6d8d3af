"""What the exchange pushes.

hub              the sockets' doors, who listens to what, and who is told when the market or the account moved
connection       one WebSocket: its queue, its limits, its end
control          SUBSCRIBE and its like, as read from a message
names            stream names, and which group has which
topics           a stream and whoever listens to it: each event is written once for all of them
market           what a tick says on each stream
depth            books as the exchange shows them, and the chain of their update ids
spelling         how market data is written
futures_account  account changes in the words of the futures user stream
spot_account     the same for spot
account_feed     who is told of the account without a socket of its own kind
"""
