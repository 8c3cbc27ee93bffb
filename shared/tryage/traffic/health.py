"""Which models fail now: each is left out for a time that grows, then tried by one request.

This is a circuit breaker for each model. A model that fails cools down for about a second; each
further failure in a row doubles the time, up to a minute. A `Retry-After` of the provider sets the
time itself. After it the model is half-open: one request tries it while the others ask the next
model. A success ends it all.
"""

from __future__ import annotations

import os
import random
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from tryage.core.client_errors import marks_unhealthy, retry_after
from tryage.core.redaction import describe_error
from tryage.errors import InputError
from tryage.locks import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

HealthState: TypeAlias = Literal["healthy", "cooling down", "half-open"]

FIRST_COOL_DOWN = 1.0  # seconds
LONGEST_COOL_DOWN = 60.0  # seconds
LONGEST_RETRY_AFTER = 3_600.0  # seconds; a server with a wrong clock must not banish its model
TRIAL_TIMEOUT = 60.0  # seconds; a trial that does not end must not block the next one
_MAX_DOUBLINGS = 16  # far beyond the longest cool-down, and no overflow


class HealthRegistry:
    """The health of models, by keys that stand for what is called.

    Threads and tasks may share it. A child process starts with what its parent knew. Only models
    that fail take memory, and the `size` that failed last are remembered.

    Args:
        clock: Returns seconds that never go back.
        jitter: Returns a factor around 1 for each cool-down, so that processes do not try a model
            again at the same moment.
        size: How many failing models are remembered.

    Raises:
        InputError: the size is not a whole number above zero.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        jitter: Callable[[], float] | None = None,
        size: int = 1_024,
    ) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InputError(f"A health registry needs a size of at least 1, got {size!r:.80}.")
        self._clock, self._jitter, self._size = clock, jitter or _random_factor, size
        self._failing: OrderedDict[Hashable, _FailingModel] = OrderedDict()
        self._lock = ForkSafeLock()

    def now(self) -> float:
        """Return the time of the registry's clock, in seconds."""
        return self._clock()

    def is_available(self, key: Hashable) -> bool:
        """Tell whether a call may ask the model: it does not cool down, and nobody tries it."""
        with self._lock:
            model = self._failing.get(key)
            return model is None or model.is_due(self._clock())

    def begin(self, key: Hashable) -> float | None:
        """Return the start of a call to a model; None if the model must not be asked now.

        If the model is half-open, the call is its trial: until it ends with `record_success`,
        `record_failure` or `release`, nobody else may ask.
        """
        with self._lock:
            now, model = self._clock(), self._failing.get(key)
            if model is not None:
                if not model.is_due(now):
                    return None
                model.trial_started, model.trial_process = now, os.getpid()
            return now

    def record_success(self, key: Hashable, started: float | None = None) -> bool:
        """Note that a model has answered; return True if it was failing before.

        A call that `started` before the last failure does not count: it says nothing new.
        """
        with self._lock:
            model = self._failing.get(key)
            if model is None or (started is not None and started < model.failed_at):
                return False
            del self._failing[key]
            return True

    def record_failure(
        self, key: Hashable, error: BaseException, started: float | None = None
    ) -> float | None:
        """Note that a call has failed; return the seconds of the cool-down that it begins, or None.

        An error that does not mark the model as unhealthy only ends a trial. While a model cools
        down, and for a call that `started` before the last failure, only a longer `Retry-After`
        counts: calls that were made at the same time are one failure.
        """
        if not marks_unhealthy(error):
            self.release(key, started)
            return None
        wait = retry_after(error)
        with self._lock:
            now, model = self._clock(), self._failing.get(key)
            if model is None:
                model = self._failing[key] = _FailingModel()
            elif now < model.due or (started is not None and started < model.failed_at):
                model.due = max(model.due, now + _bounded(wait))
                model.end_trial(started)
                return None
            cool_down = _bounded(wait) or self._cool_down(model.failures)
            model.failures, model.failed_at, model.due = model.failures + 1, now, now + cool_down
            model.trial_started, model.error = None, describe_error(error)
            self._failing.move_to_end(key)
            if len(self._failing) > self._size:
                self._failing.popitem(last=False)
            return cool_down

    def release(self, key: Hashable, started: float | None = None) -> None:
        """Note that a call has ended without a word about the model's health."""
        with self._lock:
            model = self._failing.get(key)
            if model is not None:
                model.end_trial(started)

    def seconds_until_due(self, key: Hashable) -> float:
        """Return the seconds until the model may be tried again; 0 for one that may be asked."""
        with self._lock:
            model = self._failing.get(key)
            return 0.0 if model is None else model.seconds_until_due(self._clock())

    def describe(self, key: Hashable) -> dict[str, Any]:
        """Return the health of one model as plain values.

        `state` is a `HealthState`, `failures` counts the failures in a row, `seconds_until_retry`
        tells when the model is tried again, and `last_error` is one line without secrets. The last
        two are None for a healthy model.
        """
        with self._lock:
            model = self._failing.get(key)
            return _HEALTHY.copy() if model is None else model.describe(self._clock())

    def snapshot(self) -> dict[Hashable, dict[str, Any]]:
        """Return the health of all models that fail, as `describe` does."""
        with self._lock:
            now = self._clock()
            return {key: model.describe(now) for key, model in self._failing.items()}

    def clear(self) -> None:
        """Forget all failures."""
        with self._lock:
            self._failing.clear()

    def __repr__(self) -> str:
        """Show how many models fail."""
        return f"HealthRegistry({len(self._failing)} failing)"

    def _cool_down(self, earlier_failures: int) -> float:
        """Return the seconds of a cool-down after so many earlier failures in a row."""
        doubled = FIRST_COOL_DOWN * 2.0 ** min(earlier_failures, _MAX_DOUBLINGS)
        return min(doubled, LONGEST_COOL_DOWN) * self._jitter()


