"""Policies: small objects that change which expert is chosen, before the prediction or after it.

A policy reads numbers and returns a choice, with a state of its own at most. `first | second` lets
the second change what the first has chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tryage.core.cache import cached_property, get_or_compute
from tryage.core.choice import NO_EXPERT
from tryage.core.costs import assumed_costs, request_costs
from tryage.core.policy_change import PolicyChange
from tryage.core.request_batch import ALL
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from typing_extensions import Self

    from tryage.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
    from tryage.core.decision import Decision, ScoredBatch
    from tryage.core.library import Library
    from tryage.core.policy_change import CallPlan
    from tryage.core.request import RoutingRequest
    from tryage.core.simulated_answer import Ask, SimulatedAnswer


@dataclass(frozen=True, eq=False)
class PolicyBatch:
    """What a policy reads about the prompts of a batch, which share their preferences.

    `requests` `(batch,)` hold the texts, keys and tags. `choice` `(batch,)` are the positions in
    the library of the experts chosen so far, `NO_EXPERT` where the default answers or an earlier
    policy has an answer already: a policy leaves these. `ids` `(batch,)` are those of the
    decisions, empty where there are none yet. `rescore` predicts and scores other texts with these
    preferences, None without a router. All tables are `(batch, n_experts)`.
    """

    scored: ScoredBatch
    requests: Sequence[RoutingRequest]
    choice: IndexArray
    ids: Sequence[str] = ()
    rescore: Callable[[Sequence[RoutingRequest]], ScoredBatch] | None = None

    @property
    def library(self) -> Library:
        """The n experts."""
        return self.scored.library

    @property
    def losses(self) -> FloatArray:
        """The predicted losses."""
        return self.scored.prediction.losses

    @property
    def std(self) -> FloatArray:
        """The standard deviations of the mean losses, NaN where unknown."""
        return self.scored.prediction.std

    @cached_property
    def totals(self) -> FloatArray:
        """The predicted losses plus all terms of the preferences."""
        return self.scored.routing_loss.total

    @property
    def eligible(self) -> BoolArray:
        """Which experts meet the requirements and have a prediction."""
        return self.scored.eligibility.eligible

    @cached_property
    def costs(self) -> Float64Array:
        """The expected USD of each request, NaN where unknown."""
        request = self.scored.request
        if request is None:
            return np.full(self.losses.shape, np.nan)
        return np.asarray(request_costs(self.library, request, ALL, np.float64), np.float64)

    @cached_property
    def counted_costs(self) -> Float64Array:
        """The expected USD, where unknown that of a dear model: an unknown price is never free."""
        request = self.scored.request
        if request is None:
            return self.costs
        return np.where(np.isnan(self.costs), assumed_costs(request)[:, None], self.costs)

    def with_choice(self, choice: IndexArray) -> PolicyBatch:
        """Return the batch with other experts chosen so far."""
        return replace(self, choice=choice)


@dataclass(frozen=True, eq=False)
class PolicyChoice:
    """What a policy chooses for each prompt of a batch.

    `experts` `(batch,)` are positions in the library, `NO_EXPERT` where the batch has it. `reasons`
    say why, None where the policy chooses nothing; a reason whose expert is not another one is in
    the records, too. `calls` say how the experts are called; those without a reason are for what
    may happen, and are in no record. `propensities` are the probabilities
    of the experts by name, None where nothing was drawn; the most probable one is what would be
    chosen if nothing were. `is_final` `(batch,)` are the prompts that are answered by this choice
    alone, such as from a cache: later policies leave them.
    """

    experts: IndexArray
    reasons: Sequence[str | None]
    calls: Sequence[CallPlan | None] | None = None
    propensities: Sequence[Mapping[str, float] | None] | None = None
    is_final: BoolArray | None = None

    def left_to_others(self, earlier: IndexArray) -> IndexArray:
        """Return what later policies see as chosen, `NO_EXPERT` where they leave the prompt."""
        is_left = earlier == NO_EXPERT
        if self.is_final is not None:
            is_left |= self.is_final
        return np.where(is_left, NO_EXPERT, self.experts)


class PolicyStage(IntEnum):
    """What a policy does to a request, in the order in which it is done."""

    RESTRICTION = 1  # which experts may be chosen
    CACHE = 2  # whether an answer is there already
    CHOICE = 3  # which expert is chosen
    LIMIT = 4  # a cheaper one where that is too dear: a limit holds whatever is chosen
    CASCADE = 5  # who is asked after the chosen expert, if its answer is not kept
    HEDGE = 6  # who is asked beside an expert that is late


class Policy:
    """The base of all policies, which changes nothing. A subclass overrides what it needs.

    The methods may be called by several threads at once. A policy with a `stage` stands in a chain
    behind those of earlier stages; one without may stand anywhere.
    """

    stage: ClassVar[PolicyStage | None] = None

    @property
    def name(self) -> str:
        """What the policy is called in records."""
        return type(self).__name__

    def bind(self, library: Library, traffic: Any) -> Policy:  # noqa: ANN401, ARG002 - a Traffic or None, which core does not know; subclasses read it
        """Return the policy for a router: its experts, and the log that may keep its state.

        The result shares the state of this one.

        Raises:
            InputError: the policy does not fit the experts.
        """
        return self

    def continue_from(self, earlier: Policy) -> bool:  # noqa: ARG002 - subclasses read it
        """Take over the state of an earlier policy if both mean the same; return whether they do.

        It is called before this one is bound, when settings have changed in a running process.
        """
        return False

    def restrict(
        self,
        requests: Sequence[RoutingRequest],
        library: Library,  # noqa: ARG002 - subclasses read it
    ) -> Sequence[RoutingRequest]:
        """Return the requests with other preferences, before the prediction."""
        return requests

    def choose(self, batch: PolicyBatch) -> PolicyChoice | None:  # noqa: ARG002 - subclasses read it
        """Choose the expert of each prompt, after the prediction; None changes nothing.

        It is called also for decisions that are never acted on, such as an explanation.
        """
        return None

    def record(self, decision: Decision) -> None:
        """Take note of a decision that is acted on."""

    def record_kept(self, decision_id: str, expert: str, keys: Mapping[str, str]) -> None:
        """Take note of a call that needed no decision: its turn stays with the expert.

        `keys` say whose call it is, as those of a request do.
        """

    def settle(
        self,
        decision_id: str,
        expert: str | None,
        *,
        cost: float | None = None,
        latency: float | None = None,
    ) -> None:
        """Take note of what came of a decision, or of a call that needed none.

        Args:
            decision_id: Its id.
            expert: The one that answered, None if none did.
            cost: USD as billed for all that was called, None where unknown.
            latency: Seconds until the answer was complete.
        """

    def serve(
        self,
        decision: Decision,  # noqa: ARG002 - subclasses read it
        expert: str,
        ask: Ask,
    ) -> SimulatedAnswer:
        """Answer a request of a simulation: what chat models do with the decision, without models.

        A policy that calls more than one expert, or none, overrides it.

        Args:
            decision: It holds the prompt, and in `calls` how the expert is called.
            expert: The one to ask: the chosen one, or that to which an earlier policy turns.
            ask: Asks an expert, as the later policies do that.
        """
        return ask(expert)

    def set_clock(self, clock: Callable[[], float]) -> None:
        """Read the time (seconds since 1970) from a function: a simulation has its own.

        A policy whose choices depend on the time overrides it.
        """

    def policies(self) -> tuple[Policy, ...]:
        """Return the single policies that this one consists of, in their order."""
        return (self,)

    def __or__(self, other: Policy) -> Policy:
        """Return both: the other one changes what this one has chosen."""
        if not isinstance(other, Policy):
            return NotImplemented
        return PolicyChain((*self.policies(), *other.policies()))


class PolicyChain(Policy):
    """Policies that act one after another, the first one first.

    All restrict the requests before the prediction, and then all choose. Each has to leave what an
    earlier one requires: it chooses among the experts that are still eligible. Of two that choose
    the expert, the second has the last word.

    Raises:
        InputError: something is no policy, or a policy stands behind one of a later stage.
    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = tuple(part for one in policies for part in check_policy(one).policies())
        _check_order(self._policies)

    @property
    def name(self) -> str:
        """The names of all."""
        return " | ".join(one.name for one in self._policies)

    def policies(self) -> tuple[Policy, ...]:
        """Return the single policies in their order."""
        return self._policies

    def bind(self, library: Library, traffic: Any) -> Self:  # noqa: ANN401 - as in the base class
        """Return the chain of what each policy returns."""
        return type(self)([one.bind(library, traffic) for one in self._policies])

    def restrict(
        self, requests: Sequence[RoutingRequest], library: Library
    ) -> Sequence[RoutingRequest]:
        """Let all policies restrict the requests, one after another."""
        for one in self._policies:
            requests = one.restrict(requests, library)
        return requests

    def record(self, decision: Decision) -> None:
        """Tell all policies of a decision that is acted on."""
        for one in self._policies:
            one.record(decision)

    def record_kept(self, decision_id: str, expert: str, keys: Mapping[str, str]) -> None:
        """Tell all policies of a call that needed no decision."""
        for one in self._policies:
            one.record_kept(decision_id, expert, keys)

    def settle(
        self,
        decision_id: str,
        expert: str | None,
        *,
        cost: float | None = None,
        latency: float | None = None,
    ) -> None:
        """Tell all policies what came of a decision."""
        for one in self._policies:
            one.settle(decision_id, expert, cost=cost, latency=latency)

    def serve(self, decision: Decision, expert: str, ask: Ask) -> SimulatedAnswer:
        """Let the first policy answer, which asks the experts as the later ones do."""
        for one in reversed(self._policies):
            ask = _served_by(one, decision, ask)
        return ask(expert)

    def set_clock(self, clock: Callable[[], float]) -> None:
        """Set the clock of all policies."""
        for one in self._policies:
            one.set_clock(clock)

    def __repr__(self) -> str:
        """Show the policies."""
        return " | ".join(map(repr, self._policies))


