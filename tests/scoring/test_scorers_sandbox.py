"""Unit tests in a sandbox: only with consent, with limits, and an early exit does not pass."""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest

from tryage.errors import InputError, MeasurementError
from tryage.scoring.measurement import Prompt
from tryage.scoring.scorers import PassesTests

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
DOUBLE = Prompt("Double x.", references=("assert double(2) == 4\nassert double(0) == 0",))


@pytest.fixture(scope="module")
def passes():
    with pytest.warns(UserWarning, match="that you can lose"):
        return PassesTests(sandbox=True, seconds=2.0, memory=256 << 20)


def test_no_code_runs_without_consent():
    for given in ({}, {"sandbox": False}, {"sandbox": "yes"}):
        with pytest.raises(InputError, match="sandbox=True"):
            PassesTests(**given)


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("def double(x): return 2 * x", 1),
        ("Here it is:\n```python\ndef double(x):\n    return x + x\n```\nDone.", 1),
        ("```\nimport math\n```\nand\n```py\ndef double(x): return 2 * x\n```", 1),
        ("def double(x): return x", 0),
        ("def double(x", 0),
        ("", 0),
        ("import sys\nsys.exit(0)", 0),
        ("import os\nos._exit(0)", 0),
        ("def double(x): return 2 * x\nprint('done')", 1),
        ("while True: pass", 0),
        ("x = bytearray(1 << 30)\ndef double(x): return 2 * x", 0),
        ("open('big', 'wb').write(b'x' * (2 << 20))\ndef double(x): return 2 * x", 0),
        ("import numpy\ndef double(x): return 2 * x", 0),
        ("name = 'é数'\ndef double(x): return 2 * x", 1),
        ("x = '\ud800'\ndef double(x): return 2 * x", 1),
    ],
)
def test_code_passes_if_the_tests_were_reached_and_passed(passes, answer, score):
    assert passes(DOUBLE, answer) == score


def test_code_runs_in_an_empty_folder_without_the_secrets_of_the_environment(passes, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-secret")
    tests = "import os\nassert 'SOME_API_KEY' not in os.environ\n"
    tests += "assert os.listdir() == ['answer.py']"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert passes(Prompt("?", references=(tests,)), "x = 1") == 1.0


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_process_that_the_code_starts_ends_with_it(passes, tmp_path):
    child = "import time; time.sleep(60)"
    code = f"import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', {child!r}])"
    tests = "assert p.poll() is None\nopen(PID, 'w').write(str(p.pid))"
    pid = tmp_path / "pid"
    assert passes(Prompt("?", references=(tests,)), f"{code}\nPID = {str(pid)!r}") == 1.0
    state = Path(f"/proc/{pid.read_text()}/stat")
    for _ in range(200):  # the kernel may end it a little later
        if not state.exists() or state.read_text().split()[2] in "ZX":
            return
        time.sleep(0.02)
    pytest.fail("the child still runs")


def test_a_full_disk_is_no_wrong_answer(passes, full_disk, monkeypatch):
    right = "def double(x): return 2 * x"
    with full_disk(), pytest.raises(MeasurementError, match="make room"):
        passes(DOUBLE, right)  # the code cannot be written
    if Path("/dev/full").exists():
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda: Path("/dev/full").open("r+b"))  # noqa: SIM115 - the caller closes it
        with pytest.raises(MeasurementError, match="No space left"):
            passes(DOUBLE, right)  # the proof that the tests have passed cannot be written
    monkeypatch.undo()
    assert passes(DOUBLE, right) == 1
