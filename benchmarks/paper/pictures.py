"""Draws the front of loss against size, and who is chosen and who is best in each domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import require_extra
from tryage.learning.evaluation.report import OTHERS_COLOR, PALETTE, TEXT_COLOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from figures import Floats
    from front import Fronts, Walk
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE = 0.032  # the height of a name, as a part of the picture
_LEAST_SHOWN = 0.045  # a smaller share has no number in its cell


def draw_front(fronts: Fronts, title: str, path: Path) -> None:
    """Draw mean loss over mean parameters: two lines, and a dot for each expert on its own."""
    figure = _figure(8.6, 5.4)
    axes = figure.add_subplot()
    _line(axes, fronts.oracle, PALETTE[2], "--", "oracle, in hindsight")
    _line(axes, fronts.router, PALETTE[0], "-", "Tryage, as the weight of size rises")
    names = list(fronts.experts)
    loss, size = np.array([fronts.experts[name] for name in names]).T
    axes.scatter(size / 1e6, loss, color=PALETTE[1], marker="s", s=30, zorder=3,
                 label="one expert for all")  # fmt: skip
    axes.set(xscale="log", yscale="log", title=title)
    axes.set_xlabel("parameters of the expert that reads, millions (mean over the passages)")
    axes.set_ylabel("loss, nats per character (mean)")
    _plain(axes)
    _names(axes, names, size / 1e6, loss)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
    figure.savefig(path, dpi=110)


def draw_confusion(
    chosen: Mapping[str, Floats],
    best: Mapping[str, Floats],
    experts: Sequence[str],
    title: str,
    path: Path,
) -> None:
    """Draw two tables of domains by experts: whom the router chose, and who was best."""
    figure = _figure(2.6 + 0.75 * len(experts), 2.4 + 0.32 * len(chosen))
    left, right = figure.subplots(1, 2, sharey=True)
    _cells(left, chosen, experts, "chosen by Tryage")
    _cells(right, best, experts, "best in hindsight")
    figure.suptitle(title, color=TEXT_COLOR)
    figure.savefig(path, dpi=110)


def _cells(axes: Axes, shares: Mapping[str, Floats], experts: Sequence[str], title: str) -> None:
    cells = np.array(list(shares.values()))
    axes.imshow(cells, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(cells >= _LEAST_SHOWN):
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


def _line(axes: Axes, walk: Walk, colour: str, style: str, label: str) -> None:
    axes.plot(walk.parameters / 1e6, walk.loss, style, color=colour, label=label, linewidth=2)


def _names(axes: Axes, names: Sequence[str], x: Floats, y: Floats) -> None:
    """Write the names in a column on the right, each joined to its dot, none over another."""
    order = np.argsort(y)
    at = axes.transAxes.inverted().transform(axes.transData.transform(np.column_stack([x, y])))
    places = apart(at[order, 1], _LINE)
    for i, place in zip(order.tolist(), places, strict=True):
        axes.annotate(
            names[i],
            (x[i], y[i]),
            xytext=(1.02, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            color=TEXT_COLOR,
            arrowprops={"arrowstyle": "-", "color": OTHERS_COLOR, "linewidth": 0.6, "shrinkB": 3},
        )


def apart(places: Sequence[float], least: float) -> list[float]:
    """Move rising places apart until neighbours are `least` from each other, within [0, 1]."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + least) if moved else max(place, 0.0))
    ceiling = 1.0
    for i in range(len(moved) - 1, -1, -1):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - least
    return moved


def _plain(axes: Axes) -> None:
    """Write the numbers of logarithmic axes as people do."""
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
