"""Does the exchange's dead-man switch spare conditional orders? Tried with two small orders far from the market.

Owns the trial and its record. Only where no real money is: S4 relies on a switch that was seen on the testnet, and is
told so by a document in the data folder of the system that shall use it.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from chimera.adapters.sqlite.documents import SqliteDocuments
from chimera.app.data_folder import DOCUMENTS_NAME, DataFolderProblem, open_folder
from chimera.app.findings import Finding, Level
from chimera.app.remote import reach
from chimera.app.sides import LIVE, UpProblem
from chimera.contracts.documents import DeadManSeen
from chimera.contracts.enums import Market, OrderStatus, OrderType, Side, TimeInForce
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.settings import S4Settings
from chimera.domain.execution.orders import NewOrder, VenueOrder
from chimera.domain.market.instrument import Instrument
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.venue import Venue, VenueError
from chimera.services.s04_router.dead_man import SEEN, SEEN_KEY

WHAT = "dead-man switch"
COUNTDOWN_MS = 5_000
PATIENCE_MS = 15_000
"""Of real time, for what the exchange is to show."""
LOOK_MS = 500
AFTERWARDS_MS = 3_000
"""A stop that is taken a moment later is taken as well."""
ENTRY_SHARE, STOP_SHARE = Decimal("0.9"), Decimal("0.8")
"""Of the bid: far enough for half a minute, near enough for the exchange's limits."""
ROOM = Decimal("1.1")
"""Above the smallest notional, which is measured by another price."""

BY_HAND = "cancel what is left of doctor-… on the exchange's page, then try again"


class TrialProblem(Exception):
    """The trial was not made, or shows nothing; the text says why."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial on `symbol`. Nothing else may be open on it."""

    venue: Venue
    symbol: str
    clock: Clock

    @property
    def key(self) -> InstrumentKey:
        return InstrumentKey(Market.FUT, self.symbol)

    async def spares_stops(self) -> bool:
        """Whether the conditional order was still there when the regular one had been taken. Cleans up in any case.

        Raises:
            TrialProblem: it could not be made, showed nothing, or left something behind.
            VenueError: the exchange could not be asked, or refused.
        """
        entry, stop = await self._orders(await self._instrument())
        failed: TrialProblem | VenueError | None = None
        spared = False
        try:
            spared = await self._try(entry, stop)
        except (TrialProblem, VenueError) as problem:
            failed = problem
        left = await self._clean_up(entry, stop)
        if left:
            before = "" if failed is None else f"{failed}; and "
            raise TrialProblem(f"{before}the trial may have left behind: {', '.join(left)}", BY_HAND) from failed
        if failed is not None:
            raise failed
        return spared

    async def _instrument(self) -> Instrument:
        if not self.venue.capabilities.dead_man_switch:
            raise TrialProblem(f"{self.venue.name} has none", "leave S4_DEAD_MAN_MS unset there")
        found = next((each for each in await self.venue.instruments() if each.key == self.key), None)
        if found is None:
            raise TrialProblem(f"{self.key} is not listed there", "name another symbol")
        if await self.venue.open_orders([self.key]):
            raise TrialProblem(
                f"orders are open on {self.key}, which the trial could take",
                "cancel them, or name a symbol without orders",
            )
        if any(position.symbol == self.symbol for position in await self.venue.positions()):
            raise TrialProblem(f"a position is open on {self.key}", "close it, or name a symbol without one")
        return found

    async def _orders(self, instrument: Instrument) -> tuple[NewOrder, NewOrder]:
        bid = (await self.venue.book(self.key)).bid
        price = instrument.floor_price(bid * ENTRY_SHARE)
        qty = max(instrument.min_qty, instrument.ceil_qty(ROOM * instrument.min_notional / price))
        name = f"doctor-{self.clock.now_ms()}"
        entry = NewOrder(
            client_order_id=f"{name}-entry",
            market=Market.FUT,
            symbol=self.symbol,
            side=Side.BUY,
            type=OrderType.LIMIT,
            time_in_force=TimeInForce.GTX,
            qty=qty,
            price=price,
        )
        stop = NewOrder(
            client_order_id=f"{name}-stop",
            market=Market.FUT,
            symbol=self.symbol,
            side=Side.SELL,
            type=OrderType.STOP_MARKET,
            qty=qty,
            stop_price=instrument.floor_price(bid * STOP_SHARE),
            reduce_only=True,
        )
        return entry, stop

    async def _try(self, entry: NewOrder, stop: NewOrder) -> bool:
        both = {entry.client_order_id, stop.client_order_id}
        await self.venue.place(entry)
        await self.venue.place(stop)
        if not await self._until(lambda open_orders: both <= _names(open_orders)):
            raise TrialProblem("its two orders were never listed", "try again later")
        await self.venue.cancel_all_after(self.symbol, self.clock.work_ms(COUNTDOWN_MS))
        if not await self._until(
            lambda open_orders: entry.client_order_id not in _names(open_orders), COUNTDOWN_MS + PATIENCE_MS
        ):
            raise TrialProblem("the countdown ended and the order still rests", "leave S4_DEAD_MAN_MS unset there")
        await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(AFTERWARDS_MS))
        ended = await self.venue.order(self.key, entry.client_order_id, conditional=False)
        if ended.status is not OrderStatus.CANCELED or ended.filled_qty:
            raise TrialProblem(
                f"its order ended {ended.status.value} with {ended.filled_qty} filled, not by the switch",
                "close what filled on the exchange's page, then try again in a calmer market",
            )
        return stop.client_order_id in _names(await self.venue.open_orders([self.key]))

    async def _until(self, is_so: Callable[[Sequence[VenueOrder]], bool], patience_ms: int = PATIENCE_MS) -> bool:
        deadline_ms = self.clock.now_ms() + self.clock.work_ms(patience_ms)
        while not is_so(await self.venue.open_orders([self.key])):
            if self.clock.now_ms() >= deadline_ms:
                return False
            await self.clock.sleep_until_ms(self.clock.now_ms() + self.clock.work_ms(LOOK_MS))
        return True

    async def _clean_up(self, entry: NewOrder, stop: NewOrder) -> list[str]:
        """What is left all the same, in words. Each step is tried whatever became of the others."""
        left: list[str] = []
        try:
            await self.venue.cancel_all_after(self.symbol, 0)
        except VenueError as error:
            left.append(f"a countdown of {COUNTDOWN_MS // 1_000} s ({error})")
        for order in (entry, stop):
            # Not known any more is as good as canceled, and the list has the last word.
            with suppress(VenueError):
                await self.venue.cancel(self.key, order.client_order_id, conditional=order.conditional)
        try:
            listed = _names(await self.venue.open_orders([self.key]))
        except VenueError as error:
            return [*left, f"its orders ({error})"]
        return left + sorted(listed & {entry.client_order_id, stop.client_order_id})


