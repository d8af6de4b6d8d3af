"""The simulated exchange, in process: matching, a market, a clock and a durable journal behind the venue port."""
