"""The latent map: how well a space of prompts separates their categories, in numbers and in 2-D.

The numbers are of the full space; the picture is an illustration. In every space, vectors are
compared by the cosine after their mean is subtracted: the states of a language model share one
large direction, along which all texts look the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.learning.charts.chart import Axis, Chart, Panel, Points
from tryage.learning.charts.pictures import save_chart
from tryage.learning.charts.style import MARKERS, OTHERS_STYLE, PALETTE, Style, shorten
from tryage.simulation.metrics import Interval, bootstrap, interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tryage.core.arrays import FloatArray

N_NEIGHBORS = 10

_UMAP_NEIGHBORS = 15  # the default of umap-learn

_MAX_NAMED_CATEGORIES = 3 * len(PALETTE)  # smaller categories share a gray

_PANEL_INCHES = 4.3


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


def plot_latent(result: LatentMap, path: Path | None = None, *, transparent: bool = False) -> Chart:
    """Draw the spaces side by side, every prompt by the color and shape of its category.

    If there are many categories, the largest are named and the others share a gray.

    Raises:
        MissingExtraError: matplotlib or plotly is not installed.
    """
    names = [name for name, _ in Counter(result.categories).most_common(_MAX_NAMED_CATEGORIES)]
    n_panels = len(result.coordinates)
    panels = tuple(
        _panel(result, scores, coordinates, names)
        for scores, coordinates in zip(result.scores, result.coordinates, strict=True)
    )
    first = result.scores[0]
    chart = Chart(
        f"{first.purity.value:.0%} of a prompt's neighbors in {first.space} are of its category, "
        f"{result.chance:.0%} by chance",
        panels,
        " ".join(map(_describe, result.scores)),
        note=f"{len(result.categories):,} prompts of {len(set(result.categories))} categories; "
        "scores are of the full space, the map by UMAP only illustrates it.",
        size=(max(_PANEL_INCHES * n_panels, 7.0), _PANEL_INCHES + 1.9 + 0.05 * len(names)),
        columns=n_panels,
        legend="below",
    )
    if path is not None:
        save_chart(chart, path, transparent=transparent)
    return chart


def _describe(scores: ClusterScores) -> str:
    return (
        f"In {scores.space} the silhouette of the categories is {scores.silhouette.value:.2f} and "
        f"the purity {scores.purity.value:.2f}."
    )


def _panel(
    result: LatentMap, scores: ClusterScores, coordinates: FloatArray, names: list[str]
) -> Panel:
    """Return a panel without ticks: the map has neither units nor directions."""
    title = f"{scores.space} ({scores.dim} numbers): purity {scores.purity.value:.2f}"
    axis = Axis(ticks=())
    return Panel(axis, axis, tuple(_points(result, coordinates, names)), title)


def _points(result: LatentMap, coordinates: FloatArray, names: list[str]) -> list[Points]:
    """Return the prompts, small categories on top of large ones."""
    categories = np.array(result.categories)
    size = float(np.clip(np.sqrt(16_000 / len(coordinates)), 3.2, 7.0))
    is_other = ~np.isin(categories, names)
    groups = [("others", is_other, replace(OTHERS_STYLE, size=size))] if is_other.any() else []
    groups += [(name, categories == name, _category_style(i, size)) for i, name in enumerate(names)]
    return [
        Points(
            shorten(name),
            coordinates[mask, 0].tolist(),
            coordinates[mask, 1].tolist(),
            style,
            names=(name,) * int(mask.sum()),
        )
        for name, mask, style in groups
    ]


def _category_style(i: int, size: float) -> Style:
    """Return color and marker of a category; when the colors are used up, they have other ones."""
    marker = MARKERS[(i + i // len(PALETTE)) % len(MARKERS)]
    return Style(PALETTE[i % len(PALETTE)], marker, size=size)
