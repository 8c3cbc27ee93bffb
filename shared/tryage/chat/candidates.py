"""What is known of the models that people already have: from whom, in which order, and whence."""

from __future__ import annotations

import re
import threading
import warnings
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tryage.chat.model_names import bundled_library, group_identical_experts, resolve_model_name
from tryage.chat.router import ChatRouter, Sticky
from tryage.core.cache import LRUCache
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.preferences import Preferences
from tryage.core.request import merge_preferences
from tryage.errors import CatalogueError
from tryage.perception.base import DeduplicatedPerception
from tryage.router import Router

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tryage.hub.catalog import Catalogue

_IDENTITY_FIELDS = ("name", "aliases", "metadata")

_REPOSITORY_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ClientFacts:
    """What a client tells of the model that it calls: its name, if any, and fields of an expert."""

    name: str | None
    facts: Mapping[str, Any]
    source: str = "the model's own profile"


class _FactLayer(NamedTuple):
    """What one of those who know a model says; `source` of a fact that has none of its own."""

    expert: Expert
    source: str | None = None


def candidate_experts(
    clients: Mapping[str, ClientFacts],
    router_library: Library | None,
    user_experts: Iterable[Expert],
) -> list[Expert]:
    """Return what is known of the models, under the user's names for them.

    A fact is that of the first who knows it: the user, the client, the library of the user's own
    router, the user's catalogue of the Hub, the bundled library. `metadata["sources"]` says whence.

    Args:
        clients: What each client tells.
        known: The library of a router of one's own; None is the bundled one.
        said: What the user says, under the same names.
    """
    own = {expert.name.casefold(): expert for expert in user_experts}
    synced = (
        router_library is not None and router_library.origin is not None
    )  # then it is from a catalogue already
    with closing(LocalCatalog(disabled=synced)) as catalog:
        return [
            _candidate_expert(name, told, own.get(name.casefold()), router_library, catalog)
            for name, told in clients.items()
        ]


def _candidate_expert(
    name: str,
    client_facts: ClientFacts,
    user_expert: Expert | None,
    router_library: Library | None,
    catalog: LocalCatalog,
) -> Expert:
    """Return what is known of one model; the name that it is known under becomes an alias."""
    names = [name] if client_facts.name is None else [name, client_facts.name]
    match, repository = _matching_experts(
        names, bundled_library() if router_library is None else router_library, catalog
    )
    # The bundled library is a snapshot, which the Hub has moved on from.
    both = (match, repository) if router_library is None else (repository, match)
    layers = [
        *(_FactLayer(one) for one in both if one is not None),
        _FactLayer(Expert(name, **client_facts.facts), client_facts.source),
        *([] if user_expert is None else [_FactLayer(user_expert, "given by you")]),
    ]
    alias = next((one.name for one in (match, repository) if one is not None), name)
    aliases = () if alias.casefold() == name.casefold() else (alias,)
    return _with_structured_output(replace(_merge_layers(layers), name=name, aliases=aliases))


def _matching_experts(
    names: list[str], library: Library, catalog: LocalCatalog
) -> tuple[Expert | None, Expert | None]:
    """Return whom the names mean in a library and in the catalogue."""
    match = next(filter(None, (resolve_model_name(library, name) for name in names)), None)
    if match is not None:
        return match, catalog.lookup([*names, match.name, *match.aliases])
    repository = catalog.lookup(names)
    # The Hub knows under which name a model was known before.
    return (
        None if repository is None else resolve_model_name(library, repository.name)
    ), repository


def _merge_layers(layers: Sequence[_FactLayer]) -> Expert:
    """Return all that is said, each fact by the last who says it, with whence it is known."""
    facts: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    for layer in layers:
        metadata |= layer.expert.metadata
        for field, value, source in _sourced_facts(layer):
            facts[field], sources[field] = value, source
    metadata["sources"] = {field: source for field, source in sources.items() if source is not None}
    if not metadata["sources"]:
        del metadata["sources"]
    return Expert.from_dict({"name": layers[-1].expert.name, **facts, "metadata": metadata})


def _sourced_facts(layer: _FactLayer) -> Iterator[tuple[str, Any, Any]]:
    told = layer.expert.metadata.get("sources")
    sources = told if isinstance(told, dict) else {}
    for field, value in layer.expert.to_dict().items():
        if field not in _IDENTITY_FIELDS:
            yield field, value, sources.get(field, layer.source)


