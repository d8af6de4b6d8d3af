"""I9: every decision to open ends in exactly one final outcome, and no intent stays unfinished.

A stop that we watch ourselves lasts as long as the trade that it guards.
"""

from chimera.contracts.collections import INTENTS, SIGNALS, TRADES
from chimera.contracts.enums import Action, Purpose, TradeStatus
from chimera.simulation.checkers.evidence import Evidence

UNDELIVERED = "UNDELIVERED"
"""`decision.detail` of an open that never reached the router, nor will."""


def check(evidence: Evidence) -> list[str]:
    intents = {intent.intent_id: intent for intent in evidence.on_file(INTENTS)}
    watched = {trade.trade_id for trade in evidence.on_file(TRADES) if trade.status is not TradeStatus.CLOSED}
    findings = [
        f"intent {intent.intent_id} is still {intent.state}"
        for intent in intents.values()
        if not intent.state.is_final and not (intent.purpose is Purpose.GUARD and intent.intent.parent_id in watched)
    ]
    for signal in evidence.on_file(SIGNALS):
        decision = signal.decision
        if decision.action is not Action.OPEN:
            continue
        given_up = decision.detail == UNDELIVERED
        delivered = decision.intent_id in intents
        if given_up and delivered:
            findings.append(f"decision {signal.signal_id} counts as undelivered, and {decision.intent_id} was executed")
        elif not given_up and not delivered:
            findings.append(f"decision {signal.signal_id} opened {decision.intent_id}, of which nothing was ever heard")
    return findings
