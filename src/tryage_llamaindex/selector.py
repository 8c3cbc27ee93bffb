"""TryageSelector selects query engines or retrievers by prediction, without an LLM call."""

from __future__ import annotations

import inspect
from collections import Counter
from contextvars import copy_context
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.tools.types import DefaultToolFnSchema
from pydantic import ConfigDict, field_serializer

from tryage.chat.batching import BatchingExecutor
from tryage.core.cache import LRUCache
from tryage.core.decision import Decision  # noqa: TC001 - pydantic reads the annotation
from tryage.core.policy import check_single_calls
from tryage.core.printable import escape_line
from tryage.errors import InputError, NoExpertError, PerceptionError
from tryage.tools.ranker import Selection, ToolRanker, check_k
from tryage.tools.tool import Tool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextvars import Context

    from llama_index.core.schema import QueryBundle
    from llama_index.core.tools import ToolMetadata

    from tryage.core.policy import Policy
    from tryage.core.preferences import Preferences
    from tryage.core.ranking import RankedExpert
    from tryage.router import Router
    from tryage.tools.matching import Toolbox

_MAX_SERIALIZED = 10  # the best of a ranking, which may have thousands

_CHOICES_CACHE_SIZE = 64  # an engine asks with the same choices again and again

_KEY_FIELDS = (attrgetter("name"), attrgetter("description"), attrgetter("fn_schema"))


class TryageSelection(SelectorResult):
    """The selected indices and their reasons, with the decision behind them.

    `decision` is the router's `Decision` or the ranker's `Selection`; None if the default was
    selected because no decision was possible.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    decision: Decision | Selection | None = None

    @field_serializer("decision", when_used="json-unless-none")
    def _write_decision(self, decision: Decision | Selection) -> dict[str, Any]:
        return decision.to_dict(_MAX_SERIALIZED)

    @property
    def abstained(self) -> bool:
        """Whether no choice was selected because no choice seemed to be of use."""
        return not self.selections


class TryageSelector(BaseSelector):
    """Select choices for `RouterQueryEngine`, `RouterRetriever` and similar classes.

    Without a router, choices are ranked by the probability that what they describe serves the
    query. With a router, each choice stands for the expert that has the name of its tool. Flags in
    the query change the decision of a router that allows them; the engine gets the query unchanged.

    Args:
        router: Has an expert for every choice.
        preferences: Weights and requirements of every query.
        ranker: Ranks by descriptions; None is the bundled one.
        k: How many choices are selected; None selects those that are of use with a probability of
            at least a third (with a router, those that are more likely right than not), and at
            least one.
        default: The choice, by index or name, for queries for which no choice can be selected.
        abstain_below: Select no choice, or the default, if the probability that any choice is of
            use is below this. Not with a router: some expert always answers.
        policy: Changes which expert a router chooses, such as `tryage.policies.Budget`; by default
            the router's own.

    Raises:
        InputError: a router and a ranker, a policy without a router or one that asks more than one
            expert, such as a cascade, or a number out of range.
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
        policy: Policy | None = None,
    ) -> None:
        super().__init__()
        if router is not None and (ranker is not None or abstain_below):
            raise InputError("A router selects by itself: give it no ranker and no abstain_below.")
        if policy is not None and router is None:
            raise InputError("A policy changes what a router decides: give the selector a router.")
        if router is not None:
            router = router if policy is None else router.with_policy(policy)
            check_single_calls(router.policies(), "TryageSelector")
        check_k(k, "choices to select")
        self._choice_ranker: ChoiceRanker = (
            DescriptionRanker(ranker, k, abstain_below)
            if router is None
            else ExpertRanker(router, k)
        )
        self._preferences, self._default = preferences, default
        self._executor: BatchingExecutor[_SelectorCall, TryageSelection] = BatchingExecutor(
            _select_all
        )

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> TryageSelection:
        if not choices:
            raise InputError("No choices were given. Expected at least one to select.")
        default = self._default_index(choices)
        try:
            ranking = self._choice_ranker.rank(choices, query.query_str, self._preferences)
        except (NoExpertError, PerceptionError) as error:
            if default is None:
                raise
            reason = str(error).splitlines()[0]
            return TryageSelection(selections=[_default_selection(default, reason)])
        selections = [
            SingleSelection(index=index, reason=reason)
            for index, reason in zip(
                ranking.selected_indices, _selection_reasons(ranking), strict=True
            )
        ]
        if not selections and default is not None:
            selections = [_default_selection(default, ranking.note)]
        return TryageSelection(selections=selections, decision=ranking.decision)

    # LlamaIndex asks for the signature at every call. Finding it takes longer than selecting.
    _select.__signature__ = inspect.signature(_select)  # type: ignore[attr-defined]  # functions have attributes

    async def _aselect(
        self, choices: Sequence[ToolMetadata], query: QueryBundle
    ) -> TryageSelection:
        size = len(query.query_str) + sum(len(choice.description or "") for choice in choices)
        return await self._executor.run((self, choices, query, copy_context()), size)

    def _default_index(self, choices: Sequence[ToolMetadata]) -> int | None:
        """Return the index of the default.

        Raises:
            InputError: it is not one of the choices.
        """
        if self._default is None:
            return None
        names = [choice.name for choice in choices]
        if self._default in names:
            return names.index(str(self._default))
        if isinstance(self._default, int) and 0 <= self._default < len(choices):
            return int(self._default)
        raise InputError(f"The default {self._default!r} is not one of the {len(choices)} choices.")

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: dict[str, Any]) -> None:
        """Accept nothing: there is no LLM to prompt."""


