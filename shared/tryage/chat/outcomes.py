"""What comes of a call, for the log of traffic: the outcome, and signals about the answers."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from tryage.chat.call_observer import token_counts
from tryage.chat.plan import COST_KEY
from tryage.core.client_errors import error_scope
from tryage.core.error_phrases import ErrorScope
from tryage.errors import InputError, InvalidAnswerError
from tryage.telemetry.observer import IGNORED_CALL, CallObserver
from tryage.traffic.decision_log import make_feedback
from tryage.traffic.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from tryage.chat.plan import RoutingPlan, RoutingRecord
    from tryage.chat.router import ChatRouter
    from tryage.core.usage import TokenUsage

Signal: TypeAlias = Literal["error", "parse", "retry"]
"""Feedback that nobody gives on purpose, each with the score 0.

"error": a model refuses this request, such as a prompt that is too long for it, or answers nothing.
A model that is down, too slow or out of quota says nothing of its quality. "parse": an answer does
not follow the schema that was asked for. "retry": the user sends the same message again in the same
conversation within some minutes.
"""

SIGNALS: frozenset[Signal] = frozenset(get_args(Signal))


def check_signals(value: object) -> frozenset[Signal]:
    """Return which signals are given: True means all, False none.

    Raises:
        InputError: one is unknown.
    """
    if isinstance(value, bool):
        return SIGNALS if value else frozenset()
    names = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    if not all(name in SIGNALS for name in names):
        raise InputError(f"signals is {value!r:.80}; expected some of {sorted(SIGNALS)}, or True.")
    return frozenset(signal for signal in SIGNALS if signal in names)


def signal_of(error: Exception) -> Signal | None:
    """Return what the failure of a model tells about its quality, None if nothing."""
    if isinstance(error, InvalidAnswerError):
        kinds: dict[str, Signal | None] = {"parse": "parse", "empty": "error"}
        return kinds.get(error.problem)
    return "error" if error_scope(error) is ErrorScope.PAIR else None


class CallOutcome:
    """Notes what comes of one call, and writes it when the answer is complete.

    Without a log it tells only the router's policy, if there is one.

    Args:
        chat_router: Its router has the log.
        plan: What is asked, in which order.
        signals: Which signals are written.
        read_text: Returns the text of a whole answer, None if it has none.
        judge: Is given the question, the answer and the expert of each answer.
        observer: What telemetry is told of the call.
        clock: Returns seconds that never go back.
    """

    def __init__(  # noqa: PLR0913 - independent parts with defaults
        self,
        chat_router: ChatRouter,
        plan: RoutingPlan,
        signals: Iterable[Signal] = SIGNALS,
        *,
        read_text: Callable[[Any], str | None] = lambda _: None,
        judge: Callable[[RoutingPlan, str, str], object] | None = None,
        observer: CallObserver = IGNORED_CALL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._observer = observer
        self._router, self._log = chat_router.router, chat_router.router.log
        self._plan, self._signals, self._clock = plan, frozenset(signals), clock
        self._best_single = None if self._log is None else chat_router.prices.best_single
        self._failed: list[str] = []
        self._error: str | None = None
        self._started = clock()
        self.read_text, self._judge = read_text, judge
        chat_router.record(plan)
        reads_retries = self._log is not None and "retry" in self._signals
        if reads_retries and (earlier := chat_router.retried(plan)) is not None:
            self._signal("retry", earlier.decision_id, earlier.name)

    @property
    def wants_text(self) -> bool:
        """Whether somebody reads the text of the answer."""
        return self._judge is not None

    @property
    def seconds(self) -> float:
        """How long ago the model was asked that was asked last."""
        return self._clock() - self._started

    def begin(self) -> None:
        """Note that the next model is asked."""
        self._started = self._clock()

    def add_failure(self, name: str, error: Exception) -> None:
        """Note that a model has failed."""
        self._failed.append(name)
        self._error = self._error or type(error).__name__
        self._observer.fail_attempt(name, error)
        signal = signal_of(error)
        if signal is not None and signal in self._signals:
            self._signal(signal, self._plan.id, name)

    def break_off(self, error: Exception) -> None:
        """Note that a stream has ended with an error."""
        self._error = self._error or type(error).__name__
        self._observer.break_off(error)

    def settle(self, record: RoutingRecord, usage: TokenUsage | None) -> None:
        """Write the outcome of an answer, whose costs are in the record."""
        self._observer.settle(record, token_counts(usage))
        costs = record.get(COST_KEY, {})
        self._write(
            served_by=record["model"],
            latency=self._clock() - self._started,
            input_tokens=None if usage is None else round(usage.input_tokens),
            output_tokens=None if usage is None else round(usage.output_tokens),
            cost=costs.get("billed"),
            best_single=self._best_single,
            best_single_cost=costs.get("best_single"),
            dearest_cost=costs.get("dearest"),
        )

    def judge(self, name: str, text: str | None) -> None:
        """Give an answer of the expert `name` to the judge."""
        if self._judge is not None and text and self._log is not None:
            self._judge(self._plan, name, text)

    def fail(self, error: BaseException, cost: float | None = None) -> None:
        """Write that no model has answered; `cost` in USD is that of the attempts."""
        self._observer.fail(error, cost)
        self._error = self._error or type(error).__name__
        self._write(latency=self._clock() - self._started, cost=cost)

    def _write(self, **values: Any) -> None:  # noqa: ANN401 - fields of an outcome
        served_by = values.get("served_by")
        self._router.settle(
            self._plan.id, served_by, cost=values.get("cost"), latency=values["latency"]
        )
        if self._log is None:
            return
        self._log.record_outcome(
            Outcome(
                decision_id=self._plan.id,
                time=time.time(),
                error=self._error,
                failed=tuple(name for name in self._failed if name != served_by),
                **values,
            )
        )

    def _signal(self, signal: Signal, decision_id: str, name: str) -> None:
        if self._log is not None:
            feedback_id = f"{decision_id}:{signal}:{name}"
            self._log.add_signal(
                make_feedback(decision_id, 0.0, kind=signal, feedback_id=feedback_id, expert=name)
            )
