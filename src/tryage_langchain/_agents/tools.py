"""LangChain's tools as the ranker reads them, and which of them a call cannot do without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from tryage.chat import Memory
from tryage.tools import Tool
from tryage.tools.toolbox import checked
from tryage_langchain._conversation import of_a_person

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_core.messages import BaseMessage
    from langchain_core.tools import BaseTool

    from tryage.tools import Toolbox, ToolRanker

_LISTS = 8  # of tools, that are remembered: an agent asks with the same one again and again


class ReadTools:
    """Lists of tools as the ranker reads them, each read once; `known` adds what no schema tells.

    Raises:
        InputError: `known` is no list of `Tool`s.
    """

    def __init__(self, ranker: ToolRanker, known: Iterable[Tool]) -> None:
        self._ranker = ranker
        self._known = {tool.name: tool for tool in checked(known)}
        self._read: Memory[tuple[tuple[BaseTool, ...], Toolbox]] = Memory(_LISTS)

    def __call__(self, tools: Sequence[BaseTool]) -> Toolbox:
        """Return the tools read.

        Raises:
            LibraryError: two of one name.
        """
        key = tuple(map(id, tools))  # which stay theirs, as the tools are remembered too
        found = self._read.get(key)
        if found is None:
            read = [tool_of(tool).completed(self._known.get(tool.name)) for tool in tools]
            found = tuple(tools), self._ranker.toolbox(read)
            self._read.put(key, found)
        return found[1]


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
