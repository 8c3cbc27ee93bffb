"""The observer that writes spans and metrics with the API of OpenTelemetry."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tryage.telemetry.observer import Observer
from tryage.telemetry.spans import (
    CallSpans,
    trace_decisions,
    trace_failed_decision,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.trace import Tracer

    from tryage.core.decision import Decision
    from tryage.telemetry.metrics import Metrics
    from tryage.telemetry.observer import CallFacts, CallObserver

_NANOSECONDS = 1_000_000_000


class Recorder(Observer):
    """Writes what it is told as spans of a tracer, and into metrics.

    `providers` are those of both, which may have a method `force_flush`: the SDK's do.
    """

    def __init__(self, tracer: Tracer, metrics: Metrics, providers: Sequence[object] = ()) -> None:
        self._tracer, self._metrics, self._providers = tracer, metrics, providers

    def measure(self, decide: Callable[[], list[Decision]]) -> list[Decision]:
        """Measure how long decisions take, count them, and note the time in each."""
        started, clock = time.time_ns(), time.perf_counter_ns()
        try:
            decisions = decide()
        except Exception as error:
            seconds = (time.perf_counter_ns() - clock) / _NANOSECONDS
            self._metrics.add_failed_decision(error, seconds)
            raise
        duration = time.perf_counter_ns() - clock
        if decisions:
            self._metrics.add_decisions(decisions, duration / _NANOSECONDS)
        return [replace(one, timing=(started, started + duration)) for one in decisions]

    def trace(self, decisions: Sequence[Decision]) -> None:
        """Write their span."""
        trace_decisions(self._tracer, list(decisions))

    def trace_failure(self, error: BaseException) -> None:
        """Write the span of a decision that was not possible."""
        trace_failed_decision(self._tracer, error)

    def begin_call(self, facts: CallFacts) -> CallObserver:
        """Return the spans of a call."""
        return CallSpans(self._tracer, self._metrics, facts)

    def recover(self, expert: str) -> None:
        """End the cool-down of an expert."""
        self._metrics.end_cool_down(expert)

    def alarm(self, kind: str, expert: str | None, direction: str | None) -> None:
        """Count an alarm."""
        self._metrics.add_alarm(kind, expert, direction)

    def flush(self, seconds: float = 5.0) -> None:
        """Export the spans and metrics that wait, all at the same time."""
        end = time.monotonic() + seconds
        threads = [_start_flush(provider, seconds) for provider in self._providers]
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0.0))


def _start_flush(provider: object, seconds: float) -> threading.Thread:
    """Export what waits at a provider, in a thread: exporters wait longer than they are told."""
    flush = getattr(provider, "force_flush", None)  # the API has no such method
    run = partial(flush, round(seconds * 1_000)) if flush is not None else None
    thread = threading.Thread(target=run, name="tryage-telemetry", daemon=True)
    thread.start()
    return thread
