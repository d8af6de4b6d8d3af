"""Every stream: its name, payload, writers and readers. Nothing else builds a stream's name.

Owns CONTRACTS 1.3. A name is `{env}:<pattern>`, INSTR standing for the instrument's hash tag, `<service>` for a
service id. Writers and readers are ids of `services`.
"""

from dataclasses import dataclass

from chimera.contracts import services
from chimera.contracts.base import Message
from chimera.contracts.enums import Market
from chimera.contracts.instrument_key import InstrumentKey
from chimera.contracts.messages import (
    AccountEvent,
    AlertEvent,
    AuditEvent,
    AutopsyCmd,
    AutopsyResult,
    CfgEvent,
    DepthEvent,
    FeatureEvent,
    FundingEvent,
    HealthEvent,
    KlineEvent,
    LabelCmd,
    LabelReady,
    LabelResult,
    MetricEvent,
    OrderCmd,
    OrderResult,
    PositionEvent,
    ReconcileCmd,
    ReconcileResult,
    RouterEvent,
    SignalEvent,
    SimCmd,
    SimResult,
    TickerEvent,
    TransferEvent,
)

INSTR = "INSTR"
FUT_SYM = "{FUT:SYM}"
SERVICE = "<service>"

MAXLEN_CORE = 1_000_000
"""Approximate bound of `ord:*`, `sig:*`, `feat:*`."""

MAXLEN_OTHER = 100_000

ALL: tuple[str, ...] = services.IDS

CLAIM_AFTER_MS = 30_000
"""A consumer that is silent this long with an entry in hand counts as dead; its entries are claimed."""

ATTEMPTS_MAX = 5
"""A message that itself fails is tried so often, then it goes to the dead-letter stream."""

RETRY_FIRST_MS = 200
"""First wait between such tries; it doubles."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One family of streams. `broadcast`: read without a group, by every replica from its own position."""

    pattern: str
    payload: type[Message]
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    broadcast: bool = False
    maxlen: int = MAXLEN_OTHER

    @property
    def per_instrument(self) -> bool:
        return self.pattern.endswith((INSTR, FUT_SYM))

    @property
    def per_service(self) -> bool:
        return self.pattern.endswith(SERVICE)

    def name(
        self,
        env: str,
        instrument: InstrumentKey | None = None,
        *,
        service: str | None = None,
    ) -> str:
        """The stream's name in `env`.

        Raises:
            ValueError: the pattern needs an instrument (of FUT) or a service that is not given, or has no place for it.
        """
        if self.per_instrument != (instrument is not None) or self.per_service != (service is not None):
            raise ValueError(f"{self.pattern} does not go with instrument={instrument} and service={service}")
        if instrument is not None:
            if self.pattern.endswith(FUT_SYM) and instrument.market is not Market.FUT:
                raise ValueError(f"{self.pattern} is for FUT only, not for {instrument}")
            return f"{env}:{self.base}{instrument.tag}"
        return f"{env}:{self.base}{service or ''}"

    @property
    def base(self) -> str:
        """The pattern without its variable end."""
        return self.pattern.removesuffix(INSTR).removesuffix(FUT_SYM).removesuffix(SERVICE)


