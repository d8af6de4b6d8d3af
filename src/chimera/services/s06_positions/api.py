"""S6's calls: who looks, and who wants the tick now."""

from collections.abc import Callable
from dataclasses import dataclass

from chimera.contracts.enums import Market
from chimera.contracts.http import (
    ExposureView,
    LeaveAllAnswer,
    LeaveAllRequest,
    LeaveAnswer,
    LeaveRequest,
    ManageAnswer,
    ManageRequest,
    PositionsAnswer,
    PutStopAnswer,
    PutStopRequest,
)
from chimera.contracts.instrument_key import InstrumentKey
from chimera.domain.exact import money
from chimera.ports.documents import Documents
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.service import Problem, Reply, Request, Route
from chimera.services.s06_positions.exposures import Exposure, Exposures
from chimera.services.s06_positions.handlers.manage import Manage
from chimera.services.s06_positions.handlers.person import Person
from chimera.services.s06_positions.handlers.show import standing_of, view
from chimera.services.s06_positions.market import Market as MarketView
from chimera.services.s06_positions.memory import Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    manage: Manage
    person: Person
    memory: Memory
    documents: Documents
    exposures: Exposures
    market: MarketView
    watch: ConfigWatch
    keys: tuple[InstrumentKey, ...]
    now_ms: Callable[[], int]

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                method="GET",
                path="/positions",
                handle=self._positions,
                answer=PositionsAnswer,
                summary="Every open position with its stop.",
            ),
            Route(
                method="POST",
                path="/positions/manage",
                handle=self._manage,
                body=ManageRequest,
                answer=ManageAnswer,
                summary="Read every open trade from the documents and do now what the tick would do.",
                errors=(404, 503),
            ),
            Route(
                method="POST",
                path="/positions/close",
                handle=self.person.leave,
                body=LeaveRequest,
                answer=LeaveAnswer,
                summary="Leave one position at market. Asking again leaves it once.",
                errors=(404, 503),
            ),
            Route(
                method="POST",
                path="/positions/stop",
                handle=self.person.put_stop,
                body=PutStopRequest,
                answer=PutStopAnswer,
                summary="Put the stop of a futures position where a person wants it, within what may be lost.",
                errors=(404, 409, 422, 503),
            ),
            Route(
                method="POST",
                path="/positions/flatten",
                handle=self.person.leave_all,
                body=LeaveAllRequest,
                answer=LeaveAllAnswer,
                summary="Take back every entry under way and leave every position.",
                errors=(503,),
            ),
        )

    async def _positions(self, request: Request) -> Reply:
        return Reply(
            PositionsAnswer(
                positions=tuple(
                    [view(held, await standing_of(held, self.documents)) for held in self.memory.open_trades()]
                ),
                exposures=tuple([await self._exposure(each) for each in await self.exposures.all()]),
                ts=self.now_ms(),
            )
        )

    async def _exposure(self, now: Exposure) -> ExposureView:
        """At the futures mark, else at spot's price."""
        keys = [key for key in self.keys if key.symbol == now.symbol]
        prices = [await self.market.mark(key) for key in sorted(keys, key=lambda key: key.market is not Market.FUT)]
        mark = next((price for price in prices if price is not None), None)
        limit = self.watch.current().flags.risk.exposure_usdt_max if self.watch.loaded else None
        return ExposureView(
            symbol=now.symbol,
            fut_qty=now.fut_qty,
            spot_qty=now.spot_qty,
            exposure_qty=now.qty,
            net_delta_qty=now.net_delta,
            exposure_usdt=None if mark is None else money(abs(now.qty) * mark),
            exposure_usdt_max=limit,
        )

    async def _manage(self, request: Request) -> Reply:
        looked = await self.manage.run_all(self._wanted(request.body))
        orders = sorted({each for held in looked for order in held.facts.orders if (each := order.intent_id)})
        return Reply(ManageAnswer(instruments=tuple(str(held.key) for held in looked), intent_ids=tuple(orders)))

    def _wanted(self, request: ManageRequest) -> InstrumentKey | None:
        if request.symbol is None:
            return None
        key = InstrumentKey(request.market or Market.FUT, request.symbol)
        if key not in self.keys:
            raise Problem(404, "unknown-symbol", f"{key} is not traded; known: {', '.join(map(str, self.keys))}")
        return key
