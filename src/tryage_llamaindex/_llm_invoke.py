"""The methods of an LLM, each sync and async: every call is routed, then made on a child.

The choice happens inside the methods that LlamaIndex observes, so its events belong to their call.
Only TryageLLM reports a chat or a completion to the callbacks, and its children do not, so every
answer is counted once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import ChainMap
from typing import TYPE_CHECKING, Any, TypeVar

from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import BaseModel, PrivateAttr

from tryage.chat.batching import BatchingExecutor
from tryage.errors import TryageError
from tryage.telemetry.observer import trace, tracing_failures
from tryage_llamaindex._call import (
    MessagesWithContext,
    StructuredPredictArguments,
    ToolChatArguments,
    chat_call,
    completion_call,
    structured_call,
    supports_tools,
    tool_chat_input,
)
from tryage_llamaindex._call_routing import order_by_cost, template_step
from tryage_llamaindex._fallback import (
    acall_with_fallback,
    astream_with_fallback,
    call_with_fallback,
    stream_with_fallback,
    strip_annotation,
)

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

    from tryage.chat.plan import RoutingPlan
    from tryage_llamaindex._call import LLMCall
    from tryage_llamaindex._fallback import LLMSession

M = TypeVar("M", bound=BaseModel)


class RoutedLLM(FunctionCallingLLM):
    """An LLM that plans each call and makes it on one of its children: the base of the mixins."""

    _executor: BatchingExecutor[tuple[RoutedLLM, LLMCall], tuple[LLMSession, RoutingPlan]] = (
        PrivateAttr(default_factory=lambda: BatchingExecutor(_plan_calls))
    )

    @property
    @abstractmethod
    def _session(self) -> LLMSession:
        """The router of conversations and the LLMs that answer."""

    @abstractmethod
    def _prepare_call(self, call: LLMCall) -> LLMCall:
        """Return the call with what the code around it asks of routing."""

    def _run_call(self, call: LLMCall) -> Any:
        session, call = self._session, self._prepare_call(call)
        return call_with_fallback(session, call, _plan(session, call))

    async def _arun_call(self, call: LLMCall) -> Any:
        call = self._prepare_call(call)
        session, plan = await self._plan_call(call)
        return await acall_with_fallback(session, call, plan)

    def _stream_call(self, call: LLMCall) -> Generator[Any, None, None]:
        session, call = self._session, self._prepare_call(call)
        return stream_with_fallback(session, call, _plan(session, call))

    async def _astream_call(self, call: LLMCall) -> AsyncGenerator[Any, None]:
        call = self._prepare_call(call)
        session, plan = await self._plan_call(call)
        return await astream_with_fallback(session, call, plan)

    async def _plan_call(self, call: LLMCall) -> tuple[LLMSession, RoutingPlan]:
        """Choose together with the calls of other tasks, in a thread if that takes long."""
        size = sum(len(turn.text) for turn in call.conversation.turns)
        with tracing_failures():
            return await self._executor.run((self, call), size)

    def _get_messages(self, prompt: BasePromptTemplate, **prompt_args: Any) -> MessagesWithContext:
        """Fill a template, and keep the query that it is filled with.

        The query travels with the messages, so threads and tasks cannot mix up their queries.
        """
        query = ChainMap(prompt_args, prompt.kwargs).get("query_str")
        return MessagesWithContext(
            super()._get_messages(prompt, **prompt_args),
            query=query if isinstance(query, str) else None,
            from_template=self.system_prompt is None,
            step=template_step(prompt, prompt_args),
            output_parser=prompt.output_parser,
        )


def _plan_calls(
    calls: Sequence[tuple[RoutedLLM, LLMCall]],
) -> list[tuple[LLMSession, RoutingPlan] | TryageError]:
    """Choose for calls, in one encoder pass for all that the same router decides about."""
    sessions = [llm._session for llm, _ in calls]  # noqa: SLF001 - our own class
    rows_by_router: dict[int, list[int]] = {}
    for row, session in enumerate(sessions):
        rows_by_router.setdefault(id(session.chat_router), []).append(row)
    outcomes: dict[int, tuple[LLMSession, RoutingPlan] | TryageError] = {}
    for rows in rows_by_router.values():
        session = sessions[rows[0]]
        plans = session.plan_batch([calls[row][1] for row in rows])
        for row, plan in zip(rows, plans, strict=True):
            outcomes[row] = (
                plan
                if isinstance(plan, TryageError)
                else (sessions[row], _order_plan(sessions[row], calls[row][1], plan))
            )
    return [outcomes[row] for row in range(len(calls))]


def _plan(session: LLMSession, call: LLMCall) -> RoutingPlan:
    """Choose for one call."""
    with tracing_failures():
        return _order_plan(session, call, session.plan(call))


def _order_plan(session: LLMSession, call: LLMCall, plan: RoutingPlan) -> RoutingPlan:
    if not call.cheapest_first:
        return plan
    library = session.chat_router.router.library
    return order_by_cost(plan, library, call.conversation.tokens())


class LLMChatMixin(RoutedLLM):
    """The methods that chat and complete, and those that say who would."""

    def route(self, prompt: str | Sequence[ChatMessage], **kwargs: Any) -> RoutingPlan:
        """Return what would be asked about a prompt or messages, and why; no LLM is asked.

        The other arguments are those of `complete` or `chat`. The plan's `first` is the LLM that
        would answer, `order()` the others after it, and `decision` the router's whole decision.

        Raises:
            InputError, FlagError, NoExpertError, PerceptionError: as in `Router.route`.
            LibraryError: the call names an unknown LLM.
        """
        if isinstance(prompt, str):
            call = completion_call("complete", prompt, False, kwargs)
        else:
            call = chat_call("chat", prompt, kwargs)
        plan = _plan(self._session, self._prepare_call(call))
        trace([] if plan.turn_choice is not None else [plan.decision])
        return plan

    def explain(self, prompt: str | Sequence[ChatMessage], **kwargs: Any) -> str:
        """Return in words what would be asked about a prompt or messages; no LLM is asked.

        Raises:
            TryageError: as in `route`.
        """
        plan = self.route(prompt, **kwargs)
        return f"{plan.first} would answer: {plan.reason}.\n{plan.decision.explain()}"

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Return the answer of the chosen LLM."""
        response: ChatResponse = self._run_call(chat_call("chat", messages, kwargs))
        return response

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Async version of `chat`."""
        response: ChatResponse = await self._arun_call(chat_call("achat", messages, kwargs))
        return response

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Stream the answer of the chosen LLM; it is chosen now, not when the stream is read."""
        return self._stream_call(chat_call("stream_chat", messages, kwargs))

    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Async version of `stream_chat`."""
        return await self._astream_call(chat_call("astream_chat", messages, kwargs))

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Return the completion of the chosen LLM."""
        call = completion_call("complete", prompt, formatted, kwargs)
        response: CompletionResponse = self._run_call(call)
        return response

    @llm_completion_callback()
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """Async version of `complete`."""
        call = completion_call("acomplete", prompt, formatted, kwargs)
        response: CompletionResponse = await self._arun_call(call)
        return response

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """Stream the completion of the chosen LLM; it is chosen now."""
        return self._stream_call(completion_call("stream_complete", prompt, formatted, kwargs))

    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """Async version of `stream_complete`."""
        return await self._astream_call(
            completion_call("astream_complete", prompt, formatted, kwargs)
        )


