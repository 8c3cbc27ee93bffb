"""Wrong arguments of the commands are refused in words, before anything is measured or removed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROBUSTNESS = ROOT / "benchmarks" / "robustness"


@pytest.fixture(autouse=True)
def _modules_of_the_commands(monkeypatch):
    if not ROBUSTNESS.is_dir():
        pytest.skip("the benchmarks are not part of this copy")
    monkeypatch.syspath_prepend(str(ROBUSTNESS.parent))
    monkeypatch.syspath_prepend(str(ROBUSTNESS))


def refusal(monkeypatch, capsys, command, *arguments):
    """Return what a command says as it refuses arguments."""
    monkeypatch.setattr(sys, "argv", [command, *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(command).main()
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-3", "2.5", "many", ""])
def test_a_number_of_executions_is_whole_and_positive(monkeypatch, capsys, value):
    pytest.importorskip("pyarrow")
    pytest.importorskip("pydantic")
    message = refusal(monkeypatch, capsys, "fuzz", "flags", f"--executions={value}")
    assert f"{value!r} is no whole number of at least 1" in message


def test_an_unknown_target_is_refused_with_those_that_exist(monkeypatch, capsys, tmp_path):
    message = refusal(monkeypatch, capsys, "fuzz", "flag", "--work", tmp_path / "work")
    assert "unknown: flag; expected flags, names" in message
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("command", ["damaged_files", "damaged_folders"])
def test_another_revision_that_is_not_there_is_not_replaced_by_this_one(
    monkeypatch, capsys, tmp_path, command
):
    message = refusal(monkeypatch, capsys, command, tmp_path)
    assert f"{tmp_path} is no checkout" in message


def test_a_soak_removes_no_folder_that_holds_something(monkeypatch, capsys, tmp_path):
    for package in ("psutil", "sqlalchemy", "matplotlib"):
        pytest.importorskip(package)
    (tmp_path / "mine").write_text("kept")
    assert "is not empty" in refusal(monkeypatch, capsys, "soak", "--folder", tmp_path)
    assert (tmp_path / "mine").read_text() == "kept"
    assert "no soak that has ended" in refusal(monkeypatch, capsys, "soak", "--report", tmp_path)
    for value in ("0", "-1", "nan", "inf", "x"):
        message = refusal(monkeypatch, capsys, "soak", f"--rate={value}")
        assert f"{value!r} is no number above 0" in message


@pytest.mark.parametrize(("value", "words"), [("0", "no number above 0"), ("1.5", "more than 1")])
def test_a_fraction_is_above_zero_and_at_most_one(monkeypatch, capsys, value, words):
    pytest.importorskip("psutil")
    assert words in refusal(monkeypatch, capsys, "soak", f"--server-share={value}")
