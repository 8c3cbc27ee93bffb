"""A small table learns from a pretrained router: its features, its categories, its expectations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import hadamard

from tryage import Expert, Library, Router
from tryage.errors import PerceptionError, PersistenceError
from tryage.learning.training.estimators import fit_tfidf_svd
from tryage.learning.training.trainer import FitConfig, fit
from tryage.learning.training.transfer import (
    cluster_labels,
    expected_level,
    shrink_means,
    transfer_feature_extractor,
)
from tryage.perception.encoder import StaticEncoder
from tryage.perception.features import SURFACE_WIDTH, surface_features
from tryage.perception.head import l2_normalize
from tryage.perception.persistence import load_perception, save_perception
from tryage.perception.tokenizer_file import read_tokenizer
from tryage.scoring.qtable import QTable


@pytest.fixture(scope="module")
def pretrained(encoder, specialists):
    """A router that knows the topics from many prompts, and does not see the form of a prompt."""
    config = FitConfig(form=False)
    perception = fit(specialists(n=400, seed=3), encoder, config=config, progress=False)
    known = [Expert(perception.experts[0], ("alias-of-the-first",)), *perception.experts[1:]]
    return Router(perception, Library(known))


@pytest.fixture(scope="module")
def few(specialists):
    """Return forty prompts without categories, and experts of other names."""
    table = specialists(n=40, seed=1, named=False)
    return replace(table, experts=tuple(f"new-{name}" for name in table.experts))


def routed_loss(perception, table):
    chosen = perception.predict(table.prompts).losses.argmin(axis=1)
    return table.losses[np.arange(len(table)), chosen].mean()


def features(perception, prompts):
    encoder = perception.encoder
    embeddings, ids = encoder.encode(prompts), encoder.token_ids(prompts)
    return perception.feature_extractor.extract(prompts, embeddings, ids)


def test_a_small_table_is_learned_better_from_a_pretrained_router(
    encoder, few, pretrained, specialists
):
    test = specialists(n=400, seed=9)
    scratch = fit(few, encoder, progress=False)
    started = fit(few, encoder, pretrained=pretrained, progress=False)
    assert routed_loss(started, test) < routed_loss(scratch, test) - 0.02


def test_a_router_that_started_from_another_is_saved_whole(
    encoder, few, pretrained, specialists, tmp_path
):
    perception = fit(few, encoder, pretrained=pretrained, progress=False)
    Router(perception, Library(few.experts)).save_pretrained(tmp_path / "mine")
    prompts = specialists(n=20, seed=9).prompts
    loaded = Router.from_pretrained(tmp_path / "mine").perception
    expected = perception.predict(prompts)
    np.testing.assert_allclose(loaded.predict(prompts).losses, expected.losses, atol=2e-3)


def test_prompts_are_compared_by_what_the_pretrained_router_reads(encoder, few, pretrained):
    perception = fit(few, encoder, pretrained=pretrained, progress=False)
    n_read = pretrained.perception.head.prototypes.shape[1]
    x = features(perception, few.prompts)
    assert x.shape[1] > n_read
    np.testing.assert_allclose(perception.head.prototypes, l2_normalize(x[:, :n_read]), atol=1e-6)


def with_prototypes(perception, prototypes):
    return perception.replace(head=replace(perception.head, prototypes=prototypes))


def test_a_router_that_compares_all_features_is_read(encoder, few, pretrained, tmp_path):
    started = fit(few, encoder, pretrained=pretrained, progress=False)
    wide = with_prototypes(started, l2_normalize(features(started, few.prompts)))
    save_perception(wide, tmp_path)
    found = load_perception(tmp_path).predict(few.prompts).losses
    np.testing.assert_allclose(found, wide.predict(few.prompts).losses, atol=2e-3)


@pytest.mark.parametrize("n_missing", [-1, 1])
def test_prototypes_of_another_width_are_refused(encoder, few, pretrained, tmp_path, n_missing):
    started = fit(few, encoder, pretrained=pretrained, progress=False)
    x = np.tile(features(started, few.prompts), 2)
    width = started.head.prototypes.shape[1]
    save_perception(with_prototypes(started, l2_normalize(x[:, : width - n_missing])), tmp_path)
    with pytest.raises(PersistenceError, match=rf"expected \(40, {width}\) .*, or \(40, "):
        load_perception(tmp_path)


def test_the_pretrained_router_stays_as_it_is(encoder, few, pretrained, specialists):
    prompts = specialists(n=20, seed=9).prompts
    before = pretrained.perception.predict(prompts).losses
    fit(few, encoder, pretrained=pretrained, progress=False)
    np.testing.assert_array_equal(pretrained.perception.predict(prompts).losses, before)


def test_another_encoder_than_that_of_the_pretrained_router_is_refused(
    encoder, few, pretrained, tmp_path
):
    encoder.save(tmp_path / "encoder")
    tokenizer = read_tokenizer(tmp_path / "encoder" / "tokenizer.json")
    rows = np.random.default_rng(5).normal(size=(encoder.vocabulary, encoder.dim))
    other = StaticEncoder.from_rows(rows.astype(np.float32), tokenizer)
    with pytest.raises(PerceptionError, match="another encoder"):
        fit(few, other, pretrained=pretrained, progress=False)


def test_a_router_that_started_from_another_is_no_start_itself(encoder, few, pretrained):
    first = Router(fit(few, encoder, pretrained=pretrained, progress=False), Library(few.experts))
    with pytest.raises(PerceptionError, match="start from that one"):
        fit(few, encoder, pretrained=first, progress=False)


def test_a_perception_that_was_not_trained_is_no_start(encoder, few, pretrained):
    class Constant:
        perception, library = object(), pretrained.library

    for given, text in (
        (Constant(), "has a perception of type object"),
        (pretrained.perception, "is a LearnedPerception"),
    ):
        with pytest.raises(PerceptionError, match=f"pretrained {text}; expected a router"):
            fit(few, encoder, pretrained=given, progress=False)


def test_with_form_the_surface_counts_as_it_varies_among_the_training_prompts(encoder, pretrained):
    prompts = ["sum word1", "LAW WORD2 WORD3 WORD4", "poem word5."]
    ids, embeddings = encoder.token_ids(prompts), encoder.encode(prompts)
    own = pretrained.perception
    words = fit_tfidf_svd(ids, encoder.vocabulary, 2, 0)
    plain, formed = (
        transfer_feature_extractor(own, prompts, embeddings, ids, words, form=form)
        for form in (False, True)
    )
    hidden = np.isinf(own.feature_extractor.surface_scaler.std)
    assert hidden.any()
    np.testing.assert_array_equal(np.isinf(plain.surface_scaler.std), hidden)
    numbers = surface_features(prompts)
    capitals = SURFACE_WIDTH - 3
    assert formed.surface_scaler.std[capitals] == pytest.approx(numbers[:, capitals].std())
    # What the pretrained router knows of a prompt does not depend on the form that it cannot see.
    n_known = plain.pretrained.width
    one, two = (e.extract(prompts, embeddings, ids)[:, -n_known:] for e in (plain, formed))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_positions_are_shorter_than_an_embedding(encoder, few, pretrained):
    ids, embeddings = encoder.token_ids(few.prompts), encoder.encode(few.prompts)
    words = fit_tfidf_svd(ids, encoder.vocabulary, 2, 0)
    extractor = transfer_feature_extractor(
        pretrained.perception, few.prompts, embeddings, ids, words
    )
    x = extractor.extract(few.prompts, embeddings, ids)
    rank = len(pretrained.perception.head.gain)
    positions = x[:, -extractor.pretrained.width :][:, :rank]
    assert (positions**2).sum(axis=1).mean() == pytest.approx(0.3**2, abs=1e-4)
    own = words.transform(ids)
    np.testing.assert_array_equal(
        x[:, -extractor.pretrained.width - 2 : -extractor.pretrained.width], own
    )


def test_the_level_of_a_known_expert_is_its_mean_prediction_under_any_of_its_names(pretrained):
    prompts = [f"sum word{i}" for i in range(10)]
    perception = pretrained.perception
    first, second = perception.experts[:2]
    found = expected_level(pretrained, prompts, [second, "alias-of-the-first", "stranger"])
    lines = perception.abilities.linear_predictions(perception.latent_positions(prompts))
    np.testing.assert_allclose(found[:2], lines.mean(axis=0)[[1, 0]], atol=1e-9)
    assert first not in {second, "stranger"}
    assert np.isfinite(found[2])


EXPECTED = np.arange(6) / 10


def losses_around(means, n_prompts, noise=0.3):
    return means + np.random.default_rng(0).normal(0, noise, (n_prompts, len(means)))


def test_means_of_many_prompts_keep_their_values():
    losses = losses_around(0.2 + np.array([0.1, -0.1, 0, 0.2, -0.1, 0]), 40_000)
    means = losses.mean(axis=0)
    np.testing.assert_allclose(shrink_means(losses, means, EXPECTED), means, atol=1e-3)


def test_means_that_differ_from_the_expected_ones_by_noise_go_to_the_expected_line():
    noise = 0.5 * hadamard(8)[:, 1:7]  # columns with a mean of zero, and orthogonal
    losses = 0.2 + 0.5 * EXPECTED + np.array([0.03, -0.02, 0, 0.03, 0.01, -0.03]) + noise
    means = losses.mean(axis=0)
    shrunk = shrink_means(losses, means, EXPECTED)
    line = np.polyval(np.polyfit(EXPECTED, means, 1), EXPECTED)  # the regression by numpy
    np.testing.assert_allclose(shrunk, line, atol=1e-4)
    assert np.abs(means - line).max() > 0.02


def test_expectations_that_contradict_the_losses_do_not_count():
    losses = np.tile([0.1, 0.5, 0.9], (50, 1)) + np.random.default_rng(0).normal(0, 0.1, (50, 3))
    means = losses.mean(axis=0)
    order = shrink_means(losses, means, np.array([0.9, 0.5, 0.1])).argsort()
    assert order.tolist() == [0, 1, 2]


def test_a_mean_of_fewer_losses_is_shrunk_more():
    rng = np.random.default_rng(0)
    losses = 0.5 + rng.normal(0, 0.3, (200, 6))
    losses[5:, 1] = np.nan
    losses[:, 0], losses[:5, 1] = losses[:, 0] - 0.2, losses[:5, 1] - 0.2
    means = np.nanmean(losses, axis=0)
    moved = np.abs(shrink_means(losses, means, np.zeros(6)) - means)
    assert moved[1] > 2 * moved[0]


def test_clusters_are_groups_of_similar_prompts():
    centers = np.eye(4, dtype=np.float32)[[0, 1, 2] * 20]
    x = centers + 0.05 * np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    labels = cluster_labels(x, 3, seed=0)
    assert len(set(labels)) == 3
    assert all(len(set(labels[kind::3])) == 1 for kind in range(3))


@pytest.mark.parametrize(("n", "n_clusters"), [(12, 1), (25, 2), (200, 8)])
def test_a_cluster_has_ten_prompts_or_more_on_average(n, n_clusters):
    x = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    assert len(set(cluster_labels(x, 8, seed=0))) == n_clusters


def test_equal_prompts_are_one_cluster():
    assert set(cluster_labels(np.ones((50, 3), np.float32), 8, seed=0)) == {"cluster 1"}


def test_clusters_take_the_place_of_categories_in_a_table_without_any(encoder, few):
    perception = fit(few, encoder, progress=False)
    assert perception.head.category_classifier.names == (
        "cluster 1",
        "cluster 2",
        "cluster 3",
        "cluster 4",
    )
    named = replace(few, categories=("a", None) * 20)
    perception = fit(named, encoder, progress=False)
    assert perception.head.category_classifier.names == ("", "a")


def test_a_start_for_real_valued_losses_and_one_expert(encoder, few, pretrained):
    table = QTable(few.prompts, few.experts, 3 + 10 * few.losses).select(few.experts[:1])
    perception = fit(table, encoder, pretrained=pretrained, progress=False)
    assert np.isfinite(perception.predict(["sum word1"]).losses).all()
