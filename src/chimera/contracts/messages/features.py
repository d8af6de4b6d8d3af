"""What we believe of the market and what we decided: S2's and S3's messages."""

from chimera.contracts.base import Contract, EpochMs, Estimate, Message
from chimera.contracts.enums import Action, DataQuality, Market, Reason

FeatureValue = Estimate | str | bool
"""One feature: a figure, a word (a regime) or a yes/no."""


class FeatureEvent(Message):
    """S2 → S3 on `feat:events:INSTR`. Schema: FeatureEvent.json, + signal_id, t0, config_rev, stale, flags.

    `features` uses events with ts <= t0 only. `stale` names the factors whose value must not decide anything,
    `flags` says of each of them why; it is left out where none is stale.
    `signal_id` names the signal of `t0`. S2 has filed one at bar closes and when `xmkt_signal` changes; otherwise the
    document comes with S3's decision, if there is one.
    """

    ts: EpochMs
    market: Market
    symbol: str
    features: dict[str, Estimate | str | bool]
    signal_id: str | None = None
    t0: EpochMs | None = None
    config_rev: int | None = None
    stale: tuple[str, ...] = ()
    flags: dict[str, DataQuality] | None = None


class DecisionSummary(Contract):
    """`signals.decision` as far as it travels: what was decided, by how much, and why. Multipliers are factors of 1.

    `reason` is a word of `Reason` or, before S3 has looked, PENDING.
    """

    action: Action
    size_mult: Estimate | None = None
    tp_mult: Estimate | None = None
    sl_mult: Estimate | None = None
    reason: str | None = None
    detail: str | None = None


PENDING = DecisionSummary(action=Action.SKIP, reason="PENDING")
"""The decision of a signal that S2 has written and S3 has not yet judged."""


class SignalEvent(Message):
    """S3 → S7, S11, S12 on `sig:events:INSTR`. Schema: SignalEvent.json, + market, rules_fired, model_p, intent_id.

    `features_ref` is the `_key` in `signals`; `model_p` a probability.
    """

    signal_id: str
    t0: EpochMs
    symbol: str
    features_ref: str | None = None
    decision: DecisionSummary
    config_rev: int
    market: Market | None = None
    rules_fired: tuple[str, ...] = ()
    model_p: Estimate | None = None
    intent_id: str | None = None
    reason: Reason | None = None
