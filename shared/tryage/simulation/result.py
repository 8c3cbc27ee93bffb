"""What a simulation found: each policy beside plain routing, thresholds and single experts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.simulation.metrics import (
    PARITY_TOLERANCE,
    Interval,
    aiq,
    bootstrap,
    cost_at_score,
    interval,
    score_at_cost,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.arrays import Float64Array
    from tryage.simulation.run import SimulatedRun

PLAIN = "plain routing"

RANDOM = "random"

ORACLE = "oracle"

_DRAWS = 1000  # bootstrap samples of an interval

_MAX_SPENDING_POINTS = 200

_MAX_SHOWN_SHARES = 3

_MAX_SHOWN_REASONS = 8

_MAX_SHOWN_EXPERTS = 12

_HEAD = (
    "",
    "score",
    "USD per 1,000",
    "of best single",
    "USD in all",
    "lead",
    "who answers",
    "remarks",
)

_MIN_COVERAGE = 0.95  # of the requests; a mean over fewer is over other, perhaps easier, ones


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What one way to answer costs and brings over a stream.

    `score` is the mean score of the answers with a known one, and `cost` the mean USD per request;
    both have the 95% bootstrap interval over prompts, and are None where nothing is known. `total`
    is the USD of all requests, unknown costs left out. `shares` is expert -> share of the answers,
    the largest first. `outcomes` is word -> share of the requests: "refused", "escalated" and
    others. `estimated` is the share of the answers whose score is a prediction, and `coverage` that
    of the requests with a score. `reasons` counts what the policy said.
    """

    name: str
    score: Interval | None
    cost: Interval | None
    total: float
    coverage: float
    estimated: float = 0.0
    shares: Mapping[str, float] = field(default_factory=dict)
    outcomes: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    spending: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SettingPoint:
    """One setting of a family: mean USD per request and mean score at a weight of costs.

    The weight is the loss that a dollar has to save: 1 / `answer_value`.
    """

    weight: float
    cost: float
    score: float


@dataclass(frozen=True, slots=True)
class Simulation:
    """What policies cost and bring on one stream, beside what there is without them.

    `policies` are the simulated ones, and `plain` is routing without a policy. `thresholds` are
    plain routing at every weight of costs. `experts` are the single experts, those measured on most
    requests first, then the best; `random` is an equal share for each, and `oracle` the best answer
    to each prompt, the cheapest of equals. `notes` say what the data do not allow.
    """

    n_requests: int
    policies: tuple[RunSummary, ...]
    plain: RunSummary
    thresholds: tuple[SettingPoint, ...]
    experts: tuple[RunSummary, ...]
    random: RunSummary
    oracle: RunSummary
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> RunSummary:
        """Return what one way to answer costs and brings.

        Raises:
            KeyError: there is none of this name.
        """
        for one in self.summaries():
            if one.name == name:
                return one
        raise KeyError(f"{name!r} was not run; there are {[one.name for one in self.summaries()]}")

    def summaries(self) -> tuple[RunSummary, ...]:
        """Return all ways to answer, policies first."""
        return (*self.policies, self.plain, *self.experts, self.random, self.oracle)

    @property
    def best_single(self) -> RunSummary | None:
        """The single expert with the highest score, None if none answered nearly all requests."""
        known = [one for one in self.experts if one.score and one.coverage >= _MIN_COVERAGE]
        return next(iter(known), None)

    def thresholds_at_cost(self, cost: float) -> float | None:
        """Return the score of plain routing that may spend so many USD per request.

        Between two weights it is that of a mixture. None if it cannot be so cheap.
        """
        costs, scores = self._front()
        return score_at_cost(costs, scores, cost) if len(costs) else None

    def figures(self) -> dict[str, float | None]:
        """Return the figures of the thresholds, None where they are unknown.

        `relative_cost_at_parity` is the cost at which they score at most half a point below the
        best single expert, relative to its cost, `score_at_half_cost` the score at half of its
        cost, and `aiq` the average improvement in quality between the cheapest and the dearest
        expert (RouterBench, arXiv 2403.12031).
        """
        single, (costs, scores) = self.best_single, self._front()
        known = [one.cost.value for one in self.experts if one.cost is not None]
        if single is None or single.score is None or single.cost is None or not len(costs):
            return dict.fromkeys(("relative_cost_at_parity", "score_at_half_cost", "aiq"))
        parity = cost_at_score(costs, scores, single.score.value - PARITY_TOLERANCE)
        reference = single.cost.value
        return {
            "relative_cost_at_parity": parity / reference if parity and reference else parity,
            "score_at_half_cost": score_at_cost(costs, scores, reference / 2),
            "aiq": aiq(costs, scores, min(known), max(known)),
        }

    def rows(self) -> list[list[str]]:
        """Return the table: a head and a row for each way to answer, of many experts the best.

        The lead is the score less that of the thresholds at the same cost.
        """
        rows = [self._row(one) for one in (*self.policies, self.plain)]
        rows += [self._row(one) for one in self.experts[:_MAX_SHOWN_EXPERTS]]
        if len(self.experts) > _MAX_SHOWN_EXPERTS:
            more = len(self.experts) - _MAX_SHOWN_EXPERTS
            rows.append([f"{more} more experts", *("",) * (len(_HEAD) - 1)])
        return [list(_HEAD), *rows, self._row(self.random), self._row(self.oracle)]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        single = self.best_single
        return {
            "n_requests": self.n_requests,
            "best_single": None if single is None else single.name,
            "thresholds": {**self.figures(), "points": [asdict(one) for one in self.thresholds]},
            "policies": [_summary_dict(one) for one in self.policies],
            "plain": _summary_dict(self.plain),
            "experts": [_summary_dict(one) for one in self.experts],
            "random": _summary_dict(self.random),
            "oracle": _summary_dict(self.oracle),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """Show the table, what the policies said, and the notes."""
        rows = self.rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, *self.sentences()])

    def sentences(self) -> list[str]:
        """Return in words what the table has no room for."""
        lines = [self._describe_thresholds()] if self.thresholds else []
        for one in self.policies:
            reasons = list(one.reasons.items())[:_MAX_SHOWN_REASONS]
            lines += [f"{count:,} times {reason}" for reason, count in reasons]
        return [*lines, *self.notes]

    def _describe_thresholds(self) -> str:
        """Return in words what plain routing could bring at other thresholds of costs."""
        figures, single = self.figures(), self.best_single
        if single is None:
            return "No expert answered nearly all requests, so that none is the best single one."
        parity, half = figures["relative_cost_at_parity"], figures["score_at_half_cost"]
        parts = [
            f"no weight of costs is within {PARITY_TOLERANCE:g} of {single.name}"
            if parity is None
            else f"within {PARITY_TOLERANCE:g} of {single.name} for {parity:.0%} of its cost",
            "" if half is None else f"{half:.3f} for half of its cost",
        ]
        return f"Plain routing at other weights of costs: {'; '.join(filter(None, parts))}."

    def _front(self) -> tuple[Float64Array, Float64Array]:
        points = np.array([(one.cost, one.score) for one in self.thresholds]).reshape(-1, 2)
        return points[:, 0], points[:, 1]

    def _row(self, one: RunSummary) -> list[str]:
        single = self.best_single
        reference = single.cost.value if single is not None and single.cost else 0.0
        cost = None if one.cost is None else one.cost.value
        is_expert = one in self.experts
        rival = None if is_expert or cost is None else self.thresholds_at_cost(cost)
        shares = [] if is_expert else list(one.shares.items())[:_MAX_SHOWN_SHARES]
        return [
            one.name,
            "" if one.score is None else str(one.score),
            "" if cost is None else f"{1000 * cost:.4g}",
            "" if cost is None or not reference else f"{cost / reference:.0%}",
            "" if cost is None else f"{one.total:.4g}",
            "" if rival is None or one.score is None else f"{one.score.value - rival:+.3f}",
            ", ".join(f"{share:.0%} {name}" for name, share in shares),
            ", ".join(_remarks(one)),
        ]


