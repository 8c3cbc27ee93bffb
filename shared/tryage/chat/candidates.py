"""The experts behind a user's models: facts merged from several sources, and routers over them."""

from __future__ import annotations

import logging
import re
import warnings
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tryage.chat.conversation import ASSUMED_CAPABILITIES_KEY
from tryage.chat.efforts import join_effort, split_effort
from tryage.chat.model_names import (
    bundled_library,
    find_model,
    group_identical_experts,
    match_user_experts,
    resolve_model_name,
)
from tryage.chat.router import ChatRouter, Sticky
from tryage.core.cache import LRUCache
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.preferences import Preferences
from tryage.core.request import merge_preferences
from tryage.core.token_estimate import estimate_tokens
from tryage.core.unknown_experts import announce_once, describe_unknown
from tryage.errors import CatalogueError
from tryage.locks import ForkSafeLock
from tryage.models.efforts import REASONING_TOKENS, default_effort, token_ratio
from tryage.models.lookup import LOCAL_SOURCE, look_up, to_expert
from tryage.models.refresh import current_snapshot
from tryage.perception.public_facts import with_published_facts
from tryage.perception.wrappers import DeduplicatedPerception
from tryage.router import Router

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tryage.chat.conversation import TokenCounter
    from tryage.core.exploration import Exploration
    from tryage.core.policy import Policy
    from tryage.hub.catalog import Catalogue
    from tryage.traffic.traffic import Traffic

_log = logging.getLogger(__name__)

_IDENTITY_FIELDS = ("name", "aliases", "metadata")

_EXPECTED_LENGTH = "expected of a model that reasons with this effort"

_PRICE_FIELDS = ("input_price", "output_price", "cached_input_price")

_DOCUMENT_CAPABILITIES = frozenset({"pdf", "video", "files"})

_VISUAL_CAPABILITIES = frozenset({"pdf", "video"})  # a model that sees no images reads neither

_REPOSITORY_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class CandidatePool:
    """One expert for each client, in their order.

    `duplicates` maps an expert to the one that is the same model at another provider.
    """

    library: Library
    duplicates: dict[str, str]

    @classmethod
    def from_experts(
        cls, candidates: Iterable[Expert], router_library: Library | None
    ) -> CandidatePool:
        """Return the pool of these experts, in which one model may have several providers.

        The pool has the origin of `router_library`, the library of the user's own router, because
        its facts have the same age.

        Raises:
            LibraryError: two names clash.
        """
        experts, duplicates = group_identical_experts(candidates)
        library = Library(experts)
        announce_once(library, lambda: None)  # `candidate_experts` has announced what is unknown
        library.origin = None if router_library is None else router_library.origin
        return cls(library, duplicates)

    def build_router(  # noqa: PLR0913 - what a router over the pool may have of its own
        self,
        base: Router,
        preferences: Preferences | None,
        default: str | None,
        *,
        default_exempt: bool = False,
        traffic: Traffic | str | None = None,
        exploration: Exploration | None = None,
        policy: Policy | None = None,
    ) -> Router:
        """Return a router over the pool that decides as `base` does.

        Without a `default` it is that of `base`, if it is in the pool, exempt as it is there. So
        are the log of traffic, exploration and policy. What it learns from a log `base` does not
        know: the names in the log are those of the pool.

        Raises:
            PerceptionError: a model is new to the router's perception, which cannot estimate it.
        """
        log = traffic if traffic is not None else base.traffic
        perception = base.perception
        if log is not None:
            innermost = perception.innermost() if base.log is None else base.log.frozen
            perception = perception.around(innermost.copy())
        if self.duplicates:
            unique_names = [name for name in self.library.names if name not in self.duplicates]
            perception = DeduplicatedPerception(
                perception, self.library.subset(unique_names), self.duplicates
            )
        base_default = base.default if base.default in self.library else None
        own_default = None if default is None else find_model(self.library, default)
        chosen_default = own_default or base_default
        return Router(
            perception,
            self.library,
            preferences=merge_preferences(base.preferences, preferences or Preferences()),
            constraints=base.constraints,
            default=chosen_default,
            default_exempt=default_exempt or (default is None and base.default_exempt),
            strict=base.strict,
            prompt_flags=base.prompt_flags,
            min_typicality=None if chosen_default is None else base.min_typicality,
            traffic=log,
            exploration=base.exploration if exploration is None else exploration,
            policy=base.policy if policy is None else policy,
        )


