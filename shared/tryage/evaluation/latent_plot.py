"""The picture of a latent map: one panel for each space, one mark for each category."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import InputError
from tryage.evaluation.plots import INK, OTHERS, PALETTE
from tryage.extras import require

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tryage.evaluation.latent import LatentMap, Separation, Vectors

_MARKERS = ("o", "^", "s")  # after the colours are used up, the shape tells categories apart
_NAMED = len(PALETTE) * len(_MARKERS)  # of more categories the smallest share a grey
_PANEL, _FOOT, _ROW = 4.3, 0.35, 0.21  # inches: a panel's side, below the panels, a line of names


def picture_kind(path: Path) -> None:
    """Refuse a file name that does not say a kind of picture, before anything is computed.

    Raises:
        InputError: its suffix is none that can be drawn.
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "evaluate")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if path.suffix[1:].lower() not in FigureCanvasAgg.get_supported_filetypes():
        raise InputError(f"{path} is no picture that can be drawn; expected .png, .svg or .pdf")


def plot_latent(found: LatentMap, path: Path | None = None) -> Figure:
    """Draw the spaces side by side, every prompt by the colour and shape of its category.

    Of many categories the largest are named, the others share a grey.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "evaluate")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels, columns = len(found.places), 2 * len(found.places)
    names = [name for name, _ in Counter(found.categories).most_common(_NAMED)]
    foot = _FOOT + _ROW * -(-(len(names) + 1) // columns)
    size = (_PANEL * panels, _PANEL + foot)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    every = figure.subplots(1, panels, squeeze=False)[0]
    for axes, separation, places in zip(every, found.separations, found.places, strict=True):
        _panel(axes, found, separation)
        _dots(axes, places, np.array(found.categories), names)
    handles, labels = every[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9,
                  frameon=False, markerscale=1.6, handletextpad=0.2)  # fmt: skip
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    return figure


def _panel(axes: Axes, found: LatentMap, separation: Separation) -> None:
    """Say what is seen: the map has neither units nor directions."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(OTHERS)
    axes.set_title(
        f"{separation.space} ({separation.dim} numbers)\n"
        f"silhouette {separation.silhouette.value:.2f}, purity {separation.purity.value:.2f} "
        f"(chance {found.chance:.2f})",
        loc="left",
        fontsize=10,
        color=INK,
    )


def _dots(axes: Axes, places: Vectors, categories: Vectors, names: list[str]) -> None:
    """Draw the prompts, small categories on top of large ones."""
    size = float(np.clip(6_000 / len(places), 5, 28))
    for i, name in enumerate(names):
        across, up = places[categories == name].T
        axes.scatter(
            across,
            up,
            s=size,
            color=PALETTE[i % len(PALETTE)],
            marker=_MARKERS[i // len(PALETTE)],
            edgecolor=INK,  # yellow is not seen on white
            linewidth=0.2,
            alpha=0.85,
            label=name if len(name) <= 28 else name[:27] + "…",
            zorder=2,
        )
    rest = ~np.isin(categories, names)
    if rest.any():
        across, up = places[rest].T
        axes.scatter(across, up, s=size, color=OTHERS, linewidth=0, label="others", zorder=1)
