"""Runs policies on a stream beside plain routing, thresholds, single experts, chance and oracle."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tryage.core.pareto import lower_envelope
from tryage.core.policy import check_policy
from tryage.core.ranking import Ranking
from tryage.core.validation import check_integer, check_strings
from tryage.errors import InputError, NoExpertError
from tryage.simulation.result import (
    ORACLE,
    PLAIN,
    RANDOM,
    SettingPoint,
    Simulation,
    best_first,
    summarize,
)
from tryage.simulation.run import (
    REFUSED,
    SimulatedClock,
    SimulatedRun,
    decide_rows,
    measured_preferences,
    run_policy,
)
from tryage.simulation.stream import row_means

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tryage.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
    from tryage.core.decision import Decision
    from tryage.core.policy import Policy
    from tryage.core.preferences import Preferences
    from tryage.core.request import ConversationContext
    from tryage.simulation.run import Decide
    from tryage.simulation.stream import RequestStream

_MAX_POINTS = 200  # of the thresholds

_CHUNK = 1024  # prompts that are predicted together


class BatchRouter(Protocol):
    """A router with a policy, as far as a simulation needs it."""

    policy: Policy | None

    def decide_batch(
        self,
        prompts: Sequence[str],
        preferences: Sequence[Preferences | None],
        *,
        contexts: Sequence[ConversationContext],
    ) -> list[Decision]:
        """Decide a batch without a log."""
        ...


def compare(  # noqa: PLR0913 - what is run, and how
    make_router: Callable[[Policy | None], BatchRouter],
    policies: Policy | Mapping[str, Policy],
    stream: RequestStream,
    *,
    batch_size: int = 1,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Simulation:
    """Run policies over a stream, and whatever there is without them.

    Each policy is a copy that starts anew, with the clock of the stream.

    Args:
        make_router: Returns the router with a policy.
        policies: One policy, or several by the names that they get in the result.
        stream: The requests. Costs that were not measured are taken to be as predicted.
        batch_size: How many requests are decided together.
        seed: Of the bootstrap.
        notes: What the result should say of the data.

    Raises:
        InputError: a policy is none, or a number is out of range.
        PerceptionError: the prediction fails.
    """
    check_integer("batch_size", batch_size, 1)
    check_integer("seed", seed)
    named = named_policies(policies)
    losses, costs = predictions(make_router(None), stream)
    notes, stream = _with_predicted_costs(stream, costs, notes)
    runs = [
        _run_copy(make_router, name, check_policy(policy), stream, batch_size)
        for name, policy in named.items()
    ]
    found = _without_policies(make_router, stream, (losses, costs), seed)
    return replace(found, policies=tuple(summarize(run, seed=seed) for run in runs), notes=notes)


def compare_without_policies(
    make_router: Callable[[Policy | None], BatchRouter],
    stream: RequestStream,
    *,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Simulation:
    """Return what there is without policies, as `compare` does.

    Raises:
        PerceptionError: the prediction fails.
    """
    losses, costs = predictions(make_router(None), stream)
    notes, stream = _with_predicted_costs(stream, costs, notes)
    seed = check_integer("seed", seed)
    return replace(_without_policies(make_router, stream, (losses, costs), seed), notes=notes)


def _with_predicted_costs(
    stream: RequestStream, costs: Float64Array, notes: Sequence[str]
) -> tuple[tuple[str, ...], RequestStream]:
    """Return the requests with predicted costs where none was measured, and a note of that."""
    unknown = float(np.isnan(stream.costs)[~np.isnan(stream.losses)].mean())
    added = f"{unknown:.0%} of the costs are not known: they count as predicted."
    return (*notes, *((added,) if unknown else ())), stream.filled(None, costs)


def compare_predicted(
    make_router: Callable[[Policy | None], BatchRouter], stream: RequestStream, *, seed: int = 0
) -> Simulation:
    """Return what there is without policies if every answer is as predicted.

    Args:
        make_router: Returns the router with a policy.
        stream: The requests; losses and costs in it do not count.
        seed: Of the bootstrap.

    Raises:
        InputError: no expert may answer any request.
        PerceptionError: the prediction fails.
    """
    everything = np.zeros((len(stream), len(stream.experts)))
    losses, costs = predictions(make_router(None), replace(stream, losses=everything))
    is_usable = (~np.isnan(losses)).any(axis=1)
    if not is_usable.any():
        raise InputError("No expert may answer any of the prompts; relax the requirements.")
    predicted = replace(stream, losses=losses, costs=costs, estimated=~np.isnan(losses))
    rows = np.flatnonzero(is_usable)
    return _without_policies(
        make_router, predicted.take(rows), (losses[rows], costs[rows]), check_integer("seed", seed)
    )


def _without_policies(
    make_router: Callable[[Policy | None], BatchRouter],
    stream: RequestStream,
    predicted: tuple[Float64Array, Float64Array],
    seed: int,
) -> Simulation:
    """Return plain routing, thresholds, single experts, chance and oracle, from all that is known.

    `predicted` are losses and costs, `(n, n_experts)` each.
    """
    plain = run_policy(PLAIN, _decide(make_router(None)), None, stream, batch_size=_CHUNK)
    constants = [
        choice_run(name, stream, np.full(len(stream), column, np.intp))
        for name, column in stream.columns.items()
    ]
    return Simulation(
        n_requests=len(stream),
        policies=(),
        plain=summarize(plain, seed=seed),
        thresholds=threshold_points(*predicted, stream),
        experts=best_first([summarize(run, seed=seed) for run in constants]),
        random=summarize(random_run(stream), seed=seed),
        oracle=summarize(choice_run(ORACLE, stream, best_answers(stream)), seed=seed),
    )


def named_policies(policies: Policy | Mapping[str, Policy]) -> Mapping[str, Policy]:
    """Return policies by their names.

    Raises:
        InputError: there is none, or a name or a policy is something else.
    """
    if isinstance(policies, (list, tuple)):
        raise InputError(
            "Several policies are given by the names that they get in the result: "
            '{"strict": Budget(usd_per_day=5), "loose": Budget(usd_per_day=50)}.'
        )
    if not isinstance(policies, Mapping):
        return {check_policy(policies).name: policies}
    if not policies:
        raise InputError("There is no policy to simulate; give one, or several by their names.")
    check_strings("the names of policies", list(policies))
    return {name: check_policy(one) for name, one in policies.items()}


def _run_copy(
    make_router: Callable[[Policy | None], BatchRouter],
    name: str,
    policy: Policy,
    stream: RequestStream,
    batch_size: int,
) -> SimulatedRun:
    """Run a copy of a policy, so that the policy itself is as before."""
    router, clock = make_router(copy.deepcopy(policy)), SimulatedClock(float(stream.times[0]))
    if router.policy is not None:
        router.policy.set_clock(clock)
    return run_policy(
        name, _decide(router), router.policy, stream, batch_size=batch_size, clock=clock
    )


def _decide(router: BatchRouter) -> Decide:
    return lambda prompts, preferences, contexts: router.decide_batch(
        prompts, preferences, contexts=contexts
    )


def predictions(router: BatchRouter, stream: RequestStream) -> tuple[Float64Array, Float64Array]:
    """Return the predicted losses and costs (USD), `(n, n_experts)`, NaN where not eligible."""
    tables = np.full((2, len(stream), len(stream.experts)), np.nan)
    preferences = measured_preferences(stream)
    for first in range(0, len(stream), _CHUNK):
        rows = range(first, min(first + _CHUNK, len(stream)))
        for row, decision in zip(
            rows, decide_rows(_decide(router), stream, preferences, rows), strict=True
        ):
            if not isinstance(decision, NoExpertError):
                _fill_row(tables[:, row], decision, stream)
    return tables[0], tables[1]


def _fill_row(tables: Float64Array, decision: Decision, stream: RequestStream) -> None:
    if not isinstance(decision.ranking, Ranking):  # the default answers, without a prediction
        return
    columns = decision.ranking.columns(len(decision.ranking))
    places = [stream.columns[name] for name in columns.names]
    tables[0, places] = columns.losses
    tables[1, places] = [np.nan if cost is None else cost for cost in columns.costs]


def threshold_points(
    losses: FloatArray, costs: FloatArray, stream: RequestStream
) -> tuple[SettingPoint, ...]:
    """Return what routing by predicted loss + weight x predicted USD brings, at every weight.

    `losses` and `costs` are predicted, `(n, n_experts)`. Empty if no cost is known.
    """
    allowed = ~np.isnan(losses) & ~np.isnan(costs) & ~np.isnan(stream.losses)
    rows = np.flatnonzero(allowed.any(axis=1))
    if not rows.size:
        return ()
    path = lower_envelope(losses[rows], np.nan_to_num(costs[rows]), allowed[rows])
    scores, spent = path.mean(1.0 - stream.losses[rows]), path.mean(stream.costs[rows])
    points = np.unique(np.linspace(0, len(path.weights) - 1, _MAX_POINTS).astype(np.intp))
    return tuple(
        SettingPoint(*map(float, point))
        for point in zip(path.weights[points], spent[points], scores[points], strict=True)
        if not np.isnan(point).any()
    )


def best_answers(stream: RequestStream) -> IndexArray:
    """Return the column of the best answer to each request, `(n,)`: the cheapest of equals."""
    losses = np.where(np.isnan(stream.losses), np.inf, stream.losses)
    is_best = losses == losses.min(axis=1, keepdims=True)
    costs = np.where(np.isnan(stream.costs), np.finfo(np.float64).max, stream.costs)
    best: IndexArray = np.where(is_best, costs, np.inf).argmin(axis=1)
    return best


def choice_run(name: str, stream: RequestStream, columns: IndexArray) -> SimulatedRun:
    """Return what asking the expert at each of the `columns` `(n,)` brings, without a policy."""
    rows = np.arange(len(stream))
    chosen = np.where(np.isnan(stream.losses[rows, columns]), REFUSED, columns)
    unknown = np.full(stream.losses.shape, np.nan)
    latencies = unknown if stream.latencies is None else stream.latencies
    answered = chosen != REFUSED
    scores, costs, seconds = (
        np.where(answered, table[rows, columns], np.nan).astype(np.float64)
        for table in (1.0 - stream.losses, stream.costs, latencies)
    )
    estimated = stream.estimated[rows, columns] & answered
    return _run(name, stream, chosen, (scores, costs, seconds), estimated)


def random_run(stream: RequestStream) -> SimulatedRun:
    """Return what an equal share for each expert brings on average, for each request."""
    known = ~np.isnan(stream.losses)
    costs = np.where(known, stream.costs, np.nan)
    unknown = np.full(len(stream), np.nan)
    numbers = (row_means(1.0 - stream.losses), row_means(costs), unknown)
    is_estimated = np.asarray((stream.estimated & known).any(axis=1), np.bool_)
    return _run(RANDOM, stream, np.full(len(stream), REFUSED), numbers, is_estimated)


def _run(
    name: str,
    stream: RequestStream,
    experts: IndexArray,
    numbers: tuple[Float64Array, Float64Array, Float64Array],
    estimated: BoolArray,
) -> SimulatedRun:
    scores, costs, latencies = numbers
    return SimulatedRun(
        name=name,
        names=stream.experts,
        experts=experts,
        scores=scores,
        costs=costs,
        latencies=latencies,
        estimated=estimated,
        groups=stream.groups,
        times=stream.times,
    )
