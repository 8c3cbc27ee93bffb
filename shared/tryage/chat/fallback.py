"""Ask the planned experts one after another until one answers, for every framework.

`fallback_steps` yields what to call next and is sent what the call returns, so one loop serves
answers and streams. `run_steps` makes the calls, and `arun_steps` awaits them.
"""

# ruff: noqa: BLE001 - clients raise anything; `Attempts.add_failure` judges it and raises it again.
# ruff: noqa: PERF203 - every call may fail by itself.

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

from tryage.chat.attempts import Attempts
from tryage.chat.costs import CallCosts
from tryage.chat.hedging import HedgedCall, arun_hedged, run_hedged
from tryage.chat.hooks import FallbackHooks as FallbackHooks  # noqa: PLC0414, TC001 - its former place
from tryage.chat.outcomes import SIGNALS, CallOutcome, Signal
from tryage.chat.plan import RoutingRecord
from tryage.chat.savings import SavingsCounter
from tryage.chat.streams import PeekedStream
from tryage.chat.time_limits import CallTimer, TimeLimits, arun_with_timeout, run_with_timeout
from tryage.errors import InvalidAnswerError
from tryage.traffic.health import HealthRegistry, process_health

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tryage.chat.clients import ClientPool
    from tryage.chat.conversation import Conversation
    from tryage.chat.judging import AnswerJudge
    from tryage.chat.plan import RoutingPlan
    from tryage.chat.router import ChatRouter, Sticky
    from tryage.chat.savings import Savings
    from tryage.core.preferences import Preferences
    from tryage.errors import TryageError

C = TypeVar("C")

_PROBLEMS = {"empty": "The answer is empty.", "length": "The answer was cut off by its length."}


@dataclass(frozen=True)
class ChatRequest:
    """One call of a routed chat model: what is routed, and what the caller asks of the choice.

    `sticky` and `deadline`, in seconds, hold for this call instead of the model's own.
    """

    conversation: Conversation
    preferences: Preferences | None
    model: str | None
    sticky: Sticky | None = field(default=None, kw_only=True)
    deadline: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class FallbackSession(Generic[C]):
    """A router of conversations, the clients that answer, and what limits the attempts.

    `max_attempts` is how many clients may be asked. `retry_on` names the answers that are refused:
    "empty", "length". `signals` are written into the log of traffic, and `judge` rates a share of
    the answers. `health_registry` knows which models fail now; by default all of the process share
    it. `savings_counter` adds up what the answers cost.
    """

    chat_router: ChatRouter
    clients: ClientPool[C]
    max_attempts: int | None
    limits: TimeLimits = field(default=TimeLimits(), kw_only=True)
    retry_on: frozenset[str] = field(default=frozenset(), kw_only=True)
    signals: frozenset[Signal] = field(default=SIGNALS, kw_only=True)
    judge: AnswerJudge | None = field(default=None, kw_only=True)
    health_registry: HealthRegistry = field(default_factory=process_health, kw_only=True)
    savings_counter: SavingsCounter = field(default_factory=SavingsCounter, kw_only=True)

    def plan(self, request: ChatRequest) -> RoutingPlan:
        """Choose for one call."""
        return self.chat_router.plan(
            request.conversation,
            request.preferences,
            model=request.model,
            sticky=request.sticky,
            is_available=self.is_available,
        )

    def plan_batch(self, requests: Sequence[ChatRequest]) -> list[RoutingPlan | TryageError]:
        """Choose for all calls in one encoder pass."""
        return self.chat_router.plan_batch(
            [request.conversation for request in requests],
            [request.preferences for request in requests],
            [request.model for request in requests],
            [request.sticky for request in requests],
            is_available=self.is_available,
        )

    def attempts(self, plan: RoutingPlan, deadline: float | None = None) -> Attempts:
        """Return the attempts to get an answer; `deadline` is that of this call, in seconds."""
        return Attempts(
            plan,
            self.chat_router.router.library,
            self.max_attempts,
            health=self.health_registry,
            key_of=self.clients.health_key,
            timer=CallTimer(self.limits.with_deadline(deadline)),
        )

    def hedged_call(
        self, plan: RoutingPlan, attempts: Attempts, hooks: FallbackHooks
    ) -> HedgedCall | None:
        """Return how the first attempt of a call is hedged, None if it is not."""
        calls = None if attempts.failures or attempts.cooling_down else plan.calls
        if calls is None or calls.hedge is None:
            return None
        health, key_of = self.health_registry, self.clients.health_key
        return HedgedCall(plan.first, calls.hedge, hooks, attempts.record, health, key_of)

    def outcome(self, plan: RoutingPlan, hooks: FallbackHooks) -> CallOutcome:
        """Write the plan into the log, and return what notes what comes of it."""
        judge, log = self.judge, self.chat_router.router.log
        ask = None
        if judge is not None and log is not None and judge.draws(plan.id):
            ask = partial(judge.submit, log)
        return CallOutcome(
            self.chat_router, plan, self.signals, read_text=hooks.read_text, judge=ask
        )

    def costs(self, hooks: FallbackHooks, outcome: CallOutcome | None = None) -> CallCosts:
        """Return the costs of a call, which is not answered yet; `outcome` is told them."""
        on_settled = None if outcome is None else outcome.settle
        return CallCosts(
            self.chat_router.prices, self.savings_counter, hooks.read_usage, on_settled
        )

    def savings(self, *, reset: bool = False) -> Savings:
        """Return the totals of the answers so far; with `reset`, the next start from zero."""
        return self.savings_counter.read(self.chat_router.prices.best_single, reset=reset)

    def is_available(self, name: str) -> bool:
        """Tell whether an expert may be asked now: it does not cool down after failures."""
        return self.health_registry.is_available(self.clients.health_key(name))

    def health(self) -> dict[str, dict[str, Any]]:
        """Return the health of each model by its expert's name, as `HealthRegistry.describe`."""
        return {
            name: self.health_registry.describe(self.clients.health_key(name))
            for name in self.clients
        }


