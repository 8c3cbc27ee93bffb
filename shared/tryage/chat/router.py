"""ChatRouter decides which expert answers a conversation: it keeps the model or routes anew."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from tryage.chat.conversation import (
    conversation_requirements,
    discriminating_requirements,
    meets_requirements,
)
from tryage.core.cache import LRUCache
from tryage.core.preferences import Preferences, Requirement
from tryage.core.ranking import Ranking
from tryage.core.request import ConversationContext, estimate_tokens
from tryage.errors import InputError, LibraryError, TryageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tryage.chat.conversation import Conversation, TokenCounter
    from tryage.core.decision import Decision
    from tryage.router import Router

Sticky: TypeAlias = Literal["turn", "thread", "call"]

ReasonKind: TypeAlias = Literal["routed", "kept for the turn", "kept for the thread", "asked for"]

RoutingRecord: TypeAlias = dict[str, Any]
"""A plan as plain values: for a message, a trace or a checkpoint, which may refuse classes.

`id` is the random id of the plan, `model` the expert that answers, `how` the kind of the choice (a
`ReasonKind`), `reason` the choice in words, `scores` the totals of the best experts; `confidence`
and `flags` are there if they are known. The fallback adds the models that failed, and the agents'
middleware `served_by`, the model that answered.
"""

_MAX_RECORDED_SCORES = 5  # enough to compare the best experts, short enough for every message


class ChatRouter:
    """Choose the expert for every conversation.

    Args:
        router: Chooses among the experts that can be asked.
        sticky: For how long a conversation stays with the expert that answered it: "turn" through
            a tool loop, "thread" as long as the expert can answer, "call" not at all. With each of
            them, the weight `switching` sets what it costs to leave the expert.
        memory: How many turns and conversations are remembered.
        count: Counts the tokens of a text; the default is a rule of thumb.

    Threads may share it.

    Raises:
        InputError: `sticky` is not one of the three.
    """

    def __init__(
        self,
        router: Router,
        *,
        sticky: Sticky = "turn",
        memory: int = 1_024,
        count: TokenCounter = estimate_tokens,
    ) -> None:
        if sticky not in get_args(Sticky):
            raise InputError(f"sticky is {sticky!r:.80}; expected one of {get_args(Sticky)}.")
        self.router, self.sticky, self.count = router, sticky, count
        self._turn_decisions: LRUCache[tuple[Decision, str]] = LRUCache(memory)
        self._last_served: LRUCache[str] = LRUCache(memory)

    def plan(
        self,
        conversation: Conversation,
        preferences: Preferences | None = None,
        *,
        model: str | None = None,
    ) -> RoutingPlan:
        """Choose for one conversation; `model` names the one expert to ask, however it ranks.

        Raises:
            LibraryError: `model` is unknown.
            InputError, FlagError, NoExpertError, PerceptionError: as in `Router.route`.
        """
        return _plan_or_raise(self.plan_batch([conversation], [preferences], [model]))

    def plan_batch(
        self,
        conversations: Sequence[Conversation],
        preferences: Sequence[Preferences | None],
        models: Sequence[str | None],
    ) -> list[RoutingPlan | TryageError]:
        """Choose for all conversations in one encoder pass.

        A conversation that cannot be routed has its error in the place of a plan.
        """
        calls = zip(conversations, preferences, models, strict=True)
        plans_or_pending = [self._prepare_or_error(*call) for call in calls]
        routed_plans = iter(
            self._route_pending(
                [plan for plan in plans_or_pending if isinstance(plan, _PendingPlan)]
            )
        )
        return [
            next(routed_plans) if isinstance(plan, _PendingPlan) else plan
            for plan in plans_or_pending
        ]

    def plan_record(
        self,
        conversation: Conversation,
        previous: Mapping[str, Any],
        turn: str,
        preferences: Preferences | None = None,
        *,
        model: str | None = None,
    ) -> RoutingRecord:
        """Choose for a caller that stores the records of its calls itself.

        It decides as `plan` does, but what `plan` remembers is read from `previous`: the record of
        the previous call, or {}. Its `served_by`, or else its `model`, names the expert that
        answered last. The turn continues if `turn`, the caller's key of the turn, is the same. The
        new record holds `turn` too. Within a turn it repeats the reason and the scores of the
        decision.

        Raises:
            LibraryError: `model` is unknown.
            InputError, FlagError, NoExpertError, PerceptionError: as in `Router.route`.
        """
        current_model = self._recorded_model(previous)
        pending_plan = self._read_call(conversation, preferences, model, turn)
        if previous.get("turn") == turn and self._keeps_turn(pending_plan, current_model):
            turn_record = {key: value for key, value in previous.items() if key != "served_by"}
            kept = {
                "id": _new_id(),
                "model": current_model,
                "how": "kept for the turn",
                "turn": turn,
            }
            return {**turn_record, **kept}
        plan = _plan_or_raise(
            self._route_pending([replace(pending_plan, current_model=current_model)])
        )
        return {**plan.record(), "turn": turn}

    def mark_served(self, plan: RoutingPlan, name: str) -> None:
        """Remember which expert answered: the rest of the turn or thread may stay with it."""
        self._last_served.put(plan.key[0], name)
        if plan.reason_kind != "asked for":
            self._turn_decisions.put(plan.key, (plan.decision, name))

    def last_served_by(self, conversation: Conversation) -> str | None:
        """Return the expert that answered last, in this turn or an earlier one; None if unknown."""
        for key in conversation.turn_keys:
            if (name := self._last_served.get(key)) is not None:
                return name
        return None

    def _recorded_model(self, record: Mapping[str, Any]) -> str | None:
        """Return the expert that answered last by a record; None if the library lacks it.

        A reply may name a model by an alias, such as its dated version.
        """
        library = self.router.library
        for name in (record.get("served_by"), record.get("model")):
            if name in library:
                return library.names[library.index(str(name))]
        return None

    def _prepare_or_error(
        self, conversation: Conversation, preferences: Preferences | None, model: str | None
    ) -> _PendingPlan | RoutingPlan | TryageError:
        try:
            return self._prepare(conversation, preferences, model)
        except TryageError as error:
            return error

    def _prepare(
        self, conversation: Conversation, preferences: Preferences | None, model: str | None
    ) -> _PendingPlan | RoutingPlan:
        """Return the plan of a turn that continues; in a new turn, the pending plan."""
        pending_plan = self._read_call(conversation, preferences, model, conversation.turn_keys[0])
        turn_decision = self._turn_decisions.get(pending_plan.key)
        if turn_decision is not None and self._keeps_turn(pending_plan, turn_decision[1]):
            return RoutingPlan(
                *turn_decision, "kept for the turn", pending_plan.key, pending_plan.requirements
            )
        return replace(pending_plan, current_model=self.last_served_by(conversation))

    def _read_call(
        self,
        conversation: Conversation,
        preferences: Preferences | None,
        model: str | None,
        turn: str,
    ) -> _PendingPlan:
        preferences = preferences or Preferences()
        key = (turn, preferences)
        tokens = conversation.tokens(self.count)
        requirements = conversation_requirements(conversation, tokens)
        if model is not None:
            model = self.router.library[model].name
            preferences = preferences.tightened(Preferences(only=[model]))
        return _PendingPlan(conversation, preferences, key, tokens, requirements, model)

    def _keeps_turn(self, pending_plan: _PendingPlan, current_model: str | None) -> bool:
        """Tell whether a turn that continues stays with the expert that answered in it."""
        if current_model is None or pending_plan.model is not None or self.sticky == "call":
            return False
        library = self.router.library
        return meets_requirements(pending_plan.requirements, library, library.index(current_model))

    def _route_pending(self, calls: Sequence[_PendingPlan]) -> list[RoutingPlan | TryageError]:
        """Decide in one encoder pass; if that fails, one by one, to tell which cannot be routed."""
        try:
            decisions = self._route_batch(calls)
        except TryageError as error:
            if len(calls) == 1:
                return [error]
            return [plan for call in calls for plan in self._route_pending([call])]
        return [self._build_plan(*pair) for pair in zip(calls, decisions, strict=True)]

    def _route_batch(self, calls: Sequence[_PendingPlan]) -> list[Decision]:
        return self.router.route_batch(
            [call.conversation.request for call in calls],
            [self._routing_preferences(call) for call in calls],
            contexts=[
                ConversationContext(
                    call.tokens, call.current_model, call.conversation.answered_tokens(self.count)
                )
                for call in calls
            ],
        )

    def _routing_preferences(self, pending_plan: _PendingPlan) -> Preferences:
        """Return the preferences of the call, with what the conversation requires."""
        preferences = pending_plan.preferences
        requirements = discriminating_requirements(pending_plan.requirements, self.router.library)
        if not requirements:
            return preferences
        return Preferences(preferences.weights, (*preferences.requirements, *requirements))

    def _build_plan(self, pending_plan: _PendingPlan, decision: Decision) -> RoutingPlan:
        name = decision.expert.name
        kind: ReasonKind = "routed"
        if pending_plan.model is not None and not decision.default_used:
            kind = "asked for"
        elif self.sticky == "thread" and _is_ranked(decision, pending_plan.current_model):
            name, kind = pending_plan.current_model or name, "kept for the thread"
        return RoutingPlan(decision, name, kind, pending_plan.key, pending_plan.requirements)


def _new_id() -> str:
    """Return a random id of a decision, 16 hexadecimal digits."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class RoutingPlan:
    """The decision about one conversation.

    `first` names the expert that is asked first. It is the decision's own expert, unless
    `reason_kind` says that the conversation stays with another one. `key` stands for the turn and
    the preferences of the call. `requirements` are what the conversation requires of any expert.
    `id` is random, and the same in the record, in the logs and on the answer.
    """

    decision: Decision
    first: str
    reason_kind: ReasonKind
    key: tuple[str, Preferences]
    requirements: tuple[Requirement, ...] = ()
    id: str = field(default_factory=_new_id)

    @property
    def reason(self) -> str:
        """Why `first` is asked first, in a few words."""
        if self.reason_kind != "routed":
            return self.reason_kind
        if self.decision.default_used:
            return f"default: {self.decision.default_reason}"
        if len(self.decision.ranking) < 2:
            return "the only one that could be chosen"
        return f"lowest total of {len(self.decision.ranking)}"

    def order(self) -> Iterator[str]:
        """Yield the experts in the order of asking: the first, then the ranking, best first.

        An expert that the caller asks for by name is the only one.
        """
        yield self.first
        if self.reason_kind != "asked for":
            yield from (
                expert.name for expert in self.decision.ranking if expert.name != self.first
            )

    def record(self, served_by: str | None = None) -> RoutingRecord:
        """Return the plan, short and JSON-safe, for a message or a trace; without the prompt."""
        best_experts = self.decision.ranking[:_MAX_RECORDED_SCORES]
        name = served_by or self.first
        record: RoutingRecord = {
            "id": self.id,
            "model": name,
            "reason": self.reason if name == self.first else f"{self.first} failed",
            "how": self.reason_kind,
            "scores": {expert.name: round(expert.total, 6) for expert in best_experts},
        }
        if (confidence := self.decision.confidence) is not None:
            record["confidence"] = round(confidence, 4)
        if self.decision.flags:
            record["flags"] = list(self.decision.flags)
        return record


@dataclass(frozen=True, slots=True)
class _PendingPlan:
    """One call that is not decided yet: what the caller asks for, and what is known about it.

    `model` is the expert that the caller asks for by name. `current_model` is the expert that
    answered the conversation last.
    """

    conversation: Conversation
    preferences: Preferences
    key: tuple[str, Preferences]
    tokens: float
    requirements: tuple[Requirement, ...]
    model: str | None
    current_model: str | None = None


def _plan_or_raise(plans: Sequence[RoutingPlan | TryageError]) -> RoutingPlan:
    """Return the only plan.

    Raises:
        TryageError: there is an error in its place.
    """
    (plan,) = plans
    if isinstance(plan, TryageError):
        raise plan
    return plan


def _is_ranked(decision: Decision, name: str | None) -> bool:
    """Tell whether an expert is in the ranking, which means that it is not rejected."""
    if name is None or not isinstance(decision.ranking, Ranking):
        return False
    try:
        decision.ranking.entry(name)
    except LibraryError:
        return False
    return True
