"""A report of traffic: what was spent and on whom, how good the answers were, what stands out."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.pareto import lower_envelope
from tryage.learning.traffic_report.comparison import compare_routers
from tryage.learning.traffic_report.intervals import mean_score
from tryage.learning.traffic_report.table import UNKNOWN, read_table
from tryage.traffic.traffic import LOST, Traffic, check_traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tryage.core.arrays import BoolArray, Float64Array
    from tryage.learning.traffic_report.comparison import Comparison
    from tryage.learning.traffic_report.intervals import Estimate
    from tryage.learning.traffic_report.table import TrafficRow, TrafficTable
    from tryage.traffic.records import Event

_BUCKET_SECONDS = (5, 15, 60, 300, 900, 3_600, 14_400, 86_400, 604_800)
_MAX_BUCKETS = 48
_MAX_FRONT_ROWS = 2_000
_MAX_FRONT_POINTS = 60
_MIN_COVERAGE = 0.9  # an expert that is a candidate more rarely has no mean that compares
_MAX_SURPRISES = 8
_AFTERMATH = 86_400.0  # seconds after the last decision in which events still belong to it

_OWN_EVENTS = frozenset({LOST})  # shown elsewhere


@dataclass(frozen=True, slots=True)
class Spending:
    """USD of the `known` decisions of which the cost is known, None where nothing is.

    `billed` counts those whose cost is what the provider asks; the others have the expected cost.
    `best_single` and `dearest` are what one model alone would have cost, for the decisions where
    both are known; `saved` is against the best single model there.
    """

    total: float | None
    known: int
    billed: int
    best_single: float | None = None
    dearest: float | None = None
    saved: float | None = None
    best_single_name: str | None = None

    @property
    def saved_share(self) -> float | None:
        """The savings as a share of what the best single model costs, None if that is 0."""
        return None if self.saved is None or not self.best_single else self.saved / self.best_single


@dataclass(frozen=True, slots=True)
class ExpertUse:
    """What one expert did. `latency` and `slow_latency` are the median and the 95th percentile."""

    name: str
    answers: int
    share: float
    spending: float | None
    cost: float | None
    quality: Estimate | None
    latency: float | None
    slow_latency: float | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """What happened from `time` on, in seconds since 1970, for `seconds`; spending in USD.

    `answers` counts those of each expert by its name.
    """

    time: float
    seconds: float
    decisions: int
    spending: float | None
    best_single: float | None
    dearest: float | None
    quality: Estimate | None
    answers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Surprise:
    """A rating far from its prediction. The text is there only if the log keeps prompts."""

    time: float
    decision_id: str
    expert: str
    kind: str | None
    predicted: float
    score: float
    prompt: str | None


@dataclass(frozen=True, slots=True)
class Alarm:
    """An event of the log: what happened, to which expert."""

    time: float
    kind: str
    expert: str | None
    text: str


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A mean predicted loss and a mean cost, in USD of an answer."""

    loss: float
    cost: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class Front:
    """Which loss each cost buys: the front over the weight of costs, single experts, and today."""

    points: tuple[FrontPoint, ...]
    experts: tuple[FrontPoint, ...]
    present: FrontPoint


@dataclass(frozen=True, slots=True)
class TrafficReport:
    """Everything that the report shows; times are in seconds since 1970 (UTC).

    `explored` counts the requests that could have gone to more than one model, `failed` those in
    which a model failed. `predicted_score` is the mean prediction for the rated answers.
    """

    start: float
    end: float
    decisions: int
    defaults: int
    explored: int
    failed: int
    spending: Spending
    quality: Estimate | None
    predicted_score: float | None
    latency: float | None
    slow_latency: float | None
    ratings: Mapping[str, int]
    signals: Mapping[str, int]
    experts: tuple[ExpertUse, ...]
    buckets: tuple[Bucket, ...]
    comparisons: tuple[Comparison, ...]
    front: Front | None
    alarms: tuple[Alarm, ...]
    surprises: tuple[Surprise, ...]
    lost: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return asdict(self)


