"""Measures whether a router still tells hard questions from easy ones among retrieved pages.

    python benchmarks/difficulty/retrieval.py [ROUTER_FOLDER] [--templates FILE] [--variants 5]

The short prompts of `prompts.py` (their part "test") are asked alone, and in templates of
retrieval-augmented generation with a page of another subject. Printed are, as the mean of the
pairs of a dear and a cheap model, the AUC of the gain, the shares of easy and of hard questions
that go to the dear model, and how many decisions are those of the question alone. The templates
and pages were written without a look at how a router reads them.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import auc, decide
from pools import PAIRS
from prompts import SHORT_PROMPTS_FILE, read_prompts

from tryage import Router

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Decisions: TypeAlias = tuple[NDArray[np.float64], NDArray[np.bool_]]

TEMPLATES_FILE = Path(__file__).parent / "retrieval_templates.jsonl"
PASSAGES_FILE = Path(__file__).parent / "retrieval_passages.jsonl"


def read_texts(file: Path, field: str) -> list[str]:
    """Read one field of every line of a file of JSON lines."""
    return [json.loads(line)[field] for line in file.read_text("utf-8").splitlines()]


def in_templates(
    questions: Sequence[str], templates: Sequence[str], passages: Sequence[str], seed: int
) -> list[str]:
    """Return each question in a template with a page, both drawn at random."""
    generator = random.Random(seed)  # noqa: S311 - not for security
    return [
        generator.choice(templates)
        .replace("{question}", question)
        .replace("{context}", generator.choice(passages))
        for question in questions
    ]


def decide_pairs(router: Router, prompts: Sequence[str]) -> list[Decisions]:
    """Return the gains and which prompts go to the dear model, of each pair."""
    return [decide(router, dear, cheap, prompts) for dear, cheap in PAIRS]


def mean_figures(
    found: Sequence[Decisions], alone: Sequence[Decisions], is_hard: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return AUC, easy to the dear, hard to the dear, and the same decision, means of the pairs."""
    figures = []
    for (gains, is_dear), (_, is_dear_alone) in zip(found, alone, strict=True):
        same = (is_dear == is_dear_alone).mean()
        shares = is_dear[~is_hard].mean(), is_dear[is_hard].mean(), same
        figures.append((auc(gains, is_hard), *shares))
    return np.mean(figures, axis=0)


def main() -> None:
    """Print one row for the questions alone, and one for the same in templates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("router", nargs="?", type=Path, help="a folder; the bundled one without it")
    parser.add_argument("--templates", type=Path, default=TEMPLATES_FILE)
    parser.add_argument("--variants", type=int, default=5, help="templates of each question")
    arguments = parser.parse_args()
    prompts = [one for one in read_prompts(SHORT_PROMPTS_FILE) if one.part == "test"]
    questions, is_hard = [one.prompt for one in prompts], np.array([one.hard for one in prompts])
    templates = read_texts(arguments.templates, "template")
    passages = read_texts(PASSAGES_FILE, "text")
    router = Router.from_pretrained(arguments.router)
    alone = decide_pairs(router, questions)
    rows = {"alone": mean_figures(alone, alone, is_hard)}
    found = [
        decide_pairs(router, in_templates(questions, templates, passages, seed))
        for seed in range(arguments.variants)
    ]
    rows[f"in {len(templates)} templates"] = np.mean(
        [mean_figures(one, alone, is_hard) for one in found], axis=0
    )
    print("| question | AUC | easy to the dear | hard to the dear | same decision |")
    print("|---|---:|---:|---:|---:|")
    for name, (area, *shares) in rows.items():
        print(f"| {name} | {area:.3f} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")


if __name__ == "__main__":
    main()
