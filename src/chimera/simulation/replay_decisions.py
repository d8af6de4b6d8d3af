"""What a replay decided and why, one line each, written while it runs.

S3 tells each open, and each refusal that is another than the last; a refusal stands until the next line of its
instrument. A later decision of the same signal replaces what is stored there, so the whole trail is taken from the
document at the moment in which the decision is told. Nothing of it is kept: memory does not grow with the days.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chimera.contracts.collections import SIGNALS
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import SignalEvent
from chimera.domain.decision.telling import sentence
from chimera.simulation.replay_figures import Decided

UNJUDGED = '"reason":"PENDING"'
"""Of a signal as S2 files it: S3 has said nothing about it that it had not said before."""


@dataclass(frozen=True, slots=True)
class Example:
    """The first decision of its kind, in words with its figures. `t0` is the moment of its features, epoch ms."""

    t0: int
    instrument: str
    sentence: str


@dataclass(slots=True)
class DecisionLog:
    """Hand it every document and every message. `write` gets each line, JSON without a line end; None: nobody asked.

    A line is written when it ends: `until` is the moment of the next one of its instrument (null: the replay ended),
    `signals` counts the signals filed meanwhile, to which the same answer holds.
    """

    write: Callable[[str], None] | None = None
    counted: Counter[Decided] = field(default_factory=Counter)
    examples: dict[Decided, Example] = field(default_factory=dict)
    _bodies: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By instrument, the id and document of the signal that S3 wrote last."""
    _filed: dict[str, str] = field(default_factory=dict)
    """By instrument, the signal that S2 filed last."""
    _open: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By instrument, the line that has not ended yet."""

    def on_document(self, collection: str, key: str, body: str) -> None:
        if collection != SIGNALS.name or not body:
            return
        instrument = key.split("-", 2)[-1]
        if UNJUDGED not in body:
            self._bodies[instrument] = (key, body)
        elif self._filed.get(instrument) != key:
            self._filed[instrument] = key
            if instrument in self._open:
                self._open[instrument]["signals"] += 1

    def on_decision(self, event: SignalEvent) -> None:
        instrument = _instrument_of(event)
        decision = event.decision
        decided = Decided(decision.action.value, decision.reason or "", decision.detail or "")
        self.counted[decided] += 1
        if self.write is None and decided in self.examples:
            return
        stored = self._stored(event, instrument)
        told = sentence(*decided, stored.get("trail"))
        if decided not in self.examples:
            self.examples[decided] = Example(event.t0, str(instrument), told)
        if self.write is not None:
            self._begin(event, instrument, told, stored)

    def close(self) -> None:
        """The replay has ended: the last line of each instrument is written."""
        for instrument in sorted(self._open):
            self._end(instrument, None)

    def _stored(self, event: SignalEvent, instrument: InstrumentKey) -> dict[str, Any]:
        """The signal's document, if it is this decision's; what else is known of it is in the event."""
        key, body = self._bodies.get(instrument.doc_key, ("", ""))
        if key != event.signal_id:
            return {}
        document = json.loads(body)
        stored = document["decision"]
        is_same = stored.get("reason") == event.decision.reason and stored.get("detail") == event.decision.detail
        if not is_same:
            return {}
        return {
            "trail": stored.get("trail") or {},
            "features": document.get("features", {}),
            "stale": document.get("stale", []),
        }

    def _begin(self, event: SignalEvent, instrument: InstrumentKey, told: str, stored: dict[str, Any]) -> None:
        name = instrument.doc_key
        if name in self._open:
            if self._filed.get(name) == event.signal_id:
                # It was filed under the answer that stood then, and has got its own.
                self._open[name]["signals"] -= 1
            self._end(name, event.t0)
        decision = event.decision
        self._open[name] = {
            "signal_id": event.signal_id,
            "t0": event.t0,
            "until": None,
            "signals": 1,
            "market": instrument.market.value,
            "symbol": instrument.symbol,
            "action": decision.action.value,
            "reason": decision.reason,
            "detail": decision.detail,
            "sentence": told,
            "size_mult": decision.size_mult,
            "tp_mult": decision.tp_mult,
            "sl_mult": decision.sl_mult,
            "model_p": event.model_p,
            "rules_fired": list(event.rules_fired),
            "intent_id": event.intent_id,
            "config_rev": event.config_rev,
            "trail": stored.get("trail", {}),
            "features": stored.get("features", {}),
            "stale": stored.get("stale", []),
        }

    def _end(self, name: str, until: int | None) -> None:
        line = self._open.pop(name)
        line["until"] = until
        assert self.write is not None, "a line is begun only where somebody asked"
        self.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False))


def _instrument_of(event: SignalEvent) -> InstrumentKey:
    assert event.market is not None, "S3 names the market of what it decides"
    return InstrumentKey(event.market, event.symbol)