class Step(NamedTuple):
    """A call to make, and the seconds that it may take; None is no limit.

    `hedge` is a second call that is made, too, if the first one is late.
    """

    call: Callable[[], Any]
    seconds: float | None = None
    hedge: HedgedCall | None = None

    def run(self) -> Any:  # noqa: ANN401 - any framework's answer
        """Make the call."""
        if self.hedge is not None:
            return run_hedged(self.call, self.hedge, self.seconds)
        return run_with_timeout(self.call, self.seconds)

    async def arun(self) -> Any:  # noqa: ANN401 - any framework's answer
        """Make the call, which is awaited."""
        if self.hedge is not None:
            return await arun_hedged(self.call, self.hedge, self.seconds)
        return await arun_with_timeout(self.call, self.seconds)


FallbackSteps: TypeAlias = Generator[Step, Any, tuple[Any, RoutingRecord]]
"""Yields steps to make, is sent their results, and returns the answer and its record."""


def fallback_steps(
    session: FallbackSession[Any],
    plan: RoutingPlan,
    hooks: FallbackHooks,
    deadline: float | None = None,
) -> FallbackSteps:
    """Yield what to call next; return the first answer that is not refused, and its record.

    The result of a call is sent in, and its exception is thrown in. `deadline` is that of this
    call, in seconds. An answer that was refused is returned if it is usable and none is better.

    Raises:
        AllFailedError: all experts failed.
        DeadlineExceededError: the deadline has passed.
        Exception: an error after which asking another expert does not help.
    """
    attempts, outcome = session.attempts(plan, deadline), session.outcome(plan, hooks)
    costs = session.costs(hooks, outcome)
    try:
        for name in attempts.names():
            try:
                client = yield Step(partial(hooks.get_client, name), attempts.seconds_left)
            except Exception as error:
                outcome.add_failure(name, error)
                attempts.add_failure(name, error, client_called=False)
                continue
            record = attempts.record(name)
            yield Step(partial(hooks.emit_event, record))
            outcome.begin()
            hedge = session.hedged_call(plan, attempts, hooks)
            call = partial(hooks.call, client, record)
            try:
                answer = yield Step(call, attempts.seconds_left, hedge)
                if hedge is not None:
                    record = hedge.finish(record, plan, attempts, costs)
                _check_answer(answer, hooks, session.retry_on)
            except Exception as error:
                served_by = record["model"]
                session.chat_router.mark_failed(plan, served_by)
                outcome.add_failure(served_by, error)
                costs.add_failure(served_by, error)
                attempts.add_failure(served_by, error)
            else:
                served_by = record["model"]
                attempts.add_success(served_by)
                session.chat_router.mark_served(plan, served_by)
                late_failure = attempts.late_failure(served_by)
                watched = _watch_stream(answer, session, late_failure, outcome)
                return _settle(watched, record, costs, outcome), record
        answer, record = attempts.refused_answer()
        session.chat_router.mark_served(plan, record["model"])
        return _settle(answer, record, costs, outcome), record
    except BaseException as error:
        spent = costs.give_up()
        # A caller that does not wait may have to pay all the same.
        outcome.fail(error, spent if isinstance(error, Exception) else None)
        raise
    finally:
        attempts.end()


