"""S10 · Config.

Consumes  nothing yet
Produces  cfg:events, ops:events
Owns      config_bundles, config_active, promotions; the keys cfg:active:rev and cfg:bundle:<rev>
Never     changes a staged bundle, and never tells of a switch before it is written
"""

from chimera.ports.world import World
from chimera.runtime.model_files import ModelFiles
from chimera.runtime.service import Every, Service
from chimera.runtime.telling import Teller
from chimera.services.s10_config.api import routes
from chimera.services.s10_config.handlers.bundles import KeepBundles
from chimera.services.s10_config.handlers.dry_run import RunDry
from chimera.services.s10_config.handlers.promote import Promote
from chimera.services.s10_config.handlers.rollback import Rollback
from chimera.services.s10_config.settings import ConfigSettings


def build(world: World, settings: ConfigSettings) -> Service:
    teller = Teller(source="s10", env=settings.env, bus=world.bus, documents=world.documents, clock=world.clock)
    models = ModelFiles(documents=world.documents, objects=world.objects, compute=world.compute)
    bundles = KeepBundles(documents=world.documents, models=models, clock=world.clock, teller=teller)
    promote = Promote(
        documents=world.documents,
        models=models,
        snapshots=world.snapshots,
        bus=world.bus,
        clock=world.clock,
        teller=teller,
        env=settings.env,
    )
    dry_run = RunDry(
        documents=world.documents,
        models=models,
        compute=world.compute,
        clock=world.clock,
        settings=settings.variables,
        s3=settings.s3,
        feature_age_ms_max=max(settings.s3.max_feature_age_ms, int(2.5 * settings.tick_interval_ms)),
    )
    return Service(
        id="s10",
        card=__doc__ or "",
        timers=(Every(name="config-in-step", interval_ms=settings.in_step_ms, run=promote.keep_in_step),),
        routes=routes(bundles, promote, Rollback(documents=world.documents, promote=promote), dry_run),
        produces=("cfg:events", "ops:events"),
        start=promote.start,
    )
