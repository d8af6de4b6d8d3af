"""Metrics appear under the contract's names, and a wrong name fails where it is written."""

from collections.abc import Callable

import pytest

from chimera.adapters.prometheus_metrics import PrometheusMetrics
from chimera.contracts.metrics import METRICS, MetricKind


def samples(metrics: PrometheusMetrics) -> dict[str, float]:
    lines = [line for line in metrics.render().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_what_was_counted_is_shown_under_the_contracts_name() -> None:
    metrics = PrometheusMetrics()
    metrics.count("intent_emit_ok")
    metrics.count("intent_emit_ok", 2)
    metrics.count("gate_skip_count", reason="SPREAD")
    metrics.count("fee_usdt_total", 0.25)
    metrics.gauge("rate_weight_used", 17, address="10.0.0.1")
    metrics.observe_ms("router_e2e_latency_ms", 700)

    shown = samples(metrics)

    assert shown["chimera_intent_emit_ok"] == 3
    assert shown['chimera_gate_skip_count{reason="SPREAD"}'] == 1
    assert shown["chimera_fee_usdt_total"] == 0.25
    assert shown['chimera_rate_weight_used{address="10.0.0.1"}'] == 17
    assert shown['chimera_router_e2e_latency_ms_bucket{le="500.0"}'] == 0
    assert shown['chimera_router_e2e_latency_ms_bucket{le="800.0"}'] == 1
    assert shown["chimera_router_e2e_latency_ms_count"] == 1


def test_every_declared_metric_is_shown_with_its_type_once_it_was_used() -> None:
    metrics = PrometheusMetrics()
    write = {
        MetricKind.COUNTER: metrics.count,
        MetricKind.GAUGE: metrics.gauge,
        MetricKind.HISTOGRAM: metrics.observe_ms,
    }
    for metric in METRICS.values():
        write[metric.kind](metric.name, 1, **dict.fromkeys(metric.labels, "x"))

    lines = metrics.render().splitlines()

    for metric in METRICS.values():
        assert f"# TYPE {metric.prometheus_name} {metric.kind.value}" in lines
        assert any(line.startswith(metric.prometheus_name) for line in lines)


def test_a_gauge_that_was_never_set_is_not_shown_as_0() -> None:
    metrics = PrometheusMetrics()
    before = metrics.render()
    metrics.gauge("maker_fill_ratio", 0)

    assert "maker_fill_ratio" not in before
    assert samples(metrics)["chimera_maker_fill_ratio"] == 0


def test_a_label_may_hold_anything() -> None:
    metrics = PrometheusMetrics()
    metrics.count("rules_fired_count", rule='a "b" \\ c\nd')

    assert r'chimera_rules_fired_count{rule="a \"b\" \\ c\nd"} 1.0' in metrics.render().splitlines()


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda metrics: metrics.count("no_such_metric"), id="unknown name"),
        pytest.param(lambda metrics: metrics.gauge("intent_emit_ok", 1), id="another kind"),
        pytest.param(lambda metrics: metrics.count("gate_skip_count"), id="a label is missing"),
        pytest.param(lambda metrics: metrics.count("intent_emit_ok", symbol="BTC"), id="a label too many"),
    ],
)
def test_a_wrong_use_fails_at_once(use: Callable[[PrometheusMetrics], None]) -> None:
    with pytest.raises(ValueError, match="metric"):
        use(PrometheusMetrics())
