"""Plans: which expert is asked first about a conversation and why, and what is remembered of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from tryage.core.cache import cached_property
from tryage.core.decision import new_id
from tryage.errors import InputError, TryageError
from tryage.locks import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from tryage.chat.conversation import Conversation
    from tryage.core.decision import Decision
    from tryage.core.policy_change import CallPlan, CallStep
    from tryage.core.preferences import Preferences, Requirement

T = TypeVar("T")

ReasonKind: TypeAlias = Literal["routed", "kept for the turn", "kept for the thread", "asked for"]

RoutingRecord: TypeAlias = dict[str, Any]
"""A plan as plain values: for a message, a trace or a checkpoint, which may refuse classes.

`id` is the random id of the plan, `model` the expert that answers, `how` the kind of the choice (a
`ReasonKind`), `reason` the choice in words, `scores` the totals of the best experts; `confidence`
and `typicality` are there if they are known, `flags` and `dropped_flags` if there are any, and
`context` if the conversation seems too long for every expert, `policies` if policies changed
anything: which, what and why. The fallback adds the models that
failed, and the agents' middleware `served_by`, the model that answered.

`cost` holds USD, None where unknown: `expected` before the answer, and after it `billed` by the
tokens that the provider reports, `best_single` and `dearest`, which two other models would have
cost for the same tokens, and `failed`, what each failed attempt cost, if any may be billed.
`unused` is what the other one of two calls at the same time cost, which `hedge` tells of: `model`,
`usd`, and `is_estimate` if its tokens are unknown.
`steps` are those of a cascade: the `model` that was asked, what its answer, further samples and the
check cost (`billed`), its `seconds`, whether its answer was `kept`, and the `reason`.
"""

COST_KEY = "cost"
"""Where a record holds the costs of its answer."""

CACHED = "cached"
"""How an answer was chosen that comes from a cache, in its record."""

DEFAULT_MAX_AGE = 3_600.0
"""Seconds after which an answer no longer counts: longer than a tool loop or a pause in a chat."""

_DECISION_KEYS = (
    "reason",
    "scores",
    "confidence",
    "typicality",
    "flags",
    "dropped_flags",
    "context",
    "policies",
)

_MAX_RECORDED_SCORES = 5  # enough to compare the best experts, short enough for every message


@dataclass(frozen=True, slots=True)
class TurnChoice:
    """What is remembered of a choice: the expert that answered, and values without any text.

    `values` are the entries of the record that come from the decision. `position` and `kind` are
    those of the prompt, for the log of traffic.
    """

    name: str
    values: RoutingRecord
    has_flags: bool
    position: Any = field(default=None, repr=False)  # a FloatArray
    kind: str | None = None


def recorded_choice(record: Mapping[str, Any], name: str) -> TurnChoice:
    """Return what the record of an earlier plan holds of its choice; `name` has answered."""
    values = {key: record[key] for key in _DECISION_KEYS if key in record}
    return TurnChoice(name, values, bool(record.get("flags") or record.get("dropped_flags")))


def _unknown_cost(_: str) -> None:
    return None


@dataclass(frozen=True)
class RoutingPlan:
    """The decision about one conversation.

    `first` names the expert that is asked first. It is the decision's own expert, unless
    `reason_kind` says that the conversation stays with another one. `key` stands for the turn and
    the preferences of the call, `answer_keys` for the answers so far. `requirements` are what the
    conversation requires of any expert. `id` is random, and the same in the record, in the logs and
    on the answer; it is the decision's own id if this plan is made from a new decision.

    `decide` returns the decision. In a turn that continues it is called only if something needs
    the decision, and `turn_choice` holds what is remembered of the first one. `context` says that
    the conversation seems too long for every expert; then `next_names` are the others by the size
    of their context. `expected_cost` returns the USD of the call by the name of an expert, None if
    it is unknown. `conversation` is what was planned for.
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
    expected_cost: Callable[[str], float | None] = field(default=_unknown_cost, repr=False)
    id: str = field(default_factory=new_id)
    conversation: Conversation | None = field(default=None, repr=False)

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
    def calls(self) -> CallPlan | None:
        """How `first` is called, None if by one call, or if the conversation stays with it."""
        if self.turn_choice is not None or self.reason_kind != "routed":
            return None
        decision = self.decision
        return decision.calls if decision.expert.name == self.first else None

    @property
    def reason(self) -> str:
        """Why `first` is asked first, in a few words."""
        if self.reason_kind != "routed":
            return self.reason_kind
        return "the largest context" if self.context is not None else _reason_of(self.decision)

    @property
    def steps(self) -> tuple[CallStep, ...]:
        """The steps of a cascade, the first one is of `first`; none where one answer is enough."""
        calls = self.calls
        return () if calls is None or calls.answer is not None else calls.steps

    def step(self, name: str) -> CallStep | None:
        """Return the step of an expert, None if it has none."""
        return next((step for step in self.steps if step.expert == name), None)

    def order(self) -> Iterator[str]:
        """Yield the experts in the order of asking: the first, then the ranking, best first.

        The steps of a cascade come before the ranking. An expert that the caller asks for by name
        is the only one.
        """
        names = [self.first, *(step.expert for step in self.steps[1:])]
        yield from names
        if self.reason_kind != "asked for":
            yield from (name for name in self._ranked_names() if name not in names)

    def record(self, served_by: str | None = None) -> RoutingRecord:
        """Return the plan, short and JSON-safe, for a message or a trace; without the prompt."""
        name = served_by or self.first
        is_cached = self.calls is not None and self.calls.answer is not None
        record: RoutingRecord = {
            "id": self.id,
            "model": name,
            "reason": self.reason,
            "how": CACHED if is_cached else self.reason_kind,
        }
        record |= self._values
        record[COST_KEY] = {
            "expected": 0.0 if is_cached else self.expected_cost(name),
            "billed": None,
            "best_single": None,
            "dearest": None,
        }
        return record if name == self.first else {**record, "reason": f"{self.first} failed"}

    def choice(self, name: str) -> TurnChoice:
        """Return what is remembered of the choice if the expert `name` has answered."""
        earlier = self.turn_choice
        if earlier is not None:
            return replace(earlier, name=name)
        position, kind = self.decision.position, self.decision.kind
        return TurnChoice(name, self._values, self.has_flags, position, kind)

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
        if decision.typicality is not None:
            values["typicality"] = round(decision.typicality, 4)
        if decision.flags:
            values["flags"] = list(decision.flags)
        if decision.dropped_flags:
            values["dropped_flags"] = list(decision.dropped_flags)
        if self.context is not None:
            values["context"] = self.context
        if decision.changes:
            values["policies"] = [change.to_dict() for change in decision.changes]
        return values


