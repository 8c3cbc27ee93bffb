"""The bundled router has a prior for unmeasured experts, which leaves its own as they are."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tryage import Expert, Library, Router
from tryage.learning.training.metadata_prior import fit_metadata_prior, with_metadata_prior
from tryage.perception.metadata import metadata_features
from tryage.perception.persistence import load_perception
from tryage.perception.pretrained import BUNDLED_FOLDER

PROMPTS = ["Prove that the square root of two is irrational.", "def f(x):", "", "日本語"]


@pytest.fixture(scope="module")
def router():
    return Router.from_pretrained()


@pytest.fixture(scope="module")
def level(router):
    def predict(expert):
        found = router.perception.metadata_prior.predict(metadata_features(Library([expert])))[0]
        return found.mean[0], float(found.covariance[0, 0]) ** 0.5

    return predict


def test_known_experts_are_predicted_bit_for_bit_as_without_a_prior(router, tmp_path):
    shutil.copytree(BUNDLED_FOLDER, tmp_path / "plain")
    path = tmp_path / "plain" / "perception.json"
    header = json.loads(path.read_text("utf-8"))
    for part in ("metadata_prior", "observed_experts"):
        header.pop(part)
    path.write_text(json.dumps(header), "utf-8")
    plain = load_perception(tmp_path / "plain").predict(PROMPTS)
    library = Library([Expert("me/stranger", parameters=7e9), *router.library])
    known = [library.index(name) for name in router.perception.experts]
    whole = router.perception.predict(PROMPTS)
    beside = router.perception.for_library(library).predict(PROMPTS)
    for name in ("losses", "std", "output_tokens"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(plain, name))
        np.testing.assert_array_equal(getattr(beside, name)[:, known], getattr(plain, name))


def test_the_bundled_prior_is_learned_from_its_own_experts(router):
    again = with_metadata_prior(router.perception, router.library).metadata_prior
    assert again.groups == router.perception.metadata_prior.groups
    for name in (
        "slopes",
        "effects",
        "coefficient_covariance",
        "residual_covariance",
        "unseen_group_variances",
        "missing_value_covariance",
        "group_frequencies",
    ):
        one, two = getattr(again, name), getattr(router.perception.metadata_prior, name)
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-8)


def test_a_new_large_expert_is_expected_to_be_better_than_an_old_small_one(level):
    from datetime import date

    old = Expert("tiiuae/falcon-7b", parameters=7e9, released=date(2023, 5, 1), downloads=1e5)
    new = Expert("Qwen/Qwen3-32B", parameters=32e9, released=date(2025, 4, 28), downloads=1e6)
    assert level(new)[0] < level(old)[0] - 0.2


def test_an_expert_without_metadata_is_the_least_certain(level):
    known = Expert("Llama-3.3-70B", parameters=7e10, downloads=1e6, context_length=131_072)
    assert level(Expert("me/whatever"))[1] > 1.2 * level(known)[1]


def test_experts_of_held_out_families_are_ranked_well_and_lie_within_the_intervals(router):
    abilities = router.perception.abilities
    library = router.library.subset(list(router.perception.experts))
    features = metadata_features(library)
    series = np.array([family[0] for family in features.families])[features.profile_index]
    guess, width = np.empty(len(series)), np.empty(len(series))
    for name in set(series.tolist()):
        out = series == name
        kept = np.flatnonzero(~out)
        prior = fit_metadata_prior(
            metadata_features(library.subset(kept)), abilities.take(kept.tolist())
        )
        found = prior.predict(metadata_features(library.subset(out)))
        guess[out] = [found[i].mean[0] for i in range(len(found))]
        width[out] = [found[i].covariance[0, 0] for i in range(len(found))]
    truth = abilities.means[:, 0]
    assert np.corrcoef(guess, truth)[0, 1] > 0.7
    z = (truth - guess) / np.sqrt(width + abilities.covariances[:, 0, 0])
    assert (np.abs(z) < 1.96).mean() >= 0.93
