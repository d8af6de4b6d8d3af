"""Binance USDT-M futures, spot and wallet, spoken natively over REST and WebSocket.

    hosts, signing, words      where, as whom, and how they spell it
    errors, budget, offset     what a failure means, how much may be asked, what time it is there
    rest                       one call: signed, counted, and its failure named by consequence
    parse_*, futures, spot, wallet     their answers in our words, one market a module
    ws                         one connection that is always there, or on its way back
    market_streams             what the market says: local_book, quotes_slot and bar_line keep it straight
    user_streams               what the account says: order_news keeps it straight
    refused                    events that cannot be true
    venue                      the venue port over all of it

Decides nothing: what to trade, and what to do about a failure, is decided by whoever calls.
Source: developers.binance.com (USDS-margined futures, spot, wallet), as of the change log entry of 2026-10-23.
"""
