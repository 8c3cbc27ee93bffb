"""What a policy leaves in a decision: what it has changed and why, and how the expert is called."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - pydantic in LangChain reads the annotations
from dataclasses import dataclass, field
from typing import Any


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


@dataclass(frozen=True, slots=True)
class CallPlan:
    """How the chosen expert is called, where one call is not all.

    `steps` are the experts that are asked one after another until an answer is kept; the first is
    the chosen one. `verify` decides about the answer of each step but the last: it takes the
    evidence and returns whether the answer is kept. `hedge` is the expert that is asked, too, if
    the chosen one has not answered after `hedge_seconds`.
    """

    steps: tuple[str, ...] = ()
    verify: Callable[[Any], bool] | None = field(default=None, repr=False)
    hedge: str | None = None
    hedge_seconds: float | None = None
