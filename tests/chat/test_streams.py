"""A stream is read up to its first content; then it comes whole, and ends when its reader stops."""

from __future__ import annotations

from tryage.chat.streams import apeek_stream, aresume_stream, peek_stream, resume_stream


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
