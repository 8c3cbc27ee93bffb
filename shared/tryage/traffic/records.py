"""What the log keeps: decisions, outcomes of answers, feedback about them, events and snapshots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tryage.core.arrays import FloatArray
    from tryage.core.policy_change import PolicyChange


@dataclass(frozen=True, slots=True, eq=False)
class DecisionRecord:
    """One decision, without the text of its prompt unless the user wants that.

    `id` is the decision's id, as in the record of the answer. `time` is in seconds since 1970
    (UTC). `router` is the fingerprint of the router as it was before any feedback. `chosen` is the
    expert that the policy chose, with the probability `propensity`.

    `candidates` are the best eligible experts in the order of their totals. `losses`, `stds`,
    `totals`, `costs` (USD, None where unknown) and `propensities` belong to them. A candidate
    without an entry in a library of very many has the propensity 0. `cost_terms` are what dollars
    add to the totals, in loss. `tolerance` is that of the preferences in force: the cheapest
    candidate whose total is within it of the lowest is chosen.

    `position` `(k,)` is where the prompt lies in the ability space, and `kind` its most probable
    category. `frozen_choice` is the expert that the router would have chosen without feedback and
    exploration. `shadow_choices` are those of other routers by their names, and `arm` is the name
    of the router that decided if traffic is split. `key` stands for a thread, `user_id` for a user.
    `tags` come from the caller; an explored decision is never tagged "critical". `changes` say what
    policies have changed, and why.
    """

    id: str
    time: float
    router: str
    chosen: str
    propensity: float = 1.0
    candidates: tuple[str, ...] = ()
    losses: tuple[float, ...] = ()
    stds: tuple[float | None, ...] = ()
    totals: tuple[float, ...] = ()
    costs: tuple[float | None, ...] = ()
    propensities: tuple[float, ...] = ()
    cost_terms: tuple[float, ...] = ()
    tolerance: float | None = None
    position: FloatArray | None = None
    kind: str | None = None
    typicality: float | None = None
    prompt_tokens: float | None = None
    is_default: bool = False
    frozen_choice: str | None = None
    shadow_choices: Mapping[str, str] = field(default_factory=dict)
    arm: str | None = None
    key: str | None = None
    tags: tuple[str, ...] = ()
    changes: tuple[PolicyChange, ...] = ()
    prompt: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a decision: which expert answered, how long it took and what it cost.

    `latency` is in seconds, tokens are as the provider reports them and `cost` is in USD as billed;
    all are None where unknown. `best_single` is the expert that is best where one answers all, and
    `best_single_cost` and `dearest_cost` are what it and the dearest one would have cost.

    `error` is the class of the error if no answer came, or the first expert's if another one
    answered. `failed` are the experts that could not answer.
    """

    decision_id: str
    time: float
    served_by: str | None = None
    latency: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    best_single: str | None = None
    best_single_cost: float | None = None
    dearest_cost: float | None = None
    error: str | None = None
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Feedback:
    """A measurement of one answer: a `score` from 0 to 1, 1 best, and where it comes from.

    `id` makes it idempotent: a second one with the same id changes nothing. `kind` says what
    measured, such as "thumb", "judge", "test" or "retry". `expert` is the one that answered; None
    means the one that the log says.
    """

    id: str
    decision_id: str
    time: float
    score: float
    kind: str = "thumb"
    comment: str | None = None
    expert: str | None = None


@dataclass(frozen=True, slots=True)
class LoggedFeedback:
    """Feedback as the log returns it to learn from, joined with its decision.

    `sequence` numbers feedback in the order in which it was committed, the same for every process.
    `expert` is the one that answered. `decision` is None if the log does not have it any more.
    """

    sequence: int
    feedback: Feedback
    expert: str
    decision: DecisionRecord | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a router, such as an alarm, a rollback or an undo.

    `sequence` is in the same numbers as feedback, so that both are one ordered log. `id` makes it
    idempotent. `kind` says what happened, to which `expert` if to one, and `values` are plain JSON.
    """

    sequence: int
    id: str
    time: float
    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)
    expert: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the router with the fingerprint `router` had learned from the log up to `sequence`.

    `data` are the bytes of a safetensors file.
    """

    router: str
    sequence: int
    time: float
    data: bytes
