"""A selector that predicts which choice serves the query: no LLM call, and no invalid index."""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.tools.types import DefaultToolFnSchema
from pydantic import ConfigDict, field_serializer

from tryage.chat.clients import AdaptiveExecutor
from tryage.core.cache import LRUCache
from tryage.core.decision import Decision  # noqa: TC001 - pydantic reads the annotation at run time
from tryage.errors import InputError, NoExpertError, PerceptionError
from tryage.tools.ranker import (
    Selection,
    ToolRanker,
)
from tryage.tools.tool import Tool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.schema import QueryBundle
    from llama_index.core.tools import ToolMetadata

    from tryage.core.preferences import Preferences
    from tryage.core.ranking import RankedExpert
    from tryage.router import Router
    from tryage.tools.matching import Toolbox

_MAX_SERIALIZED = 10  # of a ranking, the best: it may have thousands

_TOOLBOX_CACHE_SIZE = 64  # sets of choices that are read already: an engine asks with the same ones

_KEY_FIELDS = (attrgetter("name"), attrgetter("description"), attrgetter("fn_schema"))


class TryageSelection(SelectorResult):
    """The selected indices and reasons, with all that led to them.

    `decision` is the router's, or the ranker's `Selection`; None if a default had to step in
    because nothing could be decided.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    decision: Decision | Selection | None = None

    @field_serializer("decision", when_used="json-unless-none")
    def _write_decision(self, decision: Decision | Selection) -> dict[str, Any]:
        return decision.to_dict(_MAX_SERIALIZED)

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
        self._choice_ranker: ChoiceRanker = (
            DescriptionRanker(ranker, k, abstain_below)
            if router is None
            else ExpertRanker(router, k)
        )
        self._preferences, self._default = preferences, default
        self._executor = AdaptiveExecutor()

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> TryageSelection:
        if not choices:
            raise InputError("No choices were given. Expected at least one to select.")
        default = self._default_index(choices)
        try:
            ranking = self._choice_ranker.rank(choices, query.query_str, self._preferences)
        except (NoExpertError, PerceptionError) as error:
            if default is None:
                raise
            return TryageSelection(
                selections=[_default_selection(default, str(error).splitlines()[0])]
            )
        selections = [
            SingleSelection(index=index, reason=reason)
            for index, reason in zip(ranking.chosen, selection_reasons(ranking), strict=True)
        ]
        if not selections and default is not None:
            selections = [_default_selection(default, ranking.note)]
        return TryageSelection(selections=selections, decision=ranking.decision)

    # LlamaIndex asks for it at every call, to tell its instruments; finding it takes far longer
    _select.__signature__ = inspect.signature(_select)  # type: ignore[attr-defined]  # a function may

    async def _aselect(
        self, choices: Sequence[ToolMetadata], query: QueryBundle
    ) -> TryageSelection:
        return await self._executor.run(lambda: self._select(choices=choices, query=query))

    def _default_index(self, choices: Sequence[ToolMetadata]) -> int | None:
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


def _default_selection(index: int, why: str) -> SingleSelection:
    return SingleSelection(index=index, reason=f"the default; {why}")


@dataclass(frozen=True, slots=True)
class ChoiceRanking:
    """What a judge says of the choices for one query.

    `chosen` are indices of choices, best first; `ranking` says how all stood, under names that
    `places` maps to indices. `labels` are what people call the choices; `note` says what no
    ranking tells.
    """

    chosen: Sequence[int]
    ranking: Sequence[RankedExpert]
    index_by_name: Mapping[str, int]
    labels: Sequence[str]
    decision: Decision | Selection
    note: str = ""


def selection_reasons(result: ChoiceRanking) -> list[str]:
    """Tell of all chosen the score with its constraints, and the lead over the best one left."""
    if result.note:
        return [result.note] * len(result.chosen)
    chosen: dict[int, RankedExpert] = {}
    runner_up: RankedExpert | None = None
    for one in result.ranking:
        index = result.index_by_name[one.name]
        if index in result.chosen:
            chosen[index] = one
        elif runner_up is None:
            runner_up = one
        if runner_up is not None and len(chosen) == len(result.chosen):
            break
    return [_reason(result, index, chosen[index], runner_up) for index in result.chosen]


def _reason(
    result: ChoiceRanking, index: int, chosen: RankedExpert, runner_up: RankedExpert | None
) -> str:
    text = f"{result.labels[index]}: predicted loss {chosen.predicted_loss:.3f}"
    text += "".join(f" + {name} {term:.3f}" for name, term in chosen.terms.items())
    if runner_up is None:
        return text
    lead, other = (
        runner_up.total - chosen.total,
        result.labels[result.index_by_name[runner_up.name]],
    )
    return f"{text}, {abs(lead):.3f} {'ahead of' if lead >= 0 else 'behind'} {other}"


class ChoiceRanker(Protocol):
    """Chooses among the choices of a selector; `k` as in `ToolRanker.select`."""

    def rank(
        self, choices: Sequence[ToolMetadata], query: str, preferences: Preferences | None
    ) -> ChoiceRanking:
        """Choose for one query."""
        ...


class ExpertRanker:
    """A choice stands for the expert of a router that has the name, or alias, of its tool."""

    def __init__(self, router: Router, k: int | None) -> None:
        self._router, self._k = router, k
        self._restricted_routers: LRUCache[tuple[Router, dict[str, int]]] = LRUCache(
            _TOOLBOX_CACHE_SIZE
        )

    def rank(
        self, choices: Sequence[ToolMetadata], query: str, preferences: Preferences | None
    ) -> ChoiceRanking:
        """Route the query among the experts that the choices name.

        Raises:
            InputError: an unnamed choice, or two choices for one expert.
            LibraryError: a choice names an expert that the router does not know.
            NoExpertError, PerceptionError: as in `Router.route`.
        """
        labels = tuple(choice.name or "" for choice in choices)
        router, places = self._restrict_router(labels)
        decision = router.route(query, preferences)
        ranking = decision.ranking
        if decision.default_used:
            default = decision.expert.name
            note = f"{default}: the declared default; {decision.default_reason}"
            return ChoiceRanking([places[default]], ranking, places, labels, decision, note)
        best = ranking[: self._k] if self._k else _probable_choices(ranking)
        return ChoiceRanking([places[one.name] for one in best], ranking, places, labels, decision)

    def _restrict_router(self, names: tuple[str, ...]) -> tuple[Router, dict[str, int]]:
        """Narrow the router once per set of choices; return it with the index of each expert."""
        narrowed = self._restricted_routers.get(names)
        if narrowed is None:
            experts = self._expert_names(names)
            places = {name: at for at, name in enumerate(experts)}
            narrowed = self._router.subset(experts), places
            self._restricted_routers.put(names, narrowed)
        return narrowed

    def _expert_names(self, names: Sequence[str]) -> list[str]:
        if "" in names:
            raise InputError(
                f"Choice {names.index('')} has no name. Name each tool after an expert of the "
                "router: QueryEngineTool.from_defaults(engine, name=...)."
            )
        experts = [self._router.library[name].name for name in names]
        repeated = [name for name, count in Counter(experts).items() if count > 1]
        if repeated:
            raise InputError(
                f"Several choices stand for {repeated[0]!r}. Give each tool an expert of its own."
            )
        return experts


@dataclass(frozen=True, slots=True)
class _ChoiceToolbox:
    """Choices that are read already: as tools, their indices by name, and their labels."""

    toolbox: Toolbox
    index_by_name: Mapping[str, int]
    labels: Sequence[str]


class DescriptionRanker:
    """A choice is a tool: how probable it is that what it describes serves the query."""

    def __init__(self, ranker: ToolRanker | None, k: int | None, abstain_below: float) -> None:
        self._ranker = ranker or ToolRanker.from_pretrained()
        self._k, self._abstain_below = k, abstain_below
        self._toolboxes: LRUCache[_ChoiceToolbox] = LRUCache(_TOOLBOX_CACHE_SIZE)

    def rank(
        self, choices: Sequence[ToolMetadata], query: str, preferences: Preferences | None
    ) -> ChoiceRanking:
        """Rank what the choices describe.

        Raises:
            InputError: a choice has neither a name of its own nor a description.
            NoExpertError: the requirements leave no choice.
        """
        read = self._choice_toolbox(choices)
        selection = self._ranker.select(
            read.toolbox, query, self._k, preferences=preferences, abstain_below=self._abstain_below
        )
        note = (
            f"some choice is of use with probability {selection.needed:.2f}"
            if not selection.tools
            else ""
        )
        chosen = [read.index_by_name[tool.name] for tool in selection.tools]
        return ChoiceRanking(
            chosen, selection.ranking, read.index_by_name, read.labels, selection, note
        )

    def _choice_toolbox(self, choices: Sequence[ToolMetadata]) -> _ChoiceToolbox:
        """Read the choices once: LlamaIndex makes new ones of the same texts for every query."""
        key = tuple(tuple(map(part, choices)) for part in _KEY_FIELDS)
        read = self._toolboxes.get(key)
        if read is None:
            tools = _to_tools(choices)
            places = {tool.name: at for at, tool in enumerate(tools)}
            read = _ChoiceToolbox(self._ranker.toolbox(tools), places, _choice_labels(choices))
            self._toolboxes.put(key, read)
        return read


def _probable_choices(ranking: Sequence[RankedExpert]) -> Sequence[RankedExpert]:
    """Return those that are more likely right than not, at least one."""
    return [one for one in ranking if one.predicted_loss < 0.5] or ranking[:1]


def _choice_labels(choices: Sequence[ToolMetadata]) -> list[str]:
    """Return what people call the choices: by a name of their own, else by their index."""
    used = Counter(choice.name for choice in choices)
    return [
        choice.name if choice.name and used[choice.name] == 1 else f"choice {at}"
        for at, choice in enumerate(choices)
    ]


def _to_tools(choices: Sequence[ToolMetadata]) -> list[Tool]:
    """Return the choices as tools.

    A name that several have tells nothing, such as the one that LlamaIndex gives every query engine
    without one. Theirs is the index, in single digits: those are no words that a query could share.
    """
    used = Counter((choice.name or "").strip().casefold() for choice in choices)
    mark = "#"
    while any(name.startswith(mark) for name in used):  # a name of somebody's own
        mark += "#"
    tools = []
    for at, choice in enumerate(choices):
        own = (choice.name or "").strip()
        description = choice.description or ""
        alone = bool(own) and used[own.casefold()] == 1
        if not alone and not description.strip():
            raise InputError(
                f"Choice {at} has neither a name of its own nor a description to judge it by."
            )
        given: dict[str, Any] = {
            "name": own if alone else mark + ".".join(str(at)),
            "description": description,
        }
        if choice.fn_schema is not None and choice.fn_schema is not DefaultToolFnSchema:
            given["parameters"] = choice.get_parameters_dict()
        tools.append(Tool.from_schema(given))
    return tools
