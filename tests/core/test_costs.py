"""What a request costs: tokens times prices, cached tokens, forecasts, and what is unknown."""

from __future__ import annotations

import numpy as np

from tryage.core.costs import (
    PromptCosts,
    assumed_costs,
    counted_costs,
    expected_cost,
    expected_costs,
    has_known_costs,
)
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.perception import Prediction
from tryage.core.request_batch import ConversationState, RequestBatch

NAN = np.nan
PRICES = ("input_price", "output_price", "output_tokens")


def prediction(n, **forecasts):
    losses = np.zeros((1, n), np.float32)
    return Prediction(losses, losses, **{k: np.float32([v]) for k, v in forecasts.items()})


def test_expected_cost_is_tokens_times_prices():
    library = Library([Expert("a", input_price=2.0, output_price=10.0, output_tokens=300)])
    usd = expected_costs(library, RequestBatch(np.array([1_000.0])))
    np.testing.assert_allclose(usd, [[(1_000 * 2 + 300 * 10) / 1e6]])
    assert expected_cost is expected_costs


def test_a_forecast_length_replaces_the_typical_one():
    library = Library([Expert(n, input_price=0, output_price=1.0, output_tokens=7) for n in "ab"])
    request = RequestBatch(np.array([10.0]))
    usd = expected_costs(library, request, prediction(2, output_tokens=[100.0, NAN]))
    np.testing.assert_allclose(usd, [[100 / 1e6, 7 / 1e6]])


def test_an_expert_without_a_typical_answer_is_assumed_to_write_500_tokens():
    library = Library([Expert("a", input_price=0, output_price=2.0)])
    np.testing.assert_allclose(expected_costs(library, RequestBatch(np.ones(2))), [[0.001]] * 2)


def test_measured_tokens_at_the_present_price_are_better_than_a_measured_cost():
    library = Library([Expert("a", input_price=0, output_price=1.0)])
    forecasts = prediction(1, output_tokens=[100.0], costs=[0.7])
    np.testing.assert_allclose(
        expected_costs(library, RequestBatch(np.array([10.0])), forecasts), [[100 / 1e6]]
    )


def test_a_measured_cost_is_better_than_typical_tokens_and_than_an_unknown_price():
    library = Library([Expert("priced", input_price=1.0, output_price=1.0), Expert("unpriced")])
    request = RequestBatch(np.array([10.0]))
    found = expected_costs(library, request, prediction(2, costs=[0.25, 0.5]))
    np.testing.assert_allclose(found, [[0.25, 0.5]])
    both = prediction(2, output_tokens=[NAN, 100.0], costs=[0.25, 0.5])
    np.testing.assert_allclose(expected_costs(library, request, both), [[0.25, 0.5]])


def test_tokens_that_the_serving_expert_has_read_cost_its_cached_price():
    library = Library(
        [
            Expert("cached", input_price=10.0, cached_input_price=1.0, output_price=0),
            Expert("without", input_price=10.0, output_price=0),
        ]
    )
    tokens = np.array([1_000.0] * 3)
    serving = ConversationState(np.array([0, 1, -1]), np.array([900.0, 900.0, 900.0]))
    found = expected_costs(library, RequestBatch(tokens, conversation=serving))
    np.testing.assert_allclose(found, [[(100 * 10 + 900) / 1e6, 0.01], [0.01, 0.01], [0.01, 0.01]])


def test_an_unknown_price_counts_as_that_of_a_dear_model_in_any_library():
    request = RequestBatch(np.array([1_000.0]))
    np.testing.assert_allclose(assumed_costs(request), [(1_000 * 15 + 500 * 75) / 1e6])
    library = Library([Expert("a", output_tokens=9), Expert("b", input_price=1, output_price=1)])
    costs = PromptCosts(library, request)
    np.testing.assert_allclose(costs.known(slice(None)), [NAN, 0.0015])
    np.testing.assert_allclose(costs.counted(slice(None)), [0.0525, 0.0015])


def test_a_cost_is_known_from_prices_or_from_a_forecast():
    unpriced = Library([Expert("a"), Expert("b", input_price=1.0)])
    assert not has_known_costs(unpriced, prediction(2))
    assert not has_known_costs(unpriced, prediction(2, costs=[NAN, NAN]))
    assert has_known_costs(unpriced, prediction(2, costs=[NAN, 0.1]))
    assert has_known_costs(Library([Expert("a", input_price=0, output_price=0)]), prediction(1))


def test_prices_beyond_single_precision_stay_finite():
    library = Library([Expert("a", input_price=1e300, output_price=0)])
    assert np.isfinite(expected_costs(library, RequestBatch(np.ones(1)))).all()


def test_counted_costs_are_known_ones_or_those_of_a_dear_model():
    rng = np.random.default_rng(0)
    prices = {name: np.where(rng.random(50) < 0.3, NAN, rng.random(50)) for name in PRICES}
    library = Library.from_columns([f"m{i}" for i in range(50)], **prices)
    tokens, some = np.array([0.0, 900.0]), slice(7, 40)
    for forecast in (None, rng.random((2, 50)) * 500):
        request = RequestBatch(tokens, forecast)
        known = expected_costs(library, request)
        expected = np.where(np.isnan(known), assumed_costs(request)[:, None], known)[:, some]
        found = counted_costs(library, request, some, np.float32)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
