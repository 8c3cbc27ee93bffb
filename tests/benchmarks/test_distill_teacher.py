"""The large encoder embeds many texts once, in shards."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_embedding_many_texts_goes_on_after_a_stop(bert_folder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("distill_teacher")
    teacher = module.Teacher.load(bert_folder)
    monkeypatch.setattr(module, "SHARD_SIZE", 2)
    texts = ["a", "b c", "code", "poem a", "d"]
    first = module.embed_with_cache(teacher, texts[:4], tmp_path)
    embedded, embed = [], module.Teacher.embed
    monkeypatch.setattr(
        module.Teacher, "embed", lambda self, part: embedded.extend(part) or embed(self, part)
    )
    second = module.embed_with_cache(teacher, texts, tmp_path)
    assert embedded == ["d"]
    np.testing.assert_array_equal(second[:4], first)
