"""Teach a language model's hidden states to the static table, and route with what results.

Run from the root of the repository, where `MODEL` is a folder or a Hub id that transformers loads:

    python benchmarks/distill_static_states.py MODEL --sets coderouter_id metabench [--seen]

The table is trained on texts without losses: prompts of the permissive sets, tools, and docstrings
and functions of Python. No text that is a part of a judged prompt is among them, unless `--seen` is
given. Half of the numbers of a row are the main axes of the bundled table, the other half learn the
main components of the states. States are kept under `--states`, as `hidden_states.py` does.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from datasets import DATA, SETS, load
from distill_corpus import python_texts, read_corpus
from distill_students import principal_axes, train_static
from hidden_states import (
    BUNDLED,
    COMPARED,
    DEEP,
    POOLINGS,
    STATIC,
    TEMPLATE,
    StoredEncoder,
    argument_parser,
    draw_prompts,
    on_encoder,
    stored_states,
)

from tryage.checkpoint import fingerprint
from tryage.learning.evaluation.evaluator import BASELINES, evaluate
from tryage.learning.evaluation.splits import EvaluationConfig
from tryage.learning.evaluation.trained_router import CachingEncoder
from tryage.learning.training.optimizer import Schedule
from tryage.perception.encoder import StaticEncoder
from tryage.perception.head import l2_normalize
from tryage.perception.hidden_state import HiddenStateEncoder
from tryage.perception.tokenizer import head_and_tail
from tryage.perception.tokenizer_file import read_tokenizer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from tryage.core.arrays import Float32Array, Int64Array
    from tryage.learning.evaluation.report import Evaluation
    from tryage.scoring.qtable import QTable

DISTILLED = "distilled static"

LAYERS = (15, 18)  # of 30: as good as 15 and 22, in less time

N_COMPONENTS = 128  # of the states, and as many axes of the bundled table

RIDGE = 10.0  # of the first guess, a linear map from the bundled embedding to the components

MAX_TOKENS = 512  # that the table reads

MAX_PROMPT_TOKENS = 160  # that the language model reads of a judged prompt

SCHEDULE = Schedule(epochs=8, learning_rate=4e-3, batch_size=512, dropout=0.2)

_MAX_Z_SCORE = 4.0  # a few numbers of a state are thousands of times as large as the others


def main_components(states: Float32Array) -> Float32Array:
    """Return the main components of standardized states as unit rows `(n, N_COMPONENTS)`."""
    from sklearn.decomposition import PCA

    z_scores = (states - states.mean(axis=0)) / (states.std(axis=0) + 1e-6)
    np.clip(z_scores, -_MAX_Z_SCORE, _MAX_Z_SCORE, out=z_scores)
    pca = PCA(N_COMPONENTS, svd_solver="randomized", random_state=0)
    return l2_normalize(pca.fit_transform(z_scores))


def draw_texts(
    judged: Sequence[QTable],
    limit: int,
    *,
    seen: bool = False,
    documentation: Sequence[Path] = (),
) -> list[str]:
    """Draw texts to learn from, at random; by default none that is a part of a judged prompt."""
    folders = (text for folder in documentation for text in python_texts(folder))
    texts = list(dict.fromkeys([*read_corpus(DATA).train, *folders]))
    drawn = [texts[row] for row in np.random.default_rng(0).permutation(len(texts))]
    prompts = [prompt for table in judged for prompt in table.prompts]
    is_part = never if seen else PartOf(prompts)
    return list(islice((text for text in drawn if not is_part(text)), limit))


def never(_text: str) -> bool:
    """Say of every text that it is not a part of a judged prompt."""
    return False


class PartOf:
    """Tells whether a text is a part of one of many texts.

    Few texts have four words in a row in common with them, so few are searched for.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._joined = "\0".join(texts)
        self._runs = {run for text in texts for run in _runs(text.split())}

    def __call__(self, text: str) -> bool:
        """Return whether the text is a part; its own first and last words may be cut."""
        inner = next(_runs(text.split()[1:-1]), None)
        return (inner is None or inner in self._runs) and text in self._joined


