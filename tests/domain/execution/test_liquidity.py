"""An entry slice waits for a book it may leave into, is halved, and gives up."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.contracts.enums import Regime
from chimera.domain.execution.cost import Book, CostModel, SlippageCurve
from chimera.domain.execution.liquidity import Fail, Go, Halve, Limits, LookAgain, Slice, Verdict, look
from tests.domain.builders import BTC_FUT

D = Decimal
LIMITS = Limits(
    spread_bp_limit=3.0,
    depth_top1_usdt_min=200.0,
    slip_bp_max=8.0,
    slip_bp_hard=24.0,
    recheck_ms=250,
    max_delay_ms=3_000,
    min_slice_usdt=D(150),
)
MODEL = CostModel(maker_fee_bps=1.0, taker_fee_bps=5.0, p_fill=0.6, drift_bps=2.0)
GOOD = Book(notional_usdt=600.0, spread_bps=1.0, depth_top1_usdt=1_000.0, regime=Regime.NORMAL)
PIECE = Slice(qty=D("0.010"), price=D(60_000), instrument=BTC_FUT)


def looked(book: Book, waited_ms: int = 0, piece: Slice = PIECE) -> Verdict:
    return look(piece, book, MODEL, LIMITS, waited_ms=waited_ms)


def test_a_good_book_is_sent_into_at_once() -> None:
    assert looked(GOOD) == Go(0.5)


def test_l0s_limits_themselves_still_pass() -> None:
    assert isinstance(looked(replace(GOOD, spread_bps=3.0, depth_top1_usdt=200.0)), Go)


@pytest.mark.parametrize(
    ("book", "why"),
    [
        (replace(GOOD, spread_bps=3.5), "spread 3.50 bps above 3"),
        (replace(GOOD, depth_top1_usdt=199.0), "top-1 depth 199 USDT below 200"),
        (replace(GOOD, spread_bps=None), "the book is not known"),
        (replace(GOOD, depth_top1_usdt=None), "the book is not known"),
        (replace(GOOD, spread_bps=float("nan")), "spread nan bps above 3"),
        (replace(GOOD, spread_bps=3.0, notional_usdt=9_000.0), "slippage 13.50 bps above slip_bp_max 8"),
        (replace(GOOD, spread_bps=3.0, notional_usdt=20_000.0), "slippage 30.00 bps above slip_bp_hard 24"),
    ],
)
def test_a_bad_book_is_looked_at_again(book: Book, why: str) -> None:
    assert looked(book) == LookAgain(250, why)
    assert looked(book, 2_900) == LookAgain(3_000, why)
    assert looked(book, 3_000) == Halve(D("0.005"), why)


def test_what_cannot_be_halved_fails() -> None:
    # A quarter would be worth 120 and 150 are the least.
    small = replace(PIECE, qty=D("0.004"))

    assert looked(replace(GOOD, spread_bps=3.5), 3_000, small) == Fail("LIQUIDITY spread 3.50 bps above 3")
    assert looked(replace(GOOD, spread_bps=None), 3_000, replace(PIECE, price=None)) == Fail(
        "LIQUIDITY the book is not known"
    )


def test_what_is_dear_but_not_forbidden_leaves_where_it_cannot_be_halved() -> None:
    dear = replace(GOOD, spread_bps=3.0, notional_usdt=9_000.0)

    assert looked(dear, 3_000, replace(PIECE, qty=D("0.004"))) == Go(13.5)


def test_a_fitted_curve_judges_instead_of_the_plain_estimate() -> None:
    model = replace(MODEL, curve=SlippageCurve(base_bps=9.0))

    assert isinstance(look(PIECE, GOOD, model, LIMITS, waited_ms=0), LookAgain)


def test_nothing_is_halved_below_what_the_exchange_takes() -> None:
    limits = replace(LIMITS, min_slice_usdt=D(0))
    bad = replace(GOOD, spread_bps=3.5)

    assert look(replace(PIECE, qty=D("0.001")), bad, MODEL, limits, waited_ms=3_000) == Fail(
        "LIQUIDITY spread 3.50 bps above 3"
    )
    # 0.001 is worth 60 and 50 are enough.
    assert look(replace(PIECE, qty=D("0.003")), bad, MODEL, limits, waited_ms=3_000) == Halve(
        D("0.001"), "spread 3.50 bps above 3"
    )


@given(steps=st.integers(1, 10_000), recheck_ms=st.integers(10, 5_000), spread=st.floats(0, 50))
def test_a_slice_leaves_or_fails_within_its_time(steps: int, recheck_ms: int, spread: float) -> None:
    limits = replace(LIMITS, recheck_ms=recheck_ms)
    piece, waited_ms = replace(PIECE, qty=steps * BTC_FUT.step_size), 0

    for _ in range(3_000 // recheck_ms + 40):
        notional = float(piece.qty) * 60_000
        found = look(
            piece, replace(GOOD, spread_bps=spread, notional_usdt=notional), MODEL, limits, waited_ms=waited_ms
        )
        match found:
            case LookAgain(at_ms, _):
                assert waited_ms < at_ms <= 3_000
                waited_ms = at_ms
            case Halve(qty, _):
                assert 0 < qty <= piece.qty / 2
                assert BTC_FUT.qty_on_step(qty)
                piece = replace(piece, qty=qty)
            case Go() | Fail():
                assert isinstance(found, Fail) == (spread > 3.0 or "hard" in getattr(found, "reason", ""))
                return
    raise AssertionError("it never ended")
