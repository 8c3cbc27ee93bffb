"""The results of an evaluation: as a text table, as a dictionary for JSON, and as pictures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.files import replace_file
from tryage.learning.evaluation.baselines import BEST_SINGLE, CATEGORY_TABLE
from tryage.learning.evaluation.constants import describe_constants
from tryage.learning.evaluation.repeatable import describe_repeatable_gain
from tryage.simulation.metrics import upper_hull

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tryage.learning.evaluation.constants import Constants
    from tryage.learning.evaluation.costs import CostPoint, CostResult
    from tryage.learning.evaluation.metrics import CalibrationMetrics, PairResult
    from tryage.learning.evaluation.repeatable import RepeatableGain
    from tryage.simulation.metrics import Interval

# The palette of Okabe and Ito: its colors can be distinguished with any kind of color vision.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")

OTHERS_COLOR = "#BBBBBB"

TEXT_COLOR = "#333333"

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))

_MAX_NAMED_EXPERTS = 6  # a legend with more names is hard to read

_MAX_CATEGORIES = 20


@dataclass(frozen=True, slots=True)
class ExpertPoint:
    """An expert on its own: mean score and mean cost (USD per request, None = unknown).

    `coverage` is the share of the prompts it was measured on: a mean over few prompts is uncertain.
    """

    name: str
    score: float
    cost: float | None
    coverage: float


@dataclass(frozen=True, slots=True)
class MethodResult:
    """The results of one method on one table, over the prompts of all test parts.

    `lead` is the router's score minus this method's, paired. `optimal_rate` is how often an expert
    that ties for best was chosen, `regret` the mean score lost to the best choice. `gap_closed` is
    the share of the gap from the best single expert to the oracle that the method closes. `pairs`
    is filled for tables of two experts, per source and for "all". `shares` is category -> expert ->
    share of its prompts, the largest category first.
    """

    name: str
    score: Interval
    lead: Interval | None
    optimal_rate: float
    regret: float
    gap_closed: Interval | None = None
    calibration: CalibrationMetrics | None = None
    pairs: Mapping[str, PairResult] = field(default_factory=dict)
    by_source: Mapping[str, float] = field(default_factory=dict)
    by_category: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    cost: CostResult | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of all methods on one table; leads are those of the method named `router`."""

    name: str
    router: str | None
    n_prompts: int
    n_experts: int
    n_folds: int
    seed: int
    results: tuple[MethodResult, ...]
    experts: tuple[ExpertPoint, ...] = ()
    notes: tuple[str, ...] = ()
    constants: Constants | None = None
    repeatable: RepeatableGain | None = None

    def __getitem__(self, method: str) -> MethodResult:
        """Return the result of a method by its name.

        Raises:
            KeyError: the method was not run.
        """
        for result in self.results:
            if result.name == method:
                return result
        raise KeyError(f"{method!r} was not run; there are {[r.name for r in self.results]}")

    def table(self) -> str:
        """Return the results as aligned columns; a column without any value is left out."""
        columns = [
            (header, [format_value(result) for result in self.results])
            for header, format_value in _COLUMNS
        ]
        filled_columns = [(header, cells) for header, cells in columns if any(cells)]
        rows = [
            [header for header, _ in filled_columns],
            *zip(*(cells for _, cells in filled_columns), strict=True),
        ]
        lines = [self._headline(), "", *_align_columns(rows)]
        notes = [*self.notes, *self._pair_notes(), *self._repeatable_notes()]
        notes += self._constant_notes()
        return "\n".join([*lines, *([""] if notes else []), *(f"- {note}" for note in notes)])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return asdict(self)

    def _pair_notes(self) -> list[str]:
        """Explain the order of the values of a pair that has several sources."""
        pairs = next((result.pairs for result in self.results if result.pairs), {})
        if len(pairs) < 2:
            return []
        strong = next(iter(pairs.values())).strong
        return [f"APGR and CPT are of {' / '.join(pairs)}; the strong expert is {strong}."]

    def _repeatable_notes(self) -> list[str]:
        """Say how much of the oracle's gain can be repeated, and what the router has of it."""
        if self.repeatable is None:
            return []
        closed = None if self.router is None else self[self.router].gap_closed
        return list(describe_repeatable_gain(self.repeatable, self.router, closed))

    def _constant_notes(self) -> list[str]:
        """Say what the best constants score, and warn where one beats the router."""
        if self.constants is None:
            return []
        cost = None if self.router is None else self[self.router].cost
        return list(describe_constants(self.constants, self.router, cost))

    def _headline(self) -> str:
        size = f"{self.n_prompts:,} prompts x {self.n_experts:,} experts"
        prefix = f"{self.name}: " if self.name else ""
        return f"{prefix}{size}, {self.n_folds} folds grouped by prompt, seed {self.seed}"


