"""The strong expert where the predicted gain is above a threshold."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tryage import Expert, Preferences, Router
from tryage.core.perception import Perception, Prediction
from tryage.errors import InputError
from tryage.policies import Threshold
from tryage.scoring.qtable import QTable
from tryage.testing import FixedPerception


class GainPerception(Perception):
    """Predicts losses of which the difference is the number that the prompt is."""

    experts = ("large", "larger", "small", "other")

    def predict(self, prompts):
        gains = np.array([float(prompt) for prompt in prompts])
        losses = np.stack(
            [0.5 - gains / 2, 0.6 - gains / 2, 0.5 + gains / 2, gains * 0 + 0.4], axis=1
        )
        return Prediction(losses.astype(np.float32), np.full(losses.shape, 0.1, np.float32))


def make_router(policy=None, **settings) -> Router:
    names = GainPerception.experts
    experts = [Expert(name, parameters=p) for name, p in zip(names, (9, 10, 1, 1), strict=True)]
    return Router(GainPerception(), experts, policy=policy, **settings)


def prompts_of(n: int, seed: int = 0) -> list[str]:
    return [f"{gain:.6f}" for gain in np.random.default_rng(seed).uniform(-0.5, 0.5, n)]


def chosen(decisions) -> list[str]:
    return [decision.expert.name for decision in decisions]


def test_the_strong_expert_answers_where_the_gain_is_above_the_threshold() -> None:
    router = make_router(Threshold("large", "small", threshold=0.1))
    assert chosen(router.route_batch(["0.3", "0.05", "-0.2"])) == ["large", "small", "small"]


def test_a_decision_says_why() -> None:
    (change,) = make_router(Threshold("large", "small", threshold=0.1)).route("0.3").changes
    assert change.policy == "Threshold"
    assert change.reason == "the predicted gain of 0.300 is above the threshold 0.1"


def test_within_a_tier_the_lowest_total_counts() -> None:
    router = make_router(Threshold(["larger", "large"], ["small", "other"], threshold=0.9))
    assert chosen(router.route_batch(["0.4", "-0.4"])) == ["other", "small"]
    router = make_router(Threshold(["larger", "large"], "small", threshold=0.1))
    assert chosen(router.route_batch(["0.4"])) == ["large"]


def test_where_one_side_meets_the_requirements_it_answers() -> None:
    router = make_router(Threshold("large", "small", threshold=0.1))
    decision = router.route("0.3", Preferences(max_parameters=5))
    assert decision.expert.name == "small"
    assert decision.changes[0].reason == "only the weak side meets the requirements"
    decision = router.route("-0.3", Preferences(ban=["small"]))
    assert decision.expert.name == "large"
    assert decision.changes[0].reason == "only the strong side meets the requirements"


def test_where_no_side_meets_the_requirements_the_choice_stays() -> None:
    router = make_router(Threshold("large", "small", threshold=0.1))
    decision = router.route("0.3", Preferences(only=["other"]))
    assert decision.expert.name == "other"
    assert decision.changes == ()


@pytest.mark.parametrize("order", ["as they come", "hard first", "one batch"])
def test_a_calibrated_threshold_keeps_the_share(order: str) -> None:
    router = make_router()
    policy = Threshold.calibrate(router, prompts_of(500), 0.3, strong="large", weak="small")
    prompts = prompts_of(1000, seed=1)
    if order == "hard first":
        prompts.sort(key=float, reverse=True)
    routed = router.with_policy(policy)
    size = 1000 if order == "one batch" else 7
    names = [
        name
        for start in range(0, 1000, size)
        for name in chosen(routed.route_batch(prompts[start : start + size]))
    ]
    assert names.count("large") / 1000 == pytest.approx(0.3, abs=0.02)


def test_decisions_that_are_not_acted_on_do_not_count() -> None:
    policy = Threshold.calibrate(make_router(), prompts_of(500), strong="large", weak="small")
    router = make_router(policy)
    before = policy.threshold
    router.decide_batch(["0.5"] * 50)
    assert policy.threshold == before
    router.route_batch(["0.5"] * 3)
    assert policy.threshold > before


def test_the_threshold_after_calibration_is_the_quantile_of_the_gains() -> None:
    router, prompts = make_router(), prompts_of(999)
    policy = Threshold.calibrate(router, prompts, 0.3, strong="large", weak="small")
    assert policy.share == 0.3
    assert policy.threshold == pytest.approx(np.quantile(np.array(prompts, float), 0.7), abs=0.005)


def test_a_pickled_threshold_decides_the_same() -> None:
    policy = Threshold.calibrate(make_router(), prompts_of(300), strong="large", weak="small")
    other = pickle.loads(pickle.dumps(policy))  # noqa: S301 - our own bytes
    prompts = prompts_of(300, seed=2)
    assert chosen(make_router(other).route_batch(prompts)) == chosen(
        make_router(policy).route_batch(prompts)
    )


def test_the_report_is_that_of_the_paper() -> None:
    # The predicted order is 0.4, 0.2, -0.1, -0.3; the real gains in it are 1, 0, 1, 0.
    table = QTable(
        prompts=("0.4", "0.2", "-0.1", "-0.3"),
        experts=("small", "large"),
        losses=np.array([[1, 0], [1, 1], [1, 0], [0, 0]], np.float32),
    )
    report = Threshold("large", "small", threshold=0.1).report(make_router(), table)
    assert (report.strong_score, report.weak_score) == (0.75, 0.25)
    assert (report.share, report.score, report.recovered) == (0.5, 0.5, 0.5)
    # The curve of recovered share over calls is (0, 0), (1/4, 1/2), (1/2, 1/2), (3/4, 1), (1, 1).
    assert report.apgr == pytest.approx((0.25 + 0.5 + 0.75 + 1) / 4)
    assert report.cpt50 == pytest.approx(0.25)
    assert report.cpt80 == pytest.approx(0.5 + 0.25 * 0.6)


def test_a_report_without_a_gap_is_an_error() -> None:
    table = QTable(("0.4",), ("small", "large"), np.array([[0, 1]], np.float32))
    with pytest.raises(InputError, match="Exchange the sides"):
        Threshold("large", "small", threshold=0.1).report(make_router(), table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strong": "a", "weak": "a", "share": 0.3}, "both sides"),
        ({"strong": "a", "weak": [], "share": 0.3}, "no name"),
        ({"strong": "a", "weak": None, "share": 0.3}, "weak must be a list"),
        ({"strong": "a", "weak": "b"}, "expected one of them"),
        ({"strong": "a", "weak": "b", "share": 0.3, "threshold": 0.1}, "expected one of them"),
        ({"strong": "a", "weak": "b", "share": 30}, "share must be between 0 and 1"),
        ({"strong": "a", "weak": "b", "threshold": float("nan")}, "threshold must be"),
        ({"strong": "a", "weak": "b", "share": 0.3, "window": 10}, "window"),
    ],
)
def test_malformed_arguments_are_errors(arguments, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Threshold(**arguments)


def test_an_unknown_side_is_an_error() -> None:
    with pytest.raises(InputError, match="which the router does not know"):
        make_router(Threshold("missing", "small", share=0.3))


def test_one_expert_by_two_names_is_on_both_sides() -> None:
    router = Router(FixedPerception({"a": 0.1, "b": 0.2}), [Expert("a", aliases=["x"]), "b"])
    with pytest.raises(InputError, match="both sides"):
        router.with_policy(Threshold("a", "x", share=0.3))


def test_the_order_of_many_calibration_prompts_does_not_matter() -> None:
    router, prompts = make_router(), sorted(prompts_of(5000), key=float)
    policy = Threshold.calibrate(router, prompts, 0.3, strong="large", weak="small")
    assert policy.threshold == pytest.approx(0.2, abs=0.04)


def test_calibration_without_a_common_prompt_is_an_error() -> None:
    router = Router(FixedPerception({"a": 0.1, "b": 0.2}), preferences=Preferences(only=["a"]))
    with pytest.raises(InputError, match="None of the 2 prompts"):
        Threshold.calibrate(router, ["x", "y"], strong="a", weak="b")


def test_requests_that_are_decided_at_once_are_made_up_for() -> None:
    policy = Threshold.calibrate(make_router(), prompts_of(500), 0.3, strong="large", weak="small")
    router = make_router(policy)
    own = [Preferences(max_parameters=100 + i) for i in range(50)]  # each a group of its own
    names = [name for _ in range(40) for name in chosen(router.route_batch(["0.5"] * 50, own))]
    assert names.count("large") / 2000 == pytest.approx(0.3, abs=0.04)
