"""Attackers find a suffix without the defence, and none with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS / "robustness"))

from suffix_attackers import (  # noqa: E402 - after the path is set
    GradientSearch,
    GreedySearch,
    RandomSearch,
    insert,
    whole_words,
)
from suffix_victim import Victim  # noqa: E402 - the same

from tryage import Preferences, Router  # noqa: E402 - the same
from tryage.policies import EraseAndCheck  # noqa: E402 - the same

PROMPT = "Translate good morning into Spanish, please."
MAIL = "Write a polite email to my landlord about the broken heating in the kitchen."
BALANCED = Preferences.preset("balanced")


@pytest.fixture(scope="module")
def router() -> Router:
    return Router.from_pretrained().subset(["claude-sonnet-4-6", "claude-opus-4-6"])


@pytest.fixture(scope="module", params=["random", "greedy", "gradient"])
def attack(request, router: Router):
    if request.param == "gradient":
        return GradientSearch(router.perception)
    words = [word for _, word in whole_words(router.perception)]
    return (
        RandomSearch(words, n_queries=60) if request.param == "random" else GreedySearch(words, 8)
    )


def test_a_dozen_tokens_reach_the_dear_model_unless_they_are_erased(router, attack) -> None:
    plain, target = Victim(router, BALANCED), router.library.index("claude-opus-4-6")
    found = attack(plain, MAIL, target, "suffix", seed=0)
    text = insert(MAIL, found.tokens, "suffix")
    assert found.is_won
    assert router.route(text, "balanced").expert.name == "claude-opus-4-6"
    defended = Victim(router, BALANCED, EraseAndCheck())
    assert not attack(defended, MAIL, target, "suffix", seed=0).is_won


@pytest.mark.parametrize("fallback", [None, "claude-sonnet-4-6"])
def test_a_victim_answers_as_the_router_does(router: Router, fallback) -> None:
    policy = EraseAndCheck(fallback=fallback)
    texts = [PROMPT, MAIL, f"{PROMPT} evolu", "hi", "Prove that 2 is irrational. " * 9]
    victim = Victim(router, BALANCED, policy)
    chosen = [router.library.names[i] for i in victim.choices(texts)]
    decided = router.with_policy(policy).route_batch(texts, "balanced")
    assert chosen == [decision.expert.name for decision in decided]
    plain = Victim(router, BALANCED)
    is_there, distances = plain.attempt(texts, 0)
    assert (is_there == (distances < 0)).all()


def test_tokens_stand_where_they_are_put() -> None:
    assert insert("a b c d", ["x", "y"], "suffix") == "a b c d x y"
    assert insert("a b c d", ["x", "y"], "prefix") == "x y a b c d"
    assert insert("a b c d", ["x", "y"], "middle") == "a b x y c d"
    assert insert("a b c d", ["x", "y"], "both") == "x a b c d y"
