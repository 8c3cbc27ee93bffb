"""The spans of decisions and calls: no prompt, answer, key or user is in any attribute.

A decision may be made in another thread, together with those of other callers. So its span is
written afterwards, with the times of the decision, in the context of the caller that gets it.
"""

from __future__ import annotations

import inspect
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from tryage.telemetry import conventions as names
from tryage.telemetry.conventions import decision_reason, error_type
from tryage.telemetry.observer import CallObserver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from tryage.core.decision import Decision
    from tryage.telemetry.metrics import Metrics
    from tryage.telemetry.observer import CallFacts, TokenCounts

_NANOSECONDS = 1_000_000_000

# Decisions -------------------------------------------------------------------------------------


def trace_decision(tracer: Tracer, decision: Decision, context: Context | None = None) -> None:
    """Write the span of a decision."""
    started, ended = decision.timing or (time.time_ns(),) * 2
    span = tracer.start_span(
        f"{names.ROUTE} {names.ROUTER}",
        context,
        SpanKind.INTERNAL,
        decision_attributes(decision),
        start_time=started,
    )
    span.end(ended)


def trace_decisions(tracer: Tracer, decisions: list[Decision]) -> None:
    """Write the span of one pass: of a single decision all that is known, of several their number.

    A span for each of thousands would tell less, and the metrics count them by model.
    """
    if len(decisions) == 1:
        trace_decision(tracer, decisions[0])
        return
    if not decisions:
        return
    started, ended = decisions[0].timing or (time.time_ns(),) * 2
    attributes: dict[str, Any] = {
        names.OPERATION: names.ROUTE,
        names.PROMPTS: len(decisions),
        names.DECISION_SECONDS: (ended - started) / _NANOSECONDS,
    }
    name = f"{names.ROUTE} {names.ROUTER}"
    tracer.start_span(name, attributes=attributes, start_time=started).end(ended)


def trace_failed_decision(tracer: Tracer, error: BaseException) -> None:
    """Write the span of a decision that was not possible."""
    span = tracer.start_span(
        f"{names.ROUTE} {names.ROUTER}", attributes={names.OPERATION: names.ROUTE}
    )
    _mark_failed(span, error)
    span.end()


def decision_attributes(decision: Decision) -> dict[str, Any]:
    """Return what a span says of a decision; what is unknown is left out."""
    started, ended = decision.timing or (0, 0)
    chosen, preferences = decision.chosen, decision.preferences
    eligible = len(decision.ranking)
    values = {
        names.OPERATION: names.ROUTE,
        names.REQUEST_MODEL: decision.expert.name,
        names.DECISION_ID: decision.id,
        names.DECISION_SECONDS: (ended - started) / _NANOSECONDS if decision.timing else None,
        names.PROMPTS: 1,
        names.CANDIDATES: eligible + len(decision.rejected),
        names.ELIGIBLE: eligible,
        names.REASON: decision_reason(
            default_used=decision.default_used,
            explored=decision.explored,
            has_changes=bool(decision.changes),
        ),
        names.PREDICTED_LOSS: None if chosen is None else float(chosen.predicted_loss),
        names.CONFIDENCE: decision.confidence,
        names.TYPICALITY: decision.typicality,
        names.EXPECTED_COST: None if chosen is None else chosen.cost,
        # Their names only: a reason may hold what a rule or a budget is about, such as a user.
        names.POLICIES: list(dict.fromkeys(one.policy for one in decision.changes)) or None,
        names.REQUIREMENTS: sorted({one.field for one in preferences.requirements}) or None,
        names.ANSWER_VALUE: preferences.answer_value,
    }
    return {name: value for name, value in values.items() if value is not None}


# Calls -----------------------------------------------------------------------------------------


