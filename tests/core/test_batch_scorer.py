"""BatchScorer: which tokens count, and what a context without a length means."""

from __future__ import annotations

import pytest

from tryage import Expert, Library, Preferences, Router
from tryage.core.request import ConversationContext
from tryage.testing import LearningPerception

LIBRARY = Library([Expert("a", input_price=1.0, output_price=0.0, output_tokens=1)])


def priced_router():
    return Router(LearningPerception({"a": 0.2}), LIBRARY, preferences=Preferences(answer_value=1))


def cost(prompt, context=None):
    router = Router(
        LearningPerception({"a": 0.2}), LIBRARY, preferences=Preferences(answer_value=1)
    )
    (decision,) = router.route_batch([prompt], contexts=None if context is None else [context])
    return decision.chosen.cost


def test_a_context_without_a_length_costs_what_the_prompt_alone_costs():
    assert cost("one two three", ConversationContext(tags=("critical",))) == cost("one two three")


def test_a_context_with_a_length_costs_that_length():
    assert cost("one", ConversationContext(3_000)) == pytest.approx(3_000 / 1e6)


def test_prompts_with_and_without_a_length_are_counted_in_one_batch():
    router = Router(
        LearningPerception({"a": 0.2}), LIBRARY, preferences=Preferences(answer_value=1)
    )
    contexts = [ConversationContext(), ConversationContext(50), ConversationContext()]
    decisions = router.route_batch(["one two", "x", "one"], contexts=contexts)
    assert [round(d.chosen.cost * 1e6) for d in decisions] == [2, 50, 1]
