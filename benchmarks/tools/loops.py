"""Agent loops of both frameworks around one model, which count its tool calls and its tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import FunctionTool

from tryage.tools import Tool
from tryage_langchain import TryageToolSelectorMiddleware
from tryage_llamaindex import TryageToolRetriever

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tryage.tools import ToolRanker

    Count = Callable[[str], int]


class Model(Protocol):
    """Chooses among the tools in its prompt."""

    def choose(self, query: str, tools: Sequence[Tool], k: int) -> list[str]:
        """Return the names of the tools to call, at most `k`."""


@dataclass
class AgentRun:
    """The tools that an agent called in one run, and the tokens that its model read."""

    called: list[str]
    tokens: int


class Caller:
    """A model in an agent: it first calls the tools that it chooses, then it answers."""

    def __init__(self, model: Model, count: Count, max_calls: int) -> None:
        self.model, self.count, self.max_calls = model, count, max_calls
        self.tokens = 0

    def calls(self, schemas: Sequence[dict[str, Any]], texts: Sequence[str]) -> list[str]:
        """Read the messages; return the tools to call, none after a tool has answered."""
        self.tokens += self.count(json.dumps(schemas)) + sum(map(self.count, texts))
        if len(texts) > 1:
            return []
        return self.model.choose(texts[0], list(map(Tool.from_schema, schemas)), self.max_calls)


class LangChainLoop:
    """LangChain's agent, with every tool or with those that the ranker selects."""

    def __init__(self, tools: Sequence[Tool], caller: Caller, ranker: ToolRanker | None) -> None:
        self.caller = caller
        chain = [TryageToolSelectorMiddleware(ranker)] if ranker else []
        functions = [
            StructuredTool.from_function(
                make_function(tool.name), name=tool.name, description=_description(tool)
            )
            for tool in tools
        ]
        self.agent = create_agent(_ChatModel(caller=caller), functions, middleware=chain)

    async def __call__(self, query: str) -> AgentRun:
        """Run one turn."""
        self.caller.tokens = 0
        state = await self.agent.ainvoke({"messages": [HumanMessage(query)]})
        called = [one.name for one in state["messages"] if isinstance(one, ToolMessage)]
        return AgentRun(called, self.caller.tokens)


class LlamaIndexLoop:
    """LlamaIndex's function agent, with every tool or with those that the ranker selects."""

    def __init__(self, tools: Sequence[Tool], caller: Caller, ranker: ToolRanker | None) -> None:
        self.caller = caller
        functions = [
            FunctionTool.from_defaults(
                make_function(tool.name), name=tool.name, description=_description(tool)
            )
            for tool in tools
        ]
        options = (
            {"tool_retriever": TryageToolRetriever(functions, ranker)}
            if ranker
            else {"tools": functions}
        )
        model = MockFunctionCallingLLM(response_generator=self._reply)
        self.agent = FunctionAgent(llm=model, streaming=False, **options)

    async def __call__(self, query: str) -> AgentRun:
        """Run one turn."""
        self.caller.tokens = 0
        answer = await self.agent.run(query)
        return AgentRun([call.tool_name for call in answer.tool_calls], self.caller.tokens)

    def _reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[FunctionTool] = (), **_: object
    ) -> ChatMessage:
        schemas = [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools]
        texts = [message.content or "" for message in messages if message.role in ("user", "tool")]
        names = self.caller.calls(schemas, texts)
        blocks = [
            ToolCallBlock(tool_call_id=str(i), tool_name=name, tool_kwargs={"request": ""})
            for i, name in enumerate(names)
        ]
        return ChatMessage(role="assistant", blocks=blocks) if blocks else _DONE


_DONE = ChatMessage(role="assistant", content="Done.")


class _ChatModel(BaseChatModel):
    """The model as a chat model of LangChain."""

    caller: Any

    @property
    def _llm_type(self) -> str:
        return "caller"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:  # noqa: ANN401 - LangChain's signature
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[Any],
        stop: object = None,  # noqa: ARG002 - LangChain's signature
        run_manager: object = None,  # noqa: ARG002 - LangChain's signature
        **kwargs: Any,  # noqa: ANN401 - LangChain's signature
    ) -> ChatResult:
        texts = [str(message.text) for message in messages if message.type in ("human", "tool")]
        names = self.caller.calls(kwargs.get("tools", []), texts)
        calls = [{"name": n, "args": {"request": ""}, "id": str(i)} for i, n in enumerate(names)]
        message = AIMessage("" if calls else "Done.", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])


def make_function(name: str) -> Callable[[str], str]:
    """Return the function of a tool."""

    def use(request: str) -> str:
        return f"{name} served {request}"

    return use


def _description(tool: Tool) -> str:
    return tool.description or tool.name


LOOPS = {"LangChain": LangChainLoop, "LlamaIndex": LlamaIndexLoop}
