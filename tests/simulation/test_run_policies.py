"""The policies that ship, alone and in their order, in a simulation."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert, Preferences, QTable, Router
from tryage.core.policy import PolicyStage
from tryage.errors import InputError
from tryage.policies import (
    AnswerCache,
    Budget,
    Cascade,
    Guarantee,
    Hedge,
    QualityGap,
    Rule,
    Rules,
    Threshold,
)
from tryage.policies.evidence import LogProbability
from tryage.policies.likelihood import Likelihood
from tryage.simulation.evidence import simulated_evidence
from tryage.testing import FixedPerception

SIZE = 40
LOSSES = (np.random.default_rng(0).random((SIZE, 2)) < (0.5, 0.1)).astype(float)
TABLE = QTable(
    [f"prompt {i % 20}" for i in range(SIZE)],  # every prompt comes twice
    ("small", "large"),
    LOSSES,
    costs=[[0.001, 0.02]] * SIZE,
    latencies=np.where(np.arange(SIZE)[:, None] % 10 == 9, 9.0, 1.0) * np.ones((1, 2)),
)
EVIDENCE = simulated_evidence(TABLE.losses, 0.9)
LIKELIHOOD = Likelihood.fit(EVIDENCE.ravel(), 1.0 - LOSSES.ravel())

POLICIES = {
    "Rules": lambda: Rules([Rule(pattern="7", only="large")]),
    "AnswerCache": lambda: AnswerCache(shared=True),
    "Budget": lambda: Budget(usd_per_day=0.2, hard=True),
    "Guarantee": lambda: Guarantee("large"),
    "Threshold": lambda: Threshold("large", "small", share=0.3),
    "QualityGap": lambda: QualityGap(0.5),
    "Cascade": lambda: Cascade(["small", "large"], verify=LogProbability(), likelihoods=LIKELIHOOD),
    "Hedge": lambda: Hedge(seconds=2.0, max_share=1.0),
}


def make_router() -> Router:
    experts = [
        Expert("small", input_price=1, output_price=1),
        Expert("large", input_price=20, output_price=20),
    ]
    perception = FixedPerception({"small": 0.5, "large": 0.1})
    return Router(perception, experts, preferences=Preferences(answer_value=0.1))


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_starts_anew_with_each_simulation(name):
    policy = POLICIES[name]()
    first, second = (
        make_router().simulate(policy, TABLE, evidence=EVIDENCE).to_dict()["policies"]
        for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_says_where_it_stands_in_a_chain(name):
    assert isinstance(POLICIES[name]().stage, PolicyStage)


def test_all_of_them_work_together_in_the_documented_order():
    chain = POLICIES["Rules"]()
    for name in ("AnswerCache", "Budget", "Cascade", "Hedge"):
        chain = chain | POLICIES[name]()
    found = make_router().simulate(chain, TABLE, evidence=EVIDENCE)
    (run,) = found.policies
    assert {"cached", "escalated"} <= set(run.outcomes)
    assert {reason.partition(":")[0] for reason in run.reasons} >= {"Rules", "AnswerCache"}
    assert run.total <= 0.2 + 0.041  # the purse, and one request with all its further calls
    assert run.total < found["plain routing"].total


def test_a_hard_purse_refuses_what_it_cannot_pay():
    found = make_router().simulate(Budget(usd_per_day=0.02, hard=True), TABLE)
    (run,) = found.policies
    assert run.outcomes["refused"] > 0.3
    assert run.total <= 0.02 + 0.001


def test_a_cascade_before_a_budget_is_refused():
    with pytest.raises(InputError, match=r"expected Budget \| Cascade"):
        POLICIES["Cascade"]() | POLICIES["Budget"]()


@pytest.mark.parametrize(
    "policy",
    [
        Rules([Rule(ban="unmeasured")]),
        QualityGap(0.1, gaps={"unmeasured": 0.0}),
        Threshold(["large", "unmeasured"], "small", share=0.3),
    ],
)
def test_a_policy_may_name_an_expert_that_the_table_lacks(policy):
    router = Router(FixedPerception({"small": 0.5, "large": 0.1, "unmeasured": 0.2}))
    assert router.simulate(policy, TABLE)[policy.name].score is not None
    with pytest.raises(InputError):
        make_router().simulate(policy, TABLE)
