"""LangChain's tools as the ranker reads them, and which of them a call cannot do without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from tryage.tools import Tool
from tryage_langchain._conversation import of_a_person

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.tools import BaseTool


def tool_of(tool: BaseTool) -> Tool:
    """Read a tool as a model is told it."""
    return Tool.from_schema(convert_to_openai_tool(tool))


def called(messages: Sequence[BaseMessage]) -> frozenset[str]:
    """Return the names of the tools that were called since a person last spoke."""
    names: set[str] = set()
    for message in reversed(messages):
        if of_a_person(message):
            break
        if isinstance(message, AIMessage):
            names |= {call["name"] for call in message.tool_calls}
    return frozenset(names)


def forced(choice: Any) -> frozenset[str]:  # noqa: ANN401 - whatever the provider takes
    """Return the name of the tool that a call must use, if it names one."""
    if isinstance(choice, str):  # "auto", "any" ... are no tool's name, and do no harm as one
        return frozenset({choice})
    function = choice.get("function", choice) if isinstance(choice, Mapping) else {}
    name = function.get("name") if isinstance(function, Mapping) else None
    return frozenset({name}) if isinstance(name, str) else frozenset()
