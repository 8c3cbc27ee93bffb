"""Sensitivity of the metadata prior to the expected variances that it is fitted with.

    python benchmarks/metadata_belief.py        # half a minute on one core

It uses the folds of benchmarks/metadata_prior.py, without an aptitude test. Each expected variance
(slopes of numbers, flags, series, generations), and then all of them, is divided and multiplied by
three. Prints Markdown.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
from datasets import ABSENT, available
from families import Fold, folds
from metadata_prior import OURS, MethodResult, judge, summary

from tryage.learning.training.metadata_prior import EXPECTED_VARIANCES, fit_metadata_prior
from tryage.perception.metadata import metadata_features
from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ROLES = ("numbers", "flags", "series", "generations")
SHOWN = ("rank", "within size", "error", "95%", "NLL")


def judge_prior(known: Sequence[Fold], factors: NDArray[np.float64]) -> dict[str, float]:
    """Judge the prior alone, with its expected variances times these factors."""
    expected = (np.array(EXPECTED_VARIANCES) * factors).tolist()
    rows: list[MethodResult] = []
    for number, fold in enumerate(known):
        fold.perception.metadata_prior = fit_metadata_prior(
            metadata_features(fold.known), fold.perception.abilities, expected_variances=expected
        )
        rows += (row for row in judge(number, fold, tests=(0,)) if row.method == OURS)
    return summary(rows)


def main() -> None:
    """Judge all expected variances and print the table."""
    if not available():
        sys.exit(ABSENT)
    known = list(folds(load_encoder(BUNDLED_FOLDER / "encoder")))
    print(f"| centre of the belief | {' | '.join(SHOWN)} |\n{'|---' * (1 + len(SHOWN))}|")
    cases = {"as it is": np.ones(len(ROLES))}
    for word, factor in (("a third", 1 / 3), ("three times", 3.0)):
        for i, role in enumerate(ROLES):
            cases[f"{role}: {word}"] = np.where(np.arange(len(ROLES)) == i, factor, 1.0)
        cases[f"all: {word}"] = np.full(len(ROLES), factor)
    for name, factors in cases.items():
        found = judge_prior(known, factors)
        print(f"| {name} | {' | '.join(f'{found[column]:.3f}' for column in SHOWN)} |")


if __name__ == "__main__":
    main()