def read_report(
    traffic: Traffic,
    since: float | None = None,
    until: float | None = None,
    *,
    kind: str | None = None,
) -> TrafficReport:
    """Return the report of a log.

    Args:
        traffic: The log.
        since: Only decisions from this time on, in seconds since 1970 (UTC).
        until: Only decisions before this time.
        kind: As in `make_report`.

    Raises:
        InputError: there is no decision in this period, or `traffic` is no log.
        TrafficError: the log cannot be read.
    """
    check_traffic(traffic)
    events = read_events(traffic)
    if until is not None:
        events = [event for event in events if event.time < until]
    return make_report(traffic.decisions(since, until), events, kind=kind)


def read_events(traffic: Traffic) -> list[Event]:
    """Return all events of the log in order."""
    events: list[Event] = []
    while page := traffic.events_after(events[-1].sequence if events else 0):
        events += page
    return events


def make_report(
    rows: Iterable[TrafficRow],
    events: Iterable[Event] = (),
    *,
    kind: str | None = None,
) -> TrafficReport:
    """Return the report of the decisions and what came of them.

    Args:
        rows: The decisions, as `Traffic.decisions` returns them.
        events: Alarms and other events, as `Traffic.events_after` returns them.
        kind: The only kind of feedback that counts as a rating, such as "judge".

    Raises:
        InputError: there is no decision.
    """
    table = read_table(rows, kind=kind, keep_records=False)
    rated = ~np.isnan(table.scores) & ~np.isnan(table.predicted)
    start, end = float(table.times[0]), float(table.times[-1])
    period = _in_period(events, start, end)
    return TrafficReport(
        start=start,
        end=end,
        decisions=len(table),
        defaults=int(table.is_default.sum()),
        explored=int(table.explored.sum()),
        failed=int(table.failed.sum()),
        spending=_spending(table, np.ones(len(table), dtype=np.bool_)),
        quality=_quality(table, np.ones(len(table), dtype=np.bool_)),
        predicted_score=float(1 - table.predicted[rated].mean()) if rated.any() else None,
        latency=_percentile(table.latencies, 50),
        slow_latency=_percentile(table.latencies, 95),
        ratings=table.ratings,
        signals=table.signals,
        experts=_expert_uses(table),
        buckets=_buckets(table),
        comparisons=compare_routers(table),
        front=_front(table),
        alarms=tuple(describe_events(period, start, end)),
        surprises=_surprises(table),
        lost=_sum_losses(period),
    )


def _quality(table: TrafficTable, selected: BoolArray) -> Estimate | None:
    rated = selected & ~np.isnan(table.scores)
    return mean_score(table.scores[rated], table.clusters[rated])


def _percentile(values: Float64Array, percent: float) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.percentile(known, percent)) if known.size else None


def _sum(values: Float64Array) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.sum()) if known.size else None


# Spending --------------------------------------------------------------------------------------


def _spending(table: TrafficTable, selected: BoolArray) -> Spending:
    """Return what the selected decisions cost, and what other models would have cost."""
    name, single, dearest = _single_costs(table)
    cost = table.spending
    known = selected & ~np.isnan(cost)
    compared = known & ~np.isnan(single)
    best_single = _sum(single[compared])
    return Spending(
        total=_sum(cost[known]),
        known=int(known.sum()),
        billed=int((selected & ~np.isnan(table.billed)).sum()),
        best_single=best_single,
        dearest=_sum(dearest[known & ~np.isnan(dearest)]),
        saved=None if best_single is None else best_single - float(cost[compared].sum()),
        best_single_name=name,
    )


