"""Tools and structured answers, each in the chosen child's own way."""

# ruff: noqa: ANN401 - LlamaIndex's keyword arguments are of any type.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import BaseModel

from tryage_llamaindex._answering import Answering
from tryage_llamaindex._calls import Offer, Wanted, calls_tools, offering, structured_call
from tryage_llamaindex._events import untagged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence

    from llama_index.core.llms import ChatResponse, ChatResponseAsyncGen, ChatResponseGen
    from llama_index.core.llms.llm import ToolSelection
    from llama_index.core.prompts import BasePromptTemplate
    from llama_index.core.tools import BaseTool

    from tryage_llamaindex._calls import Call

M = TypeVar("M", bound=BaseModel)


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
