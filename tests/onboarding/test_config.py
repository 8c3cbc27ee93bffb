"""The settings of a test: numbers that make no sense are refused."""

import pytest

from tryage.errors import InputError
from tryage.onboarding.config import OnboardingConfig


@pytest.mark.parametrize(
    "values",
    [
        {"max_prompts": 0},
        {"min_prompts": -1},
        {"batch_size": 0},
        {"tolerance": 2},
        {"risk": float("nan")},
        {"concurrency": "many"},
        {"typical_prompts": []},
        {"typical_prompts": "one"},
    ],
)
def test_impossible_settings_are_refused(values):
    with pytest.raises(InputError):
        OnboardingConfig(**values)
