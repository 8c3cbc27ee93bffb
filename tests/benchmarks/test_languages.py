"""The same prompts in eleven languages, and how often a decision is the English one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

from languages import limit_agreement, read_prompts  # noqa: E402 - after the path is set


def test_there_are_120_prompts_in_eleven_languages_and_none_is_in_both_parts() -> None:
    development, test = read_prompts("development"), read_prompts("test")
    assert list(development) == list(test)
    assert len(test) == 11
    assert {len(texts) for texts in development.values()} == {40}
    assert {len(texts) for texts in test.values()} == {80}
    assert not {*development["en"]} & {*test["en"]}
    assert all(len(set(texts)) == 80 for texts in test.values())


def test_gains_in_the_same_order_at_the_same_level_agree_at_every_limit() -> None:
    english = np.arange(10.0)
    assert limit_agreement(english, english) == 1.0


def test_a_gain_that_is_constant_agrees_on_one_side_of_each_limit() -> None:
    # limits 2.7, 4.5 and 6.3 of 0..9: above all of them are 7, 5 and 3 of ten English gains
    assert limit_agreement(np.arange(10.0), np.full(10, 99.0)) == pytest.approx(0.5)
