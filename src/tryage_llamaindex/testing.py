"""Fakes for your tests: an LLM that answers by rule, and embeddings that need no download."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.generic_utils import (
    achat_to_completion_decorator,
    astream_chat_to_completion_decorator,
    chat_to_completion_decorator,
    stream_chat_to_completion_decorator,
)
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import ChatMessage, ChatResponse, LLMMetadata, MessageRole
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from pydantic import Field, PrivateAttr

from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llama_index.core.llms import (
        ChatResponseAsyncGen,
        ChatResponseGen,
        CompletionResponse,
        CompletionResponseAsyncGen,
        CompletionResponseGen,
    )
    from llama_index.core.tools import BaseTool

    from tryage.perception.encoder import Encoder

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class ScriptedLLM(FunctionCallingLLM):
    """Answers with its name; with tools, it first calls the first one.

    Every answer counts 10 tokens in and 5 tokens out. `calls` holds the arguments of every call.
    """

    model: str = "scripted"
    window: int = 8_000
    calls_tools: bool = True
    api_key: str | None = None

    replies: list[str] = Field(default_factory=list)
    """Its answers to the next calls; after these it answers with its name."""

    fails: list[Exception | None] = Field(default_factory=list, exclude=True)
    """An error for each of the next calls, None for a call that succeeds."""

    breaks_after: int | None = None
    """The number of chunks of a stream before the connection is lost; None never loses it."""

    calls: list[dict[str, Any]] = Field(default_factory=list, exclude=True)
    """The messages and arguments of each call."""

    closed_streams: int = 0
    """How many of its streams were closed, whether or not they were read to the end."""

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "ScriptedLLM"

    @property
    def heard(self) -> list[dict[str, Any]]:
        """The former name of `calls`."""
        return self.calls

    @property
    def closed(self) -> int:
        """The former name of `closed_streams`."""
        return self.closed_streams

    @property
    def metadata(self) -> LLMMetadata:
        """The sizes and abilities that LlamaIndex plans with."""
        return LLMMetadata(
            context_window=self.window,
            is_chat_model=True,
            is_function_calling_model=self.calls_tools,
            model_name=self.model,
        )

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer by rule."""
        return self._reply(messages, kwargs)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer by rule."""
        return self._reply(messages, kwargs)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer by rule, word by word."""

        def words() -> ChatResponseGen:
            yield from self._words(messages, kwargs)

        return words()

    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Answer by rule, word by word."""

        async def words() -> ChatResponseAsyncGen:
            for word in self._words(messages, kwargs):
                yield word

        return words()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ARG002 - the signature of an LLM
        """Answer by rule."""
        return chat_to_completion_decorator(self.chat)(prompt, **kwargs)

    @llm_completion_callback()
    async def acomplete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002 - the signature of an LLM
        **kwargs: Any,
    ) -> CompletionResponse:
        """Answer by rule."""
        return await achat_to_completion_decorator(self.achat)(prompt, **kwargs)

    @llm_completion_callback()
    def stream_complete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002 - the signature of an LLM
        **kwargs: Any,
    ) -> CompletionResponseGen:
        """Answer by rule, word by word."""
        return stream_chat_to_completion_decorator(self.stream_chat)(prompt, **kwargs)

    @llm_completion_callback()
    async def astream_complete(
        self,
        prompt: str,
        formatted: bool = False,  # noqa: ARG002 - the signature of an LLM
        **kwargs: Any,
    ) -> CompletionResponseAsyncGen:
        """Answer by rule, word by word."""
        return await astream_chat_to_completion_decorator(self.astream_chat)(prompt, **kwargs)

    def _prepare_chat_with_tools(  # noqa: PLR0913 - the signature of an LLM
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: ARG002 - the signature of an LLM
        allow_parallel_tool_calls: bool = False,  # noqa: ARG002 - the signature of an LLM
        tool_required: bool = False,  # noqa: ARG002 - the signature of an LLM
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = chat_history if chat_history is not None else []
        if user_msg is not None:  # in place, as some providers' packages do
            messages.append(ChatMessage(user_msg) if isinstance(user_msg, str) else user_msg)
        tool_schemas = [tool.metadata.to_openai_tool() for tool in tools]
        return {"messages": messages, "tools": tool_schemas, **kwargs}

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **_: Any
    ) -> list[ToolSelection]:
        """Return the tool calls, which this LLM writes as blocks."""
        blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if not blocks and error_on_no_tool_call:
            raise ValueError("Expected at least one tool call")
        return [
            ToolSelection(
                tool_id=str(block.tool_call_id),
                tool_name=block.tool_name,
                tool_kwargs=block.tool_kwargs if isinstance(block.tool_kwargs, dict) else {},
            )
            for block in blocks
        ]

    def _record_call(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> None:
        self.calls.append({"messages": list(messages), **kwargs})
        error = self.fails.pop(0) if self.fails else None
        if error is not None:
            raise error

    def _reply(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> ChatResponse:
        self._record_call(messages, kwargs)
        message = self._message(messages, kwargs)
        return ChatResponse(message=message, raw={"model": self.model, "usage": USAGE})

    def _message(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> ChatMessage:
        """Return the answer; subclasses may have another format for tool calls."""
        has_tool_result = messages[-1].role == MessageRole.TOOL
        if kwargs.get("tools") and not has_tool_result:
            function = kwargs["tools"][0]["function"]
            return self._tool_call(function["name"], _example_arguments(function))
        text = self.replies.pop(0) if self.replies else f"Hello from {self.model} today"
        return ChatMessage(text, role=MessageRole.ASSISTANT)

    def _tool_call(self, name: str, arguments: dict[str, Any]) -> ChatMessage:
        call = ToolCallBlock(
            tool_call_id=f"call_{uuid.uuid4().hex[:8]}", tool_name=name, tool_kwargs=arguments
        )
        # As OpenAI's LLM does: LlamaIndex reads streams of structured answers from the kwargs.
        kwargs = {"tool_calls": [call.model_dump()]}
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=[call], additional_kwargs=kwargs)

    def _words(
        self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]
    ) -> Iterator[ChatResponse]:
        response = self._reply(messages, kwargs)
        try:
            empty_message = ChatMessage("", role=MessageRole.ASSISTANT)
            yield ChatResponse(
                message=empty_message, delta=""
            )  # as OpenAI's LLM: the role comes first
            text = ""
            for count, word in enumerate(re.findall(r"\S+\s*", response.message.content or "")):
                if count == self.breaks_after:
                    raise ConnectionError(f"{self.model} broke off")
                text += word
                message = ChatMessage(text, role=MessageRole.ASSISTANT)
                yield ChatResponse(message=message, delta=word, raw=None)
            yield response.model_copy(update={"delta": ""})
        finally:
            self.closed_streams += 1


class BundledEmbedding(BaseEmbedding):
    """Embeddings of the bundled encoder of Tryage, without a download."""

    model_name: str = "tryage-bundled-encoder"
    _encoder: Encoder = PrivateAttr(
        default_factory=lambda: load_encoder(BUNDLED_FOLDER / "encoder")
    )

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self._encoder.encode(texts).tolist()
        return rows

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def _example_arguments(function: dict[str, Any]) -> dict[str, Any]:
    """Return a value for every required argument."""
    schema = function.get("parameters", {})
    return {name: _example_value(schema["properties"][name]) for name in schema.get("required", [])}


def _example_value(schema: dict[str, Any]) -> Any:
    return 3 if schema.get("type") in {"integer", "number"} else "你好 客户 こんにちは"
