"""The custom event that tells observers who was chosen, before the chosen one starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.callbacks.manager import adispatch_custom_event, dispatch_custom_event

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
    from langchain_core.runnables import RunnableConfig

    from tryage.decision import Decision

EVENT = "tryage_route"


def announce(
    decision: Decision, manager: CallbackManagerForChainRun, config: RunnableConfig
) -> None:
    """Send the event if somebody listens: writing a whole decision down takes a while."""
    if manager.handlers:
        dispatch_custom_event(EVENT, decision.to_dict(), config=config)


async def aannounce(
    decision: Decision, manager: AsyncCallbackManagerForChainRun, config: RunnableConfig
) -> None:
    """Do what `announce` does."""
    if manager.handlers:
        await adispatch_custom_event(EVENT, decision.to_dict(), config=config)
