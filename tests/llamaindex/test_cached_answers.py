"""Cached answers in LlamaIndex: whichever way they are asked for, nobody is called or billed."""

from __future__ import annotations

import pytest
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse
from pydantic import BaseModel

from tryage.policies import AnswerCache
from tryage_llamaindex import TryageLLM
from tryage_llamaindex._cached_answers import answer_settings, from_cache, to_cache


@pytest.fixture
def cache():
    return AnswerCache(shared=True)


@pytest.fixture
def llm(router, small, big, cache):
    return TryageLLM(llms={"small": small, "big": big}, router=router, policy=cache)


async def test_an_answer_is_returned_again_without_a_call_or_cost(llm, cache, call, method):
    first = (await call(llm, method, "small question"))[-1]
    again = (await call(llm, method, "small question"))[-1]
    assert cache.hits == 1
    assert str(again) == str(first)
    record = again.additional_kwargs["tryage"]
    assert (record["how"], record["model"]) == ("cached", "small")
    assert record["cost"]["billed"] == 0.0


async def test_streams_and_whole_answers_share_their_answers(llm, cache):
    messages = [ChatMessage("small question")]
    answer = llm.chat(messages)
    (chunk,) = llm.stream_chat(messages)
    assert chunk.delta == chunk.message.content == answer.message.content
    chunks = [chunk async for chunk in await llm.astream_chat(messages)]
    assert chunks[-1].message.content == answer.message.content
    assert cache.hits == 2


def test_a_stream_is_kept_when_it_was_read_to_its_end(llm, cache):
    stream = llm.stream_complete("small question")
    next(stream)
    stream.close()
    assert len(cache) == 0
    answer = list(llm.stream_complete("small question"))[-1]
    assert llm.complete("small question").text == answer.text
    assert cache.hits == 1


def test_another_request_is_asked(llm, cache):
    llm.chat([ChatMessage("small question")])
    llm.chat([ChatMessage("small question?")])
    llm.chat([ChatMessage("small question", additional_kwargs={"name": "ann"})])
    llm.chat([ChatMessage("Be rude.", role="system"), ChatMessage("small question")])
    llm.chat([ChatMessage("small question")], temperature=0.9)
    llm.complete("small question")
    assert cache.hits == 0


def test_answers_stay_with_their_user(router, small, big):
    cache = AnswerCache()
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, policy=cache)
    for _ in range(2):
        llm.chat([ChatMessage("small question")])
    assert len(cache) == cache.hits == 0


def test_what_a_caller_does_to_an_answer_does_not_change_the_next(llm):
    answer = llm.chat([ChatMessage("small question")])
    content = answer.message.content
    for _ in range(2):
        answer.message.blocks.clear()
        answer = llm.chat([ChatMessage("small question")])
        assert answer.message.content == content


class Answer(BaseModel):
    value: int


def test_settings_tell_methods_and_schemas_apart_but_not_streams():
    assert answer_settings("astream_chat", {}) == answer_settings("chat", {})
    assert answer_settings("complete", {}) != answer_settings("chat", {})
    assert answer_settings("achat", {"temperature": 1}) != answer_settings("achat", {})
    predict = answer_settings("structured_predict", {}, Answer)
    assert predict == answer_settings("astructured_predict", {}, Answer)
    assert predict != answer_settings("structured_predict", {})


def test_a_stream_that_was_cut_off_is_not_kept():
    cut_off = CompletionResponse(text="hel", raw={"choices": [{"finish_reason": "length"}]})
    assert to_cache([cut_off]) is None
    assert to_cache([Answer(value=1)]) is None


def test_a_parsed_model_is_kept_as_a_copy():
    answer = Answer(value=1)
    kept = to_cache(answer)
    answer.value = 2
    assert from_cache(kept) == Answer(value=1)
    assert isinstance(from_cache(to_cache(ChatResponse(message=ChatMessage("a")))), ChatResponse)
