"""The order in which models inherit: bases first, and circles of bases taken for what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence


def bases_first(
    models: Collection[int], parents: Mapping[int, Sequence[int]]
) -> Iterator[list[int]]:
    """Yield the models and all their ancestors in groups, every group after those it inherits from.

    A group is one model, or all models of one circle: nothing can be older than itself, so nobody
    inherits within it. Source: Tarjan, Depth-first search and linear graph algorithms (SIAM
    Journal on Computing, 1972), with a stack of its own, because a chain may be longer than
    Python's.
    """
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    for start in models:
        work = [] if start in index else [(start, iter(parents.get(start, ())))]
        while work:
            model, rest = work[-1]
            if model not in index:
                index[model] = low[model] = len(index)
                path.append(model)
                on_path.add(model)
            ancestor = next((p for p in rest if p not in index or p in on_path), None)
            if ancestor is not None and ancestor not in index:
                work.append((ancestor, iter(parents.get(ancestor, ()))))
            elif ancestor is not None:
                low[model] = min(low[model], index[ancestor])
            else:
                work.pop()
                if work:
                    child = work[-1][0]
                    low[child] = min(low[child], low[model])
                if low[model] == index[model]:
                    group = _cut(path, model)
                    on_path.difference_update(group)
                    yield group


def _cut(path: list[int], first: int) -> list[int]:
    """Take the end of the path off, from this model on."""
    at = len(path) - 1
    while path[at] != first:
        at -= 1
    group = path[at:]
    del path[at:]
    return group
