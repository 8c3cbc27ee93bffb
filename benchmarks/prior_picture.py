"""Draws the results of `metadata_prior.py`: ranking of unmeasured models, and coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from metadata_prior import LEVELS, NEAREST, OURS, POOLED, SIZE, TEST_MEAN, TESTS, summary

from tryage.core.validation import require_extra
from tryage.learning.charts.style import PALETTE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from metadata_prior import MethodResult


def draw(results: Sequence[MethodResult], path: Path) -> None:
    """Draw rank correlation and coverage side by side."""
    require_extra("matplotlib", "evaluate")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    ranks, coverage = figure.subplots(1, 2)
    _ranks(ranks, results)
    _coverage(coverage, results)
    figure.savefig(path, dpi=120)


def _ranks(axes: Axes, results: Sequence[MethodResult]) -> None:
    for color, method in zip(PALETTE, (OURS, POOLED, TEST_MEAN, SIZE, NEAREST), strict=False):
        found = {
            count: summary(rows)["rank"]
            for count in TESTS
            if (rows := [r for r in results if (r.method, r.prompts) == (method, count)])
        }
        x = [TESTS.index(count) for count in found]
        axes.plot(x, list(found.values()), "o-", color=color, label=method, clip_on=False)
    axes.set_xticks(range(len(TESTS)), [str(count) for count in TESTS])
    axes.set(xlabel="prompts answered", ylabel="rank correlation with the truth", ylim=(0, 1))
    axes.legend(frameon=False, loc="lower right")


def _coverage(axes: Axes, results: Sequence[MethodResult]) -> None:
    axes.plot([0, 1], [0, 1], color="#BBBBBB")
    for color, method in zip(PALETTE, (OURS, POOLED, None, SIZE, NEAREST), strict=False):
        rows = [r for r in results if (r.method, r.prompts) == (method, 0)]
        if rows:
            found = summary(rows)
            inside = [found[f"{level:.0%}"] for level in LEVELS]
            axes.plot(LEVELS, inside, "o-", color=color, label=method)
    axes.set(xlabel="interval, before any answer", ylabel="truths inside", xlim=(0.4, 1))
    axes.set(ylim=(0.3, 1), yticks=np.arange(0.3, 1.01, 0.1))
    axes.legend(frameon=False, loc="upper left")
