"""The switching constraint: the prompt-cache discount that leaving the serving expert loses."""

from __future__ import annotations

import numpy as np

from tryage import Expert, Library
from tryage.core.constraints import cost, switching
from tryage.core.request_batch import ConversationState, RequestBatch

LIBRARY = Library(
    [
        Expert("expensive", input_price=2, output_price=8, cached_input_price=0.5),
        Expert("cheap", input_price=1, output_price=2),
        Expert("unpriced"),
    ]
)


def request(current, cached):
    tokens = np.array(cached, dtype=np.float64)
    return RequestBatch(tokens + 100, conversation=ConversationState(np.array(current), tokens))


def test_leaving_loses_the_discount_on_the_scale_of_cost():
    found = switching(LIBRARY, request([0], [1_000]))
    np.testing.assert_allclose(found, [[0, 0.0015 / 0.05, 0.0015 / 0.05]])


def test_an_unknown_cached_price_loses_the_whole_price_and_an_unknown_price_is_unknown():
    found = switching(LIBRARY, request([1, 2], [1_000, 1_000]))
    np.testing.assert_allclose(found[0], [0.001 / 0.05, 0, 0.001 / 0.05])
    np.testing.assert_array_equal(found[1], [np.nan, np.nan, 0])


def test_nothing_is_lost_without_a_serving_expert_or_without_cached_tokens():
    assert not switching(LIBRARY, request([-1, 0, 2], [1_000, 0, 0])).any()
    assert not switching(LIBRARY, RequestBatch(np.ones(2))).any()


def test_a_very_long_conversation_loses_at_most_one():
    np.testing.assert_array_equal(switching(LIBRARY, request([0], [1e9])), [[0, 1, 1]])


def test_with_the_same_weight_cost_and_switching_add_up_to_the_dollars():
    batch = request([0], [900])
    dollars = 0.05 * (cost(LIBRARY, batch) + switching(LIBRARY, batch))[0]
    stays = 100 * 2e-6 + 900 * 0.5e-6 + 500 * 8e-6
    leaves = 1_000 * 1e-6 + 500 * 2e-6
    np.testing.assert_allclose(dollars[1] - dollars[0], leaves - stays)
