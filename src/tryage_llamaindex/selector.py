"""A selector that predicts which choice serves the query: no LLM call, and no invalid index."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from pydantic import ConfigDict, field_serializer

from tryage.chat.pace import Pace
from tryage.decision import Decision  # noqa: TC001 - pydantic reads the annotation at run time
from tryage.errors import InputError, NoExpertError, PerceptionError
from tryage.tools import Selection  # noqa: TC001 - as above
from tryage_llamaindex._judges import ByDescription, ByExpert, Judge, reasons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.schema import QueryBundle
    from llama_index.core.tools import ToolMetadata

    from tryage.preferences import Preferences
    from tryage.router import Router
    from tryage.tools import ToolRanker

_WRITTEN = 10  # of a ranking, the best: it may have thousands


class TryageSelection(SelectorResult):
    """The selected indices and reasons, with all that led to them.

    `decision` is the router's, or the ranker's `Selection`; None if a default had to step in
    because nothing could be decided.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    decision: Decision | Selection | None = None

    @field_serializer("decision", when_used="json-unless-none")
    def _write_decision(self, decision: Decision | Selection) -> dict[str, Any]:
        return decision.to_dict(_WRITTEN)

    @property
    def abstained(self) -> bool:
        """Whether no choice was selected because none seemed to be of use."""
        return not self.selections


class TryageSelector(BaseSelector):
    """Select choices for `RouterQueryEngine`, `RouterRetriever` and the like.

    By default choices are ranked by how probable it is that what they describe serves the query.
    With a router, choices stand for the experts that have the names of their tools. Flags in the
    query steer a router that allows them; the engine receives the query as it is.

    Args:
        router: Knows an expert for every choice.
        preferences: In force for every query.
        ranker: Judges descriptions; None is the bundled one.
        k: How many are selected; None takes those that are more likely of use than not.
        default: The choice, by index or name, for queries for which none can be selected.
        abstain_below: Select none, or the default, if the probability that any choice is of use is
            below this. Not with a router: some expert always answers.

    Raises:
        InputError: a router and a ranker, or a number out of range.
    """

    def __init__(  # noqa: PLR0913 - all have defaults
        self,
        router: Router | None = None,
        preferences: Preferences | None = None,
        *,
        ranker: ToolRanker | None = None,
        k: int | None = 1,
        default: int | str | None = None,
        abstain_below: float = 0.0,
    ) -> None:
        super().__init__()
        if router is not None and (ranker is not None or abstain_below):
            raise InputError("A router selects by itself: give it no ranker and no abstain_below.")
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            raise InputError(f"k is how many choices to select, 1 or more, or None; got {k!r:.40}.")
        self._judge: Judge = (
            ByDescription(ranker, k, abstain_below) if router is None else ByExpert(router, k)
        )
        self._preferences, self._default = preferences, default
        self._pace = Pace()

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> TryageSelection:
        if not choices:
            raise InputError("No choices were given. Expected at least one to select.")
        default = self._default_of(choices)
        try:
            verdict = self._judge.judge(choices, query.query_str, self._preferences)
        except (NoExpertError, PerceptionError) as error:
            if default is None:
                raise
            return TryageSelection(selections=[_defaulted(default, str(error).splitlines()[0])])
        selections = [
            SingleSelection(index=index, reason=reason)
            for index, reason in zip(verdict.chosen, reasons(verdict), strict=True)
        ]
        if not selections and default is not None:
            selections = [_defaulted(default, verdict.note)]
        return TryageSelection(selections=selections, decision=verdict.told)

    # LlamaIndex asks for it at every call, to tell its instruments; finding it takes far longer
    _select.__signature__ = inspect.signature(_select)  # type: ignore[attr-defined]  # a function may

    async def _aselect(
        self, choices: Sequence[ToolMetadata], query: QueryBundle
    ) -> TryageSelection:
        return await self._pace.run(lambda: self._select(choices=choices, query=query))

    def _default_of(self, choices: Sequence[ToolMetadata]) -> int | None:
        """Return the index of the default.

        Raises:
            InputError: it is none of the choices.
        """
        if self._default is None:
            return None
        names = [choice.name for choice in choices]
        if self._default in names:
            return names.index(str(self._default))
        if isinstance(self._default, int) and 0 <= self._default < len(choices):
            return int(self._default)
        raise InputError(f"The default {self._default!r} is none of the {len(choices)} choices.")

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: dict[str, Any]) -> None:
        """Accept nothing: there is no LLM to prompt."""


def _defaulted(index: int, why: str) -> SingleSelection:
    return SingleSelection(index=index, reason=f"the default; {why}")
