"""An unknown model is expected between or after the generations of its family, at their prices."""

from __future__ import annotations

import datetime

import pytest

from tryage.models import relatives
from tryage.models.lookup import look_up
from tryage.models.refresh import current_snapshot
from tryage.models.relatives import ExpectedFacts, expected_facts, tier_level
from tryage.models.snapshot import ModelSnapshot


def day(text):
    return datetime.date.fromisoformat(text).toordinal()


def without(family_prefix):
    return lambda name: not name.startswith(family_prefix)


@pytest.mark.parametrize("name", ["my-model", "", "🙂", "model-7b"])
def test_a_name_that_tells_no_family_tells_nothing(name):
    assert expected_facts(name) is None


def test_without_a_relative_nothing_is_expected():
    assert expected_facts("gpt-9", is_usable=lambda _: False) is None


def test_the_next_generation_is_out_after_the_newest_known_one_but_not_in_the_future():
    newest = day(look_up("gpt-5.6-sol").value("released"))
    expected = expected_facts("gpt-6", is_usable=lambda name: name.startswith(("gpt-4", "gpt-5")))
    assert newest < expected.released <= max(current_snapshot().made.toordinal(), newest)


def test_a_generation_between_two_known_ones_is_out_between_them():
    first, last = day("2025-08-07"), day("2026-03-05")  # gpt-5 and gpt-5.4
    expected = expected_facts("gpt-5.2", is_usable=without(("gpt-5.1", "gpt-5.2", "gpt-5.3")))
    assert first < expected.released < last


@pytest.mark.parametrize(
    ("small", "large"),
    [
        ("gpt-7-mini", "gpt-7"),
        ("gpt-7-nano", "gpt-7-mini"),
        ("claude-haiku-7", "claude-opus-7"),
        ("gemini-5-flash-lite", "gemini-5-pro"),
        ("qwen5-8b", "qwen5-235b"),
    ],
)
def test_a_small_model_of_a_generation_to_come_is_expected_to_be_cheaper(small, large):
    assert expected_facts(small).output_price < expected_facts(large).output_price


def test_a_generation_that_tables_lack_is_expected_about_as_it_came():
    expected = expected_facts("claude-opus-4-5", is_usable=without(("claude-opus-4-5",)))
    known = look_up("claude-opus-4-5")
    assert abs(expected.released - day(known.value("released"))) < 200
    assert 0.4 < expected.output_price / known.value("output_price") < 3


def test_a_name_without_a_version_does_not_tell_when_it_was_out():
    expected = expected_facts("claude-unheard-of")
    assert expected.released is None
    assert expected.output_price > 0


def test_a_date_in_the_name_is_that_of_the_release():
    assert expected_facts("claude-unheard-of-20241022").released == day("2024-10-22")


def test_an_expected_fact_is_positive_or_unknown():
    for name in ("gpt-0.5", "llama-99-70b", "gemma-3-1b", "yi-2"):
        expected = expected_facts(name)
        assert isinstance(expected, ExpectedFacts)
        for value in (expected.released, expected.output_price, expected.context_length):
            assert value is None or value > 0


def test_tiers_add_up():
    assert tier_level(("flash", "lite")) < tier_level(("flash",)) < tier_level(())
    assert tier_level(("pro",)) > 0
    assert tier_level(("unknown-word",)) == 0


@pytest.fixture
def read(small, monkeypatch):
    """Let a small snapshot be the current one; return the names that are read in it."""
    names = []
    snapshot = ModelSnapshot(small)
    find = snapshot.find
    monkeypatch.setattr(snapshot, "find", lambda name: names.append(name) or find(name))
    monkeypatch.setattr(relatives, "current_snapshot", lambda: snapshot)
    return names


def test_only_names_of_the_family_are_read_and_once(read):
    prices = [expected_facts(name).output_price for name in ("gpt-5", "gpt-6", "gemma-3-12b")]
    assert read == ["gpt-5.4-mini", "gpt-4o", "gemma-3-4b"]
    assert prices[2] == pytest.approx(0.08)