@dataclass(frozen=True)
class RouterSettings:
    """What a chat router over a pool depends on; the bundled router if `router` is None."""

    router: Router | None = None
    preferences: Preferences | None = None
    default: str | None = None
    default_exempt: bool = False
    sticky: Sticky = "turn"
    traffic: Traffic | str | None = None
    exploration: Exploration | None = None
    policy: Policy | None = None

    def build(self, pool: CandidatePool, count: TokenCounter) -> ChatRouter:
        """Return a new chat router over a pool."""
        base = Router.from_pretrained() if self.router is None else self.router
        router = base.map_routers(partial(self._build_router, pool))
        return ChatRouter(router, sticky=self.sticky, count=count)

    def _build_router(self, pool: CandidatePool, base: Router) -> Router:
        return pool.build_router(
            base,
            self.preferences,
            self.default,
            default_exempt=self.default_exempt,
            traffic=self.traffic,
            exploration=self.exploration,
            policy=self.policy,
        )


class RouterCache:
    """The chat routers of a pool, one for each combination of settings, made when first used.

    Copies of a chat model share the cache, so copies with other preferences do not displace the
    remembered conversations. A pickle starts empty.
    """

    def __init__(self) -> None:
        # Each entry keeps the objects of its key alive: an id is unique only while they live.
        self._routers: LRUCache[tuple[tuple[object, ...], ChatRouter]] = LRUCache(16)
        self._lock = ForkSafeLock()

    def get(
        self, pool: CandidatePool, settings: RouterSettings, count: TokenCounter = estimate_tokens
    ) -> ChatRouter:
        """Return the chat router of these settings; it counts tokens with the first `count`.

        Threads that ask for the same settings at once get the same chat router.
        """
        ids = id(pool), id(settings.router), id(settings.preferences)
        log = settings.traffic if isinstance(settings.traffic, str) else id(settings.traffic)
        key = (
            *(*ids, settings.default, settings.default_exempt, settings.sticky),
            *(log, settings.exploration, id(settings.policy)),
        )
        entry = self._routers.get(key)
        if entry is None:
            with self._lock:
                entry = self._routers.get(key)
                if entry is None:
                    entry = (pool, settings), settings.build(pool, count)
                    self._routers.put(key, entry)
        return entry[1]

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep nothing: the remembered conversations belong to this process."""
        return type(self), ()


@dataclass(frozen=True)
class ClientFacts:
    """What a client says about its model: the name, if it has one, and fields of an expert.

    `base_url` is the address that it calls, None if it does not say. `effort` is the reasoning
    effort with which it asks its model, None for the model's own default.
    """

    name: str | None
    facts: Mapping[str, Any]
    source: str = "the model's own profile"
    base_url: str | None = None
    effort: str | None = None


def candidate_experts(
    clients: Mapping[str, ClientFacts],
    router_library: Library | None,
    user_experts: Iterable[Expert],
) -> list[Expert]:
    """Return one expert for each client, under the user's name, with all known facts.

    Each fact comes from the first source that has it: the user, the client, the library of the
    user's own router, the user's catalogue of the Hub, the bundled library, public tables; but
    the prices of public tables are newer than those of the two before. The source of each
    fact is in `metadata["sources"]`. One warning is logged about all models of which nothing is
    known and all prices that are not.

    Args:
        clients: What each client says about its model.
        router_library: The library of the user's own router; None means the bundled library.
        user_experts: What the user says about the models, under names that mean them.

    Raises:
        InputError: an expert of the user is none of the models, or may be one of several.
    """
    library = bundled_library() if router_library is None else router_library
    names = {name: _names_of(name, client) for name, client in clients.items()}
    user_facts = _match_user_experts(names, list(user_experts), library)
    # A library with an origin comes from a catalogue already.
    is_from_catalog = router_library is not None and router_library.origin is not None
    with closing(LocalCatalog(disabled=is_from_catalog)) as catalog:
        matches = {
            name: _matching_experts(
                [*names[name], *(user_facts[name].aliases if name in user_facts else ())],
                effort_of(name, client, user_facts.get(name)),
                library,
                catalog,
            )
            for name, client in clients.items()
        }
    experts = [
        _candidate_expert(
            name, client, user_facts.get(name), matches[name], is_bundled=router_library is None
        )
        for name, client in clients.items()
    ]
    unmeasured = {
        name
        for name in clients
        if not any(matches[name]) and not _is_told_quality(user_facts.get(name))
    }
    unknown = {name for name in unmeasured if not any(map(current_snapshot().find, names[name]))}
    if message := describe_unknown(experts, unknown):
        _log.warning("%s%s", message, _near_names([name for name in clients if name in unknown]))
    if guessed := sorted(unmeasured - unknown):
        _log.info("The quality of %s is estimated from public facts.", ", ".join(guessed[:10]))
    return experts


_MAX_COMPARED_NAMES = 20  # each is compared with all names of the snapshot, in about 4 ms


def _near_names(unknown: Sequence[str]) -> str:
    """Return for each unknown name that resembles known ones which model may be meant."""
    near = {name: current_snapshot().suggest(name) for name in unknown[:_MAX_COMPARED_NAMES]}
    return "".join(
        f" Is {name!r:.80} misspelt? Did you mean {', '.join(models)}?"
        for name, models in near.items()
        if models
    )


def effort_of(name: str, client: ClientFacts, user_expert: Expert | None = None) -> str | None:
    """Return the effort with which a model is asked; None for the model's own default."""
    told = None if user_expert is None else user_expert.effort
    return client.effort or told or split_effort(name)[1]


