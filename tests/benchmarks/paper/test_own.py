"""Own experts are made as their recipes say, and shipped ones are measured by the same protocol."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path

import pytest

from tryage import Expert
from tryage.learning.scoring.measurement import Budget, Prompt

PAPER = Path(__file__).resolve().parents[3] / "benchmarks" / "paper"
TINY = {"width": 8, "layers": 1, "heads": 1}


@pytest.fixture(autouse=True)
def _paper(monkeypatch):
    monkeypatch.syspath_prepend(str(PAPER))


@pytest.fixture
def own(monkeypatch):
    own = importlib.import_module("own")
    kinds = {
        name: (student, dict.fromkeys(tokens, 300)) for name, (student, tokens) in own.KINDS.items()
    }
    for name, value in {"KINDS": kinds, "SMALL": TINY, "MEDIUM": TINY, "VOCABULARY": 300}.items():
        monkeypatch.setattr(own, name, value)
    monkeypatch.setattr(own, "SPECIALITIES", ("python", "c"))
    return own


@pytest.fixture
def domains():
    corpora = importlib.import_module("corpora")
    texts = {"python": "def add(a, b): return a + b", "c": "#define ADD(a, b) ((a) + (b))"}
    return {
        name: corpora.Corpus(name, {"experts": [text] * 9, "test": [text]}, "CC0-1.0", "here")
        for name, text in texts.items()
    }


@pytest.fixture
def made(own, domains, tmp_path):
    for recipe in own.recipes():
        own.make(recipe, domains, tmp_path)
    return tmp_path


@pytest.fixture
def shipped():
    return importlib.import_module("shipped")


def test_every_base_is_made_before_its_specialists(own):
    before = set()
    for recipe in own.recipes():
        assert recipe.base is None or recipe.base in before
        before.add(recipe.name)
    assert {"masked-python", "causal-python", "causal-generalist-small"} < before


def test_own_experts_are_made_once_described_and_measured(own, domains, made):
    folders = {path: path.stat().st_mtime_ns for path in (made / "experts").iterdir()}
    for recipe in own.recipes():
        own.make(recipe, domains, made)
    assert folders == {path: path.stat().st_mtime_ns for path in (made / "experts").iterdir()}
    experts = {one.identify().expert.name: one.identify().expert for one in own.measurers(made)}
    assert len(experts) == 8
    assert "specialised in Python source code" in experts["causal-python"].metadata["description"]
    assert experts["masked-c"].parameters == experts["masked-generalist-small"].parameters > 0
    found = own.matrix(made, list(domains.values()), 1)
    assert found["losses"].keys() == experts.keys()
    assert all(math.isfinite(x) for row in found["losses"].values() for x in row.values())
    json.dumps(found)


class Spoken:
    """A model of the demo's kind that needs four bits per byte."""

    expert = Expert("textgenrnn-titles")

    def loss(self, _):
        return 4.0


def test_bits_per_byte_are_nats_per_character(shipped):
    prompts = [Prompt("ab"), Prompt("é"), Prompt("")]
    ascii_, wide, empty = (
        measurement for _, measurement in shipped.Characters(Spoken()).measure(prompts, Budget())
    )
    assert ascii_.loss_per_char == pytest.approx(4 * math.log(2))
    assert wide.loss_per_char == pytest.approx(8 * math.log(2))
    assert (ascii_.bits_per_byte, wide.bits_per_byte) == (4.0, 4.0)
    assert empty.error


class Chemist:
    """A masked model of the demo's kind, without its network."""

    expert = Expert("chemist", context_length=16)
    pattern = r"Br?|C|\("
    vocabulary = {  # noqa: RUF012 - nobody changes it
        name: at
        for at, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Br", "C", "("])
    }
    model = None


def test_a_shipped_vocabulary_is_cut_as_its_model_expects_and_the_rest_into_characters(shipped):
    _, tokenizer = shipped._loaded(Chemist())
    found = tokenizer("CBr(\nxy", return_offsets_mapping=True)
    assert tokenizer.convert_ids_to_tokens(found["input_ids"]) == [
        "[CLS]", "C", "Br", "(", "[UNK]", "[UNK]", "[UNK]", "[SEP]",
    ]  # fmt: skip
    assert found["offset_mapping"][1:-1] == [(0, 1), (1, 3), (3, 4), (4, 5), (5, 6), (6, 7)]
    assert tokenizer.model_max_length == 16