MKT_TICKER = Stream("mkt:ticker:INSTR", TickerEvent, ("s1",), ("s2", "s4", "s6"))
MKT_DEPTH = Stream("mkt:depth:INSTR", DepthEvent, ("s1",), ("s2", "s4", "s6"))
MKT_KLINE = Stream("mkt:kline:INSTR", KlineEvent, ("s1",), ("s2",))
MKT_FUNDING = Stream("mkt:funding:{FUT:SYM}", FundingEvent, ("s1",), ("s2", "s6", "s7"))
ACCT_EVENTS = Stream("acct:events", AccountEvent, ("s1",), ("s4", "s6"))
FEAT_EVENTS = Stream("feat:events:INSTR", FeatureEvent, ("s2",), ("s3",), maxlen=MAXLEN_CORE)
SIG_EVENTS = Stream("sig:events:INSTR", SignalEvent, ("s3",), ("s7", "s11", "s12"), maxlen=MAXLEN_CORE)
ORD_CMD = Stream("ord:cmd:INSTR", OrderCmd, ("s3", "s6", "s5"), ("s4",), maxlen=MAXLEN_CORE)
ORD_RESULT = Stream(
    "ord:result:INSTR",
    OrderResult,
    ("s4",),
    ("s3", "s5", "s6", "s11", "s12"),
    maxlen=MAXLEN_CORE,
)
POS_EVENTS = Stream("pos:events:INSTR", PositionEvent, ("s6",), ("s8", "s12"))
RECON_CMD = Stream("recon:cmd", ReconcileCmd, ("s4", "s6", "s12"), ("s5",))
RECON_RESULT = Stream("recon:result", ReconcileResult, ("s5",), ("s11", "s12"))
LABEL_CMD = Stream("label:cmd", LabelCmd, ("s12",), ("s7",))
LABEL_RESULT = Stream("label:result", LabelResult, ("s7",), ("s12",))
LABEL_READY = Stream("label:ready", LabelReady, ("s7",), ("s8",))
AUTOPSY_CMD = Stream("autopsy:cmd", AutopsyCmd, ("s12",), ("s8",))
AUTOPSY_RESULT = Stream("autopsy:result", AutopsyResult, ("s8",), ("s12",))
SIM_CMD = Stream("sim:cmd", SimCmd, ("s12",), ("s10",))
SIM_RESULT = Stream("sim:result", SimResult, ("s10",), ("s12",))
CFG_EVENTS = Stream("cfg:events", CfgEvent, ("s10",), ALL, broadcast=True)
HEALTH_EVENTS = Stream("health:events", HealthEvent, ("s11",), ("s3", "s4", "s6", "s12"), broadcast=True)
ALERTS = Stream("alerts", AlertEvent, ALL, ("s11", "s12"))
ROUTER_EVENTS = Stream("router:events", RouterEvent, ("s4",), ("s11", "s12"))
TREASURY_TRANSFERS = Stream("treasury:transfers", TransferEvent, ("s1",), ("s6", "s12"))
OPS_EVENTS = Stream("ops:events", AuditEvent, ALL, ("s11", "s12"))
METRICS_EVENTS = Stream("metrics:events:<service>", MetricEvent, ALL, ("s11",))

STREAMS: dict[str, Stream] = {
    stream.pattern: stream
    for stream in (
        MKT_TICKER,
        MKT_DEPTH,
        MKT_KLINE,
        MKT_FUNDING,
        ACCT_EVENTS,
        FEAT_EVENTS,
        SIG_EVENTS,
        ORD_CMD,
        ORD_RESULT,
        POS_EVENTS,
        RECON_CMD,
        RECON_RESULT,
        LABEL_CMD,
        LABEL_RESULT,
        LABEL_READY,
        AUTOPSY_CMD,
        AUTOPSY_RESULT,
        SIM_CMD,
        SIM_RESULT,
        CFG_EVENTS,
        HEALTH_EVENTS,
        ALERTS,
        ROUTER_EVENTS,
        TREASURY_TRANSFERS,
        OPS_EVENTS,
        METRICS_EVENTS,
    )
}
"""By pattern, in the order of CONTRACTS 1.3."""


def maxlen_of(name: str) -> int:
    """The approximate bound of a stream by its full name; dead letters and foreign streams get the common one."""
    rest = name.partition(":")[2]
    if not rest.endswith(dlq("")):
        for stream in STREAMS.values():
            if rest.startswith(stream.base):
                return stream.maxlen
    return MAXLEN_OTHER


def dlq(stream: str) -> str:
    """The dead-letter stream of a stream, by full name."""
    return f"{stream}:dlq"


def group(service: str) -> str:
    """The consumer group under which a service reads."""
    return services.group(service)
