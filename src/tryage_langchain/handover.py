"""A decision in the forms in which LangChain's own routing parts take one."""

# ruff: noqa: ANN401 - LangChain lets inputs be of any type.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables.router import RouterInput

from tryage_langchain._inputs import cleaned

if TYPE_CHECKING:
    from tryage.decision import Decision


def to_router_input(decision: Decision, value: Any, input_key: str | None = None) -> RouterInput:
    """Return what `RouterRunnable` takes: the expert's name, and the input without its flags."""
    return RouterInput(key=decision.expert.name, input=cleaned(decision, value, input_key))


def to_destination(decision: Decision, value: Any, input_key: str | None = None) -> dict[str, Any]:
    """Return what a `RouterChain` yields: `destination` and `next_inputs`, a dict.

    The destination is None, LangChain's word for the default chain, where the default was used.
    """
    clean = cleaned(decision, value, input_key)
    return {
        "destination": None if decision.default_used else decision.expert.name,
        "next_inputs": clean if isinstance(clean, dict) else {"input": clean},
    }
