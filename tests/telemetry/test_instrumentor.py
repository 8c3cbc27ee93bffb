"""Telemetry is switched on and off as OpenTelemetry's own instrumentations are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tryage import Router
from tryage.errors import InputError, MissingExtraError
from tryage.telemetry import TryageInstrumentor, instrument, uninstrument
from tryage.telemetry.observer import TELEMETRY
from tryage.testing import FixedPerception

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def router():
    return Router(FixedPerception({"small": 0.2, "big": 0.1}))


def test_a_decision_is_traced_only_while_telemetry_is_on(telemetry, router):
    router.route("Hello")
    uninstrument()
    router.route("Hello")
    assert len(telemetry.spans("route tryage")) == 1


def test_instrumenting_twice_counts_each_decision_once(telemetry, router):
    instrument(telemetry.tracer_provider, telemetry.meter_provider)
    router.route("Hello")
    assert len(telemetry.spans("route tryage")) == 1
    assert telemetry.values("tryage.decisions") == {("big", "best"): 1}


def test_a_second_call_replaces_the_providers(telemetry, router):
    from opentelemetry.trace import NoOpTracerProvider

    instrument(NoOpTracerProvider(), telemetry.meter_provider)
    router.route("Hello")
    assert telemetry.spans() == []


def test_the_command_of_opentelemetry_finds_the_instrumentor_and_gives_it_providers(
    telemetry, router
):
    lines = (ROOT / "pyproject.toml").read_text("utf-8")
    assert (
        "[project.entry-points.opentelemetry_instrumentor]\n"
        'tryage = "tryage.telemetry.instrumentor:TryageInstrumentor"\n'
    ) in lines
    uninstrument()
    instrumentor = TryageInstrumentor()
    instrumentor.instrument(
        tracer_provider=telemetry.tracer_provider,
        meter_provider=telemetry.meter_provider,
        skip_dep_check=True,
    )
    router.route("Hello")
    instrumentor.uninstrument()
    assert len(telemetry.spans("route tryage")) == 1
    assert TELEMETRY.observer is None


def test_a_missing_package_is_named_with_the_extra_that_has_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    with pytest.raises(MissingExtraError, match=r"tryage\[otel\]"):
        instrument()


@pytest.mark.parametrize("name", ["tracer_provider", "meter_provider"])
def test_what_is_no_provider_is_an_error_that_says_so(name):
    with pytest.raises(InputError, match=f"{name} is a str; expected a (Tracer|Meter)Provider"):
        instrument(**{name: "http://127.0.0.1:4318"})
