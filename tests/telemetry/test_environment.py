"""The SDK is set up as OpenTelemetry's variables say; a collector gets spans and metrics."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("opentelemetry.sdk")

from tryage.errors import InputError
from tryage.telemetry import environment
from tryage.telemetry.environment import exporter_names, instrument_from_environment
from tryage.telemetry.observer import TELEMETRY
from tryage.testing.hub.http import FakeResponse, LoopbackServer

PROGRAM = """
from tryage import Router
from tryage.telemetry.environment import instrument_from_environment
from tryage.testing import FixedPerception

assert instrument_from_environment()
Router(FixedPerception({"small": 0.2, "big": 0.1})).route("canary-prompt")
"""


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4318/v1/metrics"}, []),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp"]),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, []),
    ],
)
def test_the_variables_name_the_exporters_of_spans(variables, names):
    assert exporter_names("TRACES", variables) == names


@pytest.mark.parametrize(
    "variables",
    [{}, {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}],
)
def test_nothing_is_switched_on_without_a_variable_that_asks_for_it(variables):
    assert not instrument_from_environment(variables)
    assert TELEMETRY.observer is None


def test_a_collector_gets_spans_and_metrics_in_its_own_protocol():
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    received = {}

    def collect(request):
        received[request.path] = request.body
        return FakeResponse(200, b"", {"Content-Type": "application/x-protobuf"})

    with LoopbackServer(collect) as collector:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        subprocess.run([sys.executable, "-c", PROGRAM], env=variables, check=True)  # noqa: S603 - our own code
    traces = ExportTraceServiceRequest.FromString(received["/v1/traces"])
    (resource,) = traces.resource_spans
    names = {one.key: one.value.string_value for one in resource.resource.attributes}
    (span,) = resource.scope_spans[0].spans
    assert (names["service.name"], span.name) == ("tryage", "route tryage")
    metrics = ExportMetricsServiceRequest.FromString(received["/v1/metrics"])
    (scope,) = metrics.resource_metrics[0].scope_metrics
    assert {"tryage.decisions", "tryage.decision.duration"} <= {one.name for one in scope.metrics}
    assert not any(b"canary" in body for body in received.values())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "The exporter 'zipkin' of OTEL_TRACES_EXPORTER is not",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'http/json'; expected one of http/protobuf, grpc",
        ),
    ],
)
def test_an_exporter_that_is_not_there_is_an_error_that_says_so(variables, message):
    with pytest.raises(InputError, match=message):
        instrument_from_environment(variables)
    assert TELEMETRY.observer is None


def test_metrics_for_prometheus_need_a_process_that_exports_none_yet(monkeypatch):
    monkeypatch.setattr(environment, "_is_set", lambda _: True)
    with pytest.raises(InputError, match="OTEL_METRICS_EXPORTER=prometheus instead"):
        instrument_from_environment({}, prometheus=True)


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "tryage"),
        ({"OTEL_SERVICE_NAME": "support"}, "support"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=chat,team=a"}, "chat"),
    ],
)
def test_the_service_is_called_tryage_unless_it_has_a_name(monkeypatch, variables, name):
    for key, text in variables.items():
        monkeypatch.setenv(key, text)
    assert environment._resource(variables).attributes["service.name"] == name
