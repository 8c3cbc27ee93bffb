"""Folds: twins together, every row tested once, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.errors import QTableError
from tryage.evaluation.splits import folds


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
