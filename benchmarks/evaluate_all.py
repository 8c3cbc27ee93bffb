"""Evaluate the router on every outcome set: figures as JSON, pictures, rows for the README.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/evaluate_all.py ENCODER_FOLDER --out build/evaluation [--sets mmlu_pro ...]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import LARGER, SETS, load

from tryage.evaluation import BASELINES, Evaluation, Method, Predicted, Settings, evaluate
from tryage.evaluation.plots import plot_calibration, plot_front, plot_shares
from tryage.perception.encoder import Encoder, load_encoder
from tryage.perception.training import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.qtable import QTable

ROUTER = "tryage"
COLUMNS = (ROUTER, *BASELINES)


class Remembering:
    """An encoder that reads every prompt once; the folds ask for the same ones many times."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: dict[str, NDArray[np.float32]] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else the encoder offers
        """Pass everything but `encode` on to the encoder."""
        return getattr(self._encoder, name)

    def encode(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Embed prompts `(batch, dim)`, the new ones only."""
        new = list(dict.fromkeys(text for text in prompts if text not in self._known))
        if new:
            self._known.update(zip(new, self._encoder.encode(new), strict=True))
        return np.array([self._known[text] for text in prompts], dtype=np.float32)


def learned(encoder: Encoder) -> Method:
    """Make the router under test: what `tryage train` fits, asked for the unseen prompts."""

    def method(
        train: QTable,
        train_embeddings: NDArray[np.float32],
        test_prompts: Sequence[str],
        test_embeddings: NDArray[np.float32],  # noqa: ARG001 - the encoder remembers them
    ) -> Predicted:
        perception = fit(train, encoder, embeddings=train_embeddings, progress=False)
        x = perception.describe(test_prompts)
        predicted = perception.predict_from(x)
        return Predicted(predicted.losses, predicted.std, perception.forecast("costs", x))

    return method


def evaluate_set(name: str, encoder: Encoder, settings: Settings) -> Evaluation:
    """Cross-validate the router on one set beside all baselines."""
    table, remembering = load(name), Remembering(encoder)
    embeddings = remembering.encode(table.prompts)
    methods = {ROUTER: learned(remembering)}
    return evaluate(table, embeddings, methods, name=name, settings=settings)


def keep(found: Evaluation, folder: Path) -> None:
    """Write the figures as JSON and text, and the pictures that the set has data for."""
    (folder / f"{found.name}.json").write_text(json.dumps(found.to_dict(), indent=1) + "\n")
    (folder / f"{found.name}.txt").write_text(found.table() + "\n")
    plot_calibration(found, folder / f"{found.name}_calibration.png")
    plot_shares(found, folder / f"{found.name}_shares.png")
    if found[ROUTER].cost:
        plot_front(found, folder / f"{found.name}_front.png")


def main() -> None:
    """Evaluate the sets asked for, the nine larger ones unless told otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path, help="folder of a saved encoder")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(LARGER))
    parser.add_argument("--out", type=Path, default=Path("build/evaluation"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder(arguments.encoder)
    head = ["set", "prompts x experts", *COLUMNS]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name in arguments.sets:
        start = time.perf_counter()
        found = evaluate_set(name, encoder, Settings(seed=arguments.seed))
        keep(found, arguments.out)
        rows.append(found.markdown_row(COLUMNS))
        print(found.table(), f"\n({time.perf_counter() - start:.0f} s)\n", flush=True)
        (arguments.out / "README.md").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
