"""Own experts are made by their recipes, once, and measured."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path

import pytest

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


def test_every_base_is_made_before_its_specialists(own):
    before = set()
    for recipe in own.recipes():
        assert recipe.base is None or recipe.base in before
        before.add(recipe.name)
    assert {"masked-python", "causal-python", "causal-generalist-small"} < before


def test_own_experts_are_made_once_and_have_a_description_and_losses(own, domains, made):
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
