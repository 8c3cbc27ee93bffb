"""The results of an evaluation: as a text table, as a dictionary for JSON, and as pictures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import InputError
from tryage.learning.charts.chart import Axis, Bars, Chart, Line, Panel, Points, Rule
from tryage.learning.charts.pictures import save_chart
from tryage.learning.charts.style import (
    OTHERS_STYLE,
    TEXT_COLOR,
    Style,
    fill_style,
    line_style,
    point_style,
    short_name,
    shorten,
)
from tryage.learning.evaluation.baselines import BEST_SINGLE, CATEGORY_TABLE
from tryage.learning.evaluation.constants import describe_constants
from tryage.learning.evaluation.repeatable import describe_repeatable_gain
from tryage.simulation.metrics import upper_hull

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tryage.learning.charts.chart import Mark
    from tryage.learning.evaluation.constants import Constants
    from tryage.learning.evaluation.costs import CostPoint, CostResult
    from tryage.learning.evaluation.metrics import CalibrationMetrics, PairResult
    from tryage.learning.evaluation.repeatable import RepeatableGain
    from tryage.simulation.metrics import Interval

_MAX_NAMED_EXPERTS = 6  # a legend with more names is hard to read

_MAX_CATEGORIES = 20

_BELOW = 0.18  # of the height: how far below the fronts an expert may lie to be drawn

_MIN_COVERAGE = 0.95  # of the prompts; a mean over fewer is over other ones

_SMALL_BIN = 0.02  # of the pairs


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
        lines = [self.headline(), "", *_align_columns(rows)]
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

    def headline(self) -> str:
        """Return on what the methods were compared."""
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
) -> Chart:
    """Draw score over cost (USD per 1,000 requests, log): a front per method, a dot per expert.

    Experts that were not measured on nearly all prompts have no dot. A ring is the point chosen
    for cost at parity. By default the router, the best single expert, the nearest neighbors and
    the category table are drawn.

    Raises:
        InputError: the table had no costs.
        MissingExtraError: matplotlib or plotly is not installed.
    """
    method_names = methods or (evaluation.router, BEST_SINGLE, "nearest neighbours", CATEGORY_TABLE)
    fronts = [
        (result.name, result.cost)
        for result in evaluation.results
        if result.name in method_names and result.cost
    ]
    if not fronts:
        raise InputError("no costs were known, so there is no front to draw; add a column cost")
    lines = [_front_line(name, cost, i, evaluation) for i, (name, cost) in enumerate(fronts)]
    drawn = [score for line in lines for score in line.y]
    low = min(drawn) - _BELOW * (max(drawn) - min(drawn)) - 0.005
    marks: list[Mark] = [_expert_points(evaluation, low), *lines[::-1]]
    best_single = next((cost.front[0] for name, cost in fronts if name == BEST_SINGLE), None)
    if best_single:
        marks += _parity_points(fronts, best_single)
    x = Axis("cost, USD per 1,000 requests", "dollars", is_log=True)
    highest = max([*drawn, *(y for mark in marks if isinstance(mark, Points) for y in mark.y)])
    y = Axis("mean score", limits=(low, highest + 0.06 * (highest - low)))
    text = "what a request costs and what it scores"
    return _saved(_chart(evaluation, text, Panel(x, y, tuple(marks)), size=(9.4, 5.2)), path)


def plot_calibration(
    evaluation: Evaluation, path: Path | None = None, methods: Sequence[str] | None = None
) -> Chart:
    """Draw the real over the predicted score per bin, by default for router and nearest neighbors.

    Raises:
        InputError: none of the methods forecasts a score.
        MissingExtraError: matplotlib or plotly is not installed.
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
    marks: list[Mark] = [Rule("perfect", "diagonal")]
    marks += [mark for i, result in enumerate(results) for mark in _reliability_marks(result, i)]
    x, y = (Axis(f"{word} score", limits=(-0.02, 1.02)) for word in ("predicted", "real"))
    panel = Panel(x, y, tuple(marks))
    text = "predicted and real scores (small marks: less than 2% of the pairs)"
    return _saved(_chart(evaluation, text, panel, size=(8.6, 5.4)), path)


def plot_shares(
    evaluation: Evaluation, path: Path | None = None, method: str | None = None
) -> Chart:
    """Draw each expert's share of every category, stacked, as the router or a method chooses.

    The experts with the most prompts have a color each, the others share a gray. At most the 20
    largest categories are drawn.

    Raises:
        InputError: there is neither a router nor a method named.
        MissingExtraError: matplotlib or plotly is not installed.
    """
    method_name = method or evaluation.router
    if method_name is None:
        raise InputError("nothing to draw: no router was evaluated; name a method")
    shares = evaluation[method_name].shares
    categories = list(shares)[:_MAX_CATEGORIES]
    ticks = tuple((float(i), shorten(name)) for i, name in enumerate(categories))
    y = Axis(limits=(-0.6, len(categories) - 0.4), ticks=ticks, is_reversed=True)
    x = Axis("share of the prompts", "percent", limits=(0.0, 1.0))
    marks = share_bars([shares[category] for category in categories])
    suffix = f" ({len(categories)} largest)" if len(categories) < len(shares) else ""
    text = f"chosen experts by category{suffix}: {method_name}"
    size = 9.4, 2.3 + 0.3 * len(categories)
    return _saved(_chart(evaluation, text, Panel(x, y, tuple(marks)), size=size), path)


