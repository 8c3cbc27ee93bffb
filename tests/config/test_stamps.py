"""Whether files have changed."""

from __future__ import annotations

import os

from tryage.config.stamps import file_stamp, file_stamps


def test_two_contents_of_one_size_at_one_time_have_different_stamps(write):
    path = write("a = 1")
    first, times = file_stamp(path), (1, 1)
    os.utime(path, times)
    path.write_text("a = 2")
    os.utime(path, times)
    assert file_stamp(path)[:2] == (1_000_000_000, 5)
    assert file_stamp(path)[2] != first[2]


def test_a_file_that_is_not_there_has_none(tmp_path):
    assert file_stamps((tmp_path / "no",)) == {tmp_path / "no": None}
