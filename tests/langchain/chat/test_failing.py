"""When a child fails: the next answers, before the first token; bad requests are passed on."""

from __future__ import annotations

import uuid

import httpx
import openai
import pytest
from langchain_core.messages import HumanMessage

from tryage.errors import AllFailedError
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


def refused(status):
    kinds = {400: openai.BadRequestError, 401: openai.AuthenticationError,
             429: openai.RateLimitError, 503: openai.InternalServerError}  # fmt: skip
    return kinds[status]("no", response=httpx.Response(status, request=REQUEST), body=None)


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_the_next_answers_and_both_are_told(any_way, call, chat, big, status):
    big.fails = [refused(status)]
    answer = await call(any_way, chat, "big question")
    assert answer.text == "Hello from scripted-small today"
    told = answer.response_metadata["tryage"]
    assert (told["model"], told["reason"]) == ("small", "big failed")
    assert list(told["failed"]) == ["big"]
    assert answer.response_metadata["model_name"] == "scripted-small"


async def test_the_failed_run_stands_beside_the_one_that_served(how, call, chat, big, recorder):
    big.fails = [refused(503)]
    await call(how, chat, "big question", {"callbacks": [recorder]})
    assert [data["model"] for _, data, _ in recorder.events] == ["big", "small"]
    own, failed, served = recorder.runs.values()
    assert (own["end"], served["end"]) == ("well", "well")
    assert failed["end"] == "InternalServerError"
    assert failed["parent"] == served["parent"]


@pytest.mark.parametrize("way", ["stream_events", "astream_events"])
async def test_events_of_version_three_have_a_run_for_each_who_is_asked(
    call, chat, big, recorder, way
):
    big.fails = [refused(503)]
    await call(way, chat, "big question", {"callbacks": [recorder]})
    ends = {run["metadata"]["tryage_model"]: run["end"] for run in recorder.of("model")}
    assert ends == {"big": "InternalServerError", "small": "well"}


async def test_a_bad_request_is_passed_on(any_way, call, chat, big, small):
    big.fails = [error := refused(400)]
    with pytest.raises(openai.BadRequestError) as raised:
        await call(any_way, chat, "big question")
    assert raised.value is error
    assert small.calls == []


async def test_all_failing_is_one_error_that_lists_each(any_way, call, chat, big, small):
    big.fails, small.fails = [refused(429)], [TimeoutError("slow")]
    with pytest.raises(AllFailedError) as raised:
        await call(any_way, chat, "big question")
    assert [name for name, _ in raised.value.failures] == ["big", "small"]


STREAMS = ("stream", "astream", "stream_events", "astream_events")


@pytest.mark.parametrize("how", STREAMS)
@pytest.mark.parametrize("after", [0, 1])
async def test_before_the_first_word_of_a_stream_the_next_takes_over(how, call, chat, big, after):
    big.breaks_after = after  # the first chunk is empty: it carries the role alone
    answer = await call(how, chat, "big question")
    assert answer.text == "Hello from scripted-small today"


def test_after_the_first_word_the_error_surfaces(chat, big):
    big.breaks_after = 3
    chunks = chat.stream("big question")
    assert [next(chunks).text for _ in range(3)] == ["", "Hello ", "from "]
    with pytest.raises(ConnectionError, match="broke off"):
        next(chunks)


async def test_after_the_first_word_the_error_surfaces_asynchronously(chat, big):
    big.breaks_after = 3
    chunks = chat.astream("big question")
    assert (await anext(chunks)).text == ""
    assert (await anext(chunks)).text == "Hello "
    assert (await anext(chunks)).text == "from "
    with pytest.raises(ConnectionError, match="broke off"):
        await anext(chunks)


