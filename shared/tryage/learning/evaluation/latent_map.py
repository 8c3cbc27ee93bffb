"""The latent map: how well a space of prompts separates their categories, in numbers and in 2-D.

The numbers are of the full space; the picture is an illustration. In every space, vectors are
compared by the cosine after their mean is subtracted: the states of a language model share one
large direction, in which all texts look the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.learning.evaluation.metrics import Interval, bootstrap, interval
from tryage.learning.evaluation.report import OTHERS_COLOR, PALETTE, TEXT_COLOR, new_figure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from tryage.core.arrays import FloatArray

N_NEIGHBORS = 10

_UMAP_NEIGHBORS = 15  # the default of umap-learn

_MARKERS = ("o", "^", "s")  # when the colors are used up, categories differ by shape

_MAX_NAMED_CATEGORIES = len(PALETTE) * len(_MARKERS)  # of more, the smallest share a gray

# Inches: the side of a panel, the space below the panels, a line of names.
_PANEL_INCHES, _LEGEND_MARGIN_INCHES, _LEGEND_ROW_INCHES = 4.3, 0.35, 0.21


@dataclass(frozen=True, slots=True)
class ClusterScores:
    """How well one space of `dim` numbers separates categories; 95% intervals over prompts.

    `silhouette` is from -1 to 1 (Rousseeuw, 1987): how much nearer a prompt is to its own category
    than to the next one. `purity` is the share of a prompt's nearest neighbors that have its
    category.
    """

    space: str
    dim: int
    silhouette: Interval
    purity: Interval


@dataclass(frozen=True, slots=True, eq=False)
class LatentMap:
    """The scores of several spaces of the same prompts.

    `coordinates` are the prompts in the picture, `(n_prompts, 2)` for each space; `chance` is the
    purity among neighbors drawn at random.
    """

    categories: tuple[str, ...]
    scores: tuple[ClusterScores, ...]
    coordinates: tuple[FloatArray, ...]
    n_neighbors: int
    chance: float
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values for JSON, without the coordinates."""
        return {
            "prompts": len(self.categories),
            "categories": dict(Counter(self.categories).most_common()),
            "neighbours": self.n_neighbors,
            "chance": self.chance,
            "seed": self.seed,
            "spaces": [asdict(found) for found in self.scores],
        }


def umap_layout(vectors: FloatArray, seed: int = 0) -> FloatArray:
    """Return coordinates `(n, 2)` of vectors `(n, dim)` by UMAP (McInnes et al., 2018).

    Raises:
        MissingExtraError: umap-learn is not installed.
    """
    require_extra("umap", "latent")
    from umap import UMAP

    near = min(_UMAP_NEIGHBORS, len(vectors) - 1)
    layout = UMAP(n_neighbors=near, metric="cosine", random_state=seed, n_jobs=1)
    return np.asarray(layout.fit_transform(centered(vectors)))


def latent_map(  # noqa: PLR0913 - two inputs, the rest has defaults
    spaces: Mapping[str, FloatArray],
    categories: Sequence[str],
    *,
    n_neighbors: int = N_NEIGHBORS,
    seed: int = 0,
    draws: int = 2000,
    layout: Callable[[FloatArray, int], FloatArray] = umap_layout,
) -> LatentMap:
    """Score several spaces `(n_prompts, dim)` of the same prompts, and place the prompts in 2-D.

    Prompts should differ: equal ones would be each other's nearest neighbors in any space.
    `layout` turns vectors and a seed into coordinates.

    Raises:
        InputError: the spaces do not fit, the prompts are too few, or have not two categories.
        MissingExtraError: scikit-learn or umap-learn is not installed.
    """
    check_categories(categories, n_neighbors)
    _check_spaces(spaces, len(categories))
    labels = np.unique(np.array(categories), return_inverse=True)[1]
    each = [
        np.stack([silhouettes(vectors, labels), purities(vectors, labels, n_neighbors)], axis=1)
        for vectors in spaces.values()
    ]
    groups = np.arange(len(labels))
    drawn = bootstrap(np.concatenate(each, axis=1), groups, draws=draws, seed=seed)
    bounds = [
        interval(value, draw) for value, draw in zip(_column_means(each), drawn.T, strict=True)
    ]
    return LatentMap(
        tuple(categories),
        tuple(
            ClusterScores(name, vectors.shape[1], bounds[2 * i], bounds[2 * i + 1])
            for i, (name, vectors) in enumerate(spaces.items())
        ),
        tuple(layout(vectors, seed) for vectors in spaces.values()),
        n_neighbors,
        chance_level(categories),
        seed,
    )


def check_categories(categories: Sequence[str], n_neighbors: int = N_NEIGHBORS) -> None:
    """Refuse prompts that cannot be scored, before anything is computed.

    Raises:
        InputError: there are too few prompts, fewer than two categories, or as many as prompts.
    """
    kinds = len(set(categories))
    if n_neighbors < 1 or len(categories) <= n_neighbors:
        raise InputError(
            f"{len(categories)} prompts, each compared with {n_neighbors} neighbours; give more "
            "prompts than neighbours, and at least one neighbour"
        )
    if not 2 <= kinds < len(categories):
        raise InputError(
            f"{len(categories)} prompts are of {kinds} categories, such as {min(categories)!r}; "
            "expected at least two categories, and several prompts of one of them"
        )


