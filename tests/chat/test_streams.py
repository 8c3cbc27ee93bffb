"""A stream is read up to its first content; then it comes whole, and ends when its reader stops."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from dataclasses import replace

import pytest

from tryage.chat.streams import (
    aclosing_stream,
    alimit_size,
    apeek_stream,
    aresume_stream,
    close_answer,
    limit_size,
    peek_stream,
    resume_stream,
    text_size,
)
from tryage.errors import AttemptTimeoutError, InvalidAnswerError


def test_a_stream_is_read_up_to_its_first_content_and_then_comes_whole():
    read = []

    def chunks():
        for chunk in ("", "", "a", "b"):
            read.append(chunk)
            yield chunk

    peeked = peek_stream(chunks(), bool)
    assert read == ["", "", "a"]
    assert list(resume_stream(peeked, str.upper)) == ["", "", "A", "B"]


async def test_an_async_stream_is_read_up_to_its_first_content_and_then_comes_whole():
    read = []

    async def chunks():
        for chunk in ("", "a", "b"):
            read.append(chunk)
            yield chunk

    peeked = await apeek_stream(chunks(), bool)
    assert read == ["", "a"]
    assert [chunk async for chunk in aresume_stream(peeked, str.upper)] == ["", "A", "B"]


@pytest.fixture
def small_answers(monkeypatch):
    """Let answers have at most 640 characters."""
    monkeypatch.setattr("tryage.chat.streams.MAX_ANSWER_SIZE", 640)


@pytest.mark.usefixtures("small_answers")
@pytest.mark.parametrize(("chunks", "kept"), [(["x" * 100] * 20, 5), ([""] * 20, 5)])
async def test_a_stream_without_end_is_ended_and_closed(chunks, kept):
    closed, read, aread = [], [], []

    def stream():
        try:
            yield from chunks
        finally:
            closed.append("sync")

    async def astream():
        try:
            for chunk in chunks:
                yield chunk
        finally:
            closed.append("async")

    async def aread_all():
        async for chunk in alimit_size(astream(), len):
            aread.append(chunk)  # noqa: PERF401 - a list of all is never made

    with pytest.raises(InvalidAnswerError, match="more than 640 characters"):
        read.extend(limit_size(stream(), len))
    with pytest.raises(InvalidAnswerError, match="more than 640 characters"):
        await aread_all()
    assert closed == ["sync", "async"]
    assert read == aread == chunks[:kept]


def test_the_size_of_a_json_value_is_that_of_its_texts_down_to_some_levels():
    deep = functools.reduce(lambda value, _: [value], range(100_000), "x" * 100)
    assert text_size([{"a": "xyz"}, ("ab", None), 3]) == 7
    assert text_size(deep) == 1


async def test_a_reader_that_stops_early_closes_the_stream_of_the_client():
    closed = []

    def chunks():
        try:
            yield from "abc"
        finally:
            closed.append("sync")

    async def achunks():
        try:
            for chunk in "abc":
                yield chunk
        finally:
            closed.append("async")

    stream = resume_stream(peek_stream(chunks(), bool), str.upper)
    assert next(stream) == "A"
    stream.close()
    astream = aresume_stream(await apeek_stream(achunks(), bool), str.upper)
    assert await anext(astream) == "A"
    await astream.aclose()
    assert closed == ["sync", "async"]


@pytest.mark.parametrize("idle_timeout", [None, 60.0])
async def test_a_reader_that_is_cancelled_closes_the_stream_of_the_client(idle_timeout):
    waits, closed = asyncio.Event(), asyncio.Event()

    async def chunks():
        try:
            yield "a"
            waits.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)  # as a client that says goodbye to its server
            closed.set()

    peeked = replace(await apeek_stream(chunks(), bool), idle_timeout=idle_timeout)

    async def read():
        return [chunk async for chunk in aresume_stream(peeked, str.upper)]

    task = asyncio.create_task(read())
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(closed.wait(), 10)


async def test_a_stream_that_is_closed_already_by_the_garbage_collector_is_left_to_that():
    closes, closed = asyncio.Event(), []

    async def chunks():
        try:
            yield "a"
        finally:
            closes.set()
            await asyncio.sleep(0.01)
            closed.append("once")

    client = chunks()
    limited = alimit_size(client, len)
    assert await anext(limited) == "a"
    first_close = asyncio.create_task(client.aclose())
    await closes.wait()
    await limited.aclose()
    await first_close
    assert closed == ["once"]


async def test_a_stream_that_nobody_reads_is_closed():
    closed = []

    async def chunks():
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    await close_answer(await apeek_stream(chunks(), bool))
    assert closed == [True]
    assert close_answer("no stream") is None


async def test_a_stream_without_content_says_so():
    async def empty_chunks():
        yield ""

    assert not peek_stream(["", ""], bool).has_content
    assert peek_stream(["", "a"], bool).has_content
    assert not (await apeek_stream(empty_chunks(), bool)).has_content


# Streams that hang or break off -----------------------------------------------------------------


def hanging_chunks(end):
    """Yield one chunk, then hang."""
    yield "a"
    end.wait()


async def ahanging_chunks(end):
    yield "a"
    await end.wait()


def test_a_stream_that_hangs_between_chunks_is_cut_off():
    end, errors = threading.Event(), []
    peeked = peek_stream(hanging_chunks(end), bool)
    stream = resume_stream(replace(peeked, idle_timeout=0.01, on_error=errors.append), str.upper)
    assert next(stream) == "A"
    with pytest.raises(AttemptTimeoutError, match="No answer within"):
        next(stream)
    end.set()
    assert [type(error) for error in errors] == [AttemptTimeoutError]


async def test_an_async_stream_that_hangs_between_chunks_is_cut_off():
    end, errors = asyncio.Event(), []
    peeked = await apeek_stream(ahanging_chunks(end), bool)
    stream = aresume_stream(replace(peeked, idle_timeout=0.01, on_error=errors.append), str.upper)
    assert await anext(stream) == "A"
    with pytest.raises(AttemptTimeoutError, match="No answer within"):
        await anext(stream)
    assert [type(error) for error in errors] == [AttemptTimeoutError]


async def test_a_stream_within_its_limit_comes_whole():
    async def achunks():
        for chunk in "abc":
            yield chunk

    peeked = replace(peek_stream(iter("abc"), bool), idle_timeout=5)
    assert list(resume_stream(peeked, str.upper)) == ["A", "B", "C"]
    apeeked = replace(await apeek_stream(achunks(), bool), idle_timeout=5)
    assert [chunk async for chunk in aresume_stream(apeeked, str.upper)] == ["A", "B", "C"]


def test_a_client_finds_its_context_variables_again_in_each_chunk():
    name = contextvars.ContextVar("name", default="nobody")

    def chunks():
        yield "a"
        token = name.set("stream")
        yield "b"
        yield name.get()
        name.reset(token)

    peeked = replace(peek_stream(chunks(), bool), idle_timeout=5)
    assert list(resume_stream(peeked, str)) == ["a", "b", "stream"]
    assert name.get() == "nobody"


def test_a_stream_that_breaks_off_reports_its_error():
    def chunks():
        yield "a"
        raise ConnectionError("broken off")

    errors = []
    stream = resume_stream(replace(peek_stream(chunks(), bool), on_error=errors.append), str)
    with pytest.raises(ConnectionError):
        list(stream)
    assert list(map(str, errors)) == ["broken off"]


def test_a_reader_that_stops_early_is_no_error_of_the_stream():
    errors = []
    stream = resume_stream(replace(peek_stream("ab", bool), on_error=errors.append), str)
    next(stream)
    stream.close()
    assert errors == []


async def test_a_stream_is_closed_at_the_end_of_its_block_if_it_can_be():
    ends = []

    async def chunks():
        try:
            yield "a"
            yield "b"
        finally:
            ends.append("closed")

    async with aclosing_stream(chunks()) as stream:
        assert await anext(stream) == "a"
        assert ends == []
    assert ends == ["closed"]

    class Endless:
        def __aiter__(self):
            return self

        async def __anext__(self):
            return "c"

    async with aclosing_stream(Endless()) as stream:
        assert await anext(stream) == "c"
