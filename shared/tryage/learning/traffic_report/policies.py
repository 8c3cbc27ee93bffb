"""Policies that the log of traffic can judge: another weight of costs, one expert, another router.

A policy is a function of the logged decisions that returns the probability of every expert,
`(n, n_experts)`. It sees what was known before the answers, never the ratings.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tryage.core.choice import NO_EXPERT, first_by_keys
from tryage.core.validation import check_number, did_you_mean
from tryage.errors import InputError
from tryage.learning.traffic_report.table import UNKNOWN, TrafficTable
from tryage.perception.fingerprint import perception_fingerprint
from tryage.perception.model import LearnedPerception
from tryage.perception.wrappers import AlignedPerception
from tryage.traffic.learner import Learner
from tryage.traffic.sync import TrafficSync

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float64Array, FloatArray, IndexArray
    from tryage.router import Router
    from tryage.traffic.records import DecisionRecord
    from tryage.traffic.traffic import Traffic

Policy: TypeAlias = Callable[[TrafficTable], "Float64Array"]


def logged(table: TrafficTable) -> Float64Array:
    """Return the probabilities with which the log chose."""
    return table.propensities


def greedy(table: TrafficTable) -> Float64Array:
    """Choose as the log did, without exploration: the best total that was logged."""
    return _choices(table, _best_candidates(table, _columns(table, "totals")))


def frozen(table: TrafficTable) -> Float64Array:
    """Choose what the router would have chosen without feedback and exploration."""
    return _choices(table, table.frozen)


def always(expert: str) -> Policy:
    """Return the policy that sends every prompt to one expert."""

    def policy(table: TrafficTable) -> Float64Array:
        if expert not in table.experts:
            raise InputError(
                f"{expert!r} is not in the log; it has {', '.join(table.experts[:10])}."
                f"{did_you_mean(expert, table.experts)}"
            )
        return _choices(table, np.full(len(table), table.experts.index(expert)))

    return policy


def best_single(table: TrafficTable) -> Float64Array:
    """Send every prompt to the expert with the lowest mean predicted loss.

    Only experts that were candidates of most decisions count. The ratings do not: a policy that is
    chosen by the ratings looks better by them than it is.
    """
    is_known = ~np.isnan(table.losses)
    means = np.nansum(table.losses, axis=0) / np.maximum(is_known.sum(axis=0), 1)
    often = is_known.mean(axis=0) >= is_known.mean(axis=0).max() / 2
    return _choices(table, np.full(len(table), np.where(often, means, np.inf).argmin()))


def shadow(name: str) -> Policy:
    """Return the policy that chooses what a shadow router has chosen."""

    def policy(table: TrafficTable) -> Float64Array:
        if name not in table.shadows:
            names = ", ".join(table.shadows) or "none"
            raise InputError(f"{name!r} is no shadow router of the log; it has {names}.")
        return _choices(table, table.shadows[name])

    return policy


def cost_weight(factor: float) -> Policy:
    """Return the policy for which costs count `factor` times as much, 2 is double.

    Raises:
        InputError: the factor is negative. The policy raises it if costs do not count in the log.
    """
    check_number("factor", factor, 0.0)

    def policy(table: TrafficTable) -> Float64Array:
        terms = _columns(table, "cost_terms")
        if not np.nansum(terms) > 0:
            raise InputError(
                "Costs count nothing in the logged totals, so that no factor changes a choice: "
                "the preferences have no answer_value and no weight of the cost."
            )
        totals = _columns(table, "totals") + (factor - 1) * terms
        return _choices(table, _best_candidates(table, totals))

    return policy


def saved_router(router: Router, *, decided_as: str | None = None) -> Policy:
    """Return the policy of another router, such as one that was saved last week.

    It predicts from the logged positions if the decisions are of this very router before any
    feedback, and otherwise from the prompts, which the log has with `keep_prompts=True`.

    Args:
        router: The router.
        decided_as: The fingerprint of the router whose positions it can read; by default its own.
    """
    fingerprint = decided_as or perception_fingerprint(router.perception.innermost())

    def policy(table: TrafficTable) -> Float64Array:
        prompts = [record.prompt for record in table.records]
        if all(prompt is not None for prompt in prompts):
            decisions = router.decide_batch([prompt or "" for prompt in prompts])
            names = [decision.expert.name for decision in decisions]
            return _choices(table, _places(table, names))
        losses = _losses_at_positions(table, router, fingerprint)
        totals = _columns(table, "totals") - table.losses + losses
        return _choices(table, _best_candidates(table, totals))

    return policy


def router_at(router: Router, traffic: Traffic, time: float) -> Policy:
    """Return the policy of a router with what it had learned from the log up to a time.

    The policy judges later decisions alone: by the ratings that it has learned from, it would look
    better than it is.

    Args:
        router: The router as it was saved, before it learned. This call teaches it.
        traffic: The log.
        time: In seconds since 1970 (UTC).

    Raises:
        InputError: the router does not learn from a log.
        TrafficError: the store fails.
    """
    perception = router.perception.innermost()
    if not isinstance(perception, LearnedPerception):
        raise InputError(f"A {type(perception).__name__} does not learn from a log.")
    fingerprint = perception_fingerprint(perception)
    learner = Learner(perception.copy(), router.library, router=fingerprint)
    sync = TrafficSync(traffic, learner, perception)
    learner.restore(sync.state_at(traffic.sequence_at(time)))
    learner.apply(perception)
    choose = saved_router(router, decided_as=fingerprint)

    def policy(table: TrafficTable) -> Float64Array:
        if (table.times < time).any():
            moment = datetime.fromtimestamp(time, timezone.utc).isoformat(timespec="minutes")
            raise InputError(
                f"A router that has learned up to {moment} looks too good on decisions before "
                "that; judge it on later ones, such as with --days."
            )
        return choose(table)

    return policy


def _losses_at_positions(table: TrafficTable, router: Router, fingerprint: str) -> FloatArray:
    """Return what another router predicts of the logged positions, `(n, n_experts)`.

    Raises:
        InputError: the positions are of another router, or some are missing.
    """
    positions = [record.position for record in table.records if record.position is not None]
    if {record.router for record in table.records} != {fingerprint} or len(positions) < len(table):
        raise InputError(
            "The log has neither the prompts nor positions that this router can read: keep the "
            "prompts with Traffic(..., keep_prompts=True), or give the router that has decided, as "
            "it was saved."
        )
    predicted = AlignedPerception(router.perception, router.library).losses_at(np.array(positions))
    losses = np.full((len(table), len(table.experts)), np.nan)
    for column, name in enumerate(table.experts):
        if predicted is not None and name in router.library:
            losses[:, column] = predicted[:, router.library.index(name)]
    return losses


def _places(table: TrafficTable, names: Sequence[str]) -> IndexArray:
    """Return the positions of experts in the table, `UNKNOWN` of one that is not in the log."""
    place = {name: i for i, name in enumerate(table.experts)}
    return np.array([place.get(name, UNKNOWN) for name in names], np.intp)


def _choices(table: TrafficTable, experts: IndexArray) -> Float64Array:
    """Return the policy that chooses one expert for each decision; unknown ones have no place."""
    target = np.zeros((len(table), len(table.experts)))
    rows = np.flatnonzero(experts != UNKNOWN)
    target[rows, experts[rows]] = 1.0
    return target


def _columns(table: TrafficTable, field: str) -> Float64Array:
    """Return a field of the candidates, `(n, n_experts)`, NaN of all other experts."""
    place = {name: i for i, name in enumerate(table.experts)}
    found = np.full((len(table), len(table.experts)), np.nan)
    for row, record in enumerate(table.records):
        values = getattr(record, field)
        if values:
            found[row, [place[name] for name in record.candidates]] = values
    return found


def _best_candidates(table: TrafficTable, totals: Float64Array) -> IndexArray:
    """Return which expert each decision chooses by these totals, as `Ranking` does, `(n,)`.

    Where there is no candidate, it is what was chosen: a default answered.
    """
    is_candidate = ~np.isnan(totals)
    lowest = np.fmin.reduce(totals, axis=1, initial=np.inf, keepdims=True)
    tolerances = np.array([_tolerance(record) for record in table.records])[:, None]
    within = is_candidate & (totals <= lowest + np.maximum(tolerances, 0))
    cheapest_first = np.where(tolerances >= 0, np.nan_to_num(table.costs, nan=np.inf), 0.0)
    best = first_by_keys(
        np.where(tolerances >= 0, within, is_candidate), [cheapest_first, totals, table.losses]
    )
    return np.where(best == NO_EXPERT, table.chosen, best)


def _tolerance(record: DecisionRecord) -> float:
    """Return the tolerance of the preferences, -1 without one."""
    return -1.0 if record.tolerance is None else record.tolerance
