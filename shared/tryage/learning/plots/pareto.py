"""The front of predicted loss against one constraint, with its breakpoints and each model alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from tryage.core.preferences import Preferences
from tryage.learning.charts.chart import Axis, Chart, Line, Panel, Points, Rule
from tryage.learning.charts.style import OTHERS_STYLE, PALETTE, Style, short_name
from tryage.learning.charts.ticks import format_number
from tryage.learning.plots.plot import Plot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.pareto import ParetoFront
    from tryage.learning.charts.chart import Mark
    from tryage.router import Router

SingleExpertPoints: TypeAlias = "Mapping[str, tuple[float, float]]"
"""Expert -> (mean constraint, NaN if unknown; mean predicted loss), if it answered every prompt."""

_MAX_NAMES, _MAX_WEIGHTS = 8, 5  # more text on one picture cannot be read

_MAX_MARKERS = 40  # with more breakpoints only the line is drawn

_UNKNOWN_GAP = 0.12  # of the width, between the last known constraint and the unknown ones

_MIN_TICKS = 3

_MARGIN = 0.08  # of the width, on either side


@dataclass(frozen=True, slots=True, eq=False)
class ParetoPlot(Plot):
    """A front, and the point of each expert that may answer all prompts.

    Experts with an unknown constraint are drawn in a column of their own on the right, although the
    front counts them as the worst.
    """

    front: ParetoFront
    points: SingleExpertPoints

    @property
    def experts_without_constraint(self) -> list[str]:
        """The experts with an unknown constraint."""
        return [name for name, (constraint, _) in self.points.items() if math.isnan(constraint)]

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values for JSON; an unknown constraint is None."""
        experts = {
            name: {"constraint": None if math.isnan(x) else x, "loss": loss}
            for name, (x, loss) in self.points.items()
        }
        return {"front": self.front.to_dict(), "experts": experts}

    def chart(self) -> Chart:
        """Return the picture."""
        constraint, n_prompts = self.front.constraint, self.front.path.start.size
        low, high = self._range()
        unknown = self.experts_without_constraint
        column = high + _UNKNOWN_GAP * (high - low)
        marks: list[Mark] = [self._experts()]
        if unknown:
            marks += self._unknown_column(unknown, column, (high + column) / 2)
        marks += [self._line(), self._weights()]
        ticks = (*_ticks(low, high), (column, "unknown")) if unknown else None
        limits = (low, column + (column - high) / 2) if unknown else (low, high)
        scope = "one prompt" if n_prompts == 1 else f"mean of {n_prompts:,} prompts"
        x = Axis(f"{constraint}, 0 best to 1 worst of the library", limits=limits, ticks=ticks)
        first, last = self.front.losses[0], self.front.losses[-1]
        return Chart(
            f"Loss against {constraint}: {scope}",
            (Panel(x, Axis("predicted loss, lower is better"), tuple(marks)),),
            f"The mean predicted loss goes from {first:.3f} to {last:.3f} as the weight "
            f"of {constraint} rises; {len(self.front)} breakpoints.",
            size=(9.4, 5.0),
        )

    def _range(self) -> tuple[float, float]:
        """Return the ends of the axis of known constraints."""
        known = [x for x, _ in self.points.values() if not math.isnan(x)]
        values = [*known, *self.front.constraints.tolist()]
        width = max(values) - min(values) or 1.0
        return min(values) - _MARGIN * width, max(values) + _MARGIN * width

    def _line(self) -> Line:
        marker = "circle" if len(self.front) <= _MAX_MARKERS else None
        x, y = self.front.constraints.tolist(), self.front.losses.tolist()
        return Line("routed, from weight 0 up", x, y, Style(PALETTE[0], marker, size=6))

    def _weights(self) -> Points:
        """Write the weights of some breakpoints beside them."""
        points = list(self.front)
        some = points[:: max(1, round(len(points) / _MAX_WEIGHTS))]
        texts = [f"weight {format_number(float(f'{point.weight:.2g}'))}" for point in some]
        x, y = [point.constraint for point in some], [point.loss for point in some]
        return Points(
            "_weights", x, y, Style(PALETTE[0], "circle", size=6), names=texts, labels=texts
        )

    def _experts(self) -> Points:
        """Draw the experts, those with the largest shares first and with their names."""
        known = {name: point for name, point in self.points.items() if not math.isnan(point[0])}
        named = [name for name in _most_used(self.front) if name in known][:_MAX_NAMES]
        order = [*named, *(name for name in known if name not in named)]
        x, y = zip(*(known[name] for name in order), strict=True) if order else ((), ())
        labels = [short_name(name) if name in named else "" for name in order]
        return Points("an expert on its own", x, y, OTHERS_STYLE, names=order, labels=labels)

    def _unknown_column(self, names: Sequence[str], column: float, rule: float) -> list[Mark]:
        style = Style(PALETTE[1], "diamond", size=7, is_hollow=True)
        losses = [self.points[name][1] for name in names]
        label = f"its {self.front.constraint} is unknown: counted as 1"
        shown = [short_name(one) if one in _most_used(self.front) else "" for one in names]
        return [
            Rule("_", "vertical", rule),
            Points(label, [column] * len(losses), losses, style, names=names, labels=shown),
        ]


def pareto_plot(
    router: Router, prompts: Sequence[str], front: ParetoFront, preferences: Preferences
) -> ParetoPlot:
    """Return a front of a router with the points of all experts that may answer every prompt.

    Raises:
        NoExpertError: no expert meets the requirements.
    """
    constraint = front.constraint
    return ParetoPlot(front, single_expert_points(router, prompts, constraint, preferences))


def single_expert_points(
    router: Router, prompts: Sequence[str], constraint: str, preferences: Preferences
) -> SingleExpertPoints:
    """Return the point of every expert that may answer all prompts."""
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


def _ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Return round numbers of the axis, at most 1."""
    for n in (5, 10, 20, 100):
        found = [i / n for i in range(n + 1) if low <= i / n <= high]
        if len(found) >= _MIN_TICKS:
            break
    return tuple((one, f"{one:g}") for one in found)


def _most_used(front: ParetoFront) -> list[str]:
    """Sort experts by their largest share of the prompts at any breakpoint, descending."""
    largest_shares: dict[str, float] = {}
    for point in front:
        for name, share in point.share.items():
            largest_shares[name] = max(share, largest_shares.get(name, 0.0))
    return sorted(largest_shares, key=lambda name: -largest_shares[name])
