"""Prompts of known kinds for training: their length and what stands beside them tell nothing."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

DIFFICULTY = Path(__file__).resolve().parents[3] / "benchmarks" / "difficulty"
if not DIFFICULTY.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(DIFFICULTY))

from anchors import DIFFICULTY as LOGITS  # noqa: E402 - after the path is set
from anchors import make_anchors, read_requests, read_translated_requests  # noqa: E402 - the same
from prompts import read_prompts  # noqa: E402 - the same

TEXTS = [f"{number} birds sit on the roof of the old station. " * 40 for number in range(50)]


def test_the_same_seed_makes_the_same_prompts() -> None:
    assert make_anchors(TEXTS, seed=3) == make_anchors(TEXTS, seed=3)
    assert make_anchors(TEXTS, seed=3) != make_anchors(TEXTS, seed=4)


def test_hard_requests_are_harder_than_middle_ones_and_these_than_easy_and_trivial_ones() -> None:
    assert LOGITS["hard"] > LOGITS["middle"] > LOGITS["easy"] > LOGITS["trivial"]
    assert {anchor.level for anchor in make_anchors(TEXTS)} == set(LOGITS)


def test_each_language_has_easy_and_hard_requests() -> None:
    levels = defaultdict(set)
    for request in read_requests():
        levels[request.language].add(request.level)
    assert set(levels) >= {"en", "de", "fr", "es", "zh", "pt"}
    assert all(found >= {"easy", "hard"} for found in levels.values())


def test_length_does_not_tell_easy_prompts_from_hard_ones() -> None:
    anchors = make_anchors(TEXTS)
    easy, hard = (
        np.array([len(anchor.prompt) for anchor in anchors if anchor.level == level])
        for level in ("easy", "hard")
    )
    longer = (hard[:, None] > easy).mean() + (hard[:, None] == easy).mean() / 2
    assert 0.4 < longer < 0.6


def test_no_request_is_a_prompt_that_routers_are_judged_by() -> None:
    judged = " ".join(prompt.prompt.lower() for prompt in read_prompts())
    copied = [
        request.prompt
        for request in read_requests()
        if len(request.prompt) > 25 and request.prompt.replace("{x}", "").strip().lower() in judged
    ]
    assert not copied


def test_each_translated_request_is_as_hard_as_the_english_one_and_has_the_same_slot() -> None:
    translated = read_translated_requests()
    assert set(translated) >= {"ar", "de", "en", "es", "fr", "hi", "ja", "ko", "ru", "tr", "zh"}
    for requests in translated.values():
        for request, english in zip(requests, translated["en"], strict=True):
            assert request.level == english.level
            assert request.prompt.count("{x}") == english.prompt.count("{x}")
            assert request.prompt.count("\n") == english.prompt.count("\n")


def test_no_translated_prompt_that_languages_are_judged_by_is_a_request() -> None:
    file = json.loads((DIFFICULTY.parent / "translated_prompts.json").read_text("utf-8"))
    judged = {
        text.lower() for part in ("development", "test") for row in file[part] for text in row
    }
    assert not [request for request in read_requests() if request.prompt.lower() in judged]
