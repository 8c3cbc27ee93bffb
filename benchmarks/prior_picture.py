"""Draws what `metadata_prior.py` found: how strangers are ranked, and whether intervals hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from metadata_prior import CROWD, LEVELS, NEAR, OURS, RAW, SIZE, TESTS, summary

from tryage.core.validation import require_extra
from tryage.learning.evaluation.report import PALETTE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from metadata_prior import Judged


def draw(judged: Sequence[Judged], path: Path) -> None:
    """Draw both, side by side, to a picture."""
    require_extra("matplotlib", "plots")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    ranks, cover = figure.subplots(1, 2)
    _ranks(ranks, judged)
    _cover(cover, judged)
    figure.savefig(path, dpi=120)


def _ranks(axes: Axes, judged: Sequence[Judged]) -> None:
    for colour, method in zip(PALETTE, (OURS, CROWD, RAW, SIZE, NEAR), strict=False):
        found = {
            count: summary(rows)["rank"]
            for count in TESTS
            if (rows := [r for r in judged if (r.method, r.prompts) == (method, count)])
        }
        at = [TESTS.index(count) for count in found]
        axes.plot(at, list(found.values()), "o-", color=colour, label=method, clip_on=False)
    axes.set_xticks(range(len(TESTS)), [str(count) for count in TESTS])
    axes.set(xlabel="prompts answered", ylabel="rank correlation with the truth", ylim=(0, 1))
    axes.legend(frameon=False, loc="lower right")


def _cover(axes: Axes, judged: Sequence[Judged]) -> None:
    axes.plot([0, 1], [0, 1], color="#BBBBBB")
    for colour, method in zip(PALETTE, (OURS, CROWD, None, SIZE, NEAR), strict=False):
        rows = [r for r in judged if (r.method, r.prompts) == (method, 0)]
        if rows:
            found = summary(rows)
            inside = [found[f"{level:.0%}"] for level in LEVELS]
            axes.plot(LEVELS, inside, "o-", color=colour, label=method)
    axes.set(xlabel="interval, before any answer", ylabel="truths inside", xlim=(0.4, 1))
    axes.set(ylim=(0.3, 1), yticks=np.arange(0.3, 1.01, 0.1))
    axes.legend(frameon=False, loc="upper left")
