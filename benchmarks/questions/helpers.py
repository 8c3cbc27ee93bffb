"""Names that the checks of the questions use: modules of Python, and small exhaustive searches."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections import Counter
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "Counter", "Fraction", "arrangements", "assignments", "date", "datetime", "first", "itertools",
    "math", "only", "re", "reduce", "shortest_path", "statistics", "timedelta",
]  # fmt: skip


def only(values: Iterable[object]) -> object:
    """Return the single distinct value of a search; stop if there is none or more than one."""
    found = set(values)
    if len(found) != 1:
        raise ValueError(f"{len(found)} solutions: {list(found)[:4]}")
    return found.pop()


def first(test: Callable[[int], bool], numbers: Iterable[int]) -> int:
    """Return the first number that passes a test."""
    return next(number for number in numbers if test(number))


def arrangements(
    items: Iterable[str], *tests: Callable[[dict[str, int]], bool]
) -> list[tuple[str, ...]]:
    """Return every order of the items that passes all tests of {item: position from 1}."""
    orders = itertools.permutations(items)
    return [
        order
        for order in orders
        if all(test({item: i + 1 for i, item in enumerate(order)}) for test in tests)
    ]


def assignments(
    names: Iterable[str], values: Iterable[object], *tests: Callable[[dict[str, object]], bool]
) -> list[dict[str, object]]:
    """Return every {name: value}, values free to repeat, that passes all tests."""
    names, values = list(names), list(values)
    options = (
        dict(zip(names, chosen, strict=True))
        for chosen in itertools.product(values, repeat=len(names))
    )
    return [option for option in options if all(test(option) for test in tests)]


def shortest_path(edges: dict[str, int], start: str, end: str) -> int:
    """Return the length of the shortest way; edges are {"AB": 4} in both directions."""
    distances = {start: 0}
    for _ in range(len(edges) + 1):
        for (a, b), length in edges.items():
            for here, there in ((a, b), (b, a)):
                if here in distances:
                    through = distances[here] + length
                    distances[there] = min(distances.get(there, through), through)
    return distances[end]