def _names(orders: Sequence[VenueOrder]) -> set[str]:
    return {order.client_order_id for order in orders}


async def findings_of(trial: Trial, documents: Documents, place: str) -> list[Finding]:
    """Make the trial at the exchange that people call `place`, and keep what was seen."""
    try:
        spares = await trial.spares_stops()
    except TrialProblem as problem:
        return [Finding(WHAT, str(problem), problem.remedy, Level.BAD)]
    except VenueError as error:
        return [Finding(WHAT, f"could not be tried: {error}", BY_HAND, Level.BAD)]
    if not spares:
        await documents.remove(SEEN, SEEN_KEY)
        return [Finding(WHAT, "it takes conditional orders too, and so the stops", "unset S4_DEAD_MAN_MS", Level.BAD)]
    now_ms = trial.clock.now_ms()
    await documents.put(SEEN, DeadManSeen(venue=place, seen_at=now_ms, updated_at=now_ms))
    return [Finding(WHAT, f"{place}: it took the resting order of {trial.symbol} and spared the stop; kept")]


async def try_dead_man(venue: str, symbol: str, data: Path, s4: S4Settings) -> list[Finding]:
    """For `doctor`: the trial at `venue`, kept in the data folder of the system that shall use the switch.

    Raises:
        UpProblem: it could be real money, nobody is there, or there is no key.
        DataFolderProblem: no system is there yet, or it runs.
        DataFolderError: its documents cannot be opened.
    """
    if venue == LIVE:
        raise UpProblem(
            f"--dead-man {symbol}: the trial sends orders, and --venue live has real money. Try it with"
            " --venue testnet; what is seen there counts for live"
        )
    if not (data / DOCUMENTS_NAME).exists():
        # A folder with documents counts as begun, so none may be made here.
        raise DataFolderProblem(
            f"there is no system in {data} yet. Start it once (chimera up --data {data}), stop it, then try the switch"
        )
    async with AsyncExitStack() as stack:
        try:
            folder = open_folder(data)
        except DataFolderProblem as problem:
            raise DataFolderProblem(f"{problem} The switch is tried while the system does not run.") from problem
        stack.callback(folder.close)
        documents = SqliteDocuments.in_thread(folder.documents)
        stack.push_async_callback(documents.close)
        reached = await reach(venue, None, s4, stack)
        trial = Trial(venue=reached.venue, symbol=symbol, clock=reached.clock)
        return await findings_of(trial, documents, reached.place.name)
    raise AssertionError("the stack swallows nothing")
