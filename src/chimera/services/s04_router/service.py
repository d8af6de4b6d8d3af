"""S4, the order router.

Consumes   ord:cmd (intents from S3, S6, S5); the exchange's account stream
Produces   ord:result, recon:cmd, router:events, alerts; documents orders, fills, intents, holdings_spot_snapshots,
           strategy_events
Owns       every order at the exchange and every fill; the first stop and target of an entry, until its intent is final
Never      opens anything under kill switch, RED, pause or halt; sends an order that is not on file; sends one twice
"""

from collections.abc import Callable, Mapping

from chimera.contracts.enums import ServiceHealth
from chimera.contracts.flags import SpotFlags
from chimera.contracts.messages import OrderCmd
from chimera.contracts.streams import ORD_CMD
from chimera.domain.config.lint import lint
from chimera.ports.errors import DependencyDown
from chimera.ports.world import World
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.kill_switch import KillSwitch, no_file
from chimera.runtime.restraints import Restraints
from chimera.runtime.service import Every, On, Service
from chimera.runtime.telling import Teller
from chimera.services.s04_router.api import Api
from chimera.services.s04_router.approvals import Approvals
from chimera.services.s04_router.backlog import Backlog
from chimera.services.s04_router.dead_man import DeadMan
from chimera.services.s04_router.fees import Fees
from chimera.services.s04_router.guarded import guarded
from chimera.services.s04_router.guards import Guards
from chimera.services.s04_router.handlers.accept import Accept
from chimera.services.s04_router.handlers.account import Account
from chimera.services.s04_router.handlers.calls import Calls
from chimera.services.s04_router.handlers.cancel import Cancel
from chimera.services.s04_router.handlers.cover import Cover
from chimera.services.s04_router.handlers.drive import Drive
from chimera.services.s04_router.handlers.holdings import Holdings
from chimera.services.s04_router.handlers.margin import Margin
from chimera.services.s04_router.handlers.mend import FEES_MS, Mend
from chimera.services.s04_router.handlers.outlook import Outlook
from chimera.services.s04_router.handlers.planning import Planning
from chimera.services.s04_router.handlers.recover import Recover
from chimera.services.s04_router.handlers.send import Send
from chimera.services.s04_router.handlers.spot_exit import SpotExit
from chimera.services.s04_router.handlers.unled import Unled
from chimera.services.s04_router.intents import Intents
from chimera.services.s04_router.ladders import Ladders
from chimera.services.s04_router.ledger import Ledger
from chimera.services.s04_router.market import Market
from chimera.services.s04_router.measures import Measures
from chimera.services.s04_router.pairs import Pairs
from chimera.services.s04_router.results import Results
from chimera.services.s04_router.rulebook import Rulebook
from chimera.services.s04_router.settings import Settings
from chimera.services.s04_router.terms import TermsKeeper

STOP_LIMIT_GAP_BPS = SpotFlags().stop_limit_gap_bps
"""While there is no configuration to ask."""


