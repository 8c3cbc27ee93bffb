"""Runs of the runnables that TryageRouter chooses: what they are called with, what they cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage

from tryage.chat.call_observer import token_counts
from tryage.chat.plan import COST_KEY
from tryage.telemetry.observer import IGNORED_CALL, CallObserver
from tryage.traffic.records import Outcome
from tryage_langchain._fallback import RECORD_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.runnables import Runnable, RunnableConfig

    from tryage.chat.savings import AnswerCosts
    from tryage_langchain._usage import UsageCallback


@dataclass(frozen=True)
class ChildRun:
    """What a chosen runnable is called with; `usage` counts the tokens of its models.

    `policies` are what policies changed in the decision, as records have it. `expected` is what the
    answer is expected to cost in USD, None where unknown. `observer` is what telemetry is told.
    """

    child: Runnable[Any, Any]
    input: Any
    config: RunnableConfig
    name: str
    usage: UsageCallback
    decision_id: str
    policies: Sequence[Mapping[str, Any]] = ()
    started: float = field(default_factory=time.monotonic)
    expected: float | None = None
    observer: CallObserver = IGNORED_CALL

    def asking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return what calls a method of the runnable with the input, within the run's own span."""

        def call(_: object, __: object, **kwargs: Any) -> Any:
            return method(self.input, self.config, **kwargs)

        def ask(**kwargs: Any) -> Any:
            traced = self.observer.traced(
                partial(call, **kwargs), lambda _: self.name, lambda _: False
            )
            return traced(self.child, self.record())

        return ask

    def begin(self) -> None:
        """Tell telemetry that the runnable is asked."""
        self.observer.begin_attempt(self.name, self.name, self.record())

    def settle(self, costs: AnswerCosts, error: BaseException | None) -> None:
        """Tell telemetry what came of the run."""
        if error is None:
            self.observer.settle(self.record(costs), token_counts(self.usage.usage))
        else:
            self.observer.fail_attempt(self.name, error)
            self.observer.fail(error, costs.billed)

    def record(self, costs: AnswerCosts | None = None) -> dict[str, Any]:
        """Return what telemetry reads of the run."""
        billed = {} if costs is None else costs._asdict()
        return {
            "model": self.name,
            "how": "routed",
            COST_KEY: {"expected": self.expected, **billed},
        }


def run_outcome(
    run: ChildRun, costs: AnswerCosts, best_single: str | None, error: BaseException | None
) -> Outcome:
    """Return what came of a run, for the log; a runnable that was cancelled has not failed."""
    usage = run.usage.usage
    return Outcome(
        decision_id=run.decision_id,
        time=time.time(),
        served_by=run.name if error is None else None,
        latency=time.monotonic() - run.started,
        input_tokens=None if usage is None else round(usage.input_tokens),
        output_tokens=None if usage is None else round(usage.output_tokens),
        cost=costs.billed,
        best_single=best_single,
        best_single_cost=costs.best_single,
        dearest_cost=costs.dearest,
        error=None if error is None else type(error).__name__,
        failed=(run.name,) if isinstance(error, Exception) else (),
    )


def with_id(answer: Any, run: ChildRun) -> Any:
    """Return an answer with the id of its decision; one without a message stays as it is."""
    if not isinstance(answer, AIMessage) or RECORD_KEY in answer.response_metadata:
        return answer
    record: dict[str, Any] = {"id": run.decision_id, "model": run.name}
    if run.policies:
        record["policies"] = run.policies
    metadata = {**answer.response_metadata, RECORD_KEY: record}
    return answer.model_copy(update={"response_metadata": metadata})


@dataclass
class ChildBatch:
    """The rows of a batch that one runnable answers."""

    child: Runnable[Any, Any]
    rows: list[int] = field(default_factory=list)
    runs: list[ChildRun] = field(default_factory=list)

    def add(self, row: int, run: ChildRun) -> None:
        """Add one row of the batch."""
        self.rows.append(row)
        self.runs.append(run)

    @property
    def arguments(self) -> tuple[list[Any], list[RunnableConfig]]:
        """The arguments of the runnable's `batch`."""
        return [run.input for run in self.runs], [run.config for run in self.runs]


def begin_runs(batches: Sequence[ChildBatch]) -> None:
    """Tell telemetry that the runnables of a batch are asked."""
    for batch in batches:
        for run in batch.runs:
            run.begin()
