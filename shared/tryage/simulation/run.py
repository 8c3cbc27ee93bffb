"""Runs a policy over a stream of requests, and keeps what came of each of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tryage.core.preferences import Preferences
from tryage.errors import NoExpertError

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array, IndexArray
    from tryage.core.decision import Decision
    from tryage.core.policy import Policy
    from tryage.core.request import ConversationContext
    from tryage.core.simulated_answer import SimulatedAnswer
    from tryage.simulation.stream import RequestStream

Decide: TypeAlias = Callable[
    [Sequence[str], Sequence[Preferences | None], "Sequence[ConversationContext]"],
    "list[Decision]",
]
"""Decides a batch of prompts with their preferences and contexts, as `Router.decide_batch` does."""

REFUSED = -1

_NUMBER = re.compile(r"(?<![\w.-])-?\d[\d.,]*(e-?\d+)?")  # none in the name of a model


@dataclass(eq=False)
class SimulatedClock:
    """The time of a simulation, in seconds since 1970 (UTC)."""

    time: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.time


@dataclass(frozen=True, eq=False)
class SimulatedRun:
    """What came of each request of a stream with one policy, in the order of the stream.

    All arrays are `(n,)`. `experts` are positions in `names` of who answered, `REFUSED` where no
    expert was allowed. `scores` are 1 - loss, NaN where nothing is known or there is no answer.
    `costs` are the USD of all that was called, 0 of what was refused, NaN where unknown.
    `estimated` marks scores that are predictions. `outcomes` count what was done beside calling the
    chosen expert, such as "escalated"; `reasons` count what policies gave as a reason, with # for
    every number.
    """

    name: str
    names: tuple[str, ...]
    experts: IndexArray
    scores: Float64Array
    costs: Float64Array
    latencies: Float64Array
    estimated: BoolArray
    groups: IndexArray
    times: Float64Array
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.scores)

    @property
    def refused(self) -> BoolArray:
        """Which requests have no answer, `(n,)`."""
        return np.asarray(self.experts == REFUSED, np.bool_)

    @property
    def spending(self) -> Float64Array:
        """The USD spent up to and with each request, `(n,)`; unknown costs add nothing."""
        return np.asarray(np.nancumsum(self.costs), np.float64)


def run_policy(  # noqa: PLR0913 - what is run, and how
    name: str,
    decide: Decide,
    policy: Policy | None,
    stream: RequestStream,
    *,
    batch_size: int = 1,
    clock: SimulatedClock | None = None,
) -> SimulatedRun:
    """Run a policy over a stream, as chat models do it with real experts.

    The requests of a batch are decided and recorded together, before any of their answers is known.
    Then each is served from what the stream knows, and settled with what that cost.

    Args:
        name: What the run is called.
        decide: Decides with the policy; it must raise `NoExpertError` where no expert is allowed.
        policy: The policy itself, None for routing without one.
        stream: The requests.
        batch_size: How many requests are decided together.
        clock: The clock that the policy reads.
    """
    recorder = _Recorder(name, stream)
    preferences = measured_preferences(stream)
    for first in range(0, len(stream), batch_size):
        rows = range(first, min(first + batch_size, len(stream)))
        if clock is not None:
            clock.time = float(stream.times[first])
        decisions = decide_rows(decide, stream, preferences, rows)
        for decision in decisions:
            if policy is not None and not isinstance(decision, NoExpertError):
                policy.record(decision)
        for row, decision in zip(rows, decisions, strict=True):
            if isinstance(decision, NoExpertError):
                recorder.refuse(row, decision)
            else:
                recorder.add(row, decision, _served(policy, decision, stream, row))
    return recorder.run()


def measured_preferences(stream: RequestStream) -> list[Preferences | None]:
    """Return for each request the requirement that allows only answers whose loss is known.

    It is None where that is all of them.
    """
    known = ~np.isnan(stream.losses)
    everything = np.ones(len(stream.experts), bool)
    shared: dict[bytes, Preferences | None] = {everything.tobytes(): None}
    found = []
    for row in known:
        key = row.tobytes()
        if key not in shared:
            names = [stream.experts[i] for i in np.flatnonzero(row)]
            shared[key] = Preferences(only=names)
        found.append(shared[key])
    return found


def decide_rows(
    decide: Decide,
    stream: RequestStream,
    preferences: Sequence[Preferences | None],
    rows: range,
) -> Sequence[Decision | NoExpertError]:
    """Decide some requests together; one by one if one of them has no expert.

    That one has its error in place of a decision.
    """
    part = slice(rows.start, rows.stop)
    try:
        return decide(stream.prompts[part], preferences[part], stream.contexts[part])
    except NoExpertError as error:
        if len(rows) == 1:
            return [error]
    singles = [decide_rows(decide, stream, preferences, range(row, row + 1)) for row in rows]
    return [single[0] for single in singles]


def _served(
    policy: Policy | None, decision: Decision, stream: RequestStream, row: int
) -> SimulatedAnswer:
    """Return the answer to a decision, of which the policy learns what it cost."""

    def ask(expert: str) -> SimulatedAnswer:
        return stream.answer(row, expert)

    if policy is None:
        return ask(decision.expert.name)
    answer = policy.serve(decision, decision.expert.name, ask)
    policy.settle(decision.id, answer.expert, cost=answer.cost, latency=answer.latency)
    return answer


class _Recorder:
    """Collects the answers of a run."""

    def __init__(self, name: str, stream: RequestStream) -> None:
        size = len(stream)
        self._name, self._stream = name, stream
        self._names: dict[str, int] = {expert: i for i, expert in enumerate(stream.experts)}
        self._experts = np.full(size, REFUSED, np.intp)
        self._numbers = np.full((3, size), np.nan)
        self._estimated = np.zeros(size, bool)
        self._outcomes: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    def add(self, row: int, decision: Decision, answer: SimulatedAnswer) -> None:
        """Note an answer."""
        score = None if answer.loss is None else 1.0 - answer.loss
        self._numbers[:, row] = [
            np.nan if value is None else value for value in (score, answer.cost, answer.latency)
        ]
        self._experts[row] = self._names.setdefault(answer.expert, len(self._names))
        self._estimated[row] = answer.estimated
        if answer.outcome is not None:
            self._outcomes[answer.outcome] += 1
        for change in decision.changes:
            self._reasons[f"{change.policy}: {_NUMBER.sub('#', change.reason)}"] += 1

    def refuse(self, row: int, error: NoExpertError) -> None:
        """Note that no expert answers, and why."""
        self._numbers[1, row] = 0.0
        self._outcomes["refused"] += 1
        first_line = str(error).partition("\n")[0]
        self._reasons[f"refused: {_NUMBER.sub('#', first_line)}"] += 1

    def run(self) -> SimulatedRun:
        """Return what was noted."""
        scores, costs, latencies = self._numbers
        return SimulatedRun(
            name=self._name,
            names=tuple(self._names),
            experts=self._experts,
            scores=scores,
            costs=costs,
            latencies=latencies,
            estimated=self._estimated,
            groups=self._stream.groups,
            times=self._stream.times,
            outcomes=self._outcomes,
            reasons=self._reasons,
        )
