"""Distils a large encoder: a token table and a short transformer learn its embeddings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tryage.core.validation import require_extra
from tryage.learning.training.finetune import shuffled_length_batches
from tryage.learning.training.optimizer import ResumableTrainer, Schedule
from tryage.perception.tokenizer import head_and_tail
from tryage.perception.transformer import mean_pool, run_bert

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from distill_teacher import Teacher
    from transformers import BertModel

    from tryage.core.arrays import Float32Array, Int64Array

TokenIds = Sequence[NDArray[np.int64]]

SIF = 1e-3  # smooth inverse frequency (Arora et al. 2017), the initial weights of the tokens
PAIR_WEIGHT = 10.0  # weight of the in-batch cosines: their squared errors are small numbers
MAX_PAIRED = 1_024  # texts of a batch whose cosines are compared: they grow as the square


def principal_axes(embeddings: Float32Array, dim: int) -> Float32Array:
    """Orthonormal axes `(hidden, dim)` that keep most of the teacher's cosines (uncentred PCA)."""
    _, axes = np.linalg.eigh(embeddings.T.astype(np.float64) @ embeddings)
    return np.ascontiguousarray(axes[:, ::-1][:, :dim], np.float32)


def initial_rows(vocabulary: Float32Array, ids: TokenIds, axes: Float32Array) -> Float32Array:
    """Give each token its own teacher embedding on the axes, weighted by its rarity."""
    counts = np.bincount(np.concatenate(ids), minlength=len(vocabulary))
    frequency = counts / counts.sum()
    return np.asarray(vocabulary @ axes * (SIF / (SIF + frequency))[:, None], np.float32)


def distillation_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Cosine distance to the teacher plus the squared error of the in-batch cosines."""
    own = 1 - (student * teacher).sum(1).mean()
    student, teacher = student[:MAX_PAIRED], teacher[:MAX_PAIRED]
    pairs = (student @ student.T - teacher @ teacher.T).pow(2).mean()
    return own + PAIR_WEIGHT * pairs


def train_static(
    rows: Float32Array,
    ids: TokenIds,
    targets: Float32Array,
    schedule: Schedule,
    checkpoint: Path | None = None,
) -> Float32Array:
    """Train the rows `(vocabulary, dim)` so that their mean over a text is the target `(n, dim)`.

    This is the method of tokenlearn: the sentence embeddings of the teacher are regressed on the
    token table. A run that was killed resumes from its `checkpoint` file.

    Raises:
        MissingExtraError: torch is not installed.
    """
    require_extra("torch", "train")
    import torch

    normalize, bag = torch.nn.functional.normalize, torch.nn.functional.embedding_bag
    table = torch.nn.Parameter(torch.from_numpy(rows.copy()))
    goal = normalize(torch.from_numpy(targets), dim=1)

    def loss(batch: Int64Array, rng: np.random.Generator) -> torch.Tensor:
        tokens, starts = drop_tokens([ids[i] for i in batch], schedule.dropout, rng)
        sums = bag(torch.from_numpy(tokens), table, torch.from_numpy(starts), mode="sum")
        return distillation_loss(normalize(sums, dim=1), goal[torch.from_numpy(batch)])

    def batches(rng: np.random.Generator) -> list[Int64Array]:
        order = rng.permutation(len(ids))
        return [order[i : i + schedule.batch_size] for i in range(0, len(ids), schedule.batch_size)]

    ResumableTrainer({"table": table}, schedule, path=checkpoint).run(loss, batches)
    return table.detach().numpy()


def drop_tokens(
    ids: TokenIds, dropout: float, rng: np.random.Generator
) -> tuple[Int64Array, Int64Array]:
    """Join texts without a random share of their tokens; also return where each text starts."""
    tokens = np.concatenate(ids)
    keep = rng.random(len(tokens)) >= dropout
    owner = np.repeat(np.arange(len(ids)), [len(i) for i in ids])
    counts = np.bincount(owner[keep], minlength=len(ids))
    return tokens[keep], np.cumsum(counts) - counts


def drop_layers(teacher: Teacher, layers: Sequence[int]) -> BertModel:
    """Copy the teacher with only some of its layers, with the weights that they have."""
    student: BertModel = copy.deepcopy(teacher.model)
    student.encoder.layer = type(student.encoder.layer)([student.encoder.layer[i] for i in layers])
    student.config.num_hidden_layers = len(layers)
    return student


def train_transformer(  # noqa: PLR0913 - the student, what it learns from, and how
    student: BertModel,
    ids: TokenIds,
    targets: Float32Array,
    schedule: Schedule,
    *,
    max_length: int,
    checkpoint: Path | None = None,
) -> BertModel:
    """Train a pruned student so that its pooled output is the teacher's embedding `(n, hidden)`.

    `schedule.batch_size` counts padded tokens. A run that was killed resumes from its `checkpoint`
    file.
    """
    import torch

    goal = torch.nn.functional.normalize(torch.from_numpy(targets), dim=1)
    short = [head_and_tail(i, max_length) for i in ids]
    student.train()

    def loss(batch: Int64Array, _: np.random.Generator) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            hidden, mask = run_bert(student, [short[i] for i in batch])
        return distillation_loss(mean_pool(hidden, mask), goal[torch.from_numpy(batch)])

    def batches(rng: np.random.Generator) -> list[Int64Array]:
        return shuffled_length_batches([len(i) for i in short], schedule.batch_size, rng)

    ResumableTrainer(dict(student.named_parameters()), schedule, path=checkpoint).run(loss, batches)
    student.train(mode=False)
    return student
