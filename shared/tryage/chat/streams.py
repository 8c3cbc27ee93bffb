"""Streams of answers: another expert may answer until a stream has content."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from tryage.chat.time_limits import arun_with_timeout, run_with_timeout
from tryage.errors import AttemptTimeoutError, InvalidAnswerError

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Generator,
        Iterable,
        Iterator,
        Sequence,
    )

    from tryage.core.usage import TokenUsage

G = TypeVar("G")

T = TypeVar("T")

# A server that is broken, or means harm, could send an answer that fills the memory.
MAX_ANSWER_SIZE = 2**25  # characters: the longest answers of models have a million
MIN_CHUNK_SIZE = 128  # that a chunk counts, however little is in it

_END = object()


def _ignore_usage(_: TokenUsage | None) -> None:
    """Do nothing: nobody asks for the tokens of the stream."""


def _do_nothing() -> None:
    """Do nothing: nobody asks how the stream ends."""


@dataclass(frozen=True)
class PeekedStream:
    """A stream that has begun to answer: its first chunks, and an iterator over the rest.

    `idle_timeout` is how many seconds may pass until the next chunk. `on_error` is told the error
    with which the stream breaks off. `settle` is told the tokens of the answer, None if the stream
    ends without them, and `abandon` is called if it is not read to its end; only the first of these
    calls counts. `on_text` is told the text of the whole answer if it was read to its end;
    `text_of` returns that of a chunk. `is_complete` says that no chunk is left to come.
    """

    first_chunks: list[Any]
    remaining_chunks: Any
    has_content: bool = True
    idle_timeout: float | None = None
    on_error: Callable[[Exception], None] | None = None
    settle: Callable[[TokenUsage | None], None] = _ignore_usage
    abandon: Callable[[], None] = _do_nothing
    on_text: Callable[[str | None], object] | None = None
    text_of: Callable[[Any], str | None] = str
    is_complete: bool = False

    def noting_text(self, chunks: list[str]) -> Callable[[Any], None]:
        """Return what adds the text of a chunk to a list."""

        def note(chunk: Any) -> None:  # noqa: ANN401 - any framework's chunk
            if self.on_text is not None and (text := self.text_of(chunk)):
                chunks.append(text)

        return note

    def end(self, chunks: Sequence[str]) -> None:
        """Tell that the stream was read to its end, and its text."""
        self.settle(None)
        if self.on_text is not None:
            self.on_text("".join(chunks))

    def report(self, error: Exception) -> None:
        """Tell that the stream has broken off."""
        if self.on_error is not None:
            self.on_error(error)


def check_size(size: int) -> None:
    """Raise unless an answer of so many characters can be one of a model.

    Raises:
        InvalidAnswerError: it is longer than `MAX_ANSWER_SIZE`.
    """
    if size > MAX_ANSWER_SIZE:
        raise InvalidAnswerError(
            f"The answer has more than {MAX_ANSWER_SIZE:,} characters.", problem="length"
        )


def text_size(value: object, levels: int = 6) -> int:
    """Return about how many characters the texts in a JSON value have, down to some levels."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping) and levels:
        return sum(text_size(one, levels - 1) for one in value.values())
    if isinstance(value, (list, tuple)) and levels:
        return sum(text_size(one, levels - 1) for one in value)
    return 1


def limit_size(chunks: Iterable[Any], size_of: Callable[[Any], int]) -> Generator[Any, None, None]:
    """Yield the chunks of a stream, which is closed at the end.

    Raises:
        InvalidAnswerError: they have more than `MAX_ANSWER_SIZE` characters in all.
    """
    size = 0
    try:
        for chunk in chunks:
            size += max(size_of(chunk), MIN_CHUNK_SIZE)
            check_size(size)
            yield chunk
    finally:
        close_iterator(chunks)


