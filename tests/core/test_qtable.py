"""The Q-table: what it refuses, how it is cut and joined, and how it survives a file."""

import json

import numpy as np
import pytest

from tryage.errors import QTableError
from tryage.learning.qtable import QTable

NAN = float("nan")


def small(**changes):
    values = {
        "prompts": ["2+2?", 'say "hi",\nplease', "2+2?", "null"],
        "experts": ["a", "b"],
        "losses": [[0.0, 1.0], [0.25, NAN], [1.0, 0.5], [NAN, 0.125]],
        "categories": ["math", "chat", None, "math"],
        "sources": ["s", "s", "t", "t"],
        "costs": [[0.01, NAN], [0.02, 0.5], [0.03, 0.25], [NAN, 0.75]],
    }
    return QTable(**{**values, **changes})


def test_twins_share_a_group_and_others_do_not():
    assert small().groups.tolist() == [0, 1, 0, 2]


def test_arrays_are_read_only_and_the_callers_array_is_left_writeable():
    mine = np.zeros((4, 2), np.float32)
    table = small(losses=mine)
    with pytest.raises(ValueError, match="read-only"):
        table.losses[0, 0] = 1
    mine[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"losses": np.zeros((2, 2))}, r"shape \(2, 2\)"),
        ({"experts": ["a", "a"]}, "'a' is given twice"),
        ({"experts": "ab"}, "give a list"),
        ({"prompts": ["x", 3, "y", "z"]}, "int"),
        ({"losses": np.full((4, 2), np.inf)}, "NaN"),
        ({"costs": np.full((4, 2), -0.1)}, "costs"),
        ({"categories": ["math"]}, "1 categories for 4 prompts"),
    ],
)
def test_what_is_wrong_is_refused_with_what_was_given(changes, says):
    with pytest.raises(QTableError, match=says):
        small(**changes)


def test_take_follows_the_order_of_indices_and_a_mask():
    table = small()
    assert table.take([2, 0]).losses.tolist() == [[1.0, 0.5], [0.0, 1.0]]
    assert table.take([2, 0]).categories == (None, "math")
    masked = table.take(np.array([True, False, False, True]))
    assert masked.prompts == ("2+2?", "null")
    assert len(table.take([])) == 0


def test_select_reorders_experts_in_every_matrix_and_names_the_absent():
    swapped = small().select(["b", "a"])
    assert swapped.losses[0].tolist() == [1.0, 0.0]
    assert swapped.costs[1].tolist() == [0.5, pytest.approx(0.02)]
    with pytest.raises(QTableError, match="'z'"):
        small().select(["z"])


def test_concat_joins_experts_by_name_and_leaves_gaps():
    other = QTable(("new",), ("c", "a"), [[0.1, 0.9]], categories=("law",))
    joined = QTable.concat([small(), other])
    assert joined.experts == ("a", "b", "c")
    np.testing.assert_allclose(joined.losses[-1], [0.9, NAN, 0.1], rtol=1e-6)
    assert joined.categories[-1] == "law"
    assert joined.sources[-1] is None
    assert np.isnan(joined.costs[-1]).all()
    assert joined.latencies is None


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_table_survives_a_file_with_its_twins_gaps_and_quotes(tmp_path, suffix):
    path = tmp_path / f"q.{suffix}"
    small().write(path)
    assert QTable.read(path).equals(small())


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_table_without_optional_columns_survives_a_file(tmp_path, suffix):
    bare = QTable(("1", "2"), ("x",), [[0.5], [0.25]])
    bare.write(tmp_path / f"q.{suffix}")
    assert QTable.read(tmp_path / f"q.{suffix}").equals(bare)


def rows_to(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_scores_become_losses_on_their_declared_scale(tmp_path):
    path = rows_to(tmp_path / "q.jsonl", [{"prompt": "p", "expert": "a", "score": 9}])
    assert QTable.read(path, score_scale=10).losses[0, 0] == pytest.approx(0.1)
    with pytest.raises(QTableError, match="score 9 is outside"):
        QTable.read(path)


def test_a_pair_measured_twice_gets_its_mean(tmp_path):
    rows = [{"prompt": "p", "expert": "a", "loss": loss} for loss in (0.2, 0.4)]
    table = QTable.read(rows_to(tmp_path / "q.jsonl", rows))
    assert table.shape == (1, 1)
    assert table.losses[0, 0] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"prompt": "p", "loss": 1.0}], "no expert"),
        ([{"prompt": "p", "expert": "a", "loss": 1.0, "score": 0.0}], "either loss or score"),
        ([{"prompt": "p", "expert": "a"}], "either loss or score"),
        ([{"prompt": None, "expert": "a", "loss": 1.0}], "no prompt"),
        ([{"prompt": "p", "expert": "a", "loss": "bad"}], "not all numbers"),
        (
            [
                {"prompt_id": 1, "prompt": "p", "expert": "a", "loss": 1.0},
                {"prompt_id": 1, "prompt": "q", "expert": "b", "loss": 1.0},
            ],
            "two different prompts",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_cure(tmp_path, rows, says):
    with pytest.raises(QTableError, match=says):
        QTable.read(rows_to(tmp_path / "q.jsonl", rows))


def test_an_absent_file_and_an_unknown_suffix_are_refused(tmp_path):
    with pytest.raises(QTableError, match="no Q-table"):
        QTable.read(tmp_path / "none.csv")
    with pytest.raises(QTableError, match="name it"):
        small().write(tmp_path / "q.xlsx")
