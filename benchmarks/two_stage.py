"""Judge routers of two stages: the static encoder first, hidden states where two experts are close.

Run from the root of the repository, where `MODEL` is a folder or a Hub id that transformers loads:

    python benchmarks/two_stage.py MODEL --states build/states --sets coderouter_id [--seeds 5]

States are kept under `--states`, as by `hidden_states.py`.

Five folds: each stage predicts the prompts of a fold after training on the others, and the
thresholds of a fold are chosen by the predictions of the others. Printed
are the scores of each stage alone and, for some prices of a second, of both, with the share of the
prompts that the second stage reads. A price is in loss: .01 is a cent if a right answer is worth a
dollar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from datasets import SETS, load
from hidden_states import (
    LAYERS,
    POOLINGS,
    TEMPLATE,
    StoredEncoder,
    argument_parser,
    draw_prompts,
    stored_states,
)

from tryage.learning.evaluation.baselines import BEST_SINGLE, ORACLE
from tryage.learning.evaluation.evaluator import BASELINES
from tryage.learning.evaluation.metrics import choice_probabilities, expected_value
from tryage.learning.evaluation.splits import Fold, folds
from tryage.learning.evaluation.trained_router import CachingEncoder
from tryage.learning.training.trainer import FitConfig, fit
from tryage.learning.training.two_stage import choose_thresholds
from tryage.perception.encoder import StaticEncoder
from tryage.perception.hidden_state import HiddenStateEncoder
from tryage.perception.pretrained import BUNDLED_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import FloatArray, IndexArray
    from tryage.scoring.qtable import QTable

Split: TypeAlias = "tuple[IndexArray, IndexArray]"

PRICES = (0.0, 0.001, 0.01, 0.1)  # of a second


def score(losses: FloatArray, table: QTable) -> float:
    """Return the mean score of the experts with the lowest predicted losses."""
    chosen = choice_probabilities(losses, table.measured)
    return float(1 - expected_value(chosen, table.losses).mean())


def predict_unseen(
    table: QTable, encoder: CachingEncoder, splits: Sequence[Split], seed: int
) -> FloatArray:
    """Return the losses that a perception predicts, trained on the other folds."""
    losses, x = np.zeros(table.shape), encoder.encode(table.prompts)
    for train, test in splits:
        perception = fit(
            table.take(train),
            encoder,
            config=FitConfig(seed=seed),
            embeddings=x[train],
            progress=False,
        )
        losses[test] = perception.predict([table.prompts[row] for row in test]).losses
    return losses


def judge(
    table: QTable, static: CachingEncoder, deep: CachingEncoder, seconds: float, seed: int
) -> dict[str, float]:
    """Return the scores of one seed, and for each price the share that the second stage reads."""
    splits = folds(table.groups, 5, seed)
    first, second = (predict_unseen(table, one, splits, seed) for one in (static, deep))
    lowest = np.partition(np.where(table.measured, first, np.inf), 1, axis=1)[:, :2]
    margins, rows = lowest[:, 1] - lowest[:, 0], np.arange(len(table))
    is_close = np.zeros((len(PRICES), len(table)), np.bool_)
    for _, test in splits:
        others = np.setdiff1d(rows, test)
        learned = (part[others] for part in (first, second, table.losses))
        thresholds = choose_thresholds(*learned, [seconds * price for price in PRICES])
        is_close[:, test] = margins[test] < np.array(thresholds)[:, None]
    scores = {"static": score(first, table), "deep": score(second, table)}
    for price, close in zip(PRICES, is_close, strict=True):
        scores[f"both at {price}"] = score(np.where(close[:, None], second, first), table)
        scores[f"share at {price}"] = float(close.mean())
    embeddings = static.encode(table.prompts)
    for name in (BEST_SINGLE, ORACLE):
        found = np.zeros(table.shape)
        for train, test in splits:
            fold = Fold(table.take(train), embeddings[train], table.take(test), embeddings[test])
            found[test] = BASELINES[name](fold).losses
        scores[name] = score(found, table)
    return scores


def main() -> None:
    """Judge the given sets."""
    parser = argument_parser(__doc__, 5)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), required=True)
    parser.add_argument("--pooling", nargs="+", choices=POOLINGS, default=list(POOLINGS))
    parser.add_argument("--layers", nargs="+", type=int, default=list(LAYERS))
    parser.add_argument("--seconds", type=float, default=0.12, help="of a prompt, of one core")
    arguments = parser.parse_args()
    encoder = HiddenStateEncoder(
        arguments.model, arguments.layers, arguments.pooling, template=TEMPLATE, dtype="bfloat16"
    )
    static = CachingEncoder(StaticEncoder.load(BUNDLED_FOLDER / "encoder"))
    for name in arguments.sets:
        table = draw_prompts(load(name), arguments.prompts)
        states = stored_states(encoder, name, table.prompts, arguments.states)
        deep = StoredEncoder(encoder, table.prompts, states)
        for seed in range(arguments.seeds):
            found = judge(table, static, deep, arguments.seconds, seed)
            print(name, seed, {key: round(value, 4) for key, value in found.items()}, flush=True)


if __name__ == "__main__":
    main()