class ToolChatMixin(RoutedLLM):
    """The methods that chat with tools, in the chosen LLM's own format of tools."""

    def chat_with_tools(self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any) -> ChatResponse:
        """Return the answer of the chosen LLM, which may call tools."""
        messages, schema_kwargs = tool_chat_input(
            ToolChatArguments.from_arguments(tools, *args, **kwargs)
        )
        response: ChatResponse = self.chat(messages, **schema_kwargs)
        return response

    async def achat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> ChatResponse:
        """Async version of `chat_with_tools`."""
        messages, schema_kwargs = tool_chat_input(
            ToolChatArguments.from_arguments(tools, *args, **kwargs)
        )
        response: ChatResponse = await self.achat(messages, **schema_kwargs)
        return response

    def stream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> ChatResponseGen:
        """Stream what `chat_with_tools` returns."""
        messages, schema_kwargs = tool_chat_input(
            ToolChatArguments.from_arguments(tools, *args, **kwargs)
        )
        responses: ChatResponseGen = self.stream_chat(messages, **schema_kwargs)
        return responses

    async def astream_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Async version of `stream_chat_with_tools`."""
        messages, schema_kwargs = tool_chat_input(
            ToolChatArguments.from_arguments(tools, *args, **kwargs)
        )
        responses: ChatResponseAsyncGen = await self.astream_chat(messages, **schema_kwargs)
        return responses

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **_: Any
    ) -> list[ToolSelection]:
        """Return the tool calls, decoded by the child that made them.

        Raises:
            ValueError: there are none, and `error_on_no_tool_call` is set.
        """
        name, own_response = strip_annotation(response)
        clients = self._session.clients
        child = clients.get_client(name) if name is not None and name in clients else None
        if isinstance(child, FunctionCallingLLM) and supports_tools(child):
            selections: list[ToolSelection] = child.get_tool_calls_from_response(
                own_response, error_on_no_tool_call=error_on_no_tool_call
            )
            return selections
        if error_on_no_tool_call:
            raise ValueError("Expected at least one tool call, but got 0 tool calls.")
        return []

    def _prepare_chat_with_tools(self, *_: Any, **__: Any) -> dict[str, Any]:
        raise NotImplementedError("Each LLM prepares its own tools; call chat_with_tools().")


class StructuredPredictMixin(RoutedLLM):
    """The methods that predict models of pydantic, as the chosen LLM does it."""

    def structured_predict(
        self,
        output_cls: type[M],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> M:
        """Return a model of pydantic, as the chosen LLM predicts it."""
        arguments = StructuredPredictArguments(output_cls, prompt, llm_kwargs, prompt_args)
        model: M = self._run_call(self._structured_call("structured_predict", arguments))
        return model

    async def astructured_predict(
        self,
        output_cls: type[M],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> M:
        """Async version of `structured_predict`."""
        arguments = StructuredPredictArguments(output_cls, prompt, llm_kwargs, prompt_args)
        model: M = await self._arun_call(self._structured_call("astructured_predict", arguments))
        return model

    def stream_structured_predict(
        self,
        output_cls: type[M],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Any, None, None]:
        """Stream models that become more and more complete, as the chosen LLM predicts them."""
        arguments = StructuredPredictArguments(output_cls, prompt, llm_kwargs, prompt_args)
        return self._stream_call(self._structured_call("stream_structured_predict", arguments))

    async def astream_structured_predict(
        self,
        output_cls: type[M],
        prompt: BasePromptTemplate,
        llm_kwargs: Mapping[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Any, None]:
        """Async version of `stream_structured_predict`."""
        arguments = StructuredPredictArguments(output_cls, prompt, llm_kwargs, prompt_args)
        return await self._astream_call(
            self._structured_call("astream_structured_predict", arguments)
        )

    def _structured_call(self, method: str, arguments: StructuredPredictArguments) -> LLMCall:
        messages = self._get_messages(arguments.prompt, **arguments.prompt_args)
        return structured_call(method, arguments, messages)
