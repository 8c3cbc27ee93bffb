"""Calibration: predicted against measured losses, by bins and by model, and what intervals hold."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.uncertainty import LEVELS
from tryage.core.validation import check_integer
from tryage.errors import InputError, QTableError
from tryage.learning.charts.chart import Axis, Chart, Line, Panel, Points, Rule
from tryage.learning.charts.style import OTHERS_STYLE, PALETTE, Style, short_name
from tryage.learning.plots.plot import Plot, count_text
from tryage.learning.traffic_report.intervals import mean_score
from tryage.perception.wrappers import AlignedPerception

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import BoolArray, Float64Array, IndexArray
    from tryage.core.perception import Prediction
    from tryage.core.uncertainty import UncertaintyCalibration
    from tryage.learning.charts.chart import Mark
    from tryage.learning.traffic_report.intervals import Estimate
    from tryage.router import Router
    from tryage.scoring.qtable import QTable

SHOWN_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

MAIN_LEVEL = 0.9

_MIN_BIN = 20  # pairs of a bin of one model; with fewer bins it has more of them

_MAX_NAMED = 10  # models with a label, those farthest from the diagonal first

_MAX_PANELS = 12  # models with a panel of their own

_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """`n` pairs of prompt and model with similar predictions, and their mean measured loss.

    `low` and `high` are the 95% interval of `measured`, over prompts.
    """

    predicted: float
    measured: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which share of the measured losses lies in the intervals of a level, with a 95% interval."""

    level: float
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ModelCalibration:
    """How right the predictions for one model are, all pairs of it in `total`.

    `error` is the mean distance between predicted and measured loss over `bins`, weighted by their
    pairs: the expected calibration error over bins of equal size (Nixon et al., 2019). `coverage`
    has `SHOWN_LEVELS`, and is empty if the router has measured no intervals.
    """

    name: str
    total: CalibrationBin
    error: float
    bins: tuple[CalibrationBin, ...]
    coverage: tuple[Coverage, ...] = ()

    def covered(self, level: float) -> Coverage | None:
        """Return the coverage of a level, None without intervals."""
        return next((one for one in self.coverage if one.level == level), None)