def test_the_id_of_a_run_is_that_of_the_first_who_streams_events(chat, big, recorder):
    mine, big.fails = uuid.uuid4(), [ConnectionError("no route")]
    config = {"callbacks": [recorder], "run_id": mine}
    assert chat.stream_events("big question", config, version="v3").output.text
    (first, failed), (_, second) = recorder.runs.items()
    assert (first, failed["end"], second["end"]) == (mine, "ConnectionError", "well")


def test_after_the_first_word_the_error_surfaces_in_events_of_version_three(chat, big, small):
    big.breaks_after = 3
    stream, spoken = chat.stream_events("big question", version="v3"), []
    with pytest.raises(ConnectionError, match="broke off"):
        spoken.extend(stream.text)
    assert (spoken, small.calls) == (["Hello ", "from "], [])


async def test_after_the_first_word_the_error_surfaces_in_awaited_events(chat, big, small):
    big.breaks_after = 3
    stream = await chat.astream_events("big question", version="v3")
    with pytest.raises(ConnectionError, match="broke off"):
        await stream.output
    assert small.calls == []


async def test_events_that_are_left_early_end_their_run(chat, recorder):
    config = {"callbacks": [recorder]}
    async with await chat.astream_events("big question", config, version="v3") as stream:
        async for _ in stream.text:
            break
    (run,) = recorder.of("model")
    assert run["end"] is not None


@pytest.mark.parametrize("how", STREAMS)
async def test_a_stream_without_a_chunk_is_a_failure(call, router, small, how):
    class Mute(ScriptedChatModel):
        def _stream(self, *_, **__):
            yield from ()

    chat = ChatTryage(models={"small": small, "big": Mute()}, router=router)
    assert (await call(how, chat, "big")).text == "Hello from scripted-small today"


async def test_the_rest_of_the_turn_stays_with_who_answered(any_way, call, chat, big):
    big.fails = [refused(503)]
    await call(any_way, chat, "big question")
    answer = await call(any_way, chat, "big question")
    assert answer.response_metadata["tryage"]["how"] == "kept for the turn"
    assert answer.response_metadata["tryage"]["model"] == "small"


async def test_who_is_asked_for_by_name_fails_by_its_own_error(any_way, call, chat, big):
    big.fails = [refused(429)]
    with pytest.raises(openai.RateLimitError):
        await call(any_way, chat, "small question", model="big")


def test_one_failing_answer_of_a_batch_leaves_the_others(chat, big):
    big.fails = [refused(400)]
    first, second = chat.batch(["big question", "small one"], return_exceptions=True)
    assert isinstance(first, openai.BadRequestError)
    assert second.text == "Hello from scripted-small today"


def test_a_model_that_cannot_be_made_is_passed_over_and_told(router, small):
    def broken():
        raise RuntimeError("no key in the environment")

    chat = ChatTryage(models={"small": small, "big": broken}, router=router)
    told = chat.invoke("big question").response_metadata["tryage"]
    assert told["failed"] == {"big": "RuntimeError: no key in the environment"}


async def test_a_model_without_tools_is_passed_over_when_tools_are_bound(how, call, router, small):
    from langchain_core.language_models import FakeListChatModel

    chat = ChatTryage(models={"small": small, "big": FakeListChatModel(responses=["a"])},
                      router=router)  # fmt: skip

    def look(where: str) -> str:
        """Look."""
        return where

    answer = await call(how, chat.bind_tools([look]), "big question")
    assert answer.response_metadata["tryage"]["model"] == "small"


def test_who_was_taken_on_trust_may_refuse_a_picture(chat, big):
    big.fails = [refused(400)]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    shown = HumanMessage([{"type": "text", "text": "big picture"}, picture])
    assert chat.invoke([shown]).response_metadata["tryage"]["model"] == "small"


def test_no_more_models_are_asked_than_allowed(router, small, big):
    chat = ChatTryage(models={"small": small, "big": big}, router=router, max_attempts=1)
    big.fails = [refused(429)]
    with pytest.raises(openai.RateLimitError):
        chat.invoke("big question")
    assert small.calls == []
