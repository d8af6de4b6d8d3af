"""The list of stored decisions: every one once, newest first, whatever is asked for and wherever a page ends."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.contracts.collections import SIGNALS
from chimera.contracts.documents import Decision, Signal
from chimera.contracts.enums import Action, Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.documents import Put
from chimera.services.s12_gateway.page.decision_rows import line_rows, looked_text, nothing_text
from chimera.services.s12_gateway.page.decisions import DecisionBook, Line, Portion, Wanted
from chimera.simulation.loop import run_virtual
from tests.ports.hand_clock import HandClock

DAY_MS = 86_400_000
BTC = InstrumentKey(Market.FUT, "BTCUSDT")
SPOT = InstrumentKey(Market.SPOT, "BTCUSDT")
ETH = InstrumentKey(Market.FUT, "ETHUSDT")
KEYS = (BTC, SPOT, ETH)


def signal(t0: int, key: InstrumentKey, reason: str, detail: str | None, trail: dict[str, Any] | None = None) -> Signal:
    return Signal(
        signal_id=f"SIG-{t0}-{key.doc_key}",
        t0=t0,
        market=key.market,
        symbol=key.symbol,
        features={},
        decision=Decision(
            action=Action.OPEN if reason == "OK" else Action.SKIP, reason=reason, detail=detail, trail=trail
        ),
        config_rev=1,
    )


PENDING = ("PENDING", None)
SAID = (("GATE", "SPREAD"), ("RULE", "NO_SIGNAL"), ("RULE", "R-7"), ("OK", "OK"), ("RISK_BUDGET", "BUDGET"), PENDING)


class Book:
    def __init__(self, *signals: Signal, lines: int = 50, looked_at_max: int = 4_000, portion: int = 60) -> None:
        self.signals = signals
        self.documents = SqliteDocuments.in_loop()
        self.book = DecisionBook(
            self.documents, HandClock(), KEYS, lines=lines, looked_at_max=looked_at_max, portion=portion
        )

    async def all_pages(self, wanted: Wanted) -> list[Portion]:
        await self.documents.put_many([Put(SIGNALS, each) for each in self.signals])
        pages = [await self._page(wanted, None)]
        while pages[-1].next is not None:
            pages.append(await self._page(wanted, pages[-1].next))
        return pages

    async def _page(self, wanted: Wanted, below_ms: int | None) -> Portion:
        return await self.book.page(wanted, below_ms)


def ids(portions: list[Portion]) -> list[str]:
    return [line.signal_id for portion in portions for line in portion.lines]


@st.composite
def stored(draw: st.DrawFn) -> list[Signal]:
    """Signals of three instruments that often share their time, as bars do, over two days."""
    times = draw(st.lists(st.integers(0, 40), unique=True, max_size=25))
    return [
        signal(DAY_MS - 20 * 60_000 + time * 60_000, key, *draw(st.sampled_from(SAID)))
        for time in times
        for key in draw(st.lists(st.sampled_from(KEYS), unique=True, min_size=1))
    ]


@given(
    stored(),
    st.sampled_from([None, *KEYS]),
    st.sampled_from([None, *Action]),
    st.sampled_from([None, "GATE", "r-7", "SPREAD", "OK", "nothing like it"]),
    st.sampled_from([None, 0, DAY_MS]),
    st.integers(1, 5),
    st.integers(1, 12),
    st.integers(1, 4),
)
def test_pages_hold_every_decision_that_is_wanted_once_and_newest_first(
    signals: list[Signal],
    instrument: InstrumentKey | None,
    action: Action | None,
    code: str | None,
    day_ms: int | None,
    lines: int,
    looked_at_max: int,
    portion: int,
) -> None:
    wanted = Wanted(instrument=instrument, action=action, code=code, day_ms=day_ms)

    pages = run_virtual(Book(*signals, lines=lines, looked_at_max=looked_at_max, portion=portion).all_pages(wanted))

    meant = [
        each
        for each in signals
        if each.decision.reason != "PENDING"
        and (instrument is None or (each.market, each.symbol) == (instrument.market, instrument.symbol))
        and (action is None or each.decision.action is action)
        and (code is None or code.upper() in (each.decision.reason, each.decision.detail))
        and (day_ms is None or day_ms <= each.t0 < day_ms + DAY_MS)
    ]
    assert ids(pages) == [each.signal_id for each in sorted(meant, key=lambda each: (-each.t0, each.signal_id))]


async def test_what_nobody_decided_on_is_not_even_read() -> None:
    bars = [signal(minute * 60_000, BTC, *PENDING) for minute in range(300)]
    book = Book(*bars, signal(0, ETH, "GATE", "SPREAD"))

    (page,) = await book.all_pages(Wanted())

    assert (ids([page]), page.looked_at) == (["SIG-0-FUT-ETHUSDT"], 1)


async def test_each_way_to_ask_uses_an_index_and_no_scan() -> None:
    book = Book()
    for wanted in (Wanted(), Wanted(action=Action.OPEN), Wanted(instrument=ETH, code="SPREAD", day_ms=DAY_MS)):
        for query in book.book._queries(wanted, 5):
            plan = " ".join(book.documents.explain(query))
            assert plan.startswith("SEARCH signals USING INDEX")
            assert "TEMP B-TREE" not in plan


async def test_a_line_says_why_with_the_figures_and_by_which_configuration() -> None:
    trail = {
        "gates": [{"code": "SPREAD", "value": 4.1, "limit": 3.0, "passed": False}],
        "side": "SELL",
    }
    (page,) = await Book(signal(1_000, BTC, "GATE", "SPREAD", trail)).all_pages(Wanted())

    (row,) = line_rows(page, 2_000)

    cells = [(each.get("t", ""), each.get("s", "")) for each in row["cells"]]
    assert cells[2] == ("SPREAD", "spread 4.1 bps above the limit 3 bps")
    assert (cells[3][0], cells[4][0], cells[5][0]) == ("▼ sell", "–", "1")


LINE = Line("s", 0, BTC, Action.SKIP, "GATE", "SPREAD", "too wide", None, None, 1)


@pytest.mark.parametrize(
    ("portion", "said"),
    [
        pytest.param(Portion(lines=(LINE,), next=None, looked_at=1), "1 decision, and nothing older", id="all"),
        pytest.param(
            Portion(lines=(LINE, LINE), next=0, looked_at=9),
            "2 decisions, back to 1970-01-01 00:00 UTC",
            id="more",
        ),
    ],
)
def test_a_page_says_how_far_it_goes(portion: Portion, said: str) -> None:
    assert looked_text(portion) == said


def test_an_empty_page_says_whether_there_may_be_more() -> None:
    more = Portion(lines=(), next=0, looked_at=4_000)
    none = Portion(lines=(), next=None, looked_at=7)

    assert "4,000 signals back to 1970-01-01 00:00 UTC" in nothing_text(more, is_filtered=True)
    assert nothing_text(none, is_filtered=True) == "No decision is like that."
    assert "No decision yet" in nothing_text(none, is_filtered=False)
