"""ChatTryage in batches: one encoder pass for all, then every answer by itself."""

# ruff: noqa: A002, ANN401, ARG002 - LangChain gives inputs of any type, and managers by name.

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.runnables.config import get_executor_for_config
from langchain_core.runnables.utils import gather_with_concurrency

from tryage.chat import Plan
from tryage_langchain._chat import asking
from tryage_langchain._chat.answering import Answering
from tryage_langchain._chat.chatting import Call

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
    from langchain_core.runnables import RunnableConfig

Row: TypeAlias = tuple[Call, Plan] | Exception


class Batching(Answering):
    """Adds `batch` and `abatch`."""

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Route all conversations in one encoder pass, then let the chosen models answer."""
        passed = self._passed(kwargs.pop("stop", None), kwargs)
        own = self._own_each(config)
        return self._batch_with_config(
            self._batch, inputs, own, return_exceptions=return_exceptions, **passed
        )

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Do what `batch` does."""
        passed = self._passed(kwargs.pop("stop", None), kwargs)
        own = self._own_each(config)
        return await self._abatch_with_config(
            self._abatch, inputs, own, return_exceptions=return_exceptions, **passed
        )

    def _batch(
        self,
        inputs: list[Any],
        run_manager: list[CallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        rows = self._rows(inputs, config, kwargs)
        with get_executor_for_config(config[0]) as executor:
            return list(executor.map(self._answered, rows, config))

    async def _abatch(
        self,
        inputs: list[Any],
        run_manager: list[AsyncCallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        rows = await self._pace.run(partial(self._rows, inputs, config, kwargs))
        asked = map(self._aanswered, rows, config)
        return await gather_with_concurrency(config[0].get("max_concurrency"), *asked)

    def _rows(
        self, inputs: list[Any], configs: list[RunnableConfig], kwargs: dict[str, Any]
    ) -> list[Row]:
        """Read all calls and choose for all in one pass; what is wrong with one stays with it."""
        calls = [self._call_or_error(*one, kwargs) for one in zip(inputs, configs, strict=True)]
        good = [call for call in calls if isinstance(call, Call)]
        plans = iter(self._desk.plan_all(good))
        return [_row(call, next(plans)) if isinstance(call, Call) else call for call in calls]

    def _call_or_error(
        self, input: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> Call | Exception:
        try:
            return self._call(input, config, kwargs)
        except (ValueError, TypeError, NotImplementedError) as error:  # InputError is a ValueError
            return error

    def _answered(self, row: Row, config: RunnableConfig) -> Any:
        if isinstance(row, Exception):
            return row
        try:
            return asking.answer(self._desk, *row, config)
        except Exception as error:  # noqa: BLE001 - it is raised, or returned if so asked
            return error

    async def _aanswered(self, row: Row, config: RunnableConfig) -> Any:
        if isinstance(row, Exception):
            return row
        try:
            return await asking.aanswer(self._desk, *row, config)
        except Exception as error:  # noqa: BLE001 - as above
            return error

    def _own_each(self, config: Any) -> Any:
        if isinstance(config, list):
            return [self._own(one) for one in config]
        return self._own(config)


def _row(call: Call, plan: Plan | Exception) -> Row:
    return plan if isinstance(plan, Exception) else (call, plan)
