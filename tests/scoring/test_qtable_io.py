"""Q-tables on disk: files of long rows, folders of shards, and the lock of a folder."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tryage.errors import QTableError
from tryage.scoring.qtable import QTable
from tryage.scoring.qtable_io import (
    ShardWriter,
    folder_lock,
    read_rows,
    recover_journals,
)

pytest.importorskip("pyarrow")

NAN = float("nan")
TABLE = QTable(
    prompts=("2+2?", 'say "hi",\nplease', "2+2?", "null"),
    experts=("a", "b"),
    losses=[[0.0, 1.0], [0.25, NAN], [1.0, 0.5], [NAN, 0.125]],
    categories=("math", "chat", None, "math"),
    sources=("s", "s", "t", "t"),
    costs=[[0.01, NAN], [0.02, 0.5], [0.03, 0.25], [NAN, 0.75]],
)
ROW = {"prompt_id": "1", "prompt": "é", "expert": "e", "loss": 1.0}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_table_survives_a_file_with_its_twins_gaps_and_quotes(tmp_path, suffix):
    path = tmp_path / f"q.{suffix}"
    TABLE.write(path)
    assert QTable.read(path).equals(TABLE)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_table_without_optional_columns_survives_a_file(tmp_path, suffix):
    bare = QTable(("1", "2"), ("x",), [[0.5], [0.25]])
    bare.write(tmp_path / f"q.{suffix}")
    assert QTable.read(tmp_path / f"q.{suffix}").equals(bare)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_text_that_a_spreadsheet_takes_for_a_formula_comes_back_unchanged(tmp_path, suffix):
    """An apostrophe before it would be in the prompt that the router is trained on."""
    prompts = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1", "\r=1+1", "'=1+1", '=HYPERLINK("a","b")')
    table = QTable(prompts, ("=expert",), [[0.5]] * len(prompts))
    table.write(tmp_path / f"q.{suffix}")
    assert QTable.read(tmp_path / f"q.{suffix}").equals(table)


def test_a_file_for_a_spreadsheet_holds_no_formula_if_that_is_asked_for(tmp_path):
    starts = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
    table = QTable(
        (*(f"{start}1" for start in starts), "1=1"),
        ("=HYPERLINK(1)",),
        [[-0.5]] * (len(starts) + 1),
        categories=(*starts, None),
    )
    table.write(tmp_path / "q.csv", escape_formulas=True)
    with (tmp_path / "q.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = [row[name] for row in rows for name in ("prompt", "expert", "category")]
    assert not [cell for cell in cells if cell.startswith(starts)]
    assert (rows[-1]["prompt"], rows[0]["loss"]) == ("1=1", "-0.5")
    with pytest.raises(QTableError, match=r"only a \.csv file"):
        table.write(tmp_path / "q.jsonl", escape_formulas=True)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_scores_become_losses_on_their_declared_scale(tmp_path):
    path = write_jsonl(tmp_path / "q.jsonl", [{"prompt": "p", "expert": "a", "score": 9}])
    assert QTable.read(path, score_scale=10).losses[0, 0] == pytest.approx(0.1)
    with pytest.raises(QTableError, match="score 9 is outside"):
        QTable.read(path)


def test_a_pair_that_was_measured_twice_gets_its_mean(tmp_path):
    rows = [{"prompt": "p", "expert": "a", "loss": loss} for loss in (0.2, 0.4)]
    table = QTable.read(write_jsonl(tmp_path / "q.jsonl", rows))
    assert table.shape == (1, 1)
    assert table.losses[0, 0] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("rows", "message"),
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
def test_a_wrong_file_is_rejected_with_what_is_wrong(tmp_path, rows, message):
    with pytest.raises(QTableError, match=message):
        QTable.read(write_jsonl(tmp_path / "q.jsonl", rows))


def test_an_absent_file_and_an_unknown_suffix_are_rejected(tmp_path):
    with pytest.raises(QTableError, match="no Q-table"):
        QTable.read(tmp_path / "none.csv")
    with pytest.raises(QTableError, match="name it"):
        TABLE.write(tmp_path / "q.xlsx")
    (tmp_path / "q.xlsx").touch()
    with pytest.raises(QTableError, match=r"cannot read q\.xlsx"):
        QTable.read(tmp_path / "q.xlsx")


def test_a_damaged_file_is_rejected(tmp_path):
    for suffix in ("parquet", "csv", "jsonl"):
        (tmp_path / f"q.{suffix}").write_bytes(b'{"prompt\xff')
        with pytest.raises(QTableError, match=rf"q\.{suffix}"):
            QTable.read(tmp_path / f"q.{suffix}")


def test_the_losses_may_be_read_from_another_column(tmp_path):
    with ShardWriter(tmp_path, "e") as writer:
        writer.write(ROW | {"loss": 2.0, "loss_per_char": 0.5})
    assert QTable.read(tmp_path).losses.tolist() == [[2.0]]
    assert QTable.read(tmp_path, loss="loss_per_char").losses.tolist() == [[0.5]]
    for absent in ("bits_per_byte", "nonsense"):
        with pytest.raises(QTableError, match=absent):
            QTable.read(tmp_path, loss=absent)


def test_rows_can_be_read_before_they_are_in_a_shard(tmp_path):
    with ShardWriter(tmp_path, "e", rows_per_shard=2) as writer:
        for n in range(3):
            writer.write(ROW | {"prompt_id": str(n)})
            assert len(read_rows(tmp_path)) == n + 1
        assert len(list(tmp_path.glob("*.parquet"))) == 1
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    assert not list(tmp_path.glob("*.journal"))


def test_a_journal_whose_shard_exists_counts_once(tmp_path):
    """A process that is killed between the two steps of closing a shard leaves both files."""
    with ShardWriter(tmp_path, "e") as writer:
        writer.write(ROW)
    (shard,) = tmp_path.glob("*.parquet")
    shard.with_suffix(".journal").write_text(json.dumps(ROW) + "\n")
    assert len(read_rows(tmp_path)) == 1
    recover_journals(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".parquet"]


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    row = json.dumps(ROW).encode()
    (tmp_path / "e-1.journal").write_bytes(row + b"\n" + row[:-9])
    (tmp_path / "e-2.journal").write_bytes(b"")
    assert len(read_rows(tmp_path)) == 1
    assert QTable.read(tmp_path).losses.tolist() == [[1.0]]


def test_journals_become_shards_and_partial_shards_go(tmp_path):
    (tmp_path / "e-1.journal").write_text(json.dumps(ROW) + "\n")
    (tmp_path / "e-2.partial").write_bytes(b"PAR1 no")
    recover_journals(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["e-1.parquet"]
    assert read_rows(tmp_path).to_pylist()[0]["prompt"] == "é"


def test_a_damaged_shard_and_an_empty_folder_are_rejected(tmp_path):
    with pytest.raises(QTableError, match="no shard"):
        QTable.read(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(QTableError, match=r"x\.parquet"):
        QTable.read(tmp_path)
    (tmp_path / "x.parquet").unlink()
    (tmp_path / "x.journal").write_bytes(b"\0\0\n")
    with pytest.raises(QTableError, match=r"x\.journal is damaged"):
        QTable.read(tmp_path)


def test_a_folder_is_locked_once_and_is_free_after_an_error(tmp_path):
    with folder_lock(tmp_path), pytest.raises(QTableError, match="another process"):
        folder_lock(tmp_path).__enter__()
    with pytest.raises(ZeroDivisionError), folder_lock(tmp_path):
        _ = 1 / 0
    with folder_lock(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import sys, pathlib\n"
        "from tryage.scoring.qtable_io import folder_lock\n"
        "with folder_lock(pathlib.Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        child.stdout.readline()
        with pytest.raises(QTableError, match="another process"), folder_lock(tmp_path):
            pass
        child.send_signal(signal.SIGKILL)
    with folder_lock(tmp_path):
        pass


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
CELLS = st.none() | st.floats(0, 1, width=32)


@st.composite
def tables(draw):
    """Draw a table with odd texts and gaps; each prompt and each expert has a loss."""
    n_prompts, n_experts = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    experts = draw(st.lists(TEXTS, min_size=n_experts, max_size=n_experts, unique=True))
    cells = draw(st.lists(CELLS, min_size=n_prompts * n_experts, max_size=n_prompts * n_experts))
    losses = np.array([NAN if cell is None else cell for cell in cells], np.float32)
    losses = losses.reshape(n_prompts, n_experts)
    losses[0], losses[:, 0] = 0.5, 0.25
    prompts = draw(st.lists(TEXTS, min_size=n_prompts, max_size=n_prompts))
    categories = draw(st.lists(st.none() | TEXTS, min_size=n_prompts, max_size=n_prompts))
    is_known = any(category is not None for category in categories)
    return QTable(prompts, experts, losses, categories=categories if is_known else None)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_any_table_survives_a_file(tmp_path, suffix, table):
    path = tmp_path / f"q.{suffix}"
    table.write(path)
    assert QTable.read(path).equals(table)
