"""The journal: what is written is read again, and nothing else is taken for it."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tryage.errors import FileWriteError, InputError, MeasurementError
from tryage.onboarding.journal import AnswerRecord, open_journal, read_journal


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


ROW = {"model": "a", "question": "q", "method": "m", "score": 1.0}


@pytest.mark.parametrize(
    "change",
    [
        {"model": 5},
        {"model": "a\x1b[2J"},
        {"question": None},
        {"score": "1"},
        {"score": True},
        {"score": 1e300},
        {"cost": "free"},
        {"cost": float("nan")},
        {"latency": -1},
        {"output_tokens": []},
        {"error": 3, "score": None},
    ],
)
def test_a_record_with_a_value_of_a_wrong_type_is_refused(tmp_path, change):
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | change) + "\n")
    with pytest.raises(InputError, match="line 2"):
        read_journal(path)


def test_a_record_of_many_levels_is_refused(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("[" * 100_000 + "\n")
    with pytest.raises(InputError, match="line 1 is no record"):
        read_journal(path)


def test_two_runs_at_once_do_not_share_a_journal(tmp_path):
    path = tmp_path / "answers.jsonl"
    with (
        open_journal(path),
        pytest.raises(MeasurementError, match="Another process"),
        open_journal(path),
    ):
        pass


LINES = st.binary(max_size=20) | st.dictionaries(
    st.sampled_from(["model", "question", "method", "score", "error", "cost"]),
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=4)
    | st.lists(st.integers(), max_size=2),
).map(lambda row: json.dumps(row).encode())


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, max_size=3))
def test_any_lines_are_records_or_refused_in_words(tmp_path, lines):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    with contextlib.suppress(InputError):
        records = read_journal(path)
        assert all(record.error is not None or 0 <= record.score <= 1 for record in records)


def test_a_line_that_is_nested_deeply_is_refused(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("[" * 100_000 + "\n")
    with pytest.raises(InputError, match="line 1 is no record"):
        read_journal(path)


def test_a_full_disk_is_an_error_that_says_what_to_do_and_the_journal_goes_on(tmp_path, full_disk):
    path = tmp_path / "answers.jsonl"
    records = [AnswerRecord("a", f"q{i}", "exact_match", 1.0) for i in range(3)]

    def write_all():
        with open_journal(path) as journal:
            for record in records:
                journal.append(record)

    with full_disk(100), pytest.raises(FileWriteError, match=r"make room.*goes on"):
        write_all()
    with open_journal(path) as journal:
        assert journal.records == records[:1]
        journal.append(records[2])
    with open_journal(path) as journal:
        assert journal.records == [records[0], records[2]]


def test_a_journal_that_cannot_be_written_is_an_error_before_any_model_is_asked(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(FileWriteError, match="No model was asked"),
        open_journal(tmp_path / "file" / "answers.jsonl"),
    ):
        pass
