"""Unmeasured experts of a library are predicted from metadata, the known ones as without them."""

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
from tryage.learning.training.trainer import fit
from tryage.perception import unmeasured
from tryage.perception.abilities import SoftThreshold
from tryage.perception.metadata import metadata_features
from tryage.perception.wrappers import AlignedPerception
from tryage.scoring.qtable import QTable

PROMPTS = ["sum word1 word2", "code word3", "", "poem law"]
SIZES = {"adder": 1e8, "coder": 1e9, "poet": 3e9, "lawyer": 1e10, "allround": 1e11}
UNMEASURED = [0, 6, 7]


@pytest.fixture(scope="module")
def facts():
    return Library([Expert(name, parameters=size) for name, size in SIZES.items()])


@pytest.fixture
def perception(learned, facts):
    """A perception with a prior from metadata, for one test alone, which may let it learn."""
    return with_metadata_prior(learned, facts)


@pytest.fixture
def library(facts):
    """Three unmeasured experts, at the positions `UNMEASURED`, and the five known ones."""
    unmeasured = [
        Expert("me/llama-8b-chat", parameters=8e9),
        Expert("unheard-of", downloads=10),
        Expert("tiny", parameters=1e3),
    ]
    return Library([unmeasured[0], *facts, *unmeasured[1:]])


@pytest.fixture
def prior_abilities(perception, library):
    return perception.metadata_prior.predict(metadata_features(library))


# Building


@pytest.fixture
def computed(monkeypatch):
    """Return the libraries of which the facts are computed."""
    libraries = []
    compute = unmeasured.metadata_features
    monkeypatch.setattr(
        unmeasured, "metadata_features", lambda one: libraries.append(one) or compute(one)
    )
    return libraries


def test_facts_of_a_library_are_computed_by_its_first_prediction(perception, library, computed):
    alone = perception.for_library(library)
    assert computed == []
    alone.predict(PROMPTS)
    alone.predict(PROMPTS)
    assert computed == [library]


def test_no_prompt_waits_for_the_facts_of_a_large_library(
    perception, library, computed, monkeypatch
):
    monkeypatch.setattr(unmeasured, "_MAX_LAZY", 7)
    large = perception.for_library(library)
    assert computed == [library]
    large.predict(PROMPTS)
    assert computed == [library]


def test_feedback_before_the_first_prediction_does_not_change_what_facts_tell(perception, facts):
    """Of a stranger the mean ability of the measured experts is expected, before any feedback."""
    library = Library([*facts, "a-stranger"])
    first, later = perception.for_library(library), perception.for_library(library)
    before = first.prior_ability("a-stranger")
    perception.observe(PROMPTS[0], "adder", 0.9)
    after = later.prior_ability("a-stranger")
    np.testing.assert_array_equal(after.mean, before.mean)
    np.testing.assert_array_equal(after.covariance, before.covariance)


# Predicting


def test_known_experts_are_predicted_bit_for_bit_as_alone(perception, learned, library):
    together = perception.for_library(library).predict(PROMPTS)
    alone = learned.predict(PROMPTS)
    positions = [library.index(name) for name in learned.experts]
    np.testing.assert_array_equal(together.losses[:, positions], alone.losses)
    np.testing.assert_array_equal(together.std[:, positions], alone.std)
    np.testing.assert_array_equal(together.output_tokens[:, positions], alone.output_tokens)
    assert np.isnan(together.output_tokens[:, UNMEASURED]).all()


def test_unmeasured_experts_alone_have_no_forecast_lengths_and_cost_the_same(perception):
    prices = {"input_price": [0.1, 3.0, None], "output_price": [0.3, None, 7.0]}
    unmeasured = Library.from_columns(["a", "b", "c"], output_tokens=[None, 90, 2_000], **prices)
    found = perception.for_library(unmeasured).predict(PROMPTS)
    assert found.output_tokens is None
    unknown, lengths = np.full((4, 3), np.nan, np.float32), np.arange(4.0)
    costs = [expected_cost(unmeasured, RequestBatch(lengths, tokens)) for tokens in (None, unknown)]
    np.testing.assert_array_equal(*costs)


