"""The page in one browser: what stands where, and what each second changes.

The server decides who may press what; the browser only shows. Nothing here reads a document.
"""

from collections.abc import Mapping
from pathlib import Path

from fastapi import Request
from nicegui import ui

from chimera.contracts.enums import HealthLevel, Market, Switch
from chimera.contracts.instrument_key import InstrumentKey
from chimera.ports.errors import DependencyDown
from chimera.ports.world import World
from chimera.services.s12_gateway import roles
from chimera.services.s12_gateway.access import Identity
from chimera.services.s12_gateway.page import charts, rows
from chimera.services.s12_gateway.page.data import Overview, PageData, Price
from chimera.services.s12_gateway.page.elements import Figure, LinkState, LiveTable, Tabs, Text, box, press
from chimera.services.s12_gateway.page.history import DAY_MS, HOUR_MS, MINUTE_MS
from chimera.services.s12_gateway.page.settings import PageSettings
from chimera.services.s12_gateway.page.words import (
    NO_MONEY,
    NOTHING,
    age,
    arrow,
    at,
    instrument_name,
    number,
    percent,
    signed,
    signed_percent,
    tone,
)
from chimera.services.s12_gateway.web import UI, Web

HERE = Path(__file__).parent
REFRESH_S = 1.0
SESSION_EACH = 10
"""The session is looked at in every so many refreshes, and before every change."""
INTERVALS = {"1m": MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS, "1h": HOUR_MS}
CANDLES = 170
EQUITY_RANGES = {"1D": DAY_MS, "7D": 7 * DAY_MS, "30D": 30 * DAY_MS}
EQUITY_POINTS = 360
HEALTH_TONES = {
    HealthLevel.GREEN: "good",
    HealthLevel.YELLOW: "warn",
    HealthLevel.ORANGE: "warn",
    HealthLevel.RED: "bad",
}
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#12181f"/>'
    '<path d="M6 21l6-8 5 5 9-11" fill="none" stroke="#5aa7f5" stroke-width="3.4" stroke-linecap="round" '
    'stroke-linejoin="round"/></svg>'
)


def mount(web: Web, world: World, settings: PageSettings) -> None:
    data = PageData(world, settings)

    @ui.page("/", title="Chimera")
    async def overview(request: Request) -> None:
        identity: Identity = request.state.identity
        page = Page(web, data, settings, identity)
        await page.open()

    ui.add_head_html((HERE / "head.html").read_text(encoding="utf-8"), shared=True)
    ui.add_css((HERE / "style.css").read_text(encoding="utf-8"), shared=True)
    ui.run_with(
        web.app,
        mount_path=UI,
        title="Chimera",
        favicon=FAVICON,
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=10.0,
    )


