"""L2: the model that a bundle names, opened beside the decisions, and asked where everything else would open.

A model is opened when the configuration that names it comes into force, once for each name and hash, and stays what it
was then until another configuration comes: nobody changes it under a revision that is in force. Until it is open, and
where it cannot be opened, decisions are made without it and say so. A person is told once of each model.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

import structlog

from chimera.contracts import ids
from chimera.contracts.collections import MODELS
from chimera.contracts.documents import Model
from chimera.contracts.enums import ServiceHealth, Severity
from chimera.contracts.flags import ModelFlags
from chimera.contracts.metrics import AlertCode
from chimera.domain.config.model_lint import check_model
from chimera.domain.decision.calibration import Calibration, parse_calibration
from chimera.domain.decision.model import (
    BROKEN,
    CONSTANT,
    MODEL_TIMEOUT,
    NO_MODEL,
    NOT_ASKED,
    Score,
    score_of,
)
from chimera.ports.clock import Clock
from chimera.ports.documents import Documents
from chimera.ports.errors import DependencyDown
from chimera.ports.models import ModelFailed, Models, ModelUnusable, OpenModel
from chimera.ports.objects import NoSuchObject, Objects
from chimera.ports.randomness import Randomness
from chimera.runtime.config_watch import ConfigWatch
from chimera.runtime.retry import Backoff
from chimera.runtime.telling import Teller
from chimera.runtime.waiting import DeadlinePassed, until

OPEN_MS_MAX = 60_000
"""A model that is not ready by then hangs. Of our own work."""
LOOK_AGAIN_MS = 60_000
"""A model that could not be opened may have been mended: it is tried again this often. Of our own work."""

_NOT_ASKED, _NONE = Score(None, NOT_ASKED), Score(None, NO_MODEL)

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class Opened:
    """A model that can be asked. One that is retired is closed when its last asker has left."""

    document: Model
    calibration: Calibration
    session: OpenModel
    asking: int = 0
    retired: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        return self.document.features

    def retire(self) -> None:
        self.retired = True
        if self.asking == 0:
            self.session.close()


@dataclass(slots=True, kw_only=True)
class Scorer:
    """`keep` opens and closes, for ever; `of` and `ask` are what decisions use."""

    watch: ConfigWatch
    documents: Documents
    objects: Objects
    models: Models
    clock: Clock
    randomness: Randomness
    teller: Teller
    _open: dict[str, Opened] = field(default_factory=dict)
    _settled_seq: int = -1
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _told: set[tuple[str, str]] = field(default_factory=set)
    _broken: dict[tuple[str, str], str] = field(default_factory=dict)

    def look(self) -> None:
        """Another configuration is in force."""
        self._wake.set()

    def of(self, flags: ModelFlags) -> Opened | None:
        return self._open.get(flags.name)

    def before_asking(self, flags: ModelFlags, opened: Opened | None) -> Score:
        """What a decision goes by before the model was asked, or where there is none to ask."""
        if opened is not None:
            return _NOT_ASKED
        return _NONE if flags.name != CONSTANT else Score(flags.constant_p)

    async def ask(self, opened: Opened, flags: ModelFlags, features: Mapping[str, float]) -> Score:
        """At most `timeout_ms` of our own work. Never raises: what goes wrong is a score without a p, or none at all.

        Args:
            features: every feature of the model is there: the gates have seen to that.
        """
        if opened.retired and opened.asking == 0:
            # Its configuration was replaced after this decision had begun.
            return _NONE
        row = [features[name] for name in opened.features]
        words = [name for name, value in zip(opened.features, row, strict=True) if not isinstance(value, int | float)]
        if words:
            self._is_broken(opened, f"it reads {', '.join(words)}, which is no number: train it on others")
            return BROKEN
        deadline_ms = self.clock.now_ms() + self.clock.work_ms(flags.timeout_ms)
        opened.asking += 1
        try:
            output = await until(self.clock, deadline_ms, opened.session.predict(row))
        except DeadlinePassed:
            return Score(None, MODEL_TIMEOUT)
        except ModelFailed as failed:
            self._is_broken(opened, str(failed))
            return BROKEN
        finally:
            opened.asking -= 1
            if opened.retired and opened.asking == 0:
                opened.session.close()
        score = score_of(output, opened.calibration)
        if score is BROKEN:
            self._is_broken(opened, f"it answered {output!r}, which is no probability")
        return score

    async def keep(self) -> None:
        """Open what the configurations in force name, close what they no longer do, tell what went wrong."""
        backoff = Backoff(self.clock, self.randomness)
        while True:
            self._wake.clear()
            try:
                complete = await self._bring_up_to_date()
                await self._tell_broken()
            except DependencyDown as down:
                log.warning("a model waits for a dependency", why=str(down))
                await backoff.wait()
                continue
            backoff.reset()
            if complete:
                await self._wake.wait()
                continue
            try:
                again_ms = self.clock.now_ms() + self.clock.work_ms(LOOK_AGAIN_MS)
                await until(self.clock, again_ms, self._wake.wait())
            except DeadlinePassed:
                pass

    async def stop(self) -> None:
        for opened in self._open.values():
            opened.session.close()
        self._open.clear()

    def health(self) -> str:
        """DEGRADED while a configuration in force decides without the model that it names."""
        missing = self._wanted() - self._open.keys() if self.watch.loaded else set()
        return (ServiceHealth.DEGRADED if missing else ServiceHealth.OK).value

    def _wanted(self) -> set[str]:
        return {each.flags.model.name for each in self.watch.in_force().snapshots()} - {CONSTANT}

    async def _bring_up_to_date(self) -> bool:
        """True: every model that is wanted is open."""
        if not self.watch.loaded:
            return True
        seq, wanted = self.watch.current().seq, self._wanted()
        for name in sorted(self._open.keys() - wanted):
            self._open.pop(name).retire()
        for name in sorted(wanted):
            have = self._open.get(name)
            if have is not None and self._settled_seq == seq:
                # Whatever is filed under its name since then counts from the next switch on.
                continue
            document = await self.documents.get(MODELS, name)
            if have is not None and have.document == document:
                continue
            opened = await self._opened(name, document)
            if have is not None:
                have.retire()
                del self._open[name]
            if opened is not None:
                self._open[name] = opened
        self._settled_seq = seq
        return wanted <= self._open.keys()

    async def _opened(self, name: str, document: Model | None) -> Opened | None:
        digest = "" if document is None else document.hash
        try:
            if document is None:
                raise ModelUnusable("there is no such model: train one, or name another in the bundle")
            opened = await self._open_document(document)
        except ModelUnusable as unusable:
            await self._tell(name, digest, str(unusable))
            return None
        log.info("a model is open", model=name, hash=digest)
        return opened

    async def _open_document(self, document: Model) -> Opened:
        """
        Raises:
            ModelUnusable
        """
        findings = check_model(document)
        if findings:
            raise ModelUnusable("; ".join(map(str, findings)))
        name = ids.model_object(document.hash)
        try:
            body = await self.objects.get(name)
        except NoSuchObject as missing:
            raise ModelUnusable(f"{missing}: store its file there, or name another model in the bundle") from missing
        deadline_ms = self.clock.now_ms() + self.clock.work_ms(OPEN_MS_MAX)
        opening = self.models.open(body, sha256=document.hash, inputs=len(document.features))
        try:
            session = await until(self.clock, deadline_ms, opening)
        except DeadlinePassed:
            raise ModelUnusable(f"it is not ready after {OPEN_MS_MAX // 1_000} s: export a smaller one") from None
        return Opened(document=document, calibration=parse_calibration(document.calibration), session=session)

    def _is_broken(self, opened: Opened, why: str) -> None:
        """A decision waits for no alert: whoever keeps the models tells it."""
        model = (opened.document.name, opened.document.hash)
        if model not in self._told and model not in self._broken:
            self._broken[model] = why
            self._wake.set()

    async def _tell_broken(self) -> None:
        for name, digest in list(self._broken):
            await self._tell(name, digest, self._broken[name, digest])
            del self._broken[name, digest]

    async def _tell(self, name: str, digest: str, why: str) -> None:
        """Once for each model; what the bus does not take is told again."""
        if (name, digest) in self._told:
            return
        await self.teller.alert(
            AlertCode.MODEL_UNUSABLE, Severity.ERROR, f"model {name}: {why}", model=name, hash=digest
        )
        self._told.add((name, digest))


def stored_p(p: float | None) -> float | None:
    """As it is written: a p that is no number was none, and the note says so."""
    return p if p is not None and isfinite(p) else None
