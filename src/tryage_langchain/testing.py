"""A fake chat model that answers by rule, to try ChatTryage without a provider."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from langchain_core.runnables import Runnable

USAGE = UsageMetadata(input_tokens=10, output_tokens=5, total_tokens=15)


class ScriptedChatModel(BaseChatModel):
    """Answers with its name; with tools, first calls the one that is forced, or the first.

    Every answer counts 10 input and 5 output tokens. `calls` holds the arguments of every call.
    """

    model: str = "scripted"
    temperature: float | None = None
    max_tokens: int | None = None
    streaming: bool = False

    fails: list[Exception | None] = Field(default_factory=list)
    """The error of each call to come; None for a call that succeeds."""

    breaks_after: int | None = None
    """How many chunks a stream yields before the connection is lost."""

    names_itself: bool = True
    """Whether answers hold the name of the model."""

    calls: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "temperature": self.temperature}

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[Any, AIMessage]:
        """Bind tools in OpenAI's format."""
        tool_schemas = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=tool_schemas, tool_choice=tool_choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,  # noqa: ARG002 - the base class reports the answer
        **kwargs: Any,
    ) -> ChatResult:
        self._record_call(messages, stop, kwargs)
        text, tool_calls = self._reply(messages, kwargs)
        message = AIMessage(
            text,
            tool_calls=tool_calls,
            response_metadata=self._response_metadata(kwargs),
            usage_metadata=USAGE,
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, run_manager, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        self._record_call(messages, stop, kwargs)
        for count, message in enumerate(self._chunks(messages, kwargs)):
            if count == self.breaks_after:
                raise ConnectionError(f"{self.model} broke off")
            chunk = ChatGenerationChunk(message=message)
            if run_manager is not None:  # called by generate(); stream() reports its chunks itself
                run_manager.on_llm_new_token(message.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages, stop, None, **kwargs):
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _record_call(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> None:
        self.calls.append({"messages": messages, "stop": stop, **kwargs})
        error = self.fails.pop(0) if self.fails else None
        if error is not None:
            raise error

    def _response_metadata(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        model_name = {"model_name": kwargs.get("model") or self.model} if self.names_itself else {}
        return {**model_name, "finish_reason": "stop"}

    def _reply(
        self, messages: list[BaseMessage], kwargs: dict[str, Any]
    ) -> tuple[str, list[dict[str, Any]]]:
        tools, choice = kwargs.get("tools"), kwargs.get("tool_choice")
        if not tools or isinstance(messages[-1], ToolMessage):
            return f"Hello from {self.model} today", []
        matching_tools = [tool for tool in tools if tool["function"]["name"] == choice] or tools
        function = matching_tools[0]["function"]
        schema = function.get("parameters", {})
        arguments = {
            name: _example_value(schema["properties"][name]) for name in schema.get("required", [])
        }
        call = {"name": function["name"], "args": arguments, "type": "tool_call"}
        return "", [{**call, "id": f"call_{uuid.uuid4().hex[:8]}"}]

    def _chunks(
        self, messages: list[BaseMessage], kwargs: dict[str, Any]
    ) -> Iterator[AIMessageChunk]:
        text, tool_calls = self._reply(messages, kwargs)
        yield AIMessageChunk(content="")  # OpenAI sends the role first, in a chunk of its own
        for call in tool_calls:
            start = tool_call_chunk(name=call["name"], args="", id=call["id"], index=0)
            yield AIMessageChunk(content="", tool_call_chunks=[start])
            for part in re.findall(".{1,4}", json.dumps(call["args"])):
                yield AIMessageChunk(
                    content="", tool_call_chunks=[tool_call_chunk(args=part, index=0)]
                )
        for word in re.findall(r"\S+\s*", text):
            yield AIMessageChunk(content=word)
        yield AIMessageChunk(
            content="",
            response_metadata=self._response_metadata(kwargs),
            usage_metadata=USAGE,
            chunk_position="last",
        )


def _example_value(schema: dict[str, Any]) -> Any:
    return 3 if schema.get("type") == "integer" else "你好 客户 こんにちは"
