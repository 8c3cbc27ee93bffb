"""The n-gram experts' losses are those of a real model: worked by hand, and summing to one."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest

from tryage import Expert, QTable
from tryage.learning.scoring.run import score

PAPER = Path(__file__).resolve().parents[3] / "benchmarks" / "paper"


@pytest.fixture
def ngrams(monkeypatch):
    monkeypatch.syspath_prepend(str(PAPER))
    return importlib.import_module("ngrams")


def test_a_byte_costs_what_witten_and_bell_say(ngrams):
    model = ngrams.NGrams.trained(["ab"], order=1)
    alone = (1 + 2 / 256) / 4  # seen once of twice; two different bytes were seen
    first = (1 + alone) / 2  # of one text that began, one began with a
    then = (1 + alone) / 2
    assert model.nats(["a", "ab"]) == pytest.approx([-math.log(first), -math.log(first * then)])


def test_the_chances_of_all_bytes_sum_to_one_after_any_context(ngrams):
    model = ngrams.NGrams.trained(["the cat sat on the mat", "über"], order=5)
    for context in (b"the c", b"", b"never", "ü".encode()):
        data = [context + bytes([byte]) for byte in range(256)]
        chances = [math.exp(model.bytes_nats([context])[0] - n) for n in model.bytes_nats(data)]
        assert sum(chances) == pytest.approx(1)


def test_no_text_and_no_training_text_change_the_others(ngrams):
    model = ngrams.NGrams.trained(["abc", "", "ü"], order=5)
    assert model.nats(["abc", "", "z"])[1] == 0
    assert model.nats(["abc", "z"])[1] == model.nats(["z"])[0]


def test_what_was_trained_on_is_cheaper_than_what_was_not_and_is_measured_into_a_table(
    ngrams, tmp_path
):
    experts = [
        ngrams.NGramExpert(Expert(name), ngrams.NGrams.trained([text]))
        for name, text in (("en", "the quick brown fox"), ("de", "der schnelle braune fuchs"))
    ]
    score(["the fox", "der fuchs"], experts, tmp_path, progress=False)
    table = QTable.read(tmp_path, loss="loss_per_char")
    best = [table.experts[i] for i in table.losses.argmin(axis=1)]
    assert dict(zip(table.prompts, best, strict=True)) == {"the fox": "en", "der fuchs": "de"}
