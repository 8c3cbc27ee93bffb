"""Telemetry in memory: what OpenTelemetry would have exported while a test ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tryage.core.validation import require_extra
from tryage.telemetry.instrumentor import instrument, uninstrument

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span
    from typing_extensions import Self


class MemoryTelemetry:
    """Spans and metrics of everything that runs within `with MemoryTelemetry() as telemetry`.

    `tracer_provider` and `meter_provider` are those that export into memory.

    Raises:
        MissingExtraError: opentelemetry-sdk is not installed.
    """

    def __init__(self) -> None:
        require_extra("opentelemetry.sdk", "otel")
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def __enter__(self) -> Self:
        """Begin to write."""
        instrument(self.tracer_provider, self.meter_provider)
        return self

    def __exit__(self, *_: object) -> None:
        """Write no more."""
        uninstrument()

    def spans(self, name: str | None = None) -> Sequence[ReadableSpan]:
        """Return the spans that have ended, in the order of their ends, or those of a name."""
        found = self._exporter.get_finished_spans()
        return [span for span in found if name in (None, span.name)]

    def caller(self, name: str = "caller") -> AbstractContextManager[Span]:
        """Return the span of a caller, to be entered."""
        return self.tracer_provider.get_tracer(__name__).start_as_current_span(name)

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the values of a metric by those of its attributes, of a histogram the counts.

        The attributes are in the order of their names.
        """
        data: Any = self._reader.get_metrics_data()
        resources = data.resource_metrics if data else ()
        scopes = (scope for resource in resources for scope in resource.scope_metrics)
        metrics = (metric for scope in scopes for metric in scope.metrics if metric.name == name)
        points = (point for metric in metrics for point in metric.data.data_points)
        return {_labels(point): _value(point) for point in points}

    def metrics_json(self) -> str:
        """Return all metrics as JSON."""
        data = self._reader.get_metrics_data()
        return "{}" if data is None else data.to_json()


def _labels(point: Any) -> tuple[str, ...]:  # noqa: ANN401 - of a sum, a gauge or a histogram
    return tuple(str(value) for _, value in sorted(point.attributes.items()))


def _value(point: Any) -> float:  # noqa: ANN401 - as above
    value: float = point.value if hasattr(point, "value") else point.count
    return value
