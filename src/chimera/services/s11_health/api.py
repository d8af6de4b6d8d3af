"""S11's calls."""

from chimera.contracts.http.health import AlertsAnswer, AlertsQuery, HealthStateAnswer
from chimera.runtime.service import Route
from chimera.services.s11_health.handlers.alerts import KeepAlerts
from chimera.services.s11_health.handlers.judge import Judge


def routes(alerts: KeepAlerts, judge: Judge) -> tuple[Route, ...]:
    return (
        Route(
            method="GET",
            path="/alerts",
            handle=alerts.list_alerts,
            summary="The newest alerts, repeats counted.",
            query=AlertsQuery,
            answer=AlertsAnswer,
            errors=(503,),
        ),
        Route(
            method="GET",
            path="/health/state",
            handle=judge.state,
            summary="The system's level, and what it is made of.",
            answer=HealthStateAnswer,
            errors=(503,),
        ),
    )
