"""Compare the hidden states of a language model with the static encoder, on the same prompts.

Run from the root of the repository, where `MODEL` is a folder or a Hub id that transformers loads:

    python benchmarks/hidden_states.py MODEL --states build/states [--sets coderouter_id ...]

States are kept under `--states`, some prompts per file; a second call reads them again and goes on
where the first one stopped. `--prompts` limits the prompts of a set, which are drawn at random.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from datasets import SETS, load

from tryage.checkpoint import fingerprint
from tryage.learning.evaluation.baselines import BEST_SINGLE, CATEGORY_TABLE, ORACLE
from tryage.learning.evaluation.evaluator import BASELINES, evaluate
from tryage.learning.evaluation.splits import EvaluationConfig, MethodPrediction
from tryage.learning.evaluation.trained_router import CachingEncoder, make_routing_method
from tryage.perception.hidden_state import HiddenStateEncoder
from tryage.perception.persistence import load_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array
    from tryage.learning.evaluation.report import Evaluation
    from tryage.learning.evaluation.splits import RoutingMethod
    from tryage.perception.encoder import Encoder
    from tryage.scoring.qtable import QTable

BUNDLED = Path(__file__).parents[1] / "shared/tryage/perception/bundled/encoder"

DEEP, STATIC = "hidden states", "static"

COMPARED = (BEST_SINGLE, "nearest neighbours", CATEGORY_TABLE, ORACLE)

LAYERS, POOLINGS = (15, 22), ("last", "mean")

TEMPLATE = "<|im_start|>user\n{prompt}"  # the state of its first token, which is huge, is left out

_FILE_PROMPTS = 128


def stored_states(
    encoder: HiddenStateEncoder, name: str, prompts: Sequence[str], folder: Path
) -> Float32Array:
    """Return the states of prompts `(n, dim)`; those that are not in `folder` are computed.

    Each model, choice of layers and poolings has files of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key, parts = fingerprint(repr(encoder))[:8], []
    for start in range(0, len(prompts), _FILE_PROMPTS):
        chosen = prompts[start : start + _FILE_PROMPTS]
        path = folder / f"{name}_{key}_{len(prompts)}_{start:06d}.npy"
        if not path.exists():
            began = time.process_time()
            np.save(path, encoder.encode(chosen).astype(np.float16))
            milliseconds = 1e3 * (time.process_time() - began) / len(chosen)
            print(f"{path.name}: {milliseconds:.0f} ms of CPU per prompt", flush=True)
        parts.append(np.load(path).astype(np.float32))
    return np.concatenate(parts)


def draw_prompts(table: QTable, limit: int) -> QTable:
    """Draw at most `limit` prompts at random, always the same ones; costs are left out."""
    rows: NDArray[np.intp] = np.random.default_rng(0).permutation(len(table))[:limit]
    return replace(table.take(np.sort(rows)), costs=None)


class StoredEncoder(CachingEncoder):
    """An encoder whose embeddings of some prompts are known."""

    def __init__(self, encoder: Encoder, prompts: Sequence[str], states: Float32Array) -> None:
        super().__init__(encoder)
        self._cache.update(zip(prompts, states, strict=True))


def on_encoder(encoder: CachingEncoder, seed: int) -> RoutingMethod:
    """Return the trained router as a method that reads prompts by this encoder alone."""
    method = make_routing_method(encoder, seed)

    def run(
        train: QTable,
        train_embeddings: Float32Array,  # noqa: ARG001 - of the static encoder
        test_prompts: Sequence[str],
        test_embeddings: Float32Array,
    ) -> MethodPrediction:
        return method(train, encoder.encode(train.prompts), test_prompts, test_embeddings)

    return run


def compare(
    name: str, encoder: HiddenStateEncoder, folder: Path, limit: int, seeds: int
) -> list[Evaluation]:
    """Cross-validate routers on both encoders, and the baselines, with the same folds per seed."""
    table = draw_prompts(load(name), limit)
    static = CachingEncoder(load_encoder(BUNDLED))
    states = stored_states(encoder, name, table.prompts, folder)
    deep = StoredEncoder(encoder, table.prompts, states)
    return [
        evaluate(
            table,
            static.encode(table.prompts),
            {DEEP: on_encoder(deep, seed), STATIC: on_encoder(static, seed)},
            name=name,
            baselines={label: BASELINES[label] for label in COMPARED},
            config=EvaluationConfig(seed=seed, draws=500),
        )
        for seed in range(seeds)
    ]


def markdown_row(found: Sequence[Evaluation]) -> str:
    """Write the mean scores over seeds, and the shares of the gap that both encoders close."""
    first = found[0]
    cells = [first.name, f"{first.n_prompts:,} x {first.n_experts:,}"]
    scores = [[one[label].score.value for one in found] for label in (DEEP, STATIC, *COMPARED)]
    cells += [f"{np.mean(values):.4f}" for values in scores]
    for label in (DEEP, STATIC):
        closed = [one[label].gap_closed for one in found]
        shares = [share.value for share in closed if share is not None]
        cells.append(f"{np.mean(shares):.0%}" if shares else "-")
    leads = [one[STATIC].lead for one in found]
    values = [100 * lead.value for lead in leads if lead is not None]
    return "| " + " | ".join([*cells, " ".join(f"{value:+.2f}" for value in values)]) + " |"


def argument_parser(description: str | None, n_seeds: int) -> argparse.ArgumentParser:
    """Return the arguments of all scripts that read hidden states."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", help="folder or Hub id")
    parser.add_argument("--states", type=Path, default=Path("build/states"))
    parser.add_argument("--prompts", type=int, default=2_048)
    parser.add_argument("--seeds", type=int, default=n_seeds)
    return parser


def main() -> None:
    """Compare on the given sets, by default all."""
    parser = argument_parser(__doc__, 5)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    arguments = parser.parse_args()
    encoder = HiddenStateEncoder(
        arguments.model, LAYERS, POOLINGS, template=TEMPLATE, dtype="bfloat16"
    )
    shares = ("hidden states close", "static closes", "hidden states lead static, points per seed")
    head = ["set", "prompts x experts", DEEP, STATIC, *COMPARED, *shares]
    print("| " + " | ".join(head) + " |", "|" + "---|" * len(head), sep="\n")
    for name in arguments.sets:
        found = compare(name, encoder, arguments.states, arguments.prompts, arguments.seeds)
        print(markdown_row(found), flush=True)


if __name__ == "__main__":
    main()
