"""The tokens of answers: in a message, in the chunks of a stream, or seen by a callback only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult

from tryage.chat.streams import PeekedStream
from tryage.core.usage import NO_TOKENS, TokenUsage, add_usages, read_usage

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

# Where chat models without `usage_metadata` keep what their provider reports.
_REPORT_KEYS = ("token_usage", "usage")


def usage_of(answer: Any) -> TokenUsage | None:
    """Return the tokens of an answer, None if nothing says them.

    The answer is a message, a `ChatResult`, structured output with its raw message, the event that
    ends a message, or a stream that has ended already.
    """
    if isinstance(answer, PeekedStream):
        return add_usages([usage for usage in map(usage_of, answer.first_chunks) if usage])
    if isinstance(answer, ChatResult):
        answer = answer.generations[0].message if answer.generations else None
    if isinstance(answer, Mapping):
        if answer.get("event") == "message-finish":  # of protocol v3
            return read_usage(answer.get("usage"))
        answer = answer.get("raw")
    return _usage_of_message(answer) if isinstance(answer, AIMessage) else None


def _usage_of_message(message: AIMessage) -> TokenUsage | None:
    metadata = cast("Mapping[str, Any] | None", message.usage_metadata)
    if metadata:
        # So LangChain marks the answers of its own cache.
        return NO_TOKENS if metadata.get("total_cost") == 0 else read_usage(metadata)
    return _usage_of_report(message.response_metadata)


def _usage_of_report(metadata: Mapping[str, Any]) -> TokenUsage | None:
    reports = (read_usage(metadata[key]) for key in _REPORT_KEYS if metadata.get(key))
    return next((usage for usage in reports if usage is not None), None)


class UsageCallback(BaseCallbackHandler):
    """Adds up the tokens of all answers that models give in a run."""

    run_inline = True  # an async run must not continue before its tokens are counted

    def __init__(self) -> None:
        self._usages: list[TokenUsage | None] = []

    @property
    def has_answered(self) -> bool:
        """Whether any model has given an answer."""
        return bool(self._usages)

    @property
    def usage(self) -> TokenUsage | None:
        """The tokens of all answers, None if there is none, or one does not say its tokens."""
        return add_usages(self._usages)

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """Note the tokens of an answer."""
        generation = next((one for some in response.generations for one in some), None)
        if isinstance(generation, ChatGeneration):
            self._usages.append(usage_of(generation.message))
        else:
            self._usages.append(_usage_of_report(response.llm_output or {}))


class UsageMeter:
    """Reads the tokens of the answers to one call, of the model that was asked last.

    Where an answer does not show its tokens, such as structured output, a callback sees them.
    """

    def __init__(self) -> None:
        self._callback: UsageCallback | None = None
        self._callbacks: dict[str, UsageCallback] = {}

    def observe(self, config: RunnableConfig, name: str) -> RunnableConfig:
        """Return the config of a model's run with a callback that counts its tokens."""
        self._callback = self._callbacks[name] = UsageCallback()
        return {
            **config,
            "callbacks": _with_handler(config.get("callbacks"), self._callbacks[name]),
        }

    def select(self, name: str) -> None:
        """Read the tokens of this model next, where two were asked at the same time."""
        self._callback = self._callbacks.get(name)

    def read(self, answer: Any) -> TokenUsage | None:
        """Return the tokens of the answer of the model that was asked last, or was selected."""
        return usage_of(answer) if self._callback is None else self._callback.usage


def _with_handler(callbacks: Any, handler: BaseCallbackHandler) -> Any:
    """Return callbacks with one more, which sees all runs inside."""
    if not isinstance(callbacks, BaseCallbackManager):
        return [*(callbacks or []), handler]
    manager = callbacks.copy()
    manager.add_handler(handler)
    return manager
