"""The tools that a query needs, for agents of LlamaIndex; no index and no language model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llama_index.core.objects import ObjectRetriever
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import BaseTool

from tryage.core.validation import check_strings
from tryage.errors import InputError
from tryage.tools.ranker import ToolRanker, check_k
from tryage.tools.tool import Tool, check_tools

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tryage.core.preferences import Preferences
    from tryage.tools.ranker import Selection


class TryageToolRetriever(ObjectRetriever[BaseTool]):
    """Retrieve the tools with the lowest total for a query.

    Give it to `FunctionAgent(tool_retriever=...)`, `ReActAgent` and whatever takes an object
    retriever, instead of `ObjectIndex.from_objects(tools).as_retriever()`.

    Args:
        tools: The agent's tools.
        ranker: Knows which tool serves which query; None is the bundled one.
        k: At most so many tools are chosen; None takes those that are likely of use.
        always_include: Names of tools that are always retrieved, after the chosen ones.
        known: What no schema tells of your tools: `Tool`s with their cost, latency, risk and
            permissions, found by name.
        preferences: Weights and requirements on cost, latency and security.
        granted: Permissions; a tool that needs another one is left out. None grants all.
        abstain_below: Choose no tool if the probability that one is needed is below this.

    Raises:
        InputError: a wrong type, or a name in `always_include` or `known` that no tool has.
        LibraryError: no tool, or two of one name.
    """

    def __init__(  # noqa: PLR0913 - the tools, the rest has defaults
        self,
        tools: Sequence[BaseTool],
        ranker: ToolRanker | None = None,
        *,
        k: int | None = 5,
        always_include: Collection[str] = (),
        known: Iterable[Tool] = (),
        preferences: Preferences | None = None,
        granted: Collection[str] | None = None,
        abstain_below: float = 0.0,
    ) -> None:
        check_k(k)
        # The base class retrieves nodes and maps them to objects; there are no nodes here.
        self._node_postprocessors = []
        self._ranker = ranker or ToolRanker.from_pretrained()
        known_tools = {tool.name: tool for tool in check_tools(known)}
        read = [to_tool(tool) for tool in tools]
        self._tools = {one.name: tool for one, tool in zip(read, tools, strict=True)}
        self._toolbox = self._ranker.toolbox(
            [one.with_metadata(known_tools.get(one.name)) for one in read]
        )
        self._always_include = check_strings("always_include", always_include)
        _check_names("always_include", self._always_include, self._tools)
        _check_names("known", known_tools, self._tools)
        self._settings: dict[str, Any] = {
            "k": k,
            "preferences": preferences,
            "granted": granted,
            "abstain_below": abstain_below,
        }

    def select(self, query: str | QueryBundle) -> Selection:
        """Choose the tools for a query, and say why.

        Raises:
            InputError: the query is no string.
            NoExpertError: requirements or permissions leave no tool.
        """
        text = query.query_str if isinstance(query, QueryBundle) else query
        return self._ranker.select(self._toolbox, text, **self._settings)

    def retrieve(self, str_or_query_bundle: str | QueryBundle) -> list[BaseTool]:
        """Return the tools for a query, best first."""
        names = dict.fromkeys([*self.select(str_or_query_bundle).names, *self._always_include])
        return [self._tools[name] for name in names]

    async def aretrieve(self, str_or_query_bundle: str | QueryBundle) -> list[BaseTool]:
        """Do what `retrieve` does, in a thread."""
        return await asyncio.to_thread(self.retrieve, str_or_query_bundle)


def to_tool(tool: BaseTool) -> Tool:
    """Read a tool as a model is told it.

    Raises:
        InputError: no tool, or one without a name.
    """
    if not isinstance(tool, BaseTool):
        raise InputError(f"Tools are llama_index tools, got a {type(tool).__name__}.")
    told = tool.metadata
    schema = {"name": told.name, "description": told.description}
    return Tool.from_schema({**schema, "parameters": told.get_parameters_dict()})


def _check_names(what: str, names: Iterable[str], tools: Collection[str]) -> None:
    if missing := sorted(set(names) - set(tools)):
        raise InputError(f"{what} names {missing}, which no tool has; there is {[*tools][:20]}.")