class Page:
    """One browser's page."""

    def __init__(self, web: Web, data: PageData, settings: PageSettings, identity: Identity) -> None:
        self._web = web
        self._data = data
        self._settings = settings
        self._identity = identity
        self._places: Mapping[InstrumentKey, int] = {}
        self._looked_at = True
        self._ticks = 0
        self._drawn_price: object = None
        self._drawn_equity: object = None

    async def open(self) -> None:
        self._places = await self._known_places()
        seen = await self._data.overview()
        with box("top", "header"):
            self._build_header()
            self._build_bars()
        with box("house", "main"):
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
        await self._show(seen)
        ui.timer(REFRESH_S, self._refresh, immediate=False)

    async def _known_places(self) -> Mapping[InstrumentKey, int]:
        try:
            return await self._data.decimals()
        except DependencyDown:
            return {}

    # What stands where.

    def _build_header(self) -> None:
        settings = self._settings
        with box("top-line"):
            Text("brand", "CHIMERA")
            if settings.is_live:
                Text("pill live", "LIVE").props('title="Real orders, real money"')
            else:
                name, means = NO_MONEY[settings.venue]
                Text("pill simulated", name).props(f'title="{means}"')
            self._time = Text("time").props('title="Market time"')
            Text("pill", f"{settings.speed:g}×").props('title="Market time runs this much faster than yours"')
            with box("fact"):
                Text("", "health")
                self._health = Text("light")
            with box("fact"):
                Text("", "config rev")
                self._rev = Text("strong")
            box("space")
            Text("dim", f"{self._identity.user} · {self._identity.role.value}")
            press("◐", "quiet", lambda: None).on("click", js_handler="() => window.chimeraTheme.toggle()").props(
                'aria-label="dark or light" title="Dark or light"'
            )
            with box("kill", "button").props("type=button").on("click", self._press_kill) as self._kill:
                self._kill_name = Text("", "KILL SWITCH")

    def _build_bars(self) -> None:
        self._link = LinkState(self._seen)
        with box("bar kill-bar hidden").props("role=alert") as self._kill_bar:
            Text("", "KILL SWITCH ON", "b")
            self._kill_text = Text()
            box("space")
            if self._may_turn(Switch.OFF):
                press("Release", "", self._ask_release)
        with box("bar held-bar hidden").props("role=status") as self._held_bar:
            self._held_text = Text()
            box("space")
            with box("hidden") as self._halts_release:
                press("Release", "", self._ask_halts_release)

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
            self._positions = LiveTable("open positions", rows.POSITION_COLUMNS)

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

    async def _refresh(self) -> None:
        if not self._looked_at:
            return
        self._ticks += 1
        if self._ticks % SESSION_EACH == 0 and not await self._is_known():
            return
        if len(self._places) < len(self._settings.keys):
            self._places = await self._known_places()
        await self._show(await self._data.overview())
        self._link.beat()

    async def _is_known(self) -> bool:
        """Whether the session still stands; who is out goes to the login."""
        if not self._identity.by_cookie:
            return True
        try:
            identity = await self._web.access.renew(self._identity.session_hash)
        except DependencyDown:
            return self._identity.expires_at > self._data.world.clock.now_ms()
        if identity is None:
            ui.navigate.to("/login")
            return False
        self._identity = identity
        return True

    async def _seen(self, looked_at: bool) -> None:
        self._looked_at = looked_at
        await self._refresh()

    async def _show(self, seen: Overview) -> None:
        self._show_header(seen)
        self._show_bars(seen)
        self._show_figures(seen)
        self._positions.show(rows.position_rows(seen, self._places), rows.no_position_text(seen))
        self._show_records(seen)
        self._decisions.show(
            rows.decision_rows(seen), "No decision yet: the first comes with the first complete set of features."
        )
        self._alerts.show(rows.alert_rows(seen), "No alert. All quiet.")
        self._services.show(rows.service_rows(seen), "No service has been asked yet.")
        self._show_prices(seen)
        await self._show_chart(seen)
        self._show_equity(seen)

    def _show_header(self, seen: Overview) -> None:
        self._time.show(at(seen.now_ms, "%Y-%m-%d %H:%M:%S UTC"))
        if seen.health is None:
            self._health.show("not judged yet", "dim")
        else:
            old = " (too old)" if seen.health_is_old else ""
            self._health.show(seen.health.value + old, "bad" if seen.health_is_old else HEALTH_TONES[seen.health])
        self._rev.show(NOTHING if seen.config_rev is None else str(seen.config_rev))

    def _show_bars(self, seen: Overview) -> None:
        _show_if(self._kill_bar, seen.kill_is_on)
        self._kill_name.show("KILL SWITCH: ON" if seen.kill_is_on else "KILL SWITCH")
        self._kill.classes(add="on" if seen.kill_is_on else "", remove="" if seen.kill_is_on else "on")
        if seen.kill is not None and seen.kill_is_on:
            reason = f": {seen.kill.reason}" if seen.kill.reason else ""
            until = f", until {at(seen.kill.until, '%m-%d %H:%M:%S')}" if seen.kill.until else ""
            since = at(seen.kill.updated_at, "%m-%d %H:%M:%S")
            self._kill_text.show(
                f"No new entries. Stops and exits go on. Pulled by {seen.kill.actor} at {since} UTC{until}{reason}"
            )
        held = [
            *(f"HALT {name}: {reason}" for name, reason in seen.halts.items()),
            *(f"PAUSED: {name}" for name in seen.pauses),
            *(f"Not up to date: {problem}" for problem in seen.problems),
        ]
        _show_if(self._held_bar, bool(held))
        _show_if(self._halts_release, any(self._may(halt_release(name), {}) for name in seen.halts))
        self._held_text.show(" · ".join(held))

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
            _show_if(holder, name == self._records.chosen)
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
            _draw(self._chart, patch)

    def _show_equity(self, seen: Overview) -> None:
        since_ms = seen.now_ms - EQUITY_RANGES[self._range.chosen]
        patch = charts.equity_patch(self._data.equity.sample(since_ms, EQUITY_POINTS))
        if patch != self._drawn_equity:
            self._drawn_equity = patch
            _draw(self._equity_chart, patch)

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

    def _may(self, path: str, body: Mapping[str, object]) -> bool:
        return roles.has(self._identity.role, roles.needed("s12", "POST", path, body))

    def _may_turn(self, state: Switch) -> bool:
        return self._may("/kill-switch", {"state": state.value})

    async def _press_kill(self) -> None:
        if not self._data.seen.kill_is_on:
            await self._ask_kill()
        elif self._may_turn(Switch.OFF):
            await self._ask_release()
        else:
            ui.notify("Releasing is an admin's. Stops and exits go on meanwhile.", type="info")

    async def _ask_kill(self) -> None:
        why = await self._ask(
            "Stop all new entries?",
            "Nothing new is opened until an admin releases it. Open positions keep their stops, exits go on.",
            "Pull the kill switch",
        )
        if why is not None:
            await self._turn(Switch.ON, why)

    async def _ask_release(self) -> None:
        why = await self._ask(
            "Allow entries again?", "The strategy may open positions from now on.", "Release", is_calm=True
        )
        if why is not None:
            await self._turn(Switch.OFF, why)

    async def _ask_halts_release(self) -> None:
        halts = self._data.seen.halts
        why = await self._ask(
            f"Release {', '.join(halts)}?",
            f"{'; '.join(halts.values())}. The strategy may open positions from now on, and lose as much again.",
            "Release the halt",
            is_calm=True,
        )
        if why is None:
            return
        if not why:
            ui.notify("A halt is released for a reason: say why.", type="warning")
            return
        for name in halts:
            await self._carry_out(halt_release(name), {"reason": why})

    async def _ask(self, question: str, meaning: str, yes: str, *, is_calm: bool = False) -> str | None:
        """The reason given, perhaps empty; None: not agreed, or the tab was closed, and the dialog went with it."""
        with ui.dialog() as dialog, box("ask"):
            Text("", question, "h2")
            Text("", meaning, "p")
            why = ui.input("Why (kept in the audit trail)").props("outlined dense autofocus maxlength=200")
            with box("choices"):
                press("Cancel", "quiet", lambda: dialog.submit(False))
                press(yes, "do calm" if is_calm else "do", lambda: dialog.submit(True))
        agreed = await dialog
        reason = str(why.value or "").strip()
        if not dialog.is_deleted:
            dialog.delete()
        return reason if agreed else None

    async def _turn(self, state: Switch, reason: str) -> None:
        await self._carry_out("/kill-switch", {"state": state.value, "reason": reason or None})

    async def _carry_out(self, path: str, body: Mapping[str, object]) -> None:
        """A call of the gateway. Who asks is looked at again now: the page may have stood open for hours."""
        if not await self._is_known():
            return
        if not self._may(path, body):
            ui.notify(f"Your role is {self._identity.role.value}: ask an admin.", type="negative")
            return
        refused = await self._data.post(path, body, self._identity.user)
        if refused is not None:
            ui.notify(refused, type="negative", timeout=0, close_button="OK")
        await self._show(await self._data.overview())


def halt_release(name: str) -> str:
    return f"/halts/{name}/release"


def _market_note(key: InstrumentKey, price: Price, now_ms: int, places: int) -> str:
    parts = []
    if key.market is Market.FUT and price.mark is not None:
        parts.append(f"mark {number(price.mark, places)}")
    if price.spread_bps is not None:
        parts.append(f"spread {number(price.spread_bps, 2)} bps")
    if price.funding_rate is not None and price.funding_time is not None:
        parts.append(f"funding {signed_percent(price.funding_rate, 4)} in {age(price.funding_time - now_ms)}")
    return " · ".join(parts) or "the market has been silent for a minute"


def _show_if(element: ui.element, is_shown: bool) -> None:
    element.classes(remove="hidden" if is_shown else "", add="" if is_shown else "hidden")


def _draw(chart: ui.echart, patch: Mapping[str, object]) -> None:
    """Into the options that stand: the browser merges them, and a zoom stays."""
    for name, value in patch.items():
        if isinstance(value, Mapping):
            chart.options[name].update(value)
        else:
            chart.options[name] = value
    chart.update()
