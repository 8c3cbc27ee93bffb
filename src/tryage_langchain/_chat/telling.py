"""Who was chosen, told to whoever listens before the chosen one starts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks.manager import adispatch_custom_event, dispatch_custom_event

from tryage_langchain._router.announcing import EVENT

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


def tell(record: dict[str, Any], config: RunnableConfig) -> None:
    """Send the custom event, and write to LangGraph's `custom` stream, which shows no events."""
    _write(record, config)
    if _heard(config):
        dispatch_custom_event(EVENT, record, config=config)


async def atell(record: dict[str, Any], config: RunnableConfig) -> None:
    """Do what `tell` does."""
    _write(record, config)
    if _heard(config):
        await adispatch_custom_event(EVENT, record, config=config)


def _heard(config: RunnableConfig) -> bool:
    """Tell whether there is a run to which an event can belong, and somebody who listens."""
    manager = config.get("callbacks")
    return bool(getattr(manager, "parent_run_id", None) and getattr(manager, "handlers", None))


def _write(record: dict[str, Any], config: RunnableConfig) -> None:
    runtime = config.get("configurable", {}).get("__pregel_runtime")
    if runtime is not None and "langgraph" in sys.modules:
        runtime.stream_writer({EVENT: record})
