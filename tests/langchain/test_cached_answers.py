"""Cached answers in LangChain: whichever way they are asked for, nobody is called or billed."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from pydantic import BaseModel

from tryage.policies import AnswerCache, Hedge
from tryage_langchain import ChatTryage
from tryage_langchain._arguments import NOTHING_BOUND, BoundArguments
from tryage_langchain._cached_answers import answer_settings, from_cache, to_cache
from tryage_langchain.testing import ScriptedChatModel

ANN = {"metadata": {"user_id": "ann"}}


@pytest.fixture
def cache():
    return AnswerCache(shared=True)


@pytest.fixture
def chat(router, small, big, cache):
    return ChatTryage(models={"small": small, "big": big}, router=router, policy=cache)


def record_of(answer):
    return answer.response_metadata["tryage"]


async def invoke(chat, text, **kwargs):
    return chat.invoke(text, **kwargs)


async def ainvoke(chat, text, **kwargs):
    return await chat.ainvoke(text, **kwargs)


async def batch(chat, text, **kwargs):
    return chat.batch([text], **kwargs)[0]


async def stream(chat, text, **kwargs):
    chunks = list(chat.stream(text, **kwargs))
    return sum(chunks[1:], chunks[0])


async def astream(chat, text, **kwargs):
    chunks = [chunk async for chunk in chat.astream(text, **kwargs)]
    return sum(chunks[1:], chunks[0])


async def generate(chat, text, **kwargs):
    return chat.generate([[HumanMessage(text)]], **kwargs).generations[0][0].message


async def agenerate(chat, text, **kwargs):
    return (await chat.agenerate([[HumanMessage(text)]], **kwargs)).generations[0][0].message


WAYS = [invoke, ainvoke, batch, stream, astream, generate, agenerate]


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
async def test_an_answer_is_returned_again_without_a_call_or_cost(
    chat, cache, small, first, second
):
    answer = await first(chat, "small question")
    again = await second(chat, "small question")
    assert (cache.hits, len(small.calls)) == (1, 1)
    assert again.content == answer.content
    assert record_of(answer)["how"] == "routed"
    record = record_of(again)
    assert (record["how"], record["model"]) == ("cached", "small")
    assert record["reason"].startswith("AnswerCache: small answered the same request")
    assert record["cost"]["billed"] == record["cost"]["expected"] == 0.0
    assert record["id"] != record_of(answer)["id"]


@pytest.mark.parametrize(
    "other",
    [
        lambda chat: chat.invoke("small question?"),
        lambda chat: chat.invoke([SystemMessage("Be rude."), HumanMessage("small question")]),
        lambda chat: chat.invoke([HumanMessage("small question", name="ann")]),
        lambda chat: chat.invoke("small question", temperature=0.9),
        lambda chat: chat.invoke("small question", stop=["x"]),
        lambda chat: chat.bind_tools([{"name": "add", "parameters": {}}]).invoke("small question"),
    ],
)
def test_another_request_is_asked(router, cache, other):
    models = {name: ScriptedChatModel(model=name) for name in ("small", "big")}
    chat = ChatTryage(models=models, router=router, policy=cache)
    chat.invoke("small question")
    try:
        other(chat)
    except NotImplementedError:
        pytest.skip("the scripted model binds no tools")
    assert cache.hits == 0


def test_events_of_version_3_neither_use_nor_keep_answers(chat, cache, small):
    chat.invoke("small one")
    for _ in range(2):
        assert str(chat.stream_events("small one", version="v3").output.text)
    assert len(small.calls) == 3
    assert (len(cache), cache.hits) == (1, 0)


def test_answers_stay_with_their_user(router, small, big):
    cache = AnswerCache()
    chat = ChatTryage(models={"small": small, "big": big}, router=router, policy=cache)
    chat.invoke("small question", ANN)
    chat.invoke("small question", {"metadata": {"user_id": "bob"}})
    chat.invoke("small question")
    assert cache.hits == 0
    chat.invoke("small question", ANN)
    assert cache.hits == 1


@pytest.mark.parametrize("sticky", ["turn", "call"])
def test_a_message_again_in_its_thread_gets_another_answer(router, small, big, cache, sticky):
    models = {"small": small, "big": big}
    chat = ChatTryage(models=models, router=router, policy=cache, sticky=sticky)
    config = {"configurable": {"thread_id": "7"}}
    for _ in range(2):
        chat.invoke("small question", config)
    assert cache.hits == 0


def test_what_a_caller_does_to_an_answer_does_not_change_the_next(chat):
    answer = chat.invoke("small question")
    content = answer.content
    for _ in range(2):
        answer.content = "changed"
        answer.response_metadata["changed"] = True
        answer = chat.invoke("small question")
        assert answer.content == content
        assert "changed" not in answer.response_metadata


def test_a_kept_message_is_a_copy():
    answer = AIMessage("hello", additional_kwargs={"notes": []})
    kept = to_cache(answer)
    answer.additional_kwargs["notes"].append("changed")
    assert kept.additional_kwargs["notes"] == []
    from_cache(kept).additional_kwargs["notes"].append("changed")
    assert kept.additional_kwargs["notes"] == []


def test_a_cached_message_has_no_id_of_another_message():
    message = AIMessage("hello", id="run-1", usage_metadata={
        "input_tokens": 1, "output_tokens": 1, "total_tokens": 2})  # fmt: skip
    again = from_cache(to_cache(message))
    assert again.id is None
    assert again.usage_metadata["total_cost"] == 0


def test_errors_and_answers_that_are_cut_off_are_not_kept(router, cache):
    class CutOff(ScriptedChatModel):
        def _generate(self, *args, **kwargs):
            result = super()._generate(*args, **kwargs)
            result.generations[0].message.response_metadata["finish_reason"] = "length"
            return result

    models = {"small": CutOff(model="small"), "big": CutOff(model="big")}
    chat = ChatTryage(models=models, router=router, policy=cache)
    chat.invoke("small question")
    assert len(cache) == 0


def test_a_stream_that_is_not_read_to_its_end_is_not_kept(router, cache):
    class TwoChunks(ScriptedChatModel):
        def _stream(self, *args, **kwargs):
            for chunk in super()._stream(*args, **kwargs):
                yield chunk
                yield chunk

    models = {name: TwoChunks(model=name) for name in ("small", "big")}
    chat = ChatTryage(models=models, router=router, policy=cache)
    chunks = chat.stream("small question")
    next(chunks)
    chunks.close()
    assert len(cache) == 0


def test_the_chunks_of_a_stream_are_kept_as_one_message():
    chunks = [AIMessageChunk("hel"), AIMessageChunk("lo", chunk_position="last")]
    kept = to_cache(chunks)
    assert (type(kept), kept.content) == (AIMessage, "hello")
    assert to_cache([{"partial": 1}]) is None


class Answer(BaseModel):
    value: int


def test_schemas_are_told_apart_by_their_fields():
    class Other(BaseModel):
        value: str

    one, other = (
        answer_settings(BoundArguments("with_structured_output", schema), {})
        for schema in (Answer, Other)
    )
    assert one != other
    assert answer_settings(BoundArguments("with_structured_output", dict[str, int]), {}) is not None


def test_a_time_limit_is_no_part_of_the_settings_that_shape_an_answer():
    settings = answer_settings(NOTHING_BOUND, {"seed": 1, "timeout": 3})
    assert settings["call"] == {"seed": 1}


def test_a_hedge_behind_a_cache_leaves_its_answers(router, small, big, cache):
    policy = cache | Hedge(seconds=5.0)
    chat = ChatTryage(models={"small": small, "big": big}, router=router, policy=policy)
    chat.invoke("small question")
    assert record_of(chat.invoke("small question"))["how"] == "cached"
    assert cache.hits == 1
