"""What came of a request is one word, and whatever is not expected is a fault."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROBUSTNESS = Path(__file__).resolve().parents[3] / "benchmarks" / "robustness"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(ROBUSTNESS))
    return importlib.import_module("soak_load")


@pytest.fixture
def request_one(load):
    return load.Request("x", 1, "Say it.")


def outcome(load, request, *pieces, error=None, failures=(), **fields):
    reply = load.Reply(list(pieces), **fields)
    return load.outcome_of(request, reply, error, failures)


def test_an_answer_is_of_the_chosen_model_or_of_the_next(load, request_one):
    words = f"{request_one.marker} by gpt end"
    assert outcome(load, request_one, words) == "first"
    assert outcome(load, request_one, words, record={"failed": {"gpt": "why"}}) == "next"
    assert outcome(load, request_one, words, record={"cooling_down": ["gpt"]}) == "next"


def test_a_failure_has_the_reason_of_each_model_or_is_a_fault(load, request_one):
    error = RuntimeError("down")
    assert outcome(load, request_one, error=error, failures={"gpt": "X"}) == "failed"
    assert outcome(load, request_one, error=error, failures={}) == "fault"
    assert outcome(load, request_one, error=error) == "fault"


def test_a_stream_that_breaks_off_is_cut_and_one_that_ends_too_soon_is_a_fault(load, request_one):
    marker = request_one.marker
    assert outcome(load, request_one, marker, error=ConnectionError("gone")) == "cut"
    assert outcome(load, request_one, marker) == "fault"


def test_a_word_of_another_request_is_a_fault(load, request_one):
    other = load.Request("x", 2, "Say it.").marker
    words = f"{request_one.marker} {other} by gpt end"
    assert outcome(load, request_one, words) == "fault"
    assert outcome(load, request_one, words, error=ConnectionError("gone")) == "fault"


def test_the_ways_are_used_by_their_weights(load):
    markers = [load.make_marker("x", i) for i in range(4_000)]
    ways = [load.way_of({"a": 3.0, "b": 1.0}, marker) for marker in markers]
    assert abs(ways.count("a") / len(ways) - 0.75) < 0.03