def _is_told_quality(user_expert: Expert | None) -> bool:
    return user_expert is not None and user_expert.about_as_good_as is not None


def _names_of(name: str, client: ClientFacts) -> list[str]:
    """Return the names that a model goes by, without an effort."""
    own = [] if client.name is None else [client.name]
    return [split_effort(given)[0] for given in (name, *own)]


def _match_user_experts(
    names: Mapping[str, Sequence[str]], user_experts: Sequence[Expert], library: Library
) -> dict[str, Expert]:
    """Return the expert that describes each model; one without an effort describes all efforts.

    Raises:
        InputError: as in `match_user_experts`.
    """
    by_model: dict[str, list[str]] = {}
    for name in names:
        by_model.setdefault(split_effort(name)[0], []).append(name)
    exact = [expert for expert in user_experts if expert.name in names]
    others = [expert for expert in user_experts if expert.name not in names]
    plain_names = {model: names[variants[0]] for model, variants in by_model.items()}
    found = match_user_experts(plain_names, others, library)
    facts = {name: expert for model, expert in found.items() for name in by_model[model]}
    return facts | match_user_experts(names, exact, library)


def _candidate_expert(
    name: str,
    client_facts: ClientFacts,
    user_expert: Expert | None,
    match: tuple[Expert | None, Expert | None],
    *,
    is_bundled: bool,
) -> Expert:
    """Return one model's facts; its name in the library becomes an alias.

    `match` holds the expert of the library and that of the catalogue.
    """
    library_expert, catalog_expert = match
    effort = effort_of(name, client_facts, user_expert)
    bundled_expert = library_expert
    if not is_bundled:
        names = [
            *_names_of(name, client_facts),
            *_all_names(user_expert),
            *_all_names(library_expert),
        ]
        bundled_expert = _find_expert(bundled_library(), names)
    public_facts = _public_facts(name, client_facts)
    # The bundled library is a snapshot that is older than the catalogue.
    layers = [
        *public_facts[:1],
        *_fact_layers(bundled_expert),
        *_fact_layers(catalog_expert),
        *public_facts[1:],
        *_fact_layers(None if is_bundled else library_expert),
        _FactLayer(Expert(name, **client_facts.facts), client_facts.source),
        *_fact_layers(_told_facts(user_expert, public_facts), "given by you"),
    ]
    expert = replace(_merge_layers(layers), name=name, effort=effort)
    expert = _with_reference(expert, library_expert or catalog_expert)
    own_facts = layers[-1 if user_expert is None else -2 :]
    if published := layers[: -len(own_facts)]:
        expert = with_published_facts(expert, _merge_layers(published))
    expert = _with_expected_length(expert, library_expert, own_facts)
    if all(layer.expert.capabilities is None for layer in own_facts):
        expert = _with_assumed_documents(expert)
    return _with_structured_output(expert)