def _pair_cell(result: MethodResult, format_value: Callable[[PairResult], str]) -> str:
    """Show a value of the whole table and of each source of a pair."""
    if "all" not in result.pairs:
        return ""
    return " / ".join(format_value(pair) for pair in result.pairs.values())


def _parity_cell(result: MethodResult) -> str:
    if result.cost is None:
        return ""
    parity = result.cost.parity
    suffix = "" if parity.kept else " (missed)"
    return f"{parity.relative_cost.value:.0%} at {parity.score_difference.value:+.3f}{suffix}"


def _hindsight_cell(result: MethodResult) -> str:
    if result.cost is None:
        return ""
    cost = result.cost.parity.hindsight
    return "none keeps it" if cost is None else f"{cost:.0%}"


def _gain_cell(result: MethodResult) -> str:
    if result.lead is None:
        return ""
    return f"{result.lead.value:+.3f} [{result.lead.low:+.3f}, {result.lead.high:+.3f}]"


_COLUMNS: tuple[tuple[str, Callable[[MethodResult], str]], ...] = (
    ("method", lambda r: r.name),
    ("score [95%]", lambda r: str(r.score)),
    ("router ahead by [95%]", _gain_cell),
    ("optimal", lambda r: f"{r.optimal_rate:.3f}"),
    ("gap closed", lambda r: f"{r.gap_closed.value:.0%}" if r.gap_closed else ""),
    ("regret", lambda r: f"{round(r.regret, 3) + 0.0:.3f}"),  # never "-0.000"
    ("Brier", lambda r: f"{r.calibration.brier:.3f}" if r.calibration else ""),
    ("ECE", lambda r: f"{r.calibration.ece:.3f}" if r.calibration else ""),
    ("optimism", lambda r: f"{r.calibration.optimism:+.3f}" if r.calibration else ""),
    ("APGR", lambda r: _pair_cell(r, lambda p: f"{p.apgr:.3f}")),
    ("CPT50", lambda r: _pair_cell(r, lambda p: f"{p.cpt50:.1%}")),
    ("CPT80", lambda r: _pair_cell(r, lambda p: f"{p.cpt80:.1%}")),
    ("AIQ", lambda r: f"{r.cost.aiq:.3f}" if r.cost else ""),
    ("cost at parity", _parity_cell),
    ("in hindsight", _hindsight_cell),
)


