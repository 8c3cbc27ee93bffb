"""A plan: which expert is asked first about a conversation, why, and which ones are next."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from tryage.errors import TryageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tryage.core.decision import Decision
    from tryage.core.preferences import Preferences, Requirement

ReasonKind: TypeAlias = Literal["routed", "kept for the turn", "kept for the thread", "asked for"]

RoutingRecord: TypeAlias = dict[str, Any]
"""A plan as plain values: for a message, a trace or a checkpoint, which may refuse classes.

`id` is the random id of the plan, `model` the expert that answers, `how` the kind of the choice (a
`ReasonKind`), `reason` the choice in words, `scores` the totals of the best experts; `confidence`
is there if it is known, `flags` and `dropped_flags` if there are any, and `context` if the
conversation seems too long for every expert. The fallback adds the models that failed, and the
agents' middleware `served_by`, the model that answered.
"""

_DECISION_KEYS = ("reason", "scores", "confidence", "flags", "dropped_flags", "context")

_MAX_RECORDED_SCORES = 5  # enough to compare the best experts, short enough for every message


@dataclass(frozen=True, slots=True)
class TurnChoice:
    """What is remembered of a choice: the expert that answered, and values without any text.

    `values` are the entries of the record that come from the decision.
    """

    name: str
    values: RoutingRecord
    has_flags: bool


def recorded_choice(record: Mapping[str, Any], name: str) -> TurnChoice:
    """Return what the record of an earlier plan holds of its choice; `name` has answered."""
    values = {key: record[key] for key in _DECISION_KEYS if key in record}
    return TurnChoice(name, values, bool(record.get("flags") or record.get("dropped_flags")))


def _new_id() -> str:
    """Return a random id of a plan, 16 hexadecimal digits."""
    return secrets.token_hex(8)


@dataclass(frozen=True)
class RoutingPlan:
    """The decision about one conversation.

    `first` names the expert that is asked first. It is the decision's own expert, unless
    `reason_kind` says that the conversation stays with another one. `key` stands for the turn and
    the preferences of the call, `answer_keys` for the answers so far. `requirements` are what the
    conversation requires of any expert. `id` is random, and the same in the record, in the logs and
    on the answer.

    `decide` returns the decision. In a turn that continues it is called only if something needs
    the decision, and `turn_choice` holds what is remembered of the first one. `context` says that
    the conversation seems too long for every expert; then `next_names` are the others by the size
    of their context.
    """

    first: str
    reason_kind: ReasonKind
    key: tuple[str, Preferences]
    decide: Callable[[], Decision] = field(repr=False)
    answer_keys: tuple[str, ...] = field(default=(), repr=False)
    requirements: tuple[Requirement, ...] = ()
    turn_choice: TurnChoice | None = None
    context: str | None = None
    next_names: tuple[str, ...] | None = None
    id: str = field(default_factory=_new_id)

    @cached_property
    def decision(self) -> Decision:
        """The router's decision.

        Raises:
            TryageError: the turn continues, and no choice is possible any more.
        """
        return self.decide()

    @property
    def has_flags(self) -> bool:
        """Whether flags were read, which the prompt must be cleaned of."""
        if self.turn_choice is not None:
            return self.turn_choice.has_flags
        return bool(self.decision.flags or self.decision.dropped_flags)

    @property
    def reason(self) -> str:
        """Why `first` is asked first, in a few words."""
        if self.reason_kind != "routed":
            return self.reason_kind
        if self.context is not None:
            return "the largest context"
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
            yield from (name for name in self._ranked_names() if name != self.first)

    def record(self, served_by: str | None = None) -> RoutingRecord:
        """Return the plan, short and JSON-safe, for a message or a trace; without the prompt."""
        name = served_by or self.first
        record = {"id": self.id, "model": name, "reason": self.reason, "how": self.reason_kind}
        record |= self._values
        return record if name == self.first else {**record, "reason": f"{self.first} failed"}

    def choice(self, name: str) -> TurnChoice:
        """Return what is remembered of the choice if the expert `name` has answered."""
        return TurnChoice(name, self._values, self.has_flags)

    def _ranked_names(self) -> Iterator[str]:
        if self.next_names is not None:
            yield from self.next_names
            return
        try:
            ranking = self.decision.ranking
        except TryageError:
            # Only a turn that continues is decided this late, after its expert has failed. Nobody
            # else can answer it, so the caller gets the error of that expert.
            return
        yield from (expert.name for expert in ranking)

    @cached_property
    def _values(self) -> RoutingRecord:
        """The entries of the record that come from the decision."""
        if self.turn_choice is not None:
            return self.turn_choice.values
        decision = self.decision
        best_experts = decision.ranking[:_MAX_RECORDED_SCORES]
        values: RoutingRecord = {
            "scores": {expert.name: round(expert.total, 6) for expert in best_experts}
        }
        if (confidence := decision.confidence) is not None:
            values["confidence"] = round(confidence, 4)
        if decision.flags:
            values["flags"] = list(decision.flags)
        if decision.dropped_flags:
            values["dropped_flags"] = list(decision.dropped_flags)
        if self.context is not None:
            values["context"] = self.context
        return values
