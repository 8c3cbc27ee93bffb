"""LangChain's profiles as facts of experts; what ChatTryage makes of them is in test_clients.py."""

from __future__ import annotations

import datetime

import pytest
from langchain_core.language_models import ModelProfile

from tryage_langchain._profiles import facts_from_profile, profile_of
from tryage_langchain.testing import ScriptedChatModel


def test_a_profile_is_that_of_an_object_or_of_a_string():
    profile = {"max_input_tokens": 5}
    assert profile_of(ScriptedChatModel(profile=profile)) == profile
    assert profile_of(ScriptedChatModel()) == profile_of(object()) == profile_of("mine") == {}
    assert profile_of("openai:gpt-4o")["max_input_tokens"] == 128_000


def test_abilities_that_a_profile_denies_are_left_out_and_unlisted_ones_stay_possible():
    facts = facts_from_profile(ModelProfile(tool_calling=True, pdf_inputs=False))
    assert "pdf" not in facts["capabilities"]
    assert {"tools", "structured_output", "video", "files"} <= set(facts["capabilities"])
    assert "capabilities" not in facts_from_profile(ModelProfile(max_input_tokens=5))


@pytest.mark.parametrize(
    ("text", "date"),
    [("2025-08-07", datetime.date(2025, 8, 7)), ("2025-01", None), ("soon", None)],
)
def test_the_release_date_is_read_where_it_is_whole(text, date):
    assert facts_from_profile(ModelProfile(release_date=text))["released"] == date


def test_a_length_of_zero_is_an_unknown_length():
    assert facts_from_profile(ModelProfile(max_input_tokens=0))["context_length"] is None