class CallSpans(CallObserver):
    """The span of a whole call, with one below it for the decision and for each attempt.

    Args:
        tracer: Of the provider that exports.
        metrics: Are told of attempts and of the call.
        facts: What is known before any expert is asked.
    """

    def __init__(self, tracer: Tracer, metrics: Metrics, facts: CallFacts) -> None:
        self._tracer, self._metrics, self._facts = tracer, metrics, facts
        decision = facts.decision
        timing = None if decision is None else decision.timing
        self._span = tracer.start_span(
            f"{names.WORKFLOW} {names.ROUTER}",
            kind=SpanKind.INTERNAL,
            attributes={
                names.OPERATION: names.WORKFLOW,
                names.WORKFLOW_NAME: names.ROUTER,
                names.DECISION_ID: facts.decision_id,
                names.CHOICE: facts.choice,
            },
            start_time=None if timing is None else timing[0],
        )
        self._context = set_span_in_context(self._span)
        self._open: dict[str, _Attempt] = {}
        self._failed: dict[str, str] = {}
        self._n_fallbacks, self._error, self._last_failure = 0, None, None
        if decision is not None:
            trace_decision(tracer, decision, self._context)

    _error: BaseException | None
    _last_failure: BaseException | None

    # Attempts

    def traced(
        self,
        call: Callable[[Any, Any], Any],
        key_of: Callable[[Any], str],
        is_stream: Callable[[object], bool],
    ) -> Callable[[Any, Any], Any]:
        """Return what asks an expert within a span, which is that of the expert's own spans."""

        def run(client: Any, record: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any framework's
            key = key_of(record)
            attempt = self._begin(key, record["model"], record)
            with self._noting_failure(key), attempt.as_current():
                result = call(client, record)
            if inspect.isawaitable(result):
                return self._awaited(result, key, attempt, is_stream)
            attempt.note_result(is_stream=is_stream(result))
            return result

        return run

    async def _awaited(
        self,
        result: Awaitable[Any],
        key: str,
        attempt: _Attempt,
        is_stream: Callable[[object], bool],
    ) -> Any:  # noqa: ANN401 - any framework's answer
        with self._noting_failure(key), attempt.as_current():
            answer = await result
        attempt.note_result(is_stream=is_stream(answer))
        return answer

    @contextmanager
    def _noting_failure(self, key: str) -> Iterator[None]:
        """End an attempt that raises: also one that is cancelled, or of which nobody is told."""
        try:
            yield
        except BaseException as error:
            self.fail_attempt(key, error)
            raise

    def begin_attempt(self, key: str, expert: str, record: Mapping[str, Any]) -> None:
        """Begin the span of an attempt; it is not the current one."""
        self._begin(key, expert, record)

    def _begin(self, key: str, expert: str, record: Mapping[str, Any]) -> _Attempt:
        if key == expert:
            self._count_fallback(record.get("failed", ()))
        provider = self._facts.provider_of(expert)
        attributes: dict[str, Any] = {names.OPERATION: names.CHAT, names.REQUEST_MODEL: expert}
        if provider is not None:
            attributes[names.PROVIDER] = provider
        if (expected := record.get("cost", {}).get("expected")) is not None:
            attributes[names.EXPECTED_COST] = expected
        span = self._tracer.start_span(
            f"{names.CHAT} {expert}", self._context, SpanKind.CLIENT, attributes
        )
        attempt = self._open[key] = _Attempt(span, set_span_in_context(span), expert, provider)
        return attempt

    def _count_fallback(self, failed: Mapping[str, str] | tuple[()]) -> None:
        """Count the failures after which this attempt is made."""
        for expert in list(failed)[self._n_fallbacks :]:
            self._n_fallbacks += 1
            self._metrics.add_fallback(expert, self._failed.get(expert, names.OTHER))

    def fail_attempt(self, key: str, error: BaseException) -> None:
        """End the span of an attempt that has failed; nothing if it has ended."""
        self._failed[key], self._last_failure = error_type(error), error
        self._end_attempt(key, "failed", None, error)

    def end_unkept(self, key: str, usage: TokenCounts | None, *, is_sample: bool = False) -> None:
        """End the span of an answer that is not returned."""
        self._end_attempt(key, "sample" if is_sample else "not kept", usage)

    def _end_attempt(
        self,
        key: str,
        outcome: str,
        usage: TokenCounts | None,
        error: BaseException | None = None,
    ) -> None:
        attempt = self._open.pop(key, None)
        if attempt is None:
            return
        attempt.end(outcome, usage, error)
        self._metrics.add_attempt(
            attempt.expert,
            attempt.provider,
            attempt.seconds,
            seconds_to_first_chunk=attempt.seconds_to_first_chunk,
            usage=usage,
            error=error,
        )

    # What came of the call

    def cool_down(self, expert: str, seconds: float) -> None:
        """Add an event to the span of the call."""
        attributes: dict[str, Any] = {names.REQUEST_MODEL: expert, names.COOL_DOWN_SECONDS: seconds}
        self._span.add_event(names.COOL_DOWN, attributes)
        self._metrics.add_cool_down(expert, seconds)

    def break_off(self, error: BaseException) -> None:
        """Remember with what error the stream has ended, whose tokens come next."""
        self._error = error

    def settle(self, record: Mapping[str, Any], usage: TokenCounts | None) -> None:
        """End all spans: that of the answer has its tokens, that of the call its dollars."""
        self._end_attempt(record["model"], "answered", usage, self._error)
        costs = record.get("cost", {})
        values = {
            names.RESPONSE_MODEL: record["model"],
            names.CHOICE: record.get("how"),
            names.FAILED: list(record.get("failed", ())) or None,
            names.EXPECTED_COST: costs.get("expected"),
            names.BILLED_COST: costs.get("billed"),
            names.BEST_SINGLE_COST: costs.get("best_single"),
        }
        if None not in (costs.get("billed"), costs.get("best_single")):
            values[names.SAVINGS] = costs["best_single"] - costs["billed"]
        self._span.set_attributes({key: one for key, one in values.items() if one is not None})
        self._metrics.add_call(record, self._error)
        self._end(self._error)

    def fail(self, error: BaseException, cost: float | None = None) -> None:
        """End all spans: there is no answer."""
        if isinstance(error, GeneratorExit):  # what waits for the call was told to stop: by what?
            error = self._last_failure or error
        if cost:
            self._span.set_attribute(names.BILLED_COST, cost)
        for key in list(self._open):  # nobody waits for them any more
            self._end_attempt(key, "failed", None, error)
        self._metrics.add_failed_call(self._facts.first, self._facts.choice, error, cost)
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        for key in list(self._open):
            self._end_attempt(key, "unused", None)
        if error is not None:
            _mark_failed(self._span, error)
        self._span.end()


class _Attempt:
    """One attempt of an expert: its span, and when its answer, or the first of it, was there."""

    def __init__(self, span: Span, context: Context, expert: str, provider: str | None) -> None:
        self._span, self._context = span, context
        self.expert, self.provider = expert, provider
        self._started, self._result_at, self._is_stream = time.perf_counter_ns(), 0, False
        self.seconds = 0.0
        self.seconds_to_first_chunk: float | None = None

    @contextmanager
    def as_current(self) -> Iterator[None]:
        """Make the span the parent of what the client itself traces."""
        token = otel_context.attach(self._context)
        try:
            yield
        finally:
            otel_context.detach(token)

    def note_result(self, *, is_stream: bool) -> None:
        """Note that the answer is there, or that its stream begins."""
        self._result_at, self._is_stream = time.perf_counter_ns(), is_stream
        if is_stream:
            self.seconds_to_first_chunk = (self._result_at - self._started) / _NANOSECONDS

    def end(self, outcome: str, usage: TokenCounts | None, error: BaseException | None) -> None:
        """End the span: that of a whole answer at the time when it came, not when it was judged."""
        now = time.perf_counter_ns()
        ended = self._result_at if self._result_at and not self._is_stream else now
        self.seconds = (ended - self._started) / _NANOSECONDS
        values: dict[str, Any] = {names.OUTCOME: outcome}
        if self._is_stream:
            values |= {names.STREAM: True, names.TIME_TO_FIRST_CHUNK: self.seconds_to_first_chunk}
        if usage is not None:
            values[names.INPUT_TOKENS] = round(usage.input)
            values[names.OUTPUT_TOKENS] = round(usage.output)
            values[names.CACHED_TOKENS] = round(usage.cached)
        if outcome == "answered":
            values[names.RESPONSE_MODEL] = self.expert
        self._span.set_attributes(values)
        if error is not None:
            _mark_failed(self._span, error)
        self._span.end(time.time_ns() - (now - ended))


def _mark_failed(span: Span, error: BaseException) -> None:
    """Set the status and the type of an error, without its message: that may quote the prompt."""
    span.set_attribute(names.ERROR, error_type(error))
    span.set_status(Status(StatusCode.ERROR))