def _told_facts(user_expert: Expert | None, public_facts: Sequence[_FactLayer]) -> Expert | None:
    """Return what the user says; a model on this machine stays free if it is like a priced one."""
    is_local = any(
        LOCAL_SOURCE in layer.expert.metadata.get("sources", {}).values() for layer in public_facts
    )
    if user_expert is None or not is_local:
        return user_expert
    likened = user_expert.metadata.get("sources", {})
    unknown: dict[str, Any] = {field: None for field in _PRICE_FIELDS if field in likened}
    return replace(user_expert, **unknown)


def _with_reference(expert: Expert, match: Expert | None) -> Expert:
    """Return an expert with what predicts its quality: an alias, or the model that it is like.

    A model that was measured with another effort is like the measured one.
    """
    if expert.about_as_good_as is not None:  # the user's word
        return replace(expert, aliases=())
    if expert.effort is not None and (match is None or _measured_effort(match) != expert.effort):
        model = expert.name if match is None else match.name
        return replace(expert, aliases=(), about_as_good_as=join_effort(model, expert.effort))
    is_alias = match is not None and match.name.casefold() != expert.name.casefold()
    return replace(expert, aliases=(match.name,) if match is not None and is_alias else ())


def _with_expected_length(
    expert: Expert, match: Expert | None, own_facts: Sequence[_FactLayer]
) -> Expert:
    """Return an expert with the length and latency that its effort makes, unless they are told."""
    told = {field for layer in own_facts for field in layer.expert.to_dict()}
    expected: dict[str, Any] = {
        field: value
        for field, value in _expected_length(expert, match).items()
        if field not in told
    }
    sources = {**expert.metadata.get("sources", {}), **dict.fromkeys(expected, _EXPECTED_LENGTH)}
    metadata = {**expert.metadata, "sources": sources}
    return replace(expert, **expected, metadata=metadata) if expected else expert


def _expected_length(expert: Expert, match: Expert | None) -> dict[str, float]:
    """Return the length and the latency that are known of another effort, or of other models."""
    effort = expert.effort or default_effort(expert.name)
    if match is None or match.output_tokens is None:
        reasons = expert.effort is not None or "reasoning" in (expert.capabilities or ())
        return {"output_tokens": REASONING_TOKENS * token_ratio(effort)} if reasons else {}
    if expert.effort is None or _measured_effort(match) == expert.effort:
        return {}
    ratio = token_ratio(effort, default_effort(match.name))
    known = {"output_tokens": match.output_tokens, "latency": match.latency}
    return {field: value * ratio for field, value in known.items() if value is not None}


def _public_facts(name: str, client_facts: ClientFacts) -> list[_FactLayer]:
    """Return the facts of public tables, and of them the prices; empty for an unknown model.

    The tables are newer than the bundled library, but only their prices change with time.
    """
    names, snapshot = _names_of(name, client_facts), current_snapshot()
    known_name = next(filter(snapshot.find, names), names[-1])
    model = look_up(known_name, base_url=client_facts.base_url, snapshot=snapshot)
    if model is None:
        return []
    expert = to_expert(model)
    prices = {field: getattr(expert, field) for field in _PRICE_FIELDS}
    sources = expert.metadata.get("sources", {})
    price_sources = {field: sources[field] for field in _PRICE_FIELDS if field in sources}
    return [
        _FactLayer(expert),
        _FactLayer(Expert(expert.name, **prices, metadata={"sources": price_sources})),
    ]


