"""How much evidence tells, fitted to labelled answers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tryage.errors import InputError
from tryage.policies.likelihood import Likelihood

HALVES = Likelihood((0.5,), right=(0.2, 0.8), wrong=(0.6, 0.4))


def make_answers(n=4000, strength=1.2, seed=0):
    """Return evidence, right and priors: the evidence is normal with means 0 and `strength`."""
    rng = np.random.default_rng(seed)
    priors = rng.beta(3, 1, n)
    right = (rng.random(n) < priors).astype(float)
    return rng.normal(size=n) + strength * right, right, priors


def test_the_posterior_is_bayes_rule() -> None:
    # .5 x .8 / (.5 x .8 + .5 x .4) = 2/3, and .5 x .2 / (.5 x .2 + .5 x .6) = 1/4
    assert HALVES.posterior(0.5, 0.9) == pytest.approx(2 / 3)
    assert HALVES.posterior(0.5, 0.5) == pytest.approx(2 / 3)  # a bound belongs to the level above
    assert HALVES.posterior(0.5, 0.1) == pytest.approx(1 / 4)
    np.testing.assert_allclose(HALVES.posteriors(np.array([0.5])), [[1 / 4, 2 / 3]])
    np.testing.assert_allclose(HALVES.level_probabilities(np.array([0.5])), [[0.4, 0.6]])


def test_no_evidence_leaves_the_prior() -> None:
    assert HALVES.posterior(0.3, None) == HALVES.posterior(0.3, float("nan")) == 0.3


def test_a_fit_finds_the_ratios_of_normal_evidence() -> None:
    evidence, right, priors = make_answers()
    fitted = Likelihood.fit(evidence, right, priors)
    expected = 1.2 * (evidence - 0.6)  # the log ratio of two normal densities at a distance of 1.2
    error = fitted.log_ratios[fitted.levels(evidence)] - expected
    assert np.abs(error).mean() < 0.3
    assert fitted.auc == pytest.approx(roc_auc_score(right, evidence), abs=0.01)


def test_evidence_that_only_repeats_the_prior_tells_nothing() -> None:
    _, right, priors = make_answers()
    assert Likelihood.fit(priors, right).auc > 0.7
    assert Likelihood.fit(priors, right, priors).auc < 0.55


def test_higher_evidence_never_counts_for_less() -> None:
    evidence, right, priors = make_answers(n=60, strength=0.3)
    assert (np.diff(Likelihood.fit(evidence, right, priors).log_ratios) >= 0).all()


def test_two_values_make_two_levels() -> None:
    evidence = np.array([0.0, 1.0] * 50)
    fitted = Likelihood.fit(evidence, np.where(np.arange(100) % 5, evidence, 1 - evidence))
    assert fitted.n_levels == 2
    assert fitted.posterior(0.5, 1.0) == pytest.approx(0.8, abs=0.03)


def test_answers_without_evidence_or_label_do_not_count() -> None:
    evidence, right, priors = make_answers(n=200)
    fitted = Likelihood.fit(evidence, right, priors)
    more = [np.append(one, [np.nan, 1.0]) for one in (evidence, right, priors)]
    more[1][-1] = np.nan
    more[0][-1], more[2][-2:] = 0.5, 0.5
    assert Likelihood.fit(*more) == fitted


@pytest.mark.parametrize(
    ("evidence", "right"),
    [
        (np.arange(19), np.arange(19) % 2),
        (np.arange(30), np.ones(30)),
        (np.arange(30), np.zeros(30)),
        (np.arange(30), np.arange(30)),
        (np.append(np.arange(29), np.inf), np.arange(30) % 2),
    ],
)
def test_labels_that_cannot_be_fitted_are_refused(evidence, right) -> None:
    with pytest.raises(InputError):
        Likelihood.fit(evidence, right)


def test_no_probabilities_are_refused() -> None:
    with pytest.raises(InputError, match="add up to 1"):
        Likelihood((0.5,), right=(0.5, 0.6), wrong=(0.5, 0.5))
