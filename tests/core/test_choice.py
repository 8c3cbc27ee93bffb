"""The expert that is chosen for all prompts at once is the first one of each ranking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tryage.core.choice import NO_EXPERT, choose_experts, first_by_keys
from tryage.core.constraints import DEFAULT_CONSTRAINTS
from tryage.core.costs import PromptCosts
from tryage.core.library import Library
from tryage.core.objective import compute_routing_loss
from tryage.core.preferences import Preferences
from tryage.core.ranking import Ranking
from tryage.core.request_batch import RequestBatch
from tryage.router import Router
from tryage.testing import FixedPerception


def priced_library(rng, n):
    """Return experts with few distinct prices, some unknown, so that many totals tie."""
    price = np.where(rng.random(n) < 0.2, np.nan, rng.integers(1, 4, n).astype(float))
    names = [f"m{i}" for i in range(n)]
    return Library.from_columns(names, input_price=price, output_price=price, parameters=price)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 20),
    tolerance=st.sampled_from([None, 0.0, 0.25, 0.5]),
    answer_value=st.sampled_from([None, 1e-9, 0.01, 1.0]),
    weights=st.sampled_from([{}, {"size": 0.5}, {"cost": 1e300, "size": 0.1}]),
)
def test_the_choice_is_the_first_of_the_ranking(seed, n, tolerance, answer_value, weights):
    rng = np.random.default_rng(seed)
    library, batch = priced_library(rng, n), 5
    losses = (rng.integers(0, 4, (batch, n)) / 4).astype(np.float32)
    eligible = rng.random((batch, n)) < 0.7
    request = RequestBatch(rng.integers(0, 2_000, batch).astype(float))
    found = compute_routing_loss(
        losses, library, weights, DEFAULT_CONSTRAINTS, request, answer_value=answer_value
    )
    chosen = choose_experts(library, found, eligible, request, tolerance)
    for i, best in enumerate(chosen.tolist()):
        costs = PromptCosts(library, request.take(slice(i, i + 1)))
        row = (library, losses[i], losses[i], found.row(i), eligible[i])
        first = Ranking(*row, costs=costs, tolerance=tolerance).top(1).tolist()
        assert [best] == (first or [NO_EXPERT])


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 20),
    tolerance=st.sampled_from([None, 0.0, 0.25, 0.5]),
    weights=st.sampled_from([{}, {"size": 0.5}, {"cost": 1e300, "size": 0.1}]),
)
def test_few_experts_are_sorted_as_many_are_and_computed_terms_change_nothing(
    seed, n, tolerance, weights
):
    rng = np.random.default_rng(seed)
    library, request = priced_library(rng, n), RequestBatch(np.array([700.0]))
    losses = (rng.integers(0, 4, (1, n)) / 4).astype(np.float32)
    eligible = rng.random(n) < 0.7
    found = compute_routing_loss(
        losses, library, weights, DEFAULT_CONSTRAINTS, request, answer_value=0.01
    )
    settings = {"costs": PromptCosts(library, request), "tolerance": tolerance}
    rows = (library, losses[0], losses[0])
    few = Ranking(*rows, found.evaluated(), eligible, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tryage.core.ranking._FEW", 0)
        patch.setattr("tryage.core.ranking.MAX_EXACT_EXPERTS", 0)
        many = Ranking(*rows, found, eligible, **settings)
        assert few.top(n).tolist() == many.top(n).tolist()
        assert few.columns(n) == many.columns(n)


def test_the_choice_does_not_depend_on_the_blocks_of_a_large_batch():
    rng = np.random.default_rng(1)
    library, request = priced_library(rng, 900), RequestBatch(np.arange(100.0))
    losses = rng.random((100, 900), dtype=np.float32)
    eligible = rng.random((100, 900)) < 0.5
    found = compute_routing_loss(
        losses, library, {"size": 0.1}, DEFAULT_CONSTRAINTS, request, answer_value=0.01
    )
    together = choose_experts(library, found, eligible, request, 0.02)
    for i in range(100):
        alone = choose_experts(
            library, found.row(i), eligible[i : i + 1], request.take(slice(i, i + 1)), 0.02
        )
        assert alone.tolist() == [together[i]]


def test_a_constraint_that_has_the_name_of_the_dollars_is_no_price():
    prices = np.array([9.0, 1.0])
    library = Library.from_columns(["dear", "cheap"], input_price=prices, output_price=prices)
    router = Router(
        FixedPerception({"dear": 0.1, "cheap": 0.1}),
        library,
        constraints={"answer_value": lambda *_: np.array([0.0, 1e-3])},
        preferences=Preferences({"answer_value": 1.0}, tolerance=0.5),
    )
    assert router.route("x").expert.name == "cheap"


def test_the_keys_decide_in_their_order_and_equal_candidates_keep_theirs():
    first = np.array([[1.0, 0.0, 0.0, 0.0], [5.0, 5.0, 5.0, 5.0]])
    second = np.array([[0.0, 2.0, 1.0, 1.0], [3.0, 2.0, 2.0, 1.0]])
    candidates = np.array([[True, True, True, True], [True, True, True, False]])
    assert first_by_keys(candidates, [first, second]).tolist() == [2, 1]
    assert first_by_keys(np.zeros((2, 4), bool), [first]).tolist() == [NO_EXPERT] * 2


def test_infinite_totals_and_losses_beyond_any_number_leave_a_choice():
    totals = np.full((1, 3), np.inf)
    assert first_by_keys(np.array([[False, True, True]]), [totals]).tolist() == [1]


def test_a_batch_is_decided_without_sorting_any_ranking(monkeypatch):
    def refuse(*_):
        pytest.fail("a ranking was sorted")

    monkeypatch.setattr(Ranking, "_sort_top", refuse)
    rng = np.random.default_rng(2)
    library = priced_library(rng, 300)
    losses = dict(zip(library.names, rng.random(300), strict=True))
    decisions = Router(FixedPerception(losses), library).route_batch(["a", "b"])
    assert [len(decision.ranking) for decision in decisions] == [300, 300]
    assert decisions[0].ranking[0].name == decisions[0].expert.name


def test_a_row_without_a_candidate_does_not_end_the_search_of_a_tied_one():
    candidates = np.array([[False, False, False], [True, True, False]])
    keys = [np.zeros((2, 3)), np.array([[0.0, 0.0, 0.0], [2.0, 1.0, 0.0]])]
    assert first_by_keys(candidates, keys).tolist() == [NO_EXPERT, 1]
