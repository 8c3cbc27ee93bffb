"""A line names a part of a template by its last word, and by a colon, a heading or marks."""

from __future__ import annotations

import pytest

from tryage.perception.template_labels import MIN_CONTEXT, closes, find_labels, is_page_name


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("Question: why?", "question"),
        ("The original query is as follows: why?", "question"),
        ("**User question:** why?", "question"),
        ("### Context", "context"),
        ("[CONTEXT]", "context"),
        ("Relevant documents:", "context"),
        ("Sources:", "page"),
        ("Customer message:", "user"),
        ("Helpful Answer:", "answer"),
        ("Frage: warum?", "question"),
        ("\u95ee\u9898\uff1a", "question"),
        ("Q: why?", "question"),
    ],
)
def test_a_line_names_its_part(line, kind):
    (label,) = find_labels(line)
    assert label.kind == kind
    assert label.start == 0
    assert line[label.end :] in {"why?", "warum?", ""}


@pytest.mark.parametrize(
    "line",
    [
        "Question the assumptions of the plan: they are old.",
        "The document that we found was old.",
        "query_cost: 3",
        '{"document_id": 3}',
        "Contextual advertising: a history",
        "10:30 Doctor Consultation",
        "def fix_spaces(text):",
    ],
)
def test_other_lines_name_nothing(line):
    assert find_labels(line) == []


def test_a_sentence_announces_a_page_only_where_a_page_follows():
    sentence = "Answer from the documents below.\n"
    assert find_labels(sentence + "short") == []
    (label,) = find_labels(sentence + "x" * MIN_CONTEXT)
    assert label.kind == "announcement"
    assert label.names_page


@pytest.mark.parametrize("name", ["context", "search_results", "Documents", "\u4e0a\u4e0b\u6587"])
def test_a_tag_of_retrieved_text_has_such_a_word(name):
    assert is_page_name(name)


@pytest.mark.parametrize("name", ["ThemeContext.Provider", "w:document", "transactions", "div"])
def test_a_tag_of_code_has_not(name):
    assert not is_page_name(name)


def test_a_sentence_closes_a_page_if_it_begins_so_and_speaks_of_it():
    assert closes("The above is the knowledge base.")
    assert closes("(end of documents)")
    assert not closes("The above is true.")
    assert not closes("The documents above are old.")
