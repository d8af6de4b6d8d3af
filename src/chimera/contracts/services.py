"""The twelve services: their ids, group names and titles.

Owns how a service is named on a stream, in a rule's `applies.services` and on the network. Knows nothing of what
a service does.
"""

from dataclasses import dataclass

CONTAINER_PORT = 8080
"""Every service listens here in a container, under its id as host name."""


@dataclass(frozen=True, slots=True)
class ServiceName:
    """`id` is s1 … s12, `group` the consumer group and long name, `title` what a page shows."""

    id: str
    group: str
    title: str


SERVICES: tuple[ServiceName, ...] = (
    ServiceName("s1", "s1-exchange", "Exchange connectors"),
    ServiceName("s2", "s2-features", "Feature generator"),
    ServiceName("s3", "s3-strategy", "Strategy engine"),
    ServiceName("s4", "s4-router", "Order router"),
    ServiceName("s5", "s5-reconciler", "Reconciler"),
    ServiceName("s6", "s6-positions", "Position manager"),
    ServiceName("s7", "s7-labels", "Label backfill"),
    ServiceName("s8", "s8-autopsy", "Autopsy generator"),
    ServiceName("s9", "s9-hypotheses", "Hypothesis orchestrator"),
    ServiceName("s10", "s10-config", "Config service"),
    ServiceName("s11", "s11-health", "Metrics and health"),
    ServiceName("s12", "s12-gateway", "Gateway and web page"),
)

BY_ID: dict[str, ServiceName] = {service.id: service for service in SERVICES}

IDS: tuple[str, ...] = tuple(BY_ID)

GROUPS: tuple[str, ...] = tuple(service.group for service in SERVICES)

LEGAL_NAMES: dict[str, str] = {name: service.id for service in SERVICES for name in (service.id, service.group)}
"""Every spelling that `applies.services` of a rule may use, and the id it means."""


def service_id(name: str) -> str:
    """Read `s3` or `s3-strategy` as `s3`.

    Raises:
        ValueError: the name is neither an id nor a group name.
    """
    if name not in LEGAL_NAMES:
        raise ValueError(f"service {name!r} is unknown; use one of {', '.join(LEGAL_NAMES)}")
    return LEGAL_NAMES[name]


def group(service: str) -> str:
    """The consumer group of a service, by id or group name."""
    return BY_ID[service_id(service)].group
