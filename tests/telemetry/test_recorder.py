"""What a router alone shows: a span for each decision, and metrics of all."""

from __future__ import annotations

import threading

import pytest

from tryage import Expert, Library, Preferences, Router
from tryage.errors import NoExpertError
from tryage.policies import Threshold
from tryage.telemetry.metrics import Metrics
from tryage.telemetry.observer import TELEMETRY
from tryage.telemetry.recorder import Recorder
from tryage.testing import FixedPerception, FixedPolicy


@pytest.fixture
def router():
    library = Library(
        [
            Expert("small", input_price=1, output_price=1, context_length=100),
            Expert("big", input_price=10, output_price=10, context_length=1_000),
        ]
    )
    return Router(FixedPerception({"small": 0.3, "big": 0.1}), library, preferences="best")


def test_a_decision_is_a_span_with_what_was_chosen_and_why(telemetry, router):
    decision = router.route("Hello", Preferences(min_context=50, answer_value=2.0))
    (span,) = telemetry.spans("route tryage")
    attributes = dict(span.attributes)
    assert attributes.pop("tryage.decision.duration") > 0
    assert attributes.pop("tryage.decision.predicted_loss") == pytest.approx(0.1)
    assert attributes.pop("tryage.decision.confidence") == pytest.approx(decision.confidence)
    assert attributes.pop("tryage.cost.expected") == pytest.approx(decision.chosen.cost)
    assert attributes == {
        "gen_ai.operation.name": "route",
        "gen_ai.request.model": "big",
        "tryage.decision.id": decision.id,
        "tryage.decision.prompts": 1,
        "tryage.decision.candidates": 2,
        "tryage.decision.eligible": 2,
        "tryage.decision.reason": "best",
        "tryage.decision.answer_value": 2.0,
        "tryage.decision.requirements": ("context_length",),
    }


def test_the_span_lasts_as_long_as_the_decision_and_belongs_to_the_caller(telemetry, router):
    with telemetry.caller() as caller:
        decision = router.route("Hello")
    (span,) = telemetry.spans("route tryage")
    assert (span.start_time, span.end_time) == decision.timing
    assert span.parent.span_id == caller.get_span_context().span_id


def test_what_is_unknown_is_no_attribute(telemetry):
    Router(FixedPerception({"only": 0.1})).route("Hello")
    (span,) = telemetry.spans("route tryage")
    assert not {"tryage.cost.expected", "tryage.decision.typicality"} & set(span.attributes)


def test_a_batch_is_one_span_and_counts_each_decision(telemetry, router):
    router.route_batch(["a", "b", "c"])
    (span,) = telemetry.spans("route tryage")
    assert span.attributes["tryage.decision.prompts"] == 3
    assert telemetry.values("tryage.decisions") == {("big", "best"): 3}
    assert telemetry.values("tryage.decision.duration") == {(): 1}


def test_an_empty_batch_shows_nothing(telemetry, router):
    assert router.route_batch([]) == []
    assert telemetry.spans() == []
    assert telemetry.values("tryage.decision.duration") == {}


def test_policies_are_named_without_their_reasons(telemetry, router):
    router.with_policy(FixedPolicy("small")).route("Hello")
    (span,) = telemetry.spans("route tryage")
    assert span.attributes["tryage.decision.policies"] == ("FixedPolicy",)
    assert span.attributes["tryage.decision.reason"] == "policy"
    assert span.attributes["gen_ai.request.model"] == "small"


def test_no_possible_choice_is_a_span_with_the_type_of_the_error_alone(telemetry, router):
    with pytest.raises(NoExpertError):
        router.route("canary-prompt", Preferences(min_context=5_000))
    (span,) = telemetry.spans("route tryage")
    assert span.attributes["error.type"] == "tryage.errors.NoExpertError"
    assert span.status.status_code.name == "ERROR"
    assert span.status.description is None
    assert not span.events
    assert telemetry.values("tryage.decision.duration") == {("tryage.errors.NoExpertError",): 1}


def test_decisions_of_other_code_are_not_counted(telemetry, router):
    router.with_policy(Threshold(weak="small", strong="big", threshold=0.5)).decide_batch(["Hello"])
    assert telemetry.spans() == []
    assert telemetry.values("tryage.decisions") == {}


def test_alarms_are_counted_by_model_and_direction(telemetry):
    TELEMETRY.observer.alarm("drift", "big", "worse")
    TELEMETRY.observer.alarm("rollback", None, None)
    assert telemetry.values("tryage.drift.alarms") == {("big", "worse"): 1, ("rollback",): 1}


class SlowProvider:
    """Exports to a collector that does not answer, for longer than it is told."""

    def __init__(self, name, exported, is_over):
        self.name, self.exported, self.is_over = name, exported, is_over

    def force_flush(self, _):
        self.is_over.wait(10)
        self.exported.append(self.name)


def test_the_end_of_a_process_does_not_wait_for_a_collector_that_does_not_answer(telemetry):
    exported, is_over, at_once = [], threading.Event(), threading.Event()
    at_once.set()
    providers = (
        SlowProvider("slow", exported, is_over),
        object(),
        SlowProvider("quick", exported, at_once),
    )
    metrics = Metrics(telemetry.meter_provider.get_meter("test"))
    Recorder(telemetry.tracer_provider.get_tracer("test"), metrics, providers).flush(0.2)
    assert exported == ["quick"]
    is_over.set()
