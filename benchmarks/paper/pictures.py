"""Draws the front of loss against size, and the chosen and the best experts of each domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import require_extra
from tryage.learning.charts.style import OTHERS_COLOR, PALETTE, TEXT_COLOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from figures import Floats
    from front import Front, Fronts
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE_HEIGHT = 0.032  # of a name, as a share of the picture
_MIN_SHOWN = 0.045  # a smaller share has no number in its cell


def draw_front(fronts: Fronts, title: str, path: Path) -> None:
    """Draw mean loss over mean parameters: two lines, and a dot for each single expert."""
    figure = _figure(8.6, 5.4)
    axes = figure.add_subplot()
    _draw_line(axes, fronts.oracle, PALETTE[2], "--", "oracle, in hindsight")
    _draw_line(axes, fronts.router, PALETTE[0], "-", "Tryage, as the weight of size rises")
    names = list(fronts.experts)
    loss, size = np.array([fronts.experts[name] for name in names]).T
    axes.scatter(size / 1e6, loss, color=PALETTE[1], marker="s", s=30, zorder=3,
                 label="one expert for all")  # fmt: skip
    axes.set(xscale="log", yscale="log", title=title)
    axes.set_xlabel("parameters of the expert that reads, millions (mean over the passages)")
    axes.set_ylabel("loss, nats per character (mean)")
    _format_ticks(axes)
    _draw_names(axes, names, size / 1e6, loss)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
    figure.savefig(path, dpi=110)


def draw_confusion(
    chosen: Mapping[str, Floats],
    best: Mapping[str, Floats],
    experts: Sequence[str],
    title: str,
    path: Path,
) -> None:
    """Draw two tables of domains by experts: the router's choices, and the best experts."""
    figure = _figure(2.6 + 0.75 * len(experts), 2.4 + 0.32 * len(chosen))
    left, right = figure.subplots(1, 2, sharey=True)
    _cells(left, chosen, experts, "chosen by Tryage")
    _cells(right, best, experts, "best in hindsight")
    figure.suptitle(title, color=TEXT_COLOR)
    figure.savefig(path, dpi=110)


def _cells(axes: Axes, shares: Mapping[str, Floats], experts: Sequence[str], title: str) -> None:
    cells = np.array(list(shares.values()))
    axes.imshow(cells, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(cells >= _MIN_SHOWN):
        share = cells[row, column]
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7,
                  color="white" if share > 0.55 else TEXT_COLOR)  # fmt: skip
    axes.set_xticks(range(len(experts)), experts, rotation=60, ha="right", fontsize=8,
                    rotation_mode="anchor")  # fmt: skip
    axes.set_yticks(range(len(shares)), list(shares), fontsize=9)
    axes.set_title(f"{title}, % of the passages", fontsize=10, color=TEXT_COLOR)
    axes.set_xticks(np.arange(len(experts) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(shares) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def _draw_line(axes: Axes, front: Front, color: str, style: str, label: str) -> None:
    axes.plot(front.parameters / 1e6, front.loss, style, color=color, label=label, linewidth=2)


def _draw_names(axes: Axes, names: Sequence[str], x: Floats, y: Floats) -> None:
    """Write the names in a column on the right without overlap, each with a line to its dot."""
    order = np.argsort(y)
    pixels = axes.transData.transform(np.column_stack([x, y]))
    heights = axes.transAxes.inverted().transform(pixels)[:, 1]
    for i, height in zip(order.tolist(), spread(heights[order], _LINE_HEIGHT), strict=True):
        axes.annotate(
            names[i],
            (x[i], y[i]),
            xytext=(1.02, height),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            color=TEXT_COLOR,
            arrowprops={"arrowstyle": "-", "color": OTHERS_COLOR, "linewidth": 0.6, "shrinkB": 3},
        )


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move ascending positions until neighbors are at least `gap` apart, within [0, 1]."""
    moved: list[float] = []
    for position in positions:
        moved.append(max(position, moved[-1] + gap) if moved else max(position, 0.0))
    ceiling = 1.0
    for i in range(len(moved) - 1, -1, -1):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - gap
    return moved


def _format_ticks(axes: Axes) -> None:
    """Write the numbers of logarithmic axes without exponents."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)


def _figure(width: float, height: float) -> Figure:
    require_extra("matplotlib", "evaluate")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
