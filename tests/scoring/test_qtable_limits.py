"""Files that would end the process, never end, or fill the memory are refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from tryage import QTable
from tryage.errors import QTableError

FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_a_parquet_file_with_a_group_of_too_many_rows_is_refused():
    """Reading it did not end; the whole file says that it has three rows."""
    with pytest.raises(QTableError, match=r"is refused: .* 243,043,071,613 rows"):
        QTable.read(FIXTURES / "fuzz" / "parquet" / "group.parquet")


@pytest.mark.parametrize("names", [[f"c{i}" for i in range(20_000)], ["a", "b"] * 10_000])
def test_the_first_of_many_columns_are_named(tmp_path, names):
    path = tmp_path / "t.csv"
    path.write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    with pytest.raises(QTableError, match="has the columns") as caught:
        QTable.read(path)
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("text", ["null\n", ' null\n{"prompt": "a", "expert": "b", "loss": 1}\n'])
def test_a_null_in_the_place_of_an_object_is_refused_and_the_process_lives(tmp_path, text):
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(QTableError, match="line 1 is null; expected an object"):
        QTable.read(path)
