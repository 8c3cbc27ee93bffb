"""Router.route_batch: one pass for all prompts, threads, and prompts of conversations."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.preferences import Preferences
from tryage.core.request import ConversationContext
from tryage.errors import InputError
from tryage.router import Router
from tryage.testing import FixedPerception, FunctionPerception, demo_library, demo_perception

# 1,000 prompt and 500 answer tokens on the most expensive: 0.002 + 0.004 = $0.006, the reference.
LIBRARY = Library(
    [
        Expert("expensive", input_price=2, output_price=8, cached_input_price=0.5),
        Expert("cheap", input_price=1, output_price=2),
        Expert("unpriced"),
    ]
)
STAY = Preferences(weights={"switching": 5.0})


def demo(**options):
    return Router(demo_perception(), demo_library(), **options)


@pytest.mark.usefixtures("fixed_ids")
def test_a_batch_gives_the_decisions_of_single_prompts_in_one_pass():
    perception = demo_perception()
    router = Router(perception, demo_library(), prompt_flags=True)
    prompts = ["hello", "def f(x):", "", "hi [Flag: smallest model]"]
    preferences = [
        Preferences({"size": 0.2}),
        None,
        Preferences({"cost": 1.0}, licenses=["mit"]),
        None,
    ]
    batch = router.route_batch(prompts, preferences)
    assert len(perception.calls) == 1
    single = [router.route(*pair) for pair in zip(prompts, preferences, strict=True)]
    assert [d.to_dict() for d in batch] == [d.to_dict() for d in single]


def test_one_set_of_preferences_applies_to_a_whole_batch():
    decisions = demo().route_batch(["a", "b"], Preferences({"size": 1.0}))
    assert [d.expert.name for d in decisions] == ["tiny-1b", "tiny-1b"]


def test_an_empty_batch_does_not_call_the_perception():
    perception = demo_perception()
    assert Router(perception).route_batch([]) == []
    assert perception.calls == []


def test_a_batch_needs_as_many_preferences_as_prompts():
    with pytest.raises(InputError, match="1 preferences for 2 prompts"):
        demo().route_batch(["a", "b"], [None])


@pytest.mark.usefixtures("fixed_ids")
def test_many_threads_give_the_decisions_of_one_thread():
    perception = FunctionPerception(
        ["a", "b", "c"], lambda text: [(len(text) * k % 7) / 7 for k in (1, 2, 3)]
    )
    router = Router(perception, preferences=Preferences({"size": 0.1, "cost": 0.2}))
    prompts = ["x" * i for i in range(200)]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(lambda text: router.route(text).to_dict(), prompts))
    assert threaded == [d.to_dict() for d in router.route_batch(prompts)]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [("abc", "a str; expected a list"), (None, "NoneType"), (["a", 1], "Prompt 1 is a int")],
)
def test_a_batch_that_is_not_a_list_of_strings_is_refused(prompts, message):
    for method in (demo().route_batch, demo().pareto):
        with pytest.raises(InputError, match=message):
            method(prompts)


@pytest.fixture
def router():
    """A router over experts with prices, for conversations."""
    return Router(FixedPerception({"expensive": 0.3, "cheap": 0.2, "unpriced": 0.9}), LIBRARY)


def test_a_router_keeps_the_serving_expert_while_its_cached_tokens_are_worth_it(router):
    long, short = (
        ConversationContext(1_100, "expensive", 1_000),
        ConversationContext(20, "expensive", 10),
    )
    names = [d.expert.name for d in router.route_batch(["a"] * 2, STAY, contexts=[long, short])]
    assert names == ["expensive", "cheap"]
    assert router.route("a", STAY).expert.name == "cheap"


def test_a_serving_expert_that_is_no_longer_a_candidate_saves_nothing(router):
    (decision,) = router.route_batch(
        ["a"], STAY, contexts=[ConversationContext(9_999, "gone", 9_000)]
    )
    assert decision.expert.name == "cheap"
    assert decision.chosen.terms == {"switching": 0.0}


def test_cost_counts_the_whole_conversation(router):
    weights = Preferences(weights={"cost": 1.0})
    long, alone = router.route_batch(
        ["a", "a"], weights, contexts=[ConversationContext(2_000), ConversationContext(0.25)]
    )
    assert long.ranking.entry("cheap").terms["cost"] == pytest.approx(0.003 / 0.05)
    assert alone.ranking.entry("cheap").terms["cost"] == pytest.approx(0.001 / 0.05, rel=1e-3)


def test_a_batch_needs_as_many_contexts_as_prompts(router):
    with pytest.raises(InputError, match="1 contexts for 2 prompts"):
        router.route_batch(["a", "b"], contexts=[ConversationContext(1)])
