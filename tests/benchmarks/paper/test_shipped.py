"""Shipped experts are measured by the same protocol as the others."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest

from tryage import Expert
from tryage.scoring.measurement import Budget, Prompt

PAPER = Path(__file__).resolve().parents[3] / "benchmarks" / "paper"


@pytest.fixture
def shipped(monkeypatch):
    monkeypatch.syspath_prepend(str(PAPER))
    return importlib.import_module("shipped")


class CharacterModel:
    """A model of the demo's kind with a loss of four bits per byte."""

    expert = Expert("textgenrnn-titles")

    def loss(self, _):
        return 4.0


def test_bits_per_byte_are_nats_per_character(shipped):
    prompts = [Prompt("ab"), Prompt("é"), Prompt("")]
    ascii_, wide, empty = (
        measurement
        for _, measurement in shipped.CharacterMeasurer(CharacterModel()).measure(prompts, Budget())
    )
    assert ascii_.loss_per_char == pytest.approx(4 * math.log(2))
    assert wide.loss_per_char == pytest.approx(8 * math.log(2))
    assert (ascii_.bits_per_byte, wide.bits_per_byte) == (4.0, 4.0)
    assert empty.error


class ChemistryModel:
    """A masked model of the demo's kind, without its network."""

    expert = Expert("chemist", context_length=16)
    pattern = r"Br?|C|\("
    vocabulary = {  # noqa: RUF012 - never changed
        name: i
        for i, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Br", "C", "("])
    }
    model = None


def test_a_text_is_split_by_the_vocabulary_and_the_rest_into_characters(shipped):
    _, tokenizer = shipped._load_masked(ChemistryModel())
    found = tokenizer("CBr(\nxy", return_offsets_mapping=True)
    assert tokenizer.convert_ids_to_tokens(found["input_ids"]) == [
        "[CLS]", "C", "Br", "(", "[UNK]", "[UNK]", "[UNK]", "[SEP]",
    ]  # fmt: skip
    assert found["offset_mapping"][1:-1] == [(0, 1), (1, 3), (3, 4), (4, 5), (5, 6), (6, 7)]
    assert tokenizer.model_max_length == 16
