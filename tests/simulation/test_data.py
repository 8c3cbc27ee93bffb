"""What a simulation can run on: tables, logs and their URLs."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert
from tryage.core.library import Library
from tryage.errors import InputError, TrafficError
from tryage.scoring.qtable import QTable
from tryage.simulation.data import read_data

LIBRARY = Library([Expert("small", aliases=("org/small",)), Expert("large"), Expert("spare")])
TABLE = QTable(("p",), ("other", "org/small", "large"), [[0.0, 0.1, 0.2]])


def test_experts_are_known_by_their_aliases_and_what_is_left_out_is_said():
    found = read_data(TABLE, LIBRARY, evidence=np.array([[0.1, 0.2, 0.3]]))
    assert found.stream.experts == ("small", "large")
    assert found.stream.answer(0, "small").evidence == 0.2
    assert found.perception is None
    assert found.notes == (
        "Left out, because the router does not know them: other.",
        "Left out, because the table does not have them: spare.",
    )


def test_a_table_of_strangers_is_refused():
    with pytest.raises(InputError, match=r"other, org/small, large, and none .* \(a, b, c, d, e"):
        read_data(TABLE, Library([*"abcdefg"]))


def test_a_table_without_a_row_is_told():
    with pytest.raises(InputError, match="The table has no row; expected"):
        read_data(QTable([], [], np.zeros((0, 0))), Library(["a"]))


@pytest.mark.parametrize("data", [None, 3, [TABLE], "outcomes.parquet"])
def test_other_data_are_refused(data):
    with pytest.raises(InputError, match=r"data is .*; expected a QTable.*QTable\.read\("):
        read_data(data, LIBRARY)


def test_what_only_a_table_has_is_refused_for_a_log(traffic):
    with pytest.raises(InputError, match="for a table"):
        read_data(traffic, LIBRARY, requests_per_day=5)


def test_a_log_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(TrafficError):
        read_data(f"sqlite:///{tmp_path}/none.db", LIBRARY)


def test_evidence_is_a_probability_or_unknown():
    shape = TABLE.losses.shape
    assert read_data(TABLE, LIBRARY, evidence=np.full(shape, np.nan)).stream.evidence is not None
    with pytest.raises(InputError, match=r"evidence is from -3 to -3; expected probabilities"):
        read_data(TABLE, LIBRARY, evidence=np.full(shape, -3.0))