def _runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield every four words in a row."""
    return (tuple(words[start : start + 4]) for start in range(len(words) - 3))


def distill(texts: Sequence[str], states: Float32Array) -> StaticEncoder:
    """Train a table whose embeddings hold the old embedding and the components of the states.

    The rows of tokens that no text has are first guesses: what the linear map makes of their old
    rows. So a language without a text keeps half of its old row, and gets a guess of the rest.
    """
    old_rows = bundled_rows()
    old = StaticEncoder.load(BUNDLED)
    ids = [head_and_tail(own, MAX_TOKENS) for own in old.token_ids(texts)]
    filled = np.flatnonzero([len(own) for own in ids])
    embeddings = old.encode([texts[row] for row in filled])
    components = main_components(states[filled])
    axes = principal_axes(embeddings, N_COMPONENTS)
    goal = np.concatenate([l2_normalize(embeddings @ axes), components], axis=1)
    guess = np.linalg.solve(
        embeddings.T @ embeddings + RIDGE * np.eye(old.dim, dtype=np.float32),
        embeddings.T @ components,
    )
    rows = np.concatenate([old_rows @ axes, old_rows @ guess], axis=1).astype(np.float32)
    used, positions = np.unique(np.concatenate(ids), return_inverse=True)
    starts = np.cumsum([len(own) for own in ids])[:-1]
    local: list[Int64Array] = np.split(positions.astype(np.int64), starts)
    rows[used] = train_static(rows[used], [local[row] for row in filled], goal, SCHEDULE)
    return StaticEncoder.from_rows(rows, read_tokenizer(BUNDLED / "tokenizer.json"), MAX_TOKENS)


def bundled_rows() -> Float32Array:
    """Return the rows of the bundled table in float32, `(vocabulary, dim)`."""
    from safetensors.numpy import load_file

    arrays = load_file(BUNDLED / "table.safetensors")
    return np.asarray(arrays["table"], np.float32) * arrays["scales"].astype(np.float32)[:, None]


def compare(
    name: str, table: QTable, encoders: dict[str, CachingEncoder], seeds: int
) -> list[Evaluation]:
    """Cross-validate a router on each encoder, and the baselines, with the same folds per seed."""
    return [
        evaluate(
            table,
            encoders[STATIC].encode(table.prompts),
            {label: on_encoder(encoder, seed) for label, encoder in encoders.items()},
            name=name,
            baselines={label: BASELINES[label] for label in COMPARED},
            config=EvaluationConfig(seed=seed, draws=500),
        )
        for seed in range(seeds)
    ]


def distillation_parser(description: str | None, n_seeds: int) -> argparse.ArgumentParser:
    """Return the arguments of the commands that teach the states of texts to a smaller encoder."""
    parser = argument_parser(description, n_seeds)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), required=True)
    parser.add_argument("--texts", type=int, default=16_000)
    parser.add_argument("--tokens", type=int, default=160, help="that are read of a text")
    parser.add_argument(
        "--documentation", nargs="+", type=Path, default=[], help="folders of Python files to read"
    )
    return parser


def read_texts(
    arguments: argparse.Namespace, *, seen: bool = False
) -> tuple[HiddenStateEncoder, dict[str, QTable], list[str], Float32Array]:
    """Return the language model, the judged sets, the texts to learn from, and their states."""
    reader, text_reader = (
        HiddenStateEncoder(
            arguments.model,
            LAYERS,
            POOLINGS,
            template=TEMPLATE,
            dtype="bfloat16",
            max_length=max_length,
        )
        for max_length in (MAX_PROMPT_TOKENS, arguments.tokens)
    )
    tables = {name: draw_prompts(load(name), arguments.prompts) for name in arguments.sets}
    texts = draw_texts(
        list(tables.values()), arguments.texts, seen=seen, documentation=arguments.documentation
    )
    name = f"texts_{fingerprint(*texts, str(arguments.tokens))[:8]}"
    return reader, tables, texts, stored_states(text_reader, name, texts, arguments.states)


def markdown_head(labels: Sequence[str]) -> str:
    """Write the head of a table of `markdown_row`."""
    shares = [f"{label} closes" for label in labels]
    head = ["set", "prompts x experts", "seeds", *labels, *COMPARED, *shares, "lead, points"]
    return "| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|"


def markdown_row(found: Sequence[Evaluation], labels: Sequence[str]) -> str:
    """Write mean scores over seeds, the shares of the gap that encoders close, and the leads."""
    cells = [found[0].name, f"{found[0].n_prompts:,} x {found[0].n_experts:,}", str(len(found))]
    every = {
        label: [one[label] for one in found if any(label == r.name for r in one.results)]
        for label in (*labels, *COMPARED)
    }
    for results in every.values():
        mean = np.mean([result.score.value for result in results]) if results else None
        cells.append("-" if mean is None else f"{mean:.4f}")
    for label in labels:
        closed = [result.gap_closed.value for result in every[label] if result.gap_closed]
        cells.append(f"{np.mean(closed):.0%}" if closed else "-")
    distilled, static = ([result.score.value for result in every[label]] for label in labels[:2])
    leads = (100 * (one - other) for one, other in zip(distilled, static, strict=True))
    return "| " + " | ".join([*cells, ", ".join(f"{lead:+.2f}" for lead in leads)]) + " |"


def main() -> None:
    """Train one table, and compare routers on it with those on the bundled table and the states."""
    parser = distillation_parser(__doc__, 3)
    parser.add_argument("--seen", action="store_true", help="learn from judged prompts, too")
    parser.add_argument("--out", type=Path, help="where the table is saved")
    arguments = parser.parse_args()
    reader, tables, texts, states = read_texts(arguments, seen=arguments.seen)
    distilled, static = distill(texts, states), StaticEncoder.load(BUNDLED)
    if arguments.out:
        distilled.save(arguments.out)
    labels = (DISTILLED, STATIC, DEEP)
    print(markdown_head(labels))
    for name, table in tables.items():
        own_states = stored_states(reader, name, table.prompts, arguments.states)
        encoders = {
            DISTILLED: CachingEncoder(distilled),
            STATIC: CachingEncoder(static),
            DEEP: StoredEncoder(reader, table.prompts, own_states),
        }
        found = compare(name, table, encoders, arguments.seeds)
        print(markdown_row(found, labels), flush=True)


if __name__ == "__main__":
    main()
