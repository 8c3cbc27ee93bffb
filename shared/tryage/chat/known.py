"""What is known of the models that people already have: from whom, in which order, and whence."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tryage.chat.catalogue import Shelf
from tryage.chat.facts import bundled_library
from tryage.chat.recognition import recognise
from tryage.experts import Expert

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tryage.experts import Library

_NO_FACTS = ("name", "aliases", "metadata")


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
