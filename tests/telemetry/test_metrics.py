"""What is counted of calls: dollars, savings, tokens, failures and cool-downs."""

from __future__ import annotations

import pytest

pytest.importorskip("opentelemetry.sdk")

from tryage.telemetry.conventions import MAX_VALUES
from tryage.telemetry.metrics import Metrics
from tryage.telemetry.observer import TokenCounts


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def metrics(telemetry, clock):
    return Metrics(telemetry.meter_provider.get_meter("another"), clock)


def record(model="small", **costs):
    return {"model": model, "how": "routed", "cost": {"expected": 0.5, **costs}}


def test_savings_are_what_the_best_single_model_would_have_cost_less_the_bill(telemetry, metrics):
    metrics.add_call(record(billed=1.0, best_single=4.0), None)
    metrics.add_call(record(billed=3.0, best_single=2.0), None)
    assert telemetry.values("tryage.savings") == {(): 2.0}
    assert telemetry.values("tryage.cost.billed") == {("small",): 4.0}
    assert telemetry.values("tryage.cost.best_single") == {("small",): 6.0}
    assert telemetry.values("tryage.cost.expected") == {("small",): 1.0}


def test_a_bill_that_is_unknown_is_in_no_sum(telemetry, metrics):
    metrics.add_call(record(billed=None, best_single=None), None)
    assert telemetry.values("tryage.cost.unknown") == {("small",): 1}
    assert telemetry.values("tryage.cost.billed") == {}
    assert telemetry.values("tryage.savings") == {}


def test_the_attempts_of_a_failed_call_are_billed_and_save_nothing(telemetry, metrics):
    metrics.add_failed_call("big", "routed", TimeoutError(), 2.0)
    assert telemetry.values("tryage.savings") == {(): -2.0}
    assert telemetry.values("tryage.cost.billed") == {("big",): 2.0}
    assert telemetry.values("tryage.calls") == {("TimeoutError", "big", "routed"): 1}


def test_a_cool_down_is_open_until_its_end_or_until_the_model_answers(telemetry, metrics, clock):
    metrics.add_cool_down("a", 10.0)
    metrics.add_cool_down("b", 10.0)
    assert telemetry.values("tryage.cool_downs.open") == {("a",): 1, ("b",): 1}
    metrics.end_cool_down("a")
    metrics.end_cool_down("never failed")
    assert telemetry.values("tryage.cool_downs.open") == {("a",): 0, ("b",): 1}
    clock.now = 11.0
    assert telemetry.values("tryage.cool_downs.open") == {("a",): 0, ("b",): 0}
    assert telemetry.values("tryage.cool_downs") == {("a",): 1, ("b",): 1}


def test_the_tokens_of_an_answer_are_counted_by_kind(telemetry, metrics):
    usage = TokenCounts(input=30.0, output=5.0, cached=10.0)
    metrics.add_attempt("a", "openai", 0.5, seconds_to_first_chunk=None, usage=usage, error=None)
    key = ("chat", "openai", "a")
    assert telemetry.values("gen_ai.client.token.usage") == {
        (*key, "input"): 1,
        (*key, "output"): 1,
    }
    assert telemetry.values("gen_ai.client.operation.duration") == {key: 1}
    assert telemetry.values("gen_ai.client.operation.time_to_first_chunk") == {}


def test_of_many_models_the_later_ones_share_one_series(telemetry, metrics):
    for i in range(MAX_VALUES + 5):
        metrics.add_call(record(f"model {i}", billed=1.0, best_single=1.0), None)
    values = telemetry.values("tryage.calls")
    assert len(values) == MAX_VALUES + 1
    assert values["_OTHER", "routed"] == 5
