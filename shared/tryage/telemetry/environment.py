"""Set up OpenTelemetry's SDK as its environment variables say, for programs of our own."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.telemetry.conventions import SCOPE
from tryage.telemetry.instrumentor import instrument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource

Signal = Literal["TRACES", "METRICS"]

_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


def instrument_from_environment(
    environment: Mapping[str, str] = os.environ, *, prometheus: bool = False
) -> bool:
    """Export what the environment asks for, and tell whether it asks for anything.

    The variables are OpenTelemetry's: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_EXPORTER`,
    `OTEL_METRICS_EXPORTER`, `OTEL_SDK_DISABLED`, and those that its SDK reads itself, such as
    `OTEL_SERVICE_NAME`. Providers that are set already, as by `opentelemetry-instrument`, stay.

    Args:
        environment: The variables.
        prometheus: Whether metrics are also kept for Prometheus, in the registry of its client.

    Raises:
        InputError: an exporter is unknown, or its package is missing; or metrics for Prometheus are
            asked for where the process exports metrics already.
        MissingExtraError: the packages of the extra "otel" are missing.
    """
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    traces = [] if is_disabled else exporter_names("TRACES", environment)
    metrics = [] if is_disabled else exporter_names("METRICS", environment)
    if not (traces or metrics or prometheus):
        return False
    require_extra("opentelemetry.sdk", "otel")
    resource = _resource(environment)
    if traces and not _is_set("trace"):
        _export_traces(traces, environment, resource)
    if prometheus and _is_set("metrics"):
        raise InputError(
            "This process exports metrics already, so --metrics cannot. Set "
            "OTEL_METRICS_EXPORTER=prometheus instead, or start without opentelemetry-instrument."
        )
    if (metrics or prometheus) and not _is_set("metrics"):
        _export_metrics(metrics, environment, resource, prometheus=prometheus)
    instrument()
    return True


def exporter_names(signal: Signal, environment: Mapping[str, str]) -> list[str]:
    """Return the exporters of a signal; with only an address, that of OTLP."""
    value = environment.get(f"OTEL_{signal}_EXPORTER")
    if value is None:
        keys = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
        return ["otlp"] if any(environment.get(key) for key in keys) else []
    names = [name.strip() for name in value.split(",")]
    return [name for name in names if name and name != "none"]


def _export_traces(names: list[str], environment: Mapping[str, str], resource: Resource) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource)
    for name in names:
        exporter = _load("TRACES", name, environment)
        provider.add_span_processor(BatchSpanProcessor(exporter()))
    trace.set_tracer_provider(provider)


def _export_metrics(
    names: list[str], environment: Mapping[str, str], resource: Resource, *, prometheus: bool
) -> None:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider

    readers = [_reader(_load("METRICS", name, environment)) for name in names]
    if prometheus:
        require_extra("opentelemetry.exporter.prometheus", "otel")
        from opentelemetry.exporter.prometheus import PrometheusMetricReader

        readers.append(PrometheusMetricReader())
    metrics.set_meter_provider(MeterProvider(readers, resource))


def _reader(exporter: Any) -> MetricReader:  # noqa: ANN401 - a class of any package
    """Return a reader; some entry points are readers themselves."""
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

    made = exporter()
    return made if isinstance(made, MetricReader) else PeriodicExportingMetricReader(made)


def _load(signal: Signal, name: str, environment: Mapping[str, str]) -> Any:  # noqa: ANN401 - a class of any package
    """Return the class of an exporter, which a package names as an entry point.

    Raises:
        InputError: none does.
    """
    if name == "otlp":
        name = _otlp_name(signal, environment)
    group = f"opentelemetry_{signal.lower()}_exporter"
    for found in entry_points(group=group, name=name):
        return found.load()
    known = sorted({one.name for one in entry_points(group=group)})
    raise InputError(
        f"The exporter {name!r} of OTEL_{signal}_EXPORTER is not installed. Install its package, "
        f"such as opentelemetry-exporter-{name.replace('_', '-')}, or choose one of "
        f"{', '.join(known) or 'none'}."
    )


def _otlp_name(signal: Signal, environment: Mapping[str, str]) -> str:
    """Return the entry point of OTLP in the protocol that the environment names, or over HTTP.

    Raises:
        InputError: the protocol is unknown.
    """
    common = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    protocol = environment.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", common)
    if protocol not in _PROTOCOLS:
        raise InputError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; expected one of {', '.join(_PROTOCOLS)}."
        )
    return _PROTOCOLS[protocol]


def _resource(environment: Mapping[str, str]) -> Resource:
    """Return what is traced; the service is called tryage unless it has a name."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    named = environment.get("OTEL_SERVICE_NAME") or f"{SERVICE_NAME}=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Resource.create({} if named else {SERVICE_NAME: SCOPE})


def _is_set(signal: Literal["trace", "metrics"]) -> bool:
    """Tell whether the process has a provider of the SDK, as from `opentelemetry-instrument`."""
    if signal == "trace":
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider

        return isinstance(trace.get_tracer_provider(), TracerProvider)
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider

    return isinstance(metrics.get_meter_provider(), MeterProvider)
