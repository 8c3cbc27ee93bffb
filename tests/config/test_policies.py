"""Tables of rules and policies become policies."""

from __future__ import annotations

import pytest

from tryage.config.policies import make_policy, make_rules
from tryage.config.policy_schema import (
    BudgetTable,
    CascadeTable,
    EraseAndCheckTable,
    OwnPolicyTable,
    RulesTable,
    ThresholdTable,
)
from tryage.config.schema import RuleTable
from tryage.errors import InputError
from tryage.policies import Agreement, Budget, Cascade, Ensemble, Rules, Threshold


def test_a_budget_has_what_its_table_says(tmp_path):
    budget = make_policy(BudgetTable(kind="Budget", usd_per_day=5, by="user"), tmp_path)
    assert isinstance(budget, Budget)
    assert (budget.limit, budget.by) == (5.0, "user")


def test_a_threshold_takes_names(tmp_path):
    table = ThresholdTable(kind="Threshold", strong="a", weak=["b", "c"], share=0.3)
    assert isinstance(make_policy(table, tmp_path), Threshold)


def test_words_are_erased_as_a_table_says(tmp_path):
    table = EraseAndCheckTable(kind="EraseAndCheck", words=6, fallback="a", middle=True)
    policy = make_policy(table, tmp_path)
    assert repr(policy) == "EraseAndCheck(6, fallback='a', middle=True)"


def test_a_cascade_takes_a_verifier_and_steps_that_ask_several(tmp_path):
    table = CascadeTable.model_validate(
        {
            "kind": "Cascade",
            "steps": ["a", ["b", "c"], "d"],
            "verify": {"kind": "Agreement", "samples": 3},
        }
    )
    cascade = make_policy(table, tmp_path)
    assert isinstance(cascade, Cascade)
    assert isinstance(cascade.verifier, Agreement)
    assert cascade.verifier.samples == 2
    assert [step.name for step in cascade.steps] == ["a", Ensemble(["b", "c"]).name, "d"]


def test_rules_are_those_of_the_tables_or_of_a_file(write, tmp_path):
    write('[[rules]]\nban = "a"\n', "rules.toml")
    of_file = make_policy(RulesTable(kind="Rules", file="rules.toml"), tmp_path)
    assert isinstance(of_file, Rules)
    assert make_rules([RuleTable(ban="a")]).rules == of_file.rules


def test_a_policy_of_your_own_gets_the_other_keys(write, tmp_path):
    write(
        "from tryage.core.policy import Policy\n"
        "class Quota(Policy):\n"
        "    def __init__(self, limit):\n"
        "        self.limit = limit\n",
        "tryage_own_policies.py",
    )
    table = OwnPolicyTable(kind="tryage_own_policies:Quota", limit=3)
    assert make_policy(table, tmp_path).limit == 3
    with pytest.raises(InputError, match="does not take these keys"):
        make_policy(OwnPolicyTable(kind="tryage_own_policies:Quota", limt=3), tmp_path)
    with pytest.raises(InputError, match="expected a policy"):
        make_policy(OwnPolicyTable(kind="json:JSONDecoder"), tmp_path)


def test_a_verifier_that_is_not_there_is_an_error(tmp_path):
    table = CascadeTable.model_validate(
        {"kind": "Cascade", "steps": ["a", "b"], "verify": {"kind": "Agrement"}}
    )
    with pytest.raises(InputError, match="there is no Agrement"):
        make_policy(table, tmp_path)


@pytest.mark.parametrize("kind", ["", "Agree ment", "Agree\nment", "a.b", "Policy("])
def test_a_verifier_of_a_name_that_no_class_can_have_is_refused_in_words(tmp_path, kind):
    verify = {"kind": kind}
    table = CascadeTable.model_validate({"kind": "Cascade", "steps": ["a"], "verify": verify})
    with pytest.raises(InputError):
        make_policy(table, tmp_path)
