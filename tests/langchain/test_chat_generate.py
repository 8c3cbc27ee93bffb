"""ChatTryage through `generate()` and event protocol v3: answers, runs and failures."""

from __future__ import annotations

import uuid

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda

from tryage_langchain import ChatTryage


def model_of(answer):
    return answer.response_metadata["tryage"]["model"]


# generate() --------------------------------------------------------------------------------------


def test_generate_is_answered_by_the_chosen_model(chat):
    result = chat.generate([[HumanMessage("big question")]])
    message = result.generations[0][0].message
    assert message.text == "Hello from scripted-big today"
    assert model_of(message) == "big"


async def test_generate_is_awaited_too(chat):
    result = await chat.agenerate([[HumanMessage("small one")]])
    assert model_of(result.generations[0][0].message) == "small"


def test_a_chain_is_passed_over_by_generate_and_answers_invoke(router, big):
    chain = RunnableLambda(lambda _: "from a chain")
    chat = ChatTryage(models={"small": chain, "big": big}, router=router)
    result = chat.generate([[HumanMessage("small one")]])
    record = result.generations[0][0].message.response_metadata["tryage"]
    assert record["model"] == "big"
    assert "generate() needs chat models" in record["failed"]["small"]
    assert chat.invoke("small two") == "from a chain"


# Events of version 3 -----------------------------------------------------------------------------


def test_events_of_version_three_are_those_of_the_chosen_model(chat, recorder):
    stream = chat.stream_events("big question", {"callbacks": [recorder]}, version="v3")
    assert stream.output.text == "Hello from scripted-big today"
    (model,) = recorder.of_kind("model")
    assert model["metadata"]["tryage_model"] == "big"


async def test_events_of_version_three_are_awaited_too(chat):
    stream = await chat.astream_events("small question", version="v3")
    assert (await stream.output).text == "Hello from scripted-small today"


@pytest.mark.parametrize("method", ["stream_events", "astream_events"])
async def test_each_model_that_is_asked_for_events_has_a_run(
    call_chat, chat, big, recorder, method
):
    big.fails = [ConnectionError("down")]
    await call_chat(method, chat, "big question", {"callbacks": [recorder]})
    ends = {run["metadata"]["tryage_model"]: run["end"] for run in recorder.of_kind("model")}
    assert ends == {"big": "ConnectionError", "small": "well"}


def test_the_run_id_belongs_to_the_first_model_that_streams_events(chat, big, recorder):
    mine, big.fails = uuid.uuid4(), [ConnectionError("no route")]
    config = {"callbacks": [recorder], "run_id": mine}
    assert chat.stream_events("big question", config, version="v3").output.text
    (first, failed), (_, second) = recorder.runs.items()
    assert (first, failed["end"], second["end"]) == (mine, "ConnectionError", "well")


def test_an_error_after_the_first_word_is_raised_in_events(chat, big, small):
    big.breaks_after = 3
    stream, spoken = chat.stream_events("big question", version="v3"), []
    with pytest.raises(ConnectionError, match="broke off"):
        spoken.extend(stream.text)
    assert (spoken, small.calls) == (["Hello ", "from "], [])


async def test_an_error_after_the_first_word_is_raised_in_awaited_events(chat, big, small):
    big.breaks_after = 3
    stream = await chat.astream_events("big question", version="v3")
    with pytest.raises(ConnectionError, match="broke off"):
        await stream.output
    assert small.calls == []


async def test_events_that_are_not_read_to_their_end_end_their_run(chat, recorder):
    config = {"callbacks": [recorder]}
    async with await chat.astream_events("big question", config, version="v3") as stream:
        async for _ in stream.text:
            break
    (run,) = recorder.of_kind("model")
    assert run["end"] is not None
