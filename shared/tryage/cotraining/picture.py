"""The picture of specialisation: heat maps of the losses before and after, and of the shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.extras import require

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from tryage.cotraining.learner import Floats, Rows
    from tryage.cotraining.specialisation import Specialisation

_INK = "#333333"


def plot_specialisation(found: Specialisation, path: Path | None = None) -> Figure:
    """Draw each expert's loss by domain before and after, and who gets which domain.

    Losses are shown less the mean of their domain, since a domain that is hard for all would hide
    who is good at it. Experts stand in the order of the domain they get most of.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "evaluate")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_domains, n_experts = found.after.shape
    size = (3.2 + 3 * (0.6 + 0.42 * n_experts), 1.9 + 0.36 * n_domains)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    before, after, share = figure.subplots(1, 3, sharey=True)
    order = _order(found.shares)
    limit = max(float(np.abs(_apart(found.after)).max()), 1e-6)
    _heat(before, _apart(found.before)[:, order], "RdBu_r", (-limit, limit))
    shown = _heat(after, _apart(found.after)[:, order], "RdBu_r", (-limit, limit))
    given = _heat(share, found.shares[:, order], "Blues", (0.0, 1.0))
    before.set_title("loss before", loc="left", fontsize=11, color=_INK)
    after.set_title("loss after", loc="left", fontsize=11, color=_INK)
    share.set_title("share of the domain's prompts", loc="left", fontsize=11, color=_INK)
    before.set_yticks(range(n_domains), found.domains, fontsize=9)
    for axes in (before, after, share):
        axes.set_xticks(range(n_experts), [str(i + 1) for i in order], fontsize=9)
        axes.set_xlabel("expert", color=_INK)
    bar = figure.colorbar(shown, ax=[before, after], shrink=0.9, pad=0.01)
    bar.set_label("nats per character,\nless the domain's mean", color=_INK, fontsize=9)
    figure.colorbar(given, ax=share, shrink=0.9, pad=0.02, format=lambda x, _: f"{x:.0%}")
    if path is not None:
        figure.savefig(path)
    return figure


def _apart(losses: Floats) -> Floats:
    """Take the mean of each domain away."""
    return np.asarray(losses - losses.mean(axis=1, keepdims=True))


def _order(shares: Floats) -> Rows:
    """Order the experts by the domain they get most of, then by how much."""
    return np.lexsort((-shares.max(axis=0), shares.argmax(axis=0)))


def _heat(axes: Axes, values: Floats, colours: str, limits: tuple[float, float]) -> AxesImage:
    image = axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="minor", length=0)
    return image
