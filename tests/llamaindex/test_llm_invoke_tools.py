"""Tools go to children that call them; a child decodes its own calls and keeps the turn."""

from __future__ import annotations

import json

import pytest
from llama_index.core.llms import ChatMessage, ChatResponse, MessageRole, MockLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import FunctionTool

from tryage import Router
from tryage.errors import NoExpertError
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM


class ByKwargs(ScriptedLLM):
    """Keeps tool calls where LiteLLM does, and takes no further arguments to decode them."""

    def _tool_call(self, name, arguments):
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"id": "call_1", "type": "function", "function": function}
        return ChatMessage(role="assistant", content="", additional_kwargs={"tool_calls": [call]})

    def get_tool_calls_from_response(self, response, error_on_no_tool_call=True):  # noqa: ARG002 - the signature of an LLM
        return [
            ToolSelection(
                tool_id=call["id"],
                tool_name=call["function"]["name"],
                tool_kwargs=json.loads(call["function"]["arguments"]),
            )
            for call in response.message.additional_kwargs.get("tool_calls", [])
        ]


def double(n: int) -> int:
    """Double a number."""
    return 2 * n


TOOLS = [FunctionTool.from_defaults(double)]


@pytest.fixture
def mixed(perception, small):
    """`small` calls functions by blocks, `big` by kwargs, and `text` not at all."""
    router = Router(type(perception)(("small", "big", "text")))
    text = MockLLM(max_tokens=2)
    return TryageLLM(llms={"small": small, "big": ByKwargs(model="by-kwargs"), "text": text},
                     router=router)  # fmt: skip


@pytest.mark.parametrize("name", ["small", "big"])
async def test_the_chosen_child_calls_the_tool_and_decodes_its_own_call(
    mixed, tool_method, call, name
):
    chunks = await call(mixed, tool_method, TOOLS, user_msg=f"{name} question")
    (selection,) = mixed.get_tool_calls_from_response(chunks[-1])
    assert (selection.tool_name, selection.tool_kwargs) == ("double", {"n": 3})
    assert {c.additional_kwargs["tryage"]["model"] for c in chunks} == {name}


async def test_tools_go_only_to_children_that_call_them(mixed, tool_method, call):
    last = (await call(mixed, tool_method, TOOLS, user_msg="text question"))[-1]
    assert last.additional_kwargs["tryage"]["model"] != "text"
    assert "failed" not in last.additional_kwargs["tryage"]  # it was not tried
    assert mixed.complete("text, no tools").additional_kwargs["tryage"]["model"] == "text"


async def test_without_tools_the_same_methods_reach_every_child(mixed, tool_method, call):
    last = (await call(mixed, tool_method, [], user_msg="text question"))[-1]
    assert last.additional_kwargs["tryage"]["model"] == "text"
    assert mixed.get_tool_calls_from_response(last, error_on_no_tool_call=False) == []


async def test_if_no_child_calls_functions_the_error_says_so(router, tool_method, call):
    llm = TryageLLM(llms={"small": MockLLM(), "big": MockLLM()}, router=router)
    with pytest.raises(NoExpertError, match="capabilities"):
        await call(llm, tool_method, TOOLS, user_msg="small question")


async def test_a_child_that_turns_out_to_call_no_functions_counts_as_failed(router, small, call):
    llm = TryageLLM(llms={"small": small, "big": lambda: MockLLM()}, router=router)  # noqa: PLW0108 - a class is not a source of LLMs
    last = (await call(llm, "achat_with_tools", TOOLS, user_msg="big question"))[-1]
    assert last.additional_kwargs["tryage"]["failed"] == {
        "big": "NotImplementedError: A MockLLM cannot call tools."
    }


def test_a_response_of_an_unknown_child_has_no_tool_calls(llm):
    stray = ChatResponse(message=ChatMessage("Hi", role="assistant"))
    assert llm.get_tool_calls_from_response(stray, error_on_no_tool_call=False) == []
    with pytest.raises(ValueError, match="at least one tool call"):
        llm.get_tool_calls_from_response(stray)
    renamed = stray.model_copy(update={"additional_kwargs": {"tryage": {"model": "gone"}}})
    assert llm.get_tool_calls_from_response(renamed, error_on_no_tool_call=False) == []


async def test_the_child_stays_the_same_through_a_tool_loop_and_is_chosen_anew_for_the_next_turn(
    llm, tool_method, call
):
    history = [ChatMessage("small question")]
    first = (await call(llm, tool_method, TOOLS, chat_history=history))[-1]
    tool = ChatMessage("6, and big it is", role=MessageRole.TOOL)
    history += [first.message, tool]
    second = (await call(llm, tool_method, TOOLS, chat_history=history))[-1]
    assert second.additional_kwargs["tryage"]["how"] == "kept for the turn"
    history += [second.message, ChatMessage("big question")]
    third = (await call(llm, tool_method, TOOLS, chat_history=history))[-1]
    served = [one.additional_kwargs["tryage"]["model"] for one in (first, second, third)]
    assert served == ["small", "small", "big"]


async def test_the_callers_history_is_not_changed(llm, tool_method, call):
    history = [ChatMessage("earlier"), ChatMessage("answer", role="assistant")]
    await call(llm, tool_method, TOOLS, user_msg="small question", chat_history=history)
    assert [message.content for message in history] == ["earlier", "answer"]


def test_arguments_reach_the_child_and_defaults_do_not(llm, small):
    llm.chat_with_tools(TOOLS, "small question", verbose=False, temperature=0.3)
    assert small.calls[0]["temperature"] == 0.3
    assert "verbose" not in small.calls[0]


def test_predict_and_call_routes_once_and_calls_the_tool(llm, perception):
    answer = llm.predict_and_call(TOOLS, user_msg="big question")
    assert (str(answer), len(perception.asked)) == ("6", 1)


async def test_a_tryagellm_as_a_child_decodes_its_tool_calls(llm, router, call, tool_method):
    outer = TryageLLM(llms={"small": llm, "big": llm}, router=router)
    last = (await call(outer, tool_method, TOOLS, user_msg="small question"))[-1]
    assert outer.get_tool_calls_from_response(last)[0].tool_name == "double"


def test_only_children_prepare_tools(llm):
    with pytest.raises(NotImplementedError, match="chat_with_tools"):
        llm._prepare_chat_with_tools(TOOLS)
