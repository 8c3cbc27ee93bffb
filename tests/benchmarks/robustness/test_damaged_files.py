"""The command that damages files finds a reader that raises another error than one of Tryage's."""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

PATH = Path(__file__).resolve().parents[3] / "benchmarks" / "robustness" / "damaged_files.py"
SCRIPT = runpy.run_path(str(PATH))


def count(one_try, tmp_path, tries=20):
    options = argparse.Namespace(seed=0, tries=tries)
    return SCRIPT["count_failures"]("journal", one_try, options, tmp_path)


def test_a_reader_that_refuses_in_words_has_no_failure(tmp_path):
    assert count(SCRIPT["try_journal"], tmp_path).total() == 0


def test_a_reader_that_raises_another_error_is_counted_by_its_class(tmp_path, monkeypatch):
    def check_nothing(_):
        raise KeyError("score")

    monkeypatch.setattr("tryage.onboarding.journal._check_types", check_nothing)
    assert set(count(SCRIPT["try_journal"], tmp_path)) == {"KeyError"}


def test_the_same_seed_damages_in_the_same_way(tmp_path):
    seen = []

    def note(rng, _):
        seen.append(rng.random())

    count(note, tmp_path, 3)
    count(note, tmp_path, 3)
    assert seen[:3] == seen[3:]