def _single_costs(table: TrafficTable) -> tuple[str | None, Float64Array, Float64Array]:
    """Return the best single expert's name, and the costs of that one and of the dearest, `(n,)`.

    They are those of the outcomes. A decision without a bill has the expected costs of its
    candidates.
    """
    best = _best_single(table)
    single, dearest = table.best_single_costs, table.dearest_costs
    is_expected = np.isnan(table.billed)
    if best is not None:
        single = np.where(is_expected & np.isnan(single), table.costs[:, best], single)
    highest = np.where(np.isnan(table.costs), -np.inf, table.costs).max(axis=1)
    highest = np.where(np.isfinite(highest), highest, np.nan)
    dearest = np.where(is_expected & np.isnan(dearest), highest, dearest)
    return None if best is None else table.experts[best], single, dearest


def _best_single(table: TrafficTable) -> int | None:
    """Return the best single expert that most outcomes name, else the predicted one."""
    named = table.best_singles[table.best_singles != UNKNOWN]
    return int(np.bincount(named).argmax()) if named.size else _predicted_best_single(table)


def _predicted_best_single(table: TrafficTable) -> int | None:
    """Return the expert with the lowest mean predicted loss among those that are always there."""
    coverage = (~np.isnan(table.losses)).mean(axis=0)
    if not (coverage >= _MIN_COVERAGE).any():
        return None
    sums = np.nansum(table.losses, axis=0)
    means = np.full(coverage.size, np.inf)
    np.divide(sums, coverage * len(table), out=means, where=coverage >= _MIN_COVERAGE)
    return int(means.argmin())


# Who got what, and when ------------------------------------------------------------------------


def _expert_uses(table: TrafficTable) -> tuple[ExpertUse, ...]:
    """Return what each expert did that answered, the most used first."""
    uses = [
        _expert_use(table, name, table.served == i)
        for i, name in enumerate(table.experts)
        if (table.served == i).any()
    ]
    return tuple(sorted(uses, key=lambda use: -use.answers))


def _expert_use(table: TrafficTable, name: str, selected: BoolArray) -> ExpertUse:
    cost = table.spending[selected]
    spending, known = _sum(cost), int((~np.isnan(cost)).sum())
    answers = int(selected.sum())
    return ExpertUse(
        name=name,
        answers=answers,
        share=answers / max(int((table.served != UNKNOWN).sum()), 1),
        spending=spending,
        cost=None if spending is None else spending / known,
        quality=_quality(table, selected),
        latency=_percentile(table.latencies[selected], 50),
        slow_latency=_percentile(table.latencies[selected], 95),
    )


def _buckets(table: TrafficTable) -> tuple[Bucket, ...]:
    """Divide the period into equal parts of a round length, at most 48."""
    seconds = bucket_seconds(float(table.times[-1] - table.times[0]))
    codes = np.floor(table.times / seconds).astype(np.int64)
    return tuple(
        _bucket(table, float(code * seconds), seconds, codes == code)
        for code in range(int(codes[0]), int(codes[-1]) + 1)
    )


def bucket_seconds(span: float) -> int:
    """Return a round length, of which a period of `span` seconds has at most 48."""
    fitting = (one for one in _BUCKET_SECONDS if span / one < _MAX_BUCKETS - 1)
    return next(fitting, _BUCKET_SECONDS[-1])


def _bucket(table: TrafficTable, time: float, seconds: float, selected: BoolArray) -> Bucket:
    spending = _spending(table, selected)
    return Bucket(
        time=time,
        seconds=seconds,
        decisions=int(selected.sum()),
        spending=spending.total,
        best_single=spending.best_single,
        dearest=spending.dearest,
        quality=_quality(table, selected),
        answers=_count_answers(table, selected),
    )


def _count_answers(table: TrafficTable, selected: BoolArray) -> dict[str, int]:
    served = table.served[selected & (table.served != UNKNOWN)]
    counts = np.bincount(served, minlength=len(table.experts)).tolist()
    return {name: n for name, n in zip(table.experts, counts, strict=True) if n}


# The front -------------------------------------------------------------------------------------