def build(world: World, settings: Settings, *, kill_file: Callable[[], bool] = no_file) -> Service:
    teller = Teller(
        source="s4", env=settings.env, bus=world.bus, documents=world.documents, clock=world.clock, steps=True
    )
    market = Market(env=settings.env, snapshots=world.snapshots)
    guard = guarded(world, env=settings.env, variables=settings.variables, market=market, teller=teller)
    venue, breaker = guard.venue, guard.keeper
    rulebook = Rulebook(keys=settings.keys, venue=venue, clock=world.clock)
    instruments = rulebook.instruments
    watch = ConfigWatch(world, settings.env, service="s4", check=lint)
    terms = TermsKeeper(
        env=settings.env,
        keys=settings.keys,
        watch=watch,
        instruments=instruments,
        documents=world.documents,
        snapshots=world.snapshots,
        clock=world.clock,
        teller=teller,
        s3=settings.s3,
        maker_max_wait_ms=settings.variables.maker_max_wait_ms,
        route_file=settings.route_file,
    )
    fees = Fees(
        env=settings.env,
        venue=venue,
        documents=world.documents,
        snapshots=world.snapshots,
        clock=world.clock,
        instruments=instruments,
    )
    holdings = Holdings(
        env=settings.env,
        instruments=instruments,
        documents=world.documents,
        snapshots=world.snapshots,
        market=market,
        clock=world.clock,
    )
    results = Results(env=settings.env, bus=world.bus)
    ledger = Ledger(
        documents=world.documents,
        results=results,
        clock=world.clock,
        venue=venue,
        instruments=instruments,
        holdings=holdings,
        fees=fees,
        metrics=world.metrics,
        teller=teller,
    )
    dead_man = DeadMan(
        countdown_ms=settings.dead_man_ms,
        keys=settings.keys,
        venue=venue,
        documents=world.documents,
        clock=world.clock,
        teller=teller,
    )
    if dead_man.is_set:
        ledger.hearers.append(dead_man.hear)
    intents = Intents(documents=world.documents, results=results, clock=world.clock)
    restraints = Restraints(
        env=settings.env,
        snapshots=world.snapshots,
        documents=world.documents,
        clock=world.clock,
        kill_switch=KillSwitch(
            snapshots=world.snapshots,
            documents=world.documents,
            clock=world.clock,
            env=settings.env,
            file_present=kill_file,
        ),
    )
    send = Send(
        ledger=ledger,
        rulebook=rulebook,
        venue=venue,
        clock=world.clock,
        randomness=world.randomness.fork("s4/send"),
        metrics=world.metrics,
        teller=teller,
        lookup_lag_ms=settings.lookup_lag_ms,
        fill_wait_ms=settings.fill_wait_ms,
        retry_max_ms=settings.retry_max_ms,
        ask_after_ms=settings.ask_after_ms,
    )
    guards = Guards(
        env=settings.env,
        documents=world.documents,
        intents=intents,
        snapshots=world.snapshots,
        clock=world.clock,
        teller=teller,
    )
    outlook = Outlook(
        env=settings.env,
        market=market,
        snapshots=world.snapshots,
        restraints=restraints,
        breaker=breaker,
        clock=world.clock,
        snap_age_ms_max=settings.snap_age_ms_max,
        venue=venue,
        guards=guards,
    )
    calls = Calls(
        settings=settings,
        ledger=ledger,
        send=send,
        venue=venue,
        clock=world.clock,
        randomness=world.randomness.fork("s4/calls"),
        teller=teller,
        outlook=outlook,
    )
    pairs = Pairs(
        env=settings.env,
        instruments=instruments,
        documents=world.documents,
        ledger=ledger,
        snapshots=world.snapshots,
        clock=world.clock,
    )
    ledger.hearers.append(pairs.hear)
    spot_exit = SpotExit(
        instruments=instruments,
        rulebook=rulebook,
        ledger=ledger,
        holdings=holdings,
        venue=venue,
        calls=calls,
        market=market,
        pairs=pairs,
        clock=world.clock,
        randomness=world.randomness.fork("s4/spot"),
        teller=teller,
        documents=world.documents,
        guards=guards,
        lookup_lag_ms=settings.lookup_lag_ms,
        guardian=settings.variables.oco_guardian,
        gap_bps=lambda: watch.current().flags.spot.stop_limit_gap_bps if watch.loaded else STOP_LIMIT_GAP_BPS,
    )
    drive = Drive(
        settings=settings,
        instruments=instruments,
        intents=intents,
        ledger=ledger,
        calls=calls,
        planning=Planning(
            settings=settings,
            instruments=instruments,
            ladders=Ladders(documents=world.documents),
            ledger=ledger,
            venue=venue,
            terms=terms,
            restraints=restraints,
            market=market,
            snapshots=world.snapshots,
            clock=world.clock,
            randomness=world.randomness.fork("s4/planning"),
        ),
        outlook=outlook,
        spot_exit=spot_exit,
        measures=Measures(
            env=settings.env,
            variables=settings.variables,
            snapshots=world.snapshots,
            metrics=world.metrics,
            clock=world.clock,
            teller=teller,
        ),
        backlog=Backlog(env=settings.env, due=world.due, metrics=world.metrics),
        margin=Margin(venue=venue, clock=world.clock, believed_ms=settings.isolated_ms),
        market=market,
        clock=world.clock,
        randomness=world.randomness.fork("s4/drive"),
        metrics=world.metrics,
        teller=teller,
    )
    guards.lead, guards.halt, guards.led, guards.leads = drive.begin, drive.halt, drive.led, drive.leads
    recover = Recover(
        documents=world.documents,
        venue=venue,
        ledger=ledger,
        drive=drive,
        holdings=holdings,
        last_gate=guard.gate,
        clock=world.clock,
        keys=settings.keys,
        lookup_lag_ms=settings.lookup_lag_ms,
    )
    accept = Accept(
        env=settings.env,
        rulebook=rulebook,
        documents=world.documents,
        results=results,
        intents=intents,
        ledger=ledger,
        venue=venue,
        market=market,
        drive=drive,
        restraints=restraints,
        breaker=breaker,
        snapshots=world.snapshots,
        clock=world.clock,
        teller=teller,
        approvals=Approvals(documents=world.documents, snapshots=world.snapshots, clock=world.clock, env=settings.env),
        sync_wait_ms=settings.sync_wait_ms,
    )
    cancel = Cancel(
        documents=world.documents,
        ledger=ledger,
        accept=accept,
        calls=calls,
        drive=drive,
        clock=world.clock,
        randomness=world.randomness.fork("s4/cancel"),
        teller=teller,
    )
    cover = Cover(
        documents=world.documents,
        ledger=ledger,
        drive=drive,
        spot_exit=spot_exit,
        accept=accept,
        clock=world.clock,
    )
    account = Account(
        settings=settings,
        ledger=ledger,
        recover=recover,
        bus=world.bus,
        venue=venue,
        clock=world.clock,
        randomness=world.randomness.fork("s4/account"),
        teller=teller,
    )
    unled = Unled(
        intents=intents,
        drive=drive,
        accept=accept,
        guards=guards,
        recover=recover,
        clock=world.clock,
        randomness=world.randomness.fork("s4/unled"),
        retry_max_ms=settings.retry_max_ms,
    )
    mend = Mend(fees=fees, ledger=ledger, clock=world.clock)
    api = Api(
        accept=accept,
        cancel=cancel,
        cover=cover,
        recover=recover,
        now_ms=world.clock.now_ms,
        id_prefix=settings.id_prefix,
    )

    async def start() -> None:
        """Rules of the instruments first, then what happened while we were away."""
        await rulebook.load()
        await breaker.load()
        # Exits and stops need no configuration, so that none is waited for.
        await watch.poll()
        await terms.start()
        await recover.start()

    async def checks() -> Mapping[str, str]:
        try:
            await venue.server_time_ms()
            exchange = ServiceHealth.OK
        except DependencyDown:
            exchange = ServiceHealth.DOWN
        return {"redis": "OK", "exch": exchange.value, "cb_state": breaker.state.value, "route_rev": terms.route_rev}

    return Service(
        id="s4",
        card=__doc__ or "",
        consumes=(
            On(
                streams=tuple(ORD_CMD.name(settings.env, key) for key in settings.keys),
                payload=OrderCmd,
                handle=accept.on_cmd,
            ),
            watch.consume(),
        ),
        timers=(
            Every(name="results", interval_ms=settings.retry_max_ms, run=results.pay),
            Every(name="holdings", interval_ms=settings.holdings_ms, run=holdings.snapshot),
            Every(name="rules", interval_ms=settings.rules_ms, run=rulebook.renew),
            Every(name="routes", interval_ms=settings.variables.route_poll_ms, run=terms.refresh),
            Every(name="fees", interval_ms=FEES_MS, run=mend.run),
            watch.every(),
        ),
        routes=(*api.routes(), *breaker.routes()),
        produces=("ord:result", "recon:cmd", "router:events", "alerts"),
        start=start,
        stop=drive.stop,
        background=(
            account.listen,
            account.catch_up,
            account.report,
            unled.watch,
            breaker.watch,
            pairs.watch,
            *dead_man.loops(),
        ),
        checks=checks,
    )
