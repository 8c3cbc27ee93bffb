"""What is known of the models that people already have: from whom, in which order, and whence."""

from __future__ import annotations

import re
import threading
import warnings
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tryage.chat.model_names import bundled_library, recognise, twins
from tryage.chat.router import ChatRouter, Sticky
from tryage.core.cache import Memory
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.preferences import Preferences
from tryage.core.request import merged
from tryage.errors import CatalogueError
from tryage.perception.base import Twins
from tryage.router import Router

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tryage.hub.catalog import Catalogue

_NO_FACTS = ("name", "aliases", "metadata")

_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Told:
    """What a client tells of the model that it calls: its name, if any, and fields of an expert."""

    name: str | None
    facts: Mapping[str, Any]
    source: str = "the model's own profile"


class _Layer(NamedTuple):
    """What one of those who know a model says; `source` of a fact that has none of its own."""

    expert: Expert
    source: str | None = None


def experts_of(
    clients: Mapping[str, Told], known: Library | None, said: Iterable[Expert]
) -> list[Expert]:
    """Return what is known of the models, under the user's names for them.

    A fact is that of the first who knows it: the user, the client, the library of the user's own
    router, the user's catalogue of the Hub, the bundled library. `metadata["sources"]` says whence.

    Args:
        clients: What each client tells.
        known: The library of a router of one's own; None is the bundled one.
        said: What the user says, under the same names.
    """
    own = {expert.name.casefold(): expert for expert in said}
    synced = known is not None and known.origin is not None  # then it is from a catalogue already
    with closing(Shelf(closed=synced)) as shelf:
        return [
            _expert(name, told, own.get(name.casefold()), known, shelf)
            for name, told in clients.items()
        ]


def _expert(
    name: str, told: Told, said: Expert | None, known: Library | None, shelf: Shelf
) -> Expert:
    """Return what is known of one model; the name that it is known under becomes an alias."""
    names = [name] if told.name is None else [name, told.name]
    meant, repository = _meant(names, bundled_library() if known is None else known, shelf)
    # The bundled library is a snapshot, which the Hub has moved on from.
    both = (meant, repository) if known is None else (repository, meant)
    layers = [
        *(_Layer(one) for one in both if one is not None),
        _Layer(Expert(name, **told.facts), told.source),
        *([] if said is None else [_Layer(said, "given by you")]),
    ]
    alias = next((one.name for one in (meant, repository) if one is not None), name)
    aliases = () if alias.casefold() == name.casefold() else (alias,)
    return _with_formats(replace(_laid(layers), name=name, aliases=aliases))


def _meant(names: list[str], library: Library, shelf: Shelf) -> tuple[Expert | None, Expert | None]:
    """Return whom the names mean in a library and in the catalogue."""
    meant = next(filter(None, (recognise(library, name) for name in names)), None)
    if meant is not None:
        return meant, shelf.find([*names, meant.name, *meant.aliases])
    repository = shelf.find(names)
    # The Hub knows under which name a model was known before.
    return (None if repository is None else recognise(library, repository.name)), repository


def _laid(layers: Sequence[_Layer]) -> Expert:
    """Return all that is said, each fact by the last who says it, with whence it is known."""
    facts: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    for layer in layers:
        metadata |= layer.expert.metadata
        for field, value, source in _facts(layer):
            facts[field], sources[field] = value, source
    metadata["sources"] = {field: source for field, source in sources.items() if source is not None}
    if not metadata["sources"]:
        del metadata["sources"]
    return Expert.from_dict({"name": layers[-1].expert.name, **facts, "metadata": metadata})


def _facts(layer: _Layer) -> Iterator[tuple[str, Any, Any]]:
    told = layer.expert.metadata.get("sources")
    sources = told if isinstance(told, dict) else {}
    for field, value in layer.expert.to_dict().items():
        if field not in _NO_FACTS:
            yield field, value, sources.get(field, layer.source)


def _with_formats(expert: Expert) -> Expert:
    """Without a format of their own, answers of a schema go through a tool call."""
    if expert.capabilities is None or "tools" not in expert.capabilities:
        return expert
    return replace(expert, capabilities=expert.capabilities | {"structured_output"})