def check_single_calls(policies: Iterable[Policy], caller: str) -> None:
    """Refuse single policies that say how experts are called, where only the chosen one is called.

    Raises:
        InputError: there is one; the message names the `caller`.
    """
    for one in policies:
        if one.stage in (PolicyStage.CACHE, PolicyStage.CASCADE, PolicyStage.HEDGE):
            raise InputError(
                f"{one.name} asks other experts than the chosen one, or none, and {caller} runs "
                "the chosen one alone. Give the policy to ChatTryage, TryageLLM or "
                "TryageMiddleware."
            )


def _check_order(policies: Sequence[Policy]) -> None:
    """Refuse policies in another order than that of their stages.

    Raises:
        InputError: it says in which order they are right.
    """
    staged = [one for one in policies if one.stage is not None]
    ordered = sorted(staged, key=lambda one: one.stage or 0)
    if staged == ordered:
        return
    given, expected = (" | ".join(one.name for one in order) for order in (staged, ordered))
    raise InputError(
        f"The policies are in the order {given}; expected {expected}: first what restricts the "
        "experts, then a cache, what chooses the expert, a budget, a cascade, and a hedge."
    )


def _served_by(policy: Policy, decision: Decision, ask: Ask) -> Ask:
    return lambda expert: policy.serve(decision, expert, ask)


