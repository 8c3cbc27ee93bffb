"""Commands that draw: `plot latent` maps prompts, and `pareto --plot` draws its front with this."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from tryage.cli.options import JsonFile, RouterPath, Seed, load_router, read_jsonl
from tryage.cli.outputs import check_picture_file, write_json
from tryage.cli.terminal import echo, format_table
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    from tryage.core.arrays import FloatArray
    from tryage.core.pareto import ParetoFront
    from tryage.core.preferences import Preferences
    from tryage.learning.evaluation.latent_space import LatentMap
    from tryage.router import Router

app = typer.Typer(help="Pictures of what a router has learned.", no_args_is_help=True)

SingleExpertPoints: TypeAlias = dict[str, tuple[float, float]]
"""Expert -> (mean constraint, NaN if unknown; mean predicted loss), if it answered every prompt."""

_TEXT_COLOR, _LINE_COLOR, _OTHERS_COLOR, _UNKNOWN_COLOR = "#333333", "#0072B2", "#BBBBBB", "#D55E00"

_MAX_NAMES, _MAX_WEIGHTS = 8, 5  # more text on one picture cannot be read

_DOT_RADIUS = 5  # pixels; text keeps this distance from the center of a dot

_MAX_MARKERS = 40  # with more breakpoints only the line is drawn

_UNKNOWN_GAP = 0.12  # of the width, between the last known constraint and the unknown ones

# Offsets of labels in points, the best first: names go above the front, weights below it.
_OFFSETS_ABOVE = ((7, 5), (-7, 5), (7, 14), (-7, 14), (9, -4), (7, -13), (-7, -13))

_OFFSETS_BELOW = ((-7, -13), (7, -13), (-7, -22), (-9, -4), (7, -22), (7, 5))


@app.callback()
def plot() -> None:
    """Pictures of what a router has learned."""


@app.command()
def latent(
    prompts: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="JSON lines of prompt and category, or a Q-table with a category; prompts that "
            "the router was not trained on are best.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            callback=check_picture_file,
            help="The picture: .png, .svg, .pdf",
        ),
    ] = Path("latent.png"),
    router: RouterPath = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="A language model to compare with: a folder, a .gguf file or a Hub id; may be "
            "repeated.",
        ),
    ] = None,
    neighbours: Annotated[
        int, typer.Option("--neighbours", "-k", min=1, help="The number of neighbours for purity.")
    ] = 10,
    most: Annotated[
        int, typer.Option(min=1, help="The most prompts; a larger file is sampled.")
    ] = 2000,
    seed: Seed = 0,
    as_json: JsonFile = None,
) -> None:
    """Draw where prompts lie in the perception's space, and say how well it separates categories.

    It is compared with the embeddings of its encoder, and with the given language models.
    """
    from tryage.core.validation import require_extra
    from tryage.learning.evaluation.latent_space import (
        check_categories,
        check_image_format,
        latent_map,
        plot_latent,
    )

    require_extra("umap", "latent")
    check_image_format(output)
    pairs = _sample(_read_labeled(prompts), most, seed)
    categories = [category for _, category in pairs]
    check_categories(categories, neighbours)
    spaces = _embedding_spaces(load_router(router), [text for text, _ in pairs], against or ())
    computed_map = latent_map(spaces, categories, n_neighbors=neighbours, seed=seed)
    plot_latent(computed_map, output)
    for line in _report_lines(computed_map):
        echo(line)
    if as_json is not None:
        write_json(as_json, computed_map.to_dict())
    echo(f"\nDrawn to {output}")


def _read_labeled(path: Path) -> list[tuple[str, str]]:
    """Read prompts and their categories, each text once and with its first category."""
    category_by_text: dict[str, str] = {}
    for text, category in _read_rows(path):
        if isinstance(text, str) and category is not None:
            category_by_text.setdefault(text, str(category))
    if not category_by_text:
        raise InputError(
            f"{path} has no prompt with a category; expected the columns prompt and category, as "
            'in {"prompt": "Prove that ...", "category": "maths"}'
        )
    return [*category_by_text.items()]


def _read_rows(path: Path) -> Iterable[tuple[object, object]]:
    """Return every prompt of the file with its category."""
    if path.suffix == ".jsonl":
        return [(row.get("prompt"), row.get("category")) for row in read_jsonl(path)]
    from tryage.scoring.qtable import QTable

    table = QTable.read(path)
    return zip(table.prompts, table.categories or [None] * len(table), strict=True)


def _sample(pairs: list[tuple[str, str]], n: int, seed: int) -> list[tuple[str, str]]:
    """Draw at most `n` pairs at random, and keep their order."""
    import numpy as np

    if len(pairs) <= n:
        return pairs
    indices = np.random.default_rng(seed).choice(len(pairs), n, replace=False)
    return [pairs[i] for i in sorted(indices.tolist())]


def _embedding_spaces(
    router: Router, texts: list[str], models: Iterable[str]
) -> dict[str, FloatArray]:
    """Embed prompts with the perception, with its encoder and with language models.

    Raises:
        InputError: the perception has no latent space, or a model cannot be read.
    """
    from tryage.perception.model import LearnedPerception
    from tryage.scoring.language_model import mean_hidden_states

    perception = router.perception
    if not isinstance(perception, LearnedPerception):
        raise InputError(f"{type(perception).__name__} has no space to draw; train a router")
    spaces: dict[str, FloatArray] = {
        "perception": perception.latent_positions(texts)[:, 1:],
        "encoder": perception.encoder.encode(texts),
    }
    for source in models:
        name = Path(source).name.removesuffix(".gguf")
        spaces[source if name in spaces else name] = mean_hidden_states(source, texts)
    return spaces


def _report_lines(computed_map: LatentMap) -> list[str]:
    """Write the figures of every space as a table."""
    n_categories = len(set(computed_map.categories))
    header = ["space", "numbers", "silhouette [95%]", "purity [95%]"]
    rows = [
        [space.space, f"{space.dim:,}", str(space.silhouette), str(space.purity)]
        for space in computed_map.scores
    ]
    return [
        f"{len(computed_map.categories):,} prompts of {n_categories} categories, "
        f"seed {computed_map.seed}; purity is of {computed_map.n_neighbors} neighbours, "
        f"{computed_map.chance:.3f} by chance.",
        "",
        *format_table([header, *rows]),
    ]


def single_expert_points(
    router: Router, prompts: Sequence[str], constraint: str, preferences: Preferences
) -> SingleExpertPoints:
    """Return the point of every expert that may answer all prompts."""
    from tryage.core.preferences import Preferences

    weights = {**router.preferences.weights, **preferences.weights, constraint: 1.0}
    # At weight 1 the term is the constraint itself.
    weighted_preferences = Preferences(weights, preferences.requirements)
    points: dict[str, list[tuple[float, float]]] = {}
    for decision in router.route_batch(prompts, weighted_preferences):
        for expert in decision.ranking:
            is_known = constraint not in expert.unknown
            value = expert.terms[constraint] if is_known else math.nan
            points.setdefault(expert.name, []).append((value, expert.predicted_loss))
    return {
        name: (sum(c for c, _ in pairs) / len(pairs), sum(q for _, q in pairs) / len(pairs))
        for name, pairs in points.items()
        if len(pairs) == len(prompts)
    }


def experts_without_constraint(points: SingleExpertPoints) -> list[str]:
    """Name the experts with an unknown constraint."""
    return [name for name, (constraint, _) in points.items() if math.isnan(constraint)]


def draw_front(front: ParetoFront, points: SingleExpertPoints, path: Path) -> Figure:
    """Draw a front as a line, its breakpoints with their weights, and every expert as a dot.

    Experts with an unknown constraint are drawn in a column of their own on the right, although
    the front counts them as the worst.

    Raises:
        InputError: the file name has no suffix of an image format.
        MissingExtraError: matplotlib is not installed.
    """
    from tryage.core.validation import require_extra

    require_extra("matplotlib", "evaluate")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from tryage.learning.evaluation.report import save_figure

    figure = Figure(figsize=(7.6, 4.8), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    if path.suffix[1:].lower() not in canvas.get_supported_filetypes():
        raise InputError(f"{path} is not a picture that can be drawn; expected .png, .svg or .pdf")
    axes = figure.add_subplot()
    _style_axes(axes, front)
    points = _draw_points(axes, front, points)
    figure.draw_without_rendering()  # fixes the layout, which places labels
    _LabelPlacer(axes).add_all(front, points)
    return save_figure(figure, path)


def _style_axes(axes: Axes, front: ParetoFront) -> None:
    n_prompts = front.path.start.size
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"{front.constraint}, 0 best to 1 worst of the library")
    axes.set_ylabel("predicted loss, lower is better")
    scope = "one prompt" if n_prompts == 1 else f"mean of {n_prompts:,} prompts"
    axes.set_title(
        f"Loss against {front.constraint}: {scope}", loc="left", fontsize=11, color=_TEXT_COLOR
    )


def _draw_points(axes: Axes, front: ParetoFront, points: SingleExpertPoints) -> SingleExpertPoints:
    """Draw the front and the experts; return the points of the experts on the picture."""
    marker = "o" if len(front) <= _MAX_MARKERS else ""
    axes.plot(front.constraints, front.losses, color=_LINE_COLOR, marker=marker, markersize=5,
              linewidth=2, label="routed, from weight 0 up", zorder=3)  # fmt: skip
    known_points = {name: point for name, point in points.items() if not math.isnan(point[0])}
    x, y = zip(*known_points.values(), strict=True) if known_points else ((), ())
    axes.scatter(x, y, s=30, color=_OTHERS_COLOR, edgecolor="white", zorder=2,
                 label="an expert on its own")  # fmt: skip
    axes.margins(0.08)
    unknown_points = {name: points[name] for name in experts_without_constraint(points)}
    unknown_points = _draw_unknown_column(axes, front, unknown_points)
    axes.legend(loc="best", fontsize=9, frameon=False)
    return known_points | unknown_points


def _draw_unknown_column(
    axes: Axes, front: ParetoFront, unknown_points: SingleExpertPoints
) -> SingleExpertPoints:
    """Draw experts of unknown constraint to the right of all others; return their points."""
    if not unknown_points:
        return {}
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= min(high, 1.0)]
    column = high + _UNKNOWN_GAP * (high - low)
    axes.axvline((high + column) / 2, color=_OTHERS_COLOR, linewidth=1, linestyle=":")
    losses = [loss for _, loss in unknown_points.values()]
    axes.scatter([column] * len(losses), losses, s=34, marker="D",
                 facecolor="white", edgecolor=_UNKNOWN_COLOR, zorder=2,
                 label=f"its {front.constraint} is unknown: counted as 1")  # fmt: skip
    axes.set_xticks([*ticks, column], [*(f"{tick:g}" for tick in ticks), "unknown"])
    axes.set_xlim(low, column + (column - high) / 2)
    return {name: (column, loss) for name, (_, loss) in unknown_points.items()}


class _LabelPlacer:
    """Writes labels next to points; a label without a free place is left out."""

    def __init__(self, axes: Axes) -> None:
        import numpy as np
        from matplotlib.transforms import Bbox

        self._axes = axes
        line, legend = axes.lines[0], axes.get_legend()
        self._front = line.get_path().transformed(line.get_transform())
        dots = [np.reshape(collection.get_offsets(), (-1, 2)) for collection in axes.collections]
        centers = axes.transData.transform(np.concatenate(dots).astype(np.float64))
        self._occupied = [Bbox([center - _DOT_RADIUS, center + _DOT_RADIUS]) for center in centers]
        self._occupied += [] if legend is None else [legend.get_window_extent()]

    def add_all(self, front: ParetoFront, expert_points: SingleExpertPoints) -> None:
        """Name the experts with the largest shares, then write the weights of some breakpoints."""
        for name in _most_used_experts(front)[:_MAX_NAMES]:
            if name in expert_points:
                label = name.rsplit("/", maxsplit=1)[-1]
                self._add_label(label, expert_points[name], _OFFSETS_ABOVE, _TEXT_COLOR)
        points = list(front)
        for point in points[:: max(1, round(len(points) / _MAX_WEIGHTS))]:
            position = (point.constraint, point.loss)
            self._add_label(f"weight {point.weight:.2g}", position, _OFFSETS_BELOW, _LINE_COLOR)

    def _add_label(
        self, text: str, point: tuple[float, float], offsets: Sequence[tuple[int, int]], color: str
    ) -> None:
        for offset in offsets:
            label = self._axes.annotate(
                text,
                point,
                offset,
                textcoords="offset points",
                horizontalalignment="left" if offset[0] > 0 else "right",
                fontsize=8,
                color=color,
            )
            box = label.get_window_extent()
            if self._is_free(box):
                self._occupied.append(box)
                return
            label.remove()

    def _is_free(self, box: Bbox) -> bool:
        """Whether a label there is inside the picture, off the front and off other labels."""
        area, picture = self._axes.get_window_extent(), self._axes.figure.bbox
        if box.x0 < area.x0 or box.y0 < area.y0 or box.x1 > picture.x1:
            return False
        if self._front.intersects_bbox(box, filled=False):
            return False
        return not any(box.overlaps(other) for other in self._occupied)


def _most_used_experts(front: ParetoFront) -> list[str]:
    """Sort experts by their largest share of the prompts at any breakpoint, descending."""
    largest_shares: dict[str, float] = {}
    for point in front:
        for name, share in point.share.items():
            largest_shares[name] = max(share, largest_shares.get(name, 0.0))
    return sorted(largest_shares, key=lambda name: -largest_shares[name])
