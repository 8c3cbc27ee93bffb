"""Small encoders learn the embeddings of a large one."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tryage.learning.training.optimizer import Schedule

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def students(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("distill_students")


def test_a_student_with_half_of_the_layers_learns_its_teacher(students, bert_folder):
    teacher_class = importlib.import_module("distill_teacher").Teacher
    teacher = teacher_class.load(bert_folder)
    texts = [f"{a} {b} {c}" for a in "abcd" for b in "efgh" for c in ("code", "poem")]
    ids, targets = teacher.token_ids(texts), teacher.embed(texts)
    student = students.drop_layers(teacher, [1])

    def mean_cosine():
        return (teacher_class(student, teacher.tokenizer).embed_ids(ids) * targets).sum(1).mean()

    before = mean_cosine()
    schedule = Schedule(20, 3e-3, batch_size=64, dropout=0.0)
    students.train_transformer(student, ids, targets, schedule, max_length=16)
    assert len(student.encoder.layer) == 1
    assert len(teacher.model.encoder.layer) == 2
    assert 1 - mean_cosine() < 0.5 * (1 - before)


def test_a_token_table_learns_its_teacher(students):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(30, 8)).astype(np.float32)
    ids = [rng.integers(0, 30, rng.integers(1, 6)) for _ in range(400)]
    targets = np.stack([truth[i].sum(0) for i in ids])
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    initial = rng.normal(scale=0.1, size=(30, 8)).astype(np.float32)
    schedule = Schedule(60, 0.1, batch_size=50, dropout=0.0)
    learned = students.train_static(initial, ids, targets, schedule)
    sums = np.stack([learned[i].sum(0) for i in ids])
    assert ((sums * targets).sum(1) / np.linalg.norm(sums, axis=1)).mean() > 0.97


def test_dropping_tokens_keeps_their_order_and_returns_where_each_text_starts(students):
    ids = [np.array([1, 2, 3]), np.array([4]), np.array([5, 6])]
    tokens, starts = students.drop_tokens(ids, 0.0, np.random.default_rng(0))
    assert tokens.tolist() == [1, 2, 3, 4, 5, 6]
    assert starts.tolist() == [0, 3, 4]
    tokens, starts = students.drop_tokens(ids, 1.0, np.random.default_rng(0))
    assert tokens.tolist() == []
    assert starts.tolist() == [0, 0, 0]


def test_principal_axes_keep_the_cosines_of_embeddings_that_lie_in_them(students):
    rng = np.random.default_rng(0)
    flat = (rng.normal(size=(50, 3)) @ rng.normal(size=(3, 10))).astype(np.float32)
    axes = students.principal_axes(flat, 3)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(flat @ axes @ axes.T, flat, atol=1e-3)
