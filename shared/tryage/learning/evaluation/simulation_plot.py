"""The picture of a simulation: what each way to answer costs, and what it scores."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import InputError
from tryage.learning.evaluation.report import (
    OTHERS_COLOR,
    PALETTE,
    TEXT_COLOR,
    format_dollars,
    new_axes,
    save_figure,
)
from tryage.simulation.metrics import upper_hull

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tryage.simulation.result import RunSummary, Simulation

_MARKERS = ("s", "^", "D", "v", "P", "X")

_MAX_NAMED_EXPERTS = 7  # more names would overlap

_CURVE_POINTS = 300

_BELOW = 0.15  # of the height: how far below everything else a single expert may lie to be drawn

_LABEL_WIDTH = 28  # letters of a line of the legend, so that long names leave room for the picture

_FONT_SIZE = 11  # readable at half the size


def plot_simulation(simulation: Simulation, path: Path | None = None, title: str = "") -> Figure:
    """Draw score over cost: policies with their intervals, thresholds, single experts, oracle.

    Experts that score far below everything else are left out of the picture.

    Raises:
        InputError: no cost is known.
        MissingExtraError: matplotlib is not installed.
    """
    runs = [one for one in (*simulation.policies, simulation.plain) if one.cost and one.score]
    if not runs or not simulation.thresholds:
        raise InputError("No cost is known, so there is nothing to draw; add a column cost.")
    figure, axes = new_axes(9.0, 5.2)
    _draw_thresholds(axes, simulation)
    for i, one in enumerate(runs):
        is_plain = one is simulation.plain
        color = TEXT_COLOR if is_plain else PALETTE[1 + i % (len(PALETTE) - 1)]
        _draw_run(axes, one, color, "o" if is_plain else _MARKERS[i % len(_MARKERS)])
    _set_height(axes, simulation, runs)
    _draw_experts(axes, simulation)
    _draw_oracle(axes, simulation.oracle)
    format_dollars(axes)
    axes.set_xlabel("cost, USD per 1,000 requests", fontsize=_FONT_SIZE)
    axes.set_ylabel("mean score", fontsize=_FONT_SIZE)
    axes.tick_params(labelsize=_FONT_SIZE)
    heading = f"{title}: " if title else ""
    axes.set_title(f"{heading}{simulation.n_requests:,} requests", loc="left",
                   fontsize=_FONT_SIZE + 1, color=TEXT_COLOR)  # fmt: skip
    handles, labels = axes.get_legend_handles_labels()  # those with intervals are the last
    first = len(handles) - len(runs)
    axes.legend(handles[first:] + handles[:first], labels[first:] + labels[:first],
                loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=_FONT_SIZE,
                frameon=False)  # fmt: skip
    return save_figure(figure, path)


def _draw_thresholds(axes: Axes, simulation: Simulation) -> None:
    """Draw the hull, close together: a mixture of two settings is a curve on this axis."""
    points = np.array([(one.cost, one.score) for one in simulation.thresholds if one.cost > 0])
    x, y = upper_hull(points[:, 0], points[:, 1])
    grid = np.unique(np.concatenate([x, np.geomspace(x[0], x[-1], _CURVE_POINTS)]))
    axes.plot(1000 * grid, np.interp(grid, x, y), color=PALETTE[0], linewidth=2.4, zorder=3,
              label="plain routing,\nany weight of costs")  # fmt: skip


def _draw_run(axes: Axes, one: RunSummary, color: str, marker: str) -> None:
    """Draw a way to answer with the interval of its score."""
    if one.cost is None or one.score is None:
        return
    name = fill(one.name, _LABEL_WIDTH, break_on_hyphens=False)
    errors = [[one.score.value - one.score.low], [one.score.high - one.score.value]]
    refused = one.outcomes.get("refused", 0.0)
    axes.errorbar(
        1000 * one.cost.value, one.score.value, yerr=errors, color=color, marker=marker,
        markersize=9, capsize=3, linewidth=1.3, markeredgecolor="white", zorder=5,
        linestyle="none", label=name + (f"\n({refused:.0%} refused)" if refused else ""),
    )  # fmt: skip


def _set_height(axes: Axes, simulation: Simulation, runs: Sequence[RunSummary]) -> None:
    """Leave out of the picture what scores far below the policies and the thresholds."""
    scores = [one.score.low for one in runs if one.score]
    scores += [one.score for one in simulation.thresholds]
    best = simulation.oracle.score.value if simulation.oracle.score else max(scores)
    height = best - min(scores)
    top = best + min(_BELOW * height, max(1.0 - best, 0.0)) + 0.01 * height + 0.005
    axes.set_ylim(min(scores) - _BELOW * height - 0.005, top)


def _draw_experts(axes: Axes, simulation: Simulation) -> None:
    """Draw the single experts, with the names of those that no other beats at a lower cost."""
    low, _ = axes.get_ylim()
    single = simulation.best_single
    drawn = [
        (1000 * one.cost.value, one.score.value, one)
        for one in simulation.experts
        if one.cost and one.score and one.cost.value > 0 and one.score.value >= low
    ]
    if single is not None:
        drawn = [point for point in drawn if point[2].coverage >= single.coverage - 0.05]
    if not drawn:
        return
    xs, ys = [x for x, _, _ in drawn], [y for _, y, _ in drawn]
    axes.scatter(xs, ys, color=OTHERS_COLOR, s=44, edgecolor="white", zorder=2,
                 label="one model for all")  # fmt: skip
    for x, y, one in drawn:
        if one is single:
            axes.scatter(x, y, marker="*", s=190, color=TEXT_COLOR, edgecolor="white", zorder=4,
                         label=f"best single model:\n{_short_name(one)}")  # fmt: skip
    middle = np.sqrt(min(xs) * max(xs))
    named = [point for point in _front(drawn) if point[2] is not single]
    for x, y, one in named[:_MAX_NAMED_EXPERTS]:
        axes.annotate(_short_name(one), (x, y), textcoords="offset points",
                      xytext=(7, -14) if x < middle else (-7, -14), color="#666666",
                      horizontalalignment="left" if x < middle else "right",
                      fontsize=_FONT_SIZE - 2, zorder=6)  # fmt: skip


def _short_name(one: RunSummary) -> str:
    return one.name.rsplit("/", maxsplit=1)[-1]


def _front(
    points: Sequence[tuple[float, float, RunSummary]],
) -> list[tuple[float, float, RunSummary]]:
    """Return the points that score higher than all that cost less, the best first."""
    front: list[tuple[float, float, RunSummary]] = []
    for point in sorted(points, key=lambda one: one[:2]):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]


def _draw_oracle(axes: Axes, oracle: RunSummary) -> None:
    if oracle.score is not None and oracle.cost is not None:
        axes.scatter(1000 * oracle.cost.value, oracle.score.value, marker="o", s=70,
                     facecolor="white", edgecolor=PALETTE[0], linewidth=1.8, zorder=4,
                     label="best answer to each (oracle)")  # fmt: skip