def _remarks(one: RunSummary) -> list[str]:
    """Return what is special about some of the requests, with their shares."""
    remarks = [f"{share:.0%} {word}" for word, share in one.outcomes.items()]
    if one.estimated:
        remarks.append(f"{one.estimated:.0%} predicted")
    if one.coverage < 1 and "refused" not in one.outcomes:
        remarks.append(f"measured on {one.coverage:.0%}")
    return remarks


def summarize(run: SimulatedRun, *, seed: int = 0) -> RunSummary:
    """Return what a run costs and brings, with intervals from bootstrap samples by `seed`."""
    size = len(run)
    answered = np.bincount(run.experts[~run.refused], minlength=len(run.names))
    shares = {
        run.names[i]: float(answered[i] / max(answered.sum(), 1))
        for i in np.argsort(-answered, kind="stable").tolist()
        if answered[i]
    }
    has_score = ~np.isnan(run.scores)
    return RunSummary(
        name=run.name,
        score=_mean(run.scores, run, seed),
        cost=_mean(run.costs, run, seed),
        total=float(np.nansum(run.costs)),
        coverage=float(has_score.mean()),
        estimated=float(run.estimated.sum() / max(has_score.sum(), 1)),
        shares=shares,
        outcomes={word: count / size for word, count in run.outcomes.most_common()},
        reasons=dict(run.reasons.most_common()),
        spending=_thinned(run.times, run.spending),
    )


def _mean(values: Float64Array, run: SimulatedRun, seed: int) -> Interval | None:
    """Return the mean of the known values, with its interval over the prompts."""
    known = ~np.isnan(values)
    if not known.any():
        return None
    draws = bootstrap(values[known, None], run.groups[known], draws=_DRAWS, seed=seed)
    return interval(float(values[known].mean()), draws[:, 0])


def _thinned(times: Float64Array, spending: Float64Array) -> tuple[tuple[float, float], ...]:
    """Return points of the series (seconds since 1970, USD), so many that a curve is smooth."""
    rows = np.unique(np.linspace(0, len(times) - 1, _MAX_SPENDING_POINTS).astype(np.intp))
    return tuple(zip(times[rows].tolist(), spending[rows].tolist(), strict=True))


def _summary_dict(one: RunSummary) -> dict[str, Any]:
    values = asdict(one)
    return values | {"spending": [list(point) for point in one.spending]}


def best_first(experts: Sequence[RunSummary]) -> tuple[RunSummary, ...]:
    """Return single experts in their order: those on nearly all requests first, then the best."""

    def key(one: RunSummary) -> tuple[bool, float]:
        return one.coverage < _MIN_COVERAGE, np.inf if one.score is None else -one.score.value

    return tuple(sorted(experts, key=key))