async def alimit_size(
    chunks: AsyncIterator[Any], size_of: Callable[[Any], int]
) -> AsyncGenerator[Any, None]:
    """Do what `limit_size` does, asynchronously."""
    size = 0
    try:
        async for chunk in chunks:
            size += max(size_of(chunk), MIN_CHUNK_SIZE)
            check_size(size)
            yield chunk
    finally:
        await aclose_iterator(chunks)


def peek_stream(chunks: Iterable[Any], has_content: Callable[[Any], bool]) -> PeekedStream:
    """Read a stream up to the first chunk with content."""
    iterator = iter(chunks)
    first_chunks: list[Any] = []
    for chunk in iterator:
        first_chunks.append(chunk)
        if has_content(chunk):
            return PeekedStream(first_chunks, iterator)
    return PeekedStream(first_chunks, iterator, has_content=False)


async def apeek_stream(
    chunks: AsyncIterator[Any], has_content: Callable[[Any], bool]
) -> PeekedStream:
    """Do what `peek_stream` does, asynchronously."""
    iterator = aiter(chunks)
    first_chunks: list[Any] = []
    async for chunk in iterator:
        first_chunks.append(chunk)
        if has_content(chunk):
            return PeekedStream(first_chunks, iterator)
    return PeekedStream(first_chunks, iterator, has_content=False)


def close_stream(stream: PeekedStream) -> Awaitable[None] | None:
    """Close the client's stream, which nobody reads on; return an awaitable if it is async."""
    chunks = stream.remaining_chunks
    if isinstance(chunks, AsyncIterator):
        return aclose_iterator(chunks)
    close_iterator(chunks)
    return None


def close_answer(answer: object) -> Awaitable[None] | None:
    """Do what `close_stream` does with an answer that nobody reads, if it is a stream."""
    return close_stream(answer) if isinstance(answer, PeekedStream) else None


@asynccontextmanager
async def aclosing_stream(chunks: AsyncIterator[T]) -> AsyncGenerator[AsyncIterator[T], None]:
    """Close an async stream at the end of a block, if it can be closed.

    Otherwise it is the garbage collector that ends what it reads, at any time and in another task.
    """
    try:
        yield chunks
    finally:
        await aclose_iterator(chunks)


def close_iterator(chunks: Iterable[Any]) -> None:
    """Close the chunks of a stream if they can be closed."""
    if (close := getattr(chunks, "close", None)) is not None:
        close()


async def aclose_iterator(chunks: AsyncIterator[Any]) -> None:
    """Do what `close_iterator` does, asynchronously.

    A generator that runs is left alone: its reader has gone, so what runs is its own end. The event
    loop starts that for all generators that the garbage collector finds together.
    """
    close = getattr(chunks, "aclose", None)
    if close is not None and not getattr(chunks, "ag_running", False):
        await close()


# Reading on before anything is passed on ---------------------------------------------------------


def read_on(
    stream: PeekedStream, is_enough: Callable[[PeekedStream], bool] | None
) -> PeekedStream | Awaitable[PeekedStream]:
    """Return a stream of which all is read, or as much as is enough; an awaitable if it is async.

    Whether it is enough is asked less and less often, after every fourth more of the chunks, since
    each time all of them are read.
    """
    reader = _ChunkReader(stream, is_enough)
    if isinstance(stream.remaining_chunks, AsyncIterator):
        return reader.aread()
    return reader.read()


