"""Measures whether a router tells hard prompts from easy ones: where the dear model is worth it.

    python benchmarks/difficulty/measure.py [ROUTER_FOLDER] [--short [--part test]]

The gain is the predicted loss of the cheap model minus that of the dear one. The figure is the
area under the ROC curve of the gain, hard prompts against easy ones: .5 is chance. With it stands
how many easy and hard prompts go to the dear model by default. The 200 prompts were written for
this, half of each kind are short and half long; with `--short`, the 235 short ones are read. No
router is trained on any of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from pools import PAIRS, router_over
from prompts import PROMPTS_FILE, SHORT_PROMPTS_FILE, DifficultyPrompt, read_prompts

from tryage import Router

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray


def predicted_gains(
    router: Router, dear: str, cheap: str, prompts: Sequence[str]
) -> NDArray[np.float64]:
    """Return the predicted loss of the cheap model minus that of the dear one, `(n_prompts,)`."""
    return decide(router, dear, cheap, prompts)[0]


def decide(
    router: Router, dear: str, cheap: str, prompts: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the gains `(n_prompts,)`, and which prompts go to the dear model, `(n_prompts,)`."""
    decisions = router_over([dear, cheap], router).route_batch(list(prompts))
    losses = [{one.name: one.predicted_loss for one in d.ranking} for d in decisions]
    is_dear = np.array([decision.expert.name == dear for decision in decisions])
    return np.array([loss[cheap] - loss[dear] for loss in losses]), is_dear


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
    parser.add_argument("--short", action="store_true", help="read the 235 short prompts")
    parser.add_argument("--part", choices=("development", "test"), help="of the short prompts")
    arguments = parser.parse_args()
    if arguments.part and not arguments.short:
        parser.error("--part is of the short prompts; add --short")
    prompts = read_prompts(SHORT_PROMPTS_FILE if arguments.short else PROMPTS_FILE)
    prompts = [one for one in prompts if arguments.part in {None, one.part}]
    print(markdown_report(Router.from_pretrained(arguments.router), prompts))


def markdown_report(router: Router, prompts: Sequence[DifficultyPrompt]) -> str:
    """Return the figures of all pairs, and their means by length, language and kind."""
    texts, is_hard = [p.prompt for p in prompts], np.array([p.hard for p in prompts])
    found = {pair: decide(router, *pair, texts) for pair in PAIRS}
    values = [auc(gain, is_hard) for gain, _ in found.values()]
    by_length = auc(np.array([float(len(text)) for text in texts]), is_hard)
    lines = ["| dear, cheap | AUC | easy to the dear | hard to the dear |", "|---|---:|---:|---:|"]
    for value, ((dear, cheap), (_, is_dear)) in zip(values, found.items(), strict=True):
        shares = f"{is_dear[~is_hard].mean():.0%} | {is_dear[is_hard].mean():.0%}"
        lines.append(f"| {dear}, {cheap} | {value:.3f} | {shares} |")
    to_dear = np.array([is_dear for _, is_dear in found.values()])
    means = f"{to_dear[:, ~is_hard].mean():.0%} | {to_dear[:, is_hard].mean():.0%}"
    lines.append(f"| mean of pairs (lowest {min(values):.3f}) | {np.mean(values):.3f} | {means} |")
    lines += [f"| length alone | {by_length:.3f} | | |", "", "| part | mean AUC of pairs |"]
    return "\n".join([*lines, "|---|---:|", *_part_lines([g for g, _ in found.values()], prompts)])


def _part_lines(
    gains: Sequence[NDArray[np.float64]], prompts: Sequence[DifficultyPrompt]
) -> Iterator[str]:
    for part_of in (_length, _language, _kind):
        found = [part_aucs(gain, prompts, part_of) for gain in gains]
        for part in found[0]:
            yield f"| {part} | {np.mean([one[part] for one in found]):.3f} |"


def _length(prompt: DifficultyPrompt) -> str:
    return prompt.length


def _language(prompt: DifficultyPrompt) -> str:
    return prompt.language


def _kind(prompt: DifficultyPrompt) -> str:
    return prompt.kind


if __name__ == "__main__":
    main()