def _check_answer(answer: object, hooks: FallbackHooks, retry_on: frozenset[str]) -> None:
    """Raise if an answer has a problem for which the next model is asked.

    Raises:
        InvalidAnswerError: it has; the error holds an answer that can be used all the same.
    """
    if isinstance(answer, PeekedStream) and not answer.first_chunks:
        raise InvalidAnswerError("The stream has ended without a chunk.", problem="empty")
    if not retry_on:
        return
    if isinstance(answer, PeekedStream):
        problems: Collection[str] = () if answer.has_content else ("empty",)
    else:
        problems = hooks.answer_problems(answer)
    for problem in sorted(retry_on.intersection(problems)):
        raise InvalidAnswerError(_PROBLEMS[problem], answer, is_usable=True, problem=problem)


def _watch_stream(
    answer: object,
    session: FallbackSession[Any],
    on_error: Callable[[Exception], None],
    outcome: CallOutcome,
) -> object:
    """Return a stream that reports when it breaks off; another answer stays as it is."""
    if not isinstance(answer, PeekedStream):
        return answer

    def report(error: Exception) -> None:
        on_error(error)
        outcome.break_off(error)

    return replace(answer, idle_timeout=session.limits.attempt_timeout, on_error=report)


def _settle(
    answer: object, record: RoutingRecord, costs: CallCosts, outcome: CallOutcome
) -> object:
    """Write what a whole answer costs into its record; a stream does it when its tokens come."""
    if not isinstance(answer, PeekedStream):
        costs.settle(record, answer)
        if outcome.wants_text:
            outcome.judge(record["model"], outcome.read_text(answer))
        return answer
    settle = partial(costs.settle_usage, record)
    stream = replace(answer, settle=settle, abandon=partial(settle, None))
    if not outcome.wants_text:
        return stream
    return replace(stream, on_text=partial(outcome.judge, record["model"]))


def run_steps(steps: FallbackSteps) -> tuple[Any, RoutingRecord]:
    """Make the calls that the steps yield, and return what the steps return."""
    with closing(steps):
        try:
            step = next(steps)
            while True:
                try:
                    result = step.run()
                except Exception as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # `StopIteration.value` has no type


async def arun_steps(steps: FallbackSteps) -> tuple[Any, RoutingRecord]:
    """Do what `run_steps` does, with calls that are awaited."""
    with closing(steps):
        try:
            step = next(steps)
            while True:
                try:
                    result = await step.arun()
                except Exception as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # `StopIteration.value` has no type