def check_policy(policy: object) -> Policy:
    """Return a policy, if it is one.

    Raises:
        InputError: it is none.
    """
    if isinstance(policy, Policy):
        return policy
    hint = " Make an object of it: Budget(...)." if isinstance(policy, type) else ""
    raise InputError(
        f"policy is {policy!r:.80}; expected a policy of tryage.policies, such as "
        f"Budget(usd_per_day=5), or several as `first | second`.{hint}"
    )


def apply_policy(
    policy: Policy,
    batch: ScoredBatch,
    requests: Sequence[RoutingRequest],
    decisions: Sequence[Decision],
    rescore: Callable[[Sequence[RoutingRequest]], ScoredBatch] | None = None,
) -> list[Decision]:
    """Return the decisions of a batch as a policy changes them.

    `requests` and `decisions` `(batch,)` are those of the scored prompts, and `rescore` scores
    other texts for a policy. Decisions for the default stay as they are.

    Raises:
        InputError: a policy has chosen an expert that is not eligible.
    """
    positions = [
        NO_EXPERT if one.default_used else batch.library.index(one.expert.name) for one in decisions
    ]
    ids = [one.id for one in decisions]
    view = PolicyBatch(batch, requests, np.array(positions, np.intp), ids, rescore)
    changed = [replace(one, changes=row.changes) for one, row in _zip(decisions, requests)]
    for one in policy.policies():
        choice = one.choose(view)
        if choice is not None:
            changed = [
                _changed(one, batch, i, decision, choice) for i, decision in enumerate(changed)
            ]
            view = view.with_choice(choice.left_to_others(view.choice))
    return changed


