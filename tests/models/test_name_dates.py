"""A date in a name is read in every notation, and stays only where it tells two models apart."""

from __future__ import annotations

import pytest

from tryage.models.name_dates import take_date


@pytest.mark.parametrize(
    ("name", "rest", "date"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o", "2024-08-06"),
        ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet", "2024-10-22"),
        ("claude-4-sonnet-0522-thinking", "claude-4-sonnet-thinking", "05-22"),
        ("gemini-2.5-pro-preview-05-06", "gemini-2.5-pro-preview", "05-06"),
        ("gemini-2.0-flash-thinking-exp-1219", "gemini-2.0-flash-thinking-exp", "12-19"),
        ("claude-3-5-sonnet-oct-'24", "claude-3-5-sonnet", "2024-10"),
        ("gemini-2-5-pro-preview-may'-25", "gemini-2-5-pro-preview", "2025-05"),
        ("gpt-5-5-instant-june-2026", "gpt-5-5-instant", "2026-06"),
    ],
)
def test_a_date_of_a_build_leaves_the_name(name, rest, date):
    assert take_date(name) == (rest, date)


@pytest.mark.parametrize(
    ("name", "kept", "date"),
    [
        ("mistral-large-2411", "mistral-large-2411", "2024-11"),
        ("codestral-25.01", "codestral-2501", "2025-01"),
        ("qwen-3-235b-a22b-25-07-instruct", "qwen-3-235b-a22b-2507-instruct", "2025-07"),
        ("grok-2-12-12", "grok-2-1212", "12-12"),
        ("command-r-08-2024", "command-r-08-2024", "2024-08"),
        ("gemini-exp-1206", "gemini-exp-1206", "12-06"),
        ("qwen-max-20250125", "qwen-max-2025-01-25", "2025-01-25"),
        ("mistral-large-feb-'24", "mistral-large-2402", "2024-02"),
        ("command-r-plus-apr-'24", "command-r-plus-04-2024", "2024-04"),
    ],
)  # fmt: skip
def test_a_date_that_is_the_version_stays_in_one_spelling(name, kept, date):
    assert take_date(name) == (kept, date)


@pytest.mark.parametrize(
    "name", ["gpt-4", "llama-3.1-70b", "phi-3-128k", "mixtral-8x22b", "yi-34b", "may-be-7b", ""]
)
def test_no_other_number_is_a_date(name):
    assert take_date(name) == (name, None)
