"""The goal of the short transformer holds the embedding of its teacher and the hidden states."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("onnx")

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def transformer_states(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(importlib.import_module("distill_static_states"), "N_COMPONENTS", 2)
    return importlib.import_module("distill_transformer_states")


def test_the_goal_keeps_the_main_axes_and_holds_states_on_the_weakest(transformer_states):
    rng = np.random.default_rng(0)
    scales = np.array([4.0, 3.0, 2.0, 0.01, 0.01])
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    embeddings = (rng.normal(size=(200, 5)) * scales @ rotation).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    states = rng.normal(size=(200, 3)).astype(np.float32)
    goal = transformer_states.goal_with_states(embeddings, states)
    axes = transformer_states.principal_axes(embeddings, 5)
    kept, added = goal @ axes[:, :3], goal @ axes[:, 3:]
    assert (kept * (embeddings @ axes[:, :3])).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(added, axis=1), 1, atol=1e-5)
    expected = transformer_states.main_components(states)
    np.testing.assert_allclose(np.abs(added @ added.T), np.abs(expected @ expected.T), atol=1e-5)
