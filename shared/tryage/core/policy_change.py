"""What a policy leaves in a decision: what it has changed and why, and how the expert is called."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - pydantic in LangChain reads the annotations
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What a policy did to one decision, and why.

    `before` is the expert that would have been chosen without the policy, None if the policy acted
    before the prediction; `after` is the one that is chosen with it. They may be equal: then the
    policy says how the expert is called.
    """

    policy: str
    reason: str
    before: str | None = None
    after: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return {
            "policy": self.policy,
            "reason": self.reason,
            "before": self.before,
            "after": self.after,
        }


class Verdict(NamedTuple):
    """Whether an answer is kept, in a few words why, and what it cost to find out.

    `cost` is in USD, such as that of a judge; None where unknown.
    """

    is_kept: bool
    reason: str
    cost: float | None = 0.0


@dataclass(frozen=True, slots=True)
class CallStep:
    """One step of a cascade: an expert whose answer is kept, or the next step is asked.

    `samples` are experts that are asked at the same time, whose answers are evidence; the expert
    itself stands there for a second answer of its own. `needs_log_probabilities` asks models for
    those of their tokens, where they can give them.

    `verify` decides from the evidence (`tryage.policies.evidence.AnswerEvidence`) whether the
    answer is kept; None keeps every answer. `is_certain` tells from the evidence of the beginning
    of an answer that it is kept whatever follows, so that it can be streamed from there; None waits
    for the whole answer.
    """

    expert: str
    samples: tuple[str, ...] = ()
    needs_log_probabilities: bool = False
    verify: Callable[[Any], Verdict] | None = field(default=None, repr=False)
    is_certain: Callable[[Any], bool] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """An answer that an expert gave to an equal or similar request.

    `answer` is what the caller of the cache has stored, and `similarity` is 1 for an equal request.
    `cost` are the USD that it took, None if unknown, and `time` is when it was given, in seconds.
    `key` is that of the request in the cache.
    """

    expert: str
    answer: Any = field(repr=False)
    cost: float | None = None
    time: float = 0.0
    similarity: float = 1.0
    key: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HedgePlan:
    """Which expert is asked, too, if the chosen one is late.

    `expert` is asked when `seconds` have passed without an answer and `may_ask` allows it; None is
    no expert. `note_latency` is told the expert and the seconds of each answer, in a stream those
    until it began.
    """

    expert: str | None = None
    seconds: float | None = None
    may_ask: Callable[[], bool] = field(default=lambda: True, repr=False)
    note_latency: Callable[[str, float], None] = field(default=lambda *_: None, repr=False)


@dataclass(frozen=True, slots=True)
class CallPlan:
    """How the chosen expert is called, where one call is not all.

    `steps` are asked one after another until an answer is kept; the first one is of the chosen
    expert. `hedge` says who is asked, too, if the chosen one is late. `answer` is an answer of the
    chosen expert that is at hand: then no expert is called.
    """

    steps: tuple[CallStep, ...] = ()
    hedge: HedgePlan | None = None
    answer: CachedAnswer | None = field(default=None, repr=False)

    def merged(self, later: CallPlan | None) -> CallPlan:
        """Return this plan with what a later policy says of the steps or of the hedge."""
        if later is None:
            return self
        return CallPlan(
            later.steps or self.steps, later.hedge or self.hedge, later.answer or self.answer
        )
