"""Telemetry in memory begins and ends with its block."""

from __future__ import annotations

import pytest

pytest.importorskip("opentelemetry.sdk")

from tryage import Router
from tryage.testing import FixedPerception, MemoryTelemetry


def test_what_runs_within_the_block_is_kept_in_memory():
    router = Router(FixedPerception({"small": 0.2, "big": 0.1}))
    with MemoryTelemetry() as telemetry:
        assert telemetry.values("tryage.decisions") == {}
        assert telemetry.metrics_json() == "{}"
        with telemetry.caller("request"):
            router.route("Hello")
    router.route("Goodbye")
    assert [span.name for span in telemetry.spans()] == ["route tryage", "request"]
    assert telemetry.values("tryage.decisions") == {("big", "best"): 1}
    assert telemetry.values("tryage.decision.duration") == {(): 1}
    assert "tryage.decisions" in telemetry.metrics_json()
