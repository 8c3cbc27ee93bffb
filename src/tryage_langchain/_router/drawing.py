"""A router as a graph: an edge, with the expert's name, to each runnable that may be chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import Runnable, RunnableConfig


def drawn(
    router: Runnable[Any, Any],
    children: Mapping[str, Runnable[Any, Any]],
    config: RunnableConfig | None,
) -> Graph:
    """Return the graph from the input over the router and one of its children to the output."""
    graph = Graph()
    first = graph.add_node(router.get_input_schema(config))
    here = graph.add_node(router)
    last = graph.add_node(router.get_output_schema(config))
    graph.add_edge(first, here)
    if not children:
        graph.add_edge(here, last)
    for name, child in children.items():
        inner = child.get_graph(config)
        inner.trim_first_node()
        inner.trim_last_node()
        start, end = graph.extend(inner)
        graph.add_edge(here, start or last, name, conditional=True)
        if end:
            graph.add_edge(end, last)
    return graph
