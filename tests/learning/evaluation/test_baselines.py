"""Baselines predict what they claim to, and read nothing of the test prompts but the text."""

import numpy as np

from tryage.learning.evaluation import baselines as base
from tryage.learning.evaluation.evaluator import BASELINES
from tryage.learning.evaluation.splits import Fold, folds
from tryage.scoring.qtable import QTable


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


def neighbor_fold(second_losses):
    """Ten equal prompts on which the first expert loses .5; the second as given."""
    losses = np.stack([np.full(10, 0.5), np.asarray(second_losses)], axis=1)
    train = QTable(tuple(f"p{i}" for i in range(10)), ("first", "second"), losses)
    test = QTable(("q",), ("first", "second"), [[0, 0]])
    return Fold(train, np.ones((10, 1)), test, np.ones((1, 1)))


def test_the_guard_is_the_mean_difference_plus_its_standard_errors():
    seconds = [0.4, 0.7] * 5  # the second is worse by .05 with a standard deviation of .15
    first, second = base.guarded_neighbors(neighbor_fold(seconds), candidates=[(10, 2.0)]).losses[0]
    assert first == 0
    np.testing.assert_allclose(second, 0.05 + 2 * 0.15 / np.sqrt(9), atol=1e-5)


def chosen_near(second_losses):
    """The first expert is the best single one by far, but near the test prompt it loses .5."""
    near = np.stack([np.full(10, 0.5), np.asarray(second_losses)], axis=1)
    losses = np.concatenate([near, np.tile([0.0, 1.0], (30, 1))])
    embeddings = np.eye(2)[[0] * 10 + [1] * 30]
    train = QTable(tuple(f"p{i}" for i in range(40)), ("first", "second"), losses)
    test = QTable(("q",), ("first", "second"), [[0, 0]])
    fold = Fold(train, embeddings, test, np.eye(2)[:1])
    return base.guarded_neighbors(fold, candidates=[(10, 2.0)]).losses[0].argmin()


def test_the_best_single_expert_is_left_only_where_the_difference_is_proven():
    assert chosen_near([0.3, 0.4] * 5) == 1
    assert chosen_near([0.0, 0.9] * 5) == 0  # better by .05, with a standard error of .15
    assert chosen_near([0.5] * 10) == 0


def test_an_expert_that_no_similar_prompt_was_measured_with_is_never_chosen():
    fold = neighbor_fold([np.nan] * 9 + [0.0])
    bounds = base.guarded_neighbors(fold, candidates=[(9, 1.0)]).losses[0]
    assert bounds.argmin() == 0
    assert bounds[1] > 100


def test_the_words_of_a_prompt_tell_the_ridge_which_expert_to_choose():
    prompts = tuple(f"{'add' if i % 2 else 'translate'} this {i}" for i in range(80))
    losses = np.array([[i % 2, 1 - i % 2] for i in range(80)])
    train = QTable(prompts, ("maths", "language"), losses)
    test = QTable(("add that", "translate that"), ("maths", "language"), np.zeros((2, 2)))
    fold = Fold(train, np.zeros((80, 1)), test, np.zeros((2, 1)))
    assert base.tfidf_ridge(fold).losses.argmin(axis=1).tolist() == [1, 0]


def test_neighbors_on_another_encoder_read_its_embeddings_and_not_those_of_the_fold():
    class FirstLetter:
        def encode(self, prompts):
            return np.array([[p[0] == "a", p[0] == "b"] for p in prompts], np.float32)

    prompts = tuple(f"{'ab'[i % 2]}{i}" for i in range(40))
    train = QTable(prompts, ("x", "y"), np.array([[i % 2, 1 - i % 2] for i in range(40)]))
    test = QTable(("a", "b"), ("x", "y"), np.zeros((2, 2)))
    fold = Fold(train, np.ones((40, 1)), test, np.ones((2, 1)))
    predicted = base.encoder_neighbors(FirstLetter())(fold).losses
    assert predicted.argmin(axis=1).tolist() == [0, 1]
