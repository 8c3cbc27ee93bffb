"""When a model fails: the next answers, until a stream has content; bad requests are final."""

from __future__ import annotations

import httpx
import openai
import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage

from tryage.errors import AllFailedError
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


def openai_error(status):
    kinds = {400: openai.BadRequestError, 401: openai.AuthenticationError,
             429: openai.RateLimitError, 503: openai.InternalServerError}  # fmt: skip
    return kinds[status]("no", response=httpx.Response(status, request=REQUEST), body=None)


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_the_next_model_answers_and_the_record_names_both(
    chat_method, call_chat, chat, big, status
):
    big.fails = [openai_error(status)]
    answer = await call_chat(chat_method, chat, "big question")
    assert answer.text == "Hello from scripted-small today"
    record = answer.response_metadata["tryage"]
    assert (record["model"], record["reason"]) == ("small", "big failed")
    assert list(record["failed"]) == ["big"]
    assert answer.response_metadata["model_name"] == "scripted-small"


async def test_the_failed_run_and_the_successful_run_have_one_parent(
    method, call_chat, chat, big, recorder
):
    big.fails = [openai_error(503)]
    await call_chat(method, chat, "big question", {"callbacks": [recorder]})
    assert [data["model"] for _, data, _ in recorder.events] == ["big", "small"]
    outer, failed, served = recorder.runs.values()
    assert (outer["end"], served["end"]) == ("well", "well")
    assert failed["end"] == "InternalServerError"
    assert failed["parent"] == served["parent"]


async def test_a_bad_request_is_raised_at_once(chat_method, call_chat, chat, big, small):
    big.fails = [error := openai_error(400)]
    with pytest.raises(openai.BadRequestError) as raised:
        await call_chat(chat_method, chat, "big question")
    assert raised.value is error
    assert small.calls == []


async def test_if_all_fail_one_error_lists_each_failure(chat_method, call_chat, chat, big, small):
    big.fails, small.fails = [openai_error(429)], [TimeoutError("slow")]
    with pytest.raises(AllFailedError) as raised:
        await call_chat(chat_method, chat, "big question")
    assert [name for name, _ in raised.value.failures] == ["big", "small"]


async def test_the_rest_of_the_turn_stays_with_the_model_that_answered(
    method, call_chat, chat, big
):
    big.fails = [openai_error(503)]
    config = {"configurable": {"thread_id": "7"}}
    await call_chat(method, chat, "big question", config)
    answer = await call_chat(method, chat, "big question", config)
    assert answer.response_metadata["tryage"]["how"] == "kept for the turn"
    assert answer.response_metadata["tryage"]["model"] == "small"


async def test_a_named_model_that_fails_raises_its_own_error(chat_method, call_chat, chat, big):
    big.fails = [openai_error(429)]
    with pytest.raises(openai.RateLimitError):
        await call_chat(chat_method, chat, "small question", model="big")


def test_a_model_that_cannot_be_made_is_a_failure_in_the_record(router, small):
    def broken():
        raise RuntimeError("no key in the environment")

    chat = ChatTryage(models={"small": small, "big": broken}, router=router)
    record = chat.invoke("big question").response_metadata["tryage"]
    assert record["failed"] == {"big": "RuntimeError: no key in the environment"}


async def test_a_model_that_cannot_bind_tools_is_passed_over(method, call_chat, router, small):
    chat = ChatTryage(models={"small": small, "big": FakeListChatModel(responses=["a"])},
                      router=router)  # fmt: skip

    def look(where: str) -> str:
        """Look."""
        return where

    answer = await call_chat(method, chat.bind_tools([look]), "big question")
    assert answer.response_metadata["tryage"]["model"] == "small"


def test_a_model_of_unknown_abilities_may_refuse_an_image(chat, big):
    big.fails = [openai_error(400)]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    message = HumanMessage([{"type": "text", "text": "big picture"}, image])
    assert chat.invoke([message]).response_metadata["tryage"]["model"] == "small"


def test_no_more_models_are_asked_than_max_attempts(router, small, big):
    chat = ChatTryage(models={"small": small, "big": big}, router=router, max_attempts=1)
    big.fails = [openai_error(429)]
    with pytest.raises(openai.RateLimitError):
        chat.invoke("big question")
    assert small.calls == []


# Streams -----------------------------------------------------------------------------------------


STREAMS = ("stream", "astream", "stream_events", "astream_events")


@pytest.mark.parametrize("method", STREAMS)
@pytest.mark.parametrize("after", [0, 1])
async def test_before_the_first_word_of_a_stream_the_next_model_steps_in(
    method, call_chat, chat, big, after
):
    big.breaks_after = after  # the first chunk is empty: it holds only the role
    answer = await call_chat(method, chat, "big question")
    assert answer.text == "Hello from scripted-small today"


def test_after_the_first_word_the_error_is_raised(chat, big):
    big.breaks_after = 3
    chunks = chat.stream("big question")
    assert [next(chunks).text for _ in range(3)] == ["", "Hello ", "from "]
    with pytest.raises(ConnectionError, match="broke off"):
        next(chunks)


async def test_after_the_first_word_the_error_is_raised_asynchronously(chat, big):
    big.breaks_after = 3
    chunks = chat.astream("big question")
    assert (await anext(chunks)).text == ""
    assert (await anext(chunks)).text == "Hello "
    assert (await anext(chunks)).text == "from "
    with pytest.raises(ConnectionError, match="broke off"):
        await anext(chunks)


@pytest.mark.parametrize("method", STREAMS)
async def test_a_stream_without_a_chunk_is_a_failure(call_chat, router, small, method):
    class SilentModel(ScriptedChatModel):
        def _stream(self, *_, **__):
            yield from ()

    chat = ChatTryage(models={"small": small, "big": SilentModel()}, router=router)
    assert (await call_chat(method, chat, "big")).text == "Hello from scripted-small today"