def test_unmeasured_experts_are_predicted_as_if_they_had_the_ability_of_the_prior(
    perception, library, prior_abilities
):
    """The factored form against the plain one, which has a mean and a covariance per expert."""
    perception = perception.replace(
        soft_threshold=SoftThreshold(perception.soft_threshold.incumbent, 0.05),
        uncertainty=None,  # it would widen the std of untypical prompts
    )
    observed = perception.observed_experts
    for i in UNMEASURED:
        observed = observed.with_ability(library.names[i], prior_abilities[i])
    positions = perception.locate(perception.head.prepare(perception.extract_features(PROMPTS)))
    beliefs = replace(perception.beliefs, observed_experts=observed)
    plain, _ = perception.predict_from_positions(positions, beliefs)
    found = perception.for_library(library).predict(PROMPTS)
    columns = len(perception.abilities) + np.arange(len(UNMEASURED))
    np.testing.assert_allclose(found.losses[:, UNMEASURED], plain.losses[:, columns], atol=1e-5)
    # one number stands for how far the estimators disagree, whatever the expert's own ability
    np.testing.assert_allclose(
        found.std[:, UNMEASURED], plain.std[:, columns], rtol=0.25, atol=0.01
    )


def test_a_prompt_alone_is_predicted_as_in_a_batch_in_any_block(perception, library, monkeypatch):
    view = perception.for_library(library)
    batch = view.predict(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        np.testing.assert_allclose(view.predict([prompt]).losses[0], batch.losses[row], atol=1e-5)
    monkeypatch.setattr("tryage.perception.unmeasured._BLOCK_SIZE", 4)
    monkeypatch.setattr("tryage.perception.unmeasured._MIN_BLOCK_WIDTH", 1)
    np.testing.assert_allclose(view.predict(PROMPTS).losses, batch.losses, atol=1e-6)
    assert view.predict([]).losses.shape == (0, len(library))


def test_where_bigger_experts_did_better_a_bigger_unmeasured_expert_is_predicted_better(
    encoder, specialists
):
    rng, prompts = np.random.default_rng(0), specialists(n=100).prompts
    sizes = 10 ** rng.uniform(8, 12, 20)
    probability = 0.5 - 0.1 * (np.log10(sizes) - 10)
    names = tuple(f"e{i}" for i in range(20))
    table = QTable(prompts, names, (rng.random((100, 20)) < probability).astype(np.float32))
    known = Library.from_columns(names, parameters=sizes)
    perception = fit(table, encoder, library=known, progress=False)
    new = Library([Expert("small", parameters=1e8), Expert("big", parameters=1e12), "unknown"])
    found = perception.for_library(new).predict(PROMPTS)
    assert (found.losses[:, 1] < found.losses[:, 0] - 0.1).all()
    assert (found.std[:, 2] > found.std[:, :2].max(axis=1) - 0.05).all()

    def error_after_five_answers(start):
        """Onboard an expert that fails 3 of 10, by five answers: how far off is its mean loss."""
        draws = (np.random.default_rng(i).random(5) < 0.3 for i in range(20))
        tests = (dict(zip(prompts, draw.astype(float), strict=False)) for draw in draws)
        larger = (start.onboard(new["big"], losses) for losses in tests)
        return np.mean([abs(one.abilities.ability(20).mean[0] - 0.3) for one in larger])

    without = fit(table, encoder, progress=False)
    assert error_after_five_answers(perception) < 0.7 * error_after_five_answers(without)


def test_tokens_are_counted_by_the_encoder(perception, library):
    counts = perception.for_library(library).count_tokens(PROMPTS)
    np.testing.assert_array_equal(counts, perception.count_tokens(PROMPTS))


def test_a_known_expert_without_metadata_is_known_by_its_name(learned):
    facts = Library([Expert("Adder", parameters=1e9), "somebody"])
    assert np.isfinite(with_metadata_prior(learned, facts).metadata_prior.slopes).all()


# Learning


def test_an_aptitude_test_starts_from_the_prior_of_the_experts_own_metadata(
    perception, library, prior_abilities
):
    larger = perception.onboard(library["me/llama-8b-chat"], {"sum word1": 0.0, "law word2": 1.0})
    positions = perception.latent_positions(["sum word1", "law word2"])
    losses, noise = np.array([0.0, 1.0]), perception.abilities.noise
    expected = prior_abilities[0].posterior(positions, losses, noise)
    expected = perception.with_level(expected, positions, losses)
    np.testing.assert_allclose(larger.abilities.ability(5).mean, expected.mean)
    np.testing.assert_allclose(larger.abilities.ability(5).covariance, expected.covariance)


def test_feedback_on_an_unmeasured_expert_is_learned_and_onboarding_continues_from_it(
    perception, library
):
    router, aligned = Router(perception, library), AlignedPerception(perception, library)
    decision = router.route(PROMPTS[1])
    i = library.index("unheard-of")
    before = aligned.predict(PROMPTS).losses[:, i]
    for _ in range(5):
        aligned.observe(PROMPTS[1], "unheard-of", 0.0)
    after = aligned.predict(PROMPTS)
    assert after.losses[1, i] < before[1] - 0.05
    assert perception.observed_experts.names == ("unheard-of",)
    observed = perception.observed_experts.abilities.ability(0)
    larger = perception.onboard(Expert("unheard-of"), {"sum word1": 0.5})
    assert larger.observed_experts.names == ()
    positions, noise = perception.latent_positions(["sum word1"]), perception.abilities.noise
    expected = observed.posterior(positions, np.array([0.5]), noise)
    expected = perception.with_level(expected, positions, np.array([0.5]))
    np.testing.assert_allclose(larger.abilities.ability(5).mean, expected.mean)
    router.observe(decision, 0.5)


def test_feedback_on_a_known_expert_shows_in_a_library_with_unmeasured_ones(perception, library):
    view = perception.for_library(library)
    coder = library.index("coder")
    before = view.predict(["poem word1"]).losses[0, coder]
    for i in range(8):
        view.observe(f"poem word{i}", "coder", 0.0)
    assert view.predict(["poem word1"]).losses[0, coder] < before - 0.02


def test_feedback_on_an_expert_does_not_disturb_a_library_without_it(perception, library):
    perception.for_library(library).observe("sum word1", "unheard-of", 0.0)
    other = Library(["adder", "somebody"])
    assert perception.for_library(other).predict(PROMPTS).losses.shape == (4, 2)


def test_feedback_from_many_threads_is_all_learned(perception, library, prior_abilities):
    view = perception.for_library(library)

    def observe_and_predict(expert):
        for j in range(10):
            view.observe(f"sum word{j}", expert, 0.0)
            view.predict(["sum word1"])

    threads = [
        threading.Thread(target=observe_and_predict, args=(library.names[i],)) for i in UNMEASURED
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(perception.observed_experts.names) == 3
    one = perception.observed_experts.index("unheard-of")
    positions = perception.latent_positions([f"sum word{j}" for j in range(10)])
    noise = perception.abilities.noise
    together = prior_abilities[6].posterior(positions, np.zeros(10), noise)
    np.testing.assert_allclose(
        perception.observed_experts.abilities.ability(one).mean, together.mean, atol=1e-8
    )


def test_a_stranger_is_expected_to_be_as_good_as_its_peers_with_the_widest_uncertainty(learned):
    facts = Library(
        [Expert(name, parameters=10.0 ** (8 + i)) for i, name in enumerate(learned.experts)]
    )
    perception = with_metadata_prior(learned, facts)
    peers = [Expert("me/llama-a", parameters=1e9), Expert("me/llama-b", parameters=1e11)]
    library = Library(["me/thing", *peers, *perception.experts])
    seen = perception.for_library(library)
    means = [seen.prior_ability(peer.name).mean for peer in peers]
    expected = np.mean([*means, *perception.abilities.means], axis=0)
    stranger = seen.prior_ability("me/thing")
    np.testing.assert_allclose(stranger.mean, expected, rtol=1e-4, atol=1e-6)
    peer = seen.prior_ability("me/llama-a")
    assert stranger.covariance[0, 0] >= peer.covariance[0, 0]


def test_strangers_alone_are_equally_good(learned):
    perception = with_metadata_prior(learned, Library(list(learned.experts)))
    losses = perception.for_library(Library(["me/thing", "you/other"])).predict(["x"]).losses
    assert losses[0, 0] == losses[0, 1]


def test_nothing_is_predicted_from_metadata_where_all_experts_are_like_measured_ones(
    perception, facts, monkeypatch
):
    similar = Expert("copy", about_as_good_as="poet")
    both = perception.for_library(Library([similar, *facts]))
    monkeypatch.setattr(both, "_predict_from_prior", None)
    found = both.predict(PROMPTS)
    np.testing.assert_array_equal(found.losses[:, 1:], perception.predict(PROMPTS).losses)
    assert np.isfinite(found.losses[:, 0]).all()


def test_few_unmeasured_experts_are_predicted_as_among_many(perception, facts):
    stranger = Expert("me/llama-8b-chat", parameters=8e9)
    others = [Expert(f"other-{i}", parameters=8e9) for i in range(20)]
    few = perception.for_library(Library([stranger, *facts])).predict(PROMPTS)
    many = perception.for_library(Library([stranger, *facts, *others])).predict(PROMPTS)
    np.testing.assert_allclose(few.losses[:, :6], many.losses[:, :6], rtol=1e-6)
    np.testing.assert_allclose(few.std[:, :6], many.std[:, :6], rtol=1e-6)
