"""Names of OpenTelemetry's conventions, labels with few values, and errors without their words."""

from __future__ import annotations

import json

import pytest

from tryage.telemetry import conventions
from tryage.telemetry.conventions import OTHER, LabelValues, decision_reason, error_type


def test_every_name_of_generative_ai_is_one_of_opentelemetrys_conventions():
    module = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    known = {value for key, value in vars(module).items() if key.startswith("GEN_AI_")}
    if "gen_ai.response.time_to_first_chunk" not in known:
        pytest.skip("these conventions are older than ours")
    ours = {value for value in vars(conventions).values() if str(value).startswith("gen_ai.")}
    assert ours
    assert ours <= known


def test_a_label_has_at_most_so_many_values_and_the_later_ones_share_one():
    label = LabelValues(2)
    assert [label(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]


def test_the_type_of_an_error_has_its_module_and_none_of_its_words():
    error = json.JSONDecodeError("what the user asked", "the answer", 0)
    assert error_type(error) == "json.decoder.JSONDecodeError"
    assert error_type(TimeoutError("what the user asked")) == "TimeoutError"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [((True, False, True), "default"), ((False, True, False), "exploration"),
     ((False, False, True), "policy"), ((False, False, False), "best")],
)  # fmt: skip
def test_a_decision_has_one_of_four_reasons(facts, reason):
    names = ("default_used", "explored", "has_changes")
    assert decision_reason(**dict(zip(names, facts, strict=True))) == reason
