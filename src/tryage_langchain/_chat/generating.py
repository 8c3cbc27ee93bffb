"""ChatTryage for callers of `generate()` and of event protocol v3, which begin a run of their own.

With them the first chosen model answers or fails: there is no run inside which another could.
"""

# ruff: noqa: A002, ANN401 - LangChain calls the argument `input` and lets it be of any type.
# ruff: noqa: SLF001 - `_generate` and its kin are what a chat model is made of.

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import ensure_config

from tryage_langchain._chat import asking
from tryage_langchain._chat.batching import Batching
from tryage_langchain._chat.binding import plain
from tryage_langchain._chat.chatting import child_config, forwarded
from tryage_langchain._chat.stamping import stamped

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult
    from langchain_core.runnables import RunnableConfig

    from tryage_langchain._chat.children import Child


class Generating(Batching):
    """Adds `_generate` and the third version of events."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        child, record, asked, passed = self._chosen(messages, stop, kwargs)
        return _all_stamped(child._generate(asked, run_manager=run_manager, **passed), record)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        choose = partial(self._chosen, messages, stop, kwargs)
        child, record, asked, passed = await self._pace.run(choose)
        result = await child._agenerate(asked, run_manager=run_manager, **passed)
        return _all_stamped(result, record)

    def stream_events(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        version: str = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Stream events; of version 3 they are those of the chosen model's own stream."""
        if version != "v3":
            older: Any = super().stream_events
            return older(input, config, version=version, stop=stop, **kwargs)
        child, asked, own, passed = self._opened(input, config, stop, kwargs)
        return child.stream_events(asked, own, version="v3", **passed)

    def astream_events(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        version: str = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Do what `stream_events` does."""
        if version != "v3":
            older: Any = super().astream_events
            return older(input, config, version=version, stop=stop, **kwargs)
        child, asked, own, passed = self._opened(input, config, stop, kwargs)
        return child.astream_events(asked, own, version="v3", **passed)

    def _opened(
        self, input: Any, config: RunnableConfig | None, stop: Any, kwargs: dict[str, Any]
    ) -> tuple[Child, list[BaseMessage], RunnableConfig, dict[str, Any]]:
        """Return the first model that can be had, and what it is called with."""
        config, desk = ensure_config(self._own(config)), self._desk
        call, plan = self._planned(desk, input, config, self._passed(stop, kwargs))
        attempts = desk.attempts(plan)
        for name in attempts:
            child = asking.bound_child(desk, call, attempts, name)
            if child is not None:
                desk.chat.served(plan, name)
                own = child_config(config, name, attempts.record(name))
                return child, forwarded(call, plan), own, call.kwargs
        raise AssertionError  # the attempts end with a model or an error

    def _chosen(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[BaseChatModel, dict[str, Any], list[BaseMessage], dict[str, Any]]:
        """Return the chosen chat model, the record, the messages and the arguments it gets."""
        passed, desk = self._passed(stop, kwargs), self._desk
        call, plan = self._planned(desk, messages, ensure_config(), passed)
        name = next(iter(plan.order()))
        child, bound = plain(call.bound.replay(desk.child(name)))
        desk.chat.served(plan, name)
        return child, plan.record(name), forwarded(call, plan), {**bound, **call.kwargs}


def _all_stamped(result: ChatResult, record: dict[str, Any]) -> ChatResult:
    for generation in result.generations:
        generation.message = stamped(generation.message, record)
    return result
