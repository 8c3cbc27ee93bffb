"""ChatTryage for callers of `generate()` and of event protocol v3, which is no chain's run.

`generate()` begins a run of its own, in which children answer as parts of it.
"""

# ruff: noqa: A002, ANN401 - LangChain calls the argument `input` and lets it be of any type.
# ruff: noqa: SLF001 - `_generate` and its kin are what a chat model is made of.

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.runnables.config import ensure_config

from tryage.chat.asking import Hands, adrive, asked, drive
from tryage_langchain._chat.asking import abound_child, bound_child
from tryage_langchain._chat.batching import Batching
from tryage_langchain._chat.binding import plain
from tryage_langchain._chat.chatting import forwarded
from tryage_langchain._chat.relaying import arelayed, relayed
from tryage_langchain._chat.stamping import stamped
from tryage_langchain._chat.telling import atell, tell

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import BaseChatModel
    from langchain_core.language_models.chat_model_stream import AsyncChatModelStream
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult
    from langchain_core.runnables import RunnableConfig

    Plain: TypeAlias = tuple[BaseChatModel, dict[str, Any]]


class Generating(Batching):
    """Adds `_generate` and the third version of events."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        desk, config = self._desk, ensure_config()
        call, plan = self._planned(desk, messages, config, self._passed(stop, kwargs))
        asked_of = forwarded(call, plan)

        def ask(child: Plain, _: Any) -> ChatResult:
            model, bound = child
            passed = {**bound, **call.kwargs}
            return model._generate(asked_of, run_manager=run_manager, **passed)

        def make(name: str) -> Plain:
            return plain(bound_child(desk, call, name))

        hands = Hands(make, partial(tell, config=config), ask)
        return _all_stamped(*drive(asked(desk, plan, hands)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        desk, config = self._desk, ensure_config()
        passed = self._passed(stop, kwargs)
        call, plan = await self._pace.run(partial(self._planned, desk, messages, config, passed))
        asked_of = forwarded(call, plan)

        async def ask(child: Plain, _: Any) -> ChatResult:
            model, bound = child
            passed = {**bound, **call.kwargs}
            return await model._agenerate(asked_of, run_manager=run_manager, **passed)

        async def make(name: str) -> Plain:
            return plain(await abound_child(desk, call, name))

        hands = Hands(make, partial(atell, config=config), ask)
        return _all_stamped(*await adrive(asked(desk, plan, hands)))

    def stream_events(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        version: str = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Stream events; of version 3 they are those of whoever answers."""
        if version != "v3":
            older: Any = super().stream_events
            return older(input, config, version=version, stop=stop, **kwargs)
        config, desk = ensure_config(self._own(config)), self._desk
        call, plan = self._planned(desk, input, config, self._passed(stop, kwargs))
        return relayed(desk, call, plan, config)

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
        return self._arelayed(input, config, self._passed(stop, kwargs))

    async def _arelayed(
        self, input: Any, config: RunnableConfig | None, passed: dict[str, Any]
    ) -> AsyncChatModelStream:
        config, desk = ensure_config(self._own(config)), self._desk
        call, plan = await self._pace.run(partial(self._planned, desk, input, config, passed))
        return arelayed(desk, call, plan, config)


def _all_stamped(result: ChatResult, record: dict[str, Any]) -> ChatResult:
    for generation in result.generations:
        generation.message = stamped(generation.message, record)
    return result
