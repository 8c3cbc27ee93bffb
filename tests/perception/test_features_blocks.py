"""Standardized blocks of an embedding: unit rows with blocks of equal length."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.perception.features import BlockScaler


def make(mean=(1, 0, 0, 2), std=(1, 2, 1, 1)):
    """A scaler of two blocks of two numbers that keeps both numbers of a block."""
    return BlockScaler(np.float32(mean), np.float32(std), np.float32([np.eye(2), np.eye(2)]))


def test_rows_have_unit_length_and_their_blocks_have_the_same():
    rows = make().transform(np.float32([[4, 8, 5, 2]]))
    # z-scores (3, 4) and (5 clipped to 4, 0)
    np.testing.assert_allclose(rows, np.array([[0.6, 0.8, 1, 0]]) / np.sqrt(2), rtol=1e-6)


def test_an_embedding_of_zeros_stays_zeros():
    np.testing.assert_array_equal(make().transform(np.zeros((2, 4), np.float32)), 0)


def test_no_prompts_give_no_rows():
    assert make().transform(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_blocks_that_do_not_make_up_the_embedding_are_refused():
    with pytest.raises(InputError, match="2 blocks of 2 numbers, with 3 means"):
        make(mean=(1, 0, 0))
