"""The eight methods of an LLM: the choice happens inside, where LlamaIndex's events belong to it.

TryageLLM alone reports to callbacks, so that every answer is counted once.
"""

# ruff: noqa: ANN401 - LlamaIndex's keyword arguments are of any type.

from __future__ import annotations

from abc import abstractmethod
from collections import ChainMap
from typing import TYPE_CHECKING, Any

from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import PrivateAttr

from tryage.chat.pace import Pace
from tryage_llamaindex import _asking as asking
from tryage_llamaindex._calls import chat_call, completion_call
from tryage_llamaindex._messages import Wrapped

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from llama_index.core.llms import (
        ChatMessage,
        ChatResponse,
        ChatResponseAsyncGen,
        ChatResponseGen,
        CompletionResponse,
        CompletionResponseAsyncGen,
        CompletionResponseGen,
    )
    from llama_index.core.prompts import BasePromptTemplate

    from tryage.chat import Plan
    from tryage_llamaindex._calls import Call
    from tryage_llamaindex._desk import Desk


class Answering(FunctionCallingLLM):
    """An LLM whose answers are those of the children that its desk chooses."""

    _pace: Pace = PrivateAttr(default_factory=Pace)

    @property
    @abstractmethod
    def _desk(self) -> Desk:
        """What chooses and who answers."""

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Return the answer of the chosen LLM."""
        response: ChatResponse = self._answer(chat_call("chat", messages, kwargs))
        return response

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Do what `chat` does."""
        response: ChatResponse = await self._aanswer(chat_call("achat", messages, kwargs))
        return response

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Stream the answer of the chosen LLM; it is chosen now, not when the stream is read."""
        return self._stream(chat_call("stream_chat", messages, kwargs))

    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Do what `stream_chat` does."""
        return await self._astream(chat_call("astream_chat", messages, kwargs))

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Return the completion of the chosen LLM."""
        call = completion_call("complete", prompt, formatted, kwargs)
        response: CompletionResponse = self._answer(call)
        return response

    @llm_completion_callback()
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """Do what `complete` does."""
        call = completion_call("acomplete", prompt, formatted, kwargs)
        response: CompletionResponse = await self._aanswer(call)
        return response

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """Stream the completion of the chosen LLM; it is chosen now."""
        return self._stream(completion_call("stream_complete", prompt, formatted, kwargs))

    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """Do what `stream_complete` does."""
        return await self._astream(completion_call("astream_complete", prompt, formatted, kwargs))

    def _get_messages(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Wrapped:
        """Fill a template for `predict` and `stream`, and keep the query that it is filled with.

        It travels with the messages, so threads and tasks cannot mix their queries up.
        """
        query = ChainMap(prompt_args, prompt.kwargs).get("query_str")
        return Wrapped(
            super()._get_messages(prompt, **prompt_args),
            query=query if isinstance(query, str) else None,
            prompted=self.system_prompt is None,
        )

    # The drivers, sync beside async --------------------------------------------------------

    def _answer(self, call: Call) -> Any:
        desk = self._desk
        return asking.answer(desk, call, desk.plan(call))

    async def _aanswer(self, call: Call) -> Any:
        desk, plan = await self._planned(call)
        return await asking.aanswer(desk, call, plan)

    def _stream(self, call: Call) -> Generator[Any, None, None]:
        desk = self._desk
        return asking.stream(desk, call, desk.plan(call))

    async def _astream(self, call: Call) -> AsyncGenerator[Any, None]:
        desk, plan = await self._planned(call)
        return await asking.astream(desk, call, plan)

    async def _planned(self, call: Call) -> tuple[Desk, Plan]:
        """Choose beside the loop where choosing is slow, as it is when the router is read."""

        def plan() -> tuple[Desk, Plan]:
            desk = self._desk
            return desk, desk.plan(call)

        return await self._pace.run(plan)
