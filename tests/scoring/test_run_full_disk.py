"""A full or a read-only disk ends a measurement with what to do, and nothing measured is lost."""

from __future__ import annotations

import errno
import os

import pytest

pytest.importorskip("pyarrow")

from tryage import Expert, QTable
from tryage.errors import FileWriteError
from tryage.scoring import qtable_io, score

TEXTS = [f"prompt {i}" for i in range(10)]


@pytest.fixture
def measure(length_measurer, tmp_path):
    """Measure one expert; return the measurer and what the run did."""

    def run(**options):
        measurer = length_measurer(Expert("a"))
        return measurer, score(TEXTS, [measurer], tmp_path / "table", progress=False, **options)

    return run


def test_a_full_disk_is_an_error_that_says_what_to_do_and_the_same_call_goes_on(
    measure, full_disk, tmp_path
):
    row_bytes = 150  # a little less than what one row takes
    with full_disk(4 * row_bytes), pytest.raises(FileWriteError, match=r"make room.*goes on"):
        measure()
    rows = qtable_io.read_rows(tmp_path / "table").to_pylist()
    assert 1 <= len(rows) < len(TEXTS)
    _, report = measure()
    assert report.previously_measured == len(rows)
    assert report.measured == len(TEXTS) - len(rows)
    assert QTable.read(tmp_path / "table").losses.shape == (len(TEXTS), 1)


def test_where_a_shard_finds_no_room_its_rows_stay_in_the_journal(measure, full_disk, tmp_path):
    measure(shard_rows=100)
    (shard,) = (tmp_path / "table").glob("*.parquet")
    rows = qtable_io.read_rows(tmp_path / "table")
    journal = shard.with_suffix(".journal")
    lines = [str(row).replace("'", '"').replace("None", "null") for row in rows.to_pylist()]
    journal.write_text("".join(f"{line}\n" for line in lines))
    shard.unlink()
    with full_disk(500), pytest.raises(FileWriteError, match="make room"):
        qtable_io.recover_journals(tmp_path / "table")
    assert [path.suffix for path in (tmp_path / "table").iterdir()].count(".partial") == 0
    assert qtable_io.read_rows(tmp_path / "table").to_pylist() == rows.to_pylist()


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_measured(
    measure, monkeypatch
):
    def fail(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("filelock.FileLock.acquire", fail)
    with pytest.raises(FileWriteError, match="Nothing was measured"):
        measure()
