"""A damaged or hostile Q-table is one clear error, in bounded memory."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tryage import QTable
from tryage.errors import InputError, QTableError

FRAGMENTS = (
    b"\x00", b"\xff\xfe", b'"', b",", b"\n", b"[", b"{", b"nan", b"1e999", b'{"prompt":1}\n',
    b'{"prompt":["a"],"expert":"a","loss":1}\n', b"prompt,prompt\n", b"null", b"\xed\xa0\x80",
)  # fmt: skip


def table():
    losses = np.random.default_rng(0).random((20, 3)).astype(np.float32)
    return QTable(tuple(f"p{i}" for i in range(20)), ("a", "b", "c"), losses)


def damaged(content, rng):
    """Return the bytes with one to five changes."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(content) or 1)
        kind = rng.randrange(4)
        if kind == 0 and content:
            content[place] = rng.randrange(256)
        elif kind == 1:
            content = content[:place]
        elif kind == 2:
            content[place:place] = rng.choice(FRAGMENTS)
        else:
            del content[place : place + rng.randrange(20)]
    return bytes(content)


@pytest.mark.parametrize(
    "n_files", [200, pytest.param(6_000, marks=pytest.mark.slow)], ids=["some", "many"]
)
@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_damaged_file_is_read_or_refused_in_words(tmp_path, suffix, n_files):
    rng = random.Random(0)  # noqa: S311 - the same damage on every run
    path = tmp_path / f"t.{suffix}"
    table().write(path)
    content = path.read_bytes()
    n_refused = 0
    for _ in range(n_files):
        path.write_bytes(damaged(content, rng))
        try:
            QTable.read(path)
        except InputError:  # any other error fails the test
            n_refused += 1
    assert n_refused > n_files / 2


def test_lines_that_are_nested_deeply_are_refused_and_the_process_lives(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"prompt": "a", "expert": "b", "loss": ' + "[" * 20_000 + "]" * 20_000 + "}\n")
    code = "import sys; from tryage import QTable; QTable.read(sys.argv[1])"
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1  # not the signal of a crash
    assert "line 1 is JSON that is nested too deeply" in done.stderr


def test_a_prompt_with_many_brackets_is_no_nesting(tmp_path):
    path = tmp_path / "t.jsonl"
    row = {"prompt": "[{" * 5_000, "expert": "b", "loss": 0.5}
    path.write_text(json.dumps(row) + "\n")
    assert QTable.read(path).prompts == ("[{" * 5_000,)


def test_a_large_table_that_is_almost_empty_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "t.csv"
    rows = "".join(f"p{i},e{i},0.5\n" for i in range(12_000))
    path.write_text("prompt,expert,loss\n" + rows)
    with pytest.raises(QTableError, match=r"12,000 prompts and 12,000 experts.* 4\.0 GB"):
        QTable.read(path)


def test_a_parquet_file_that_grows_without_end_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    n_rows = 3_000_000
    rows = pa.table({
        "prompt": pa.array(["a"]).take(pa.array(np.zeros(n_rows, np.int32))),
        "expert": pa.array(["b"]).take(pa.array(np.zeros(n_rows, np.int32))),
        "loss": pa.array(np.zeros(n_rows)),
    })  # fmt: skip
    parquet.write_table(rows, path, compression="zstd", row_group_size=n_rows)
    assert path.stat().st_size < n_rows // 50
    with pytest.raises(QTableError, match=r"is refused: .* 3,000,000 rows"):
        QTable.read(path)


def test_a_column_that_stands_twice_is_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("prompt,expert,loss,loss\na,b,0.1,0.2\n")
    with pytest.raises(QTableError, match=r"the columns \['loss'\] more than once"):
        QTable.read(path)


def test_a_column_of_lists_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"prompt": [["a"]], "expert": ["b"], "loss": [0.1]}), path)
    with pytest.raises(QTableError, match=r"t\.parquet cannot be read"):
        QTable.read(path)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 0, -1, "1"])
def test_a_scale_of_scores_is_a_positive_number(tmp_path, scale):
    path = tmp_path / "t.csv"
    path.write_text("prompt,expert,score\na,b,1\n")
    with pytest.raises(InputError, match="score_scale"):
        QTable.read(path, score_scale=scale)


def test_a_name_that_is_too_long_for_a_file_is_refused_in_words(tmp_path):
    with pytest.raises(QTableError, match="no Q-table at"):
        QTable.read(tmp_path / ("x" * 5_000 + ".csv"))
