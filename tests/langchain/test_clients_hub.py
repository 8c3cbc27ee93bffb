"""Models of the Hub as real chat models: catalogue, choice, ChatHuggingFace, an answer.

Skipped without langchain-huggingface, which needs other versions than the rest.
"""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage, ToolMessage

from tryage import Router
from tryage.errors import AllFailedError
from tryage.hub.settings import HubSettings
from tryage.testing import FunctionPerception, LocalHub
from tryage_langchain import ChatTryage

pytest.importorskip("langchain_huggingface")


FIRST, SECOND = "org/first-1b", "org/second-7b"


@pytest.fixture
def hub():
    with LocalHub() as running:
        for number, name in enumerate((FIRST, SECOND)):
            record = {"id": name, "pipeline_tag": "text-generation", "downloads": 9 - number}
            running.load([{**record, "tags": ["license:mit", "conversational"]}])
            provider = {"provider": "fast", "status": "live", "supports_tools": True}
            pricing = {"input": number + 0.1, "output": number + 0.2}
            running.served.append({"id": name, "providers": [{**provider, "pricing": pricing}]})
        yield running


@pytest.fixture
def chat(hub, inference, tmp_path):  # noqa: ARG001 - the models are reached there
    losses = FunctionPerception(
        [FIRST, SECOND], lambda prompt: [0.1 if "first" in prompt else 0.9, 0.5]
    )
    return ChatTryage.from_hub(
        limit=2,
        base=Router(losses),
        catalogue=tmp_path / "catalogue.sqlite",
        settings=HubSettings(endpoint=hub.url, inference=hub.url, retries=0),
        model_settings={"huggingfacehub_api_token": "hf_of_nobody", "max_new_tokens": 50},
    )


def record_of(message):
    return message.response_metadata["tryage"]


def look(where: str) -> str:
    """Look somewhere."""
    return f"nothing {where}"


def test_models_of_the_catalogue_are_candidates_and_the_chosen_one_answers(chat, inference):
    for word, name in (("first", FIRST), ("second", SECOND)):
        answer = chat.invoke(f"{word} question")
        assert answer.text == f"Hello from {name}"
        assert record_of(answer)["model"] == name
        assert answer.usage_metadata["total_tokens"] == 10
    assert {request.path for request, _ in inference.requests} == {"/v1/chat/completions"}
    assert inference.requests[0][1]["max_tokens"] == 50
    assert chat._pool.library[FIRST].output_price == 0.2


async def test_an_answer_is_awaited(chat):
    assert (await chat.ainvoke("first question")).text == f"Hello from {FIRST}"


def test_an_answer_is_streamed(chat):
    chunks = list(chat.stream("second question"))
    assert [chunk.text for chunk in chunks if chunk.text] == ["Hello ", "from ", SECOND]
    records = [record_of(chunk) for chunk in chunks if "tryage" in chunk.response_metadata]
    assert [record["model"] for record in records if "model" in record] == [SECOND]
    assert "cost" in records[-1]  # known when the stream has ended


async def test_an_answer_is_streamed_asynchronously(chat):
    spoken = [chunk.text async for chunk in chat.astream("first question")]
    assert "".join(spoken) == f"Hello from {FIRST}"


def test_tools_are_bound_and_a_tool_loop_stays_with_the_model(chat, inference):
    bound = chat.bind_tools([look])
    question = HumanMessage("first question")
    called = bound.invoke([question])
    assert called.tool_calls[0]["name"] == "look"
    assert inference.requests[0][1]["tools"][0]["function"]["parameters"]["required"] == ["where"]
    output = ToolMessage("nothing", tool_call_id=called.tool_calls[0]["id"])
    answer = bound.invoke([question, called, output])
    assert answer.text == f"Hello from {FIRST}"
    assert record_of(answer)["how"] == "kept for the turn"


@pytest.mark.parametrize("streamed", [False, True])
def test_if_one_model_is_down_the_next_answers(chat, inference, streamed):
    inference.down.add(FIRST)
    if streamed:
        assert "".join(c.text for c in chat.stream("first question")) == f"Hello from {SECOND}"
        return
    answer = chat.invoke("first question")
    assert answer.text == f"Hello from {SECOND}"
    assert list(record_of(answer)["failed"]) == [FIRST]
    assert "hf_of_nobody" not in str(record_of(answer))


def test_if_all_models_are_down_the_error_lists_each(chat, inference):
    inference.down |= {FIRST, SECOND}
    with pytest.raises(AllFailedError, match="503"):
        chat.invoke("first question")