def share_bars(shares: Sequence[Mapping[str, float]]) -> list[Bars]:
    """Stack the shares of each row as horizontal bars; all but the most chosen share a gray."""
    named, starts, positions = _most_chosen(shares), np.zeros(len(shares)), range(len(shares))
    bars = []
    for i, name in enumerate(named):
        widths = np.array([row.get(name, 0.0) for row in shares])
        bars.append(Bars(short_name(name), positions, widths.tolist(), fill_style(i),
                         starts.tolist(), 0.8, is_horizontal=True))  # fmt: skip
        starts = starts + widths
    if (starts < 0.995).any():
        rest = np.maximum(1 - starts, 0.0)
        bars.append(Bars("others", positions, rest.tolist(), OTHERS_STYLE, starts.tolist(), 0.8,
                         is_horizontal=True))  # fmt: skip
    return bars


def _most_chosen(shares: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the experts that get a name, those with the largest shares first."""
    totals: dict[str, float] = {}
    for expert_shares in shares:
        for expert, share in expert_shares.items():
            totals[expert] = totals.get(expert, 0.0) + share
    return sorted(totals, key=lambda expert: -totals[expert])[:_MAX_NAMED_EXPERTS]


def _hull_curve(cost: CostResult) -> tuple[list[float], list[float]]:
    """Return points of the hull, close together: a mixture is a curve on a logarithmic axis."""
    points = [(point.cost, point.score) for point in cost.front]
    x, y = upper_hull(*np.array(points).T)
    grid = np.unique(np.concatenate([x, np.geomspace(x[0], x[-1], 200)]))
    return (1000 * grid).tolist(), np.interp(grid, x, y).tolist()


def _front_line(name: str, cost: CostResult, i: int, evaluation: Evaluation) -> Line:
    """Draw the front of a method, the router's with a wider line."""
    x, y = _hull_curve(cost)
    label = "one expert, or two mixed" if name == BEST_SINGLE else name
    return Line(label, x, y, line_style(i, 2.8 if name == evaluation.router else 1.8))


def _expert_points(evaluation: Evaluation, low: float) -> Points:
    """Draw the experts that were measured on nearly all prompts, the best first."""
    experts = [
        expert
        for expert in evaluation.experts
        if expert.cost and expert.score >= low and expert.coverage > _MIN_COVERAGE
    ]
    experts.sort(key=lambda expert: -expert.score)
    names = [expert.name for expert in experts]
    labels = [short_name(name) for name in names[:_MAX_NAMED_EXPERTS]]
    costs = [1000 * (expert.cost or 0) for expert in experts]
    scores = [expert.score for expert in experts]
    return Points("an expert on its own", costs, scores, OTHERS_STYLE, names=names, labels=labels)


def _parity_points(
    fronts: Sequence[tuple[str, CostResult]], best_single: CostPoint
) -> list[Points]:
    """Draw a ring at the point of each front that was chosen without the test part."""
    routed = [name for name, _ in fronts if name != BEST_SINGLE]
    rings = [
        Points(
            "chosen for parity" if name == routed[0] else f"_{name}",
            (1000 * best_single.cost * cost.parity.relative_cost.value,),
            (best_single.score + cost.parity.score_difference.value,),
            Style(line_style(i).color, "circle", size=10, is_hollow=True),
            names=(f"{name}, chosen for parity",),
        )
        for i, (name, cost) in enumerate(fronts)
        if name != BEST_SINGLE
    ]
    star = Style(TEXT_COLOR, "star", size=15)
    x, y = (1000 * best_single.cost,), (best_single.score,)
    return [*rings, Points("best single expert", x, y, star, names=(BEST_SINGLE,))]


def _reliability_marks(result: MethodResult, i: int) -> list[Mark]:
    """Draw the bins of one method as number `i`; bins of few pairs have small marks."""
    calibration = result.calibration
    if calibration is None:
        return []
    style = point_style(i, 10.0)
    label = f"{result.name} (ECE {calibration.ece:.3f})"
    marks: list[Mark] = [
        Line(f"_{result.name}", calibration.predicted, calibration.real,
             Style(style.color, width=1.4, dash=line_style(i).dash))
    ]  # fmt: skip
    for is_large, size, name in ((True, 10.0, label), (False, 5.0, f"_{result.name} small")):
        bins = [
            (predicted, real)
            for predicted, real, weight in zip(
                calibration.predicted, calibration.real, calibration.weight, strict=True
            )
            if (weight >= _SMALL_BIN) is is_large
        ]
        if bins or is_large:
            x, y = zip(*bins, strict=True) if bins else ((), ())
            marks.append(Points(name, x, y, point_style(i, size)))
    return marks


def _chart(evaluation: Evaluation, text: str, panel: Panel, *, size: tuple[float, float]) -> Chart:
    name = f"{evaluation.name}: " if evaluation.name else ""
    note = evaluation.headline() + "; the test parts of all folds"
    return Chart(name + text, (panel,), f"{name}{text}. {note}.", note=note + ".", size=size)


def _saved(chart: Chart, path: Path | None) -> Chart:
    if path is not None:
        save_chart(chart, path)
    return chart
