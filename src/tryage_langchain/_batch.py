"""Batches of ChatTryage and TryageRouter: routed in one encoder pass, answered in parallel."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.runnables import RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import get_config_list, get_executor_for_config
from langchain_core.runnables.utils import gather_with_concurrency

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun

_MAX_WORKERS = 64  # threads that mostly wait for a server

T = TypeVar("T")

R = TypeVar("R")


class BatchMixin(RunnableSerializable[Any, Any]):
    """A runnable that routes all inputs of a batch before one of them is answered."""

    @abstractmethod
    def _batch(
        self,
        inputs: list[Any],
        run_manager: list[CallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        """Return an answer or an exception for each input."""

    @abstractmethod
    async def _abatch(
        self,
        inputs: list[Any],
        run_manager: list[AsyncCallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        """Do what `_batch` does, asynchronously."""

    def _batch_arguments(
        self, config: RunnableConfig | list[RunnableConfig] | None, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Return config and keyword arguments of a batch, with those of the runnable itself."""
        return config, kwargs

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Route all inputs in one encoder pass, then let what was chosen answer."""
        config, kwargs = self._batch_arguments(config, kwargs)
        return self._batch_with_config(
            self._batch, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Do what `batch` does; the routing does not block the event loop."""
        config, kwargs = self._batch_arguments(config, kwargs)
        return await self._abatch_with_config(
            self._abatch, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    def batch_as_completed(self, inputs: Sequence[Any], config: Any = None, **kwargs: Any) -> Any:
        """Yield the index and the answer of each input as soon as it is there."""
        if not inputs:
            return iter(())
        first, *others = get_config_list(config, len(inputs))
        if first.get("max_concurrency") is None:  # the executor follows the first config
            first = {**first, "max_concurrency": max_workers(inputs)}
        return super().batch_as_completed(inputs, [first, *others], **kwargs)


def run_batch(run: Callable[[T], R], items: Sequence[T], max_concurrency: int | None) -> list[R]:
    """Return what a function returns for each item, run in threads."""
    workers = max_concurrency or max_workers(items)
    with get_executor_for_config({"max_concurrency": workers}) as executor:
        return list(executor.map(run, items))


def max_workers(items: Sequence[object]) -> int:
    """Return how many items run at the same time if the caller sets no limit.

    The number that Python chooses is a few more than the cores. So many models that hang would
    hold up all other items.
    """
    return max(1, min(len(items), _MAX_WORKERS))


async def arun_batch(
    run: Callable[[T], Coroutine[Any, Any, R]], items: Iterable[T], max_concurrency: int | None
) -> list[R]:
    """Do what `run_batch` does, with a function that is awaited."""
    return await gather_with_concurrency(max_concurrency, *map(run, items))
