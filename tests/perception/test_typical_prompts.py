"""The typical prompts are many, of many kinds, and reach whoever asks a perception for them."""

from __future__ import annotations

from tryage import Router
from tryage.chat.costs import PoolPrices
from tryage.core.library import Library
from tryage.perception.typical_prompts import TYPICAL_PROMPTS
from tryage.perception.wrappers import DeduplicatedPerception
from tryage.testing import FunctionPerception


def test_they_differ_in_length_and_language():
    assert len(set(TYPICAL_PROMPTS)) == len(TYPICAL_PROMPTS) >= 20
    assert min(map(len, TYPICAL_PROMPTS)) < 10
    assert max(map(len, TYPICAL_PROMPTS)) > 120
    assert sum(not prompt.isascii() for prompt in TYPICAL_PROMPTS) >= 3


def test_a_trained_perception_has_them_and_one_of_your_own_has_none():
    assert Router.from_pretrained().perception.typical_prompts() == TYPICAL_PROMPTS
    assert FunctionPerception(["a"], lambda _: [0.0]).typical_prompts() == ()


def test_a_perception_of_several_providers_has_those_of_the_one_inside():
    perception = Router.from_pretrained().perception
    names = perception.experts[:2]
    wrapped = DeduplicatedPerception(perception, Library(names), {"copy": names[0]})
    assert wrapped.typical_prompts() == TYPICAL_PROMPTS


def test_the_bundled_router_finds_the_stronger_model_best_on_them():
    router = Router.from_pretrained().subset(["gpt-4o-mini", "gpt-4o"])
    assert router.library.index(PoolPrices(router).best_single) == 1
