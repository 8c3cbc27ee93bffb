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

from tryage.chat.conversation import taken_on_trust
from tryage.core.client_errors import another_may_answer, told
from tryage.errors import AllFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence

    from tryage.chat.clients import Children
    from tryage.chat.conversation import Conversation
    from tryage.chat.router import ChatRouter, Plan
    from tryage.core.library import Library
    from tryage.core.preferences import Preferences
    from tryage.errors import TryageError

Record: TypeAlias = dict[str, Any]

Steps: TypeAlias = Generator[Callable[[], Any], Any, tuple[Any, Record]]

C = TypeVar("C")


@dataclass(frozen=True)
class Hands:
    """What a framework calls to have one conversation answered; async ones return awaitables.

    `make` returns the client of an expert, by its name; `tell` tells observers who is asked and
    why; `ask` returns the client's answer, or the beginning of its stream.
    """

    make: Callable[[str], Any]
    tell: Callable[[Record], Any]
    ask: Callable[[Any, Record], Any]


def asked(desk: Desk[Any], plan: Plan, hands: Hands) -> Steps:
    """Yield what to call next; return the first answer that comes, and its record.

    What a call returns is sent in, what it raises is thrown in.

    Raises:
        AllFailedError: everyone was asked and failed.
        Exception: an error after which asking another would not help.
    """
    attempts = desk.attempts(plan)
    for name in attempts:
        try:
            client = yield partial(hands.make, name)
        except Exception as error:
            attempts.failed(name, error, asked=False)
            continue
        record = attempts.record(name)
        yield partial(hands.tell, record)
        try:
            answer = yield partial(hands.ask, client, record)
        except Exception as error:
            attempts.failed(name, error)
        else:
            desk.chat.served(plan, name)
            return answer, record
    raise AssertionError  # the attempts end with an answer or an error


def drive(steps: Steps) -> tuple[Any, Record]:
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


async def adrive(steps: Steps) -> tuple[Any, Record]:
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
class Begun:
    """A stream that has begun to answer: what came so far, and what is still to come."""

    first: list[Any]
    rest: Any


def begin(chunks: Iterable[Any], says: Callable[[Any], bool]) -> Begun:
    """Read a stream until it says something."""
    rest = iter(chunks)
    first: list[Any] = []
    for chunk in rest:
        first.append(chunk)
        if says(chunk):
            break
    return Begun(first, rest)


async def abegin(chunks: AsyncIterator[Any], says: Callable[[Any], bool]) -> Begun:
    """Do what `begin` does."""
    rest = aiter(chunks)
    first: list[Any] = []
    async for chunk in rest:
        first.append(chunk)
        if says(chunk):
            break
    return Begun(first, rest)


def whole(begun: Begun, stamp: Callable[[Any], Any]) -> Generator[Any, None, None]:
    """Yield a stream from its beginning; who stops reading closes the client's stream too."""
    try:
        for chunk in chain(begun.first, begun.rest):
            yield stamp(chunk)
    finally:
        if (close := getattr(begun.rest, "close", None)) is not None:
            close()


async def awhole(begun: Begun, stamp: Callable[[Any], Any]) -> AsyncGenerator[Any, None]:
    """Do what `whole` does."""
    try:
        for chunk in begun.first:
            yield stamp(chunk)
        async for chunk in begun.rest:
            yield stamp(chunk)
    finally:
        # Without this an answer that nobody reads to its end leaves its run open.
        if (close := getattr(begun.rest, "aclose", None)) is not None:
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

    def __init__(self, plan: Plan, library: Library, most: int | None = None) -> None:
        self.plan, self.failures = plan, list[tuple[str, Exception]]()
        self._library, self._most = library, most

    def __iter__(self) -> Iterator[str]:
        """Yield who to ask next.

        Raises:
            AllFailedError: everyone was asked and failed, and there was more than one to ask.
        """
        for name in self.plan.order():
            if self._most is not None and len(self.failures) >= self._most:
                break
            yield name
        if len(self.failures) == 1:  # nothing to sum up: the caller knows this error
            raise self.failures[0][1]
        lines = [f"  {name}: {told(error)}" for name, error in self.failures]
        message = "\n".join([f"All {len(lines)} experts that were asked have failed:", *lines])
        raise AllFailedError(message, self.failures) from self.failures[-1][1]

    def failed(self, name: str, error: Exception, *, asked: bool = True) -> None:
        """Note that an expert failed; `asked` is False if its client could not even be made.

        Raises:
            Exception: the error itself, when no other expert could do better.
        """
        if asked:
            trust = taken_on_trust(self.plan.needs, self._library, self._library.index(name))
            if not another_may_answer(error, on_trust=trust):
                raise error
        self.failures.append((name, error))

    def record(self, served_by: str) -> dict[str, Any]:
        """Return the plan's record with who answered and who failed before, JSON-safe."""
        record = self.plan.record(served_by)
        if self.failures:
            record["failed"] = {name: told(error) for name, error in self.failures}
        return record


@dataclass(frozen=True)
class Call:
    """One call as it came in: what is routed, and what is asked of the choice."""

    conversation: Conversation
    preferences: Preferences | None
    model: str | None


@dataclass(frozen=True)
class Desk(Generic[C]):
    """A router for conversations, the clients that answer them, and how many may be asked."""

    chat: ChatRouter
    children: Children[C]
    most: int | None

    def plan(self, call: Call) -> Plan:
        """Choose for one call."""
        return self.chat.plan(call.conversation, call.preferences, model=call.model)

    def plan_all(self, calls: Sequence[Call]) -> list[Plan | TryageError]:
        """Choose for all calls, in one encoder pass."""
        return self.chat.plan_batch(
            [call.conversation for call in calls],
            [call.preferences for call in calls],
            [call.model for call in calls],
        )

    def attempts(self, plan: Plan) -> Attempts:
        """Return the attempts at an answer."""
        return Attempts(plan, self.chat.router.library, self.most)
