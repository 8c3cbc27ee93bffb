"""ChatRouter decides which expert answers a conversation: it keeps the model or routes anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from tryage.chat.conversation import (
    capability_requirements,
    discriminating_requirements,
    is_near_context_limit,
    length_requirement,
    meets_requirements,
    shortest_context,
)
from tryage.chat.costs import PoolPrices
from tryage.chat.model_names import find_model
from tryage.chat.plan import (
    DEFAULT_MAX_AGE,
    RoutingPlan,
    TurnMemory,
    plan_or_raise,
    recorded_choice,
)
from tryage.core.cache import cached_property
from tryage.core.decision import needs_token_counts
from tryage.core.preferences import Preferences
from tryage.core.ranking import Ranking
from tryage.core.request import ConversationContext
from tryage.core.request_key import NOT_COMPARABLE
from tryage.core.token_estimate import estimate_tokens
from tryage.errors import InputError, LibraryError, NoExpertError, TryageError
from tryage.policies.answer_cache import answer_caches
from tryage.telemetry.observer import measured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.chat.conversation import Conversation, TokenCounter
    from tryage.chat.plan import ReasonKind, RoutingRecord, TurnChoice
    from tryage.core.decision import Decision
    from tryage.core.preferences import Requirement
    from tryage.core.request_key import RequestKey
    from tryage.policies.answer_cache import AnswerCache
    from tryage.router import Router

Sticky: TypeAlias = Literal["turn", "thread", "call"]

Availability: TypeAlias = Callable[[str], bool]
"""Tells whether the expert of a name can be asked now."""


RETRY_SECONDS = 300.0
"""How soon after an answer the same message again means that the answer was of no use."""


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
        self.router, self.sticky, self.count = router, check_sticky(sticky), count
        # Two keys lead to an answer: the id of its decision, and the digest of what came before.
        self._answers: TurnMemory[_Answer] = TurnMemory(2 * memory, max_age, clock)
        self._clock = clock
        self._required: list[Requirement] = []  # beside what conversations require

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
        return plan_or_raise(self.plan_batch(*calls, is_available=is_available))

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
        call = self._read_call(
            conversation, preferences, model, sticky, is_available, current_model
        )
        if (
            current_model is not None
            and previous.get("turn") == turn
            and self._keeps_turn(call, current_model)
        ):
            return self._kept_plan(call, self._recorded_choice(previous, current_model))
        return plan_or_raise(self._route_pending([call]))

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
        choice = None if plan.reason_kind == "asked for" else plan.choice(name)
        answer = _Answer(name, preferences, choice, plan.id, self._clock())
        self._answers.put(turn, answer)
        self._answers.put(plan.id, answer)

    def mark_failed(self, plan: RoutingPlan, name: str) -> None:
        """Forget that an expert answered in this conversation: it has failed now."""
        for key in plan.answer_keys:
            answer = self._answers.get(key)
            if answer is not None and answer.name == name:
                self._answers.discard(key)

    def last_served_by(self, conversation: Conversation) -> str | None:
        """Return the expert that answered last, in this turn or an earlier one; None if unknown."""
        for key in chain.from_iterable(conversation.answer_keys):
            if (answer := self._answers.get(key)) is not None:
                return answer.name
        return None

    def continue_from(self, earlier: ChatRouter) -> None:
        """Remember the conversations of an earlier router, as far as new requirements allow."""
        self._answers = earlier._answers
        old = {*earlier.router.preferences.requirements} - {*earlier._required}
        own = [one for one in self.router.preferences.requirements if one.field != "cost"]
        self._required = [one for one in own if one not in old]
        self.router.continue_from(earlier.router)

    def record(self, plan: RoutingPlan) -> None:
        """Write a plan into the router's log, if it has one: its models are asked now."""
        conversation = plan.conversation
        if not self.router.records or conversation is None:
            return
        tokens = conversation.tokens()
        if plan.turn_choice is None:
            self.router.record(
                plan.decision, decision_id=plan.id, chosen=plan.first, prompt_tokens=tokens
            )
        else:
            self.router.record_kept(
                plan.id,
                plan.first,
                position=plan.turn_choice.position,
                kind=plan.turn_choice.kind,
                prompt_tokens=tokens,
                keys=conversation.log_keys,
                tags=conversation.tags,
            )

    def retried(self, plan: RoutingPlan) -> _Answer | None:
        """Return the answer that a user did not take: the same message comes again soon after it.

        The same conversation is asked for again, or the message is that before the last answer.
        None otherwise, and for equal messages that may be of two users.
        """
        return None if plan.conversation is None else self._retried_answer(plan.conversation)

    def _retried_answer(self, conversation: Conversation) -> _Answer | None:
        if not conversation.is_continued:
            return None
        keys = [conversation.turn_keys[0]]
        if conversation.repeats_request:
            keys += conversation.answer_keys[1]
        for key in keys:
            answer = self._answers.get(key)
            if answer is not None and self._clock() - answer.time <= RETRY_SECONDS:
                return answer
        return None

    # Reading calls

    def _recorded_choice(self, previous: Mapping[str, Any], model: str) -> TurnChoice:
        """Return the choice of a record; what no record holds comes from this process's memory."""
        choice, answer = recorded_choice(previous, model), self._answers.get(previous.get("id"))
        if answer is None or answer.choice is None:
            return choice
        return replace(choice, position=answer.choice.position, kind=answer.choice.kind)

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
        """Return the plan of a turn that continues; in a new turn, the pending plan."""
        try:
            call = self._read_call(
                conversation,
                preferences,
                model,
                sticky,
                is_available,
                self.last_served_by(conversation),
            )
        except TryageError as error:
            return error
        choice = self._turn_choice(call)
        if choice is None or not self._keeps_turn(call, choice.name):
            return call
        return self._kept_plan(call, choice)

    def _read_call(  # noqa: PLR0913 - what a call consists of
        self,
        conversation: Conversation,
        preferences: Preferences | None,
        model: str | None,
        sticky: Sticky | None,
        is_available: Availability,
        current_model: str | None,
    ) -> _PendingPlan:
        preferences = preferences or _NO_PREFERENCES
        turn_key = (conversation.turn_keys[0], preferences)
        if model is not None:
            model = find_model(self.router.library, model)
            preferences = preferences.tightened(Preferences(only=[model]))
        return _PendingPlan(
            conversation,
            preferences,
            turn_key,
            self._length_requirement(conversation),
            model,
            self.sticky if sticky is None else check_sticky(sticky),
            is_available,
            current_model,
        )

    def _length_requirement(self, conversation: Conversation) -> Requirement | None:
        """Return how long a context must be; None if the conversation fits into every one.

        It is counted only where the estimate is not enough, because a tokenizer takes much longer.
        """
        library, reserve = self.router.library, conversation.answer_reserve
        if conversation.max_text_tokens + reserve <= shortest_context(library):
            return None
        tokens = conversation.text_tokens()
        if self.count is not estimate_tokens and is_near_context_limit(tokens + reserve, library):
            tokens = conversation.text_tokens(self.count)
        return length_requirement(tokens + reserve)

    def _turn_choice(self, call: _PendingPlan) -> TurnChoice | None:
        """Return what is remembered of the current turn, None if it is new."""
        for key in call.conversation.answer_keys[0]:
            answer = self._answers.get(key)
            if answer is not None and answer.preferences == call.turn_key[1]:
                return answer.choice
        return None

    def _keeps_turn(self, call: _PendingPlan, current_model: str) -> bool:
        """Tell whether a turn that continues stays with the expert that answered in it."""
        if call.model is not None or call.sticky == "call" or not call.is_available(current_model):
            return False
        library, required = self.router.library, (*call.requirements, *self._required)
        return current_model in library and meets_requirements(
            required, library, library.index(current_model)
        )

    def _kept_plan(self, call: _PendingPlan, choice: TurnChoice) -> RoutingPlan:
        """Return the plan of a turn that continues; it is decided only if its expert fails."""
        return RoutingPlan(
            choice.name,
            "kept for the turn",
            call.turn_key,
            lambda: self._route_batch([call])[0],
            call.answer_keys,
            call.requirements,
            choice,
            expected_cost=partial(self._typical_cost, call.conversation),
            conversation=call.conversation,
        )

    # Costs

    @cached_property
    def prices(self) -> PoolPrices:
        """What tokens cost at the experts, computed when first used."""
        return PoolPrices(self.router)

    @cached_property
    def answer_caches(self) -> list[AnswerCache]:
        """The caches of answers among the router's policies."""
        return answer_caches(self.router)

    def _typical_cost(self, conversation: Conversation, name: str) -> float | None:
        """Return the USD of a call at one expert with an answer of its typical length."""
        return self.prices.expected_cost(name, conversation.tokens())

    def _expected_cost(self, call: _PendingPlan, decision: Decision, name: str) -> float | None:
        """Return the USD that the decision expects at one expert, or those of a typical answer."""
        if isinstance(decision.ranking, Ranking) and _is_ranked(decision, name):
            return decision.ranking.entry(name).cost
        return self._typical_cost(call.conversation, name)

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
            or self._build_plan(call, decision)
            for call, decision in zip(calls, decisions, strict=True)
        ]

    def _build_plan(self, call: _PendingPlan, decision: Decision) -> RoutingPlan:
        name, current_model = decision.expert.name, call.current_model
        kind: ReasonKind = "routed"
        if call.model is not None and not decision.default_used:
            kind = "asked for"
        elif (
            call.sticky == "thread"
            and current_model is not None
            and _is_ranked(decision, current_model)
            and call.is_available(current_model)
        ):
            name, kind = current_model, "kept for the thread"
        return RoutingPlan(
            name,
            kind,
            call.turn_key,
            lambda: decision,
            call.answer_keys,
            call.requirements,
            expected_cost=partial(self._expected_cost, call, decision),
            id=decision.id,
            conversation=call.conversation,
        )

    def _plan_for_largest_context(self, call: _PendingPlan) -> RoutingPlan | None:
        """Plan for a conversation that seems too long for every expert; None if it is not.

        The length is an estimate, and the expert itself knows best. So the experts are asked that
        meet everything else, in the order of their context.
        """
        library = self.router.library
        if call.length is None or not discriminating_requirements([call.length], library):
            return None
        try:
            (decision,) = self._route_batch([replace(call, length=None)])
        except NoExpertError:
            return None
        if decision.default_used:
            return None
        contexts = {one.name: library[one.name].context_length or 0 for one in decision.ranking}
        names = tuple(sorted(contexts, key=lambda name: -contexts[name]))
        return replace(
            self._build_plan(replace(call, sticky="turn"), decision),
            first=names[0],
            context=f"about {call.length.value:,.0f} tokens seem to be more than every model can "
            f"read; {names[0]} has the largest context, {contexts[names[0]]:,.0f} tokens",
            next_names=names,
        )

    def _route_batch(self, calls: Sequence[_PendingPlan]) -> list[Decision]:
        decide = partial(
            self.router.decide_batch,
            [call.conversation.request for call in calls],
            [self._routing_preferences(call) for call in calls],
            contexts=[self._context(call) for call in calls],
        )
        return measured(decide)

    def _routing_preferences(self, call: _PendingPlan) -> Preferences:
        """Return the preferences of the call, with what the conversation requires."""
        preferences = call.preferences
        requirements = discriminating_requirements(call.requirements, self.router.library)
        if not requirements:
            return preferences
        return preferences.with_requirements(requirements)

    def _context(self, call: _PendingPlan) -> ConversationContext:
        """Return what the cost of a call depends on, if it is known or anything asks for it."""
        router, conversation = self.router, call.conversation
        keys, tags = conversation.log_keys, conversation.tags
        tools = conversation.tool_names if router.records else ()
        if (
            not self.prices.are_known
            and not router.records  # a policy may ask for it
            and not router.prompt_flags
            and not any(
                needs_token_counts(preferences, router.constraints)
                for preferences in (router.preferences, call.preferences)
            )
        ):
            return ConversationContext(0.0, call.current_model, keys=keys, tags=tags)
        current = call.current_model
        cached_tokens = 0.0 if current is None else conversation.answered_tokens()
        tokens = conversation.tokens()
        return ConversationContext(
            tokens,
            current,
            cached_tokens,
            keys=keys,
            tags=tags,
            tools=tools,
            request_key=self._request_key(conversation),
        )

    def _request_key(self, conversation: Conversation) -> RequestKey | None:
        """Return the key of a request for a cache, if there is one.

        A message that comes again in its thread soon after its answer wants another answer.
        """
        if not self.answer_caches:
            return None
        is_retry = conversation.thread is not None and self._retried_answer(conversation)
        return NOT_COMPARABLE if is_retry else conversation.request_key


