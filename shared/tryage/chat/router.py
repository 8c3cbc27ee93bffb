"""ChatRouter decides which expert answers a conversation: it keeps the model or routes anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from tryage.chat.conversation import (
    conversation_requirements,
    discriminating_requirements,
    is_near_context_limit,
    meets_requirements,
)
from tryage.chat.model_names import find_model
from tryage.chat.plan import RoutingPlan, recorded_choice
from tryage.chat.turn_memory import DEFAULT_MAX_AGE, TurnMemory
from tryage.core.preferences import Preferences
from tryage.core.ranking import Ranking
from tryage.core.request import ConversationContext
from tryage.core.token_estimate import estimate_tokens
from tryage.errors import InputError, LibraryError, NoExpertError, TryageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.chat.conversation import Conversation, TokenCounter
    from tryage.chat.plan import ReasonKind, RoutingRecord, TurnChoice
    from tryage.core.decision import Decision
    from tryage.core.preferences import Requirement
    from tryage.router import Router

Sticky: TypeAlias = Literal["turn", "thread", "call"]

Availability: TypeAlias = Callable[[str], bool]
"""Tells whether the expert of a name can be asked now."""


def _always(_: str) -> bool:
    return True


class ChatRouter:
    """Choose the expert for every conversation.

    Args:
        router: Chooses among the experts that can be asked.
        sticky: For how long a conversation stays with the expert that answered it: "turn" through
            a tool loop, "thread" as long as the expert can answer, "call" not at all. With each of
            them, the weight `switching` sets what it costs to leave the expert.
        memory: How many answers are remembered: the expert and short values, never a text.
        max_age: For how many seconds an answer is remembered.
        clock: Returns seconds that never go back.
        count: Counts the tokens of a text, where the estimate does not tell which experts have room
            for it.

    A conversation is known by the ids of the decisions that its answers hold, by its thread, or by
    what came before an answer in it. An equal first message is not the same conversation. Threads
    may share a `ChatRouter`.

    Raises:
        InputError: `sticky` is not one of the three.
    """

    def __init__(  # noqa: PLR0913 - independent settings with defaults
        self,
        router: Router,
        *,
        sticky: Sticky = "turn",
        memory: int = 1_024,
        max_age: float = DEFAULT_MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
        count: TokenCounter = estimate_tokens,
    ) -> None:
        self.router, self.sticky, self.count = router, _check_sticky(sticky), count
        # Two keys lead to an answer: the id of its decision, and the digest of what came before.
        self._choices: TurnMemory[TurnChoice] = TurnMemory(2 * memory, max_age, clock)
        self._last_served: TurnMemory[str] = TurnMemory(2 * memory, max_age, clock)

    def plan(
        self,
        conversation: Conversation,
        preferences: Preferences | None = None,
        *,
        model: str | None = None,
        sticky: Sticky | None = None,
        is_available: Availability = _always,
    ) -> RoutingPlan:
        """Choose for one conversation.

        Args:
            conversation: What is sent.
            preferences: Weights and requirements of this call.
            model: The name of the one expert to ask, however it ranks.
            sticky: For this call, instead of the router's own.
            is_available: A turn or a thread whose expert is not available is decided anew.

        Raises:
            LibraryError: `model` is unknown.
            InputError, FlagError, NoExpertError, PerceptionError: as in `Router.route`.
        """
        calls = [conversation], [preferences], [model], [sticky]
        return _plan_or_raise(self.plan_batch(*calls, is_available=is_available))

    def plan_batch(
        self,
        conversations: Sequence[Conversation],
        preferences: Sequence[Preferences | None],
        models: Sequence[str | None],
        stickies: Sequence[Sticky | None] | None = None,
        *,
        is_available: Availability = _always,
    ) -> list[RoutingPlan | TryageError]:
        """Choose for all conversations in one encoder pass; the arguments are those of `plan`.

        A conversation that cannot be routed has its error in the place of a plan.
        """
        stickies = [None] * len(conversations) if stickies is None else stickies
        calls = zip(conversations, preferences, models, stickies, strict=True)
        plans_or_pending = [self._prepare_or_error(*call, is_available) for call in calls]
        routed_plans = iter(
            self._route_pending(
                [plan for plan in plans_or_pending if isinstance(plan, _PendingPlan)]
            )
        )
        return [
            next(routed_plans) if isinstance(plan, _PendingPlan) else plan
            for plan in plans_or_pending
        ]

    def plan_from_record(  # noqa: PLR0913 - the arguments of `plan`, and what the caller stores
        self,
        conversation: Conversation,
        previous: Mapping[str, Any],
        turn: str,
        preferences: Preferences | None = None,
        *,
        model: str | None = None,
        sticky: Sticky | None = None,
        is_available: Availability = _always,
    ) -> RoutingPlan:
        """Choose for a caller that stores the records of its calls itself.

        It decides as `plan` does, but what `plan` remembers is read from `previous`: the record of
        the previous call, or {}. Its `served_by`, or else its `model`, names the expert that
        answered last. The turn continues if `turn`, the caller's key of the turn, is the same as in
        `previous`. Within a turn the plan repeats the reason and the scores of the decision.

        Raises:
            LibraryError: `model` is unknown.
            InputError, FlagError, NoExpertError, PerceptionError: as in `Router.route`.
        """
        current_model = self._recorded_model(previous)
        pending_plan = replace(
            self._read_call(conversation, preferences, model, sticky, is_available),
            current_model=current_model,
        )
        if (
            current_model is not None
            and previous.get("turn") == turn
            and self._keeps_turn(pending_plan, current_model)
        ):
            return self._kept_plan(pending_plan, recorded_choice(previous, current_model))
        return _plan_or_raise(self._route_pending([pending_plan]))

    def plan_record(
        self,
        conversation: Conversation,
        previous: Mapping[str, Any],
        turn: str,
        preferences: Preferences | None = None,
        **arguments: Any,  # noqa: ANN401 - the keyword arguments of `plan`
    ) -> RoutingRecord:
        """Return the record of `plan_from_record`, which takes the same arguments.

        It holds `turn` too.
        """
        plan = self.plan_from_record(conversation, previous, turn, preferences, **arguments)
        return {**plan.record(), "turn": turn}

    def mark_served(self, plan: RoutingPlan, name: str) -> None:
        """Remember which expert answered: the rest of the turn or thread may stay with it."""
        turn, preferences = plan.key
        for key in (turn, plan.id):
            self._last_served.put(key, name)
            if plan.reason_kind != "asked for":
                self._choices.put((key, preferences), plan.choice(name))

    def mark_failed(self, plan: RoutingPlan, name: str) -> None:
        """Forget that an expert answered in this conversation: it has failed now."""
        for key in plan.answer_keys:
            choice = self._choices.get((key, plan.key[1]))
            if choice is not None and choice.name == name:
                self._choices.discard((key, plan.key[1]))
            if self._last_served.get(key) == name:
                self._last_served.discard(key)

    def last_served_by(self, conversation: Conversation) -> str | None:
        """Return the expert that answered last, in this turn or an earlier one; None if unknown."""
        for key in chain.from_iterable(conversation.answer_keys):
            if (name := self._last_served.get(key)) is not None:
                return name
        return None

    # Reading calls

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
        self,
        conversation: Conversation,
        preferences: Preferences | None,
        model: str | None,
        sticky: Sticky | None,
        is_available: Availability,
    ) -> _PendingPlan | RoutingPlan | TryageError:
        try:
            return self._prepare(
                self._read_call(conversation, preferences, model, sticky, is_available)
            )
        except TryageError as error:
            return error

    def _prepare(self, pending_plan: _PendingPlan) -> _PendingPlan | RoutingPlan:
        """Return the plan of a turn that continues; in a new turn, the pending plan."""
        choice = self._turn_choice(pending_plan)
        current_model = self.last_served_by(pending_plan.conversation)
        pending_plan = replace(pending_plan, current_model=current_model)
        if choice is None or not self._keeps_turn(pending_plan, choice.name):
            return pending_plan
        return self._kept_plan(pending_plan, choice)

    def _kept_plan(self, pending_plan: _PendingPlan, choice: TurnChoice) -> RoutingPlan:
        """Return the plan of a turn that continues; it is decided if its expert fails."""
        return RoutingPlan(
            choice.name,
            "kept for the turn",
            pending_plan.key,
            lambda: self._route_batch([pending_plan])[0],
            pending_plan.answer_keys,
            pending_plan.requirements,
            choice,
        )

    def _read_call(
        self,
        conversation: Conversation,
        preferences: Preferences | None,
        model: str | None,
        sticky: Sticky | None,
        is_available: Availability,
    ) -> _PendingPlan:
        preferences = preferences or _NO_PREFERENCES
        key = (conversation.turn_keys[0], preferences)
        tokens = self._content_tokens(conversation)
        if model is not None:
            model = find_model(self.router.library, model)
            preferences = preferences.tightened(Preferences(only=[model]))
        return _PendingPlan(
            conversation,
            preferences,
            key,
            tokens + conversation.overhead_tokens,
            conversation_requirements(conversation, tokens),
            model,
            self.sticky if sticky is None else _check_sticky(sticky),
            is_available,
        )

    def _content_tokens(self, conversation: Conversation) -> float:
        """Return the tokens of the content, counted only where the estimate is not enough.

        A tokenizer takes much longer than the estimate.
        """
        estimate = conversation.text_tokens()
        if self.count is estimate_tokens:
            return estimate
        length = estimate + (conversation.answer_tokens or 0)
        is_near = is_near_context_limit(length, self.router.library)
        return conversation.text_tokens(self.count) if is_near else estimate

    def _turn_choice(self, pending_plan: _PendingPlan) -> TurnChoice | None:
        """Return what is remembered of the current turn, None if it is new."""
        for key in pending_plan.conversation.answer_keys[0]:
            choice = self._choices.get((key, pending_plan.key[1]))
            if choice is not None:
                return choice
        return None

    def _keeps_turn(self, pending_plan: _PendingPlan, current_model: str) -> bool:
        """Tell whether a turn that continues stays with the expert that answered in it."""
        if pending_plan.model is not None or pending_plan.sticky == "call":
            return False
        if not pending_plan.is_available(current_model):
            return False
        library = self.router.library
        return meets_requirements(pending_plan.requirements, library, library.index(current_model))

    # Routing

    def _route_pending(self, calls: Sequence[_PendingPlan]) -> list[RoutingPlan | TryageError]:
        """Decide in one encoder pass; if that fails, one by one, to tell which cannot be routed."""
        try:
            decisions = self._route_batch(calls)
        except TryageError as error:
            if len(calls) > 1:
                return [plan for call in calls for plan in self._route_pending([call])]
            return [self._plan_for_largest_context(calls[0]) or error]
        return [
            (self._plan_for_largest_context(call) if decision.default_used else None)
            or _build_plan(call, decision)
            for call, decision in zip(calls, decisions, strict=True)
        ]

    def _plan_for_largest_context(self, pending_plan: _PendingPlan) -> RoutingPlan | None:
        """Plan for a conversation that seems too long for every expert; None if it is not.

        The length is an estimate, and the expert itself knows best. So the experts are asked that
        meet everything else, in the order of their context.
        """
        length, *others = pending_plan.requirements
        library = self.router.library
        if not discriminating_requirements([length], library):
            return None
        try:
            (decision,) = self._route_batch([replace(pending_plan, requirements=tuple(others))])
        except NoExpertError:
            return None
        if decision.default_used:
            return None
        contexts = {
            expert.name: library[expert.name].context_length or 0 for expert in decision.ranking
        }
        names = sorted(contexts, key=lambda name: -contexts[name])
        context = (
            f"about {length.value:,.0f} tokens seem to be more than every model can read; "
            f"{names[0]} has the largest context, {contexts[names[0]]:,.0f} tokens"
        )
        plan = _build_plan(pending_plan, decision)
        kind: ReasonKind = "asked for" if plan.reason_kind == "asked for" else "routed"
        return replace(
            plan, first=names[0], reason_kind=kind, context=context, next_names=tuple(names)
        )

    def _route_batch(self, calls: Sequence[_PendingPlan]) -> list[Decision]:
        return self.router.route_batch(
            [call.conversation.request for call in calls],
            [self._routing_preferences(call) for call in calls],
            contexts=[_context(call) for call in calls],
        )

    def _routing_preferences(self, pending_plan: _PendingPlan) -> Preferences:
        """Return the preferences of the call, with what the conversation requires."""
        preferences = pending_plan.preferences
        requirements = discriminating_requirements(pending_plan.requirements, self.router.library)
        if not requirements:
            return preferences
        return Preferences(preferences.weights, (*preferences.requirements, *requirements))


_NO_PREFERENCES = Preferences()


@dataclass(frozen=True, slots=True)
class _PendingPlan:
    """One call that is not decided yet: what the caller asks for, and what is known about it.

    `model` is the expert that the caller asks for by name. `current_model` is the expert that
    answered the conversation last. The first of the `requirements` is the length.
    """

    conversation: Conversation
    preferences: Preferences
    key: tuple[str, Preferences]
    tokens: float
    requirements: tuple[Requirement, ...]
    model: str | None
    sticky: Sticky
    is_available: Availability
    current_model: str | None = None

    @property
    def answer_keys(self) -> tuple[str, ...]:
        """The keys of all answers of the conversation so far."""
        return tuple(chain.from_iterable(self.conversation.answer_keys))


def _check_sticky(sticky: Sticky) -> Sticky:
    if sticky not in get_args(Sticky):
        raise InputError(f"sticky is {sticky!r:.80}; expected one of {get_args(Sticky)}.")
    return sticky


def _context(call: _PendingPlan) -> ConversationContext:
    """Return what the cost of a call depends on; only an expert that has answered has a cache."""
    if call.current_model is None:
        return ConversationContext(call.tokens)
    cached_tokens = call.conversation.answered_tokens()
    return ConversationContext(call.tokens, call.current_model, cached_tokens)


def _build_plan(pending_plan: _PendingPlan, decision: Decision) -> RoutingPlan:
    name, current_model = decision.expert.name, pending_plan.current_model
    kind: ReasonKind = "routed"
    if pending_plan.model is not None and not decision.default_used:
        kind = "asked for"
    elif (
        pending_plan.sticky == "thread"
        and current_model is not None
        and _is_ranked(decision, current_model)
        and pending_plan.is_available(current_model)
    ):
        name, kind = current_model, "kept for the thread"
    return RoutingPlan(
        name,
        kind,
        pending_plan.key,
        lambda: decision,
        pending_plan.answer_keys,
        pending_plan.requirements,
    )


def _plan_or_raise(plans: Sequence[RoutingPlan | TryageError]) -> RoutingPlan:
    """Return the only plan.

    Raises:
        TryageError: there is an error in its place.
    """
    (plan,) = plans
    if isinstance(plan, TryageError):
        raise plan
    return plan


def _is_ranked(decision: Decision, name: str) -> bool:
    """Tell whether an expert is in the ranking, which means that it is not rejected."""
    if not isinstance(decision.ranking, Ranking):
        return False
    try:
        decision.ranking.entry(name)
    except LibraryError:
        return False
    return True
