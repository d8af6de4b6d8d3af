"""The overview in one browser: what a trader leaves open all day. Nothing here reads a document."""

from nicegui import ui

from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.errors import DependencyDown
from chimera.services.s12_gateway.access import Identity
from chimera.services.s12_gateway.page import charts, rows
from chimera.services.s12_gateway.page.acts import Acts
from chimera.services.s12_gateway.page.data import Overview, Price
from chimera.services.s12_gateway.page.elements import Figure, LiveTable, Tabs, Text, box, press
from chimera.services.s12_gateway.page.frame import Frame, Here, draw, show_if
from chimera.services.s12_gateway.page.history import DAY_MS, HOUR_MS, MINUTE_MS
from chimera.services.s12_gateway.page.words import (
    NOTHING,
    age,
    arrow,
    instrument_name,
    number,
    percent,
    signed,
    signed_percent,
    tone,
)

INTERVALS = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS, "1h": HOUR_MS}
CANDLES = 170
EQUITY_RANGES = {"1D": DAY_MS, "7D": 7 * DAY_MS, "30D": 30 * DAY_MS}
EQUITY_POINTS = 360


class OverviewPage(Frame):
    name = "Overview"

    def __init__(self, here: Here, identity: Identity) -> None:
        super().__init__(here, identity)
        self._acts = Acts(self, here.data)
        self._drawn_price: object = None
        self._drawn_equity: object = None

    async def look(self) -> Overview:
        return await self._data.overview()

    async def build(self) -> None:
        self._build_figures()
        with box("main"):
            self._build_price()
            self._build_positions()
            self._build_records()
        with box("side"):
            self._build_equity()
            self._build_decisions()
            self._build_alerts()
            self._build_services()

    # What stands where.

    def _build_figures(self) -> None:
        with box("figures", "section").props('aria-label="Figures"'):
            self._equity = Figure("Equity, USDT")
            self._today = Figure("Today", "since 00:00 UTC, after fees and funding, open positions at the mark")
            self._net = Figure("Net PnL", "of all trades after fees and funding, open positions at the mark")
            self._open = Figure("Unrealised", "open positions at the mark")
            self._fees = Figure("Fees", "of all trades")
            self._funding = Figure("Funding", "of all trades; received +, paid −")
            self._drawdown = Figure(
                "Max drawdown", "of equity within 30 days, from a peak within them; at least the present one (now)"
            )
            self._wins = Figure("Win rate", "closed trades that earned after fees and funding")
            self._count = Figure("Trades", "closed")

    def _build_price(self) -> None:
        names = [(str(key), instrument_name(str(key))) for key in self._settings.keys]
        with box("card", "section").props('aria-label="Price"'):
            with box("head"):
                self._instruments = Tabs(names, names[0][0], self._choose_chart, "instrument")
                self._intervals = Tabs([(name, name) for name in INTERVALS], "5m", self._choose_chart, "interval")
            with box("drawing"):
                self._market_note = Text("note")
                self._chart = ui.echart(charts.price_options()).classes("price-chart")

    def _build_positions(self) -> None:
        with box("card", "section").props('aria-label="Open positions"'):
            with box("head"):
                Text("title", "Open positions")
                self._positions_note = Text("note")
                box("space")
                if self._acts.may_work:
                    press("Pause entries", "quiet", lambda: self._acts.pause(self._settings.keys))
                    press("Flatten everything", "quiet danger", self._acts.flatten)
            self._positions = LiveTable("open positions", rows.POSITION_COLUMNS, on_act=self._acts.on_position)

    def _build_records(self) -> None:
        with box("card", "section").props('aria-label="Records"'):
            with box("head"):
                self._records = Tabs(
                    [("trades", "Trades"), ("orders", "Orders"), ("fills", "Fills")],
                    "trades",
                    self._choose_record,
                    "records",
                )
                Text("note", "the last 50")
            self._tables = {}
            for name, columns in (
                ("trades", rows.TRADE_COLUMNS),
                ("orders", rows.ORDER_COLUMNS),
                ("fills", rows.FILL_COLUMNS),
            ):
                with box("long-list hidden") as holder:
                    self._tables[name] = (holder, LiveTable(name, columns))

    def _build_equity(self) -> None:
        with box("card", "section").props('aria-label="Equity"'):
            with box("head"):
                Text("title", "Equity")
                box("space")
                self._range = Tabs([(name, name) for name in EQUITY_RANGES], "30D", self._choose_range, "range")
            self._equity_chart = ui.echart(charts.equity_options()).classes("equity-chart")

    def _build_decisions(self) -> None:
        with box("card", "section").props('aria-label="Decisions"'):
            with box("head"):
                Text("title", "Decisions")
                Text("note", "each with its reason; open one for its gates")
            with box("long-list"):
                self._decisions = LiveTable("decisions", rows.DECISION_COLUMNS, on_open=self._decision_detail)

    def _build_alerts(self) -> None:
        with box("card", "section").props('aria-label="Alerts"'):
            with box("head"):
                Text("title", "Alerts")
            with box("short-list"):
                self._alerts = LiveTable("alerts", rows.ALERT_COLUMNS)

    def _build_services(self) -> None:
        with box("card", "section").props('aria-label="Services"'):
            with box("head"):
                Text("title", "Services and what they need")
            self._services = LiveTable("services", rows.SERVICE_COLUMNS)

    # What each second changes.

    async def show(self, seen: Overview) -> None:
        self._show_figures(seen)
        self._positions.show(
            rows.position_rows(seen, self._places, may_act=self._acts.may_work), rows.no_position_text(seen)
        )
        self._show_records(seen)
        self._decisions.show(
            rows.decision_rows(seen), "No decision yet: the first comes with the first complete set of features."
        )
        self._alerts.show(rows.alert_rows(seen), "No alert. All quiet.")
        self._services.show(rows.service_rows(seen), "No service has been asked yet.")
        self._show_prices(seen)
        await self._show_chart(seen)
        self._show_equity(seen)

    def _show_figures(self, seen: Overview) -> None:
        sums, unrealized = seen.sums, seen.unrealized_usdt
        paid = seen.open_sums
        net = sums.net + paid.net + unrealized
        self._equity.show(number(seen.equity_usdt, 2), "open positions included")
        self._show_today(seen)
        self._net.show(arrow(net) + signed(net), f"closed {signed(sums.net)}", tone(net))
        self._open.show(arrow(unrealized) + signed(unrealized), f"{len(seen.positions)} open", tone(unrealized))
        self._fees.show(number(sums.fees + paid.fees, 2), "paid")
        self._funding.show(signed(sums.funding + paid.funding, 4), "received +, paid −")
        now = "" if seen.drawdown_ratio is None else f"now {percent(seen.drawdown_ratio)}"
        self._drawdown.show(percent(seen.drawdown_max_ratio), now)
        rate = percent(sums.wins / sums.count, 1) if sums.count else NOTHING
        self._wins.show(rate, f"{sums.wins} of {sums.count}" if sums.count else "no closed trade yet")
        mean = f"mean {signed(sums.net / sums.count)}" if sums.count else ""
        self._count.show(str(sums.count), mean)

    def _show_today(self, seen: Overview) -> None:
        if seen.equity_usdt is None or not seen.day_start_usdt:
            self._today.show(NOTHING, "since 00:00 UTC")
            return
        earned = round(seen.equity_usdt - seen.day_start_usdt, 2)
        self._today.show(arrow(earned) + signed(earned), signed_percent(earned / seen.day_start_usdt), tone(earned))

    def _show_records(self, seen: Overview) -> None:
        """Only the table in sight is sent."""
        for name, (holder, _) in self._tables.items():
            show_if(holder, name == self._records.chosen)
        _, table = self._tables[self._records.chosen]
        match self._records.chosen:
            case "orders":
                table.show(rows.order_rows(seen, self._places), "No order was sent yet.")
            case "fills":
                table.show(rows.fill_rows(seen, self._places), "Nothing filled yet.")
            case _:
                table.show(rows.trade_rows(seen, self._places), "No trade has ended yet.")

    def _show_prices(self, seen: Overview) -> None:
        for key, price in seen.prices.items():
            text = number(price.last, self._places.get(key, 2))
            self._instruments.notes[str(key)].show(
                f"{text} {signed_percent(price.change_ratio, 1)}", tone(price.change_ratio)
            )
        key = self._key
        self._market_note.show(_market_note(key, seen.prices.get(key, Price()), seen.now_ms, self._places.get(key, 2)))

    @property
    def _key(self) -> InstrumentKey:
        return InstrumentKey.parse(self._instruments.chosen)

    async def _show_chart(self, seen: Overview) -> None:
        key, interval_ms = self._key, INTERVALS[self._intervals.chosen]
        try:
            candles = await self._data.candles(key, interval_ms, CANDLES)
        except DependencyDown:
            return
        since_ms = candles[0].open_time if candles else seen.now_ms
        is_here = [each for each in seen.positions if each.market is key.market and each.symbol == key.symbol]
        open_here = [each for each in seen.open_trades if each.market is key.market and each.symbol == key.symbol]
        patch = charts.price_patch(
            charts.PriceChart(
                candles=candles,
                interval_ms=interval_ms,
                places=self._places.get(key, 2),
                price=seen.prices.get(key, Price()).last,
                position=is_here[0] if is_here else None,
                trades=[*open_here, *self._data.trades.of(key, since_ms)],
            )
        )
        if patch != self._drawn_price:
            self._drawn_price = patch
            draw(self._chart, patch)

    def _show_equity(self, seen: Overview) -> None:
        since_ms = seen.now_ms - EQUITY_RANGES[self._range.chosen]
        patch = charts.equity_patch(self._data.equity.sample(since_ms, EQUITY_POINTS))
        if patch != self._drawn_equity:
            self._drawn_equity = patch
            draw(self._equity_chart, patch)

    # What a person does.

    async def _choose_chart(self, _: str) -> None:
        self._chart.run_chart_method("dispatchAction", {"type": "dataZoom", "start": 0, "end": 100})
        self._show_prices(self._data.seen)
        await self._show_chart(self._data.seen)

    async def _choose_record(self, _: str) -> None:
        self._show_records(self._data.seen)

    async def _choose_range(self, _: str) -> None:
        self._show_equity(self._data.seen)

    async def _decision_detail(self, key: str) -> list[dict[str, object]]:
        try:
            return rows.decision_detail(await self._data.signal(key.partition("#")[0]))
        except DependencyDown as down:
            return [{"title": str(down), "lines": []}]


def _market_note(key: InstrumentKey, price: Price, now_ms: int, places: int) -> str:
    parts = []
    if key.market is Market.FUT and price.mark is not None:
        parts.append(f"mark {number(price.mark, places)}")
    if price.spread_bps is not None:
        parts.append(f"spread {number(price.spread_bps, 2)} bps")
    if price.funding_rate is not None and price.funding_time is not None:
        parts.append(f"funding {signed_percent(price.funding_rate, 4)} in {age(price.funding_time - now_ms)}")
    return " · ".join(parts) or "the market has been silent for a minute"
