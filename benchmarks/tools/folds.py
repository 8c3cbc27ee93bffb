"""Folds that judge a tool ranker: on queries, and on tools, that training has not seen."""

from __future__ import annotations

from collections import defaultdict
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from tryage.tools.matching import split_clauses
from tryage.tools.training import Episode, ToolRankerConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.perception.encoder import Encoder
    from tryage.tools import Tool

    Sets = dict[str, list[Episode]]
    Split = tuple[list[Episode], Sets]

FOLDS = 5
RECIPE = ToolRankerConfig(
    identity_penalty=3e-2, interpolation=0.75
)  # an agent's tools are none of these; chosen on the third fold


class Remembering:
    """An encoder that reads each text once, whatever asks for it and in whichever fold."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, self.dim = encoder, encoder.dim
        self._read: dict[str, NDArray[np.float32]] = {}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, `(n, dim)`."""
        new = [text for text in dict.fromkeys(texts) if text not in self._read]
        if new:
            self._read |= zip(new, self.encoder.encode(new), strict=True)
        return np.stack([self._read[text] for text in texts])

    def prepare(self, sets: Sets) -> None:
        """Read all queries at once, whole and in clauses."""
        queries = [one.query for part in sets.values() for one in part]
        self.encode([text for query in queries for text in (query, *split_clauses(query))])


def fold(text: str) -> int:
    """Say which fold a text is in."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") % FOLDS


def by_query(sets: Sets, number: int) -> Split:
    """Split by the text of the query."""
    train = [one for part in sets.values() for one in part if fold(one.query) != number]
    judged = {
        name: [one for one in part if fold(one.query) == number] for name, part in sets.items()
    }
    return train, judged


def by_tool(sets: Sets, number: int) -> Split:
    """Split by tool: training sees none of these, judging only queries that need one.

    A query that needs none of the tools offered is judged if one of those is unseen.
    """
    train: list[Episode] = []
    judged: Sets = defaultdict(list)
    pools: dict[int, tuple[set[str], list[Tool]]] = {}
    for name, part in sets.items():
        for one in part:
            if id(one.tools) not in pools:
                pools[id(one.tools)] = _apart(one.tools, number)
            new, known = pools[id(one.tools)]
            if set(one.useful) & new or (not one.useful and new):
                judged[name].append(one)
            else:
                train.append(Episode(one.query, known, one.useful))
    return train, judged


def _apart(tools: Sequence[Tool], number: int) -> tuple[set[str], list[Tool]]:
    """Return the names that are left out of training in this fold, and the tools that are not."""
    new = {tool.name for tool in tools if fold(f"{tool.name}: {tool.description}") == number}
    return new, [tool for tool in tools if tool.name not in new]