_HEALTHY: dict[str, Any] = {
    "state": "healthy",
    "failures": 0,
    "seconds_until_retry": None,
    "last_error": None,
}


@dataclass(slots=True)
class _FailingModel:
    """A model whose last counted call failed; times are seconds of the registry's clock.

    `failures` counts failures in a row. From `due` on one call may try the model. `trial_started`
    is the time when it began, and `trial_process` the process that makes it: a child of a fork
    inherits no calls.
    """

    failures: int = 0
    failed_at: float = 0.0
    due: float = 0.0
    trial_started: float | None = None
    trial_process: int = 0
    error: str = ""

    def end_trial(self, started: float | None) -> None:
        """End the trial that began then; None stands for any trial."""
        if started in (None, self.trial_started):
            self.trial_started = None

    def is_due(self, now: float) -> bool:
        """Tell whether a call may try the model now."""
        return self.seconds_until_due(now) <= 0

    def seconds_until_due(self, now: float) -> float:
        """Return the seconds until a call may try the model."""
        free = self.due
        if self.trial_started is not None and self.trial_process == os.getpid():
            free = max(free, self.trial_started + TRIAL_TIMEOUT)
        return max(free - now, 0.0)

    def describe(self, now: float) -> dict[str, Any]:
        """Return the health as plain values."""
        state: HealthState = "cooling down" if now < self.due else "half-open"
        return {
            "state": state,
            "failures": self.failures,
            "seconds_until_retry": round(max(self.due - now, 0.0), 3),
            "last_error": self.error,
        }


def _bounded(seconds: float | None) -> float:
    """Return the wait that a provider asks for, at most an hour; 0 if it asks for none."""
    if seconds is None or not seconds > 0:
        return 0.0
    return min(seconds, LONGEST_RETRY_AFTER)


def _random_factor() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, and guards no secret


_PROCESS_HEALTH = HealthRegistry()


def process_health() -> HealthRegistry:
    """Return the registry that all routers of this process share."""
    return _PROCESS_HEALTH