@dataclass(frozen=True, slots=True)
class CalibrationPlot(Plot):
    """Predicted and measured losses of all pairs in `total`, and of each model."""

    n_prompts: int
    total: ModelCalibration
    models: tuple[ModelCalibration, ...]
    name: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values for JSON."""
        return asdict(self)

    def title(self) -> str:
        """Return in one sentence what was found."""
        prefix = f"{self.name}: predicted" if self.name else "Predicted"
        text = f"{prefix} losses are {self.total.error:.3f} off on average"
        covered = self.total.covered(MAIN_LEVEL)
        if covered is None:
            return text
        return f"{text}, and the {MAIN_LEVEL:.0%} intervals hold {covered.share:.1%} of the answers"

    def chart(self) -> Chart:
        """Return the picture: all pairs by bins, each model, and the intervals if there are any."""
        panels = [self._bins_panel(), self._models_panel()]
        panels += [self._coverage_panel()] if self.total.coverage else []
        return Chart(
            self.title(),
            tuple(panels),
            self._describe(),
            note=self._note(),
            size=(4.6 * len(panels), 5.4),
            columns=len(panels),
            legend="below",
        )

    def models_chart(self) -> Chart:
        """Return a picture with a panel for each of the 12 models with the most measurements."""
        shown = self.models[:_MAX_PANELS]
        columns = min(4, len(shown))
        worst = max(shown, key=lambda one: one.error)
        return Chart(
            f"Predictions are off most for {short_name(worst.name)}: by {worst.error:.3f}",
            tuple(self._model_panel(one) for one in shown),
            self._describe(),
            note=self._note(),
            size=(3.0 * columns, 3.0 * -(-len(shown) // columns) + 1.2),
            columns=columns,
            legend="none",
        )

    def _note(self) -> str:
        return (
            f"{self.total.total.n:,} measured losses of {count_text(len(self.models), 'model')} on "
            f"{count_text(self.n_prompts, 'prompt')}; bins of equal size, bars are 95% intervals "
            "over prompts. On the diagonal, predictions are right on average."
        )

    def _describe(self) -> str:
        total = self.total.total
        covered = self.total.covered(MAIN_LEVEL)
        text = (
            f"The mean predicted loss is {total.predicted:.3f}, the measured one "
            f"{total.measured:.3f}; over bins they differ by {self.total.error:.3f} on average."
        )
        if covered is None:
            return f"{text} The router has measured no intervals."
        return (
            f"{text} Intervals of {MAIN_LEVEL:.0%} hold {covered.share:.1%} "
            f"[{covered.low:.1%}, {covered.high:.1%}] of the single losses."
        )

    def _limits(self) -> tuple[float, float]:
        every = [self.total, *self.models]
        bins = [one for model in every for one in (*model.bins, model.total)]
        low = min(min(one.low, one.predicted) for one in bins)
        high = max(max(one.high, one.predicted) for one in bins)
        margin = 0.05 * (high - low or 1.0)
        return low - margin, high + margin

    def _bins_panel(self) -> Panel:
        limits = self._limits()
        style = Style(PALETTE[0], "circle", size=8)
        marks = (
            Rule("right on average", "diagonal"),
            _bin_line(self.total.bins),
            _bin_points("all pairs of prompt and model, by bins", self.total.bins, style),
        )
        x, y = Axis("predicted loss", limits=limits), Axis("measured loss", limits=limits)
        return Panel(x, y, marks, "All models")

    def _models_panel(self) -> Panel:
        """Draw a point for each model, those farthest from the diagonal with their names."""
        order = sorted(self.models, key=lambda one: -abs(one.total.predicted - one.total.measured))
        totals = [one.total for one in order]
        labels = [short_name(one.name) for one in order[:_MAX_NAMED]]
        names = [one.name for one in order]
        points = _bin_points("a model, mean of its prompts", totals, OTHERS_STYLE, names, labels)
        limits = self._limits()
        x, y = (
            Axis("predicted loss, mean", limits=limits),
            Axis("measured loss, mean", limits=limits),
        )
        return Panel(x, y, (Rule("right on average", "diagonal"), points), "Each model")

    def _coverage_panel(self) -> Panel:
        levels = [one.level for one in self.total.coverage]
        shares = [one.share for one in self.total.coverage]
        lows, highs = (
            [one.low for one in self.total.coverage],
            [one.high for one in self.total.coverage],
        )
        style = Style(PALETTE[1], "square", size=8)
        marks: list[Mark] = [
            Rule("right on average", "diagonal"),
            Line("_", levels, shares, Style(PALETTE[1], width=1.4, dash="dashed")),
            Points("measured losses inside", levels, shares, style, low=lows, high=highs),
        ]
        low = min(0.45, *lows) - 0.02
        x = Axis("level of the interval", "percent", limits=(0.45, 1.0))
        y = Axis("losses inside", "percent", limits=(low, 1.01))
        return Panel(x, y, tuple(marks), "Intervals of single answers")

    def _model_panel(self, model: ModelCalibration) -> Panel:
        style, limits = Style(PALETTE[0], "circle", size=6), self._limits()
        marks = (
            Rule("_diagonal", "diagonal"),
            _bin_line(model.bins),
            _bin_points("_bins", model.bins, style),
        )
        covered = model.covered(MAIN_LEVEL)
        text = "" if covered is None else f"\n{covered.share:.0%} in the {MAIN_LEVEL:.0%} intervals"
        title = f"{short_name(model.name)}{text}"
        return Panel(
            Axis("predicted loss", limits=limits), Axis("measured", limits=limits), marks, title
        )


def _bin_line(bins: Sequence[CalibrationBin]) -> Line:
    x, y = [one.predicted for one in bins], [one.measured for one in bins]
    return Line("_bins", x, y, Style(PALETTE[0], width=1.4))


def _bin_points(
    name: str,
    bins: Sequence[CalibrationBin],
    style: Style,
    names: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> Points:
    x, y = [one.predicted for one in bins], [one.measured for one in bins]
    low, high = [one.low for one in bins], [one.high for one in bins]
    return Points(name, x, y, style, low=low, high=high, names=names, labels=labels)


def calibration_plot(
    router: Router, table: QTable, *, name: str = "", n_bins: int = 10
) -> CalibrationPlot:
    """Compare the losses that a router predicts with measured ones, which it should not have seen.

    Args:
        router: Its experts that the table has are judged.
        table: Measured losses.
        name: What the picture says it is about.
        n_bins: Into how many bins of equal size all pairs are divided.

    Raises:
        InputError: the router has no expert of the table, or the number of bins is wrong.
        QTableError: no loss was measured.
        PerceptionError: the prediction fails.
    """
    check_integer("n_bins", n_bins, 1)
    known = [expert for expert in table.experts if expert in router.library]
    if not known:
        raise InputError(
            f"The router has none of the experts of the table ({', '.join(table.experts[:5])}); "
            "give a table with models that it knows."
        )
    part = table.select(known)
    part = part.take(np.flatnonzero(part.measured.any(axis=1)))
    if not len(part):
        raise QTableError("The table has no measured loss of an expert that the router knows.")
    library = router.library.subset(known)
    prediction = AlignedPerception(router.perception, library).predict(part.prompts)
    order = [library.index(expert) for expert in known]
    return _compare(part, prediction.select((slice(None), order)), name, n_bins)


def _compare(table: QTable, prediction: Prediction, name: str, n_bins: int) -> CalibrationPlot:
    """Return the plot of measured losses and predictions with the same columns."""
    inside = _inside(prediction, np.asarray(table.losses, np.float64))
    everything = _calibration("all", table, prediction, inside, table.measured, n_bins)
    models = []
    for column, expert in enumerate(table.experts):
        selected = np.zeros_like(table.measured)
        selected[:, column] = table.measured[:, column]
        if selected.any():
            bins = int(np.clip(selected.sum() // _MIN_BIN, 1, n_bins))
            models.append(_calibration(expert, table, prediction, inside, selected, bins))
    models.sort(key=lambda one: -one.total.n)
    return CalibrationPlot(len(table), everything, tuple(models), name)


def _calibration(  # noqa: PLR0913 - tables of the same shape, and what is taken of them
    name: str,
    table: QTable,
    prediction: Prediction,
    inside: dict[float, BoolArray],
    selected: BoolArray,
    n_bins: int,
) -> ModelCalibration:
    predicted = np.asarray(prediction.losses, np.float64)[selected]
    measured = np.asarray(table.losses, np.float64)[selected]
    groups = np.broadcast_to(table.groups[:, None], selected.shape)[selected]
    bins = tuple(
        _bin(predicted[rows], measured[rows], groups[rows])
        for rows in _equal_bins(predicted, n_bins)
    )
    distances = sum(one.n * abs(one.predicted - one.measured) for one in bins)
    coverage = [_coverage(level, within[selected], groups) for level, within in inside.items()]
    return ModelCalibration(
        name, _bin(predicted, measured, groups), distances / len(measured), bins, tuple(coverage)
    )


def _equal_bins(values: Float64Array, n_bins: int) -> list[IndexArray]:
    """Return the rows of each bin of nearly equal size; equal values are in one bin."""
    order = np.argsort(values, kind="stable")
    edges = np.linspace(0, len(values), min(n_bins, len(values)) + 1).astype(np.intp)[1:-1]
    sorted_values = values[order]
    first_of_value = np.unique(np.searchsorted(sorted_values, sorted_values[edges]))
    return [rows for rows in np.split(order, first_of_value) if rows.size]


def _bin(predicted: Float64Array, measured: Float64Array, groups: IndexArray) -> CalibrationBin:
    mean = float(measured.mean())
    low, high = _interval(measured, groups)
    return CalibrationBin(float(predicted.mean()), mean, low, high, len(measured))


def _interval(values: Float64Array, groups: IndexArray) -> tuple[float, float]:
    """Return the 95% interval of a mean over prompts: Wilson's from 0 to 1, else the normal one."""
    if values.min() >= 0 and values.max() <= 1:
        found: Estimate | None = mean_score(values, groups)
        return (0.0, 1.0) if found is None else (found.low, found.high)
    mean = float(values.mean())
    codes = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(codes, values - mean)
    half = _Z95 * math.sqrt(float((sums**2).sum())) / len(values)
    return mean - half, mean + half


def _inside(prediction: Prediction, losses: Float64Array) -> dict[float, BoolArray]:
    """Return which losses lie in their interval at each level, `(n_prompts, n_experts)` each."""
    uncertainty = prediction.uncertainty
    if uncertainty is None:
        return {}
    predicted, std = (np.asarray(one, np.float64) for one in (prediction.losses, prediction.std))
    spread = np.sqrt(std**2 + np.asarray(uncertainty.outcome_std(predicted)) ** 2)
    is_anything = std >= uncertainty.max_std  # nothing is known: the whole range
    return {
        level: np.asarray(
            is_anything | (np.abs(losses - predicted) <= _quantile(uncertainty, level) * spread)
        )
        for level in SHOWN_LEVELS
    }


def _quantile(uncertainty: UncertaintyCalibration, level: float) -> float:
    """Return how many standard deviations half an interval of a single answer is long."""
    return float(np.interp(level, LEVELS, uncertainty.answer_quantiles))


def _coverage(level: float, inside: BoolArray, groups: IndexArray) -> Coverage:
    found = mean_score(inside.astype(np.float64), groups)
    if found is None:
        raise QTableError("No loss was measured, so no interval can be judged.")
    return Coverage(level, found.value, found.low, found.high)
