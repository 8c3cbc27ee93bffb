"""The eight methods of an LLM: the choice happens inside, where LlamaIndex's events belong to it.

TryageLLM alone reports to callbacks, so that every answer is counted once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import ChainMap
from typing import TYPE_CHECKING, Any, TypeVar

from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import BaseModel, PrivateAttr

from tryage.chat.clients import Pace
from tryage_llamaindex import _fallback as asking
from tryage_llamaindex._call import (
    Offer,
    Wanted,
    Wrapped,
    calls_tools,
    chat_call,
    completion_call,
    offering,
    structured_call,
)
from tryage_llamaindex._fallback import untagged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence

    from llama_index.core.llms import (
        ChatMessage,
        ChatResponse,
        ChatResponseAsyncGen,
        ChatResponseGen,
        CompletionResponse,
        CompletionResponseAsyncGen,
        CompletionResponseGen,
    )
    from llama_index.core.llms.llm import ToolSelection
    from llama_index.core.prompts import BasePromptTemplate
    from llama_index.core.tools import BaseTool

    from tryage.chat.router import Plan
    from tryage_llamaindex._call import Call
    from tryage_llamaindex._fallback import Desk

M = TypeVar("M", bound=BaseModel)


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


class Predicting(Answering):
    """Adds what takes tools, and what returns models of pydantic."""

    # Tools: offered in the format of whoever is chosen, among those that can call them -----

    def chat_with_tools(self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any) -> ChatResponse:
        """Offer tools to the chosen LLM."""
        messages, shown = offering(Offer.of(tools, *args, **kwargs))
        response: ChatResponse = self.chat(messages, **shown)
        return response

    async def achat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> ChatResponse:
        """Do what `chat_with_tools` does."""
        messages, shown = offering(Offer.of(tools, *args, **kwargs))
        response: ChatResponse = await self.achat(messages, **shown)
        return response

    def stream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> ChatResponseGen:
        """Stream what `chat_with_tools` returns."""
        messages, shown = offering(Offer.of(tools, *args, **kwargs))
        responses: ChatResponseGen = self.stream_chat(messages, **shown)
        return responses

    async def astream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Do what `stream_chat_with_tools` does."""
        messages, shown = offering(Offer.of(tools, *args, **kwargs))
        responses: ChatResponseAsyncGen = await self.astream_chat(messages, **shown)
        return responses

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **_: Any
    ) -> list[ToolSelection]:
        """Return the tool calls, decoded by the child that made them.

        Raises:
            ValueError: there are none, and `error_on_no_tool_call` is set.
        """
        name, own = untagged(response)
        children = self._desk.children
        child = children.get_model(name) if name is not None and name in children else None
        if isinstance(child, FunctionCallingLLM) and calls_tools(child):
            found: list[ToolSelection] = child.get_tool_calls_from_response(
                own, error_on_no_tool_call=error_on_no_tool_call
            )
            return found
        if error_on_no_tool_call:
            raise ValueError("Expected at least one tool call, but got 0 tool calls.")
        return []

    def _prepare_chat_with_tools(self, *_: Any, **__: Any) -> dict[str, Any]:
        raise NotImplementedError("Each LLM prepares its own tools; call chat_with_tools().")

    # Structured answers --------------------------------------------------------------------

    def structured_predict(
        self,
        output_cls: type[M],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> M:
        """Return a model of pydantic, as the chosen LLM predicts one."""
        wanted = Wanted(output_cls, prompt, llm_kwargs, prompt_args)
        model: M = self._answer(self._structured("structured_predict", wanted))
        return model

    async def astructured_predict(
        self,
        output_cls: type[M],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> M:
        """Do what `structured_predict` does."""
        wanted = Wanted(output_cls, prompt, llm_kwargs, prompt_args)
        model: M = await self._aanswer(self._structured("astructured_predict", wanted))
        return model

    def stream_structured_predict(
        self,
        output_cls: type[M],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        """Stream ever more complete models, as the chosen LLM predicts them."""
        wanted = Wanted(output_cls, prompt, llm_kwargs, prompt_args)
        return self._stream(self._structured("stream_structured_predict", wanted))

    async def astream_structured_predict(
        self,
        output_cls: type[M],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        """Do what `stream_structured_predict` does."""
        wanted = Wanted(output_cls, prompt, llm_kwargs, prompt_args)
        return await self._astream(self._structured("astream_structured_predict", wanted))

    def _structured(self, method: str, wanted: Wanted) -> Call:
        messages = self._get_messages(wanted.prompt, **wanted.prompt_args)
        return structured_call(method, wanted, messages)
