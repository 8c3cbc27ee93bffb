"""Measures whether a router tells hard prompts from easy ones: where the dear model is worth it.

    python benchmarks/difficulty/measure.py [ROUTER_FOLDER]

The gain is the predicted loss of the cheap model minus that of the dear one. The figure is the
area under the ROC curve of the gain, hard prompts against easy ones: .5 is chance. The 200 prompts
were written for this, half of each kind are short and half long, and no router is trained on them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from pools import PAIRS, router_over
from prompts import DifficultyPrompt, read_prompts

from tryage import Router

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


def predicted_gains(
    router: Router, dear: str, cheap: str, prompts: Sequence[str]
) -> NDArray[np.float64]:
    """Return the predicted loss of the cheap model minus that of the dear one, `(n_prompts,)`."""
    losses = [
        {ranked.name: ranked.predicted_loss for ranked in decision.ranking}
        for decision in router_over([dear, cheap], router).route_batch(list(prompts))
    ]
    return np.array([loss[cheap] - loss[dear] for loss in losses])


def auc(values: NDArray[np.float64], is_hard: NDArray[np.bool_]) -> float:
    """Return the probability that a hard prompt has the higher value than an easy one."""
    differences = values[is_hard][:, None] - values[~is_hard][None, :]
    return float((differences > 0).mean() + (differences == 0).mean() / 2)


def part_aucs(
    gains: NDArray[np.float64],
    prompts: Sequence[DifficultyPrompt],
    part_of: Callable[[DifficultyPrompt], str],
) -> dict[str, float]:
    """Return the AUC within each part; a part of one level is compared with all of the other."""
    is_hard, parts = np.array([p.hard for p in prompts]), np.array([part_of(p) for p in prompts])
    found = {}
    for part in dict.fromkeys(parts.tolist()):
        inside = parts == part
        levels = set(is_hard[inside].tolist())
        rows = inside if len(levels) == 2 else inside | (is_hard != levels.pop())
        found[part] = auc(gains[rows], is_hard[rows])
    return found


def main() -> None:
    """Print the AUC of each pair, and their mean by length, language and kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("router", nargs="?", type=Path, help="a folder; the bundled one without it")
    router = Router.from_pretrained(parser.parse_args().router)
    prompts = read_prompts()
    texts, is_hard = [p.prompt for p in prompts], np.array([p.hard for p in prompts])
    gains = {pair: predicted_gains(router, *pair, texts) for pair in PAIRS}
    print("| dear, cheap | AUC | mean gain, easy | mean gain, hard |\n|---|---:|---:|---:|")
    for (dear, cheap), gain in gains.items():
        means = f"{gain[~is_hard].mean():+.4f} | {gain[is_hard].mean():+.4f}"
        print(f"| {dear}, {cheap} | {auc(gain, is_hard):.3f} | {means} |")
    values = [auc(gain, is_hard) for gain in gains.values()]
    by_length = auc(np.array([float(len(text)) for text in texts]), is_hard)
    print(f"| mean of pairs (lowest {min(values):.3f}) | {np.mean(values):.3f} | | |")
    print(f"| length alone | {by_length:.3f} | | |\n\n| part | mean AUC of pairs |\n|---|---:|")
    for part_of in (_length, _language, _kind):
        parts = [part_aucs(gain, prompts, part_of) for gain in gains.values()]
        for part in parts[0]:
            print(f"| {part} | {np.mean([found[part] for found in parts]):.3f} |")


def _length(prompt: DifficultyPrompt) -> str:
    return prompt.length


def _language(prompt: DifficultyPrompt) -> str:
    return prompt.language


def _kind(prompt: DifficultyPrompt) -> str:
    return prompt.kind


if __name__ == "__main__":
    main()
