"""Policies as words: their settings, chains, and mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import QTable, Router
from tryage.cli.policy_words import Calibration, needs_calibration, parse_policy
from tryage.errors import InputError
from tryage.policies import Cascade, Hedge, Rules, Threshold
from tryage.testing import FixedPerception

ROUTER = Router(FixedPerception({"small": 0.5, "large": 0.1}))
CALIBRATION = Calibration(ROUTER)


def test_settings_are_numbers_words_and_lists():
    policy = parse_policy("threshold strong=large,huge weak=small share=0.3", CALIBRATION)
    assert isinstance(policy, Threshold)
    assert policy.strong == ("large", "huge")
    assert policy.weak == ("small",)


def test_several_policies_are_a_chain(tmp_path):
    path = tmp_path / "our rules.toml"
    path.write_text('[[rules]]\nban = "large"\n')
    text = f"rules '{path}' | threshold strong=large weak=small share=0.3 | hedge"
    chain = parse_policy(text, CALIBRATION)
    assert [type(one) for one in chain.policies()] == [Rules, Threshold, Hedge]


def test_a_cascade_learns_how_much_simulated_evidence_tells():
    losses = np.tile([[1.0, 0.0], [0.0, 1.0]], (30, 1))
    table = QTable([f"p{i}" for i in range(60)], ("small", "large"), losses)
    policy = parse_policy(
        "cascade steps=small,large", Calibration(ROUTER, table, np.where(losses > 0, 0.2, 0.8))
    )
    assert isinstance(policy, Cascade)
    assert needs_calibration("rules x | cascade steps=small,large")
    assert not needs_calibration("hedge")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("treshold", "Did you mean threshold"),
        ("", "has no name"),
        ("hedge 'x", "open quote"),
        ("threshold strong=a", "Its settings are strong, weak, share"),
        ("hedge speed=3", "unexpected keyword argument 'speed'"),
        ("guarantee reference=large", "which a log has not"),
        ("cascade steps=small,large", "which a log has not"),
        ("hedge | rules nothing.toml", "nothing.toml"),
    ],
)
def test_a_mistake_says_what_is_right(text, message):
    with pytest.raises(InputError, match=message):
        parse_policy(text, CALIBRATION)


def test_a_cascade_on_a_table_asks_how_strong_the_evidence_is():
    table = QTable(["p"], ("small", "large"), np.zeros((1, 2)))
    with pytest.raises(InputError, match=r"--evidence 0\.8"):
        parse_policy("cascade steps=small,large", Calibration(ROUTER, table))


def test_a_setting_that_is_nested_deeply_is_refused_in_words():
    deep = "[" * 100_000
    with pytest.raises(InputError):
        parse_policy(f"threshold strong=large weak=small share={deep}", CALIBRATION)