_SelectorCall: TypeAlias = "tuple[TryageSelector, Sequence[ToolMetadata], QueryBundle, Context]"


def _select_all(calls: Sequence[_SelectorCall]) -> list[TryageSelection | Exception]:
    """Select for each call; an error takes the place of a selection."""
    return [_select_or_error(*call) for call in calls]


def _select_or_error(
    selector: TryageSelector,
    choices: Sequence[ToolMetadata],
    query: QueryBundle,
    context: Context,
) -> TryageSelection | Exception:
    """Select in the context of the coroutine that waits, so that traces show what belongs to it."""
    try:
        return context.run(selector._select, choices=choices, query=query)  # noqa: SLF001 - our own class
    except Exception as error:  # noqa: BLE001 - the coroutine that waits for the selection gets it
        return error


def _default_selection(index: int, reason: str) -> SingleSelection:
    return SingleSelection(index=index, reason=f"the default; {reason}")


# What a ranker of choices returns --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChoiceRanking:
    """The choices for one query, ranked.

    `selected_indices` are the indices of the selected choices, best first. `ranking` holds all
    choices, under names that `index_by_name` maps to indices. `labels` name the choices for
    people. `note` is the reason if the ranking does not show it.
    """

    selected_indices: Sequence[int]
    ranking: Sequence[RankedExpert]
    index_by_name: Mapping[str, int]
    labels: Sequence[str]
    decision: Decision | Selection
    note: str = ""


def _selection_reasons(ranking: ChoiceRanking) -> list[str]:
    """Say for each chosen index its score, and how far it is from the best that was not chosen."""
    if ranking.note:
        return [ranking.note] * len(ranking.selected_indices)
    selected_experts: dict[int, RankedExpert] = {}
    runner_up: RankedExpert | None = None
    for expert in ranking.ranking:
        index = ranking.index_by_name[expert.name]
        if index in ranking.selected_indices:
            selected_experts[index] = expert
        elif runner_up is None:
            runner_up = expert
        if runner_up is not None and len(selected_experts) == len(ranking.selected_indices):
            break  # the rest of a long ranking need not be sorted
    return [
        _reason(ranking, index, selected_experts[index], runner_up)
        for index in ranking.selected_indices
    ]


def _reason(
    ranking: ChoiceRanking, index: int, expert: RankedExpert, runner_up: RankedExpert | None
) -> str:
    terms = "".join(f" + {name} {term:.3f}" for name, term in expert.terms.items())
    score = f"{ranking.labels[index]}: predicted loss {expert.predicted_loss:.3f}{terms}"
    if runner_up is None:
        return score
    margin = runner_up.total - expert.total
    runner_up_label = ranking.labels[ranking.index_by_name[runner_up.name]]
    return f"{score}, {abs(margin):.3f} {'ahead of' if margin >= 0 else 'behind'} {runner_up_label}"


# The two rankers of choices --------------------------------------------------------------------


class ChoiceRanker(Protocol):
    """Ranks the choices of a selector."""

    def rank(
        self, choices: Sequence[ToolMetadata], query: str, preferences: Preferences | None
    ) -> ChoiceRanking:
        """Rank the choices for one query."""
        ...


