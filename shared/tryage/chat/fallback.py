"""Ask the planned experts one after another until one answers, for every framework.

`fallback_steps` yields what to call next and is sent what the call returns, so one loop serves
answers and streams. `run_steps` makes the calls, and `arun_steps` awaits them.
"""

# ruff: noqa: BLE001 - clients raise anything; `Attempts.add_failure` judges it and raises it again.
# ruff: noqa: PERF203 - every call may fail by itself.

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from tryage.chat.conversation import has_unverified_requirements
from tryage.chat.router import RoutingRecord
from tryage.core.client_errors import should_fall_back
from tryage.core.redaction import describe_error
from tryage.errors import AllFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence

    from tryage.chat.clients import ClientPool
    from tryage.chat.conversation import Conversation
    from tryage.chat.router import ChatRouter, RoutingPlan
    from tryage.core.library import Library
    from tryage.core.preferences import Preferences
    from tryage.errors import TryageError

FallbackSteps: TypeAlias = Generator[Callable[[], Any], Any, tuple[Any, RoutingRecord]]
"""Yields calls to make, is sent their results, and returns the answer and its record."""

C = TypeVar("C")


@dataclass(frozen=True)
class ChatRequest:
    """One call of a routed chat model: what is routed, and what the caller asks of the choice."""

    conversation: Conversation
    preferences: Preferences | None
    model: str | None


@dataclass(frozen=True)
class FallbackSession(Generic[C]):
    """A router of conversations, the clients that answer, and how many of them may be asked."""

    chat_router: ChatRouter
    clients: ClientPool[C]
    max_attempts: int | None

    def plan(self, request: ChatRequest) -> RoutingPlan:
        """Choose for one call."""
        return self.chat_router.plan(request.conversation, request.preferences, model=request.model)

    def plan_batch(self, requests: Sequence[ChatRequest]) -> list[RoutingPlan | TryageError]:
        """Choose for all calls in one encoder pass."""
        return self.chat_router.plan_batch(
            [request.conversation for request in requests],
            [request.preferences for request in requests],
            [request.model for request in requests],
        )

    def attempts(self, plan: RoutingPlan) -> Attempts:
        """Return the attempts to get an answer."""
        return Attempts(plan, self.chat_router.router.library, self.max_attempts)


class Attempts:
    """Go through a plan until one expert answers.

    The caller makes the calls, so sync code, async code and streams share it:

        for name in attempts:
            try:
                answer = ask(name)
            except Exception as error:
                attempts.add_failure(name, error)
            else:
                return attempts.record(name), answer

    `failures` holds `(name, error)` in order. `max_attempts` limits how many experts are asked;
    None means all.
    """

    def __init__(
        self, plan: RoutingPlan, library: Library, max_attempts: int | None = None
    ) -> None:
        self.plan, self.failures = plan, list[tuple[str, Exception]]()
        self._library, self._max_attempts = library, max_attempts

    def __iter__(self) -> Iterator[str]:
        """Yield the name of the expert to ask next.

        Raises:
            AllFailedError: all experts failed, and there was more than one.
        """
        for name in self.plan.order():
            if self._max_attempts is not None and len(self.failures) >= self._max_attempts:
                break
            yield name
        if len(self.failures) == 1:  # a single error needs no summary
            raise self.failures[0][1]
        lines = [f"  {name}: {describe_error(error)}" for name, error in self.failures]
        message = "\n".join([f"All {len(lines)} experts that were asked have failed:", *lines])
        raise AllFailedError(message, self.failures) from self.failures[-1][1]

    def add_failure(self, name: str, error: Exception, *, client_called: bool = True) -> None:
        """Note that an expert failed; `client_called` is False if its client cannot be made.

        Raises:
            Exception: the error itself, if no other expert could do better.
        """
        if client_called:
            is_unverified = has_unverified_requirements(
                self.plan.requirements, self._library, self._library.index(name)
            )
            if not should_fall_back(error, unverified=is_unverified):
                raise error
        self.failures.append((name, error))

    def record(self, served_by: str) -> RoutingRecord:
        """Return the plan's record with the expert that answered and those that failed before."""
        record = self.plan.record(served_by)
        if self.failures:
            record["failed"] = {name: describe_error(error) for name, error in self.failures}
        return record


