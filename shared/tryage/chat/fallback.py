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
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from tryage.chat.answer_cache import AnswerReuse
from tryage.chat.attempts import Attempts
from tryage.chat.call_observer import observe_call, with_traces
from tryage.chat.calls import Call, amake_call, make_call
from tryage.chat.cascade import Cascade
from tryage.chat.costs import CallCosts
from tryage.chat.hedging import HedgedCall
from tryage.chat.hooks import FallbackHooks as FallbackHooks  # noqa: PLC0414, TC001 - its former place
from tryage.chat.log_probabilities import refuses_log_probabilities
from tryage.chat.outcomes import SIGNALS, CallOutcome, Signal
from tryage.chat.plan import RoutingRecord
from tryage.chat.savings import SavingsCounter
from tryage.chat.streams import PeekedStream, check_size
from tryage.chat.time_limits import CallTimer, TimeLimits
from tryage.core.usage import NO_TOKENS
from tryage.errors import InvalidAnswerError
from tryage.telemetry.observer import IGNORED_CALL
from tryage.traffic.health import HealthRegistry, process_health

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tryage.chat.clients import ClientPool
    from tryage.chat.conversation import Conversation
    from tryage.chat.judging import AnswerJudge
    from tryage.chat.plan import RoutingPlan
    from tryage.chat.router import ChatRouter, Sticky
    from tryage.chat.savings import Savings
    from tryage.core.policy_change import CachedAnswer
    from tryage.core.preferences import Preferences
    from tryage.errors import TryageError
    from tryage.telemetry.observer import CallObserver

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

    `max_attempts` is how many clients may fail. `retry_on` names the answers that are refused:
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

    def attempts(
        self,
        plan: RoutingPlan,
        deadline: float | None = None,
        observer: CallObserver = IGNORED_CALL,
    ) -> Attempts:
        """Return the attempts to get an answer; `deadline` is that of this call, in seconds."""
        return Attempts(
            plan,
            self.chat_router.router.library,
            self.max_attempts,
            health=self.health_registry,
            key_of=self.clients.health_key,
            timer=CallTimer(self.limits.with_deadline(deadline)),
            on_cool_down=observer.cool_down,
        )

    def asks_log_probabilities(self, plan: RoutingPlan, name: str) -> bool:
        """Tell whether an expert is asked for the log probabilities of the tokens of its answer.

        A cascade reads them, and the client of the expert has not refused them before.
        """
        step = plan.step(name)
        refused = self.clients.without_log_probabilities
        return step is not None and step.needs_log_probabilities and name not in refused

    def hedged_call(
        self, plan: RoutingPlan, attempts: Attempts, hooks: FallbackHooks
    ) -> HedgedCall | None:
        """Return how the first attempt of a call is hedged, None if it is not."""
        calls = None if attempts.failures or attempts.cooling_down else plan.calls
        if calls is None or calls.hedge is None:
            return None
        health, key_of = self.health_registry, self.clients.health_key
        noted = attempts.note_cool_down
        return HedgedCall(plan.first, calls.hedge, hooks, attempts.record, health, key_of, noted)

    def observe(self, plan: RoutingPlan) -> CallObserver:
        """Return what telemetry is told of a call that begins now."""
        return observe_call(plan, self.clients.built)

    def outcome(
        self, plan: RoutingPlan, hooks: FallbackHooks, observer: CallObserver = IGNORED_CALL
    ) -> CallOutcome:
        """Write the plan into the log, and return what notes what comes of it."""
        judge, log = self.judge, self.chat_router.router.log
        ask = None
        if judge is not None and log is not None and judge.draws(plan.id):
            ask = partial(judge.submit, log)
        return CallOutcome(
            self.chat_router,
            plan,
            self.signals,
            read_text=hooks.read_text,
            judge=ask,
            observer=observer,
        )

    def costs(
        self,
        hooks: FallbackHooks,
        outcome: CallOutcome | None = None,
        *,
        has_steps: bool = False,
    ) -> CallCosts:
        """Return the costs of a call, which is not answered yet; `outcome` is told them."""
        costs = partial(CallCosts, self.chat_router.prices, self.savings_counter, hooks.read_usage)
        if outcome is None:
            return costs()
        return costs(outcome.settle, seconds=lambda: outcome.seconds, has_steps=has_steps)

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


FallbackSteps: TypeAlias = Generator[Call, Any, tuple[Any, RoutingRecord]]
"""Yields steps to make, is sent their results, and returns the answer and its record."""


def fallback_steps(
    session: FallbackSession[Any],
    plan: RoutingPlan,
    hooks: FallbackHooks,
    deadline: float | None = None,
) -> FallbackSteps:
    """Yield what to call next; return the first answer that is kept, and its record.

    The result of a call is sent in, and its exception is thrown in. `deadline` is that of this
    call, in seconds. An answer that was refused, or that a cascade has not kept, is returned if it
    is usable and none is better.

    Raises:
        AllFailedError: all experts failed.
        DeadlineExceededError: the deadline has passed.
        Exception: an error after which asking another expert does not help.
    """
    return (yield from _FallbackCall(session, plan, hooks, deadline).steps())


