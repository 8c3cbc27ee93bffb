"""The stack combines its regressors as non-negative least squares does, and reads prompts alone."""

import numpy as np
import pytest
from scipy.optimize import nnls

from tryage.learning.evaluation import stacking
from tryage.learning.evaluation.splits import Fold, folds
from tryage.scoring.qtable import QTable


@pytest.fixture(scope="module")
def fold(two_kinds):
    """Prompts on maths and law, with words that tell the kind, and gaps."""
    table, embeddings = two_kinds(100, gaps=0.1, costs=False)
    usable = np.flatnonzero(table.measured.any(axis=1))
    table, embeddings = table.take(usable), embeddings[usable]
    prompts = tuple(f"{kind} question {i}" for i, kind in enumerate(table.categories))
    table = QTable(prompts, table.experts, table.losses, table.categories)
    train, test = folds(table.groups)[0]
    return Fold(table.take(train), embeddings[train], table.take(test), embeddings[test])


@pytest.fixture(scope="module", autouse=True)
def _few_trees():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_TREE_ITERATIONS", 2), ("_TREE_TARGETS", 1), ("_INNER_FOLDS", 2)):
            patch.setattr(stacking, name, value)
        yield


@pytest.fixture(scope="module")
def stacked(fold, _few_trees):
    return stacking.stack(fold).losses


def test_weights_are_those_of_non_negative_least_squares():
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=(4, 200))
    targets = np.array([0.7, -0.4, 0.2, 0.0]) @ predictions + 0.1 * rng.normal(size=200)
    expected, _ = nnls(predictions.T, targets)
    found = stacking.non_negative_weights(predictions, targets)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found[1] == 0  # a negative weight is not allowed


def test_the_stack_finds_the_expert_of_each_kind(fold, stacked):
    chosen = stacked.argmin(axis=1)
    expected = np.where(np.array(fold.test.categories) == "maths", 0, 1)
    assert (chosen == expected).mean() > 0.9


def test_the_stack_reads_neither_losses_nor_categories_of_the_test_prompts(fold, stacked):
    blank = QTable(fold.test.prompts, fold.test.experts, np.full(fold.test.shape, 0.5))
    unseen = stacking.stack(
        Fold(fold.train, fold.train_embeddings, blank, fold.test_embeddings)
    ).losses
    np.testing.assert_array_equal(stacked, unseen)


def test_the_stack_works_on_another_encoder_and_without_categories(fold):
    class LastLetters:
        def encode(self, prompts):
            return np.array([[prompt.startswith("maths"), 1.0] for prompt in prompts], np.float32)

    train = QTable(fold.train.prompts, fold.train.experts, fold.train.losses)
    losses = stacking.encoder_stack(LastLetters())(
        Fold(train, np.zeros((len(train), 1)), fold.test, np.zeros((len(fold.test), 1)))
    ).losses
    is_maths = np.array(fold.test.categories) == "maths"
    assert (losses.argmin(axis=1) == np.where(is_maths, 0, 1)).mean() > 0.9


def test_a_rare_category_stays_near_the_overall_mean():
    one_hot = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    means = stacking.shrunk_means(one_hot, np.array([[0.0], [0.0], [0.0], [1.0]]))
    # Five prompts of the overall mean .25 are added: (0 + 1.25) / 8 and (1 + 1.25) / 6.
    np.testing.assert_allclose(means, [[0.15625], [0.375]])
