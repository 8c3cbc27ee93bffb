"""What a simulation knows of an answer that no model gives: measured loss, cost, evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class SimulatedAnswer:
    """What came of one request in a simulation.

    `expert` is the one that answered. `loss` is that of the answer, `cost` the USD of all that was
    called, `latency` the seconds until the answer was complete; None where unknown. `estimated`
    says that the loss is a predicted one, for lack of a measurement. `evidence` is the probability
    that the answer is right as the answer itself tells, None without any. `called` are all experts
    that were asked, in their order. `outcome` is the word for what a policy did beside calling the
    chosen expert, such as "escalated", "cached" or "hedged".
    """

    expert: str
    loss: float | None
    cost: float | None
    latency: float | None = None
    evidence: float | None = None
    called: tuple[str, ...] = ()
    outcome: str | None = None
    estimated: bool = False

    def after(self, *earlier: SimulatedAnswer, outcome: str | None = None) -> SimulatedAnswer:
        """Return this answer as one that was asked for after others, which are billed, too.

        Costs and latencies are sums, unknown if one of them is.
        """
        answers = (*earlier, self)
        return replace(
            self,
            cost=_sum([one.cost for one in answers]),
            latency=_sum([one.latency for one in answers]),
            called=tuple(name for one in answers for name in one.called),
            outcome=outcome or self.outcome,
        )


Ask: TypeAlias = Callable[[str], SimulatedAnswer]
"""Asks an expert, by name, for its answer to the prompt of a decision."""


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