class _FallbackCall:
    """One call of a routed chat model, while it is answered."""

    def __init__(
        self,
        session: FallbackSession[Any],
        plan: RoutingPlan,
        hooks: FallbackHooks,
        deadline: float | None,
    ) -> None:
        observer = session.observe(plan)
        hooks = with_traces(hooks, observer)
        self.session, self.plan, self.hooks = session, plan, hooks
        self.attempts = session.attempts(plan, deadline, observer)
        self.outcome = session.outcome(plan, hooks, observer)
        self.costs = session.costs(hooks, self.outcome, has_steps=bool(plan.steps))
        self.cascade = Cascade(plan, hooks, self.attempts, self.costs, observer)
        self.reuse = AnswerReuse(session.chat_router.answer_caches, plan, hooks)

    def steps(self) -> FallbackSteps:
        """Return an answer that is at hand, or ask one expert after another."""
        try:
            if (found := self.reuse.found) is not None:
                return (yield from self._serve_found(found))
            for name in self.attempts.names():
                served = yield from self._ask(name)
                yield from self.cascade.close_unread(is_over=served is not None)
                if served is not None:
                    return served
            return self._last_resort()
        except BaseException as error:
            if not isinstance(error, GeneratorExit):  # a generator that is closed makes no calls
                yield from self.cascade.close_unread(is_over=True)
            spent = self.costs.give_up()
            # A caller that does not wait may have to pay all the same.
            self.outcome.fail(error, spent if isinstance(error, Exception) else None)
            raise
        finally:
            self.attempts.end()

    def _ask(self, name: str) -> Generator[Call, Any, tuple[Any, RoutingRecord] | None]:
        """Ask one expert; return its answer and record, None if it fails or is not kept."""
        try:
            client = yield Call(partial(self.hooks.get_client, name), self.attempts.seconds_left)
        except Exception as error:
            self._fail(name, error, client_called=False)
            return None
        record = self.attempts.record(name)
        self.costs.write_steps(record)
        yield Call(partial(self.hooks.emit_event, record))
        self.outcome.begin()
        hedge = None
        if self.cascade.earlier is None:  # the plan of the hedge is about the first step
            hedge = self.session.hedged_call(self.plan, self.attempts, self.hooks)
        try:
            answer, samples = yield from self.cascade.ask(client, record, hedge)
            if hedge is not None:
                record = hedge.finish(record, self.plan, self.attempts, self.costs)
            name = record["model"]  # of the expert that has answered
            answer = yield from self.cascade.read_enough(name, answer)
            _check_answer(answer, self.hooks, self.session.retry_on)
        except Exception as error:
            if self._ends_log_probabilities(name, error):
                return (yield from self._ask(name))
            self._fail(name, error)
            return None
        self.attempts.add_success(name)
        if not (yield from self.cascade.keeps(name, answer, samples)):
            return None
        return self._serve(name, record, answer), record

    def _ends_log_probabilities(self, name: str, error: Exception) -> bool:
        """Tell whether an expert has refused log probabilities: it is asked without them again."""
        asks = self.session.asks_log_probabilities(self.plan, name)
        if not (asks and refuses_log_probabilities(error)):
            return False
        self.session.clients.without_log_probabilities.add(name)
        return True

    def _fail(self, name: str, error: Exception, *, client_called: bool = True) -> None:
        """Note that an expert has failed.

        Raises:
            Exception: the error itself, if no other expert could do better.
        """
        if client_called:
            self.session.chat_router.mark_failed(self.plan, name)
        self.outcome.add_failure(name, error)
        if client_called:
            self.costs.add_failure(name, error)
        self.attempts.add_failure(name, error, client_called=client_called)

    def _serve(self, name: str, record: RoutingRecord, answer: Any) -> Any:  # noqa: ANN401 - any framework's answer
        """Return the answer that the caller gets."""
        self.session.chat_router.mark_served(self.plan, name)
        on_error = self.attempts.late_failure(name)
        watched = _watch_stream(answer, self.session, on_error, self.outcome)
        return self.reuse.keep(record, _settle(watched, record, self.costs, self.outcome))

    def _serve_found(self, found: CachedAnswer) -> FallbackSteps:
        """Return an answer from a cache, which costs nothing."""
        record = self.reuse.record(found)
        yield Call(partial(self.hooks.emit_event, record))
        self.session.chat_router.mark_served(self.plan, found.expert)
        self.costs.settle_usage(record, NO_TOKENS)
        return self.reuse.answer(found), record

    def _last_resort(self) -> tuple[Any, RoutingRecord]:
        """Return an answer that was not kept or refused, and its record.

        Raises:
            Exception: there is none; the error says what has failed.
        """
        if self.cascade.earlier is None:
            answer, record = self.attempts.refused_answer()
        else:
            name, answer = self.cascade.earlier
            record = self.attempts.record(name)
        self.session.chat_router.mark_served(self.plan, record["model"])
        return _settle(answer, record, self.costs, self.outcome), record


def _check_answer(answer: object, hooks: FallbackHooks, retry_on: frozenset[str]) -> None:
    """Raise if an answer has a problem for which the next model is asked.

    Raises:
        InvalidAnswerError: it has; the error holds an answer that can be used all the same, unless
            it is too large.
    """
    if not isinstance(answer, PeekedStream):
        check_size(hooks.answer_size(answer))
    elif not answer.first_chunks:
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
    # Where all chunks are there already, their tokens are known though they are not read.
    abandon = partial(costs.settle, record, answer) if answer.is_complete else partial(settle, None)
    stream = replace(answer, settle=settle, abandon=abandon)
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
                    result = make_call(step)
                except BaseException as error:  # the steps end with what ends them
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
                    result = await amake_call(step)
                except BaseException as error:  # as above
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # `StopIteration.value` has no type
