"""The policies of the page as objects, in the words of their classes."""

import pytest

from tryage.errors import InputError
from tryage.policies import Budget, QualityGap, Threshold
from tryage_playground.policy_choice import PolicyChoice


def test_each_kind_makes_its_policy_with_its_number():
    gap = PolicyChoice("quality_gap", 0.05).make()
    budget = PolicyChoice("budget", 0.001).make()
    threshold = PolicyChoice("threshold", 0.1, "large", "small").make()
    assert (type(gap), gap.gap) == (QualityGap, 0.05)
    assert (type(budget), budget.limit) == (Budget, 0.001)
    assert (type(threshold), threshold.strong, threshold.weak) == (
        Threshold,
        ("large",),
        ("small",),
    )
    assert PolicyChoice().make() is None


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (PolicyChoice("cascade", 1.0), "'cascade' is no policy of this page"),
        (PolicyChoice("buget", 1.0), "budget"),
        (PolicyChoice("quality_gap"), "needs its number, such as 0.02"),
        (PolicyChoice("quality_gap", 2.0), "gap"),
        (PolicyChoice("threshold", 0.1), "strong"),
    ],
)
def test_a_policy_that_cannot_be_made_says_why(choice, said):
    with pytest.raises(InputError, match=said):
        choice.make()
