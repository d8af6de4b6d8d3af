"""Rules, factors, instruments, and the bundles that carry all of them."""

from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from chimera.contracts.base import (
    Contract,
    Document,
    EpochMs,
    Estimate,
    JsonObject,
    Number,
)
from chimera.contracts.enums import (
    ActionType,
    BundleStatus,
    EntryStatus,
    Market,
    PromotionMode,
    PromotionStatus,
)
from chimera.contracts.flags import Flags
from chimera.contracts.instrument_key import InstrumentKey


class Applies(Contract):
    """Where a rule holds. An empty list of symbols or services means all of them."""

    symbols: tuple[str, ...]
    services: tuple[str, ...]


class RuleAction(Contract):
    """What a rule does: a factor of 1 for the multipliers, true or false for skip_entry, 0 to 2 for the adds."""

    type: ActionType
    value: bool | Estimate


class StrategyRule(Document):
    """`strategy_rules`: one rule of the DSL. Schema: strategy_rules.json. Smaller `priority` comes first.

    `when` is allOf, anyOf, not over {f, op, v}; `domain.decision` reads it.
    """

    key_field: ClassVar[str] = "rule_id"

    rule_id: str
    priority: int
    applies: Applies
    when: JsonObject
    action: RuleAction
    explain: str | None = None
    status: EntryStatus
    updated_at: EpochMs | None = None


class Factor(Document):
    """`factor_registry`: a factor that rules may name. Schema: factor_registry.json. `range` is [low, high].

    `unit` says what one of it is, for people: bps, USDT, fraction, …
    """

    key_field: ClassVar[str] = "factor_id"

    factor_id: str
    family: str | None = None
    version: str
    freq: str
    lag_ms: int | None = None
    definition: str
    unit: str | None = None
    deps: tuple[str, ...] | None = None
    range: Annotated[tuple[Estimate, ...], Field(min_length=2, max_length=2)] | None = None
    owner: str | None = None
    status: EntryStatus
    updated_at: EpochMs | None = None


class LeverageBracket(Contract):
    """One step of the exchange's leverage table: notionals in USDT, the maintenance ratio a fraction."""

    bracket: int
    notional_floor_usdt: Number
    notional_cap_usdt: Number
    leverage_max: int
    maint_margin_ratio: Number
    cum_usdt: Number


class Instrument(Document):
    """`instrument_registry`: the exchange's rules and our gates for an instrument. Schema: instrument_registry.json.

    Key `<MARKET>-<SYMBOL>`. Prices and notionals USDT, steps and quantities base asset; `market_step` and
    `market_max_qty` hold for market orders where the exchange has other limits there.
    """

    market: Market
    symbol: str
    tick_size: Number = Field(validation_alias="tickSize", serialization_alias="tickSize", gt=0)
    step_size: Number = Field(validation_alias="stepSize", serialization_alias="stepSize", gt=0)
    min_notional: Number = Field(validation_alias="minNotional", serialization_alias="minNotional", ge=0)
    leverage_bracket: tuple[LeverageBracket, ...] | None = Field(
        default=None,
        validation_alias="leverageBracket",
        serialization_alias="leverageBracket",
    )
    spread_bp_limit: Estimate | None = None
    depth_top1_usdt_min: Estimate | None = None
    status: EntryStatus
    trading: bool | None = None
    """What the exchange says; `status` is a person's word."""
    venue_status: str | None = None
    """The exchange's own word for it; None where it does not list the instrument any more."""
    delivers_at: EpochMs | None = None
    """When the exchange settles it for good, where that is decided."""
    updated_at: EpochMs | None = None
    contract_size: Number = Field(default=Decimal(1), gt=0)
    min_qty: Number | None = None
    max_qty: Number | None = None
    market_step: Number | None = None
    market_max_qty: Number | None = None
    max_leverage: int | None = None
    base_asset: str | None = None
    quote_asset: str | None = None
    taker_fee_ratio: Number | None = None
    maker_fee_ratio: Number | None = None

    def doc_key(self) -> str:
        return InstrumentKey(self.market, self.symbol).doc_key


class ConfigBundle(Document):
    """`config_bundles`: one whole configuration, with full bodies. Source: CONTRACTS section 2.

    `rev` is absent until the bundle is staged; `hash` is the sha256 of the canonical JSON of flags, rules, factors
    and instruments.
    """

    key_field: ClassVar[str] = "bundle_id"

    bundle_id: str
    rev: int | None = None
    status: BundleStatus
    flags: Flags
    rules: tuple[StrategyRule, ...] = ()
    factors: tuple[Factor, ...] = ()
    instruments: tuple[Instrument, ...] = ()
    hash: str
    lint: JsonObject | None = None
    created_at: EpochMs
    created_by: str
    note: str | None = None


class ConfigCanary(Contract):
    """A second bundle that decides `share` (0 to 1) of the signals, chosen by the sha256 of their id."""

    rev: int
    bundle_id: str
    hash: str
    share: Estimate = Field(ge=0, le=1)


class ConfigActive(Document):
    """`config_active`: the one document that says which bundle is in force. Schema: config_active.json, + seq, canary.

    `seq` grows by one at every switch, rollback included, and whenever a canary comes, changes its share or goes:
    compare-and-set and readers go by it.
    """

    key_field: ClassVar[str] = "key"

    key: Literal["active"]
    rev: int
    bundle_id: str
    activated_at: EpochMs
    seq: int = Field(ge=0)
    hash: str | None = None
    canary: ConfigCanary | None = None


class Promotion(Document):
    """`promotions`: a step of a bundle's way into force. Schema: promotions.json.

    `seq` is the one that the switch gives itself: of several that want it one wins. `undoes` names the promotion that a
    rollback takes back.
    """

    key_field: ClassVar[str] = "promotion_id"

    promotion_id: str
    bundle_id: str
    from_rev: int
    to_rev: int
    mode: PromotionMode
    status: PromotionStatus
    guardrail: JsonObject | None = None
    activated_at: EpochMs | None = None
    requested_by: str | None = None
    updated_at: EpochMs | None = None
    seq: int | None = None
    undoes: str | None = None
