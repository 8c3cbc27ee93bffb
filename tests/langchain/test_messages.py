"""Which part of an input is routed, and how messages become a conversation."""

from __future__ import annotations

import json

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from langchain_core.runnables import RunnableLambda

from tryage.errors import InputError
from tryage_langchain import TryageRouter
from tryage_langchain._messages import add_chunk, is_from_user, to_conversation, to_turns


def echo(name):
    return RunnableLambda(lambda value: (name, value), name=name)


@pytest.fixture
def tryage_router(router):
    return TryageRouter(router=router, runnables={"small": echo("small"), "big": echo("big")})


# What is routed ----------------------------------------------------------------------------------


def test_the_chosen_runnable_gets_the_input_unchanged(tryage_router):
    for value in (
        "big question",
        StringPromptValue(text="big question"),
        ChatPromptValue(messages=[HumanMessage("big question")]),
        [SystemMessage("small"), HumanMessage("big question")],
        [("system", "small"), ("human", "big question")],
        HumanMessage("big question"),
    ):
        name, received = tryage_router.invoke(value)
        assert name == "big"
        assert received is value


def test_messages_are_routed_on_the_last_human_message(tryage_router):
    talk = [HumanMessage("big"), AIMessage("big"), HumanMessage("small talk"), AIMessage("big")]
    assert tryage_router.invoke(talk)[0] == "small"


def test_messages_without_a_human_message_are_routed_on_the_last(tryage_router):
    assert tryage_router.invoke([SystemMessage("small"), AIMessage("big answer")])[0] == "big"


def test_only_the_text_of_a_multimodal_message_is_routed(tryage_router):
    image = {"type": "image_url", "image_url": {"url": "small"}}
    assert (
        tryage_router.invoke([HumanMessage([image, {"type": "text", "text": "big one"}])])[0]
        == "big"
    )


@pytest.mark.parametrize("value", [7, {"question": "big"}, None, b"big"])
def test_an_input_that_is_not_a_prompt_is_refused(tryage_router, value):
    with pytest.raises(InputError, match=type(value).__name__):
        tryage_router.invoke(value)


def test_an_empty_list_of_messages_is_refused(tryage_router):
    with pytest.raises(InputError, match="No messages"):
        tryage_router.invoke([])


def test_the_input_key_of_a_dict_is_routed_and_the_runnable_gets_the_whole_dict(router):
    tryage_router = TryageRouter(
        router, {"small": echo("small"), "big": echo("big")}, input_key="q"
    )
    given = {"q": "big question", "context": "small"}
    assert tryage_router.invoke(given) == ("big", given)
    assert tryage_router.invoke({"q": [HumanMessage("small talk")]})[0] == "small"


def test_a_dict_without_the_input_key_is_refused_and_its_keys_are_listed(router):
    with pytest.raises(InputError, match=r"\['a', 'q'\].*input_key"):
        TryageRouter(router).invoke({"q": "big", "a": 1})
    with pytest.raises(InputError, match=r"no 'question'.*\['q'\]"):
        TryageRouter(router, input_key="question").invoke({"q": "big"})
    with pytest.raises(InputError, match=r"str.*dict with the prompt as 'q'"):
        TryageRouter(router, input_key="q").invoke("big")


# Flags -------------------------------------------------------------------------------------------


def test_the_runnable_gets_the_input_without_flags(flag_router):
    tryage_router = TryageRouter(
        router=flag_router, runnables={"small": echo("small"), "big": echo("big")}
    )
    text, clean = "big one [Flag: model=small]", "big one"
    assert tryage_router.invoke(text) == ("small", clean)
    assert tryage_router.invoke(StringPromptValue(text=text)) == (
        "small",
        StringPromptValue(text=clean),
    )
    assert tryage_router.invoke(HumanMessage(text, id="7")) == (
        "small",
        HumanMessage(clean, id="7"),
    )


def test_flags_are_removed_from_the_last_human_message_only(flag_router):
    tryage_router = TryageRouter(
        router=flag_router, runnables={"small": echo("small"), "big": echo("big")}
    )
    image = {"type": "image_url", "image_url": {"url": "x"}}
    first = HumanMessage("big [Flag: model=big]")
    last = HumanMessage([image, {"type": "text", "text": "big one [Flag: model=small]"}])
    name, received = tryage_router.invoke(ChatPromptValue(messages=[first, last]))
    assert name == "small"
    assert received.messages == [
        first,
        HumanMessage([image, {"type": "text", "text": "big one"}]),
    ]
    assert last.content[1]["text"].endswith("[Flag: model=small]"), (
        "the caller's message was changed"
    )


def test_flags_stay_in_the_text_if_the_router_does_not_read_them(tryage_router):
    text = "big one [Flag: model=small]"
    assert tryage_router.invoke(text) == ("big", text)


def test_flags_are_removed_from_the_input_key_only(flag_router):
    tryage_router = TryageRouter(
        flag_router, {"small": echo("small"), "big": echo("big")}, input_key="q"
    )
    given = {"q": "big [Flag: model=small]", "other": "[Flag: model=big]"}
    assert tryage_router.invoke(given) == ("small", {"q": "big", "other": "[Flag: model=big]"})


# Conversations -----------------------------------------------------------------------------------


def test_messages_become_turns_with_roles_tool_calls_and_media():
    call = {"name": "look", "args": {"q": "x"}, "id": "1", "type": "tool_call"}
    image = {"type": "image_url", "image_url": {"url": "x"}}
    sound = {"type": "audio", "base64": "AA=="}
    turns = to_turns(
        [
            SystemMessage("Be brief."),
            HumanMessage([{"type": "text", "text": "What is it?"}, image, sound]),
            AIMessage("", tool_calls=[call]),
            ToolMessage("a cat", tool_call_id="1"),
        ]
    )
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "tool"]
    assert (turns[1].text, turns[1].images, turns[1].audio) == ("What is it?", 1, 1)
    assert json.loads(turns[2].calls) == [call]


def test_another_image_has_another_digest_that_does_not_hold_it():
    def digest(url):
        image = {"type": "image_url", "image_url": {"url": url}}
        return to_turns([HumanMessage([{"type": "text", "text": "What?"}, image])])[0].digest

    assert digest("secret cat") != digest("secret dog")
    assert "secret" not in digest("secret cat")
    assert to_turns([HumanMessage("What?")])[0].digest == ""


def test_a_tool_result_in_a_user_message_is_from_a_tool_and_a_summary_is_from_the_system():
    result = HumanMessage([{"type": "tool_result", "tool_use_id": "1", "content": "x"}])
    summary = HumanMessage("so far", additional_kwargs={"lc_source": "summarization"})
    assert [turn.role for turn in to_turns([result, summary])] == ["tool", "system"]
    assert [is_from_user(one) for one in (HumanMessage("hi"), summary)] == [True, False]


def test_the_schemas_of_tools_are_text():
    def look(where: str) -> str:
        """Look somewhere."""
        return where

    provider_tool = {"type": "web_search_20250305", "name": "web_search"}
    talk = to_conversation([HumanMessage("hi")], tools=[look, provider_tool])
    assert "Look somewhere." in talk.tools
    assert "web_search" in talk.tools
    assert to_conversation([HumanMessage("hi")]).tools == ""


def test_chunks_are_added_and_a_chunk_that_cannot_be_added_replaces_the_rest():
    assert add_chunk(None, "a") == "a"
    assert add_chunk("a", "b") == "ab"
    assert add_chunk({"a": 1}, 7) == 7
