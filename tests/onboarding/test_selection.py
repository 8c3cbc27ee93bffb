"""Which questions are asked next, and when the ranking is settled."""

import numpy as np
import pytest

from tryage.onboarding.belief import AbilityBelief, QuestionPlaces
from tryage.onboarding.selection import (
    TypicalChoices,
    choose_questions,
    expected_regret,
    representative_order,
)
from tryage.perception.abilities import Gaussian, LogitLink

LINK = LogitLink(intercept=-2.0, slope=4.0)  # the slope of a loss of one half is one


def make_belief(means, stds, positions):
    priors = [
        Gaussian(np.array(mean, float), np.diag(np.square(std)))
        for mean, std in zip(means, stds, strict=True)
    ]
    n = len(positions)
    places = QuestionPlaces(np.array(positions, float), np.full(n, 1e-9), np.full(n, 0.1))
    return AbilityBelief(priors, places)


def make_choices(positions, n_models, costs=None, rival=np.inf):
    n = len(positions)
    costs = np.zeros((n, n_models)) if costs is None else np.array(costs, float)
    return TypicalChoices(np.array(positions, float), costs, np.full(n, rival), LINK)


def test_the_regret_of_two_equal_models_is_that_of_the_larger_of_two_normals():
    # E max(X, 0) of X ~ N(0, 2 s^2) is s / sqrt(pi); the slope of the link at one half is one
    belief = make_belief([[0.5], [0.5]], [[0.02], [0.02]], [[1.0]])
    regret = expected_regret(belief, make_choices([[1.0]], 2))
    assert regret.samples.mean() == pytest.approx(0.02 / np.sqrt(np.pi), rel=0.15)


def test_a_certain_ranking_has_no_regret():
    belief = make_belief([[0.2], [0.8]], [[0.01], [0.01]], [[1.0]])
    regret = expected_regret(belief, make_choices([[1.0]], 2))
    assert regret.exceeds(1e-6) == 0.0
    assert regret.quantile(0.95) == 0.0


def test_costs_settle_what_losses_do_not():
    belief = make_belief([[0.5], [0.5]], [[0.02], [0.02]], [[1.0]])
    choices = make_choices([[1.0]], 2, costs=[[0.0, 0.5]])
    assert expected_regret(belief, choices).exceeds(1e-6) == 0.0


def test_a_model_that_a_known_expert_beats_everywhere_causes_no_regret():
    belief = make_belief([[0.8]], [[0.02]], [[1.0]])
    assert expected_regret(belief, make_choices([[1.0]], 1, rival=0.1)).by_model[0] == 0.0


def test_the_question_in_the_direction_that_choices_depend_on_comes_first():
    # typical prompts lie along the second dimension; the third tells nothing about them
    questions = [[0, 0, 1], [0, 1, 0]]
    belief = make_belief([[0.5, 0, 0], [0.5, 0, 0]], [[0.1, 0.3, 0.3]] * 2, questions)
    choices = make_choices([[1, 1, 0], [1, -1, 0]], 2)
    can_answer = np.ones((2, 2), bool)
    assert choose_questions(belief, choices, can_answer, 2, ()) == [1, 0]


def test_only_questions_that_someone_may_answer_are_chosen_and_each_once():
    belief = make_belief([[0.5], [0.5]], [[0.3], [0.3]], [[1.0]] * 4)
    can_answer = np.array([[1, 1], [0, 0], [1, 0], [0, 0]], bool)
    chosen = choose_questions(belief, make_choices([[1.0]], 2), can_answer, 4, ())
    assert sorted(chosen) == [0, 2]


def test_a_question_is_worth_more_if_two_close_models_answer_it_than_if_one_does():
    belief = make_belief([[0.5], [0.5]], [[0.3], [0.3]], [[1.0]] * 2)
    can_answer = np.array([[1, 0], [1, 1]], bool)
    assert choose_questions(belief, make_choices([[1.0]], 2), can_answer, 1, ()) == [1]


def test_three_of_five_questions_stand_for_all_and_the_others_tell_most():
    positions = [[1.0, 0.0]] * 8 + [[1.0, 3.0], [1.0, -3.0]]
    belief = make_belief([[0.5, 0.0]] * 2, [[0.01, 0.3]] * 2, positions)
    choices = make_choices([[1, 1], [1, -1]], 2)
    can_answer = np.ones((10, 2), bool)
    can_answer[7] = False
    chosen = choose_questions(belief, choices, can_answer, 5, [*range(7, -1, -1), 8, 9])
    assert chosen[:3] == [6, 5, 4]
    assert set(chosen[3:]) == {8, 9}


def test_the_representative_order_takes_each_kind_in_turn():
    kinds = ["a"] * 6 + ["b"] * 2 + [None]
    order = representative_order(kinds)
    assert sorted(order) == list(range(9))
    assert {kinds[i] for i in order[:3]} == {"a", "b", None}
    assert order == representative_order(kinds)
