"""Measuring into a folder: it can be killed at any moment, nothing is lost and nothing doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tryage import Expert, Library, QTable
from tryage.errors import InputError, MeasurementError, QTableError
from tryage.learning.qtable import with_measurements
from tryage.learning.qtable_io import ShardWriter, read_rows
from tryage.learning.scoring.answers import GenerationMeasurer
from tryage.learning.scoring.measurement import Measurement, MeasurerIdentity, Prompt
from tryage.learning.scoring.replies import Answer
from tryage.learning.scoring.run import score

pytest.importorskip("pyarrow")
pytest.importorskip("textstat")

TEXTS = [f"prompt {'x' * i}" for i in range(10)]


def pairs(folder):
    rows = read_rows(folder).to_pylist()
    return sorted((row["expert"], row["prompt"]) for row in rows)


@pytest.fixture
def run(tmp_path):
    """Measure into one folder, quietly."""

    def measure(prompts, measurers, **settings):
        return score(prompts, measurers, tmp_path / "table", progress=False, **settings)

    return measure


def test_a_table_of_every_expert_on_every_prompt(run, ready, tmp_path):
    report = run(TEXTS, [ready(Expert("a")), ready(Expert("b"))], shard_rows=4)
    assert (report.measured, report.before, report.failed) == (20, 0, [])
    table = QTable.read(tmp_path / "table")
    assert set(table.experts) == {"a", "b"}
    assert set(table.prompts) == set(TEXTS)
    for text, row in zip(table.prompts, table.losses.tolist(), strict=True):
        assert row == [len(text)] * 2
    assert len(list((tmp_path / "table").glob("*.parquet"))) == 6  # 4 + 4 + 2 of each
    assert not list((tmp_path / "table").glob("*.journal"))


def test_only_what_is_missing_is_measured_again(run, ready):
    first = ready(Expert("a"), fails={TEXTS[2]})
    report = run(TEXTS[:5], [first])
    assert [(name, error) for name, _, error in report.failed] == [("a", "no")]
    second, other = ready(Expert("a")), ready(Expert("b"))
    report = run(TEXTS, [second, other])
    assert (report.measured, report.before) == (16, 4)
    assert second.seen == [TEXTS[2], *TEXTS[5:]]
    assert other.seen == TEXTS


def test_a_row_carries_all_that_was_measured(run, tmp_path):
    prompt = Prompt("2 + 2", ("4",), category="sums", source="mine", id="p1")
    asked = GenerationMeasurer(
        Expert("é/数", input_price=1.0, output_price=2.0),
        lambda _: Answer("The sum is four.", 3, 5),
        lambda *_: 0.25,
    )
    run([prompt], [asked])
    (row,) = read_rows(tmp_path / "table").to_pylist()
    assert (row["prompt_id"], row["category"]) == ("p1", "sums")
    assert (row["expert"], row["loss"], row["score"]) == ("é/数", 0.75, 0.25)
    assert (row["output_tokens"], row["output"]) == (5.0, "The sum is four.")
    assert row["cost"] == pytest.approx(13e-6)
    table = QTable.read(tmp_path / "table")
    assert table.categories == ("sums",)
    assert table.costs[0, 0] == pytest.approx(13e-6)
    assert table.readabilities[0, 0] == pytest.approx(row["readability"])


class Told:
    """A measurer that yields what it was given."""

    def __init__(self, *found):
        self.found = found

    def identify(self):
        return MeasurerIdentity(Expert("a"), "told")

    def measure(self, prompts, budget):  # noqa: ARG002 - the protocol
        yield from self.found


def test_numbers_of_numpy_are_numbers_and_nothing_unknown_is_written(run, tmp_path):
    run(["p"], [Told((0, Measurement(np.float32(2.5), output_tokens=np.int64(3))))])
    assert QTable.read(tmp_path / "table").losses.tolist() == [[2.5]]
    for wrong in (float("nan"), float("inf"), "3", True):
        with pytest.raises(InputError, match="A measured loss"):
            Measurement(wrong)


@pytest.mark.parametrize(
    "found",
    [
        [(0, Measurement())],
        [(0, Measurement(1.0)), (0, Measurement(1.0))],
        [(7, Measurement(1.0))],
    ],
)
def test_a_measurer_that_breaks_its_promise_is_told(run, found):
    with pytest.raises(InputError, match="each position once"):
        run(["p"], [Told(*found)])


def test_the_losses_may_be_read_from_another_column(run, tmp_path):
    run(TEXTS, [Told(*((at, Measurement(2.0, 0.5)) for at in range(len(TEXTS))))])
    assert set(QTable.read(tmp_path / "table").losses.flat) == {2.0}
    assert set(QTable.read(tmp_path / "table", loss="loss_per_char").losses.flat) == {0.5}
    for absent in ("bits_per_byte", "nonsense"):
        with pytest.raises(QTableError, match=absent):
            QTable.read(tmp_path / "table", loss=absent)


def test_two_methods_of_one_expert_do_not_mix(run, ready):
    run(TEXTS, [ready(Expert("a"))])
    with pytest.raises(QTableError, match="does not mix"):
        run(TEXTS, [ready(Expert("a"), method="other")])


def test_a_prompt_that_changed_under_its_id_is_told(run, ready):
    run([Prompt("one", id="1")], [ready(Expert("a"))])
    with pytest.raises(QTableError, match="another prompt with the id '1'"):
        run([Prompt("two", id="1")], [ready(Expert("a"))])


@pytest.mark.parametrize(
    ("prompts", "told"),
    [
        ("one", "give a list"),
        ([], "no prompt"),
        ([3], "must be a string"),
        ([{"text": "x"}], "needs"),
        (["\ud800"], "no Unicode"),
        ([{"prompt": "x", "reference": {}}], "text or a number"),
        ([Prompt("a", id="1"), Prompt("b", id="1")], "own"),
    ],
)
def test_prompts_that_are_none_are_told_before_anything_is_written(
    run, ready, prompts, told, tmp_path
):
    with pytest.raises(InputError, match=told):
        run(prompts, [ready(Expert("a"))])
    assert not (tmp_path / "table").exists()


def test_the_same_prompt_twice_is_measured_once(run, ready):
    assert run(["a", "a", {"prompt": "a"}], [ready(Expert("a"))]).measured == 1


def test_two_experts_of_one_name_are_told(run, ready):
    with pytest.raises(InputError, match="name each"):
        run(TEXTS, [ready(Expert("a")), ready(Expert("a"))])
    with pytest.raises(InputError, match="at least one"):
        run(TEXTS, [])


def test_an_expert_that_gives_up_leaves_the_others_alone(run, ready, tmp_path):
    class Broken(ready):
        def measure(self, prompts, budget):
            yield from list(super().measure(prompts, budget))[:3]
            raise MeasurementError("the model is gone")

    report = run(TEXTS, [Broken(Expert("broken")), ready(Expert("b"))])
    assert report.given_up == {"broken": "the model is gone"}
    assert len(pairs(tmp_path / "table")) == 13


def test_a_budget_counts_what_earlier_runs_have_cost(run, tmp_path):
    priced = Expert("priced", input_price=0.0, output_price=1e6)
    asked = []

    def model(text):
        asked.append(text)
        return Answer("x", 1, 1)

    for budget, answered in ((3.0, 3), (3.0, 3), (5.5, 5), (99.0, 10)):
        report = run(TEXTS, [GenerationMeasurer(priced, model, lambda *_: 1.0)], budget=budget)
        assert len(asked) == answered == report.spent
        assert report.out_of_budget == (answered < 10)
    assert len(pairs(tmp_path / "table")) == 10


CHILD = """
import sys, time
from tryage import Expert
from tryage.learning.scoring import Identity, Measurement, score