def _matching_experts(
    names: list[str], effort: str | None, library: Library, catalog: LocalCatalog
) -> tuple[Expert | None, Expert | None]:
    """Return the expert of the library and the expert of the catalogue that the names mean.

    That of the library is the one with the same effort, or else the model with another one.
    """
    match = _find_expert(library, names)
    if effort is not None:
        with_effort = _find_expert(library, [join_effort(name, effort) for name in names])
        if with_effort is not None and _measured_effort(with_effort) == effort:
            match = with_effort
    if match is not None:
        return match, catalog.lookup([*names, match.name, *match.aliases])
    repository = catalog.lookup(names)
    if repository is None:
        return None, None
    # The Hub also knows a model by its earlier names, so the library may know it by the new one.
    return resolve_model_name(library, repository.name), repository


def _measured_effort(expert: Expert) -> str | None:
    """Return the effort with which an expert of a library was measured."""
    return expert.effort or split_effort(expert.name)[1]


def _find_expert(library: Library, names: Iterable[str]) -> Expert | None:
    """Return the expert that the first of the names means, None if none means any."""
    return next(filter(None, (resolve_model_name(library, name) for name in names)), None)


def _all_names(expert: Expert | None) -> list[str]:
    return [] if expert is None else [expert.name, *expert.aliases]


class _FactLayer(NamedTuple):
    """What one source says about a model; `source` names it for facts without a source."""

    expert: Expert
    source: str | None = None


def _fact_layers(expert: Expert | None, source: str | None = None) -> list[_FactLayer]:
    return [] if expert is None else [_FactLayer(expert, source)]


def _merge_layers(layers: Sequence[_FactLayer]) -> Expert:
    """Merge the layers; later layers win. Record the source of every fact."""
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
    """Yield each fact of a layer as field, value and source."""
    own_sources = layer.expert.metadata.get("sources")
    sources = own_sources if isinstance(own_sources, dict) else {}
    for field, value in layer.expert.to_dict().items():
        if field not in _IDENTITY_FIELDS:
            yield field, value, sources.get(field, layer.source)


def _with_assumed_documents(expert: Expert) -> Expert:
    """Add PDFs, videos and files to an expert of a library or of the Hub.

    Neither tells whether a model reads them, so they are possible; PDFs and videos only where the
    model sees images.
    """
    if expert.capabilities is None or expert.capabilities & _DOCUMENT_CAPABILITIES:
        return expert
    sees_images = "vision" in expert.capabilities
    assumed = _DOCUMENT_CAPABILITIES - (frozenset() if sees_images else _VISUAL_CAPABILITIES)
    return replace(
        expert,
        capabilities=expert.capabilities | assumed,
        metadata={**expert.metadata, ASSUMED_CAPABILITIES_KEY: sorted(assumed)},
    )


def _with_structured_output(expert: Expert) -> Expert:
    """Add structured output to an expert that calls tools: a tool call can follow a schema."""
    if expert.capabilities is None or "tools" not in expert.capabilities:
        return expert
    return replace(expert, capabilities=expert.capabilities | {"structured_output"})


class LocalCatalog:
    """The catalogue that `tryage hub sync` has filled, if there is one.

    A catalogue that cannot be read only causes a warning, because the models can be asked without
    it. With `disabled`, the catalogue is not read.
    """

    def __init__(self, *, disabled: bool = False) -> None:
        from tryage.hub.catalog_schema import default_path

        self._catalog: Catalogue | None = None
        if not disabled and default_path().is_file():
            from tryage.hub.catalog import Catalogue  # few have one, and it loads a lot

            self._catalog = Catalogue()

    def lookup(self, names: Iterable[str]) -> Expert | None:
        """Return the facts of the first name that is a repository, each fact with its source.

        A name that means a repository holds its id, with or without a provider.
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
    """Yield the repository ids that names may mean: "together:org/name", "org/name:free".

    A name without a slash is not an id: "llama3:8b" is not a model of an owner called llama3.
    """
    for name in names:
        for spelling in (name, name.partition(":")[2], name.rpartition(":")[0]):
            repository = "/".join(spelling.strip().split("/")[-2:])
            if _REPOSITORY_ID.fullmatch(repository):
                yield repository
