"""Retrieved text with a certain end is left out; code, short texts and other sections stay."""

from __future__ import annotations

import pytest

from tryage.perception.retrieved_text import GAP, without_retrieved_text
from tryage.perception.template_labels import MIN_CONTEXT

PAGE = "A sentence of a page. " * (MIN_CONTEXT // 20)


@pytest.mark.parametrize(
    "text",
    [
        "<context>{page}</context>\nwhy?",
        '<documents><document index="1">{page}</document></documents>\nwhy?',
        "[CONTEXT 0]: {page} [END CONTEXT 0]\nwhy?",
        "[webpage 1 begin]{page}[webpage 1 end]\nwhy?",
        "Context:\n---\n{page}\n---\nwhy?",
        'Answer from these articles.\n"""\n{page}\n"""\nwhy?',
        "Documents:\n>>>\n{page}\n<<<\nwhy?",
    ],
    ids=range(7),
)
def test_a_gap_stands_in_the_place_of_the_page(text):
    rest = without_retrieved_text(text.format(page=PAGE))
    assert GAP in rest
    assert "sentence" not in rest
    assert rest.endswith("why?")


@pytest.mark.parametrize(
    "text",
    [
        "<div>{page}</div>\nwhy?",
        "Answer from these articles.\n```python\n{page}\n```\nwhy?",
        "Answer from these articles.\n---\nshort\n---\nwhy?",
        "One.\n---\n{page}\n---\nTwo.",
        "<context>{page}\nwhy?",
    ],
    ids=["other tag", "code", "short", "not announced", "not closed"],
)
def test_other_texts_stay(text):
    text = text.format(page=PAGE)
    assert without_retrieved_text(text) == text


def test_a_section_of_a_question_keeps_its_name_and_its_text():
    text = f"<context>{PAGE}</context><user_query>why?</user_query>"
    assert without_retrieved_text(text).split() == [GAP, "user_query:", "why?"]


def test_the_first_closing_tag_after_a_tag_ends_its_section():
    text = f"</context> <context>{PAGE}</context> a <context>{PAGE}</context> b"
    assert without_retrieved_text(text).split() == ["</context>", GAP, "a", GAP, "b"]


def test_a_sentence_that_closes_the_page_stays():
    text = f"Here is the knowledge base:\n{PAGE}\nThe above is the knowledge base, so answer.\nwhy?"
    rest = without_retrieved_text(text)
    assert "sentence of" not in rest
    assert rest.endswith("The above is the knowledge base, so answer.\nwhy?")
