"""The report of a soak tells growth from noise, and a client that was told what is not so."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

import numpy as np
import pytest

from tryage import Router
from tryage.testing import FunctionPerception
from tryage.traffic import process_health
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

ROBUSTNESS = Path(__file__).resolve().parents[3] / "benchmarks" / "robustness"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(ROBUSTNESS))
    return importlib.import_module("soak_report")


def line(marker, outcome="first", model="a", failed=None):
    found = {"marker": marker, "way": "x", "outcome": outcome, "model": model}
    return {**found, "failed": failed or {}}


def call(marker, model, did=None):
    return {"marker": marker, "model": model, "did": did}


def test_what_a_client_was_told_is_compared_with_what_the_models_did(report):
    calls = [call("1", "a"), call("2", "a", "hang"), call("2", "b"), call("9", "a")]
    told = [line("1"), line("2", "next", "b", {"a": "X"})]
    checks = report.check_requests(told, calls)
    assert (checks.served_without_answer, checks.blamed_without_fault) == (0, 0)
    assert checks.unowned_calls == 1  # nobody has sent request 9
    wrong = [line("1", model="b"), line("2", "next", "b", {"b": "X"})]
    checks = report.check_requests(wrong, calls)
    assert (checks.served_without_answer, checks.blamed_without_fault) == (1, 1)
    late = [line("1", "next", "a", {"b": "AttemptTimeoutError"})]
    checks = report.check_requests(late, calls)
    assert (checks.blamed_without_fault, checks.blamed_for_time) == (0, 1)


def test_a_slope_is_of_an_hour_and_peaks_do_not_move_it(report):
    times = np.arange(0, 3_600, 10.0)
    noise = np.random.default_rng(0).normal(size=len(times))
    grows, low, high = report.slope(times, 100 + times * 12 / 3_600 + noise)
    assert low < 12 < high
    assert abs(grows - 12) < 1
    peaks = np.where(times % 600 == 0, 500.0, 0.0)
    middle, low, high = report.slope(times, 100 + noise + peaks)
    assert low < 0 < high
    assert abs(middle) < 1


def test_cool_downs_are_read_from_the_words_of_the_log(report, caplog):
    caplog.set_level(logging.INFO, "tryage")
    models = {name: ScriptedChatModel(model=name) for name in ("a", "b")}
    models["a"].fails = [ConnectionError("down")]
    router = Router(FunctionPerception(["a", "b"], lambda _: [0.0, 1.0]))
    chat = ChatTryage.from_models(models, router=router)
    chat.invoke("Hello")
    chat.invoke("Hello", {"configurable": {"tryage_model": "a"}})
    process_health().clear()
    opened, closed = report.cool_downs({"message": text} for text in caplog.messages)
    assert (opened, closed) == ({"a": 1}, {"a": 1})
