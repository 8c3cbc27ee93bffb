"""The front of score and cost: routing at every weight of costs, each model alone, and the oracle.

It is drawn from a simulation: of measured outcomes, of a log, or of what a router predicts for
prompts that nobody has answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.request import ConversationContext
from tryage.core.validation import check_strings
from tryage.errors import InputError
from tryage.learning.charts.chart import Axis, Chart, Line, Panel, Points
from tryage.learning.charts.style import (
    OTHERS_STYLE,
    PALETTE,
    TEXT_COLOR,
    Style,
    point_style,
    short_name,
)
from tryage.learning.plots.plot import Plot, count_text
from tryage.simulation.compare import compare_predicted, compare_without_policies
from tryage.simulation.data import read_data
from tryage.simulation.metrics import PARITY_TOLERANCE, upper_hull
from tryage.simulation.stream import DAY, FIRST_DAY, RequestStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.learning.charts.chart import Mark
    from tryage.router import Router
    from tryage.scoring.qtable import QTable
    from tryage.simulation.result import RunSummary, Simulation

_MAX_NAMED = 10  # single models with a label, those that no cheaper one beats first

_CURVE_POINTS = 300

_BELOW = 0.18  # of the height: how far below everything else a single model may lie to be drawn

_NOT_IN_TABLE = "Left out, because the table does not have them"  # a router has hundreds

_NOW = "your preferences now"

_PER = 1_000  # requests of which the cost is shown


@dataclass(frozen=True, slots=True)
class FrontPlot(Plot):
    """Score over cost of a simulation; `name` says on what, and `notes` what it lacks.

    `is_predicted` means that no score was measured.
    """

    simulation: Simulation
    name: str = ""
    is_predicted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values for JSON."""
        return {"is_predicted": self.is_predicted, **self.simulation.to_dict()}

    def chart(self) -> Chart:
        """Return the picture.

        Raises:
            InputError: no cost is known.
        """
        found = self.simulation
        runs = [one for one in (*found.policies, found.plain) if _has_point(one)]
        if not runs or not any(one.cost > 0 for one in found.thresholds):
            raise InputError(
                "No cost above 0 is known, so there is nothing to draw: add a column cost to the "
                "table, or take models whose prices are known."
            )
        low = self._lowest(runs)
        marks: list[Mark] = [self._line(), self._experts(low), *self._best_single()]
        marks += [] if self.is_predicted else [self._oracle()]
        marks += [self._run(one, i) for i, one in reversed(list(enumerate(runs)))]
        word = "predicted score" if self.is_predicted else "mean score"
        y = Axis(word, limits=(low, self._highest()))
        panel = Panel(Axis("cost, USD per 1,000 requests", "dollars", is_log=True), y, tuple(marks))
        return Chart(
            self.title(),
            (panel,),
            f"{word.capitalize()} over cost. {self._describe()}",
            note=self._note(),
            size=(9.4, 5.2),
        )

    def title(self) -> str:
        """Return in one sentence what was found."""
        single, prefix = self.simulation.best_single, f"{self.name}: " if self.name else ""
        parity = self.simulation.figures()["relative_cost_at_parity"]
        if single is None:
            return (
                f"{prefix}What {count_text(self.simulation.n_requests, 'request')} cost and score"
            )
        name, verb = (
            short_name(single.name),
            "is predicted to match" if self.is_predicted else "matches",
        )
        if parity is None:
            return f"{prefix}No weight of costs comes within {PARITY_TOLERANCE:g} of {name}"
        start = f"{prefix}routing" if prefix else "Routing"
        return f"{start} {verb} {name}, the best single model, for {parity:.0%} of its cost"

    def _note(self) -> str:
        found = self.simulation
        basis = "predicted, nobody has answered them" if self.is_predicted else "scores as measured"
        parts = [
            f"{count_text(found.n_requests, 'request')}; {basis}",
            f"to match is to score at most {PARITY_TOLERANCE:g} less, at the weight of costs that "
            "is best for these requests",
        ]
        if not self.is_predicted:
            parts.append("bars are 95% intervals")
        notes = [note for note in found.notes if not note.startswith(_NOT_IN_TABLE)]
        return "; ".join(parts) + ". " + " ".join(notes)

    def _describe(self) -> str:
        """Return the most important points in words, for those who do not see the picture."""
        sentences = []
        for one in (*self.simulation.policies, self.simulation.plain, self.simulation.best_single):
            if one is not None and one.score and one.cost:
                name = _NOW.capitalize() if one is self.simulation.plain else one.name
                sentences.append(
                    f"{name}: score {one.score.value:.3f} for "
                    f"${_PER * one.cost.value:.3g} per 1,000 requests."
                )
        return " ".join(sentences)

    def _line(self) -> Line:
        """Draw the hull, close together: a mixture of two settings is a curve on this axis."""
        points = np.array([(p.cost, p.score) for p in self.simulation.thresholds if p.cost > 0])
        x, y = upper_hull(points[:, 0], points[:, 1])
        grid = np.unique(np.concatenate([x, np.geomspace(x[0], x[-1], _CURVE_POINTS)]))
        name = "routing, any weight of costs"
        style = Style(PALETTE[0], width=2.6)
        return Line(name, (_PER * grid).tolist(), np.interp(grid, x, y).tolist(), style)

    def _lowest(self, runs: Sequence[RunSummary]) -> float:
        """Return below which score a single model is left out of the picture."""
        scores = [self._bounds(one)[0] for one in runs]
        scores += [one.score for one in self.simulation.thresholds]
        return min(scores) - _BELOW * (self._best_score() - min(scores)) - 0.005

    def _highest(self) -> float:
        best = self._best_score()
        return best + 0.06 * (best - min(p.score for p in self.simulation.thresholds)) + 0.005

    def _best_score(self) -> float:
        every = [one.score.value for one in self.simulation.summaries() if one.score]
        return max([*every, *(one.score for one in self.simulation.thresholds)])

    def _experts(self, low: float) -> Points:
        """Draw single models; those that score higher than all cheaper ones are named first."""
        single = self.simulation.best_single
        enough = 0.0 if single is None else single.coverage - 0.05
        drawn = [
            one
            for one in self.simulation.experts
            if one is not single and one.coverage >= enough and _point(one)[1] >= low
        ]
        drawn = sorted((one for one in drawn if _has_point(one)), key=_point)
        front = _front([*drawn, *([single] if single else ())])
        drawn.sort(key=lambda one: (one not in front, -_point(one)[1]))
        labels = [short_name(one.name) if i < _MAX_NAMED else "" for i, one in enumerate(drawn)]
        x, y = zip(*map(_point, drawn), strict=True) if drawn else ((), ())
        names = [one.name for one in drawn]
        return Points("one model for all", x, y, OTHERS_STYLE, names=names, labels=labels)

    def _best_single(self) -> list[Mark]:
        single = self.simulation.best_single
        if single is None or not _has_point(single):
            return []
        x, y = _point(single)
        style = Style(TEXT_COLOR, "star", size=15)
        name = f"best single model: {short_name(single.name)}"
        return [
            Points(name, (x,), (y,), style, names=(single.name,), labels=(short_name(single.name),))
        ]

    def _oracle(self) -> Points:
        oracle = self.simulation.oracle
        x, y = _point(oracle) if _has_point(oracle) else (np.nan, np.nan)
        style = Style(PALETTE[0], "circle", size=9, is_hollow=True)
        name = "best answer to each (oracle)"
        return Points(name, (x,), (y,), style, names=(name,))

    def _run(self, one: RunSummary, i: int) -> Points:
        """Draw a policy, or today's preferences, with the interval of its score."""
        x, y = _point(one)
        is_plain = one is self.simulation.plain
        style = Style(TEXT_COLOR, "circle", size=11) if is_plain else point_style(i + 1, 11)
        low, high = self._bounds(one)
        refused = one.outcomes.get("refused", 0.0)
        name = _NOW if is_plain else one.name
        name += f" ({refused:.0%} refused)" if refused else ""
        return Points(name, (x,), (y,), style, low=(low,), high=(high,), names=(one.name,))

    def _bounds(self, one: RunSummary) -> tuple[float, float]:
        """Return the interval of a score; a prediction has none."""
        y = _point(one)[1]
        return (y, y) if self.is_predicted or not one.score else (one.score.low, one.score.high)


