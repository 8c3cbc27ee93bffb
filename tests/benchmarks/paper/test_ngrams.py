"""The losses of n-gram experts are worked by hand, and their probabilities sum to one."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest

from tryage import Expert, QTable
from tryage.scoring.run import score

PAPER = Path(__file__).resolve().parents[3] / "benchmarks" / "paper"


@pytest.fixture
def ngrams(monkeypatch):
    monkeypatch.syspath_prepend(str(PAPER))
    return importlib.import_module("ngrams")


def test_the_loss_of_a_byte_follows_witten_and_bell(ngrams):
    model = ngrams.NGrams.train(["ab"], order=1)
    alone = (1 + 2 / 256) / 4  # seen once of twice; two different bytes were seen
    first = (1 + alone) / 2  # of one text that began, one began with a
    then = (1 + alone) / 2
    assert model.nats(["a", "ab"]) == pytest.approx([-math.log(first), -math.log(first * then)])


def test_the_probabilities_of_all_bytes_sum_to_one_after_any_context(ngrams):
    model = ngrams.NGrams.train(["the cat sat on the mat", "über"], order=5)
    for context in (b"the c", b"", b"never", "ü".encode()):
        data = [context + bytes([byte]) for byte in range(256)]
        probabilities = [
            math.exp(model.bytes_nats([context])[0] - n) for n in model.bytes_nats(data)
        ]
        assert sum(probabilities) == pytest.approx(1)


def test_empty_texts_change_no_other_loss(ngrams):
    model = ngrams.NGrams.train(["abc", "", "ü"], order=5)
    assert model.nats(["abc", "", "z"])[1] == 0
    assert model.nats(["abc", "z"])[1] == model.nats(["z"])[0]


def test_each_expert_is_best_on_its_own_language_in_the_measured_table(ngrams, tmp_path):
    experts = [
        ngrams.NGramExpert(Expert(name), ngrams.NGrams.train([text]))
        for name, text in (("en", "the quick brown fox"), ("de", "der schnelle braune fuchs"))
    ]
    score(["the fox", "der fuchs"], experts, tmp_path, progress=False)
    table = QTable.read(tmp_path, loss="loss_per_char")
    best = [table.experts[i] for i in table.losses.argmin(axis=1)]
    assert dict(zip(table.prompts, best, strict=True)) == {"the fox": "en", "der fuchs": "de"}
