"""Folds keep equal prompts together and test every row once; bad predictions are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.errors import PerceptionError, QTableError
from tryage.learning.evaluation.splits import (
    MethodPrediction,
    cross_val_predict,
    folds,
    hide_labels,
    min_train_size,
)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 5))
def test_twins_stay_together_and_every_row_is_tested_once(names, seed):
    groups = np.array([*names, *range(5)])
    splits = folds(groups, 5, seed)
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(len(groups)))
    for train, test in splits:
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == len(groups)


def test_the_same_seed_gives_the_same_folds_and_another_seed_others():
    groups = np.arange(40)
    first, again, other = (folds(groups, 5, seed)[0][1].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_more_folds_than_distinct_prompts_are_refused():
    with pytest.raises(QTableError, match="5 folds over 2 distinct prompts"):
        folds(np.array([0, 0, 1, 1]), 5)


@given(st.integers(2, 40), st.integers(2, 5))
def test_the_smallest_training_part_is_counted(n, n_folds):
    groups = np.arange(max(n, n_folds)) // 2 * 2 if n > 2 * n_folds else np.arange(max(n, n_folds))
    parts = [len(np.unique(groups[train])) for train, _ in folds(groups, n_folds)]
    assert min_train_size(groups, n_folds) == min(parts)


def test_of_nested_folds_the_smallest_part_of_the_smallest_part_is_counted():
    assert min_train_size(np.arange(20), 2, 4) == 7  # 20 - 10, then 10 - 3


def test_predictions_with_nan_or_of_another_shape_are_refused_by_name(
    two_kinds,
):
    table, embeddings = two_kinds(40)
    splits = folds(table.groups, 5)

    def broken(*seen):
        return MethodPrediction(np.full((len(seen[2]), 3), np.nan, np.float32))

    def narrow(*seen):
        return MethodPrediction(np.zeros((len(seen[2]), 2), np.float32))

    with pytest.raises(PerceptionError, match="bad predicts NaN"):
        cross_val_predict("bad", hide_labels(broken), table, embeddings, splits)
    with pytest.raises(PerceptionError, match=r"\(8, 2\); expected \(8, 3\)"):
        cross_val_predict("bad", hide_labels(narrow), table, embeddings, splits)
