"""Questions are put into templates with pages, and the same ones each time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

DIFFICULTY = Path(__file__).resolve().parents[3] / "benchmarks" / "difficulty"
if not DIFFICULTY.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(DIFFICULTY))

from retrieval import (  # noqa: E402 - after the path is set
    PASSAGES_FILE,
    TEMPLATES_FILE,
    in_templates,
    read_texts,
)


def test_every_template_has_a_place_for_a_page_and_for_a_question() -> None:
    templates = read_texts(TEMPLATES_FILE, "template")
    assert len(set(templates)) == 30
    assert all(template.count("{context}") == 1 for template in templates)
    assert all(template.count("{question}") == 1 for template in templates)


def test_no_page_is_shorter_than_a_paragraph() -> None:
    passages = read_texts(PASSAGES_FILE, "text")
    assert len(set(passages)) == 30
    assert min(map(len, passages)) > 400


def test_the_question_and_a_page_stand_in_each_prompt() -> None:
    templates, passages = ["A: {context} B: {question}", "{question} {context}"], ["one", "two"]
    prompts = in_templates(["why?", "how?"] * 10, templates, passages, seed=1)
    assert prompts == in_templates(["why?", "how?"] * 10, templates, passages, seed=1)
    assert set(prompts) <= {
        template.replace("{question}", question).replace("{context}", passage)
        for template in templates
        for question in ("why?", "how?")
        for passage in passages
    }
    assert len(set(prompts)) > 4
