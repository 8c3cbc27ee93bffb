"""Other forms of a prompt: the words stay, whatever their letters and marks."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

DIFFICULTY = Path(__file__).resolve().parents[3] / "benchmarks" / "difficulty"
if not DIFFICULTY.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(DIFFICULTY))

from perturbations import PERTURBATIONS, with_typos  # noqa: E402 - after the path is set

PROMPT = "Translate the following letters into French.\nThey are for my grandmother."


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_another_form_is_another_string_with_the_same_words_in_it(name: str) -> None:
    changed = PERTURBATIONS[name](PROMPT)
    if name not in {"capitals at the start of lines", "typos"}:
        assert changed != PROMPT
    if name != "typos":
        assert " ".join(words(PROMPT)) in " ".join(words(changed))


def test_a_typo_exchanges_two_letters_of_a_long_word_and_is_the_same_each_time() -> None:
    text = "reasonable questions deserve considerate answers " * 10
    changed = with_typos(text)
    assert changed == with_typos(text)
    differing = [(a, b) for a, b in zip(text.split(), changed.split(), strict=True) if a != b]
    assert 1 <= len(differing) <= 12
    assert all(sorted(a) == sorted(b) for a, b in differing)
