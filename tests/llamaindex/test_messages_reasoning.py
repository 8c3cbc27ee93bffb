"""An LLM gets no reasoning that another provider has signed: it would refuse the conversation."""

from __future__ import annotations

import pytest
from llama_index.core.base.llms.types import ThinkingBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage, TextBlock
from llama_index.core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from tryage_llamaindex import TryageLLM
from tryage_llamaindex._messages import readable_messages
from tryage_llamaindex.testing import ScriptedLLM


class Fact(BaseModel):
    """A number."""

    n: int


def child_of(package):
    """Return a scripted LLM whose class looks like one of a provider's package."""
    module = f"llama_index.llms.{package}.base"
    return type("Child", (ScriptedLLM,), {"__module__": module})()


BLOCKS = {
    "anthropic": ThinkingBlock(content="Hm.", additional_information={"signature": "a1"}),
    "google_genai": ThinkingBlock(
        content="Hm.", additional_information={"thought_signature": b"g"}
    ),
    "openai": ThinkingBlock(content="Hm.", additional_information={"id": "rs_1", "status": None}),
    "ollama": ThinkingBlock(content="Hm."),
}


def history(block, **kwargs):
    answer = ChatMessage(
        role="assistant", blocks=[block, TextBlock(text="Three.")], additional_kwargs=kwargs
    )
    return [ChatMessage("small: how many?"), answer, ChatMessage("small: sure?")]


def thoughts(messages):
    return [b for message in messages for b in message.blocks if isinstance(b, ThinkingBlock)]


@pytest.mark.parametrize("writer", BLOCKS)
@pytest.mark.parametrize("reader", [*BLOCKS, "mistralai"])
def test_a_provider_gets_its_own_reasoning_and_no_other(writer, reader):
    given = history(BLOCKS[writer])
    read = readable_messages(child_of(reader), given)
    is_own = writer == reader or (writer == "ollama" and reader == "mistralai")  # both unsigned
    assert len(thoughts(read)) == int(is_own)
    assert [message.content for message in read] == [message.content for message in given]
    assert len(thoughts(given)) == 1  # the caller's messages stay as they are


def test_bedrock_reads_what_anthropic_has_signed():
    read = readable_messages(child_of("bedrock_converse"), history(BLOCKS["anthropic"]))
    assert len(thoughts(read)) == 1


def test_an_answer_that_is_only_reasoning_is_left_out_and_tool_calls_stay():
    call = ToolCallBlock(tool_call_id="1", tool_name="t", tool_kwargs={})
    messages = [
        ChatMessage("Hi"),
        ChatMessage(role="assistant", blocks=[BLOCKS["anthropic"]]),
        ChatMessage(role="assistant", blocks=[BLOCKS["anthropic"], call]),
        ChatMessage(role="assistant", blocks=[]),
    ]
    read = readable_messages(child_of("openai"), messages)
    assert [message.blocks for message in read[1:]] == [[call], []]


def test_signatures_of_google_beside_the_blocks_are_stripped_too():
    given = history(TextBlock(text="Hm."), thought_signatures=["g"])
    assert readable_messages(child_of("google_genai"), given)[1].additional_kwargs
    assert readable_messages(child_of("openai"), given)[1].additional_kwargs == {}


def test_an_llm_of_ones_own_gets_everything():
    assert readable_messages(ScriptedLLM(), history(BLOCKS["anthropic"])) == history(
        BLOCKS["anthropic"]
    )


@pytest.mark.parametrize("with_tools", [True, False])
def test_the_chosen_llm_gets_readable_messages(router, with_tools):
    small, big = child_of("openai"), child_of("anthropic")
    llm = TryageLLM(llms={"small": small, "big": big}, router=router)
    given = history(BLOCKS["anthropic"])
    for name in ("small", "big"):
        if with_tools:
            llm.chat_with_tools([], chat_history=given, tryage_model=name)
        else:
            llm.chat(given, tryage_model=name)
    assert [len(thoughts(child.calls[0]["messages"])) for child in (small, big)] == [0, 1]


def test_structured_answers_to_a_conversation_are_readable_too(router):
    small = child_of("openai")
    llm = TryageLLM(llms={"small": small, "big": ScriptedLLM()}, router=router)
    template = ChatPromptTemplate(message_templates=history(BLOCKS["anthropic"]))
    assert llm.structured_predict(Fact, template).n == 3
    assert thoughts(small.calls[0]["messages"]) == []


def test_a_fallback_to_another_provider_is_readable(router):
    small, big = child_of("anthropic"), child_of("openai")
    small.fails = [ConnectionError("down")]
    llm = TryageLLM(llms={"small": small, "big": big}, router=router)
    llm.chat(history(BLOCKS["anthropic"]))
    assert len(thoughts(small.calls[0]["messages"])) == 1
    assert thoughts(big.calls[0]["messages"]) == []
