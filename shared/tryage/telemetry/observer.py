"""What is told of decisions and calls: nothing until `instrument` sets an observer."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tryage.core.decision import Decision


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """The tokens of one answer, as a provider counts them; `cached` are among those of `input`."""

    input: float
    output: float
    cached: float = 0.0


class CallObserver:
    """Is told what happens in one call of a routed model; this one ignores it.

    `key` tells the attempts of a call apart that are made at the same time: it is the expert's
    name, but for samples. A `record` is that of the call (`tryage.chat.plan.RoutingRecord`).
    """

    def traced(
        self,
        call: Callable[[Any, Any], Any],
        key_of: Callable[[Any], str],  # noqa: ARG002 - for subclasses
        is_stream: Callable[[object], bool],  # noqa: ARG002 - for subclasses
    ) -> Callable[[Any, Any], Any]:
        """Return a function that asks an expert as `call` does, and is observed.

        `call` takes a client and the record, and may return an awaitable. `is_stream` tells whether
        its result is the beginning of a stream.
        """
        return call

    def begin_attempt(self, key: str, expert: str, record: Mapping[str, Any]) -> None:
        """Note that an expert is asked by somebody that does not use `traced`."""

    def fail_attempt(self, key: str, error: BaseException) -> None:
        """Note that an attempt has failed, or that nobody waits for it any more."""

    def end_unkept(self, key: str, usage: TokenCounts | None, *, is_sample: bool = False) -> None:
        """Note that an answer is not returned: it is not kept, or only evidence."""

    def cool_down(self, expert: str, seconds: float) -> None:
        """Note that an expert is left out for some time."""

    def break_off(self, error: BaseException) -> None:
        """Note that the stream that is returned has ended with an error."""

    def settle(self, record: Mapping[str, Any], usage: TokenCounts | None) -> None:
        """Note that the call has ended with an answer, whose costs are in the record."""

    def fail(self, error: BaseException, cost: float | None = None) -> None:
        """Note that the call has ended without an answer; `cost` in USD is that of its attempts."""


IGNORED_CALL = CallObserver()


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What is known of a call before any expert is asked.

    `choice` says in a few words how `first` was chosen. `decision` is None if none was made.
    `provider_of` returns the provider of an expert's model, None if it is unknown.
    """

    decision_id: str
    first: str
    choice: str
    decision: Decision | None
    provider_of: Callable[[str], str | None]


class Observer:
    """Is told of everything that telemetry shows; this one ignores it."""

    def measure(self, decide: Callable[[], list[Decision]]) -> list[Decision]:
        """Return the decisions of one pass, which are counted, each with its `timing`."""
        return decide()

    def trace(self, decisions: Sequence[Decision]) -> None:
        """Show decisions that no call follows, in the trace of whoever asked for them."""

    def trace_failure(self, error: BaseException) -> None:
        """Show that no decision was possible, in the trace of whoever asked for it."""

    def begin_call(self, facts: CallFacts) -> CallObserver:  # noqa: ARG002 - for subclasses
        """Return what is told of a call that begins now."""
        return IGNORED_CALL

    def recover(self, expert: str) -> None:
        """Note that an expert that failed answers again."""

    def alarm(self, kind: str, expert: str | None, direction: str | None) -> None:
        """Note that an expert has changed, or that learning was taken back."""

    def flush(self, seconds: float = 5.0) -> None:
        """Export what waits, because the process ends; give up after some seconds."""


class Telemetry:
    """Where the library finds its observer; None is none, and costs one look."""

    observer: Observer | None = None


TELEMETRY = Telemetry()


def measured(decide: Callable[[], list[Decision]]) -> list[Decision]:
    """Return decisions, which are counted and timed if telemetry is on, and not traced yet."""
    observer = TELEMETRY.observer
    return decide() if observer is None else observer.measure(decide)


def trace(decisions: Sequence[Decision]) -> None:
    """Show decisions that no call follows, if telemetry is on."""
    if TELEMETRY.observer is not None:
        TELEMETRY.observer.trace(decisions)


@contextmanager
def tracing_failures(kind: type[Exception] = Exception) -> Iterator[None]:
    """Show an error of a block in which a call is decided: no call follows to show it."""
    try:
        yield
    except kind as error:
        if TELEMETRY.observer is not None:
            TELEMETRY.observer.trace_failure(error)
        raise


def traced(decide: Callable[[], list[Decision]], observer: Observer) -> list[Decision]:
    """Return decisions that no call follows: they are counted, timed and traced."""
    try:
        decisions = observer.measure(decide)
    except Exception as error:
        observer.trace_failure(error)
        raise
    observer.trace(decisions)
    return decisions
