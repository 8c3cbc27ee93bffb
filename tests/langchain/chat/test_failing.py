"""When a child fails: the next answers, before the first token; bad requests are passed on."""

from __future__ import annotations

import httpx
import openai
import pytest
from langchain_core.messages import HumanMessage

from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


def refused(status):
    kinds = {400: openai.BadRequestError, 401: openai.AuthenticationError,
             429: openai.RateLimitError, 503: openai.InternalServerError}  # fmt: skip
    return kinds[status]("no", response=httpx.Response(status, request=REQUEST), body=None)


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_the_next_answers_and_both_are_told(how, call, chat, big, recorder, status):
    big.fails = [refused(status)]
    answer = await call(how, chat, "big question", {"callbacks": [recorder]})
    assert answer.text == "Hello from scripted-small today"
    told = answer.response_metadata["tryage"]
    assert (told["model"], told["reason"]) == ("small", "big failed")
    assert list(told["failed"]) == ["big"]
    assert [data["model"] for _, data, _ in recorder.events] == ["big", "small"]
    own, failed, served = recorder.runs.values()
    assert (own["end"], served["end"]) == ("well", "well")
    assert failed["end"] == type(refused(status)).__name__
    assert failed["parent"] == served["parent"]


async def test_a_bad_request_is_passed_on(how, call, chat, big, small):
    big.fails = [error := refused(400)]
    with pytest.raises(openai.BadRequestError) as raised:
        await call(how, chat, "big question")
    assert raised.value is error
    assert small.calls == []


async def test_all_failing_is_one_error_that_lists_each(how, call, chat, big, small):
    big.fails, small.fails = [refused(429)], [TimeoutError("slow")]
    from tryage.errors import AllFailedError

    with pytest.raises(AllFailedError) as raised:
        await call(how, chat, "big question")
    assert [name for name, _ in raised.value.failures] == ["big", "small"]


@pytest.mark.parametrize("how", ["stream", "astream"])
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


async def test_a_stream_without_a_chunk_is_a_failure(chat, router, small):
    class Mute(ScriptedChatModel):
        def _stream(self, *_, **__):
            yield from ()

    chat = ChatTryage(models={"small": small, "big": Mute()}, router=router)
    assert "".join(chunk.text for chunk in chat.stream("big")) == "Hello from scripted-small today"


async def test_the_rest_of_the_turn_stays_with_who_answered(how, call, chat, big):
    big.fails = [refused(503)]
    await call(how, chat, "big question")
    answer = await call(how, chat, "big question")
    assert answer.response_metadata["tryage"]["how"] == "kept for the turn"
    assert answer.response_metadata["tryage"]["model"] == "small"


async def test_who_is_asked_for_by_name_fails_by_its_own_error(how, call, chat, big):
    big.fails = [refused(429)]
    with pytest.raises(openai.RateLimitError):
        await call(how, chat, "small question", model="big")


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
