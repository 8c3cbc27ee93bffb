"""Selectors of LlamaIndex by turns on the same cases: right or not, seconds, invalid answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.output_parsers.base import OutputParserException
from llama_index.core.schema import QueryBundle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.tools import ToolMetadata

    from tryage.perception.encoder import Encoder


@dataclass(frozen=True)
class Case:
    """A query, the choices of its engine, and the index that is right."""

    query: str
    choices: Sequence[ToolMetadata]
    right: int


@dataclass
class Score:
    """What one selector did: right or not, seconds, and answers that were no valid index."""

    right: list[bool]
    seconds: list[float]
    invalid: int = 0

    def row(self, name: str, than: Score) -> str:
        """Return a row of the table; times relative to those of `than`."""
        median = float(np.median(self.seconds))
        ratio = median / float(np.median(than.seconds))
        cells = (
            name,
            f"{len(self.right):,}",
            f"{np.mean(self.right):.3f}",
            f"{1e3 * median:,.2f}",
            f"{1e3 * np.percentile(self.seconds, 95):,.2f}",
            f"{ratio:,.1f}x",
            str(self.invalid),
        )
        return "| " + " | ".join(cells) + " |"


class Nothing(BaseSelector):
    """Reads the query, as any selector has to, and selects the first choice."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:  # noqa: ARG002 - its signature
        self._encoder.encode([query.query_str])
        return SelectorResult(selections=[SingleSelection(index=0, reason="the first")])

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        return self._select(choices=choices, query=query)

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: dict[str, Any]) -> None:
        """Accept nothing."""


def judge(
    selectors: Sequence[BaseSelector],
    cases: Sequence[Case],
    encoders: Sequence[Encoder],
    *,
    warm: bool = True,
) -> list[Score]:
    """Let all select for every case, by turns: other work on the machine then slows all alike.

    The first query of each engine warms up what a selector keeps. An encoder remembers the tokens
    of what it read last: before each turn that is another text, so that none reads for the next.
    """
    scores = [Score([], []) for _ in selectors]
    engines = {id(case.choices): case.choices for case in cases} if warm else {}
    for choices in engines.values():
        for selector in selectors:
            _selected(selector, Case("Which one?", choices, 0))
    for case in cases:
        for selector, score in zip(selectors, scores, strict=True):
            for encoder in encoders:
                encoder.token_ids(["Which one?"])
            start = time.process_time()
            index = _selected(selector, case)
            score.seconds.append(time.process_time() - start)
            score.right.append(index == case.right)
            score.invalid += index is None or not 0 <= index < len(case.choices)
    return scores


def _selected(selector: BaseSelector, case: Case) -> int | None:
    """Return the index; None if what a model wrote could not be read."""
    try:
        index: int = selector.select(case.choices, QueryBundle(case.query)).ind
    except (ValueError, KeyError, TypeError, OutputParserException):
        return None
    return index