def _align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the first column left and the others right, with a rule under the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def plot_front(
    evaluation: Evaluation, path: Path | None = None, methods: Sequence[str] | None = None
) -> Figure:
    """Draw score over cost (USD per 1,000 requests, log): a front per method, a dot per expert.

    Experts that were not measured on nearly all prompts have no dot. A ring is the point chosen
    for cost at parity. By default the router, the best single expert, the nearest neighbors and
    the category table are drawn.

    Raises:
        InputError: the table had no costs.
        MissingExtraError: matplotlib is not installed.
    """
    method_names = methods or (evaluation.router, BEST_SINGLE, "nearest neighbours", CATEGORY_TABLE)
    fronts = [
        (result.name, result.cost)
        for result in evaluation.results
        if result.name in method_names and result.cost
    ]
    if not fronts:
        raise InputError("no costs were known, so there is no front to draw; add a column cost")
    figure, axes = new_axes(8.2, 5.0)
    for i, (name, cost) in enumerate(fronts):
        line_width = 2.8 if name == evaluation.router else 1.5
        label = "one expert, or two mixed" if name == BEST_SINGLE else name
        axes.plot(*_hull_curve(cost), color=PALETTE[i % 7], linestyle=_LINE_STYLES[i % 7],
                  label=label, linewidth=line_width, zorder=4)  # fmt: skip
    best_single = next((cost.front[0] for name, cost in fronts if name == BEST_SINGLE), None)
    if best_single:
        _mark_parity(axes, fronts, best_single)
    low, high = axes.get_ylim()
    expert_points = [
        expert
        for expert in evaluation.experts
        if expert.cost and expert.score >= low and expert.coverage > 0.95
    ]
    expert_costs = [1000 * (expert.cost or 0) for expert in expert_points]
    expert_scores = [expert.score for expert in expert_points]
    axes.scatter(expert_costs, expert_scores, color=OTHERS_COLOR,
                 edgecolor="white", s=34, label="an expert on its own", zorder=2)  # fmt: skip
    axes.set_ylim(low, high)
    format_dollars(axes)
    axes.set_xlabel("cost, USD per 1,000 requests")
    axes.set_ylabel("mean score")
    _set_title(axes, evaluation, "what a request costs and what it scores")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9)
    return save_figure(figure, path)


def plot_calibration(
    evaluation: Evaluation, path: Path | None = None, methods: Sequence[str] | None = None
) -> Figure:
    """Draw the real over the predicted score per bin, by default for router and nearest neighbors.

    Raises:
        InputError: none of the methods forecasts a score.
        MissingExtraError: matplotlib is not installed.
    """
    method_names = methods or [name for name in (evaluation.router, "nearest neighbours") if name]
    results = [
        result
        for result in evaluation.results
        if result.name in method_names and result.calibration
    ]
    if not results:
        raise InputError(
            f"none of {list(method_names)} forecasts a score; give methods that were run"
        )
    figure, axes = new_axes(5.6, 5.4)
    axes.plot([0, 1], [0, 1], color=TEXT_COLOR, linewidth=1, linestyle=":", label="perfect")
    for i, result in enumerate(results):
        _reliability_diagram(axes, result, i)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_xlabel("predicted score")
    axes.set_ylabel("real score")
    _set_title(axes, evaluation, "predicted and real scores\n(area of a mark: share of the pairs)")
    axes.legend(loc="upper left", fontsize=9)
    return save_figure(figure, path)


