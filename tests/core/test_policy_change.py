"""What a policy leaves in a decision, as plain values."""

from tryage.core.policy_change import CallPlan, CallStep, HedgePlan, PolicyChange


def test_a_change_is_json_safe_and_comes_back_from_its_values():
    change = PolicyChange("Budget", "the purse of today is empty", "large", "small")
    assert change.to_dict() == {
        "policy": "Budget",
        "reason": "the purse of today is empty",
        "before": "large",
        "after": "small",
    }
    assert PolicyChange(**change.to_dict()) == change


def test_the_steps_of_one_policy_and_the_hedge_of_another_are_called_together():
    steps = CallPlan(steps=(CallStep("small"), CallStep("large")))
    hedge = CallPlan(hedge=HedgePlan("medium", 2.0))
    assert steps.merged(hedge) == hedge.merged(steps)
    assert steps.merged(hedge) == CallPlan(steps.steps, HedgePlan("medium", 2.0))
    assert steps.merged(None) == steps
