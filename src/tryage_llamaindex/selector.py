"""A selector that reads the query, predicts each choice's loss and names the lowest total."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from pydantic import ConfigDict

from tryage.decision import Decision  # noqa: TC001 - pydantic reads the annotation at run time
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.schema import QueryBundle
    from llama_index.core.tools import ToolMetadata

    from tryage.preferences import Preferences
    from tryage.router import Router


class TryageSelection(SelectorResult):
    """The selected index and reason, with the whole decision that led to it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    decision: Decision


class TryageSelector(BaseSelector):
    """Select one choice by routing the query among the experts that the choices name.

    A choice stands for the expert of the router that has the name (or alias) of its tool. The
    router's default expert is used as it declares; flags in the query steer the choice, and the
    query itself is left as it is, because a selector cannot change what the engine receives.

    Args:
        router: knows an expert for every choice.
        preferences: tighten the router's own.
    """

    def __init__(self, router: Router, preferences: Preferences | None = None) -> None:
        super().__init__()
        self._router = router
        self._preferences = preferences
        self._routers: dict[tuple[str, ...], Router] = {}

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> TryageSelection:
        names = self._experts(choices)
        decision = self._among(names).route(query.query_str, self._preferences)
        index = names.index(decision.expert.name)
        selection = SingleSelection(index=index, reason=_reason(decision))
        return TryageSelection(selections=[selection], decision=decision)

    async def _aselect(
        self, choices: Sequence[ToolMetadata], query: QueryBundle
    ) -> TryageSelection:
        return await asyncio.to_thread(self._select, choices=choices, query=query)

    def _experts(self, choices: Sequence[ToolMetadata]) -> tuple[str, ...]:
        """Return the expert that each choice stands for, no two the same.

        Raises:
            InputError: no choices, an unnamed choice or two choices for one expert.
            LibraryError: a choice names an expert that the router does not know.
        """
        if not choices:
            raise InputError("No choices were given. Expected one tool per expert to choose from.")
        names = [choice.name or "" for choice in choices]
        if "" in names:
            raise InputError(
                f"Choice {names.index('')} has no name. Name each tool after an expert of the "
                "router: QueryEngineTool.from_defaults(engine, name=...)."
            )
        experts = tuple(self._router.library[name].name for name in names)
        repeated = [name for name, count in Counter(experts).items() if count > 1]
        if repeated:
            raise InputError(
                f"Several choices stand for {repeated[0]!r}. Give each tool an expert of its own."
            )
        return experts

    def _among(self, names: tuple[str, ...]) -> Router:
        """Narrow the router once per set of choices: query engines ask with the same ones."""
        if names not in self._routers:
            self._routers[names] = self._router.among(list(names))
        return self._routers[names]

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: dict[str, Any]) -> None:
        """Accept nothing: there is no LLM to prompt."""


def _reason(decision: Decision) -> str:
    chosen = decision.chosen
    if chosen is None:
        return f"{decision.expert.name}: the declared default; {decision.default_reason}"
    reason = f"{chosen.name}: predicted loss {chosen.predicted_loss:.3f}"
    reason += "".join(f" + {name} {term:.3f}" for name, term in chosen.terms.items())
    if decision.margin is None:
        return reason
    return f"{reason}, {decision.margin:.3f} ahead of {decision.ranking[1].name}"