class Shelf:
    """The catalogue that `tryage hub sync` has filled, if there is one.

    One that cannot be read is left alone, with a warning: the models can be asked without it. One
    that is `closed` is not looked at.
    """

    def __init__(self, *, closed: bool = False) -> None:
        from tryage.hub.catalog import Catalogue

        found = Catalogue()
        there = not closed and found.path.is_file()
        self._catalogue: Catalogue | None = found if there else None

    def find(self, names: Iterable[str]) -> Expert | None:
        """Return what is known of the first of these names that is a model's, each fact sourced.

        A repository is meant by its id, with or without a provider around it.
        """
        if self._catalogue is None:
            return None
        from tryage.hub.model import to_expert

        try:
            for repository in dict.fromkeys(_ids(names)):
                if (model := self._catalogue.get(repository)) is not None:
                    return to_expert(model)
        except CatalogueError as error:
            warnings.warn(f"No facts are taken from the catalogue: {error}", stacklevel=2)
            self._catalogue = None
        return None

    def close(self) -> None:
        """Close the file."""
        if self._catalogue is not None:
            self._catalogue.close()


def _ids(names: Iterable[str]) -> Iterator[str]:
    """Yield the repositories that names may mean: "together:org/name", "org/name:free".

    A name without a slash is nobody's id: "llama3:8b" is no model of an owner called llama3.
    """
    for name in names:
        for spelling in (name, name.partition(":")[2], name.rpartition(":")[0]):
            repository = "/".join(spelling.strip().split("/")[-2:])
            if _ID.fullmatch(repository):
                yield repository


@dataclass(frozen=True)
class Pool:
    """The experts that the clients are, in their order.

    `twins` says which of them are one model at two providers.
    """

    library: Library
    twins: dict[str, str]

    @classmethod
    def of(cls, found: Iterable[Expert], known: Library | None) -> Pool:
        """Return the pool of these experts, in which one model may have several providers.

        `known` is the library of a router of one's own: the facts are as old as it is.

        Raises:
            LibraryError: two names clash.
        """
        experts, equal = twins(found)
        library = Library(experts)
        library.origin = None if known is None else known.origin
        return cls(library, equal)

    def router(self, base: Router, preferences: Preferences | None, default: str | None) -> Router:
        """Return a router over the pool that decides as another does.

        Raises:
            PerceptionError: a model is new to the router's perception, which has no guess at it.
        """
        perception = base.perception
        if self.twins:
            alone = [name for name in self.library.names if name not in self.twins]
            perception = Twins(perception, self.library.subset(alone), self.twins)
        inherited = base.default if base.default in self.library else None
        return Router(
            perception,
            self.library,
            preferences=merged(base.preferences, preferences or Preferences()),
            constraints=base.constraints,
            default=default or inherited,
            strict=base.strict,
            prompt_flags=base.prompt_flags,
        )


class Choosers:
    """The chat routers of a pool, made when first used: one for each way of choosing.

    Copies of a chat model share them, so that copies with other preferences do not push out what
    is remembered of conversations; a pickle starts anew.
    """

    def __init__(self) -> None:
        # The parts are kept with what was made of them: a key is only theirs while they live.
        self._held: Memory[tuple[tuple[object, ...], ChatRouter]] = Memory(16)
        self._lock = threading.Lock()

    def get(
        self,
        found: Pool,
        router: Router | None,
        preferences: Preferences | None,
        default: str | None,
        sticky: Sticky,
    ) -> ChatRouter:
        """Return what chooses; without a router of one's own, the bundled one is read now."""
        key = (id(found), id(router), id(preferences), default, sticky)
        held = self._held.get(key)
        if held is None:
            with self._lock:
                held = self._held.get(key)
                if held is None:
                    base = Router.from_pretrained() if router is None else router
                    made = ChatRouter(found.router(base, preferences, default), sticky=sticky)
                    held = (found, router, preferences), made
                    self._held.put(key, held)
        return held[1]

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep nothing: what is remembered belongs to conversations of this process."""
        return type(self), ()
