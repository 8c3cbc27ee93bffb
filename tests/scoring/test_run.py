"""Measuring into a folder: a killed run loses nothing and measures nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.errors import InputError, MeasurementError, QTableError
from tryage.scoring.answers import GenerationMeasurer
from tryage.scoring.measurement import Measurement, MeasurerIdentity, Prompt
from tryage.scoring.qtable import QTable, with_measurements
from tryage.scoring.qtable_io import EXPERTS_FILE, read_rows
from tryage.scoring.replies import Answer
from tryage.scoring.run import score

pytest.importorskip("pyarrow")
pytest.importorskip("textstat")

TEXTS = [f"prompt {'x' * i}" for i in range(10)]


def measured_pairs(folder):
    rows = read_rows(folder).to_pylist()
    return sorted((row["expert"], row["prompt"]) for row in rows)


@pytest.fixture
def run(tmp_path):
    """Measure into one folder, quietly."""

    def measure(prompts, measurers, **settings):
        return score(prompts, measurers, tmp_path / "table", progress=False, **settings)

    return measure


def test_a_table_of_every_expert_on_every_prompt(run, length_measurer, tmp_path):
    report = run(TEXTS, [length_measurer(Expert("a")), length_measurer(Expert("b"))], shard_rows=4)
    assert (report.measured, report.previously_measured, report.failed) == (20, 0, [])
    table = QTable.read(tmp_path / "table")
    assert set(table.experts) == {"a", "b"}
    assert set(table.prompts) == set(TEXTS)
    for text, row in zip(table.prompts, table.losses.tolist(), strict=True):
        assert row == [len(text)] * 2
    assert len(list((tmp_path / "table").glob("*.parquet"))) == 6  # 4 + 4 + 2 of each
    assert not list((tmp_path / "table").glob("*.journal"))


def test_only_missing_pairs_are_measured_again(run, length_measurer):
    first = length_measurer(Expert("a"), fails={TEXTS[2]})
    report = run(TEXTS[:5], [first])
    assert [(name, error) for name, _, error in report.failed] == [("a", "no")]
    second, other = length_measurer(Expert("a")), length_measurer(Expert("b"))
    report = run(TEXTS, [second, other])
    assert (report.measured, report.previously_measured) == (16, 4)
    assert second.seen == [TEXTS[2], *TEXTS[5:]]
    assert other.seen == TEXTS


def test_a_row_holds_all_that_was_measured(run, tmp_path):
    prompt = Prompt("2 + 2", ("4",), category="sums", source="mine", id="p1")
    measurer = GenerationMeasurer(
        Expert("é/数", input_price=1.0, output_price=2.0),
        lambda _: Answer("The sum is four.", 3, 5),
        lambda *_: 0.25,
    )
    run([prompt], [measurer])
    (row,) = read_rows(tmp_path / "table").to_pylist()
    assert (row["prompt_id"], row["category"]) == ("p1", "sums")
    assert (row["expert"], row["loss"], row["score"]) == ("é/数", 0.75, 0.25)
    assert (row["output_tokens"], row["output"]) == (5.0, "The sum is four.")
    assert row["cost"] == pytest.approx(13e-6)
    table = QTable.read(tmp_path / "table")
    assert table.categories == ("sums",)
    assert table.costs[0, 0] == pytest.approx(13e-6)
    assert table.readabilities[0, 0] == pytest.approx(row["readability"])


class Scripted:
    """A measurer that yields the given measurements."""

    def __init__(self, *found):
        self.found = found

    def identify(self):
        return MeasurerIdentity(Expert("a"), "scripted")

    def measure(self, prompts, budget):  # noqa: ARG002 - the protocol
        yield from self.found


@pytest.mark.parametrize(
    "found",
    [
        [(0, Measurement())],
        [(0, Measurement(1.0)), (0, Measurement(1.0))],
        [(7, Measurement(1.0))],
    ],
)
def test_a_measurer_that_breaks_the_protocol_is_rejected(run, found):
    with pytest.raises(InputError, match="each position once"):
        run(["p"], [Scripted(*found)])


def test_two_methods_of_one_expert_do_not_mix(run, length_measurer):
    run(TEXTS, [length_measurer(Expert("a"))])
    with pytest.raises(QTableError, match="does not mix"):
        run(TEXTS, [length_measurer(Expert("a"), method="other")])


def test_a_prompt_that_changed_under_its_id_is_rejected(run, length_measurer):
    run([Prompt("one", id="1")], [length_measurer(Expert("a"))])
    with pytest.raises(QTableError, match="another prompt with the id '1'"):
        run([Prompt("two", id="1")], [length_measurer(Expert("a"))])


@pytest.mark.parametrize(
    "prompts",
    [
        "one",
        [],
        [3],
        [{"text": "x"}],
        ["\ud800"],
        [{"prompt": "x", "reference": {}}],
        [Prompt("a", id="1"), Prompt("b", id="1")],
    ],
)
def test_wrong_prompts_are_rejected_before_anything_is_written(
    run, length_measurer, prompts, tmp_path
):
    with pytest.raises(InputError):
        run(prompts, [length_measurer(Expert("a"))])
    assert not (tmp_path / "table").exists()


def test_the_same_prompt_twice_is_measured_once(run, length_measurer):
    assert run(["a", "a", {"prompt": "a"}], [length_measurer(Expert("a"))]).measured == 1


def test_experts_need_different_names(run, length_measurer):
    with pytest.raises(InputError, match="its own name"):
        run(TEXTS, [length_measurer(Expert("a")), length_measurer(Expert("a"))])
    with pytest.raises(InputError, match="at least one expert"):
        run(TEXTS, [])


def test_what_is_known_about_the_experts_is_written_beside_the_losses(
    run, length_measurer, tmp_path
):
    run(
        TEXTS,
        [
            length_measurer(Expert("a", parameters=7e9)),
            length_measurer(Expert("é", metadata={"note": "a\u2028b"})),
        ],
    )
    run(TEXTS, [length_measurer(Expert("a", input_price=1.0))])
    lines = (tmp_path / "table" / EXPERTS_FILE).read_bytes().splitlines()
    assert [*Library.from_dicts(map(json.loads, lines))] == [
        Expert("a", parameters=7e9, input_price=1.0),
        Expert("é", metadata={"note": "a\u2028b"}),
    ]


def test_an_expert_that_is_given_up_does_not_end_the_others(run, length_measurer, tmp_path):
    class Broken(length_measurer):
        def measure(self, prompts, budget):
            yield from list(super().measure(prompts, budget))[:3]
            raise MeasurementError("the model is gone")

    report = run(TEXTS, [Broken(Expert("broken")), length_measurer(Expert("b"))])
    assert report.given_up == {"broken": "the model is gone"}
    assert len(measured_pairs(tmp_path / "table")) == 13


def test_a_budget_counts_what_earlier_runs_have_cost(run, tmp_path):
    priced = Expert("priced", input_price=0.0, output_price=1e6)
    calls = []

    def model(text):
        calls.append(text)
        return Answer("x", 1, 1)

    for budget, answered in ((3.0, 3), (3.0, 3), (5.5, 5), (99.0, 10)):
        report = run(TEXTS, [GenerationMeasurer(priced, model, lambda *_: 1.0)], budget=budget)
        assert len(calls) == answered == report.spent
        assert report.out_of_budget == (answered < 10)
    assert len(measured_pairs(tmp_path / "table")) == 10


CHILD = """
import sys, time
from tryage import Expert
from tryage.scoring import Measurement, MeasurerIdentity, score

