"""The attempts to get one answer: which model is asked next, for how long, and what has failed."""

from __future__ import annotations

import logging
import re
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from tryage.chat.conversation import has_unverified_requirements
from tryage.chat.time_limits import CallTimer, TimeLimits
from tryage.core.client_errors import should_fall_back, status_of
from tryage.core.redaction import describe_error, redacted_error
from tryage.errors import (
    AllFailedError,
    AttemptTimeoutError,
    DeadlineExceededError,
    InvalidAnswerError,
)
from tryage.telemetry.observer import TELEMETRY
from tryage.traffic.health import HealthRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from tryage.chat.plan import RoutingPlan, RoutingRecord
    from tryage.chat.time_limits import AttemptLimit
    from tryage.core.library import Library

_log = logging.getLogger(__name__)

# A model that the deadline cuts off sooner may be well: the caller was in a hurry.
_FAIR_CHANCE = 1.0  # seconds

_ERROR_CODE = re.compile(r"[a-z]+(?:[_.-][a-z]+)*", re.IGNORECASE)  # no digits: no key


class Attempts:
    """Go through a plan until one expert answers.

    The caller makes the calls, so sync code, async code and streams share it:

        for name in attempts:
            try:
                answer = ask(name)
            except Exception as error:
                attempts.add_failure(name, error)
            else:
                attempts.add_success(name)
                return attempts.record(name), answer

    Experts that cool down after failures are asked last, the one that is due first before the
    others. So an expert that the caller asks for by name, the only one of its plan, is asked all
    the same.

    Args:
        plan: What is asked, in which order.
        library: The experts of the plan.
        max_attempts: How many experts may fail; None means all. An answer that is not kept is no
            failure.
        health: Which models fail now.
        key_of: Returns the key of an expert's model in `health`; by default the expert's name.
        timer: How long the attempts may take; None is no limit.
        on_cool_down: Is told an expert that is left out from now on, and for how many seconds.

    `failures` holds `(name, error)` in order, `escalations` `(name, reason)` of the answers that
    were not kept, and `cooling_down` the experts that were passed over. After an answer that was
    not kept, only the other steps of the cascade are asked.
    """

    def __init__(  # noqa: PLR0913 - independent arguments with defaults
        self,
        plan: RoutingPlan,
        library: Library,
        max_attempts: int | None = None,
        *,
        health: HealthRegistry | None = None,
        key_of: Callable[[str], Hashable] = str,
        timer: CallTimer | None = None,
        on_cool_down: Callable[[str, float], None] = lambda *_: None,
    ) -> None:
        self.plan, self._on_cool_down = plan, on_cool_down
        self.failures: list[tuple[str, Exception]] = []
        self.escalations: list[tuple[str, str]] = []
        self.cooling_down: list[str] = []
        self._library, self._max_attempts = library, max_attempts
        self._health = HealthRegistry() if health is None else health
        self._key_of = key_of
        self._timer = CallTimer(TimeLimits()) if timer is None else timer
        self._current: _Attempt | None = None
        self._limit: AttemptLimit | None = None
        self._reported_failures = 0

    def __iter__(self) -> Iterator[str]:
        """Yield the name of the expert to ask next.

        Raises:
            AllFailedError: all experts failed, and there was more than one.
            DeadlineExceededError: the deadline has passed.
        """
        yield from self.names()
        raise self.final_error()

    # Whom to ask ---------------------------------------------------------------------------

    def names(self) -> Iterator[str]:
        """Yield the name of the expert to ask next; end if nobody is left, or no time."""
        names = self._ordered_names()
        while self._max_attempts is None or len(self.failures) < self._max_attempts:
            failures = len(self.failures)
            name = next(names, None)
            if name is None:
                return
            if (self.failures or self.escalations) and self._timer.has_expired:
                self.end()
                return
            if self.failures and failures > self._reported_failures:
                _log_fallback(self.plan, *self.failures[-1], name)
                self._reported_failures = failures
            yield name

    def _ordered_names(self) -> Iterator[str]:
        """Yield the available experts in the order of the plan, then those that cool down."""
        for name in self.plan.order():
            if self.escalations and self.plan.step(name) is None:
                return  # there is an answer already
            if self._begin(name, forced=False):
                yield name
            else:
                self.cooling_down.append(name)
        if self.escalations:
            return
        for name in sorted(self.cooling_down, key=self._seconds_until_due):
            self.cooling_down.remove(name)
            self._begin(name, forced=True)
            yield name

    def _begin(self, name: str, *, forced: bool) -> bool:
        """Begin the attempt with an expert, unless it cools down; `forced` asks it all the same."""
        started = self._health.begin(self._key_of(name))
        if started is None:
            if not forced:
                return False
            started = self._health.now()
        is_last = self._timer.deadline is None or self._is_last()
        self._limit = self._timer.attempt_limit(is_last=is_last)
        self._current = _Attempt(name, started, self._limit)
        return True

    def _is_last(self) -> bool:
        """Tell whether no other expert can be asked after the one that is asked next."""
        if self.escalations:
            return len(self.failures) + len(self.escalations) + 1 >= len(self.plan.steps)
        names = islice(self.plan.order(), self._max_attempts)
        return len(self.failures) + 1 >= sum(1 for _ in names)

    def _seconds_until_due(self, name: str) -> float:
        return self._health.seconds_until_due(self._key_of(name))

    @property
    def call_seconds_left(self) -> float | None:
        """The seconds that the whole call has left, None without a deadline."""
        return self._timer.call_seconds_left

    @property
    def seconds_left(self) -> float | None:
        """The seconds that the attempt that began last has left, None without a limit."""
        return self._timer.seconds_left(self._limit)

    # What came of it -----------------------------------------------------------------------

    def add_success(self, name: str) -> None:
        """Note that an expert has answered."""
        started = None if self._current is None else self._current.started
        self._current = None
        if self._health.record_success(self._key_of(name), started):
            _log.info("Decision %s: %s answers again.", self.plan.id, name, extra=_extra(self.plan))
            if TELEMETRY.observer is not None:
                TELEMETRY.observer.recover(name)

    def add_failure(self, name: str, error: Exception, *, client_called: bool = True) -> None:
        """Note that an expert failed; `client_called` is False if its client cannot be made.

        Raises:
            Exception: the error itself, if no other expert could do better, and there is no answer
                of an earlier step.
        """
        self._note_health(name, error)
        if client_called and not self.escalations:
            is_unverified = has_unverified_requirements(
                self.plan.requirements, self._library, self._library.index(name)
            )
            if not should_fall_back(error, unverified=is_unverified):
                raise error
        self.failures.append((name, error))

    def add_escalation(self, name: str, reason: str) -> None:
        """Note that the answer of an expert, which has succeeded, is not kept."""
        self.escalations.append((name, reason))
        _log.info(
            "Decision %s: the answer of %s is not kept: %s.", self.plan.id, name, reason,
            extra=_extra(self.plan),
        )  # fmt: skip

    def late_failure(self, name: str) -> Callable[[Exception], None]:
        """Return what notes that a stream has failed after its beginning."""
        return partial(self._note_health, name)

    def end(self) -> None:
        """End the current attempt if nothing came of it: the caller has given up."""
        if self._current is not None:
            self._health.release(self._key_of(self._current.name), self._current.started)
            self._current = None

    def _note_health(self, name: str, error: Exception) -> None:
        attempt, self._current = self._current, None
        key, started = self._key_of(name), None if attempt is None else attempt.started
        if attempt is not None and attempt.was_rushed(error):
            self._health.release(key, started)
            return
        self.note_cool_down(name, error, self._health.record_failure(key, error, started))

    def note_cool_down(self, name: str, error: Exception, seconds: float | None) -> None:
        """Tell that an expert is left out for some seconds after an error; None is not at all."""
        if seconds is None:
            return
        self._on_cool_down(name, seconds)
        _log.warning(
            "Decision %s: %s cools down for %.1f seconds after %s.",
            self.plan.id, name, seconds, _error_label(error), extra=_extra(self.plan),
        )  # fmt: skip

    # What the caller gets ------------------------------------------------------------------

    def record(self, served_by: str) -> RoutingRecord:
        """Return the plan's record, with the expert that answered and those that could not."""
        record = self.plan.record(served_by)
        failures = {name: describe_error(e) for name, e in self.failures if name != served_by}
        if failures:
            record["failed"] = failures
        not_kept = [(name, reason) for name, reason in self.escalations if name != served_by]
        if not_kept:
            record["reason"] = "the answer of {} was not kept: {}".format(*not_kept[-1])
        elif self.escalations:
            record["reason"] = "no later step of the cascade has answered"
        if self.cooling_down:
            record["cooling_down"] = list(self.cooling_down)
            if self.plan.first in self.cooling_down:
                record["reason"] = f"{self.plan.first} is cooling down"
        return record

    def refused_answer(self) -> tuple[Any, RoutingRecord]:
        """Return the first answer that was refused but can still be used, with its record.

        Raises:
            Exception: there is none; the error says what has failed.
        """
        for name, error in self.failures:
            if isinstance(error, InvalidAnswerError) and error.is_usable:
                return error.answer, self.record(name)
        raise self.final_error()

    def final_error(self) -> Exception:
        """Return the error after the last attempt; a single failure needs no summary."""
        if self._timer.has_expired:
            return self._deadline_error()
        if len(self.failures) == 1:
            error = self.failures[0][1]
            cause = error.__cause__ if isinstance(error, InvalidAnswerError) else None
            return cause if isinstance(cause, Exception) else error
        message = f"All {len(self.failures)} experts that were asked have failed:"
        summary = AllFailedError("\n".join([message, *self._failure_lines()]), self.failures)
        # A log of the error prints its cause, too, so no secret may stand in it.
        summary.__cause__ = redacted_error(self.failures[-1][1])
        return summary

    def _deadline_error(self) -> DeadlineExceededError:
        message = (
            f"No model has answered within the deadline of {self._timer.deadline:g} seconds. "
            f"Set a longer deadline, or an attempt_timeout. These were asked:"
        )
        _log.warning(
            "Decision %s: the deadline of %g seconds has passed; asked: %s.",
            self.plan.id, self._timer.deadline, ", ".join(name for name, _ in self.failures),
            extra=_extra(self.plan),
        )  # fmt: skip
        return DeadlineExceededError("\n".join([message, *self._failure_lines()]), self.failures)

    def _failure_lines(self) -> list[str]:
        return [f"  {name}: {describe_error(error)}" for name, error in self.failures]


