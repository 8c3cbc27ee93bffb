"""The static table learns hidden states from texts that no judged prompt contains."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def static_states(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("distill_static_states")
    monkeypatch.setattr(module, "N_COMPONENTS", 2)
    monkeypatch.setattr(
        module, "SCHEDULE", replace(module.SCHEDULE, epochs=20, batch_size=16, learning_rate=0.1)
    )
    return module


def test_no_part_of_a_judged_prompt_is_learned_from_unless_asked_for(static_states, monkeypatch):
    texts = ("sort a list", "a list", "write a poem", "prove it")
    monkeypatch.setattr(static_states, "read_corpus", lambda _: SimpleNamespace(train=texts))
    judged = [SimpleNamespace(prompts=("Please sort a list now", "other"))]
    drawn = static_states.draw_texts(judged, 4, seen=False)
    assert sorted(drawn) == ["prove it", "write a poem"]
    assert sorted(static_states.draw_texts(judged, 4, seen=True)) == sorted(texts)


@pytest.mark.parametrize(
    ("text", "is_part"),
    [
        ("one two three four five six", True),
        ("ne two three four five si", True),  # its own ends are cut
        ("three four", True),
        ("one two three four six five", False),
        ("one two three nine five six seven", False),
        ("ten", False),
    ],
)
def test_a_part_of_a_text_is_known_by_its_words_and_then_by_its_letters(
    static_states, text, is_part
):
    is_part_of = static_states.PartOf(["zero one two three four five six seven", "other"])
    assert is_part_of(text) is is_part


def test_documentation_is_drawn_beside_the_corpus(static_states, monkeypatch, tmp_path):
    monkeypatch.setattr(static_states, "read_corpus", lambda _: SimpleNamespace(train=("a poem",)))
    (tmp_path / "broken.py").write_text("def (:\n", "utf-8")
    doc = "This module does a thing that takes a sentence to say."
    (tmp_path / "module.py").write_text(f'"""{doc}"""\n', "utf-8")
    drawn = static_states.draw_texts([], 9, documentation=[tmp_path])
    assert sorted(drawn) == sorted(["a poem", doc])


def test_a_distilled_embedding_tells_states_that_the_old_one_does_not(static_states):
    # The states depend on one word of two that mean the same, so the old embeddings are alike.
    texts = [
        f"{verb} {number} {thing}"
        for verb in ("begin", "start")
        for number in ("two", "three", "four", "five", "six", "seven")
        for thing in ("games", "songs", "jobs", "tasks")
    ]
    sign = np.repeat([-1.0, 1.0], len(texts) // 2)
    noise = np.random.default_rng(0).normal(scale=0.05, size=(len(texts), 3))
    states = (sign[:, None] * [1.0, 1.0, -1.0] + noise).astype(np.float32)
    encoder = static_states.distill(texts, states)
    rows = encoder.encode(texts)
    lengths = np.linalg.norm(rows[:, 2:], axis=1, keepdims=True)
    assert lengths.mean() == pytest.approx(0.5**0.5, abs=0.1)  # both halves weigh the same
    new = rows[:, 2:] / lengths
    same_verb = np.equal.outer(sign, sign)
    assert encoder.dim == 4
    assert (new @ new.T)[same_verb].mean() > 0.8
    assert (new @ new.T)[~same_verb].mean() < -0.8
    old = static_states.StaticEncoder.load(static_states.BUNDLED).encode(texts)
    half = len(texts) // 2
    assert (old[:half] * old[half:]).sum(axis=1).min() > 0.9  # equal but for the verb