def _front(table: TrafficTable) -> Front | None:
    """Return the front of predicted loss against expected costs; None without two known experts.

    It is computed from at most 2,000 decisions, evenly spread over the period.
    """
    usable = ~np.isnan(table.losses) & ~np.isnan(table.costs)
    own = ~np.isnan(table.predicted) & ~np.isnan(table.expected)
    rows = np.flatnonzero((usable.sum(axis=1) >= 2) & own)
    if not rows.size:
        return None
    rows = rows[np.unique(np.linspace(0, rows.size - 1, _MAX_FRONT_ROWS).astype(np.intp))]
    losses, costs, allowed = table.losses[rows], table.costs[rows], usable[rows]
    path = lower_envelope(losses, np.nan_to_num(costs), allowed)
    points = [
        FrontPoint(float(loss), float(cost))
        for loss, cost in zip(path.mean(losses), path.mean(costs), strict=True)
    ]
    return Front(
        points=tuple(_thinned(points)),
        experts=_single_points(table.experts, losses, costs, allowed),
        present=FrontPoint(
            float(table.predicted[rows].mean()), float(table.expected[rows].mean()), "now"
        ),
    )


def _thinned(points: Sequence[FrontPoint]) -> list[FrontPoint]:
    """Return at most 60 of the points, the first and the last among them."""
    places = np.unique(np.linspace(0, len(points) - 1, _MAX_FRONT_POINTS).astype(np.intp))
    return [points[i] for i in places.tolist()]


def _single_points(
    experts: Sequence[str], losses: Float64Array, costs: Float64Array, allowed: BoolArray
) -> tuple[FrontPoint, ...]:
    """Return each expert as if it answered everything, of those that nearly always could."""
    return tuple(
        FrontPoint(float(losses[rows, i].mean()), float(costs[rows, i].mean()), name)
        for i, name in enumerate(experts[: allowed.shape[1]])
        if (rows := allowed[:, i]).mean() >= _MIN_COVERAGE
    )


# What stands out -------------------------------------------------------------------------------


def _surprises(table: TrafficTable) -> tuple[Surprise, ...]:
    """Return the ratings that are farthest from their predictions, the farthest first."""
    residuals = np.abs(table.scores - (1 - table.predicted))
    residuals[table.chosen != table.served] = math.nan  # the prediction is for the chosen expert
    known = np.flatnonzero(~np.isnan(residuals))
    largest = heapq.nlargest(_MAX_SURPRISES, known.tolist(), key=lambda row: residuals[row])
    return tuple(_surprise(table, row) for row in largest)


def _surprise(table: TrafficTable, row: int) -> Surprise:
    return Surprise(
        time=float(table.times[row]),
        decision_id=table.ids[row],
        expert=table.experts[table.chosen[row]],
        kind=table.kinds[row],
        predicted=1 - float(table.predicted[row]),
        score=float(table.scores[row]),
        prompt=table.prompts[row],
    )


def _sum_losses(events: Sequence[Event]) -> dict[str, int]:
    """Return how many records the log has lost, by what they were, as all processes say."""
    totals: Counter[str] = Counter()
    for event in events:
        if event.kind == LOST:
            totals.update({name: n for name, n in event.values.items() if isinstance(n, int)})
    return {name: n for name, n in sorted(totals.items()) if n}


def describe_events(events: Iterable[Event], start: float, end: float) -> list[Alarm]:
    """Return the events that belong to decisions from `start` to `end`, without lost records."""
    return [
        _alarm(event) for event in _in_period(events, start, end) if event.kind not in _OWN_EVENTS
    ]


def _in_period(events: Iterable[Event], start: float, end: float) -> list[Event]:
    return [event for event in events if start <= event.time <= end + _AFTERMATH]


def _alarm(event: Event) -> Alarm:
    """Return an event in words: its message, else its values."""
    values = {name: value for name, value in event.values.items() if name != "message"}
    described = ", ".join(f"{name} {_short(value)}" for name, value in values.items())
    return Alarm(event.time, event.kind, event.expert, event.values.get("message") or described)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
