"""Policies beside plain routing, thresholds, single experts, chance and the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert, Preferences, Router
from tryage.core.policy import Policy, PolicyBatch, PolicyChoice
from tryage.errors import InputError
from tryage.scoring.qtable import QTable
from tryage.simulation.compare import best_answers, compare, threshold_points
from tryage.simulation.stream import stream_of_table
from tryage.testing import FixedPerception

NAN = float("nan")
TABLE = QTable(
    ("p", "q", "r", "s"),
    ("small", "large"),
    [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]],
    costs=[[1.0, 10.0]] * 4,
)
EXPERTS = [
    Expert("small", input_price=1, output_price=1),
    Expert("large", input_price=10, output_price=10),
]


def make_router(policy: Policy | None = None) -> Router:
    losses = {"small": 0.5, "large": 0.1}
    prompts = {"q": {"small": 0.1}}
    return Router(FixedPerception(losses, prompts), EXPERTS, preferences="best", policy=policy)


class Cheapest(Policy):
    """Chooses the cheapest expert; counts what it has recorded."""

    recorded = 0

    def choose(self, batch: PolicyBatch) -> PolicyChoice:
        experts = batch.counted_costs.argmin(axis=1)
        return PolicyChoice(experts, ["it is the cheapest"] * len(experts))

    def record(self, _) -> None:
        self.recorded += 1


def simulate(policies=None, table: QTable = TABLE, **options):
    return compare(make_router, policies or Cheapest(), stream_of_table(table), **options)


def test_every_way_to_answer_has_its_mean_score_and_cost():
    found = simulate()
    figures = {one.name: (one.score.value, one.cost.value, one.total) for one in found.summaries()}
    assert figures == {
        "Cheapest": (0.5, 1.0, 4.0),
        "plain routing": (0.75, 7.75, 31.0),  # large, but for q, of which both are equally good
        "large": (0.75, 10.0, 40.0),
        "small": (0.5, 1.0, 4.0),
        "random": (0.625, 5.5, 22.0),
        "oracle": (1.0, 5.5, 22.0),  # large for p and s alone
    }
    assert found.best_single.name == "large"
    assert found["plain routing"].shares == {"large": 0.75, "small": 0.25}
    assert found["Cheapest"].reasons == {"Cheapest: it is the cheapest": 4}


def test_the_thresholds_go_from_the_best_choice_to_the_cheapest():
    points = simulate().thresholds
    assert (points[0].cost, points[0].score) == (7.75, 0.75)
    assert (points[-1].cost, points[-1].score) == (1.0, 0.5)


def test_the_policy_itself_is_as_before():
    policy = Cheapest()
    simulate(policy)
    assert policy.recorded == 0


def test_several_policies_have_the_names_that_they_are_given():
    found = simulate({"one": Cheapest(), "two": Policy()})
    assert [one.name for one in found.policies] == ["one", "two"]
    assert found["two"].score == found["plain routing"].score
    with pytest.raises(InputError, match="expected a policy"):
        simulate({"none": "cheapest"})
    with pytest.raises(InputError, match="names of policies"):
        simulate({1: Cheapest()})
    with pytest.raises(InputError, match="There is no policy"):
        compare(make_router, {}, stream_of_table(TABLE))


def test_a_table_without_costs_counts_the_expected_ones_and_says_so():
    found = simulate(table=QTable(TABLE.prompts, TABLE.experts, TABLE.losses))
    assert 0 < found["small"].cost.value < found["large"].cost.value
    assert found.notes == ("100% of the costs are not known: they count as predicted.",)


def test_without_any_price_there_are_scores_and_no_thresholds():
    table = QTable(TABLE.prompts, TABLE.experts, TABLE.losses)

    def unpriced(policy: Policy | None) -> Router:
        return Router(FixedPerception({"small": 0.5, "large": 0.1}), policy=policy)

    found = compare(unpriced, Policy(), stream_of_table(table))
    assert found["Policy"].score.value == 0.75
    assert found["Policy"].cost is None
    assert found.thresholds == ()
    assert "large" in str(found)


def test_the_oracle_takes_the_cheapest_of_equals_and_never_what_was_not_measured():
    losses, costs = [[0.0, 0.0], [NAN, 1.0], [0.0, 0.0]], [[1.0, 10.0], [1.0, 10.0], [9.0, 2.0]]
    table = QTable(("p", "q", "r"), ("small", "large"), losses, costs=costs)
    assert best_answers(stream_of_table(table)).tolist() == [0, 1, 1]


def test_a_threshold_never_chooses_what_was_not_measured():
    table = QTable(("p",), ("small", "large"), [[NAN, 1.0]], costs=[[1.0, 10.0]])
    (point,) = threshold_points(np.zeros((1, 2)), np.ones((1, 2)), stream_of_table(table))
    assert (point.score, point.cost) == (0.0, 10.0)


def test_prompts_for_which_no_expert_is_allowed_are_refused_in_plain_routing_too():
    def strict(policy: Policy | None) -> Router:
        return make_router(policy).with_preferences(Preferences(max_cost=1e-12))

    found = compare(strict, Policy(), stream_of_table(TABLE))
    assert found["plain routing"].outcomes == {"refused": 1.0}
    assert found["Policy"].score is None
    assert found.thresholds == ()
    assert "100% refused" in str(found)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": 2.5}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="must be a whole number"):
        simulate(**options)


def test_a_list_of_policies_has_no_names():
    with pytest.raises(InputError, match="by the names that they get"):
        simulate([Policy(), Policy()])
