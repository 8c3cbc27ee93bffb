"""Switch telemetry on and off, as the instrumentations of OpenTelemetry do."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.telemetry.conventions import SCOPE
from tryage.telemetry.observer import TELEMETRY

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from tryage.telemetry.metrics import Metrics

# One set of instruments for each provider: a gauge that is made twice is reported twice.
_METRICS: WeakKeyDictionary[MeterProvider, Metrics] = WeakKeyDictionary()


def instrument(
    tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> None:
    """Write spans and metrics of all routers of this process from now on.

    Args:
        tracer_provider: What exports spans; None is the global one.
        meter_provider: What exports metrics; None is the global one.

    A second call replaces the providers. No attribute holds a prompt, an answer, a key or a user.

    Raises:
        InputError: a provider is of another type.
        MissingExtraError: opentelemetry-api is not installed.
    """
    require_extra("opentelemetry.metrics", "otel")
    from opentelemetry import metrics, trace

    from tryage.telemetry.recorder import Recorder

    tracers = trace.get_tracer_provider() if tracer_provider is None else tracer_provider
    meters = metrics.get_meter_provider() if meter_provider is None else meter_provider
    _check_provider("tracer_provider", tracers, trace.TracerProvider)
    _check_provider("meter_provider", meters, metrics.MeterProvider)
    tracer = tracers.get_tracer(SCOPE, version(SCOPE))
    TELEMETRY.observer = Recorder(tracer, _metrics_of(meters), (tracers, meters))


def _check_provider(name: str, provider: object, kind: type) -> None:
    if not isinstance(provider, kind):
        raise InputError(f"{name} is a {type(provider).__name__}; expected a {kind.__name__}.")


def uninstrument() -> None:
    """Write no more spans and metrics; calls that have begun end theirs."""
    TELEMETRY.observer = None


def _metrics_of(provider: MeterProvider) -> Metrics:
    """Return the instruments of a provider, made at the first call."""
    from tryage.telemetry.metrics import Metrics

    made = _METRICS.get(provider)
    if made is None:
        made = _METRICS[provider] = Metrics(provider.get_meter(SCOPE, version(SCOPE)))
    return made


class TryageInstrumentor:
    """What `opentelemetry-instrument` finds by the entry point of this package, and switches on."""

    def instrument(self, **settings: Any) -> None:  # noqa: ANN401 - what the command gives to all
        """Switch on, with the `tracer_provider` and the `meter_provider` if they are given."""
        instrument(settings.get("tracer_provider"), settings.get("meter_provider"))

    def uninstrument(self, **_: Any) -> None:  # noqa: ANN401 - as above
        """Switch off."""
        uninstrument()
