"""Measuring on a real Ray with several processes: the same table, whatever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tryage.core.expert import Expert
from tryage.errors import InputError, MeasurementError, QTableError
from tryage.scoring.answers import GenerationMeasurer
from tryage.scoring.losses import MaskedLM
from tryage.scoring.measurement import Measurement, MeasurerIdentity, Prompt
from tryage.scoring.qtable_io import read_rows
from tryage.scoring.ray_engine import Ray
from tryage.scoring.replies import Answer
from tryage.scoring.run import Report, score

pytest.importorskip("pyarrow")
pytest.importorskip("textstat")
ray = pytest.importorskip("ray")

pytestmark = pytest.mark.slow

TIMEOUTS = {  # long, so that no test fails on a busy machine
    "RAY_worker_niceness": "0",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
}
TEXTS = [f"prompt {'x' * (i % 7)} {i}" for i in range(80)]


class Length:
    """An expert whose loss is the length of a prompt; it adds a line to `log` for each prompt."""

    def __init__(self, name, log, act=None, ballast=b""):
        self.name, self.log, self.act, self.ballast = name, str(log), act, ballast

    def identify(self):
        return MeasurerIdentity(Expert(self.name), "length")

    def measure(self, prompts, budget):
        for at, prompt in enumerate(prompts):
            if budget.stopped:
                return
            if self.act:
                self.act(prompt)
            with Path(self.log).open("a") as log:
                log.write(f"{self.name} {os.getpid()}\n")
            yield at, Measurement(loss=float(len(prompt.text)))


@pytest.fixture(scope="module")
def cluster():
    """Start Ray with three workers for all tests, and return its address."""
    # Workers cannot import this module.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        for name, value in TIMEOUTS.items():
            patch.setenv(name, value)
        with Ray(workers=3).connect() as workers:
            assert workers == 3
            yield ray.get_runtime_context().gcs_address


@pytest.fixture
def run(cluster, tmp_path):  # noqa: ARG001 - the cluster must run
    """Measure into one folder on three workers."""

    def measure(measurers, prompts=TEXTS, **settings) -> Report:
        engine = Ray(workers=3, **settings.pop("ray", {}))
        return score(prompts, measurers, tmp_path / "t", engine=engine, progress=False, **settings)

    return measure


def read_sorted(folder):
    rows = read_rows(folder).to_pylist()
    for row in rows:
        row.pop("latency")
    return sorted(rows, key=lambda row: (row["expert"], row["prompt_id"]))


def measured_pairs(folder):
    return [(row["expert"], row["prompt_id"]) for row in read_sorted(folder)]


def lines(log):
    return log.read_text().splitlines()


def priced(name, log=None, usd=1.0, wait=0.0):
    """An expert whose every answer costs `usd`; it adds a line to `log` for each request."""

    def model(text):
        if log is not None:
            with Path(log).open("a") as file:
                file.write("asked\n")
        time.sleep(wait)
        return Answer(str(len(text)), 1, 1)

    expert = Expert(name, input_price=0.0, output_price=usd * 1e6)
    return GenerationMeasurer(expert, model, lambda prompt, _: len(prompt.text) / 100)


def test_the_table_equals_that_of_the_local_engine_row_for_row(run, tmp_path, cluster):
    measurers = [Length("a", tmp_path / "log"), priced("é/数"), Length("c", tmp_path / "log")]
    prompts = [Prompt(text, category="k", source="s") for text in TEXTS]
    report = run(measurers, prompts, shard_rows=32)
    assert (report.measured, report.failed, report.given_up) == (240, [], {})
    assert report.spent == 80.0
    assert len({line for line in lines(tmp_path / "log") if line.startswith("a ")}) >= 1
    score(prompts, measurers, tmp_path / "local", progress=False)
    assert read_sorted(tmp_path / "t") == read_sorted(tmp_path / "local")
    assert len(list((tmp_path / "t").glob("*.parquet"))) == 9
    assert not list((tmp_path / "t").glob("*.journal"))
    assert cluster.startswith("127.0.0.")


def test_an_expert_gets_several_workers(run, tmp_path):
    assert run([Length("a", tmp_path / "log", lambda _: time.sleep(0.02))]).measured == 80
    assert len(set(lines(tmp_path / "log"))) >= 2


def test_models_have_the_same_losses_as_locally(run, tmp_path, bert):
    texts = [f"the {word} sat on the mat , and ran ." for word in ("cat", "dog", "zebra")]
    assert run([MaskedLM.from_pretrained(bert)], texts).measured == 3
    score(texts, [MaskedLM.from_pretrained(bert)], tmp_path / "local", progress=False)
    found, expected = read_sorted(tmp_path / "t"), read_sorted(tmp_path / "local")
    for one, other in zip(found, expected, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_another_worker_goes_on_where_one_was_killed(run, tmp_path):
    once = tmp_path / "once"

    def die(prompt):
        if prompt.text == TEXTS[30] and not once.exists():
            once.touch()
            time.sleep(0.5)  # the earlier measurements can arrive
            os.kill(os.getpid(), signal.SIGKILL)

    log = tmp_path / "log"
    report = run([Length("a", log, die), Length("b", log)])
    assert once.exists()
    assert (report.measured, report.given_up) == (160, {})
    assert len(set(measured_pairs(tmp_path / "t"))) == len(measured_pairs(tmp_path / "t")) == 160
    assert len(lines(log)) == 160  # nothing was measured twice


def test_an_expert_that_kills_its_workers_is_given_up_alone(run, tmp_path):
    deaths = tmp_path / "deaths"

    def die(prompt):
        if prompt.text == TEXTS[5]:
            with deaths.open("a") as file:
                file.write("x\n")
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)

    report = run([Length("deadly", tmp_path / "log", die), Length("b", tmp_path / "log")])
    assert "3 workers in a row died" in report.given_up["deadly"]
    assert len(lines(deaths)) in (3, 4)  # the first may have yielded something before
    rows = measured_pairs(tmp_path / "t")
    assert len([name for name, _ in rows if name == "b"]) == 80
    assert ("deadly", Prompt(TEXTS[0]).id) in rows


def test_a_budget_is_never_exceeded_however_many_workers_ask_at_once(run, tmp_path):
    log = tmp_path / "asked"
    for budget, asked in ((1.0, 1), (7.0, 7), (7.0, 7), (30.0, 30)):
        report = run([priced("a", log, wait=0.005), priced("b", log)], budget=budget)
        assert len(lines(log)) == asked == report.spent == len(measured_pairs(tmp_path / "t"))
        assert report.out_of_budget
    report = run([priced("a", log), priced("b", log)], budget=1000)
    assert (report.previously_measured, report.measured, report.out_of_budget) == (30, 130, False)


def test_an_unknown_cost_ends_an_expert_when_there_is_a_budget(run):
    unknown = GenerationMeasurer("a", lambda text: text, lambda *_: 1.0)
    assert "no budget can be kept" in run([unknown], budget=5.0).given_up["a"]


def failing(error):
    def fail(prompt):
        if prompt.text == TEXTS[3]:
            raise error

    return fail


def test_an_expert_that_is_given_up_does_not_end_the_others(run, tmp_path):
    broken = Length("broken", tmp_path / "log", failing(MeasurementError("the model is gone")))
    report = run([broken, Length("b", tmp_path / "log")])
    assert report.given_up == {"broken": "the model is gone"}
    assert [name for name, _ in measured_pairs(tmp_path / "t")].count("b") == 80


@pytest.mark.parametrize("error", [InputError("lacks a reference"), ZeroDivisionError("by zero")])
def test_an_error_is_raised_as_locally_and_what_was_measured_is_kept(run, tmp_path, error):
    with pytest.raises(type(error), match=str(error)) as raised:
        run([Length("a", tmp_path / "log", failing(error))])
    where = __file__ in str(raised.value)  # a programming error shows its line
    assert where == (not isinstance(error, InputError))
    assert len(measured_pairs(tmp_path / "t")) == len(lines(tmp_path / "log")) >= 3


def test_a_measurer_that_cannot_be_pickled_is_named_and_nothing_starts(run, tmp_path):
    locked = Length("with-a-lock", tmp_path / "log", ballast=threading.Lock())
    with pytest.raises(InputError, match=r"with-a-lock cannot be sent to a worker.*lock"):
        run([Length("b", tmp_path / "log"), locked])
    with pytest.raises(QTableError):
        read_rows(tmp_path / "t")


def test_the_secret_of_a_client_reaches_no_file(run, tmp_path):
    secret = os.urandom(16).hex().encode()
    for size in (1, 10_000):  # small, and more than Ray puts into a message
        run([Length(f"client-{size}", tmp_path / "log", ballast=secret * size)])
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    files = [path for path in (*session.rglob("*"), *tmp_path.rglob("*")) if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if secret in path.read_bytes()]


def test_a_worker_that_fits_on_no_machine_is_rejected(run, tmp_path):
    with pytest.raises(InputError, match="1 CPUs and 3 GPUs, and no machine"):
        run([Length("a", tmp_path / "log")], ray={"num_gpus": 3})


CHILD = """
import os, sys, time
from pathlib import Path
from tryage.core.expert import Expert
from tryage.scoring import Measurement, MeasurerIdentity, Ray, score

