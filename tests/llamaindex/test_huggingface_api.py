"""Asynchronous streams of one LLM for inference providers do not close each other's client."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from llama_index.core.llms import ChatMessage

pytest.importorskip("llama_index.llms.huggingface_api")

from tryage_llamaindex._huggingface_api import ConcurrentHuggingFaceInferenceAPI

MESSAGES = [ChatMessage("question")]


@pytest.fixture
def llm(inference):  # noqa: ARG001 - the fixture serves the model
    return ConcurrentHuggingFaceInferenceAPI(model="maker/small", provider="auto", token="hf_none")  # noqa: S106 - not a real token


async def read(llm):
    return [chunk.delta async for chunk in await llm.astream_chat(MESSAGES)]


async def test_streams_at_the_same_time_are_all_complete(llm):
    answers = await asyncio.gather(*(read(llm) for _ in range(4)))
    assert answers == [["Hello ", "from ", "maker/small"]] * 4


async def test_the_llm_answers_after_a_stream_has_ended(llm):
    await read(llm)
    assert (await llm.achat(MESSAGES)).message.content == "Hello from maker/small"
    assert await read(llm) == ["Hello ", "from ", "maker/small"]


async def test_a_stream_that_is_left_early_does_not_stop_another(llm):
    left, other = await llm.astream_chat(MESSAGES), await llm.astream_chat(MESSAGES)
    await anext(left)
    await left.aclose()
    assert "".join([chunk.delta async for chunk in other]) == "Hello from maker/small"


def test_the_class_can_be_pickled_by_name():
    assert pickle.loads(pickle.dumps(ConcurrentHuggingFaceInferenceAPI)) is (  # noqa: S301 - our own pickle
        ConcurrentHuggingFaceInferenceAPI
    )
