"""TryageToolRetriever retrieves the tools that a query needs, for agents of LlamaIndex."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.objects import ObjectRetriever, SimpleToolNodeMapping
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import BaseTool

from tryage.core.validation import check_strings
from tryage.errors import InputError
from tryage.tools.ranker import ToolRanker, check_k
from tryage.tools.tool import Tool, check_tool_names, check_tools

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tryage.core.preferences import Preferences
    from tryage.tools.ranker import Selection


class TryageToolRetriever(ObjectRetriever[BaseTool]):
    """Retrieve the tools with the lowest total for a query, without an index or a language model.

    Give it to `FunctionAgent(tool_retriever=...)`, `ReActAgent` or another class that uses an
    object retriever, instead of `ObjectIndex.from_objects(tools).as_retriever()`.

    Args:
        tools: The agent's tools.
        ranker: Predicts which tool serves which query; None is the bundled one.
        k: The largest number of chosen tools; None chooses those that are of use with a probability
            of at least a third, and at least one.
        always_include: Names of tools that are always retrieved, after the chosen ones.
        known: `Tool`s with the cost, latency, risk and permissions of your tools, by name: no
            schema holds these.
        preferences: Weights and requirements on cost, latency and security.
        granted: Permissions; a tool that needs another one is left out. None grants all.
        abstain_below: Choose no tool if the probability that one is needed is below this.

    Raises:
        InputError: a wrong type, or a name in `always_include` or `known` that no tool has.
        LibraryError: no tool.
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
        ranker_tools = [to_tool(tool) for tool in tools]
        # The base class retrieves nodes and maps them to objects; here the objects come first.
        super().__init__(_ToolNodeRetriever(self), SimpleToolNodeMapping.from_objects(tools))
        self._ranker = ranker or ToolRanker.from_pretrained()
        known_by_name = {tool.name: tool for tool in check_tools(known)}
        self._tools = list(tools)
        names = [ranker_tool.name for ranker_tool in ranker_tools]
        self._toolbox = self._ranker.toolbox(
            [
                ranker_tool.with_metadata(known_by_name.get(ranker_tool.name))
                for ranker_tool in ranker_tools
            ]
        )
        self._always_include = check_strings("always_include", always_include)
        check_tool_names("always_include", self._always_include, names)
        check_tool_names("known", known_by_name, names)
        self._included_positions = [
            position for name in self._always_include for position in _positions(names, name)
        ]
        self._select_arguments: dict[str, Any] = {
            "k": k,
            "preferences": preferences,
            "granted": granted,
            "abstain_below": abstain_below,
        }

    def select(self, query: str | QueryBundle) -> Selection:
        """Choose the tools for a query, and say why.

        Raises:
            InputError: the query is not a string.
            NoExpertError: requirements or permissions leave no tool.
        """
        text = query.query_str if isinstance(query, QueryBundle) else query
        return self._ranker.select(self._toolbox, text, **self._select_arguments)

    def retrieve(self, str_or_query_bundle: str | QueryBundle) -> list[BaseTool]:
        """Return the tools for a query, best first."""
        selected_positions = self.select(str_or_query_bundle).positions
        positions = dict.fromkeys([*selected_positions, *self._included_positions])
        return [self._tools[position] for position in positions]

    async def aretrieve(self, str_or_query_bundle: str | QueryBundle) -> list[BaseTool]:
        """Async version of `retrieve`, in a thread."""
        return await asyncio.to_thread(self.retrieve, str_or_query_bundle)


class _ToolNodeRetriever(BaseRetriever):
    """The tools as nodes, for code that composes the `retriever` of an object retriever."""

    def __init__(self, tool_retriever: TryageToolRetriever) -> None:
        super().__init__()
        self._tool_retriever = tool_retriever

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        retriever = self._tool_retriever
        return [
            NodeWithScore(node=retriever.object_node_mapping.to_node(tool))
            for tool in retriever.retrieve(query_bundle)
        ]


def _positions(names: Sequence[str], name: str) -> list[int]:
    return [position for position, other in enumerate(names) if other == name]


def to_tool(tool: BaseTool) -> Tool:
    """Return a tool of LlamaIndex as a `Tool`, with the texts that a model gets.

    Raises:
        InputError: not a tool, or one without a name.
    """
    if not isinstance(tool, BaseTool):
        raise InputError(f"Tools are llama_index tools, got a {type(tool).__name__}.")
    metadata = tool.metadata
    schema = {"name": metadata.name, "description": metadata.description}
    return Tool.from_schema({**schema, "parameters": metadata.get_parameters_dict()})