class _ChunkReader:
    """Reads the chunks of a stream until it is enough."""

    def __init__(
        self, stream: PeekedStream, is_enough: Callable[[PeekedStream], bool] | None
    ) -> None:
        self._stream, self._is_enough = stream, is_enough
        self._chunks, self._due = list(stream.first_chunks), 1

    def read(self) -> PeekedStream:
        if not self._has_enough():
            for chunk in self._stream.remaining_chunks:
                self._chunks.append(chunk)
                if self._has_enough():
                    break
            else:
                return self._so_far(is_complete=True)
        return self._so_far()

    async def aread(self) -> PeekedStream:
        if not self._has_enough():
            async for chunk in self._stream.remaining_chunks:
                self._chunks.append(chunk)
                if self._has_enough():
                    break
            else:
                return self._so_far(is_complete=True)
        return self._so_far()

    def _has_enough(self) -> bool:
        if self._is_enough is None or len(self._chunks) < self._due:
            return False
        self._due = max(len(self._chunks) + 1, len(self._chunks) * 5 // 4)
        return self._is_enough(self._so_far())

    def _so_far(self, *, is_complete: bool = False) -> PeekedStream:
        return replace(self._stream, first_chunks=self._chunks, is_complete=is_complete)


def resume_stream(
    stream: PeekedStream, annotate: Callable[[Any], Any]
) -> Generator[Any, None, None]:
    """Yield a stream from its beginning; a reader that stops early closes the client's stream.

    Raises:
        AttemptTimeoutError: the next chunk does not come within the stream's `idle_timeout`.
    """
    is_abandoned, texts = False, list[str]()
    note_text = stream.noting_text(texts)
    try:
        for chunk in chain(stream.first_chunks, _remaining_chunks(stream)):
            note_text(chunk)
            yield annotate(chunk)
        stream.end(texts)
    except Exception as error:
        is_abandoned = isinstance(error, AttemptTimeoutError)
        stream.report(error)
        raise
    finally:
        stream.abandon()
        # A thread that was given up still runs the client's stream; it cannot be closed here.
        if not is_abandoned:
            close_iterator(stream.remaining_chunks)


async def aresume_stream(
    stream: PeekedStream, annotate: Callable[[Any], Any]
) -> AsyncGenerator[Any, None]:
    """Do what `resume_stream` does, asynchronously."""
    is_abandoned, texts = False, list[str]()
    note_text = stream.noting_text(texts)
    try:
        for chunk in stream.first_chunks:
            note_text(chunk)
            yield annotate(chunk)
        async for chunk in _aremaining_chunks(stream):
            note_text(chunk)
            yield annotate(chunk)
        stream.end(texts)
    except asyncio.CancelledError:
        is_abandoned = True  # the read that is cancelled, too, ends the client's stream by itself
        raise
    except Exception as error:
        is_abandoned = isinstance(error, AttemptTimeoutError)
        stream.report(error)
        raise
    finally:
        stream.abandon()
        # Otherwise the run of an answer that is not read to its end stays open.
        if not is_abandoned:
            await aclose_iterator(stream.remaining_chunks)


def abandon_if_unread(chunks: G, stream: PeekedStream) -> G:
    """Return the generator of a stream, which is abandoned if it is never read.

    Python runs no code of a generator that was never begun.
    """
    weakref.finalize(chunks, stream.abandon).atexit = False
    return chunks


def _remaining_chunks(stream: PeekedStream) -> Iterable[Any]:
    if stream.idle_timeout is None:
        return stream.remaining_chunks  # type: ignore[no-any-return]  # any framework's stream
    return _timed_chunks(stream.remaining_chunks, stream.idle_timeout)


def _timed_chunks(chunks: Iterator[Any], seconds: float) -> Iterator[Any]:
    # One context for all chunks: what the client's stream sets in it must still be there.
    read, context = partial(next, chunks, _END), copy_context()
    while (chunk := run_with_timeout(read, seconds, context)) is not _END:
        yield chunk


def _aremaining_chunks(stream: PeekedStream) -> AsyncIterator[Any]:
    if stream.idle_timeout is None:
        return stream.remaining_chunks  # type: ignore[no-any-return]  # any framework's stream
    return _atimed_chunks(stream.remaining_chunks, stream.idle_timeout)


async def _atimed_chunks(chunks: AsyncIterator[Any], seconds: float) -> AsyncIterator[Any]:
    async def read() -> object:
        return await anext(chunks, _END)

    while (chunk := await arun_with_timeout(read, seconds)) is not _END:
        yield chunk
