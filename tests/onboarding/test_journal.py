"""The journal: what is written is read again, and nothing else is taken for it."""

import pytest

from tryage.errors import InputError, MeasurementError
from tryage.onboarding.journal import AnswerRecord, open_journal


def test_records_are_read_again_with_all_their_fields(tmp_path):
    path = tmp_path / "deep" / "answers.jsonl"
    first = AnswerRecord("a", "q1", "exact_match", 1.0, 0.5, 12.0, 0.001, None)
    second = AnswerRecord("ü", "q2", "exact_match", error="refused")
    with open_journal(path) as journal:
        journal.append(first)
        journal.append(second)
    with open_journal(path) as journal:
        assert journal.records == [first, second]
    assert first.spent == 0.001


def test_each_record_is_on_the_disk_before_the_next_one(tmp_path):
    path = tmp_path / "answers.jsonl"
    with open_journal(path) as journal:
        journal.append(AnswerRecord("a", "q", "m", 1.0))
        assert path.read_text().count("\n") == 1


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"model": "a"}', '{"other": 1}'])
def test_a_file_that_is_no_journal_is_refused_and_kept(tmp_path, line):
    path = tmp_path / "answers.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(InputError, match="line 1"), open_journal(path):
        pass
    assert path.read_text() == f"{line}\n"


def test_two_runs_at_once_do_not_share_a_journal(tmp_path):
    path = tmp_path / "answers.jsonl"
    with (
        open_journal(path),
        pytest.raises(MeasurementError, match="Another process"),
        open_journal(path),
    ):
        pass
