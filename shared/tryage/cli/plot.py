"""Commands that draw: `plot latent` shows where prompts lie in the perception's space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import numpy as np
import typer

from tryage.cli.options import RouterPath, Seed, format_table, load_router
from tryage.cli.train import read_jsonl
from tryage.core.preferences import Preferences
from tryage.core.validation import require_extra
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    from tryage.core.arrays import FloatArray
    from tryage.core.pareto import ParetoFront
    from tryage.learning.evaluation.latent_map import LatentMap
    from tryage.router import Router

app = typer.Typer(help="Pictures of what a router has learned.", no_args_is_help=True)

SingleExpertPoints: TypeAlias = dict[str, tuple[float, float]]
"""Expert -> (mean constraint, NaN if unknown, mean predicted loss), were it to get every prompt."""

_TEXT_COLOR, _LINE_COLOR, _OTHERS_COLOR, _UNKNOWN_COLOR = "#333333", "#0072B2", "#BBBBBB", "#D55E00"

_MAX_NAMES, _MAX_WEIGHTS = 8, 5  # more text on one picture is not read

_DOT_RADIUS = 5  # pixels from the middle of a dot that text keeps away

_MAX_MARKERS = 40  # of more breakpoints the line alone is drawn

_UNKNOWN_GAP = 0.12  # of the width, from the last known constraint to those that are unknown

# Offsets in points, the best first: names go above the front, weights below it.
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
            help="JSON lines of prompt and category, or a Q-table with a category. "
            "Best such as the router was not trained on.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The picture: .png, .svg, .pdf")
    ] = Path("latent.png"),
    router: RouterPath = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="A language model beside it: a folder, a .gguf file or a Hub id; may be repeated.",
        ),
    ] = None,
    neighbours: Annotated[
        int, typer.Option("--neighbours", "-k", min=1, help="How many are looked at for purity.")
    ] = 10,
    most: Annotated[int, typer.Option(min=1, help="Of more prompts a sample is drawn.")] = 2000,
    seed: Seed = 0,
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures to it.")
    ] = None,
) -> None:
    """Draw where prompts lie in the perception's space, and say how well it tells categories apart.

    Beside it: the embeddings of its encoder, and of the language models given.
    """
    from tryage.core.validation import require_extra
    from tryage.learning.evaluation.latent_map import (
        check_categories,
        check_image_format,
        latent_map,
        plot_latent,
    )

    require_extra("umap", "latent")
    check_image_format(output)
    pairs = sample_pairs(read_labeled(prompts), most, seed)
    categories = [category for _, category in pairs]
    check_categories(categories, neighbours)
    spaces = embedding_spaces(load_router(router), [text for text, _ in pairs], against or ())
    found = latent_map(spaces, categories, n_neighbors=neighbours, seed=seed)
    plot_latent(found, output)
    for line in format_report(found):
        typer.echo(line)
    if as_json is not None:
        as_json.write_text(json.dumps(found.to_dict(), indent=1) + "\n", "utf-8")
    typer.echo(f"\nDrawn to {output}")


def read_labeled(path: Path) -> list[tuple[str, str]]:
    """Read prompts and their categories, each text once and with its first category.

    Raises:
        InputError: the file cannot be read, or no prompt has a category.
    """
    first: dict[str, str] = {}
    for text, category in _read_rows(path):
        if isinstance(text, str) and category is not None:
            first.setdefault(text, str(category))
    if not first:
        raise InputError(
            f"{path} has no prompt with a category; expected the columns prompt and category, as "
            'in {"prompt": "Prove that ...", "category": "maths"}'
        )
    return [*first.items()]


def sample_pairs(pairs: list[tuple[str, str]], n: int, seed: int) -> list[tuple[str, str]]:
    """Draw at most so many, and keep their order."""
    import numpy as np

    if len(pairs) <= n:
        return pairs
    drawn = np.random.default_rng(seed).choice(len(pairs), n, replace=False)
    return [pairs[at] for at in sorted(drawn.tolist())]


def embedding_spaces(
    router: Router, texts: list[str], models: Iterable[str]
) -> dict[str, FloatArray]:
    """Place prompts in the perception's space, its encoder's, and those of language models.

    Raises:
        InputError: the perception has no space, or a model cannot be read.
    """
    from tryage.learning.scoring.language_model import mean_hidden_states
    from tryage.perception.model import LearnedPerception

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


def format_report(found: LatentMap) -> list[str]:
    """Lay the figures out."""
    kinds = len(set(found.categories))
    head = ["space", "numbers", "silhouette [95%]", "purity [95%]"]
    rows = [
        [space.space, f"{space.dim:,}", str(space.silhouette), str(space.purity)]
        for space in found.scores
    ]
    return [
        f"{len(found.categories):,} prompts of {kinds} categories, seed {found.seed}; purity is of "
        f"{found.n_neighbors} neighbours, {found.chance:.3f} by chance.",
        "",
        *format_table([head, *rows]),
    ]


def _read_rows(path: Path) -> Iterable[tuple[object, object]]:
    """Yield prompts with their categories, as they stand in the file."""
    if path.suffix == ".jsonl":
        return [(row.get("prompt"), row.get("category")) for row in read_jsonl(path)]
    from tryage.learning.qtable import QTable

    table = QTable.read(path)
    return zip(table.prompts, table.categories or [None] * len(table), strict=True)


def single_expert_points(
    router: Router, prompts: Sequence[str], constraint: str, preferences: Preferences
) -> SingleExpertPoints:
    """Return where every expert that could answer all prompts stands on its own."""
    weights = {**router.preferences.weights, **preferences.weights, constraint: 1.0}
    wanted = Preferences(weights, preferences.requirements)  # at weight 1 a term is the constraint
    stands: dict[str, list[tuple[float, float]]] = {}
    for decision in router.route_batch(prompts, wanted):
        for ranked in decision.ranking:
            known = constraint not in ranked.unknown
            stands.setdefault(ranked.name, []).append(
                (ranked.terms[constraint] if known else np.nan, ranked.predicted_loss)
            )
    complete = {name: found for name, found in stands.items() if len(found) == len(prompts)}
    return {
        name: (sum(c for c, _ in found) / len(found), sum(q for _, q in found) / len(found))
        for name, found in complete.items()
    }


def experts_without_constraint(points: SingleExpertPoints) -> list[str]:
    """Name the experts whose constraint is unknown."""
    return [name for name, (constraint, _) in points.items() if np.isnan(constraint)]


def draw_front(front: ParetoFront, points: SingleExpertPoints, path: Path) -> Figure:
    """Draw a front as a line, its breakpoints with their weights, and every expert on its own.

    Experts whose constraint is unknown stand apart on the right, though the front counts them as
    the worst.

    Raises:
        InputError: the file name does not say a kind of picture.
        MissingExtraError: matplotlib is not installed.
    """
    require_extra("matplotlib", "evaluate")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.8), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    if path.suffix[1:].lower() not in canvas.get_supported_filetypes():
        raise InputError(f"{path} is no picture that can be drawn; expected .png, .svg or .pdf")
    axes = figure.add_subplot()
    _style_axes(axes, front)
    points = _draw_points(axes, front, points)
    figure.draw_without_rendering()  # fixes the layout, so that labels know where they are
    _LabelPlacer(axes).add_all(front, points)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return figure


def _style_axes(axes: Axes, front: ParetoFront) -> None:
    prompts = front.path.start.size
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"{front.constraint}, 0 best to 1 worst of the library")
    axes.set_ylabel("predicted loss, lower is better")
    many = "one prompt" if prompts == 1 else f"mean of {prompts:,} prompts"
    axes.set_title(
        f"Loss against {front.constraint}: {many}", loc="left", fontsize=11, color=_TEXT_COLOR
    )


def _draw_points(axes: Axes, front: ParetoFront, points: SingleExpertPoints) -> SingleExpertPoints:
    """Draw the front and the experts; return where they stand on the picture."""
    mark = "o" if len(front) <= _MAX_MARKERS else ""
    axes.plot(front.constraints, front.losses, color=_LINE_COLOR, marker=mark, markersize=5,
              linewidth=2, label="routed, from weight 0 up", zorder=3)  # fmt: skip
    known = {name: at for name, at in points.items() if not np.isnan(at[0])}
    x, y = zip(*known.values(), strict=True) if known else ((), ())
    axes.scatter(x, y, s=30, color=_OTHERS_COLOR, edgecolor="white", zorder=2,
                 label="an expert on its own")  # fmt: skip
    axes.margins(0.08)
    apart = _draw_unknown_column(
        axes, front, {name: points[name] for name in experts_without_constraint(points)}
    )
    axes.legend(loc="best", fontsize=9, frameon=False)
    return known | apart


def _draw_unknown_column(
    axes: Axes, front: ParetoFront, unknown: SingleExpertPoints
) -> SingleExpertPoints:
    """Draw experts of unknown constraint right of all others; return where that is."""
    if not unknown:
        return {}
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= min(high, 1.0)]
    aside = high + _UNKNOWN_GAP * (high - low)
    axes.axvline((high + aside) / 2, color=_OTHERS_COLOR, linewidth=1, linestyle=":")
    axes.scatter([aside] * len(unknown), [loss for _, loss in unknown.values()], s=34, marker="D",
                 facecolor="white", edgecolor=_UNKNOWN_COLOR, zorder=2,
                 label=f"its {front.constraint} is unknown: counted as 1")  # fmt: skip
    axes.set_xticks([*ticks, aside], [*(f"{tick:g}" for tick in ticks), "unknown"])
    axes.set_xlim(low, aside + (aside - high) / 2)
    return {name: (aside, loss) for name, (_, loss) in unknown.items()}


class _LabelPlacer:
    """Writes text beside points, each where nothing is drawn yet, or not at all."""

    def __init__(self, axes: Axes) -> None:
        from matplotlib.transforms import Bbox

        self._axes = axes
        line, legend = axes.lines[0], axes.get_legend()
        self._front = line.get_path().transformed(line.get_transform())
        dots = [np.reshape(drawn.get_offsets(), (-1, 2)) for drawn in axes.collections]
        corners = axes.transData.transform(np.concatenate(dots).astype(np.float64))
        self._occupied = [Bbox([corner - _DOT_RADIUS, corner + _DOT_RADIUS]) for corner in corners]
        self._occupied += [] if legend is None else [legend.get_window_extent()]

    def add_all(self, front: ParetoFront, expert_points: SingleExpertPoints) -> None:
        """Name the experts that the front uses most, then tell the weights of some breakpoints."""
        points, most = list(front), dict[str, float]()
        for name, share in ((n, s) for point in points for n, s in point.share.items()):
            most[name] = max(share, most.get(name, 0.0))
        for name in sorted(most, key=lambda name: -most[name])[:_MAX_NAMES]:
            if name in expert_points:
                self._add_label(
                    name.rsplit("/", maxsplit=1)[-1],
                    expert_points[name],
                    _OFFSETS_ABOVE,
                    _TEXT_COLOR,
                )
        for point in points[:: max(1, round(len(points) / _MAX_WEIGHTS))]:
            where = (point.constraint, point.loss)
            self._add_label(f"weight {point.weight:.2g}", where, _OFFSETS_BELOW, _LINE_COLOR)

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
        """Whether text there stays inside the picture and crosses neither the front nor text."""
        inside, picture = self._axes.get_window_extent(), self._axes.figure.bbox
        if box.x0 < inside.x0 or box.y0 < inside.y0 or box.x1 > picture.x1:
            return False
        if self._front.intersects_bbox(box, filled=False):
            return False
        return not any(box.overlaps(other) for other in self._occupied)
