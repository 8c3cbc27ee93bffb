"""How choices are judged: by the experts that they name, or by the use of what they describe."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from llama_index.core.tools.types import DefaultToolFnSchema

from tryage.chat.memory import Memory
from tryage.errors import InputError
from tryage.tools import Tool, ToolRanker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.tools import ToolMetadata

    from tryage.decision import Decision
    from tryage.preferences import Preferences
    from tryage.ranking import Ranked
    from tryage.router import Router
    from tryage.tools import Selection, Toolbox

_KEPT = 64  # sets of choices that are read already: an engine asks with the same ones


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of the choices for one query.

    `chosen` are indices of choices, best first; `ranking` says how all stood, under names that
    `places` maps to indices; `note` says what no ranking tells.
    """

    chosen: Sequence[int]
    ranking: Sequence[Ranked]
    places: Mapping[str, int]
    told: Decision | Selection
    note: str = ""


class Judge(Protocol):
    """Chooses among the choices of a selector; `k` as in `ToolRanker.select`."""

    def judge(
        self, choices: Sequence[ToolMetadata], query: str, preferences: Preferences | None
    ) -> Verdict:
        """Choose for one query."""
        ...


class ByExpert:
    """A choice stands for the expert of a router that has the name, or alias, of its tool."""

    def __init__(self, router: Router, k: int | None) -> None:
        self._router, self._k = router, k
        self._narrowed: Memory[Router] = Memory(_KEPT)

    def judge(
        self, choices: Sequence[ToolMetadata], query: str, preferences: Preferences | None
    ) -> Verdict:
        """Route the query among the experts that the choices name.

        Raises:
            InputError: an unnamed choice, or two choices for one expert.
            LibraryError: a choice names an expert that the router does not know.
            NoExpertError, PerceptionError: as in `Router.route`.
        """
        names = self._experts(choices)
        decision = self._among(names).route(query, preferences)
        places = {name: at for at, name in enumerate(names)}
        if decision.default_used:
            default = decision.expert.name
            note = f"{default}: the declared default; {decision.default_reason}"
            return Verdict([places[default]], decision.ranking, places, decision, note)
        best = decision.ranking[: self._k] if self._k else _likely(decision.ranking)
        return Verdict([places[one.name] for one in best], decision.ranking, places, decision)

    def _experts(self, choices: Sequence[ToolMetadata]) -> tuple[str, ...]:
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
        """Narrow the router once per set of choices."""
        router = self._narrowed.get(names)
        if router is None:
            router = self._router.among(list(names))
            self._narrowed.put(names, router)
        return router


class ByDescription:
    """A choice is a tool: how probable it is that what it describes serves the query."""

    def __init__(self, ranker: ToolRanker | None, k: int | None, abstain_below: float) -> None:
        self._ranker = ranker or ToolRanker.from_pretrained()
        self._k, self._abstain_below = k, abstain_below
        self._read: Memory[tuple[Toolbox, dict[str, int]]] = Memory(_KEPT)

    def judge(
        self, choices: Sequence[ToolMetadata], query: str, preferences: Preferences | None
    ) -> Verdict:
        """Rank what the choices describe.

        Raises:
            InputError: a choice has neither a name of its own nor a description.
            NoExpertError: the requirements leave no choice.
        """
        box, places = self._box(choices)
        told = self._ranker.select(
            box, query, self._k, preferences=preferences, abstain_below=self._abstain_below
        )
        note = f"some choice is of use with probability {told.needed:.2f}" if not told.tools else ""
        return Verdict([places[name] for name in told.names], told.ranking, places, told, note)

    def _box(self, choices: Sequence[ToolMetadata]) -> tuple[Toolbox, dict[str, int]]:
        """Read the choices once: their embeddings are kept."""
        key = tuple((choice.name, choice.description, choice.fn_schema) for choice in choices)
        read = self._read.get(key)
        if read is None:
            tools = _tools(choices)
            places = {tool.name: at for at, tool in enumerate(tools)}
            read = self._ranker.toolbox(tools), places
            self._read.put(key, read)
        return read


def _likely(ranking: Sequence[Ranked]) -> Sequence[Ranked]:
    """Return those that are more likely right than not, at least one."""
    return [one for one in ranking if one.predicted_loss < 0.5] or ranking[:1]


def _tools(choices: Sequence[ToolMetadata]) -> list[Tool]:
    """Return the choices as tools.

    A name that several have tells nothing, such as the one that LlamaIndex gives every query engine
    without one. Theirs is the index, in single digits: those are no words that a query could share.
    """
    used = Counter((choice.name or "").strip().casefold() for choice in choices)
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
            "name": own if alone else "#" + ".".join(str(at)),
            "description": description,
        }
        if choice.fn_schema is not None and choice.fn_schema is not DefaultToolFnSchema:
            given["parameters"] = choice.get_parameters_dict()
        tools.append(Tool.from_schema(given))
    return tools
