"""What an effort changes, against the order of efforts and the sources of the ratios."""

from __future__ import annotations

import pytest

from tryage.models.efforts import default_effort, loss_ratio, token_ratio

LEVELS = ("none", "low", "medium", "high", "xhigh")


def test_more_effort_fails_less_and_writes_more():
    losses = [loss_ratio(effort, "medium") for effort in LEVELS]
    tokens = [token_ratio(effort) for effort in LEVELS]
    assert losses == sorted(losses, reverse=True)
    assert tokens == sorted(tokens)
    assert loss_ratio("medium", "medium") == token_ratio("thinking", "medium") == 1.0


def test_ratios_between_two_efforts_are_consistent():
    assert loss_ratio("low", "high") * loss_ratio("high", "low") == pytest.approx(1.0)
    assert token_ratio("high", "low") == pytest.approx(token_ratio("high") / token_ratio("low"))


def test_an_effort_that_nobody_measured_changes_nothing():
    assert loss_ratio("16k", "medium") == token_ratio("16k") == 1.0


@pytest.mark.parametrize(
    ("name", "effort"),
    [("claude-sonnet-4-6", "none"), ("claude-3-7-sonnet", "none"), ("claude-opus-5-5", "medium"),
     ("openai:gpt-5", "medium"), ("gpt-5.2", "none"), ("gpt-5.6", "medium"), ("o3", "medium"),
     ("gpt-4o", "none"), ("gemini-3.5-flash", "medium"), ("gpt-5.2@high", "high"), ("", "medium")],
)  # fmt: skip
def test_the_effort_that_a_name_means(name, effort):
    assert default_effort(name) == effort