class Slow:
    def identify(self):
        return Identity(Expert("slow"), "length")
    def measure(self, prompts, budget):
        for at, prompt in enumerate(prompts):
            if budget.stopped:
                return
            yield at, Measurement(loss=float(len(prompt.text)))
            print("asked", flush=True)
            time.sleep(0.005)

score([f"prompt {i}" for i in range(100)], [Slow()], sys.argv[1], shard_rows=7, progress=False)
"""


def started(folder):
    return subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("after", [1, 7, 33])
def test_a_killed_run_loses_nothing_and_doubles_nothing(tmp_path, after):
    child = started(tmp_path)
    for _ in range(after):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    known = after + len(child.stdout.readlines())
    child.wait()
    left = pairs(tmp_path)
    assert len(set(left)) == len(left) >= known  # readable at once, without another run
    again = started(tmp_path)
    asked = len(again.stdout.readlines())
    assert again.wait() == 0
    assert asked == 100 - len(left)
    assert len(pairs(tmp_path)) == len(set(pairs(tmp_path))) == 100
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".journal", ".partial")]


def test_ctrl_c_keeps_what_is_done_and_leaves_whole_shards(tmp_path):
    child = started(tmp_path)
    for _ in range(10):
        child.stdout.readline()
    child.send_signal(signal.SIGINT)
    known = 10 + len(child.stdout.readlines())
    assert child.wait() != 0
    assert len(pairs(tmp_path)) == known < 100
    assert not list(tmp_path.glob("*.journal"))


def test_a_folder_that_another_process_writes_is_refused(tmp_path, ready):
    child = started(tmp_path)
    child.stdout.readline()
    with pytest.raises(QTableError, match="another process"):
        score(TEXTS, [ready(Expert("a"))], tmp_path, progress=False)
    child.kill()
    child.wait()
    child.stdout.close()
    assert score(TEXTS, [ready(Expert("a"))], tmp_path, progress=False).measured == 10


def test_ctrl_c_waits_for_the_requests_that_run(tmp_path):
    asked, go = threading.Event(), threading.Event()

    def model(text):
        asked.set()
        go.wait(10)
        return text

    def interrupt():
        asked.wait(10)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        go.set()

    threading.Thread(target=interrupt).start()
    answers = GenerationMeasurer("a", model, lambda *_: 1.0, concurrency=2)
    with pytest.raises(KeyboardInterrupt):
        score(TEXTS, [answers], tmp_path, progress=False)
    assert 1 <= len(pairs(tmp_path)) <= 2


def test_a_journal_whose_shard_is_there_counts_once(tmp_path):
    """As a process leaves them that is killed between the two steps of closing a shard."""
    row = {"prompt_id": "1", "prompt": "a", "expert": "e", "loss": 1.0}
    with ShardWriter(tmp_path, "e") as writer:
        writer.write(row)
    (shard,) = tmp_path.glob("*.parquet")
    shard.with_suffix(".journal").write_text(json.dumps(row) + "\n")
    assert len(read_rows(tmp_path)) == 1


def test_the_line_that_was_cut_off_is_left_out(tmp_path):
    row = json.dumps({"prompt_id": "1", "prompt": "é", "expert": "e", "loss": 1.0}).encode()
    (tmp_path / "e-1.journal").write_bytes(row + b"\n" + row[:-9])
    (tmp_path / "e-2.journal").write_bytes(b"")
    assert len(read_rows(tmp_path)) == 1
    assert QTable.read(tmp_path).losses.tolist() == [[1.0]]


def test_a_damaged_shard_and_an_empty_folder_are_told(tmp_path):
    with pytest.raises(QTableError, match="no shard"):
        QTable.read(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(QTableError, match=r"x\.parquet"):
        QTable.read(tmp_path)
    (tmp_path / "x.parquet").unlink()
    (tmp_path / "x.journal").write_bytes(b"\0\0\n")
    with pytest.raises(QTableError, match=r"x\.journal is damaged"):
        QTable.read(tmp_path)


def test_what_answers_are_like_flows_into_the_experts(run, tmp_path):
    texts = {"a": "The cat sat on the mat. It ran.", "b": "Institutional responsibilities."}
    experts = [
        GenerationMeasurer(name, lambda _, t=text: Answer(t, 1, len(t)), lambda *_: 1.0)
        for name, text in texts.items()
    ]
    run(TEXTS, experts)
    known = Library([Expert("a", output_tokens=500, parameters=7e9), Expert("c", readability=9)])
    library = with_measurements(known, QTable.read(tmp_path / "table"))
    assert library.names == ("a", "c", "b")
    assert [library[name].output_tokens for name in "abc"] == [31, 31, None]
    assert library["a"].readability > library["b"].readability
    assert library["c"].readability == 9
    assert library["a"].parameters == 7e9
    assert library["b"].latency >= 0


def test_what_was_not_measured_of_an_expert_stays():
    known = Library([Expert("a", output_tokens=7), Expert("b", output_tokens=7)])
    counts = [[2.0, np.nan], [4.0, np.nan]]
    table = QTable(("p", "q"), ("b", "a"), np.ones((2, 2)), output_tokens=counts)
    assert list(with_measurements(known, table).column("output_tokens")) == [7, 3]


def test_a_table_without_answers_changes_nothing():
    library = Library(["a"])
    assert with_measurements(library, QTable(("p",), ("a",), [[1.0]])) is library