class _Attempt(NamedTuple):
    """The attempt that is being made: `started` is a time of the health's clock."""

    name: str
    started: float
    limit: AttemptLimit | None

    def was_rushed(self, error: Exception) -> bool:
        """Tell whether the caller's deadline cut the expert off before it had a fair chance."""
        return (
            isinstance(error, AttemptTimeoutError)
            and self.limit is not None
            and not self.limit.is_own
            and self.limit.seconds < _FAIR_CHANCE
        )


def _log_fallback(plan: RoutingPlan, name: str, error: Exception, next_name: str) -> None:
    _log.warning(
        "Decision %s: %s failed with %s; %s is asked next.",
        plan.id, name, _error_label(error), next_name, extra=_extra(plan),
    )  # fmt: skip


def _error_label(error: Exception) -> str:
    """Return the class, status and code of an error: its message may quote the prompt."""
    code = getattr(error, "code", None)
    details = [str(status) for status in [status_of(error)] if status is not None]
    if isinstance(code, str) and _ERROR_CODE.fullmatch(code):
        details.append(code)
    name = type(error).__name__
    return f"{name} ({', '.join(details)})" if details else name


def _extra(plan: RoutingPlan) -> dict[str, str]:
    """Return the fields of a log record beside its message."""
    return {"decision_id": plan.id}
