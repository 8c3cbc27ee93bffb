"""Logs of traffic, records to put into them, and rows of a log about a small perception."""

from __future__ import annotations

import dataclasses
import gc

import numpy as np
import pytest

from tryage.core.policy_change import PolicyChange
from tryage.traffic.records import DecisionRecord, Feedback, LoggedFeedback, Outcome


@pytest.fixture
def small_heap():
    """Let collections look only at what the test makes: all that others left takes seconds."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def url(tmp_path):
    """The URL of a log in an empty folder."""
    return f"sqlite:///{tmp_path}/tryage.db"


@pytest.fixture
def open_log():
    """Open a log, which the end of the test closes."""
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("alembic")
    from tryage.traffic.traffic import Traffic

    opened = []

    def make(url, **settings):
        opened.append(Traffic(url, **{"flush_interval": 0.01} | settings))
        return opened[-1]

    yield make
    for log in opened:
        log.close(1.0)


@pytest.fixture
def log(open_log, url):
    return open_log(url)


@pytest.fixture
def decision():
    """Make a decision between two experts, with a value in every field."""

    def make(name="d1", time=1_000.0, **fields):
        values = {
            "router": "r" * 16,
            "chosen": "a",
            "propensity": 0.9,
            "candidates": ("a", "b"),
            "losses": (0.1, 0.2),
            "stds": (0.05, None),
            "totals": (0.1, 0.3),
            "costs": (None, 0.25),
            "propensities": (0.9, 0.1),
            "cost_terms": (0.0, 0.1),
            "tolerance": 0.02,
            "position": np.array([0.5, -1.0, 3.25], dtype=np.float32),
            "kind": "code",
            "typicality": 0.4,
            "prompt_tokens": 12.0,
            "is_default": True,
            "frozen_choice": "b",
            "shadow_choices": {"other": "b"},
            "arm": "new",
            "key": "thread-1",
            "tags": ("batch",),
            "changes": (PolicyChange("Budget", "dear", "b", "a"),),
            "prompt": "a prompt",
            "user_id": "user-1",
        }
        return DecisionRecord(name, time, **values | fields)

    return make


@pytest.fixture
def outcome():
    def make(name="d1", time=1_001.0, **fields):
        return Outcome(name, time, **{"served_by": "a", "latency": 1.5, "cost": 0.01} | fields)

    return make


@pytest.fixture
def feedback():
    def make(name="f1", decision_id="d1", time=1_002.0, score=1.0, **fields):
        return Feedback(name, decision_id, time, score, **fields)

    return make


@pytest.fixture
def plain():
    """Return a record as values that can be compared."""

    def convert(record):
        values = {one.name: getattr(record, one.name) for one in dataclasses.fields(record)}
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in values.items()
        }

    return convert


class Rows:
    """Makes rows of a log in order, each about a decision for one of a few prompts."""

    def __init__(self, perception, router=""):
        prompts = ["sum word1", "code word2", "poem word3", "law word4"]
        self.positions = perception.latent_positions(prompts).astype(np.float32)
        self.router = router
        self.sequence = 0

    def __call__(self, expert, score, kind="test", *, prompt=0, topic="sum", **decision):
        self.sequence += 1
        name = str(self.sequence)
        record = {"propensity": 1.0, "position": self.positions[prompt], "kind": topic} | decision
        return LoggedFeedback(
            self.sequence,
            Feedback(f"f{name}", f"d{name}", float(self.sequence), score, kind),
            expert,
            DecisionRecord(f"d{name}", float(self.sequence), self.router, expert, **record),
        )


@pytest.fixture
def rows(learned):
    return Rows(learned)