def plot_shares(
    evaluation: Evaluation, path: Path | None = None, method: str | None = None
) -> Figure:
    """Draw each expert's share of every category, stacked, as the router or a method chooses.

    The experts with the most prompts have a color each, the others share a gray. At most the 20
    largest categories are drawn.

    Raises:
        InputError: there is neither a router nor a method named.
        MissingExtraError: matplotlib is not installed.
    """
    method_name = method or evaluation.router
    if method_name is None:
        raise InputError("nothing to draw: no router was evaluated; name a method")
    shares = evaluation[method_name].shares
    categories = list(shares)[:_MAX_CATEGORIES]
    named_experts = _most_chosen([shares[category] for category in categories])
    figure, axes = new_axes(9.0, 1.9 + 0.3 * len(categories))
    bar_starts = np.zeros(len(categories))
    for i, expert in enumerate(named_experts):
        bar_widths = np.array([shares[category].get(expert, 0.0) for category in categories])
        axes.barh(categories, bar_widths, left=bar_starts, color=PALETTE[i],
                  label=_short_name(expert), edgecolor="white", linewidth=0.6)  # fmt: skip
        bar_starts += bar_widths
    if (bar_starts < 0.995).any():
        axes.barh(categories, 1 - bar_starts, left=bar_starts, color=OTHERS_COLOR, label="others",
                  edgecolor="white", linewidth=0.6)  # fmt: skip
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the prompts")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    axes.grid(visible=False)
    suffix = f" ({len(categories)} largest)" if len(categories) < len(shares) else ""
    _set_title(axes, evaluation, f"chosen experts by category{suffix}: {method_name}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9)
    return save_figure(figure, path)


def _most_chosen(shares: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the experts that get a name, those with the largest shares first."""
    totals: dict[str, float] = {}
    for expert_shares in shares:
        for expert, share in expert_shares.items():
            totals[expert] = totals.get(expert, 0.0) + share
    return sorted(totals, key=lambda expert: -totals[expert])[:_MAX_NAMED_EXPERTS]


def format_dollars(axes: Axes) -> None:
    """Make the cost axis logarithmic, with plain numbers at 1, 2 and 5 of every decade."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _hull_curve(cost: CostResult) -> tuple[list[float], list[float]]:
    """Return points of the hull, close together: a mixture is a curve on a logarithmic axis."""
    points = [(point.cost, point.score) for point in cost.front]
    x, y = upper_hull(*np.array(points).T)
    grid = np.unique(np.concatenate([x, np.geomspace(x[0], x[-1], 200)]))
    return (1000 * grid).tolist(), np.interp(grid, x, y).tolist()


def _mark_parity(
    axes: Axes, fronts: Sequence[tuple[str, CostResult]], best_single: CostPoint
) -> None:
    """Draw a ring at the point of each front that was chosen without the test part."""
    for i, (name, cost) in enumerate(fronts):
        if name == BEST_SINGLE:
            continue
        axes.scatter(
            1000 * best_single.cost * cost.parity.relative_cost.value,
            best_single.score + cost.parity.score_difference.value,
            s=90,
            facecolor="white",
            edgecolor=PALETTE[i % 7],
            linewidth=2,
            zorder=5,
        )
    axes.scatter([], [], s=90, facecolor="white", edgecolor=TEXT_COLOR, linewidth=2,
                 label="chosen for parity")  # fmt: skip
    axes.scatter(1000 * best_single.cost, best_single.score, s=130, marker="*", color=TEXT_COLOR,
                 zorder=6, label="best single expert")  # fmt: skip


def _reliability_diagram(axes: Axes, result: MethodResult, i: int) -> None:
    """Draw the bins of one method in the color of number `i`; dots are as large as their weight."""
    calibration = result.calibration
    if calibration is None:
        return
    axes.plot(
        calibration.predicted, calibration.real, color=PALETTE[i % 7], linewidth=1.2, zorder=2
    )
    axes.scatter(
        calibration.predicted,
        calibration.real,
        s=[14 + 500 * weight for weight in calibration.weight],
        color=PALETTE[i % 7],
        marker=_MARKERS[i % 7],
        alpha=0.75,
        edgecolor="white",
        zorder=3,
    )
    axes.plot([], [], color=PALETTE[i % 7], marker=_MARKERS[i % 7],
              label=f"{result.name} (ECE {calibration.ece:.3f})")  # fmt: skip


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of this size in inches, without pyplot's global state, window or backend.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_extra("matplotlib", "evaluate")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Make a figure with one plain panel."""
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _set_title(axes: Axes, evaluation: Evaluation, text: str) -> None:
    name = f"{evaluation.name}: " if evaluation.name else ""
    axes.set_title(name + text, loc="left", fontsize=11, color=TEXT_COLOR)


def _short_name(name: str, length: int = 32) -> str:
    """Return a Hub id without its owner, cut to `length` characters."""
    model_name = name.rsplit("/", maxsplit=1)[-1]
    return model_name if len(model_name) <= length else model_name[: length - 1] + "…"


def save_figure(figure: Figure, path: Path | None) -> Figure:
    """Write a picture in the format of its suffix; a stop leaves the old one or the new one."""
    if path is not None:
        with replace_file(path) as partial_path:
            figure.savefig(partial_path, format=path.suffix[1:].lower() or None)
    return figure
