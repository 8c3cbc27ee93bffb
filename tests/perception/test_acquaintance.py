"""Strangers of a library are predicted from their traits, the known ones as before."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from tryage import Router
from tryage.core.constraints import RequestBatch, expected_cost
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.learning.training.metadata_prior import with_metadata_prior
from tryage.perception.abilities import SoftThreshold
from tryage.perception.base import AlignedPerception
from tryage.perception.persistence import load_perception, save_perception

PROMPTS = ["sum word1 word2", "code word3", "", "poem law"]
SIZES = {"adder": 1e8, "coder": 1e9, "poet": 3e9, "lawyer": 1e10, "allround": 1e11}


@pytest.fixture(scope="module")
def facts():
    return Library([Expert(name, parameters=size) for name, size in SIZES.items()])


@pytest.fixture
def perception(learned, facts):
    """One of its own with a prior, for a test that teaches it."""
    return with_metadata_prior(learned, facts)


@pytest.fixture
def library(facts):
    strangers = [
        Expert("me/llama-8b-chat", parameters=8e9),
        Expert("unheard-of"),
        Expert("tiny", parameters=1e3),
    ]
    return Library([strangers[0], *facts, *strangers[1:]])


def test_the_known_are_predicted_bit_for_bit_as_without_strangers(perception, learned, library):
    together = perception.for_library(library).predict(PROMPTS)
    alone = learned.predict(PROMPTS)
    places = [library.index(name) for name in learned.experts]
    np.testing.assert_array_equal(together.losses[:, places], alone.losses)
    np.testing.assert_array_equal(together.std[:, places], alone.std)
    np.testing.assert_array_equal(together.output_tokens[:, places], alone.output_tokens)
    strange = [i for i in range(len(library)) if i not in places]
    assert np.isnan(together.output_tokens[:, strange]).all()


def test_strangers_alone_have_no_forecast_of_their_answers_and_cost_the_same(perception):
    prices = {"input_price": [0.1, 3.0, None], "output_price": [0.3, None, 7.0]}
    strangers = Library.from_columns(["a", "b", "c"], output_tokens=[None, 90, 2_000], **prices)
    found = perception.for_library(strangers).predict(PROMPTS)
    assert found.output_tokens is None
    unknown, lengths = np.full((4, 3), np.nan, np.float32), np.arange(4.0)
    told = [expected_cost(strangers, RequestBatch(lengths, tokens)) for tokens in (None, unknown)]
    np.testing.assert_array_equal(*told)


def test_strangers_are_predicted_as_an_onboarded_ability_would_be(perception, library):
    """The factored form against the plain one, which has a mean and a covariance per expert."""
    perception.soft_threshold = SoftThreshold(perception.soft_threshold.incumbent, 0.05)
    abilities = perception.abilities
    met = perception.observed_experts
    view = perception.for_library(library)
    strange = [0, 6, 7]
    for i in strange:
        met = met.with_ability(library.names[i], view._prior_abilities[i])
    positions = perception.locate(perception.head.prepare(perception.extract_features(PROMPTS)))
    plain, _ = perception.predict_from_positions(positions, met)
    guessed = view.predict(PROMPTS)
    columns = len(abilities) + np.arange(len(strange))
    np.testing.assert_allclose(guessed.losses[:, strange], plain.losses[:, columns], atol=1e-5)
    # one number stands for how far the estimators disagree, whatever the stranger's own ability
    np.testing.assert_allclose(guessed.std[:, strange], plain.std[:, columns], rtol=0.25, atol=0.01)


def test_the_doubt_on_a_stranger_is_the_quadratic_form_and_the_expected_disagreement(perception):
    located = perception.locate(perception.head.prepare(perception.extract_features(PROMPTS)))
    prior = perception.abilities.prior
    drawn = np.random.default_rng(0).multivariate_normal(prior.mean, prior.covariance, 20_000)
    by_estimator = located.estimator_positions @ drawn[:, 1:].T + drawn[:, 0]
    mixed = located.positions @ drawn.T
    deviation = np.tensordot(located.weights, (by_estimator - mixed) ** 2, 1).mean(axis=1)
    expected = np.sqrt(mixed.var(axis=1) + deviation)
    np.testing.assert_allclose(located.prior_std(prior), expected, rtol=0.03)


def test_a_prompt_alone_is_predicted_as_in_a_batch_in_any_block(perception, library, monkeypatch):
    view = perception.for_library(library)
    batch = view.predict(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        np.testing.assert_allclose(view.predict([prompt]).losses[0], batch.losses[row], atol=1e-5)
    monkeypatch.setattr("tryage.perception.model._BLOCK_SIZE", 4)
    monkeypatch.setattr("tryage.perception.model._MIN_BLOCK_WIDTH", 1)
    np.testing.assert_allclose(view.predict(PROMPTS).losses, batch.losses, atol=1e-6)
    assert view.predict([]).losses.shape == (0, len(library))


def test_bigger_experts_did_better_so_a_bigger_stranger_is_believed_better(encoder, specialists):
    from tryage.learning.qtable import QTable
    from tryage.learning.training.trainer import fit

    rng, prompts = np.random.default_rng(0), specialists(n=100).prompts
    sizes = 10 ** rng.uniform(8, 12, 20)
    chance = 0.5 - 0.1 * (np.log10(sizes) - 10)
    names = tuple(f"e{i}" for i in range(20))
    table = QTable(prompts, names, (rng.random((100, 20)) < chance).astype(np.float32))
    known = Library.from_columns(names, parameters=sizes)
    perception = fit(table, encoder, library=known, progress=False)
    new = Library([Expert("small", parameters=1e8), Expert("big", parameters=1e12), "unknown"])
    found = perception.for_library(new).predict(PROMPTS)
    assert (found.losses[:, 1] < found.losses[:, 0] - 0.1).all()
    assert (found.std[:, 2] > found.std[:, :2].max(axis=1) - 0.05).all()

    def missed(start):
        """Onboard an expert that fails 3 of 10, by five answers: how far off is it."""
        draws = (np.random.default_rng(i).random(5) < 0.3 for i in range(20))
        tests = (dict(zip(prompts, draw.astype(float), strict=False)) for draw in draws)
        grown = (start.onboard(new["big"], losses) for losses in tests)
        return np.mean([abs(one.abilities.ability(20).mean[0] - 0.3) for one in grown])

    assert missed(perception) < 0.7 * missed(fit(table, encoder, progress=False))


def test_an_aptitude_test_begins_at_the_strangers_own_prior(perception, library):
    stranger = library["me/llama-8b-chat"]
    start = perception.for_library(library)._prior_abilities[0]
    grown = perception.onboard(stranger, {"sum word1": 0.0, "law word2": 1.0})
    places = perception.latent_positions(["sum word1", "law word2"])
    expected = start.posterior(places, np.array([0.0, 1.0]), perception.abilities.noise)
    np.testing.assert_allclose(grown.abilities.ability(5).mean, expected.mean)
    np.testing.assert_allclose(grown.abilities.ability(5).covariance, expected.covariance)


def test_feedback_on_a_stranger_is_learned_and_goes_on_when_it_is_onboarded(perception, library):
    router, aligned = Router(perception, library), AlignedPerception(perception, library)
    decision = router.route(PROMPTS[1])
    i = library.index("unheard-of")
    before = aligned.predict(PROMPTS).losses[:, i]
    for _ in range(5):
        aligned.observe(PROMPTS[1], "unheard-of", 0.0)
    after = aligned.predict(PROMPTS)
    assert after.losses[1, i] < before[1] - 0.05
    assert perception.observed_experts.names == ("unheard-of",)
    met = perception.observed_experts.abilities.ability(0)
    grown = perception.onboard(Expert("unheard-of"), {"sum word1": 0.5})
    assert grown.observed_experts.names == ()
    expected = met.posterior(
        perception.latent_positions(["sum word1"]),
        np.array([0.5]),
        0.0 + perception.abilities.noise,
    )
    np.testing.assert_allclose(grown.abilities.ability(5).mean, expected.mean)
    router.observe(decision, 0.5)


def test_feedback_on_a_known_expert_shows_in_a_library_with_strangers(perception, library):
    view = perception.for_library(library)
    coder = library.index("coder")
    before = view.predict(["poem word1"]).losses[0, coder]
    for i in range(8):
        view.observe(f"poem word{i}", "coder", 0.0)
    assert view.predict(["poem word1"]).losses[0, coder] < before - 0.02


def test_what_was_learned_of_a_stranger_is_no_business_of_another_library(perception, library):
    perception.for_library(library).observe("sum word1", "unheard-of", 0.0)
    other = Library(["adder", "somebody"])
    assert perception.for_library(other).predict(PROMPTS).losses.shape == (4, 2)


def test_feedback_from_many_threads_is_all_learned(perception, library):
    view = perception.for_library(library)

    def observe_and_predict(expert):
        for j in range(10):
            view.observe(f"sum word{j}", expert, 0.0)
            view.predict(["sum word1"])

    threads = [
        threading.Thread(target=observe_and_predict, args=(library.names[i],)) for i in (0, 6, 7)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(perception.observed_experts.names) == 3
    one = perception.observed_experts.index("unheard-of")
    together = view._prior_abilities[6].posterior(
        perception.latent_positions([f"sum word{j}" for j in range(10)]),
        np.zeros(10),
        perception.abilities.noise,
    )
    np.testing.assert_allclose(
        perception.observed_experts.abilities.ability(one).mean, together.mean, atol=1e-8
    )


# --- persistence ---


def test_the_prior_and_the_acquaintances_come_back_bit_for_bit(perception, library, tmp_path):
    view = perception.for_library(library)
    view.observe("sum word1", "unheard-of", 0.0)
    save_perception(perception, tmp_path)
    again = load_perception(tmp_path)
    for name in (
        "slopes",
        "effects",
        "coefficient_covariance",
        "residual_covariance",
        "unseen_group_variances",
        "missing_value_covariance",
    ):
        one, two = getattr(perception.metadata_prior, name), getattr(again.metadata_prior, name)
        np.testing.assert_array_equal(one, two)
    assert again.metadata_prior.groups == perception.metadata_prior.groups
    assert again.observed_experts.names == ("unheard-of",)
    np.testing.assert_array_equal(
        again.observed_experts.abilities.means, perception.observed_experts.abilities.means
    )
    one, two = view.predict(PROMPTS), again.for_library(library).predict(PROMPTS)
    np.testing.assert_allclose(one.losses, two.losses, atol=1e-3)
    save_perception(again, tmp_path / "twice")
    for name in ("perception.json", "perception.safetensors"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_not_even_a_big_array_of_the_prior_is_rounded(perception, tmp_path):
    many = np.random.default_rng(0).normal(size=(100, 100))
    prior = perception.metadata_prior
    perception.metadata_prior = replace(prior, coefficient_covariance=many)
    save_perception(perception, tmp_path)
    np.testing.assert_array_equal(
        load_perception(tmp_path).metadata_prior.coefficient_covariance, many
    )


def test_a_file_of_before_there_was_a_prior_is_read_and_knows_the_crowd(
    perception, library, tmp_path
):
    import json

    save_perception(perception, tmp_path)
    header = json.loads((tmp_path / "perception.json").read_text("utf-8"))
    del header["metadata_prior"], header["observed_experts"]
    (tmp_path / "perception.json").write_text(json.dumps(header), "utf-8")
    old = load_perception(tmp_path)
    np.testing.assert_allclose(
        old.predict(PROMPTS).losses, perception.predict(PROMPTS).losses, atol=1e-3
    )
    losses = old.for_library(library).predict(PROMPTS).losses
    np.testing.assert_array_equal(losses[:, 0], losses[:, 7])


# --- the seam ---


def test_a_learned_perception_predicts_every_expert_of_a_library(learned, library):
    assert AlignedPerception(learned, library).predict(PROMPTS).losses.shape == (4, len(library))


def test_an_expert_of_the_table_without_facts_has_its_name_only(learned):
    facts = Library([Expert("Adder", parameters=1e9), "somebody"])
    assert np.isfinite(with_metadata_prior(learned, facts).metadata_prior.slopes).all()
