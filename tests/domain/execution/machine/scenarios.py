"""The small flows that are explored, each with the bad luck that it is to survive."""

from decimal import Decimal

from chimera.contracts.documents import Execution, WorkSlice
from chimera.contracts.enums import ExecStyle, Intent, Market, OrderType, Purpose, Side, TakerFallback
from chimera.contracts.messages.orders import ExecPolicy, GuardStop, Oco, StopSpec, TargetSpec
from chimera.contracts.order_intent import OrderIntent
from chimera.domain.execution.machine.flow import Limits
from tests.domain.execution.machine.model import Luck, Scenario
from tests.domain.matching.venue import FUT, SPOT

UNIT = Decimal("0.010")
BEGIN_MS = 1_000_000
PAIR = Oco(enabled=True, tp=Decimal(60_500), sl=Decimal(59_400))


def intent(
    market: Market = Market.FUT,
    *,
    units: int = 2,
    purpose: Purpose = Purpose.ENTRY,
    type: OrderType = OrderType.MARKET,
    price: str | None = None,
    target: bool = False,
) -> OrderIntent:
    entry = purpose is Purpose.ENTRY
    fut = market is Market.FUT
    return OrderIntent(
        intent_id="E1",
        client_order_id="s3-btc-e1",
        ts=BEGIN_MS,
        market=market,
        symbol="BTCUSDT",
        side=Side.BUY if entry else Side.SELL,
        intent=Intent.ENTRY if entry else Intent.EXIT,
        purpose=purpose,
        qty=UNIT * units,
        type=type,
        price=None if price is None else Decimal(price),
        reduce_only=not entry,
        parent_id=None if entry else "E0",
        sl=StopSpec(price=Decimal(59_400)) if entry and fut else None,
        tp=TargetSpec(price=Decimal(60_500)) if target else None,
        guard_stop=GuardStop(enable=True, price=Decimal(59_400)) if purpose is Purpose.GUARD else None,
        entry_ref_price=Decimal(60_000),
        exec_policy=ExecPolicy(oco=None if fut or not entry else PAIR),
        leverage=20 if fut else None,
    )


def scenario(
    of: OrderIntent,
    style: ExecStyle,
    *luck: Luck,
    slices: int = 1,
    fallback: TakerFallback = TakerFallback.DIRECT,
    **luck_counts: int,
) -> Scenario:
    """`luck` may strike once each; `luck_counts` by the name of the kind."""
    each = of.qty / slices
    counts = {**dict.fromkeys(luck, 1), **{Luck[name.upper()]: count for name, count in luck_counts.items()}}
    return Scenario(
        intent=of,
        execution=Execution(
            style=style,
            slices=tuple(WorkSlice(number=k, qty=each, due_at=BEGIN_MS + 600 * k) for k in range(slices)),
            maker_wait_ms=1_200 if style in (ExecStyle.MAKER, ExecStyle.POST_ONLY) else 0,
            maker_cap_ms=2_400 if style in (ExecStyle.MAKER, ExecStyle.POST_ONLY) else 0,
            need_fill_ratio=0.5,
            fallback=fallback,
        ),
        instrument=FUT if of.market is Market.FUT else SPOT,
        unit=UNIT,
        limits=Limits(
            leverage=20,
            min_slice_usdt=Decimal(0),
            fee_ratio=Decimal("0.0005"),
            stops_max=2,
            first_rung_share=Decimal("0.5"),
        ),
        luck=counts,
        initial_qty=Decimal(0) if of.purpose.is_new_entry else of.qty,
    )


FUT_LIMIT = intent(type=OrderType.LIMIT, price="60000", target=True)
SPOT_LIMIT = intent(Market.SPOT, type=OrderType.LIMIT, price="60000")
STOP = intent(purpose=Purpose.SL, type=OrderType.STOP_MARKET, price="59400")
GUARD = intent(Market.SPOT, purpose=Purpose.GUARD)
EXIT, SPOT_EXIT = intent(purpose=Purpose.EXIT), intent(Market.SPOT, purpose=Purpose.EXIT)
ONE, TWO, BRACKETED = intent(units=1), intent(), intent(target=True)
TAKER, MAKER, POST_ONLY, LIMIT = ExecStyle.TAKER, ExecStyle.MAKER, ExecStyle.POST_ONLY, ExecStyle.LIMIT
AFTER_CANCEL = TakerFallback.AFTER_CANCEL
L = Luck