_NO_PREFERENCES = Preferences()


@dataclass(frozen=True, slots=True)
class _Answer:
    """Who answered a call with some preferences, and why; no choice if the caller named it.

    `time` is of the chat router's clock.
    """

    name: str
    preferences: Preferences
    choice: TurnChoice | None
    decision_id: str = ""
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class _PendingPlan:
    """One call that is not decided yet: what the caller asks for, and what is known about it.

    `length` is required of the context, None if every context is long enough. `model` is the expert
    that the caller asks for by name. `current_model` is the expert that answered the conversation
    last.
    """

    conversation: Conversation
    preferences: Preferences
    turn_key: tuple[str, Preferences]
    length: Requirement | None
    model: str | None
    sticky: Sticky
    is_available: Availability
    current_model: str | None = None

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """What the conversation requires of any expert."""
        capabilities = capability_requirements(self.conversation)
        return capabilities if self.length is None else (self.length, *capabilities)

    @property
    def answer_keys(self) -> tuple[str, ...]:
        """The keys of all answers of the conversation so far."""
        return tuple(chain.from_iterable(self.conversation.answer_keys))


def check_sticky(sticky: object, name: str = "sticky") -> Sticky:
    """Return a setting for how long a conversation stays with its model, if it is one.

    Raises:
        InputError: it is none; the message has the `name` of the setting.
    """
    if sticky not in get_args(Sticky):
        raise InputError(f"{name} is {sticky!r:.80}; expected one of {get_args(Sticky)}.")
    return sticky  # type: ignore[return-value]  # one of the three, as just checked


def _is_ranked(decision: Decision, name: str) -> bool:
    """Tell whether an expert is in the ranking, which means that it is not rejected."""
    if not isinstance(decision.ranking, Ranking):
        return False
    try:
        decision.ranking.entry(name)
    except LibraryError:
        return False
    return True
