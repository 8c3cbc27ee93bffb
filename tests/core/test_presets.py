"""Presets: their names, what they mean, and what an unknown one says."""

from __future__ import annotations

import pytest

from tryage.core.preferences import Preferences
from tryage.core.presets import DEFAULT_PRESET, PRESETS, preset_keywords
from tryage.errors import InputError


def test_the_presets_are_best_balanced_and_thrifty():
    assert list(PRESETS) == ["best", "balanced", "thrifty"]
    assert Preferences.preset("best") == Preferences(tolerance=0)
    assert Preferences.preset("balanced") == Preferences(answer_value=1.0, tolerance=0.0035)
    assert Preferences.preset("thrifty") == Preferences(answer_value=0.1)
    assert DEFAULT_PRESET in PRESETS


def test_requirements_are_added_to_a_preset():
    preferences = Preferences.preset("thrifty", max_cost=0.01)
    assert preferences == Preferences(answer_value=0.1, max_cost=0.01)


@pytest.mark.parametrize("name", ["", "thrify", "cheap", None, 3, ["best"]])
def test_an_unknown_preset_is_an_error_that_lists_the_presets(name):
    with pytest.raises(InputError, match="expected 'best', 'balanced', 'thrifty'"):
        preset_keywords(name)


def test_a_typing_error_is_told_what_was_meant():
    with pytest.raises(InputError, match="Did you mean thrifty"):
        Preferences.preset("thrify")