def _with_structured_output(expert: Expert) -> Expert:
    """Without a format of their own, answers of a schema go through a tool call."""
    if expert.capabilities is None or "tools" not in expert.capabilities:
        return expert
    return replace(expert, capabilities=expert.capabilities | {"structured_output"})


class LocalCatalog:
    """The catalogue that `tryage hub sync` has filled, if there is one.

    One that cannot be read is left alone, with a warning: the models can be asked without it. One
    that is `closed` is not looked at.
    """

    def __init__(self, *, disabled: bool = False) -> None:
        from tryage.hub.catalog import Catalogue

        found = Catalogue()
        there = not disabled and found.path.is_file()
        self._catalog: Catalogue | None = found if there else None

    def lookup(self, names: Iterable[str]) -> Expert | None:
        """Return what is known of the first of these names that is a model's, each fact sourced.

        A repository is meant by its id, with or without a provider around it.
        """
        if self._catalog is None:
            return None
        from tryage.hub.model import to_expert

        try:
            for repository in dict.fromkeys(_repository_ids(names)):
                if (model := self._catalog.get(repository)) is not None:
                    return to_expert(model)
        except CatalogueError as error:
            warnings.warn(f"No facts are taken from the catalogue: {error}", stacklevel=2)
            self._catalog = None
        return None

    def close(self) -> None:
        """Close the file."""
        if self._catalog is not None:
            self._catalog.close()


def _repository_ids(names: Iterable[str]) -> Iterator[str]:
    """Yield the repositories that names may mean: "together:org/name", "org/name:free".

    A name without a slash is nobody's id: "llama3:8b" is no model of an owner called llama3.
    """
    for name in names:
        for spelling in (name, name.partition(":")[2], name.rpartition(":")[0]):
            repository = "/".join(spelling.strip().split("/")[-2:])
            if _REPOSITORY_ID.fullmatch(repository):
                yield repository


@dataclass(frozen=True)
class CandidatePool:
    """The experts that the clients are, in their order.

    `twins` says which of them are one model at two providers.
    """

    library: Library
    duplicates: dict[str, str]

    @classmethod
    def from_experts(
        cls, candidates: Iterable[Expert], router_library: Library | None
    ) -> CandidatePool:
        """Return the pool of these experts, in which one model may have several providers.

        `known` is the library of a router of one's own: the facts are as old as it is.

        Raises:
            LibraryError: two names clash.
        """
        experts, duplicates = group_identical_experts(candidates)
        library = Library(experts)
        library.origin = None if router_library is None else router_library.origin
        return cls(library, duplicates)

    def build_router(
        self, base: Router, preferences: Preferences | None, default: str | None
    ) -> Router:
        """Return a router over the pool that decides as another does.

        Raises:
            PerceptionError: a model is new to the router's perception, which has no guess at it.
        """
        perception = base.perception
        if self.duplicates:
            alone = [name for name in self.library.names if name not in self.duplicates]
            perception = DeduplicatedPerception(
                perception, self.library.subset(alone), self.duplicates
            )
        inherited = base.default if base.default in self.library else None
        return Router(
            perception,
            self.library,
            preferences=merge_preferences(base.preferences, preferences or Preferences()),
            constraints=base.constraints,
            default=default or inherited,
            strict=base.strict,
            prompt_flags=base.prompt_flags,
        )


class RouterCache:
    """The chat routers of a pool, made when first used: one for each way of choosing.

    Copies of a chat model share them, so that copies with other preferences do not push out what
    is remembered of conversations; a pickle starts anew.
    """

    def __init__(self) -> None:
        # The parts are kept with what was made of them: a key is only theirs while they live.
        self._routers: LRUCache[tuple[tuple[object, ...], ChatRouter]] = LRUCache(16)
        self._lock = threading.Lock()

    def get(
        self,
        pool: CandidatePool,
        router: Router | None,
        preferences: Preferences | None,
        default: str | None,
        sticky: Sticky,
    ) -> ChatRouter:
        """Return what chooses; without a router of one's own, the bundled one is read now."""
        key = (id(pool), id(router), id(preferences), default, sticky)
        held = self._routers.get(key)
        if held is None:
            with self._lock:
                held = self._routers.get(key)
                if held is None:
                    base = Router.from_pretrained() if router is None else router
                    made = ChatRouter(pool.build_router(base, preferences, default), sticky=sticky)
                    held = (pool, router, preferences), made
                    self._routers.put(key, held)
        return held[1]

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep nothing: what is remembered belongs to conversations of this process."""
        return type(self), ()
