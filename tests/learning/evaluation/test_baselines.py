"""Baselines predict what they claim to, and read nothing of the test prompts but the text."""

import numpy as np

from tryage.learning.evaluation import baselines as base
from tryage.learning.evaluation.evaluator import BASELINES
from tryage.learning.evaluation.splits import Fold, folds
from tryage.learning.qtable import QTable


def test_only_the_oracle_reads_the_losses_of_the_test_prompts(two_kinds):
    table, embeddings = two_kinds()
    train, test = folds(table.groups)[0]
    held = table.take(test)
    blank = QTable(held.prompts, held.experts, np.full(held.shape, 0.5), held.categories)
    sides = (table.take(train), embeddings[train])
    for name, run in BASELINES.items():
        seen = run(Fold(*sides, held, embeddings[test])).losses
        unseen = run(Fold(*sides, blank, embeddings[test])).losses
        assert np.array_equal(seen, unseen) == (name != "oracle"), name


def test_an_expert_measured_on_few_prompts_is_not_the_best_single():
    losses = [[0.5, 0.0], [0.5, np.nan], [0.5, np.nan], [0.5, np.nan]]
    table = QTable(tuple("abcd"), ("steady", "lucky"), losses)
    fold = Fold(table, np.zeros((4, 1)), table, np.zeros((4, 1)))
    assert np.argmin(base.best_single(fold).losses, axis=1).tolist() == [0, 0, 0, 0]


def test_an_unseen_category_falls_back_to_the_best_single():
    train = QTable(("a", "b", "c"), ("x", "y"), [[0, 1], [1, 0], [1, 0]], ("m", "l", "l"))
    test = QTable(("d", "e"), ("x", "y"), [[0, 1], [0, 1]], ("new", "m"))
    guess = base.category_table(Fold(train, np.zeros((3, 1)), test, np.zeros((2, 1)))).losses
    np.testing.assert_allclose(guess, [[2 / 3, 1 / 3], [0, 1]])


def test_neighbors_as_near_as_the_last_one_are_all_included():
    table = QTable(tuple("abcd"), ("x", "y"), [[0, 1], [1, np.nan], [1, np.nan], [0, 0]])
    train = np.eye(2)[[0, 1, 1, 0]]
    one, two = base.neighbor_means(table, train, np.array([[0.6, 0.8]]), [1, 3])
    # The two nearest prompts are equally near. The second expert was measured on neither.
    assert one.tolist() == [[1.0, 0.5]]
    assert two.tolist() == [[0.5, 0.5]]