class Slow:
    def identify(self):
        return MeasurerIdentity(Expert("slow"), "length")
    def measure(self, prompts, budget):
        for at, prompt in enumerate(prompts):
            if budget.stopped:
                return
            time.sleep(0.05)
            with open(sys.argv[1] + "/log", "a") as log:
                log.write("measured\\n")
            yield at, Measurement(loss=float(len(prompt.text)))

sys.argv[1:] = [ARGUMENT]
prompts = [f"prompt {i}" for i in range(200)]
score(prompts, [Slow()], ARGUMENT + "/t", engine=Ray(workers=2), progress=False)
"""


@pytest.fixture
def start_child(cluster, tmp_path):
    """Start a process that measures on the cluster, in its own process group; wait for rows."""

    def start(until=10):
        code = CHILD.replace("sys.argv[1] +", f"{str(tmp_path)!r} +")
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", code.replace("ARGUMENT", repr(str(tmp_path)))],
            env=os.environ | {"RAY_ADDRESS": cluster},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while child.poll() is None:
            if (tmp_path / "t").exists() and count_rows(tmp_path / "t") >= until:
                break
            time.sleep(0.05)
        return child

    return start


def count_rows(folder):
    try:
        return len(read_rows(folder))
    except QTableError:
        return 0


def test_ctrl_c_keeps_all_that_was_measured(start_child, tmp_path):
    child = start_child()
    os.killpg(child.pid, signal.SIGINT)  # a terminal sends it to the whole group
    _, errors = child.communicate(timeout=120)
    assert child.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert 10 <= len(measured_pairs(tmp_path / "t")) == len(lines(tmp_path / "log")) < 200
    assert not list((tmp_path / "t").glob("*.journal"))


def test_a_run_that_was_killed_goes_on_when_it_is_started_again(start_child, tmp_path):
    child = start_child()
    child.kill()
    child.communicate()
    before = measured_pairs(tmp_path / "t")
    assert 10 <= len(before) < 200  # readable at once
    again = start_child(until=1000)
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert not errors
    after = measured_pairs(tmp_path / "t")
    assert len(after) == len(set(after)) == 200
    assert set(before) < set(after)
