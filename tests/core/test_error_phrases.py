"""The table of what providers say: every row is used, and none catches what it must not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tryage.core.error_phrases import CODES, PHRASES, ErrorScope, scope_of_words

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ROWS = json.loads((FIXTURES / "provider_errors.json").read_text("utf-8"))


def test_content_filters_come_before_everything_else():
    text = "Your credit balance is too low. Your prompt was flagged. The prompt is too long."
    assert scope_of_words([], text) is ErrorScope.FINAL
    assert scope_of_words(["content_filter", "model_not_found"], "") is ErrorScope.FINAL


@pytest.mark.parametrize("code", ["ContentFilter", "content-filter", "azure.content_filter"])
def test_codes_are_compared_without_case_and_signs(code):
    assert scope_of_words([code], "") is ErrorScope.FINAL


def test_what_is_unknown_is_none():
    assert scope_of_words(["invalid_request_error"], "Invalid 'messages[0].content'") is None
    assert scope_of_words([], "") is None


# Of these no whole answer is at hand: words in the code of vLLM, llama.cpp, LangChain and pydantic,
# and in the tables of LiteLLM and of pi.
SENTENCES = [
    ("Your request was rejected as a result of our safety system.", ErrorScope.FINAL),
    ("The image violates Google's Responsible AI practices.", ErrorScope.FINAL),
    ("Input data may contain inappropriate content.", ErrorScope.FINAL),
    ("This organization has been disabled.", ErrorScope.MODEL),
    ("ExceededBudget: User=u1 over budget. Spend=0.02, Budget=0.01", ErrorScope.MODEL),
    ("No generation chunks were returned", ErrorScope.MODEL),
    ("No data received from Ollama stream.", ErrorScope.MODEL),
    ("Received response with null value for 'choices'.", ErrorScope.MODEL),
    ("Unexpected response type from OpenAI-compatible endpoint.", ErrorScope.MODEL),
    ("'NoneType' object has no attribute 'model_dump'", ErrorScope.MODEL),
    ("Your input exceeds the context window of this model", ErrorScope.PAIR),
    ("the request exceeds the available context size, try increasing it", ErrorScope.PAIR),
    ("Input tokens exceed the configured limit of 272000 tokens.", ErrorScope.PAIR),
    (
        "max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens",
        ErrorScope.PAIR,
    ),
    ("max_tokens is too large: 200000.", ErrorScope.PAIR),
    ("The input token count (40000) exceeds the limit (32768).", ErrorScope.PAIR),
    ("user: Extra inputs are not permitted", ErrorScope.PAIR),
    ("Qwen/Qwen2.5-7B is not a multimodal model", ErrorScope.PAIR),
    ("Conversation roles must alternate user/assistant/user/assistant/...", ErrorScope.PAIR),
]


@pytest.mark.parametrize(("sentence", "scope"), SENTENCES)
def test_words_of_servers_and_clients_are_known(sentence, scope):
    assert scope_of_words([], sentence) is scope


def test_every_phrase_is_said_by_somebody():
    said = [json.dumps(row["body"], ensure_ascii=False).casefold() for row in ROWS]
    said += [sentence.casefold() for sentence, _ in SENTENCES]
    silent = [p for *_, p in PHRASES if not any(re.search(p, text) for text in said)]
    assert silent == []


def test_a_code_belongs_to_one_scope():
    codes = [code for _, group in CODES for code in group]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch("[a-z0-9]+", code) for code in codes)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['provider']}-{row['status']}")
def test_no_message_of_a_malformed_request_has_words_of_another_scope(row):
    message = json.dumps(row["body"]).casefold()
    if row["scope"] == "request":
        assert [phrase for *_, phrase in PHRASES if re.search(phrase, message)] == []


def test_a_megabyte_is_judged_as_fast_as_its_beginning():
    assert scope_of_words([], "a model " * 200_000 + "content filter") is None
