"""The prompts of easy and hard kinds are balanced, so that only their content tells them apart."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tryage import Router

DIFFICULTY = Path(__file__).resolve().parents[3] / "benchmarks" / "difficulty"
if not DIFFICULTY.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(DIFFICULTY))

from measure import auc, part_aucs, predicted_gains  # noqa: E402 - after the path is set
from pools import FIVE, PAIRS, router_over  # noqa: E402 - the same
from prompts import read_prompts  # noqa: E402 - the same

PROMPTS = read_prompts()
IS_HARD = np.array([prompt.hard for prompt in PROMPTS])


def test_200_prompts_are_half_easy_and_half_hard_and_none_occurs_twice() -> None:
    assert len({prompt.prompt for prompt in PROMPTS}) == 200
    assert IS_HARD.sum() == 100


def test_half_of_each_kind_is_short_and_half_is_long() -> None:
    counts = Counter((prompt.kind, prompt.length) for prompt in PROMPTS)
    assert set(counts.values()) == {5}
    assert {length for _, length in counts} == {"short", "long"}


def test_each_kind_has_six_languages_and_is_of_one_level() -> None:
    for kind in {prompt.kind for prompt in PROMPTS}:
        prompts = [prompt for prompt in PROMPTS if prompt.kind == kind]
        assert {prompt.language for prompt in prompts} == {"en", "de", "fr", "es", "zh", "pt"}
        assert len({prompt.hard for prompt in prompts}) == 1


@pytest.mark.parametrize("length", ["short", "long"])
def test_length_alone_tells_nothing(length: str) -> None:
    rows = np.array([prompt.length == length for prompt in PROMPTS])
    lengths = np.array([float(len(prompt.prompt)) for prompt in PROMPTS])
    assert 0.4 < auc(lengths[rows], IS_HARD[rows]) < 0.6
    assert 0.45 < auc(lengths, IS_HARD) < 0.55


def test_auc_counts_pairs_in_the_right_order_and_half_of_the_ties() -> None:
    is_hard = np.array([True, True, False, False])
    assert auc(np.array([3.0, 2.0, 2.0, 1.0]), is_hard) == pytest.approx(3.5 / 4)


def test_a_kind_of_one_level_is_compared_with_all_prompts_of_the_other() -> None:
    found = part_aucs(np.where(IS_HARD, 1.0, 0.0), PROMPTS, lambda prompt: prompt.kind)
    assert len(found) == 20
    assert set(found.values()) == {1.0}


def test_pairs_are_predicted_by_name_as_an_integration_does_it() -> None:
    (dear, cheap), texts = PAIRS[0], [prompt.prompt for prompt in PROMPTS[:3]]
    gains = predicted_gains(Router.from_pretrained(), dear, cheap, texts)
    assert gains.shape == (3,)
    assert np.isfinite(gains).all()


def test_a_pool_keeps_the_names_that_the_user_gave() -> None:
    assert router_over(FIVE, Router.from_pretrained()).library.names == FIVE
