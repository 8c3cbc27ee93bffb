"""Dictionaries of FreeDict are read entry by entry, the first meanings of each."""

from __future__ import annotations

import gzip
import importlib
import string
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
DIGITS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
ENTRIES = {
    "00databaseinfo": "00databaseinfo\nA dictionary",
    "amity": 'amity /amiti/ <N>\n1. मित्रता, दोस्ती (formal)\n      "They live in amity."',
    "anew": "anew /anju/ <Adv>\n1. फिर~से",
}


@pytest.fixture
def read(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("distill_multilingual_dictionaries").dictionary_pairs


def packed(name):
    text, lines = b"", []
    for head, entry in ENTRIES.items():
        content = entry.encode()
        lines.append(f"{head}\t{number(len(text))}\t{number(len(content))}")
        text += content
    return {
        f"usr/{name}.dict.dz": gzip.compress(text),
        f"usr/{name}.index": "\n".join(lines).encode(),
    }


def number(value):
    return DIGITS[value // 64] + DIGITS[value % 64]


def test_each_meaning_is_a_pair_without_remarks_and_examples(read):
    assert list(read(packed("freedict-eng-hin"))) == [
        ("amity", "hi", "मित्रता"),
        ("amity", "hi", "दोस्ती"),
        ("anew", "hi", "फिर से"),
    ]


def test_a_dictionary_into_english_is_turned_round(read):
    assert ("मित्रता", "hi", "amity") in list(read(packed("freedict-hin-eng")))


def test_a_dictionary_without_english_is_left_out(read):
    assert not list(read(packed("freedict-hin-deu")))
