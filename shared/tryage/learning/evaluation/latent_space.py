"""The latent map: how well a space of prompts separates their categories, in numbers and in 2-D.

The numbers are of the full space; the picture is an illustration. In every space, vectors are
compared by the cosine after their mean is subtracted: the states of a language model share one
large direction, along which all texts look the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.learning.evaluation.report import (
    OTHERS_COLOR,
    PALETTE,
    TEXT_COLOR,
    new_figure,
    save_figure,
)
from tryage.simulation.metrics import Interval, bootstrap, interval

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

_MAX_NAMED_CATEGORIES = len(PALETTE) * len(_MARKERS)  # smaller categories share a gray

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
            "spaces": [asdict(scores) for scores in self.scores],
        }


def umap_layout(vectors: FloatArray, seed: int = 0) -> FloatArray:
    """Return coordinates `(n, 2)` of vectors `(n, dim)` by UMAP (McInnes et al., 2018).

    Raises:
        MissingExtraError: umap-learn is not installed.
    """
    require_extra("umap", "latent")
    from umap import UMAP

    n_neighbors = min(_UMAP_NEIGHBORS, len(vectors) - 1)
    layout = UMAP(n_neighbors=n_neighbors, metric="cosine", random_state=seed, n_jobs=1)
    return np.asarray(layout.fit_transform(center(vectors)))


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
        InputError: the spaces do not fit, or there are too few prompts or categories.
        MissingExtraError: scikit-learn or umap-learn is not installed.
    """
    check_categories(categories, n_neighbors)
    _check_spaces(spaces, len(categories))
    labels = np.unique(np.array(categories), return_inverse=True)[1]
    prompt_scores = [
        np.stack([silhouettes(vectors, labels), purities(vectors, labels, n_neighbors)], axis=1)
        for vectors in spaces.values()
    ]
    groups = np.arange(len(labels))
    bootstrap_means = bootstrap(
        np.concatenate(prompt_scores, axis=1), groups, draws=draws, seed=seed
    )
    intervals = [
        interval(value, score_draws)
        for value, score_draws in zip(_column_means(prompt_scores), bootstrap_means.T, strict=True)
    ]
    return LatentMap(
        tuple(categories),
        tuple(
            ClusterScores(name, vectors.shape[1], intervals[2 * i], intervals[2 * i + 1])
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
    n_categories = len(set(categories))
    if n_neighbors < 1 or len(categories) <= n_neighbors:
        raise InputError(
            f"{len(categories)} prompts, each compared with {n_neighbors} neighbours; give more "
            "prompts than neighbours, and at least one neighbour"
        )
    if not 2 <= n_categories < len(categories):
        raise InputError(
            f"{len(categories)} prompts are of {n_categories} categories, such as "
            f"{min(categories)!r}; expected at least two categories, and one with several prompts"
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

    return np.asarray(silhouette_samples(center(vectors), labels, metric="cosine"))


def purities(
    vectors: FloatArray, labels: Sequence[Any] | NDArray[Any], n_neighbors: int = N_NEIGHBORS
) -> FloatArray:
    """Return the share of each prompt's nearest neighbors that have its category, `(n,)`.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("sklearn", "evaluate")
    from sklearn.neighbors import NearestNeighbors

    neighbors = NearestNeighbors(n_neighbors=n_neighbors, metric="cosine").fit(center(vectors))
    prompt_labels = np.asarray(labels)
    neighbor_rows = neighbors.kneighbors(return_distance=False)  # without the prompt itself
    return np.asarray((prompt_labels[neighbor_rows] == prompt_labels[:, None]).mean(axis=1))


def chance_level(categories: Sequence[str]) -> float:
    """Return the expected purity of neighbors drawn at random."""
    sizes = np.array([*Counter(categories).values()])
    total = int(sizes.sum())
    return float((sizes * (sizes - 1)).sum() / (total * (total - 1)))


def center(vectors: FloatArray) -> FloatArray:
    """Subtract the mean of vectors `(n, dim)`."""
    float64_vectors = np.asarray(vectors, np.float64)
    return np.asarray(float64_vectors - float64_vectors.mean(axis=0))


def _column_means(matrices: Sequence[FloatArray]) -> list[float]:
    return [float(value) for values in matrices for value in values.mean(axis=0)]


def check_image_format(path: Path) -> None:
    """Refuse the name of a file that is not a picture, before anything is computed.

    Raises:
        InputError: the suffix is not that of a format that can be drawn.
        MissingExtraError: matplotlib is not installed.
    """
    require_extra("matplotlib", "evaluate")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if path.suffix[1:].lower() not in FigureCanvasAgg.get_supported_filetypes():
        raise InputError(f"{path} is not a picture that can be drawn; expected .png, .svg or .pdf")


def plot_latent(result: LatentMap, path: Path | None = None) -> Figure:
    """Draw the spaces side by side, every prompt by the color and shape of its category.

    If there are many categories, the largest are named and the others share a gray.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    n_panels, n_columns = len(result.coordinates), 2 * len(result.coordinates)
    names = [name for name, _ in Counter(result.categories).most_common(_MAX_NAMED_CATEGORIES)]
    legend_height = _LEGEND_MARGIN_INCHES + _LEGEND_ROW_INCHES * -(-(len(names) + 1) // n_columns)
    figure = new_figure(_PANEL_INCHES * n_panels, _PANEL_INCHES + legend_height)
    panels = figure.subplots(1, n_panels, squeeze=False)[0]
    for axes, scores, coordinates in zip(panels, result.scores, result.coordinates, strict=True):
        _style_panel(axes, result, scores)
        _draw_points(axes, coordinates, np.array(result.categories), names)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=n_columns, fontsize=9,
                  frameon=False, markerscale=1.6, handletextpad=0.2)  # fmt: skip
    return save_figure(figure, path)


def _style_panel(axes: Axes, result: LatentMap, scores: ClusterScores) -> None:
    """Write the scores above a panel, without ticks: the map has neither units nor directions."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(OTHERS_COLOR)
    axes.set_title(
        f"{scores.space} ({scores.dim} numbers)\n"
        f"silhouette {scores.silhouette.value:.2f}, purity {scores.purity.value:.2f} "
        f"(chance {result.chance:.2f})",
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
        x, y = coordinates[categories == name].T
        axes.scatter(
            x,
            y,
            s=size,
            color=PALETTE[i % len(PALETTE)],
            marker=_MARKERS[i // len(PALETTE)],
            edgecolor=TEXT_COLOR,  # without an edge, yellow is invisible on white
            linewidth=0.2,
            alpha=0.85,
            label=name if len(name) <= 28 else name[:27] + "…",
            zorder=2,
        )
    is_other = ~np.isin(categories, names)
    if is_other.any():
        x, y = coordinates[is_other].T
        axes.scatter(x, y, s=size, color=OTHERS_COLOR, linewidth=0, label="others", zorder=1)
