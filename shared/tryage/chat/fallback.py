"""Ask the planned experts one after another until one answers: what to do next, without doing it.

`asked` says what is to be called and is told what came of it, so that one loop serves answers and
streams of every framework; `drive` and `adrive` do the calling.
"""

# ruff: noqa: BLE001 - clients raise anything; `Attempts.failed` judges it, and raises it again.
# ruff: noqa: PERF203 - every call may fail by itself.

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from tryage.chat.conversation import has_unverified_requirements
from tryage.core.client_errors import describe_error, should_fall_back
from tryage.errors import AllFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence

    from tryage.chat.clients import ClientPool
    from tryage.chat.conversation import Conversation
    from tryage.chat.router import ChatRouter, RoutingPlan
    from tryage.core.library import Library
    from tryage.core.preferences import Preferences
    from tryage.errors import TryageError

Record: TypeAlias = dict[str, Any]

Steps: TypeAlias = Generator[Callable[[], Any], Any, tuple[Any, Record]]

C = TypeVar("C")


@dataclass(frozen=True)
class FallbackHooks:
    """What a framework calls to have one conversation answered; async ones return awaitables.

    `make` returns the client of an expert, by its name; `tell` tells observers who is asked and
    why; `ask` returns the client's answer, or the beginning of its stream.
    """

    get_client: Callable[[str], Any]
    emit_event: Callable[[Record], Any]
    call: Callable[[Any, Record], Any]


def fallback_steps(session: FallbackSession[Any], plan: RoutingPlan, hooks: FallbackHooks) -> Steps:
    """Yield what to call next; return the first answer that comes, and its record.

    What a call returns is sent in, what it raises is thrown in.

    Raises:
        AllFailedError: everyone was asked and failed.
        Exception: an error after which asking another would not help.
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


def run_steps(steps: Steps) -> tuple[Any, Record]:
    """Call what the steps say, and return how they end."""
    try:
        step = next(steps)
        while True:
            try:
                came = step()
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(came)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what a generator returns is not typed here


async def arun_steps(steps: Steps) -> tuple[Any, Record]:
    """Do what `drive` does, with calls that are awaited."""
    try:
        step = next(steps)
        while True:
            try:
                came = await step()
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(came)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # as above


# Streams: asked for until they say something, after which no other can step in ---------------


@dataclass(frozen=True)
class PeekedStream:
    """A stream that has begun to answer: what came so far, and what is still to come."""

    first_chunks: list[Any]
    remaining: Any


def peek_stream(chunks: Iterable[Any], has_content: Callable[[Any], bool]) -> PeekedStream:
    """Read a stream until it says something."""
    rest = iter(chunks)
    first: list[Any] = []
    for chunk in rest:
        first.append(chunk)
        if has_content(chunk):
            break
    return PeekedStream(first, rest)


async def apeek_stream(
    chunks: AsyncIterator[Any], has_content: Callable[[Any], bool]
) -> PeekedStream:
    """Do what `begin` does."""
    rest = aiter(chunks)
    first: list[Any] = []
    async for chunk in rest:
        first.append(chunk)
        if has_content(chunk):
            break
    return PeekedStream(first, rest)


def resume_stream(
    peeked: PeekedStream, annotate: Callable[[Any], Any]
) -> Generator[Any, None, None]:
    """Yield a stream from its beginning; who stops reading closes the client's stream too."""
    try:
        for chunk in chain(peeked.first_chunks, peeked.remaining):
            yield annotate(chunk)
    finally:
        if (close := getattr(peeked.remaining, "close", None)) is not None:
            close()


async def aresume_stream(
    peeked: PeekedStream, annotate: Callable[[Any], Any]
) -> AsyncGenerator[Any, None]:
    """Do what `whole` does."""
    try:
        for chunk in peeked.first_chunks:
            yield annotate(chunk)
        async for chunk in peeked.remaining:
            yield annotate(chunk)
    finally:
        # Without this an answer that nobody reads to its end leaves its run open.
        if (close := getattr(peeked.remaining, "aclose", None)) is not None:
            await close()


class Attempts:
    """Go through a plan until one expert answers.

    The caller does the asking, so sync, async and streams share it:

        for name in attempts:
            try:
                answer = ask(name)
            except Exception as error:
                attempts.failed(name, error)
            else:
                return attempts.record(name), answer

    `failures` holds `(name, error)`, in order. `most` limits how many are asked, None is all.
    """

    def __init__(
        self, plan: RoutingPlan, library: Library, max_attempts: int | None = None
    ) -> None:
        self.plan, self.failures = plan, list[tuple[str, Exception]]()
        self._library, self._max_attempts = library, max_attempts

    def __iter__(self) -> Iterator[str]:
        """Yield who to ask next.

        Raises:
            AllFailedError: everyone was asked and failed, and there was more than one to ask.
        """
        for name in self.plan.order():
            if self._max_attempts is not None and len(self.failures) >= self._max_attempts:
                break
            yield name
        if len(self.failures) == 1:  # nothing to sum up: the caller knows this error
            raise self.failures[0][1]
        lines = [f"  {name}: {describe_error(error)}" for name, error in self.failures]
        message = "\n".join([f"All {len(lines)} experts that were asked have failed:", *lines])
        raise AllFailedError(message, self.failures) from self.failures[-1][1]

    def add_failure(self, name: str, error: Exception, *, client_called: bool = True) -> None:
        """Note that an expert failed; `asked` is False if its client could not even be made.

        Raises:
            Exception: the error itself, when no other expert could do better.
        """
        if client_called:
            trust = has_unverified_requirements(
                self.plan.requirements, self._library, self._library.index(name)
            )
            if not should_fall_back(error, unverified=trust):
                raise error
        self.failures.append((name, error))

    def record(self, served_by: str) -> dict[str, Any]:
        """Return the plan's record with who answered and who failed before, JSON-safe."""
        record = self.plan.record(served_by)
        if self.failures:
            record["failed"] = {name: describe_error(error) for name, error in self.failures}
        return record


@dataclass(frozen=True)
class ChatRequest:
    """One call as it came in: what is routed, and what is asked of the choice."""

    conversation: Conversation
    preferences: Preferences | None
    model: str | None


@dataclass(frozen=True)
class FallbackSession(Generic[C]):
    """A router for conversations, the clients that answer them, and how many may be asked."""

    chat_router: ChatRouter
    clients: ClientPool[C]
    max_attempts: int | None

    def plan(self, request: ChatRequest) -> RoutingPlan:
        """Choose for one call."""
        return self.chat_router.plan(request.conversation, request.preferences, model=request.model)

    def plan_batch(self, requests: Sequence[ChatRequest]) -> list[RoutingPlan | TryageError]:
        """Choose for all calls, in one encoder pass."""
        return self.chat_router.plan_batch(
            [call.conversation for call in requests],
            [call.preferences for call in requests],
            [call.model for call in requests],
        )

    def attempts(self, plan: RoutingPlan) -> Attempts:
        """Return the attempts at an answer."""
        return Attempts(plan, self.chat_router.router.library, self.max_attempts)
