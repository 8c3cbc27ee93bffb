"""Which expert answers a conversation: the router, asked once per turn, minding who serves it."""

from __future__ import annotations

from dataclasses import dataclass
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
    from collections.abc import Iterator, Sequence

    from tryage.chat.conversation import Conversation, TokenCounter
    from tryage.core.decision import Decision
    from tryage.router import Router

Sticky: TypeAlias = Literal["turn", "thread", "call"]

ReasonKind: TypeAlias = Literal["routed", "kept for the turn", "kept for the thread", "asked for"]

_MAX_RECORDED_SCORES = (
    5  # scores in a record: enough to see the field, little enough for every message
)


@dataclass(frozen=True, slots=True)
class _PendingPlan:
    """One conversation that is to be decided: what the router is asked, and what is known."""

    request: str
    preferences: Preferences
    context: ConversationContext
    key: tuple[str, Preferences]
    requirements: tuple[Requirement, ...]
    model: str | None


class ChatRouter:
    """Choose the expert for every conversation.

    Args:
        router: Chooses among the experts that can be asked.
        sticky: For how long a conversation stays with the expert that answered it: "turn" through
            a tool loop, "thread" for good while it can answer, "call" not at all. With any of
            them, the weight `switching` sets what leaving costs.
        memory: How many turns and conversations are remembered.
        count: Counts the tokens of a text; by default a rule of thumb.

    Threads may share it.

    Raises:
        InputError: `sticky` is none of the three.
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
        """Choose for one conversation; `model` names the one expert to ask, whoever is better.

        Raises:
            LibraryError: `model` is unknown.
            InputError, FlagError, NoExpertError, PerceptionError: as in `Router.route`.
        """
        (plan,) = self.plan_batch([conversation], [preferences], [model])
        if isinstance(plan, TryageError):
            raise plan
        return plan

    def plan_batch(
        self,
        conversations: Sequence[Conversation],
        preferences: Sequence[Preferences | None],
        models: Sequence[str | None],
    ) -> list[RoutingPlan | TryageError]:
        """Choose for every conversation, in one encoder pass; what cannot be routed is an error."""
        asked = zip(conversations, preferences, models, strict=True)
        begun = [self._prepare_or_error(*one) for one in asked]
        decided = iter(self._route_pending([one for one in begun if isinstance(one, _PendingPlan)]))
        return [next(decided) if isinstance(one, _PendingPlan) else one for one in begun]

    def mark_served(self, plan: RoutingPlan, name: str) -> None:
        """Remember who answered: the rest of the turn, or of the thread, may stay with it."""
        self._last_served.put(plan.key[0], name)
        if plan.reason_kind != "asked for":
            self._turn_decisions.put(plan.key, (plan.decision, name))

    def last_served_by(self, conversation: Conversation) -> str | None:
        """Return who answered the conversation last, in this turn or an earlier one."""
        for key in conversation.turn_keys:
            if (name := self._last_served.get(key)) is not None:
                return name
        return None

    def _prepare_or_error(
        self, conversation: Conversation, preferences: Preferences | None, model: str | None
    ) -> _PendingPlan | RoutingPlan | TryageError:
        """Return the plan of the turn that goes on; if there is none, what is to be decided."""
        try:
            return self._prepare(conversation, preferences or Preferences(), model)
        except TryageError as error:
            return error

    def _prepare(
        self, conversation: Conversation, preferences: Preferences, model: str | None
    ) -> _PendingPlan | RoutingPlan:
        tokens = conversation.tokens(self.count)
        library = self.router.library
        required = conversation_requirements(conversation, tokens)
        key = (conversation.turn_keys[0], preferences)
        if model is not None:
            model = library[model].name
            preferences = preferences.tightened(Preferences(only=[model]))
        elif plan := self._continue_turn(key, required):
            return plan
        wanted = preferences
        if discriminating := discriminating_requirements(required, library):
            wanted = Preferences(preferences.weights, (*preferences.requirements, *discriminating))
        context = ConversationContext(
            tokens, self.last_served_by(conversation), conversation.answered_tokens(self.count)
        )
        return _PendingPlan(conversation.request, wanted, context, key, required, model)

    def _continue_turn(
        self, key: tuple[str, Preferences], requirements: tuple[Requirement, ...]
    ) -> RoutingPlan | None:
        """Return the plan of the turn that goes on, if whoever has it can still answer."""
        held = None if self.sticky == "call" else self._turn_decisions.get(key)
        if held is None:
            return None
        decision, name = held
        if not meets_requirements(
            requirements, self.router.library, self.router.library.index(name)
        ):
            return None
        return RoutingPlan(decision, name, "kept for the turn", key, requirements)

    def _route_pending(self, pending: Sequence[_PendingPlan]) -> list[RoutingPlan | TryageError]:
        """Decide in one encoder pass; only where that fails, one by one to find the culprits."""
        try:
            return [
                self._build_plan(draft, decision)
                for draft, decision in zip(pending, self._route_batch(pending), strict=True)
            ]
        except TryageError as error:
            if len(pending) == 1:
                return [error]
            return [plan for draft in pending for plan in self._route_pending([draft])]

    def _route_batch(self, pending: Sequence[_PendingPlan]) -> list[Decision]:
        return self.router.route_batch(
            [draft.request for draft in pending],
            [draft.preferences for draft in pending],
            contexts=[draft.context for draft in pending],
        )

    def _build_plan(self, pending: _PendingPlan, decision: Decision) -> RoutingPlan:
        name = decision.expert.name
        how: ReasonKind = "routed"
        if pending.model is not None and not decision.default_used:
            how = "asked for"
        elif self.sticky == "thread" and _is_eligible(decision, pending.context.current):
            name, how = pending.context.current or name, "kept for the thread"
        return RoutingPlan(decision, name, how, pending.key, pending.requirements)


def _is_eligible(decision: Decision, name: str | None) -> bool:
    """Tell whether an expert has a place in the ranking: it was not rejected."""
    if name is None or not isinstance(decision.ranking, Ranking):
        return False
    try:
        decision.ranking.entry(name)
    except LibraryError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class RoutingPlan:
    """One conversation's decision.

    `first` names the expert that is asked first: the decision's own, unless `how` says that the
    conversation stays with another. `key` stands for the turn and what was asked of the choice;
    `needs` are what the conversation requires of any expert.
    """

    decision: Decision
    first: str
    reason_kind: ReasonKind
    key: tuple[str, Preferences]
    requirements: tuple[Requirement, ...] = ()

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
        """Yield who is asked: the first, then the rest of the ranking, best first.

        Who was asked for by name is asked alone: another's answer is not what was wanted.
        """
        yield self.first
        if self.reason_kind != "asked for":
            yield from (one.name for one in self.decision.ranking if one.name != self.first)

    def record(self, served_by: str | None = None) -> dict[str, Any]:
        """Return it JSON-safe and short, for a message or a trace; no word of the prompt."""
        best = self.decision.ranking[:_MAX_RECORDED_SCORES]
        name = served_by or self.first
        record: dict[str, Any] = {
            "model": name,
            "reason": self.reason if name == self.first else f"{self.first} failed",
            "how": self.reason_kind,
            "scores": {one.name: round(one.total, 6) for one in best},
        }
        if (confidence := self.decision.confidence) is not None:
            record["confidence"] = round(confidence, 4)
        if self.decision.flags:
            record["flags"] = list(self.decision.flags)
        return record
