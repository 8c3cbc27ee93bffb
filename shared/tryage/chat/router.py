"""Which expert answers a conversation: the router, asked once per turn, minding who serves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from tryage.chat.conversation import met, needs, telling
from tryage.core.cache import Memory
from tryage.core.preferences import Preferences, Requirement
from tryage.core.ranking import Ranking
from tryage.core.request import Context, estimate_tokens
from tryage.errors import InputError, LibraryError, TryageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tryage.chat.conversation import Conversation, Counter
    from tryage.core.decision import Decision
    from tryage.router import Router

Sticky: TypeAlias = Literal["turn", "thread", "call"]

How: TypeAlias = Literal["routed", "kept for the turn", "kept for the thread", "asked for"]

_TOLD = 5  # scores in a record: enough to see the field, little enough for every message


@dataclass(frozen=True, slots=True)
class _Draft:
    """One conversation that is to be decided: what the router is asked, and what is known."""

    request: str
    wanted: Preferences
    context: Context
    key: tuple[str, Preferences]
    needs: tuple[Requirement, ...]
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
        count: Counter = estimate_tokens,
    ) -> None:
        if sticky not in get_args(Sticky):
            raise InputError(f"sticky is {sticky!r:.80}; expected one of {get_args(Sticky)}.")
        self.router, self.sticky, self.count = router, sticky, count
        self._turns: Memory[tuple[Decision, str]] = Memory(memory)
        self._seats: Memory[str] = Memory(memory)

    def plan(
        self,
        conversation: Conversation,
        preferences: Preferences | None = None,
        *,
        model: str | None = None,
    ) -> Plan:
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
    ) -> list[Plan | TryageError]:
        """Choose for every conversation, in one encoder pass; what cannot be routed is an error."""
        asked = zip(conversations, preferences, models, strict=True)
        begun = [self._begun(*one) for one in asked]
        decided = iter(self._decided([one for one in begun if isinstance(one, _Draft)]))
        return [next(decided) if isinstance(one, _Draft) else one for one in begun]

    def served(self, plan: Plan, name: str) -> None:
        """Remember who answered: the rest of the turn, or of the thread, may stay with it."""
        self._seats.put(plan.key[0], name)
        if plan.how != "asked for":
            self._turns.put(plan.key, (plan.decision, name))

    def serving(self, conversation: Conversation) -> str | None:
        """Return who answered the conversation last, in this turn or an earlier one."""
        for key in conversation.keys:
            if (name := self._seats.get(key)) is not None:
                return name
        return None

    def _begun(
        self, conversation: Conversation, preferences: Preferences | None, model: str | None
    ) -> _Draft | Plan | TryageError:
        """Return the plan of the turn that goes on; if there is none, what is to be decided."""
        try:
            return self._begin(conversation, preferences or Preferences(), model)
        except TryageError as error:
            return error

    def _begin(
        self, conversation: Conversation, preferences: Preferences, model: str | None
    ) -> _Draft | Plan:
        tokens = conversation.tokens(self.count)
        library = self.router.library
        required = needs(conversation, tokens)
        key = (conversation.keys[0], preferences)
        if model is not None:
            model = library[model].name
            preferences = preferences.tightened(Preferences(only=[model]))
        elif plan := self._kept(key, required):
            return plan
        wanted = preferences
        if told := telling(required, library):
            wanted = Preferences(preferences.weights, (*preferences.requirements, *told))
        context = Context(
            tokens, self.serving(conversation), conversation.answered_tokens(self.count)
        )
        return _Draft(conversation.request, wanted, context, key, required, model)

    def _kept(self, key: tuple[str, Preferences], required: tuple[Requirement, ...]) -> Plan | None:
        """Return the plan of the turn that goes on, if whoever has it can still answer."""
        held = None if self.sticky == "call" else self._turns.get(key)
        if held is None:
            return None
        decision, name = held
        if not met(required, self.router.library, self.router.library.index(name)):
            return None
        return Plan(decision, name, "kept for the turn", key, required)

    def _decided(self, drafts: Sequence[_Draft]) -> list[Plan | TryageError]:
        """Decide in one encoder pass; only where that fails, one by one to find the culprits."""
        try:
            return [
                self._planned(draft, decision)
                for draft, decision in zip(drafts, self._route(drafts), strict=True)
            ]
        except TryageError as error:
            if len(drafts) == 1:
                return [error]
            return [plan for draft in drafts for plan in self._decided([draft])]

    def _route(self, drafts: Sequence[_Draft]) -> list[Decision]:
        return self.router.route_batch(
            [draft.request for draft in drafts],
            [draft.wanted for draft in drafts],
            contexts=[draft.context for draft in drafts],
        )

    def _planned(self, draft: _Draft, decision: Decision) -> Plan:
        name = decision.expert.name
        how: How = "routed"
        if draft.model is not None and not decision.default_used:
            how = "asked for"
        elif self.sticky == "thread" and _could_choose(decision, draft.context.current):
            name, how = draft.context.current or name, "kept for the thread"
        return Plan(decision, name, how, draft.key, draft.needs)


def _could_choose(decision: Decision, name: str | None) -> bool:
    """Tell whether an expert has a place in the ranking: it was not rejected."""
    if name is None or not isinstance(decision.ranking, Ranking):
        return False
    try:
        decision.ranking.of(name)
    except LibraryError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Plan:
    """One conversation's decision.

    `first` names the expert that is asked first: the decision's own, unless `how` says that the
    conversation stays with another. `key` stands for the turn and what was asked of the choice;
    `needs` are what the conversation requires of any expert.
    """

    decision: Decision
    first: str
    how: How
    key: tuple[str, Preferences]
    needs: tuple[Requirement, ...] = ()

    @property
    def reason(self) -> str:
        """Why `first` is asked first, in a few words."""
        if self.how != "routed":
            return self.how
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
        if self.how != "asked for":
            yield from (one.name for one in self.decision.ranking if one.name != self.first)

    def record(self, served_by: str | None = None) -> dict[str, Any]:
        """Return it JSON-safe and short, for a message or a trace; no word of the prompt."""
        best = self.decision.ranking[:_TOLD]
        name = served_by or self.first
        told: dict[str, Any] = {
            "model": name,
            "reason": self.reason if name == self.first else f"{self.first} failed",
            "how": self.how,
            "scores": {one.name: round(one.total, 6) for one in best},
        }
        if (confidence := self.decision.confidence) is not None:
            told["confidence"] = round(confidence, 4)
        if self.decision.flags:
            told["flags"] = list(self.decision.flags)
        return told