def _zip(
    decisions: Sequence[Decision], requests: Sequence[RoutingRequest]
) -> zip[tuple[Decision, RoutingRequest]]:
    return zip(decisions, requests, strict=True)


def _with_calls(decision: Decision, earlier: CallPlan | None, later: CallPlan | None) -> Decision:
    """Return the decision with what two policies plan for its calls."""
    calls = later if earlier is None else earlier.merged(later)
    return decision if calls is decision.calls else replace(decision, calls=calls)


def _check_eligible(policy: Policy, batch: ScoredBatch, i: int, expert: int) -> None:
    """Raise `InputError` for a choice that the requirements of prompt `i` rule out."""
    if expert == NO_EXPERT or not batch.eligibility.eligible[i, expert]:
        what = "no expert" if expert == NO_EXPERT else batch.library.names[expert]
        raise InputError(
            f"The policy {policy.name} has chosen {what} for a prompt, which is not eligible: a "
            "policy chooses among `batch.eligible`."
        )


def _changed(
    policy: Policy, batch: ScoredBatch, i: int, decision: Decision, choice: PolicyChoice
) -> Decision:
    """Return the decision for prompt `i` with what a policy chooses."""
    reason = choice.reasons[i]
    if decision.default_used:
        return decision
    planned = None if choice.calls is None else choice.calls[i]
    if reason is None:
        return _with_calls(decision, decision.calls, planned)
    library, expert = batch.library, int(choice.experts[i])
    _check_eligible(policy, batch, i, expert)
    before, after = decision.expert.name, library.names[expert]
    calls = decision.calls if before == after else None  # they begin with the expert of before
    change = PolicyChange(policy.name, reason, before, after)
    decision = _with_calls(replace(decision, changes=(*decision.changes, change)), calls, planned)
    propensities = None if choice.propensities is None else choice.propensities[i]
    if propensities is not None:
        decision = _with_draw(decision, after, propensities)
    elif before != after:  # what an earlier policy has drawn is not asked
        decision = replace(decision, propensity=1.0, propensities={}, explored=False)
    if before == after:
        return decision
    return replace(
        decision,
        expert=get_or_compute(library, ("expert", expert), lambda: library[expert]),
        ranking=batch.ranking(i).with_first(expert),
        frozen_choice=None if decision.frozen_choice is None else _undrawn(propensities, after),
    )


def _with_draw(decision: Decision, drawn: str, propensities: Mapping[str, float]) -> Decision:
    """Return the decision with the probabilities from which a policy has drawn its expert."""
    likely = _undrawn(propensities, drawn)
    return replace(
        decision,
        propensity=propensities[drawn],
        propensities=dict(propensities),
        explored=drawn != likely,
        frozen_choice=likely,
    )


def _undrawn(propensities: Mapping[str, float] | None, chosen: str) -> str:
    """Return the expert that would be chosen if nothing were drawn."""
    return chosen if not propensities else max(propensities, key=propensities.__getitem__)
