"""The joint belief: the same as Bayes' rule for all answers at once, and what models share."""

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.onboarding.belief import SHARED_NOISE, AbilityBelief, QuestionPlaces
from tryage.perception.abilities import Gaussian, LogitLink

K = 3


def make_prior(rng):
    root = rng.normal(size=(K, K))
    return Gaussian(rng.normal(size=K), root @ root.T + np.eye(K))


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.fixture
def places(rng):
    return QuestionPlaces(rng.normal(size=(4, K)), np.full(4, 0.3), np.full(4, 0.5))


def test_answers_one_by_one_give_the_posterior_of_all_at_once(rng, places):
    priors = [make_prior(rng), make_prior(rng)]
    answers = [(0, 0, 0.2), (0, 1, 0.9), (2, 0, 0.4), (3, 1, 0.1), (2, 1, 0.7)]
    belief = AbilityBelief(priors, places, correlation=0.0)
    for question, model, loss in answers:
        belief.update(question, {model: loss})
    # Bishop 2006, eq. 3.50-3.51, with the shared difficulty integrated out
    design = np.zeros((len(answers), 2 * K))
    for row, (question, model, _) in enumerate(answers):
        design[row, model * K : (model + 1) * K] = places.positions[question]
    asked = np.array([question for question, _, _ in answers])
    noise = 0.3 * (asked[:, None] == asked) + 0.5 * np.eye(len(answers))
    covariance = np.zeros((2 * K, 2 * K))
    covariance[:K, :K], covariance[K:, K:] = (one.covariance for one in priors)
    mean = np.concatenate([one.mean for one in priors])
    gain = covariance @ design.T @ np.linalg.inv(design @ covariance @ design.T + noise)
    losses = np.array([loss for _, _, loss in answers])
    np.testing.assert_allclose(belief.means.ravel(), mean + gain @ (losses - design @ mean))
    np.testing.assert_allclose(belief.abilities_covariance, covariance - gain @ design @ covariance)


def test_one_model_learns_exactly_what_the_posterior_of_the_perception_learns(rng, places):
    prior, rows, losses = make_prior(rng), [0, 1, 3], np.array([0.0, 1.0, 1.0])
    belief = AbilityBelief([prior], places)
    for question, loss in zip(rows, losses, strict=True):
        belief.update(question, {0: loss})
    expected = prior.posterior(places.positions[rows], losses, noise=0.8)
    np.testing.assert_allclose(belief.ability(0).mean, expected.mean)
    np.testing.assert_allclose(belief.ability(0).covariance, expected.covariance)


def test_several_answers_to_a_question_count_the_same_one_by_one_and_together(rng, places):
    priors = [make_prior(rng), make_prior(rng)]
    together, apart = AbilityBelief(priors, places), AbilityBelief(priors, places)
    together.update(1, {0: 0.3, 1: 0.8})
    apart.update(1, {0: 0.3})
    apart.update(1, {1: 0.8})
    np.testing.assert_allclose(together.means, apart.means)
    np.testing.assert_allclose(together.abilities_covariance, apart.abilities_covariance)


def test_the_difference_of_two_models_is_surer_if_they_answer_the_same_questions(rng, places):
    prior = make_prior(rng)
    same, other = (AbilityBelief([prior, prior], places) for _ in range(2))
    same.update(0, {0: 0.0, 1: 1.0})
    places.positions[1] = places.positions[0]
    other.update(0, {0: 0.0})
    other.update(1, {1: 1.0})
    contrast = np.concatenate([places.positions[0], -places.positions[0]])
    certainty = [contrast @ one.abilities_covariance @ contrast for one in (same, other)]
    assert certainty[0] < certainty[1]


def test_planning_answers_makes_the_belief_as_certain_as_the_answers_do(rng, places):
    belief = AbilityBelief([make_prior(rng), make_prior(rng)], places)
    planned = belief.copy()
    planned.shrink(2, [0, 1])
    belief.update(2, {0: 0.5, 1: 0.5})
    np.testing.assert_allclose(planned.abilities_covariance, belief.abilities_covariance)


def test_a_loss_that_is_no_number_is_refused_and_changes_nothing(rng, places):
    belief = AbilityBelief([make_prior(rng)], places)
    before = belief.mean.copy()
    with pytest.raises(InputError, match="finite"):
        belief.update(0, {0: float("nan")})
    np.testing.assert_array_equal(belief.mean, before)


def test_what_one_model_is_better_than_its_facts_tell_counts_a_part_for_the_others(rng, places):
    prior = make_prior(rng)
    belief = AbilityBelief([prior, prior], places, correlation=0.25)
    np.testing.assert_allclose(belief.abilities_covariance[:K, K:], 0.25 * prior.covariance)
    assert np.linalg.eigvalsh(belief.abilities_covariance).min() > 0


def test_an_answer_that_all_models_are_expected_to_give_right_is_less_noisy():
    link = LogitLink(intercept=-2.5, slope=5.0)
    prior = Gaussian(np.array([0.0, 1.0]), np.eye(2))
    positions = np.array([[1.0, 0.0], [1.0, 0.5]])  # losses of .076 and .5 are expected
    places = QuestionPlaces.from_text(positions, link, 0.2, [prior, prior])
    np.testing.assert_allclose(places.shared + places.own, [0.09, 0.2])  # .1 is the lowest loss
    np.testing.assert_allclose(places.shared, SHARED_NOISE * (places.shared + places.own))
