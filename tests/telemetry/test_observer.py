"""Without telemetry nothing is wrapped, timed or loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tryage import Router
from tryage.telemetry.observer import IGNORED_CALL, TELEMETRY, Observer, traced, tracing_failures
from tryage.testing import FixedPerception


@pytest.fixture
def router():
    return Router(FixedPerception({"small": 0.2, "big": 0.1}))


def test_without_telemetry_a_call_is_the_function_itself():
    def call(client, record): ...

    assert TELEMETRY.observer is None
    assert IGNORED_CALL.traced(call, str, bool) is call


def test_without_telemetry_a_decision_has_no_times(router):
    assert router.route("Hello").timing is None


def test_routing_without_telemetry_loads_nothing_of_opentelemetry():
    code = (
        "import sys\nfrom tryage import Router\nfrom tryage.testing import FixedPerception\n"
        "Router(FixedPerception({'a': .1})).route('Hello')\n"
        "sys.exit(any(name.partition('.')[0] == 'opentelemetry' for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code


def test_an_observer_that_defines_nothing_changes_nothing(router):
    (decision,) = traced(lambda: router.decide_batch(["Hello"]), Observer())
    assert decision.expert.name == "big"
    assert Observer().begin_call(None) is IGNORED_CALL


def test_an_error_of_planning_is_told_and_raised(monkeypatch):
    class Told(Observer):
        errors = ()

        def trace_failure(self, error):
            self.errors = (*self.errors, error)

    told, error = Told(), ValueError("no")
    monkeypatch.setattr(TELEMETRY, "observer", told)
    with pytest.raises(ValueError, match="no"), tracing_failures():
        raise error
    assert told.errors == (error,)
