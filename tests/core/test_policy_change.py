"""What a policy leaves in a decision, as plain values."""

from tryage.core.policy_change import PolicyChange


def test_a_change_is_json_safe_and_comes_back_from_its_values():
    change = PolicyChange("Budget", "the purse of today is empty", "large", "small")
    assert change.to_dict() == {
        "policy": "Budget",
        "reason": "the purse of today is empty",
        "before": "large",
        "after": "small",
    }
    assert PolicyChange(**change.to_dict()) == change