def front_of_table(router: Router, table: QTable, *, name: str = "", seed: int = 0) -> FrontPlot:
    """Return what routing costs and scores on measured outcomes, at every weight of costs.

    Args:
        router: Its experts that the table has are compared.
        table: Measured losses, and costs in USD.
        name: What the picture says it is about.
        seed: Of the bootstrap.

    Raises:
        InputError: the router knows no expert of the table.
        QTableError: no prompt was measured.
        PerceptionError: the prediction fails.
    """
    known = [expert for expert in table.experts if expert in router.library]
    part = router.subset(known) if known else router  # the latter for the error of read_data
    data = read_data(table, part.library)
    found = compare_without_policies(part.with_policy, data.stream, seed=seed, notes=data.notes)
    return FrontPlot(found, name)


def front_of_prompts(
    router: Router, prompts: Sequence[str], *, name: str = "", seed: int = 0
) -> FrontPlot:
    """Return what routing would cost and score on prompts, as the router predicts it.

    Args:
        router: All its experts are compared.
        prompts: The prompts, at least one.
        name: What the picture says it is about.
        seed: Of the bootstrap.

    Raises:
        InputError: there is no prompt, or no expert may answer any.
        PerceptionError: the prediction fails.
    """
    check_strings("prompts", prompts)
    if not prompts:
        raise InputError("There is no prompt; give at least one.")
    n, experts = len(prompts), tuple(router.library.names)
    unknown = np.full((n, len(experts)), np.nan)
    number: dict[str, int] = {}
    stream = RequestStream(
        prompts=tuple(prompts),
        experts=experts,
        losses=unknown,
        costs=unknown,
        times=np.asarray(FIRST_DAY + DAY / n * np.arange(n), np.float64),
        groups=np.array([number.setdefault(text, len(number)) for text in prompts], np.intp),
        estimated=np.zeros(unknown.shape, np.bool_),
        contexts=(ConversationContext(),) * n,
    )
    return FrontPlot(
        compare_predicted(router.with_policy, stream, seed=seed), name, is_predicted=True
    )


def _has_point(one: RunSummary) -> bool:
    return one.cost is not None and one.score is not None and one.cost.value > 0


def _point(one: RunSummary) -> tuple[float, float]:
    """Return cost (USD per 1,000 requests) and score, NaN where unknown."""
    cost = np.nan if one.cost is None else _PER * one.cost.value
    return cost, np.nan if one.score is None else one.score.value


def _front(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Return the runs that score higher than all that cost less."""
    front: list[RunSummary] = []
    for one in sorted((one for one in runs if _has_point(one)), key=_point):
        if not front or _point(one)[1] > _point(front[-1])[1]:
            front.append(one)
    return front