@dataclass(frozen=True)
class FallbackHooks:
    """What a framework does to get one conversation answered; async hooks return awaitables.

    `get_client` returns the client of an expert by its name. `emit_event` reports to observers
    which expert is asked and why. `call` returns the client's answer, or the start of its stream.
    """

    get_client: Callable[[str], Any]
    emit_event: Callable[[RoutingRecord], Any]
    call: Callable[[Any, RoutingRecord], Any]


def fallback_steps(
    session: FallbackSession[Any], plan: RoutingPlan, hooks: FallbackHooks
) -> FallbackSteps:
    """Yield what to call next; return the first answer and its record.

    The result of a call is sent in, and its exception is thrown in.

    Raises:
        AllFailedError: all experts failed.
        Exception: an error after which asking another expert does not help.
    """
    attempts = session.attempts(plan)
    for name in attempts:
        try:
            client = yield partial(hooks.get_client, name)
        except Exception as error:
            attempts.add_failure(name, error, client_called=False)
            continue
        record = attempts.record(name)
        yield partial(hooks.emit_event, record)
        try:
            answer = yield partial(hooks.call, client, record)
        except Exception as error:
            attempts.add_failure(name, error)
        else:
            session.chat_router.mark_served(plan, name)
            return answer, record
    raise AssertionError  # the attempts end with an answer or an error


def run_steps(steps: FallbackSteps) -> tuple[Any, RoutingRecord]:
    """Make the calls that the steps yield, and return what the steps return."""
    try:
        step = next(steps)
        while True:
            try:
                result = step()
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # `StopIteration.value` has no type


async def arun_steps(steps: FallbackSteps) -> tuple[Any, RoutingRecord]:
    """Do what `run_steps` does, with calls that are awaited."""
    try:
        step = next(steps)
        while True:
            try:
                result = await step()
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # `StopIteration.value` has no type


# Streams. Another expert may answer until a stream has content. --------------------------------


@dataclass(frozen=True)
class PeekedStream:
    """A stream that has begun to answer: its first chunks, and an iterator over the rest."""

    first_chunks: list[Any]
    remaining_chunks: Any


def peek_stream(chunks: Iterable[Any], has_content: Callable[[Any], bool]) -> PeekedStream:
    """Read a stream up to the first chunk with content."""
    iterator = iter(chunks)
    first_chunks: list[Any] = []
    for chunk in iterator:
        first_chunks.append(chunk)
        if has_content(chunk):
            break
    return PeekedStream(first_chunks, iterator)


async def apeek_stream(
    chunks: AsyncIterator[Any], has_content: Callable[[Any], bool]
) -> PeekedStream:
    """Do what `peek_stream` does, asynchronously."""
    iterator = aiter(chunks)
    first_chunks: list[Any] = []
    async for chunk in iterator:
        first_chunks.append(chunk)
        if has_content(chunk):
            break
    return PeekedStream(first_chunks, iterator)


def resume_stream(
    stream: PeekedStream, annotate: Callable[[Any], Any]
) -> Generator[Any, None, None]:
    """Yield a stream from its beginning; a reader that stops early closes the client's stream."""
    try:
        for chunk in chain(stream.first_chunks, stream.remaining_chunks):
            yield annotate(chunk)
    finally:
        if (close := getattr(stream.remaining_chunks, "close", None)) is not None:
            close()


async def aresume_stream(
    stream: PeekedStream, annotate: Callable[[Any], Any]
) -> AsyncGenerator[Any, None]:
    """Do what `resume_stream` does, asynchronously."""
    try:
        for chunk in stream.first_chunks:
            yield annotate(chunk)
        async for chunk in stream.remaining_chunks:
            yield annotate(chunk)
    finally:
        # Otherwise the run of an answer that is not read to its end stays open.
        if (close := getattr(stream.remaining_chunks, "aclose", None)) is not None:
            await close()
