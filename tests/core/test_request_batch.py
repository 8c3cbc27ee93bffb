"""A batch of requests: some of its prompts keep their forecasts and conversations."""

from __future__ import annotations

import numpy as np

from tryage.core.request_batch import ConversationState, RequestBatch


def test_a_part_of_a_batch_has_its_own_forecasts_and_conversations():
    table = np.arange(6.0).reshape(3, 2)
    serving = ConversationState(np.array([0, 1, -1]), np.array([5.0, 6.0, 0.0]))
    part = RequestBatch(np.array([1.0, 2.0, 3.0]), table, serving, 10 * table).take(slice(1, 2))
    assert part.prompt_tokens.tolist() == [2.0]
    assert part.output_tokens.tolist() == [[2.0, 3.0]]
    assert part.costs.tolist() == [[20.0, 30.0]]
    assert part.conversation.current.tolist() == [1]
    assert part.conversation.cached_tokens.tolist() == [6.0]


def test_a_part_of_a_batch_without_forecasts_has_none():
    part = RequestBatch(np.ones(3)).take(np.array([0, 2]))
    assert (part.output_tokens, part.conversation, part.costs) == (None, None, None)
