"""Short prompts from templates: complete, different, and none that routers are judged by."""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

DIFFICULTY = Path(__file__).resolve().parents[3] / "benchmarks" / "difficulty"
if not DIFFICULTY.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(DIFFICULTY))

from prompts import PROMPTS_FILE, SHORT_PROMPTS_FILE, read_prompts  # noqa: E402 - after the path
from templates import VARIANTS, filled_templates, read_templates  # noqa: E402 - the same

READ = read_templates()


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - not for security


FILLED = list(filled_templates(seeded(0)))


def blanks(template: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", template)


def plain(text: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", text.lower()).split())


def pattern_of(template: str) -> str:
    parts = re.split(r"\{(\w+)\}", template)
    choices = [
        "|".join(re.escape(plain(one)) for one in READ.fillers[name]) for name in parts[1::2]
    ]
    fixed = [re.escape(plain(part)) for part in parts[::2]]
    joined = [fixed[0], *(f"(?:{c}) ?{f}" for c, f in zip(choices, fixed[1:], strict=True))]
    return " ?".join(joined)


def judged_prompts() -> list[str]:
    translated = json.loads((DIFFICULTY.parent / "translated_prompts.json").read_text("utf-8"))
    files = (PROMPTS_FILE, SHORT_PROMPTS_FILE)
    return [prompt.prompt for file in files for prompt in read_prompts(file)] + [
        text for part in ("development", "test") for row in translated[part] for text in row
    ]


def test_every_blank_has_fillers_and_every_filler_has_a_blank() -> None:
    used = {name for _, _, template in READ.templates for name in blanks(template)}
    assert used == set(READ.fillers)


def test_no_template_and_no_filler_of_a_blank_occurs_twice() -> None:
    templates = Counter((language, text) for language, _, text in READ.templates)
    fillers = Counter((name, one) for name, found in READ.fillers.items() for one in found)
    assert [one for one, count in (templates + fillers).items() if count > 1] == []


def test_each_language_has_trivial_and_hard_prompts_and_english_those_of_all_levels() -> None:
    levels = {(language, level) for language, level, _ in READ.templates}
    languages = {language for language, _ in levels}
    assert languages >= {
        "en",
        "de",
        "fr",
        "es",
        "pt",
        "it",
        "ru",
        "zh",
        "ja",
        "ko",
        "ar",
        "hi",
        "tr",
    }
    assert levels >= {(language, level) for language in languages for level in ("trivial", "hard")}
    assert levels >= {("en", level) for level in VARIANTS}


def test_filled_prompts_have_no_blank_and_are_different() -> None:
    assert not any(blanks(prompt) for _, _, prompt in FILLED)
    assert len({(language, prompt) for language, _, prompt in FILLED}) > 0.99 * len(FILLED)


def test_no_level_has_most_of_the_prompts() -> None:
    counts = Counter(level for _, level, _ in FILLED)
    assert max(counts.values()) < 0.5 * len(FILLED)
    assert 0.7 < counts["hard"] / counts["trivial"] < 1.4


def test_the_same_generator_fills_the_same_prompts() -> None:
    assert list(filled_templates(seeded(0))) == FILLED
    assert list(filled_templates(seeded(1))) != FILLED


def test_no_filled_template_is_a_prompt_that_routers_are_judged_by() -> None:
    patterns = [re.compile(pattern_of(template)) for _, _, template in READ.templates]
    judged = {plain(text) for text in judged_prompts()}
    assert [text for text in judged if any(one.fullmatch(text) for one in patterns)] == []


def test_the_patterns_of_this_test_match_every_filled_prompt() -> None:
    patterns = {template: re.compile(pattern_of(template)) for _, _, template in READ.templates}
    for _, _, prompt in seeded(2).sample(FILLED, 200):
        assert any(one.fullmatch(plain(prompt)) for one in patterns.values()), prompt