class ExpertRanker:
    """Ranks by a router: a choice stands for the expert with the name, or alias, of its tool.

    `k` limits the number of choices; None chooses those that are more likely right than not, and
    at least one.
    """

    def __init__(self, router: Router, k: int | None) -> None:
        self._router, self._k = router, k
        self._restricted_routers: LRUCache[tuple[Router, dict[str, int]]] = LRUCache(
            _CHOICES_CACHE_SIZE
        )

    def rank(
        self, choices: Sequence[ToolMetadata], query: str, preferences: Preferences | None
    ) -> ChoiceRanking:
        """Route the query among the experts that the choices name.

        Raises:
            InputError: a choice without a name, or two choices for one expert.
            LibraryError: a choice names an expert that the router does not know.
            NoExpertError, PerceptionError: as in `Router.route`.
        """
        labels = tuple(choice.name or "" for choice in choices)
        router, index_by_name = self._restrict_router(labels)
        decision = router.route(query, preferences)
        if decision.default_used:
            default = decision.expert.name
            selected_indices = [index_by_name[default]]
            note = f"{default}: the declared default; {decision.default_reason}"
        else:
            selected_indices = [
                index_by_name[expert.name] for expert in self._choose(decision.ranking)
            ]
            note = "; ".join(f"{one.policy}: {one.reason}" for one in decision.changes)
        return ChoiceRanking(
            selected_indices, decision.ranking, index_by_name, labels, decision, note
        )

    def _choose(self, ranking: Sequence[RankedExpert]) -> Sequence[RankedExpert]:
        if self._k is not None:
            return ranking[: self._k]
        return [expert for expert in ranking if expert.predicted_loss < 0.5] or ranking[:1]

    def _restrict_router(self, names: tuple[str, ...]) -> tuple[Router, dict[str, int]]:
        """Return a router over these experts, made once, and the index of each expert."""
        entry = self._restricted_routers.get(names)
        if entry is None:
            experts = self._expert_names(names)
            index_by_name = {name: index for index, name in enumerate(experts)}
            entry = self._router.subset(experts), index_by_name
            self._restricted_routers.put(names, entry)
        return entry

    def _expert_names(self, names: Sequence[str]) -> list[str]:
        if "" in names:
            raise InputError(
                f"Choice {names.index('')} has no name. Name each tool after an expert of the "
                "router: QueryEngineTool.from_defaults(engine, name=...)."
            )
        experts = [self._router.library[name].name for name in names]
        duplicates = [name for name, count in Counter(experts).items() if count > 1]
        if duplicates:
            raise InputError(
                f"Several choices stand for {duplicates[0]!r}. Give each tool an expert of its own."
            )
        return experts


class DescriptionRanker:
    """Ranks by a ToolRanker: a choice is a tool, and its description says what it is of use for.

    `k` and `abstain_below` are those of `ToolRanker.select`.
    """

    def __init__(self, ranker: ToolRanker | None, k: int | None, abstain_below: float) -> None:
        self._ranker = ranker or ToolRanker.from_pretrained()
        self._k, self._abstain_below = k, abstain_below
        self._toolboxes: LRUCache[_ChoiceToolbox] = LRUCache(_CHOICES_CACHE_SIZE)

    def rank(
        self, choices: Sequence[ToolMetadata], query: str, preferences: Preferences | None
    ) -> ChoiceRanking:
        """Rank the choices by what they describe.

        Raises:
            NoExpertError: the requirements leave no choice.
        """
        choice_toolbox = self._choice_toolbox(choices)
        selection = self._ranker.select(
            choice_toolbox.toolbox,
            query,
            self._k,
            preferences=preferences,
            abstain_below=self._abstain_below,
        )
        note = ""
        if selection.abstained:
            note = f"some choice is of use with probability {selection.needed:.2f}"
        return ChoiceRanking(
            selection.positions,
            selection.ranking,
            choice_toolbox.index_by_name,
            choice_toolbox.labels,
            selection,
            note,
        )

    def _choice_toolbox(self, choices: Sequence[ToolMetadata]) -> _ChoiceToolbox:
        """Read choices once, by their texts: LlamaIndex makes new objects for every query."""
        key = tuple(tuple(map(field, choices)) for field in _KEY_FIELDS)
        choice_toolbox = self._toolboxes.get(key)
        if choice_toolbox is None:
            toolbox = self._ranker.toolbox(_to_tools(choices))
            index_by_name = {name: index for index, name in enumerate(toolbox.library.names)}
            choice_toolbox = _ChoiceToolbox(toolbox, index_by_name, _choice_labels(choices))
            self._toolboxes.put(key, choice_toolbox)
        return choice_toolbox


@dataclass(frozen=True, slots=True)
class _ChoiceToolbox:
    """Choices as tools, their indices by name, and their labels."""

    toolbox: Toolbox
    index_by_name: Mapping[str, int]
    labels: Sequence[str]


def _choice_labels(choices: Sequence[ToolMetadata]) -> list[str]:
    """Return a label for each choice: its name if no other choice has it, else its index."""
    names = list(map(_name, choices))
    counts = Counter(names)
    return [
        name if name and counts[name] == 1 else f"choice {index}"
        for index, name in enumerate(names)
    ]


def _to_tools(choices: Sequence[ToolMetadata]) -> list[Tool]:
    """Return the choices as tools.

    A name that several choices have says nothing, such as the one that LlamaIndex gives every query
    engine without a name. The index stands in its place, digit by digit: a query cannot share
    single digits as words. Without a description the name is all there is, so it stays.
    """
    counts = Counter(_name(choice).casefold() for choice in choices)
    tools = []
    for index, choice in enumerate(choices):
        name, is_described = _name(choice), bool((choice.description or "").strip())
        if not name or (is_described and counts[name.casefold()] > 1):
            name = "#" + ".".join(str(index))
        tools.append(_to_tool(name, choice))
    return tools


def _name(choice: ToolMetadata) -> str:
    """Return the name as an expert may have it."""
    return escape_line((choice.name or "").strip())


def _to_tool(name: str, choice: ToolMetadata) -> Tool:
    schema: dict[str, Any] = {"name": name, "description": choice.description or ""}
    if choice.fn_schema is not None and choice.fn_schema is not DefaultToolFnSchema:
        schema["parameters"] = choice.get_parameters_dict()
    return Tool.from_schema(schema)
