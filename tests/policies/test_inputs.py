"""What policies are given to learn from is checked, and the error says what is expected."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert, Router
from tryage.errors import GuaranteeError, InputError
from tryage.policies import Budget, Cascade, FormatCheck, Guarantee, QualityGap, Threshold
from tryage.scoring import QTable
from tryage.testing import FixedPerception

SIDES = {"strong": "large", "weak": "small"}
CASCADE = Cascade(["small", "large"], verify=FormatCheck("json"))
PROMPTS = [f"Question {i}" for i in range(40)]
TABLE = QTable(PROMPTS, ("small", "large"), np.tile([0.5, 0.1], (40, 1)))


@pytest.fixture
def router():
    experts = [
        Expert("small", input_price=1, output_price=1),
        Expert("large", input_price=9, output_price=9),
    ]
    return Router(FixedPerception({"small": 0.5, "large": 0.1}), experts)


@pytest.mark.parametrize(
    "learn",
    [
        lambda router: Budget(usd_per_day=1).calibrate(router, PROMPTS),
        lambda router: Threshold.calibrate(router, PROMPTS, **SIDES),
        lambda router: Threshold(**SIDES, share=0.3).report(router, TABLE),
        lambda router: QualityGap.calibrate(router, TABLE),
        lambda router: Guarantee.calibrate(router, TABLE, "large"),
        lambda router: CASCADE.calibrate(router, []),
    ],
)
def test_what_is_no_router_is_an_error(learn):
    with pytest.raises(InputError, match=r"router is a NoneType; expected one tryage\.Router"):
        learn(None)


@pytest.mark.parametrize(
    "learn",
    [
        lambda router, table: Threshold(**SIDES, share=0.3).report(router, table),
        QualityGap.calibrate,
        lambda router, table: Guarantee.calibrate(router, table, "large"),
    ],
)
def test_the_path_of_a_table_is_no_table(learn, router):
    with pytest.raises(InputError, match=r"table is a str.*QTable\.read\('outcomes\.csv'\)"):
        learn(router, "outcomes.csv")
    with pytest.raises(InputError, match=r"table is a NoneType; expected a tryage.scoring.QTable"):
        learn(router, None)


@pytest.mark.parametrize("answers", [None, ["yes"], [("small", "a prompt", "yes", 0.0)]])
def test_a_cascade_is_calibrated_on_labelled_answers(router, answers):
    with pytest.raises(InputError, match=r"answers has a .*; expected a list of LabelledAnswer\("):
        CASCADE.calibrate(router, answers)


def test_prompts_to_calibrate_on_are_a_list(router):
    with pytest.raises(InputError, match=r"prompts is a NoneType; expected a list of strings"):
        Threshold.calibrate(router, None, **SIDES)


@pytest.mark.parametrize("gaps", [[], 0.1, "0.1", None])
def test_a_curve_needs_a_list_of_gaps(router, gaps):
    with pytest.raises(InputError, match=r"gaps is .*; expected a list such as"):
        QualityGap().curve(router, TABLE, gaps)
    assert len(QualityGap().curve(router, TABLE, np.array([0.0, 0.1]))) == 2


def test_a_tier_without_a_name_is_not_the_best_of_all():
    with pytest.raises(InputError, match=r"large has no name"):
        QualityGap(large=[])


@pytest.mark.parametrize(
    "policy",
    [
        Threshold("larg", "small", share=0.3),
        QualityGap(large="larg"),
        Cascade(["small", "larg"], verify=FormatCheck("json")),
    ],
)
def test_a_name_that_the_router_does_not_know_is_shown_with_the_nearest(router, policy):
    with pytest.raises(InputError, match=r"larg, which the router does not know. Did you mean lar"):
        router.with_policy(policy)


def test_the_first_names_are_shown_where_none_is_near(router):
    with pytest.raises(InputError, match=r"know\. Expected some of small, large\.$"):
        router.with_policy(QualityGap(large="xyz"))


def test_a_guarantee_says_how_many_prompts_an_expert_has_to_have_answered(router):
    losses = np.where(np.arange(40)[:, None] % 3 + [[0, 1]] == 0, np.nan, TABLE.losses)
    with pytest.raises(GuaranteeError, match=r"large was measured on 40 .*nearly all of them"):
        Guarantee.calibrate(router, QTable(PROMPTS, ("small", "large"), losses), "large")


@pytest.mark.parametrize(
    "policy",
    [Threshold(["large", "huge"], "small", share=0.3), QualityGap(large=["large", "huge"])],
)
def test_one_wrong_name_of_a_tier_is_an_error_but_not_in_a_subset(policy):
    perception = FixedPerception({"small": 0.5, "large": 0.1, "huge": 0.2})
    assert Router(perception).with_policy(policy).subset(["small", "large"]).policy is not None
    with pytest.raises(InputError, match="has huge, which the router does not know"):
        Router(FixedPerception({"small": 0.5, "large": 0.1}), policy=policy)
