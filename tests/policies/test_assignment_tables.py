"""The tables that an assignment is computed from are what the router predicts."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Preferences, Router
from tryage.core.library import Library
from tryage.policies import assignment_tables
from tryage.policies.assignment_tables import predict_tables
from tryage.testing import FunctionPerception

NAMES = ("small", "medium", "large")
PROMPTS = [letter * n for n in range(1, 8) for letter in "abc"]


@pytest.fixture
def router():
    perception = FunctionPerception(NAMES, lambda text: [0.1, 0.02 * len(text), ord(text[0]) / 200])
    return Router(
        perception, Library.from_columns(NAMES, input_price=[1, 2, 3], output_price=[4, 5, 6])
    )


def test_the_rows_are_those_of_the_prompts_in_chunks_and_with_different_preferences(
    router, monkeypatch
):
    monkeypatch.setattr(assignment_tables, "_CHUNK", 4)
    preferences = [Preferences(only=[NAMES[i % 2]]) for i in range(len(PROMPTS))]
    done = []
    tables = predict_tables(router, PROMPTS, preferences, done.append)
    assert done == [4, 8, 12, 16, 20, 21]
    for i, prompt in enumerate(PROMPTS):
        decision = router.route(prompt)
        for j, name in enumerate(NAMES):
            entry = decision.ranking.entry(name)
            assert tables.losses[i, j] == pytest.approx(entry.predicted_loss)
            assert tables.costs[i, j] == pytest.approx(entry.cost, rel=1e-5)
        assert tables.allowed[i].tolist() == [i % 2 == 0, i % 2 == 1, False]
    assert tables.has_costs


def test_the_default_answers_where_no_expert_may(router):
    router = Router(router.perception, router.library, default="small", default_exempt=True)
    tables = predict_tables(router, PROMPTS, Preferences(min_context=9))
    assert tables.allowed.tolist() == [[True, False, False]] * len(PROMPTS)
    assert np.isfinite(tables.losses[:, 0]).all()


def test_nothing_is_recorded(router):
    before = router.policy
    predict_tables(router, PROMPTS)
    assert router.policy is before
