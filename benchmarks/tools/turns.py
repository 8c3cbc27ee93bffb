"""Runs LlamaIndex's selectors in turns on the same cases: correctness, seconds, invalid answers."""

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
    """A query, the choices of its engine, and the index of the right one."""

    query: str
    choices: Sequence[ToolMetadata]
    answer: int


@dataclass
class Score:
    """The results of one selector: correctness, seconds, and the number of invalid answers."""

    correct: list[bool]
    seconds: list[float]
    invalid: int = 0

    def row(self, name: str, reference: Score) -> str:
        """Return a row of the table; times are relative to those of `reference`."""
        median = float(np.median(self.seconds))
        ratio = median / float(np.median(reference.seconds))
        cells = (
            name,
            f"{len(self.correct):,}",
            f"{np.mean(self.correct):.3f}",
            f"{1e3 * median:,.2f}",
            f"{1e3 * np.percentile(self.seconds, 95):,.2f}",
            f"{ratio:,.1f}x",
            str(self.invalid),
        )
        return "| " + " | ".join(cells) + " |"


class FirstChoiceSelector(BaseSelector):
    """Encodes the query, as any selector has to, and selects the first choice."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:  # noqa: ARG002 - LlamaIndex's signature
        self._encoder.encode([query.query_str])
        return SelectorResult(selections=[SingleSelection(index=0, reason="the first")])

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        return self._select(choices=choices, query=query)

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: dict[str, Any]) -> None:
        """Ignore the prompts: it has none."""


def judge(
    selectors: Sequence[BaseSelector],
    cases: Sequence[Case],
    encoders: Sequence[Encoder],
    *,
    warm: bool = True,
) -> list[Score]:
    """Let the selectors take turns on every case, so that other work slows all of them equally.

    With `warm` a first query of each engine fills the selectors' caches. An encoder keeps the
    tokens of its last text, so it reads another text before each turn.
    """
    scores = [Score([], []) for _ in selectors]
    engines = {id(case.choices): case.choices for case in cases} if warm else {}
    for choices in engines.values():
        for selector in selectors:
            _select_index(selector, Case("Which one?", choices, 0))
    for case in cases:
        for selector, score in zip(selectors, scores, strict=True):
            for encoder in encoders:
                encoder.token_ids(["Which one?"])
            start = time.process_time()
            index = _select_index(selector, case)
            score.seconds.append(time.process_time() - start)
            score.correct.append(index == case.answer)
            score.invalid += index is None or not 0 <= index < len(case.choices)
    return scores


def _select_index(selector: BaseSelector, case: Case) -> int | None:
    """Return the selected index; None if the answer of a model could not be parsed."""
    try:
        index: int = selector.select(case.choices, QueryBundle(case.query)).ind
    except (ValueError, KeyError, TypeError, OutputParserException):
        return None
    return index
