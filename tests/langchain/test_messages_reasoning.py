"""Reasoning that one provider has signed does not reach another."""

from __future__ import annotations

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from tryage_langchain import ChatTryage
from tryage_langchain._messages import provider_of, readable_messages, strip_foreign_reasoning
from tryage_langchain.testing import ScriptedChatModel

CALL = {"name": "look", "args": {"q": "x"}, "id": "call_1", "type": "tool_call"}


def answer_of(provider, content, **kwargs):
    return AIMessage(content, response_metadata={"model_provider": provider}, **kwargs)


# Answers as ChatAnthropic, ChatOpenAI (responses), ChatGoogleGenerativeAI and ChatDeepSeek record
# them.
ANTHROPIC = answer_of(
    "anthropic",
    [
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "Eq"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "call_1", "name": "look", "input": {"q": "x"}},
    ],
    tool_calls=[CALL],
)
OPENAI = answer_of(
    "openai",
    [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "text", "text": "Let me look.", "id": "msg_1"},
        {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "call_1"},
    ],
    tool_calls=[CALL],
)
GOOGLE = answer_of(
    "google_genai",
    [{"type": "text", "text": "Let me look.", "extras": {"signature": "CpQ"}}],
    additional_kwargs={"__gemini_function_call_thought_signatures__": {"call_1": "CpQ"}},
    tool_calls=[CALL],
)
DEEPSEEK = answer_of(
    "deepseek", "Let me look.", additional_kwargs={"reasoning_content": "Hm."}, tool_calls=[CALL]
)


@pytest.mark.parametrize("answer", [ANTHROPIC, OPENAI, GOOGLE, DEEPSEEK])
def test_the_answer_of_another_provider_becomes_text_and_tool_calls(answer):
    before = answer.model_dump()
    (plain,) = strip_foreign_reasoning([answer], "mistral")
    assert (plain.content, plain.additional_kwargs) == ("Let me look.", {})
    assert plain.tool_calls == [CALL]
    assert answer.model_dump() == before, "the conversation in the state was changed"


@pytest.mark.parametrize(
    ("answer", "reader"),
    [(ANTHROPIC, "anthropic"), (OPENAI, "openai"), (OPENAI, "azure"), (GOOGLE, "google_vertexai")],
)
def test_a_provider_gets_its_own_reasoning_which_a_tool_loop_needs(answer, reader):
    assert strip_foreign_reasoning([answer], reader) == [answer]


def test_answers_of_an_unknown_provider_stay_as_they_are():
    unnamed = AIMessage([{"type": "reasoning", "reasoning": "Hm."}])
    assert strip_foreign_reasoning([unnamed, ANTHROPIC], None) == [unnamed, ANTHROPIC]
    assert strip_foreign_reasoning([unnamed], "openai") == [unnamed]


@pytest.mark.parametrize(
    "reasoning",
    [
        {"type": "redacted_thinking", "data": "Eq"},
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"},
    ],
)
@pytest.mark.parametrize("metadata", [{}, {"model_name": "claude-sonnet-4-6"}])
def test_reasoning_that_only_anthropic_writes_is_known_without_a_named_provider(
    reasoning, metadata
):
    answer = AIMessage([reasoning, {"type": "text", "text": "ok"}], response_metadata=metadata)
    (plain,) = readable_messages([answer], FakeListChatModel(responses=[]))
    assert plain.content == "ok"
    for reader in ("anthropic", "amazon_bedrock", "anthropicvertex", None):
        assert strip_foreign_reasoning([answer], reader) == [answer]


def test_thinking_without_a_signature_may_be_of_any_provider():
    unsigned = AIMessage([{"type": "thinking", "thinking": []}, {"type": "text", "text": "ok"}])
    assert strip_foreign_reasoning([unsigned], "mistral") == [unsigned]


def test_only_answers_change_and_an_answer_of_reasoning_alone_is_left_out():
    empty = answer_of("anthropic", [{"type": "thinking", "thinking": "Hm.", "signature": "E"}])
    others = [SystemMessage("s"), HumanMessage("h"), ToolMessage("t", tool_call_id="call_1")]
    assert strip_foreign_reasoning([*others, empty], "openai") == others


def test_images_in_an_answer_stay():
    image = {"type": "image", "base64": "AA==", "mime_type": "image/png"}
    drawn = answer_of("google_genai", [{"type": "text", "text": "Here."}, image])
    (plain,) = strip_foreign_reasoning([drawn], "openai")
    assert plain.content == [{"type": "text", "text": "Here."}, image]


def test_a_model_names_its_provider():
    openai = pytest.importorskip("langchain_openai")
    assert provider_of(openai.ChatOpenAI(model="gpt-4o", api_key="x")) == "openai"
    assert provider_of(FakeListChatModel(responses=[])) == "fakelistchatmodel"


def test_the_mistral_class_reads_the_answers_of_mistral():
    answer = answer_of("mistralai", [{"type": "thinking", "thinking": []}, "x"])
    assert strip_foreign_reasoning([answer], "mistral") == [answer]


# In ChatTryage -----------------------------------------------------------------------------------


class SignedModel(ScriptedChatModel):
    """Answers with reasoning that it has signed, and remembers what it is sent."""

    provider: str

    def _get_ls_params(self, stop=None, **kwargs):
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": self.provider}

    def _reply(self, messages, kwargs):  # noqa: ARG002 - the signature of the base class
        thought = {"type": "thinking", "thinking": "Hm.", "signature": self.provider}
        return [thought, {"type": "text", "text": f"I am {self.model}"}], []

    def _response_metadata(self, kwargs):
        return {**super()._response_metadata(kwargs), "model_provider": self.provider}


@pytest.fixture
def signed_models():
    return {
        "small": SignedModel(model="small", provider="anthropic"),
        "big": SignedModel(model="big", provider="openai"),
    }


@pytest.mark.parametrize("bind", [lambda chat: chat, lambda chat: chat.bind_tools([])])
def test_a_model_does_not_get_the_signed_reasoning_of_another_provider(router, signed_models, bind):
    chat = bind(ChatTryage.from_models(signed_models, router=router))
    talk = [HumanMessage("small question")]
    talk += [chat.invoke(talk), HumanMessage("big question")]
    assert talk[1].content[0]["signature"] == "anthropic"
    chat.invoke(talk)
    assert signed_models["big"].calls[0]["messages"][1].content == "I am small"
    chat.invoke([*talk[:2], HumanMessage("small again")])
    assert signed_models["small"].calls[1]["messages"][1].content == talk[1].content


def test_the_next_model_gets_the_reasoning_that_the_failed_one_could_not_read(
    router, signed_models
):
    chat = ChatTryage.from_models(signed_models, router=router)
    talk = [HumanMessage("small question")]
    talk += [chat.invoke(talk), HumanMessage("big question")]
    signed_models["big"].fails = [TimeoutError()]
    chat.invoke(talk)
    assert signed_models["big"].calls[0]["messages"][1].content == "I am small"
    assert signed_models["small"].calls[1]["messages"][1] == talk[1]


def test_a_router_inside_a_router_gets_the_conversation_as_it_is(router, signed_models):
    inner = ChatTryage.from_models(signed_models, router=router)
    talk = [HumanMessage("q"), ANTHROPIC, HumanMessage("big")]
    assert readable_messages(talk, inner) == talk