def _check_spaces(spaces: Mapping[str, FloatArray], n_prompts: int) -> None:
    for name, vectors in spaces.items():
        if vectors.ndim != 2 or len(vectors) != n_prompts or not np.isfinite(vectors).all():
            raise InputError(
                f"the space {name!r} has the shape {vectors.shape} for {n_prompts} prompts; "
                "expected a row of finite numbers each"
            )


def silhouettes(vectors: FloatArray, labels: Sequence[Any] | NDArray[Any]) -> FloatArray:
    """Return the silhouette of every prompt by the cosine, `(n,)`; 0 if alone in its category.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("sklearn", "evaluate")
    from sklearn.metrics import silhouette_samples

    return np.asarray(silhouette_samples(centered(vectors), labels, metric="cosine"))


def purities(
    vectors: FloatArray, labels: Sequence[Any] | NDArray[Any], n_neighbors: int = N_NEIGHBORS
) -> FloatArray:
    """Return the share of each prompt's nearest neighbors that have its category, `(n,)`.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("sklearn", "evaluate")
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=n_neighbors, metric="cosine").fit(centered(vectors))
    kinds = np.asarray(labels)
    nearest = found.kneighbors(return_distance=False)  # without the prompt itself
    return np.asarray((kinds[nearest] == kinds[:, None]).mean(axis=1))


def chance_level(categories: Sequence[str]) -> float:
    """Return the expected purity of neighbors drawn at random."""
    sizes = np.array([*Counter(categories).values()])
    total = int(sizes.sum())
    return float((sizes * (sizes - 1)).sum() / (total * (total - 1)))


def centered(vectors: FloatArray) -> FloatArray:
    """Subtract the mean of vectors `(n, dim)`."""
    wide = np.asarray(vectors, np.float64)
    return np.asarray(wide - wide.mean(axis=0))


def _column_means(each: Sequence[FloatArray]) -> list[float]:
    return [float(value) for values in each for value in values.mean(axis=0)]


def check_image_format(path: Path) -> None:
    """Refuse a file name that is not of a picture, before anything is computed.

    Raises:
        InputError: its suffix is not of a format that can be drawn.
        MissingExtraError: matplotlib is not installed.
    """
    require_extra("matplotlib", "evaluate")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if path.suffix[1:].lower() not in FigureCanvasAgg.get_supported_filetypes():
        raise InputError(f"{path} is not a picture that can be drawn; expected .png, .svg or .pdf")


def plot_latent(found: LatentMap, path: Path | None = None) -> Figure:
    """Draw the spaces side by side, every prompt by the color and shape of its category.

    Of many categories the largest are named, the others share a gray.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    panels, columns = len(found.coordinates), 2 * len(found.coordinates)
    names = [name for name, _ in Counter(found.categories).most_common(_MAX_NAMED_CATEGORIES)]
    foot = _LEGEND_MARGIN_INCHES + _LEGEND_ROW_INCHES * -(-(len(names) + 1) // columns)
    figure = new_figure(_PANEL_INCHES * panels, _PANEL_INCHES + foot)
    every = figure.subplots(1, panels, squeeze=False)[0]
    for axes, separation, coordinates in zip(every, found.scores, found.coordinates, strict=True):
        _style_panel(axes, found, separation)
        _draw_points(axes, coordinates, np.array(found.categories), names)
    handles, labels = every[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9,
                  frameon=False, markerscale=1.6, handletextpad=0.2)  # fmt: skip
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    return figure


def _style_panel(axes: Axes, found: LatentMap, separation: ClusterScores) -> None:
    """Write the scores above a panel, without ticks: the map has neither units nor directions."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(OTHERS_COLOR)
    axes.set_title(
        f"{separation.space} ({separation.dim} numbers)\n"
        f"silhouette {separation.silhouette.value:.2f}, purity {separation.purity.value:.2f} "
        f"(chance {found.chance:.2f})",
        loc="left",
        fontsize=10,
        color=TEXT_COLOR,
    )


def _draw_points(
    axes: Axes, coordinates: FloatArray, categories: FloatArray, names: list[str]
) -> None:
    """Draw the prompts, small categories on top of large ones."""
    size = float(np.clip(6_000 / len(coordinates), 5, 28))
    for i, name in enumerate(names):
        across, up = coordinates[categories == name].T
        axes.scatter(
            across,
            up,
            s=size,
            color=PALETTE[i % len(PALETTE)],
            marker=_MARKERS[i // len(PALETTE)],
            edgecolor=TEXT_COLOR,  # without an edge, yellow is invisible on white
            linewidth=0.2,
            alpha=0.85,
            label=name if len(name) <= 28 else name[:27] + "…",
            zorder=2,
        )
    rest = ~np.isin(categories, names)
    if rest.any():
        across, up = coordinates[rest].T
        axes.scatter(across, up, s=size, color=OTHERS_COLOR, linewidth=0, label="others", zorder=1)
