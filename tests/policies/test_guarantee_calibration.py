"""Rules from safe to cheap, and which of them measured answers allow."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tryage.errors import GuaranteeError
from tryage.policies.guarantee_calibration import (
    TOLERANCES,
    GuaranteeCalibration,
    calibrate_tolerance,
    choose_along,
    choose_within,
    select_rule,
)

REFERENCE = 0
COSTS = np.array([10.0, 1.0, 3.0])  # of the reference, a small expert, and a medium one


def population(n, random, skill=0.3):
    """Return predicted losses and scores: the small expert is as good on easy prompts alone."""
    difficulty = random.random(n)
    right = np.column_stack(
        [np.full(n, 0.9), 0.9 - skill * difficulty, 0.9 - skill / 2 * difficulty]
    )
    scores = (random.random((n, 3)) < right).astype(float)
    return 1 - right, np.tile(COSTS, (n, 1)), np.ones((n, 3), np.bool_), scores


def test_the_lowest_loss_plus_cost_within_the_tolerance_is_chosen():
    losses = np.array([[0.1, 0.3, 0.15]])  # with the costs as shares of 1/2: .6, .35 and .3
    everyone = np.ones((1, 3), np.bool_)
    choices = [
        choose_within(losses, COSTS[None], everyone, REFERENCE, tolerance)[0]
        for tolerance in (-1.0, 0.0, 0.1, 0.25)
    ]
    assert choices == [0, 0, 2, 2]
    dearer = np.array([[10.0, 1.0, 8.0]])  # .6, .35 and .55
    assert choose_within(losses, dearer, everyone, REFERENCE, 0.1)[0] == 2
    assert choose_within(losses, dearer, everyone, REFERENCE, 0.25)[0] == 1


def test_experts_that_may_not_answer_or_are_not_cheaper_are_never_chosen():
    losses = np.array([[0.5, 0.1, 0.2]])
    everyone = np.ones((1, 3), np.bool_)
    choose = partial(choose_within, losses, reference=REFERENCE, tolerance=1.0)
    assert choose(np.array([[2.0, 2.0, 1.0]]), everyone)[0] == 2
    assert choose(np.array([[2.0, 1.0, 1.0]]), np.array([[True, False, True]]))[0] == 2
    assert choose(np.array([[0.0, 0.0, 1.0]]), everyone)[0] == REFERENCE
    assert choose(np.array([[2.0, 1.0, 1.0]]), np.zeros((1, 3), np.bool_))[0] == REFERENCE


def test_all_tolerances_at_once_choose_the_same_as_one_after_another():
    random = np.random.default_rng(0)
    losses = random.random((40, 6)).round(1)
    costs = random.integers(1, 4, (40, 6)).astype(float)
    allowed = random.random((40, 6)) < 0.7
    together = choose_along(losses, costs, allowed, 2)
    for column, tolerance in enumerate(TOLERANCES.tolist()):
        alone = choose_within(losses, costs, allowed, 2, tolerance)
        np.testing.assert_array_equal(together[:, column], alone)


def test_the_rules_begin_with_the_reference_and_end_without_it():
    losses, costs, allowed, _ = population(50, np.random.default_rng(0))
    choices = choose_along(losses, costs, allowed, REFERENCE)
    assert (choices[:, 0] == REFERENCE).all()
    assert (choices[:, -1] != REFERENCE).all()


def test_the_cheapest_rule_before_the_first_that_fails_is_selected():
    differences = np.full((300, 4), 0.05)
    differences[:, 2] = -0.01
    assert select_rule(differences, np.array([3.0, 2.0, 1.0, 0.0]), 0.95, 0.05) == 1
    assert select_rule(differences, np.array([3.0, 4.0, 1.0, 0.0]), 0.95, 0.05) == 0
    assert select_rule(differences[:, 2:], np.array([1.0, 0.0]), 0.95, 0.05) is None


def test_the_rule_is_violated_in_at_most_five_percent_of_calibrations():
    """The truth is the mean of the whole population, from which each calibration draws 300."""
    random = np.random.default_rng(0)
    losses, costs, allowed, scores = population(4_000, random)
    choices = choose_along(losses, costs, allowed, REFERENCE)
    spent = np.take_along_axis(costs, choices, axis=1).mean(axis=0)
    achieved = np.take_along_axis(scores, choices, axis=1)
    differences = achieved - 0.95 * scores[:, [REFERENCE]]
    is_violated = differences.mean(axis=0) < 0
    samples = (differences[random.integers(0, 4_000, 300)] for _ in range(200))
    rules = [select_rule(sample, spent, 0.95, 0.05) for sample in samples]
    assert sum(is_violated[rule] for rule in rules if rule is not None) <= 10
    assert is_violated.any()
    assert np.mean([spent[rule or 0] for rule in rules]) < 0.9 * COSTS[REFERENCE]  # not all trivial


def test_measured_answers_allow_a_rule_that_saves():
    sample = population(1_000, np.random.default_rng(1), skill=0.1)
    found = calibrate_tolerance(*sample, REFERENCE)
    losses, costs, allowed, scores = sample
    choices = choose_within(losses, costs, allowed, REFERENCE, found.tolerance)
    rows = np.arange(1_000)
    assert found.n_prompts == 1_000
    assert found.share == pytest.approx((choices != REFERENCE).mean())
    assert found.saving == pytest.approx(1 - costs[rows, choices].sum() / 10_000)
    relative = scores[rows, choices].mean() / scores[:, REFERENCE].mean()
    assert found.relative_score == pytest.approx(relative)
    assert found.saving > 0.3


def test_more_is_saved_where_less_is_guaranteed():
    sample = population(2_000, np.random.default_rng(1))
    savings = [calibrate_tolerance(*sample, REFERENCE, at_least=a).saving for a in (0.97, 0.9, 0.8)]
    assert savings == sorted(savings)
    assert savings[0] < savings[-1]


def test_too_few_answers_are_refused_with_how_many_may_do():
    random = np.random.default_rng(2)
    with pytest.raises(GuaranteeError, match=r"30 prompts do not show") as caught:
        calibrate_tolerance(*population(30, random, skill=0.05), REFERENCE)
    needed = caught.value.n_needed
    assert needed is not None
    assert 60 < needed < 400  # with all answers alike it is log(20) / log(1 + .75 * .05), 81
    assert calibrate_tolerance(*population(3 * needed, random, skill=0.05), REFERENCE).saving > 0


def test_experts_that_are_worse_wherever_they_are_cheap_are_refused_without_a_number():
    losses, costs, allowed, scores = population(500, np.random.default_rng(3))
    scores[:, 1:] = 0.0
    losses[:] = 0.2  # and the router does not know
    with pytest.raises(GuaranteeError, match="are not as good already") as caught:
        calibrate_tolerance(losses, costs, allowed, scores, REFERENCE)
    assert caught.value.n_needed is None


def test_nothing_to_save_is_refused():
    losses, costs, allowed, scores = population(500, np.random.default_rng(3))
    allowed[:, 1:] = False
    with pytest.raises(GuaranteeError, match="No cheaper expert"):
        calibrate_tolerance(losses, costs, allowed, scores, REFERENCE)


def test_an_answer_that_is_missing_counts_as_wrong():
    losses, costs, allowed, scores = population(600, np.random.default_rng(1), skill=0.0)
    losses[:], allowed[:, 2] = 0.1, False
    assert calibrate_tolerance(losses, costs, allowed, scores, REFERENCE).share == 1
    scores[::4, 1] = np.nan
    with pytest.raises(GuaranteeError):
        calibrate_tolerance(losses, costs, allowed, scores, REFERENCE)


def test_a_table_that_is_sorted_by_its_answers_proves_no_more_than_another():
    losses, costs, allowed, scores = population(800, np.random.default_rng(4), skill=0.0)
    losses[:] = 0.1
    scores[:, 1:] *= np.random.default_rng(5).random((800, 1)) < 0.7  # 70% as good
    best_first = np.argsort(-scores[:, 2], kind="stable")
    with pytest.raises(GuaranteeError):
        calibrate_tolerance(losses, costs, allowed, scores[best_first], REFERENCE)


def test_a_calibration_can_be_kept_as_json():
    found = calibrate_tolerance(*population(500, np.random.default_rng(1), skill=0.1), REFERENCE)
    assert GuaranteeCalibration(**found.to_dict()) == found
