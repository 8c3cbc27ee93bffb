"""The faults of a soak are known beforehand: by the marker of a request, and by the clock."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROBUSTNESS = Path(__file__).resolve().parents[3] / "benchmarks" / "robustness"


@pytest.fixture
def faults(monkeypatch):
    monkeypatch.syspath_prepend(str(ROBUSTNESS))
    return importlib.import_module("soak_faults")


def test_a_model_fails_in_its_share_of_the_requests_and_in_every_way(faults):
    model = faults.MODELS[0]
    drawn = [faults.own_fault(faults.make_marker("x", i), model) for i in range(20_000)]
    failed = [one for one in drawn if one is not None]
    assert abs(len(failed) / len(drawn) - faults.FAULT_SHARES[model]) < 0.01
    assert {*failed} == {*faults.FAULTS}


def test_the_same_request_fails_in_the_same_way_each_time(faults):
    plan = faults.FaultPlan(600.0)
    marker = faults.make_marker("x", 7)
    first = [plan.fault(marker, model, 1.0) for model in faults.MODELS]
    assert first == [plan.fault(marker, model, 601.0) for model in faults.MODELS]


def test_an_outage_comes_again_in_each_period_and_spares_the_others(faults):
    plan, down, well = faults.FaultPlan(600.0), faults.MODELS[0], faults.MODELS[1]
    for start in (60.0, 660.0):
        assert plan.outage(down, start).fault == "status 500"
        assert plan.outage(well, start) is None
        assert plan.outage(down, start - 0.1) is None
    assert all(plan.fault("any", model, 485.0) == "status 500" for model in faults.MODELS)


def test_the_last_marker_of_a_text_is_that_of_its_request(faults):
    earlier, marker = faults.make_marker("x", 1), faults.make_marker("x", 2)
    assert faults.last_marker(f"{earlier} and {marker}.") == marker
    assert faults.last_marker("m12 and no more") is None
