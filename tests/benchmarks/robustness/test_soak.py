"""A short soak: every request is answered or fails with its reason, and nothing is mixed up."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

ROBUSTNESS = Path(__file__).resolve().parents[3] / "benchmarks" / "robustness"
SECONDS, RATE = 6, 20

for package in ("langchain_openai", "llama_index.llms.ollama", "uvicorn", "sqlalchemy", "psutil"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Run some seconds of load, with each outage once, and return what was written."""
    folder = tmp_path_factory.mktemp("soak") / "run"
    minutes = str(SECONDS / 60)
    words = ["--minutes", minutes, "--period", minutes, "--rate", str(RATE), "--folder", folder]
    script = ROBUSTNESS / "soak.py"
    done = subprocess.run(  # noqa: S603 - this project's own command
        [sys.executable, script, *words], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def soak(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(ROBUSTNESS))
    return importlib.import_module("soak_report").read_soak(folder)


def test_no_request_is_answered_for_which_every_call_has_failed(soak):
    calls = {}
    for call in soak.calls:
        calls.setdefault(call["marker"], []).append(call["did"])
    requests = [line for lines in soak.requests.values() for line in lines]
    failed = [line for line in requests if all(calls.get(line["marker"], [None]))]
    assert not {line["outcome"] for line in failed} & {"first", "next"}
    if not any(line["outcome"] == "failed" for line in failed):
        pytest.skip("the machine is so busy that no call came while all models were down")


@pytest.mark.parametrize("path", ["langchain", "llamaindex", "http"])
def test_every_request_is_answered_or_fails_with_its_reason(soak, path):
    lines = soak.requests[path]
    numbers = sorted(line["i"] for line in lines)
    assert numbers == list(range(len(lines)))
    assert len(lines) > 0.25 * SECONDS * RATE
    assert [line for line in lines if line["outcome"] == "fault"] == []
    counts = Counter(line["outcome"] for line in lines)
    assert counts["first"] > 0
    assert counts["next"] > 0


def test_what_clients_are_told_is_what_the_models_did(soak, monkeypatch):
    monkeypatch.syspath_prepend(str(ROBUSTNESS))
    report = importlib.import_module("soak_report")
    requests = [line for lines in soak.requests.values() for line in lines]
    checks = report.check_requests(requests, soak.calls)
    assert checks.served_without_answer == 0
    assert checks.unowned_calls == 0


def test_the_log_has_every_decision_and_has_lost_none(soak, folder):
    decided = sum(line["way"] != "adecide" for lines in soak.requests.values() for line in lines)
    assert json.loads((folder / "counts.json").read_text())["decisions"] >= decided
    ends = [one for lines in soak.events.values() for one in lines if one["event"] == "end"]
    assert [one["unanswered"] for one in ends] == [0, 0, 0]
    assert [one["lost"] for one in ends if "lost" in one] == [{}, {}]


def test_no_cool_down_ends_that_has_not_begun(soak, monkeypatch):
    monkeypatch.syspath_prepend(str(ROBUSTNESS))
    report = importlib.import_module("soak_report")
    began = Counter()
    for path in ("langchain", "llamaindex"):
        opened, closed = report.cool_downs(soak.events[path])
        assert closed <= opened
        began += opened
    if not began:
        pytest.skip("the machine is so busy that no model failed often enough")


def test_settings_that_change_are_in_force_and_broken_ones_are_refused(soak):
    messages = [one.get("message", "") for one in soak.events["langchain"]]
    assert any("are in force" in message for message in messages)
    assert any("stay as they were" in message for message in messages)


def test_the_server_logs_no_word_of_a_prompt_or_an_answer(soak, folder):
    log = (folder / "server.log").read_text()
    assert "is asked next" in log
    assert [line["marker"] for line in soak.requests["http"] if line["marker"] in log] == []


def test_a_throttled_process_gets_its_share_of_the_time_and_goes_on_afterwards(monkeypatch):
    monkeypatch.syspath_prepend(str(ROBUSTNESS.parent))
    monkeypatch.syspath_prepend(str(ROBUSTNESS))
    soak, psutil = importlib.import_module("soak"), importlib.import_module("psutil")
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        times = psutil.Process(process.pid).cpu_times
        with soak.throttled(process, 0.1, start=0.0):
            time.sleep(0.5)
            start, used = time.monotonic(), sum(times()[:2])
            time.sleep(2)
            seconds, used = time.monotonic() - start, sum(times()[:2]) - used
        assert used < 0.5 * seconds
        assert psutil.Process(process.pid).status() != psutil.STATUS_STOPPED
    finally:
        process.kill()
        process.wait(10)
