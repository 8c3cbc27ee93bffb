"""Agents of LlamaIndex keep one child through a turn and route every turn anew."""

from __future__ import annotations

import pytest
from llama_index.core.agent.workflow import CodeActAgent, FunctionAgent, ReActAgent
from llama_index.core.memory import Memory
from llama_index.core.workflow import Context

from tryage_llamaindex import TryageLLM

USES_TOOL = 'Thought: I need a tool.\nAction: double\nAction Input: {"n": 3}'
ANSWERS = "Thought: I can answer without using any more tools.\nAnswer: Six, says {name}."
WRITES_CODE = "Let me see.\n<execute>\nprint(double(3))\n</execute>"


def double(n: int) -> int:
    """Double a number."""
    return 2 * n


def served_models(observer):
    return [event.model for event in observer.of("RoutingDecisionEvent")]


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_function_agent_stays_with_one_child_through_its_tools(llm, observer, streaming):
    agent = FunctionAgent(tools=[double], llm=llm, streaming=streaming)
    for name in ("small", "big"):
        answer = await agent.run(f"{name} question")
        assert str(answer) == f"Hello from scripted-{name} today"
        assert answer.tool_calls[0].tool_output.raw_output == 6
    assert served_models(observer) == ["small", "small", "big", "big"]


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_react_agent_stays_with_one_child_through_its_observations(
    llm, observer, perception, small, big, streaming
):
    agent = ReActAgent(tools=[double], llm=llm, streaming=streaming)
    for name, child in (("small", small), ("big", big)):
        child.replies = [USES_TOOL, ANSWERS.format(name=name)]
        assert str(await agent.run(f"{name} question")) == f"Six, says {name}."
        assert "Observation: 6" in child.calls[-1]["messages"][-1].content
    assert served_models(observer) == ["small", "small", "big", "big"]
    assert perception.asked == ["small question", "big question"]


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_code_act_agent_stays_with_one_child_through_its_results(
    llm, observer, big, streaming
):
    big.replies = [WRITES_CODE, "Six."]

    async def execute(code):
        return "6" if "double(3)" in code else "?"

    agent = CodeActAgent(code_execute_fn=execute, tools=[double], llm=llm, streaming=streaming)
    assert str(await agent.run("big question")) == "Six."
    assert "Result of executing" in big.calls[-1]["messages"][-1].content
    assert served_models(observer) == ["big", "big"]


async def test_an_agent_with_memory_is_routed_anew_in_each_turn(llm, observer):
    agent, memory = FunctionAgent(tools=[double], llm=llm), Memory.from_defaults(session_id="one")
    context = Context(agent)
    for name in ("small", "big", "small"):
        await agent.run(f"{name} question", ctx=context, memory=memory)
    assert served_models(observer) == ["small", "small", "big", "big", "small", "small"]
    assert len(await memory.aget()) >= 6


async def test_a_sticky_conversation_keeps_its_child_in_every_turn(router, small, big, observer):
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, sticky="thread")
    agent, memory = FunctionAgent(tools=[double], llm=llm), Memory.from_defaults(session_id="two")
    for name in ("small", "big"):
        await agent.run(f"{name} question", memory=memory)
    assert set(served_models(observer)) == {"small"}


async def test_an_agent_continues_when_its_child_fails_within_the_loop(llm, small, observer):
    small.fails = [None, ConnectionError("down")]
    answer = await FunctionAgent(tools=[double], llm=llm).run("small question")
    assert str(answer) == "Hello from scripted-big today"
    assert served_models(observer) == ["small", "small", "big"]