def _reason_of(decision: Decision) -> str:
    """Return why the expert of a new decision is chosen, in a few words."""
    if decision.default_used:
        return f"default: {decision.default_reason}"
    if decision.changes:
        change = decision.changes[-1]
        return f"{change.policy}: {change.reason}"
    if len(decision.ranking) < 2:
        return "the only one that could be chosen"
    if decision.explored:
        return f"drawn to explore, with probability {decision.propensity:.2g}"
    return f"lowest total of {len(decision.ranking)}"


# What is remembered of conversations -----------------------------------------------------------


class TurnMemory(Generic[T]):
    """Up to `size` values by key, each for `max_age` seconds after it was last stored.

    The values that were stored first are dropped first. `clock` returns seconds that never go back.
    A copy or a pickle is empty, because the values belong to conversations of this process. Safe
    between threads, and in a process that is forked.

    Raises:
        InputError: the size or the age is not above zero.
    """

    def __init__(
        self,
        size: int = 1_024,
        max_age: float = DEFAULT_MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not size >= 1:
            raise InputError(f"size is {size!r:.80}; expected a number of at least 1.")
        if not max_age > 0:
            raise InputError(f"max_age is {max_age!r:.80}; expected seconds above 0.")
        self.size, self.max_age, self._clock = size, max_age, clock
        self._entries: dict[Hashable, tuple[float, T]] = {}  # the oldest first
        self._lock = ForkSafeLock()

    def get(self, key: Hashable) -> T | None:
        """Return the value that was last put under the key; None if there is none, or it is old."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            stored_at, value = entry
            if self._clock() - stored_at > self.max_age:
                del self._entries[key]
                return None
            return value

    def put(self, key: Hashable, value: T) -> None:
        """Store a value under a key."""
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = self._clock(), value
            if len(self._entries) > self.size:
                del self._entries[next(iter(self._entries))]

    def discard(self, key: Hashable) -> None:
        """Remove the value under a key, if there is one."""
        with self._lock:
            self._entries.pop(key, None)

    def __len__(self) -> int:
        """Return the number of stored values, old ones too."""
        return len(self._entries)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the limits without the values."""
        return type(self), (self.size, self.max_age)

    def __repr__(self) -> str:
        """Show how full it is; the values belong to conversations, so they stay out of logs."""
        return f"TurnMemory({len(self)} of {self.size})"


def plan_or_raise(plans: Sequence[RoutingPlan | TryageError]) -> RoutingPlan:
    """Return the only plan.

    Raises:
        TryageError: there is an error in its place.
    """
    (plan,) = plans
    if isinstance(plan, TryageError):
        raise plan
    return plan
