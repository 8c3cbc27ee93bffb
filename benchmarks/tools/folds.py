"""Folds to judge a tool ranker on queries and on tools that were not in training."""

from __future__ import annotations

from collections import defaultdict
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from tryage.tools.episodes import Episode
from tryage.tools.matching import split_clauses
from tryage.tools.training import ToolRankerConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.perception.encoder import Encoder
    from tryage.tools import Tool

    Sets = dict[str, list[Episode]]
    Split = tuple[list[Episode], Sets]

FOLDS = 5
# An agent has other tools than these sets; chosen on the third fold.
CONFIG = ToolRankerConfig(identity_penalty=3e-2, interpolation=0.75)


class CachedEncoder:
    """An encoder that encodes each text once, in all folds and for all methods."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.dim = encoder, encoder.dim
        self._cache: dict[str, NDArray[np.float32]] = {}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, `(n, dim)`."""
        new = [text for text in dict.fromkeys(texts) if text not in self._cache]
        if new:
            self._cache |= zip(new, self.encoder.encode(new), strict=True)
        return np.stack([self._cache[text] for text in texts])

    def prepare(self, sets: Sets) -> None:
        """Encode all queries at once, as a whole and in clauses."""
        queries = [one.query for part in sets.values() for one in part]
        self.encode([text for query in queries for text in (query, *split_clauses(query))])


def fold(text: str) -> int:
    """Return the fold of a text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") % FOLDS


def by_query(sets: Sets, number: int) -> Split:
    """Split by the text of the query."""
    train = [one for part in sets.values() for one in part if fold(one.query) != number]
    test = {name: [one for one in part if fold(one.query) == number] for name, part in sets.items()}
    return train, test


def by_tool(sets: Sets, number: int) -> Split:
    """Split by tool: training has none of the fold's tools, the test has the queries that need one.

    A query that needs no tool is in the test if one of its tools is unseen.
    """
    train: list[Episode] = []
    test: Sets = defaultdict(list)
    pools: dict[int, tuple[set[str], list[Tool]]] = {}
    for name, part in sets.items():
        for one in part:
            if id(one.tools) not in pools:
                pools[id(one.tools)] = _split_tools(one.tools, number)
            new, known = pools[id(one.tools)]
            if set(one.useful) & new or (not one.useful and new):
                test[name].append(one)
            else:
                train.append(Episode(one.query, known, one.useful))
    return train, test


def _split_tools(tools: Sequence[Tool], number: int) -> tuple[set[str], list[Tool]]:
    """Return the names of the tools that are left out of training, and the other tools."""
    new = {tool.name for tool in tools if fold(f"{tool.name}: {tool.description}") == number}
    return new, [tool for tool in tools if tool.name not in new]
