"""Blocks of hidden states: standardized and projected as scikit-learn does, a ridge for each."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from tryage.errors import InputError
from tryage.learning.training import estimators
from tryage.learning.training.estimators import fit_block_scaler, fit_head, fit_ridge
from tryage.learning.training.trainer import fit
from tryage.perception.encoder import StaticEncoder
from tryage.perception.persistence import load_perception, save_perception

BLOCKS = (slice(0, 3), slice(3, 6))


class BlockEncoder(StaticEncoder):
    """A static encoder whose embedding counts as two blocks."""

    @property
    def block_sizes(self):
        return (8, 8)


@pytest.fixture
def embeddings():
    """Rows of two blocks of six; the first number is a thousand times as large as the others."""
    rows = np.random.default_rng(0).normal(size=(80, 12)) @ np.diag([1e3, *[1.0] * 11])
    return rows.astype(np.float32)


@pytest.fixture
def two_blocks():
    """Features of two blocks, of which only the second tells the positions."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 8)).astype(np.float32)
    positions = x[:, 3:6] @ rng.normal(size=(3, 2)) + 0.1 * rng.normal(size=(200, 2))
    return x, positions


@pytest.fixture(scope="module")
def block_encoder(encoder):
    return BlockEncoder(encoder._table, encoder._scales, encoder._tokenizer.tokenizer)


@pytest.fixture(scope="module")
def trained(block_encoder, specialists):
    return fit(specialists(), block_encoder, progress=False)


def test_blocks_are_standardized_and_projected_as_scikit_learn_does(embeddings, monkeypatch):
    monkeypatch.setattr(estimators, "BLOCK_COMPONENTS", 4)
    found = fit_block_scaler(embeddings, (6, 6)).transform(embeddings).reshape(80, 2, 4)
    z_scores = StandardScaler().fit_transform(embeddings.astype(np.float64)).clip(-4, 4)
    for i in range(2):
        block = z_scores[:, 6 * i : 6 * i + 6]
        axes = PCA(4).fit(StandardScaler().fit_transform(embeddings)[:, 6 * i : 6 * i + 6])
        rows = block @ axes.components_.T
        expected = rows / np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(2)
        np.testing.assert_allclose(np.abs(found[:, i]), np.abs(expected), atol=1e-4)


def test_a_number_that_is_much_larger_than_the_others_counts_no_more(embeddings):
    scaler = fit_block_scaler(embeddings, (6, 6))
    z_scores = (embeddings - scaler.mean) / scaler.std
    np.testing.assert_allclose(z_scores.std(axis=0), 1, rtol=1e-3)


def test_a_number_that_never_varies_does_not_count(embeddings):
    embeddings[:, 2] = 7
    scaler = fit_block_scaler(embeddings, (6, 6))
    changed = embeddings.copy()
    changed[:, 2] = -100
    np.testing.assert_array_equal(scaler.transform(changed), scaler.transform(embeddings))


def test_an_embedding_without_blocks_has_no_scaler(embeddings):
    assert fit_block_scaler(embeddings, ()) is None


def test_blocks_of_different_widths_are_refused(embeddings):
    with pytest.raises(InputError, match="expected as many of each"):
        fit_block_scaler(embeddings, (4, 8))


def test_each_block_gets_a_ridge_of_its_own_that_ignores_all_other_features(two_blocks):
    x, positions = two_blocks
    labels, names = [""] * len(x), ("",)
    plain = fit_head(x, labels, names, positions, seed=0)
    head = fit_head(x, labels, names, positions, seed=0, blocks=BLOCKS)
    assert len(head.estimators) == len(plain.estimators) + 2
    found = head.estimator_positions(head.prepare(x))
    one_hot = head.category_classifier.one_hot(labels)
    for block, by_block in zip(BLOCKS, found[-2:], strict=True):
        ridge = fit_ridge(x[:, block], one_hot, positions, category_scale=0.0)
        np.testing.assert_allclose(by_block, x[:, block] @ ridge.slope + ridge.intercept, atol=1e-5)
    errors = ((found[-2:] - positions) ** 2).mean(axis=(1, 2))
    assert errors[1] < 0.05 < errors[0]


def test_a_perception_on_blocks_learns_the_topics_and_comes_back_from_its_folder(
    trained, specialists, tmp_path
):
    assert len(trained.feature_extractor.blocks) == 2
    assert len(trained.head.estimators) == 9
    assert trained.report["routed"] < trained.report["best_single"] - 0.1
    save_perception(trained, tmp_path)
    again, prompts = load_perception(tmp_path), specialists(n=50, seed=3).prompts
    np.testing.assert_allclose(
        again.predict(prompts).losses, trained.predict(prompts).losses, atol=2e-3
    )
