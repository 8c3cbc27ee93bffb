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