class Slow:
    def identify(self):
        return MeasurerIdentity(Expert("slow"), "length")
    def measure(self, prompts, budget):
        for at, prompt in enumerate(prompts):
            if budget.stopped:
                return
            yield at, Measurement(loss=float(len(prompt.text)))
            print("measured", flush=True)
            time.sleep(0.005)

score([f"prompt {i}" for i in range(100)], [Slow()], sys.argv[1], shard_rows=7, progress=False)
"""


def start_child(folder):
    return subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("after", [1, 7, 33])
def test_a_killed_run_loses_nothing_and_measures_nothing_twice(tmp_path, after):
    child = start_child(tmp_path)
    for _ in range(after):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    known = after + len(child.stdout.readlines())
    child.wait()
    left = measured_pairs(tmp_path)
    assert len(set(left)) == len(left) >= known  # readable at once, without another run
    again = start_child(tmp_path)
    asked = len(again.stdout.readlines())
    assert again.wait() == 0
    assert asked == 100 - len(left)
    assert len(measured_pairs(tmp_path)) == len(set(measured_pairs(tmp_path))) == 100
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".journal", ".partial")]


def test_ctrl_c_keeps_what_was_measured_in_whole_shards(tmp_path):
    child = start_child(tmp_path)
    for _ in range(10):
        child.stdout.readline()
    child.send_signal(signal.SIGINT)
    known = 10 + len(child.stdout.readlines())
    assert child.wait() != 0
    assert len(measured_pairs(tmp_path)) == known < 100
    assert not list(tmp_path.glob("*.journal"))


def test_a_folder_that_another_process_writes_to_is_rejected_until_that_is_killed(
    tmp_path, length_measurer
):
    child = start_child(tmp_path)
    child.stdout.readline()
    with pytest.raises(QTableError, match="another process"):
        score(TEXTS, [length_measurer(Expert("a"))], tmp_path, progress=False)
    child.kill()
    child.wait()
    child.stdout.close()
    assert score(TEXTS, [length_measurer(Expert("a"))], tmp_path, progress=False).measured == 10


def test_ctrl_c_waits_for_the_running_requests(tmp_path):
    called, proceed = threading.Event(), threading.Event()

    def model(text):
        called.set()
        proceed.wait(10)
        return text

    def interrupt():
        called.wait(10)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        proceed.set()

    threading.Thread(target=interrupt).start()
    measurer = GenerationMeasurer("a", model, lambda *_: 1.0, concurrency=2)
    with pytest.raises(KeyboardInterrupt):
        score(TEXTS, [measurer], tmp_path, progress=False)
    assert 1 <= len(measured_pairs(tmp_path)) <= 2


def test_measured_facts_about_answers_reach_the_library(run, tmp_path):
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