SCENARIOS: dict[str, Scenario] = {
    "spot taker": scenario(
        intent(Market.SPOT), TAKER, L.LOST, L.UNSERVED, L.RESTART, L.OTHER, L.EMPTY, L.STOPPED, L.POOR
    ),
    "spot maker": scenario(
        intent(Market.SPOT), MAKER, L.LOST, L.WOULD_TAKE, L.RESTART, L.STOPPED, L.TAKEN_AWAY, L.FORBIDDEN
    ),
    "spot maker after cancel": scenario(
        intent(Market.SPOT), MAKER, L.LOST, L.RESTART, L.STOPPED, L.EMPTY, L.WOULD_TAKE, fallback=AFTER_CANCEL
    ),
    "spot post only": scenario(
        intent(Market.SPOT), POST_ONLY, L.LOST, L.WOULD_TAKE, L.RESTART, L.FORBIDDEN, L.TAKEN_AWAY
    ),
    "spot slices": scenario(
        intent(Market.SPOT), TAKER, L.LOST, L.RESTART, L.STOPPED, L.UNSERVED, L.FORBIDDEN, slices=2
    ),
    "spot funds": scenario(intent(Market.SPOT), TAKER, L.LOST, L.RESTART, L.UNSERVED, L.STOPPED, funds=3),
    "spot maker funds": scenario(intent(Market.SPOT), MAKER, L.LOST, L.RESTART, funds=2),
    "spot limit": scenario(SPOT_LIMIT, LIMIT, L.STOPPED, L.RESTART, L.LOST, L.TAKEN_AWAY, L.FORBIDDEN, L.POOR),
    "spot exit": scenario(SPOT_EXIT, TAKER, L.UNSERVED, L.RESTART, L.OTHER, L.EMPTY, L.POOR, lost=2),
    "guard": scenario(GUARD, ExecStyle.GUARD, L.UNSERVED, L.RESTART, L.OTHER, L.EMPTY, L.STOPPED, lost=2),
    "futures exit": scenario(EXIT, TAKER, L.UNSERVED, L.OTHER, L.EMPTY, restart=2, lost=2),
    "resting stop": scenario(
        STOP, ExecStyle.RESTING, L.LOST, L.RESTART, L.STOPPED, L.WOULD_TRIGGER, L.UNSERVED, L.TRIGGER, unlisted=2
    ),
    "futures taker": scenario(ONE, TAKER, L.LOST, L.RESTART, L.OTHER, L.WOULD_TRIGGER, L.UNSERVED),
    "futures funds": scenario(TWO, TAKER, L.LOST, L.RESTART, funds=2),
    "bracket killed": scenario(BRACKETED, TAKER, L.TRIGGER, L.LOST, restart=2),
    "bracket refused": scenario(TWO, TAKER, L.WOULD_TRIGGER, L.OTHER, L.EMPTY, L.UNSERVED),
    "bracket taken away": scenario(BRACKETED, TAKER, trigger=2, taken_away=2),
    "bracket unlisted": scenario(ONE, TAKER, L.LOST, L.RESTART, L.TRIGGER, unlisted=2),
    "futures slices": scenario(TWO, TAKER, L.RESTART, L.TRIGGER, L.STOPPED, L.WOULD_TRIGGER, slices=2),
    "futures maker": scenario(TWO, MAKER, L.TRIGGER, L.STOPPED, L.FORBIDDEN),
    "futures limit": scenario(FUT_LIMIT, LIMIT, L.STOPPED, L.RESTART, L.TRIGGER),
}

DEEP: dict[str, Scenario] = {
    "spot taker": scenario(
        intent(Market.SPOT), TAKER, L.OTHER, L.EMPTY, L.STOPPED, L.POOR, L.FORBIDDEN, lost=2, unserved=2, restart=2
    ),
    "spot maker": scenario(
        intent(Market.SPOT), MAKER, L.RESTART, L.STOPPED, L.TAKEN_AWAY, L.FORBIDDEN, L.EMPTY, lost=2, would_take=2
    ),
    "spot slices": scenario(
        intent(Market.SPOT, units=4), TAKER, L.STOPPED, L.FORBIDDEN, L.FUNDS, lost=2, restart=2, unserved=2, slices=2
    ),
    "bracket refused": scenario(BRACKETED, TAKER, L.OTHER, L.EMPTY, L.UNSERVED, L.TRIGGER, L.RESTART, would_trigger=2),
    "bracket unlisted": scenario(TWO, TAKER, L.LOST, L.RESTART, L.TRIGGER, L.UNSERVED, unlisted=3),
    "futures slices": scenario(
        TWO, TAKER, L.RESTART, L.TRIGGER, L.STOPPED, L.WOULD_TRIGGER, L.LOST, L.TAKEN_AWAY, slices=2
    ),
    "futures maker": scenario(
        BRACKETED, MAKER, L.TRIGGER, L.RESTART, L.WOULD_TRIGGER, L.TAKEN_AWAY, L.STOPPED, L.WOULD_TAKE
    ),
    "futures limit": scenario(
        FUT_LIMIT, LIMIT, L.STOPPED, L.RESTART, L.LOST, L.TRIGGER, L.WOULD_TRIGGER, L.TAKEN_AWAY, L.FORBIDDEN
    ),
}
"""As many kinds of bad luck as can be explored in minutes: `make prove`."""
