"""The cheapest expert whose answer is expected to be almost as good as the best one."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from tryage import Expert, Preferences, Router
from tryage.core.perception import Perception, Prediction
from tryage.errors import InputError
from tryage.policies import QualityGap
from tryage.policies.quality_gap import within_gap
from tryage.scoring.qtable import QTable
from tryage.testing import FixedPerception

LOSSES = {"large": 0.1, "medium": 0.12, "small": 0.2}
DEAR = Preferences(answer_value=100)  # a right answer is worth so much that costs hardly count
PRICES = {"large": 10, "medium": 5, "small": 1}


def make_router(policy=None, losses=LOSSES, **settings) -> Router:
    experts = [Expert(name, input_price=p, output_price=p) for name, p in PRICES.items()]
    return Router(FixedPerception(losses), experts, policy=policy, **settings)


@pytest.mark.parametrize(
    ("gap", "expert"), [(0.0, "large"), (0.019, "large"), (0.021, "medium"), (0.11, "small")]
)
def test_the_cheapest_expert_within_the_gap_answers(gap: float, expert: str) -> None:
    assert make_router(QualityGap(gap)).route("a prompt").expert.name == expert


def test_without_dollars_it_is_the_tolerance_of_the_preferences() -> None:
    for gap in (0.0, 0.03, 0.2):
        plain = make_router(preferences=Preferences(tolerance=gap)).route("a prompt")
        assert make_router(QualityGap(gap)).route("a prompt").expert == plain.expert


def test_a_decision_says_why() -> None:
    (change,) = make_router(QualityGap(0.05), preferences=DEAR).route("a prompt").changes
    assert (change.before, change.after) == ("large", "medium")
    assert change.reason == "the cheapest of 2 that are within their quality gap to large"


def test_a_call_has_its_own_gap() -> None:
    router = make_router(QualityGap(0.0, gaps={"small": 0.0}))
    assert router.route("a prompt", Preferences(tolerance=0.11)).expert.name == "small"
    assert router.route("a prompt").expert.name == "large"
    assert make_router(QualityGap(0.5)).route("a prompt", "best").expert.name == "large"
    assert make_router(QualityGap(0.5)).route("a prompt", "thrifty").expert.name == "small"


def test_each_expert_or_tier_may_have_its_own_gap() -> None:
    router = make_router(QualityGap(0.0, gaps={("small", "medium"): 0.11}))
    assert router.route("a prompt").expert.name == "small"


def test_others_are_compared_with_the_large_tier() -> None:
    losses = {"large": 0.19, "medium": 0.1, "small": 0.2}
    router = make_router(QualityGap(0.02, large=["large"]), losses)
    assert router.route("a prompt").expert.name == "small"
    assert make_router(QualityGap(0.02), losses).route("a prompt").expert.name == "medium"
    without = router.route("a prompt", Preferences(ban=["large"]))
    assert without.expert.name == "medium"  # the best of all, where no large one may answer


def test_requirements_hold() -> None:
    router = make_router(QualityGap(0.5))
    assert router.route("a prompt", Preferences(ban=["small"])).expert.name == "medium"


def test_an_unknown_price_is_a_dear_one() -> None:
    experts = ["large", Expert("small", input_price=1, output_price=1), "medium"]
    router = Router(FixedPerception(LOSSES), experts, policy=QualityGap(0.5))
    assert router.route("a prompt").expert.name == "small"


def test_without_any_price_the_best_expert_answers() -> None:
    router = Router(FixedPerception({"small": 0.2, "large": 0.1}), policy=QualityGap(0.5))
    assert router.route("a prompt").expert.name == "large"


def test_a_probability_asks_more_of_experts_that_little_is_known_about() -> None:
    losses, std = np.array([[0.1, 0.2, 0.2, 0.2]]), np.array([[0.03, 0.04, 0.3, np.nan]])
    # The small one is worse by 0.1 +- 0.05, the third one by 0.1 +- 0.3.
    for probability in (0.2, 0.5, 0.8, 0.95):
        holds = NormalDist(0.1, 0.05).cdf(0.15) >= probability
        found = within_gap(losses, std, np.array([0]), np.full(4, 0.15), probability)
        assert found.tolist() == [[True, holds, probability <= 0.5, True]]


class PromptPerception(Perception):
    """Predicts that the small expert is worse by the number that the prompt is."""

    experts = ("large", "small")

    def predict(self, prompts):
        worse = np.array([float(prompt) for prompt in prompts])
        losses = np.stack([worse * 0 + 0.1, worse + 0.1], axis=1).astype(np.float32)
        return Prediction(losses, np.full(losses.shape, 0.1, np.float32))


PROMPTS = ("0.04", "0.15", "0.25", "0.6")
TABLE = QTable(
    prompts=PROMPTS,
    experts=("large", "small"),
    losses=np.array([[0, 0], [0, 0], [0, 1], [0, 1]], np.float32),
)


def make_prompt_router(policy=None) -> Router:
    experts = [Expert("large", input_price=10, output_price=10),
               Expert("small", input_price=1, output_price=1)]  # fmt: skip
    return Router(PromptPerception(), experts, policy=policy)


def test_the_curve_has_cost_advantage_and_drop_of_the_paper() -> None:
    points = QualityGap().curve(make_prompt_router(), TABLE, [0, 0.05, 0.2, 0.4, 1])
    assert [one.cost_advantage for one in points] == [0, 0.25, 0.5, 0.75, 1]
    assert [one.drop for one in points] == [0, 0, 0, 0.25, 0.5]
    assert [one.score for one in points] == [1, 1, 1, 0.75, 0.5]
    assert [one.saving for one in points] == pytest.approx([0, 0.225, 0.45, 0.675, 0.9], abs=0.01)
    assert {one.n_prompts for one in points} == {4}


def test_calibration_takes_the_largest_gap_with_a_small_drop() -> None:
    router = make_prompt_router()
    assert QualityGap.calibrate(router, TABLE, 0.0).gap == 0.2
    assert QualityGap.calibrate(router, TABLE, 0.25).gap == 0.5
    assert QualityGap.calibrate(router, TABLE, 1.0).gap == 1.0


def test_calibration_that_cannot_be_met_is_an_error() -> None:
    table = QTable(("-0.05",), ("large", "small"), np.array([[0, 1]], np.float32))
    with pytest.raises(InputError, match=r"A gap of 0 drops the quality by 1\.0000"):
        QualityGap.calibrate(make_prompt_router(), table, 0.01, large="large")


def test_a_curve_chooses_among_the_experts_of_the_table() -> None:
    router = make_router(losses={"large": 0.1, "medium": 0.12, "small": 0.1})
    table = QTable(("a",), ("large", "medium"), np.array([[0, 0]], np.float32))
    (point,) = QualityGap().curve(router, table, [0.5])
    assert (point.cost_advantage, point.saving) == (1, 0.5)


def test_a_curve_needs_measured_losses() -> None:
    table = QTable(PROMPTS, ("large", "small"), np.array([[0, np.nan]] * 4, np.float32))
    with pytest.raises(InputError, match="None of the 4 prompts has measured losses"):
        QualityGap().curve(make_prompt_router(), table)
    table = QTable(PROMPTS, ("other",), np.zeros((4, 1), np.float32))
    with pytest.raises(InputError, match="The router knows none of the table's experts, other"):
        QualityGap().curve(make_prompt_router(), table)
    table = QTable(PROMPTS, ("small",), np.zeros((4, 1), np.float32))
    with pytest.raises(InputError, match="large has large, which the router does not know"):
        QualityGap(large="large").curve(make_prompt_router(), table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gap": -0.1}, "gap must be between 0 and 1"),
        ({"gap": None}, "gap must be a number"),
        ({"gaps": [("small", 0.1)]}, "expected gaps by names"),
        ({"gaps": {"small": 2}}, "gap of small must be"),
        ({"gaps": {"small": 0.1, ("small", "medium"): 0.2}}, "two gaps of small"),
        ({"large": [3]}, "large must hold"),
        ({"probability": 1.0}, "probability must be"),
    ],
)
def test_malformed_arguments_are_errors(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        QualityGap(**arguments)


def test_an_unknown_expert_with_a_gap_is_an_error_but_not_for_a_subset() -> None:
    with pytest.raises(InputError, match=r"gaps has 'smal', .* Did you mean small"):
        make_router(QualityGap(gaps={"smal": 0.1}))
    router = make_router(QualityGap(gaps={"small": 0.1})).subset(["large", "medium"])
    assert router.route("a prompt").expert.name == "medium"


def test_an_unknown_large_expert_is_an_error() -> None:
    with pytest.raises(InputError, match="which the router does not know"):
        make_router(QualityGap(large="missing"))
