"""Routers of `tryage.toml`: what its tables mean together, and what stays after a change of it.

The front door reads its settings from the room `config`, and over the user's models a router is
made as here. So `Router.from_config` and `Router.from_models` find this module by its name.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from tryage.chat.candidates import CandidatePool, ClientFacts, RouterSettings, candidate_experts
from tryage.chat.efforts import join_effort, split_effort
from tryage.chat.like import read_experts
from tryage.chat.model_names import find_model, model_name_of, name_models
from tryage.config.policies import make_policy, make_rules
from tryage.config.values import make_expert, make_exploration, make_preferences, model_name
from tryage.core.decision import check_min_typicality
from tryage.core.request import merge_preferences, read_preferences
from tryage.core.token_estimate import estimate_tokens
from tryage.errors import ConfigError, TryageError
from tryage.files import folder_exists
from tryage.policies.guarantee import Guarantee
from tryage.router import Router
from tryage.scoring.qtable import QTable
from tryage.traffic.traffic import open_traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tryage.config.load import LoadedConfig
    from tryage.config.policy_schema import AnyPolicyTable
    from tryage.config.positions import KeyPath
    from tryage.config.schema import ModelTable
    from tryage.core.expert import Expert
    from tryage.core.exploration import Exploration
    from tryage.core.policy import Policy
    from tryage.core.preferences import Preferences
    from tryage.errors import ConfigProblem
    from tryage.traffic.traffic import Traffic

_FOLLOWED = frozenset({"Rules", "Guarantee"})  # they read files, which change by themselves

_SQLITE = "sqlite:///"


@dataclass(frozen=True, eq=False)
class RoutingParts:
    """What settings say of routing, as objects; policies are made for a router, and come after it.

    `base` predicts; None is the bundled router as it is, and `predictor` is then that one.
    `experts` are the facts that the file tells about its models.
    """

    loaded: LoadedConfig
    base: Router | None
    predictor: Router
    experts: tuple[Expert, ...]
    preferences: Preferences
    traffic: Traffic | None
    exploration: Exploration | None

    @property
    def default(self) -> str | None:
        """The model that answers if no choice is possible."""
        return self.loaded.config.router.default

    @property
    def default_exempt(self) -> bool:
        """Whether the default may answer without meeting the requirements."""
        return self.loaded.config.router.default_exempt


@dataclass(frozen=True, eq=False)
class ConfiguredRouter:
    """The router of settings, with the parts and the policies that it is made of.

    A chat model over clients of the same models is made of the same parts and policies.
    """

    parts: RoutingParts
    policies: tuple[Policy, ...]
    router: Router

    @property
    def policy(self) -> Policy | None:
        """All policies as a chain, None without any."""
        return _chain(self.policies)

    @property
    def loaded(self) -> LoadedConfig:
        """The settings."""
        return self.parts.loaded


def configure(loaded: LoadedConfig, earlier: ConfiguredRouter | None = None) -> ConfiguredRouter:
    """Return the router that settings mean; no client is made.

    What the `earlier` settings say in the same words stays: the predictions with all that they have
    learned, the log, and the state of policies and of exploration.

    Raises:
        ConfigError: the settings contradict each other or the files that they name; the error has
            all that is wrong with rules and policies, or what comes before them, with the lines.
        MissingExtraError: something needs an extra that is not installed.
    """
    config, base = loaded.config, _base_router(loaded, earlier)
    parts = RoutingParts(
        loaded,
        base=base,
        predictor=_bundled_router(earlier) if base is None else base,
        experts=tuple(map(make_expert, config.models)),
        preferences=make_preferences(config.preferences),
        traffic=_open_log(loaded),
        exploration=None if config.exploration is None else make_exploration(config.exploration),
    )
    router = _router_without_policy(parts)
    problems: list[ConfigProblem] = []
    made = dict(_policies(loaded, router, earlier, problems))
    with _gathered(problems):
        router = _with_policies(loaded, router, made)
    if problems:
        raise ConfigError.of(*problems)
    policies = tuple(made.values())
    if earlier is not None:
        router.continue_from(earlier.router)
    return ConfiguredRouter(parts, policies, router)


def is_same_router(configured: ConfiguredRouter, earlier: ConfiguredRouter | None) -> bool:
    """Tell whether two settings name the same predictions."""
    return earlier is not None and _is_same_base(configured.loaded, earlier.loaded)


def router_of_models(
    models: Mapping[str, object] | Sequence[str],
    router: Router | None = None,
    *,
    experts: Sequence[Expert] | Mapping[str, Expert] = (),
    preferences: Preferences | str | None = None,
    **settings: Any,  # noqa: ANN401 - `default`, `traffic` and the others of a router
) -> Router:
    """Return a router over models by their names, as `Router.from_models` says."""
    named = name_models(models, lambda name: name if isinstance(name, str) else None)
    said = None if preferences is None else read_preferences(preferences)
    clients = {name: _facts_of_model(name, model) for name, model in named.items()}
    pool = _pool(clients, router, read_experts(experts))
    chat_router = RouterSettings(router, said, **settings).build(pool, estimate_tokens)
    return chat_router.router


def _facts_of_model(name: str, model: object) -> ClientFacts:
    """Return what a model under a name of its user's own says: its known name, and its effort."""
    known_name = model if isinstance(model, str) else model_name_of(model)
    efforts = [split_effort(text)[1] for text in (name, known_name or "")]
    return ClientFacts(known_name, {}, effort=efforts[0] or efforts[1])


def model_names(table: ModelTable) -> list[str]:
    """Return what a model is called: once for each of its efforts."""
    name = model_name(table) or ""
    return [join_effort(name, effort) for effort in table.efforts] or [name]


# The parts ---------------------------------------------------------------------------------------


def _base_router(loaded: LoadedConfig, earlier: ConfiguredRouter | None) -> Router | None:
    """Return what predicts; that of the earlier settings if they name the same one."""
    table = loaded.config.router
    said = {name: table.given()[name] for name in ("strict", "prompt_flags") & table.given().keys()}
    if table.path is None and not said and table.min_typicality is None:
        return None
    if earlier is not None and _is_same_base(loaded, earlier.loaded):
        return earlier.parts.base
    with loaded.at("router", "path"):
        router = Router.from_pretrained(router_path(loaded), **said)
    if table.min_typicality is not None:
        with loaded.at("router", "min_typicality"):
            minimum = check_min_typicality(table.min_typicality, table.default)
        router = copy.copy(router)
        router.min_typicality = minimum  # the default is one of the models, and not of this router
    return router


def _bundled_router(earlier: ConfiguredRouter | None) -> Router:
    """Return the bundled router; that of the earlier settings, with what it has learned."""
    if earlier is not None and earlier.parts.base is None:
        return earlier.parts.predictor
    return Router.from_pretrained()


def router_path(loaded: LoadedConfig) -> str | None:
    """Return a folder beside the file if there is one, else the id as it is."""
    path = loaded.config.router.path
    if path is None:
        return None
    folder = loaded.folder / path
    return str(folder) if folder_exists(folder) or path.startswith((".", "/", "~")) else path


def _is_same_base(loaded: LoadedConfig, earlier: LoadedConfig) -> bool:
    same_table = loaded.config.router == earlier.config.router
    return same_table and loaded.router_stamp == earlier.router_stamp


def _open_log(loaded: LoadedConfig) -> Traffic | None:
    """Open the log; the same settings mean the same log within a process."""
    table = loaded.config.traffic
    if table is None:
        return None
    url = loaded.expanded("traffic", "url", text=table.url)
    path = url.removeprefix(_SQLITE)
    if path != url and path and path != ":memory:":
        url = f"{_SQLITE}{loaded.folder / path}"  # an absolute path stays one
    settings = {name: value for name, value in table.given().items() if name != "url"}
    with loaded.at("traffic", "url"):
        return open_traffic(url, **settings)


def _router_without_policy(parts: RoutingParts) -> Router:
    """Return a router over the models of the file, or over all of the base without any."""
    loaded, base = parts.loaded, parts.predictor
    if not loaded.config.models:
        return _router_over_base(parts, base)
    with loaded.at("models"):
        pool = _pool(_client_facts(loaded), parts.base, parts.experts)
    if parts.default is not None:
        with loaded.at("router", "default"):
            find_model(pool.library, parts.default)
    with loaded.at("models"):
        return pool.build_router(
            base,
            parts.preferences,
            parts.default,
            default_exempt=parts.default_exempt,
            traffic=parts.traffic,
            exploration=parts.exploration,
        )


def _router_over_base(parts: RoutingParts, base: Router) -> Router:
    loaded, table = parts.loaded, parts.loaded.config.router
    default = None
    if parts.default is not None:
        with loaded.at("router", "default"):
            default = base.library[parts.default].name
    perception = base.perception
    if parts.traffic is not None:  # what is learned from the log is in the log, and not in `base`
        perception = perception.around(perception.innermost().copy())
    with loaded.at("router"):
        return Router(
            perception,
            base.library,
            preferences=merge_preferences(base.preferences, parts.preferences),
            constraints=base.constraints,
            default=default or base.default,
            default_exempt=parts.default_exempt or (default is None and base.default_exempt),
            strict=base.strict,
            prompt_flags=base.prompt_flags,
            min_typicality=table.min_typicality or base.min_typicality,
            traffic=parts.traffic,
            exploration=parts.exploration,
        )


def _pool(
    clients: Mapping[str, ClientFacts], router: Router | None, experts: Iterable[Expert]
) -> CandidatePool:
    library = None if router is None else router.library
    return CandidatePool.from_experts(candidate_experts(clients, library, experts), library)


def _client_facts(loaded: LoadedConfig) -> dict[str, ClientFacts]:
    """Return what the file says of each client, without making one."""
    facts = {}
    for i, table in enumerate(loaded.config.models):
        url = table.base_url
        if url is not None:
            url = loaded.expanded("models", i, "base_url", text=url)
        for name in model_names(table):
            facts[name] = ClientFacts(table.model, {}, base_url=url)
    return facts


# Policies ----------------------------------------------------------------------------------------


def _policies(
    loaded: LoadedConfig,
    router: Router,
    earlier: ConfiguredRouter | None,
    problems: list[ConfigProblem],
) -> Iterable[tuple[KeyPath, Policy]]:
    """Yield the policies with the places of their tables, rules first; earlier state goes on.

    What is wrong with one is added to the problems, and the others are made all the same.
    """
    if loaded.config.rules:
        with _gathered(problems), loaded.at("rules"):
            yield ("rules", 0), make_rules(loaded.config.rules)
    left = _by_table(earlier)
    for i, table in enumerate(loaded.config.policies):
        same = next((pair for pair in left if pair[0] == table), None)
        if same is not None and table.kind not in _FOLLOWED:
            left.remove(same)
            yield ("policies", i), same[1]
            continue
        policy = None
        with _gathered(problems), loaded.at("policies", i):
            policy = _make_policy(loaded, table, router)
        if policy is None:
            continue
        like = next((one for one in left if policy.continue_from(one[1])), None)
        if like is not None:
            left.remove(like)
        yield ("policies", i), policy


@contextmanager
def _gathered(problems: list[ConfigProblem]) -> Iterator[None]:
    """Add what is wrong within the block to the problems, so that what follows is looked at."""
    try:
        yield
    except ConfigError as error:
        problems += error.problems


def _by_table(earlier: ConfiguredRouter | None) -> list[tuple[AnyPolicyTable, Policy]]:
    """Return the policies of earlier settings with their tables."""
    if earlier is None:
        return []
    tables = earlier.loaded.config.policies
    return list(zip(tables, earlier.policies[-len(tables) :], strict=True)) if tables else []


def _make_policy(loaded: LoadedConfig, table: AnyPolicyTable, router: Router) -> Policy:
    """Return the policy of a table; a guarantee with measured answers is calibrated with them."""
    # It imports pydantic, which names alone do not need.
    from tryage.config.policy_schema import GuaranteeTable

    if not isinstance(table, GuaranteeTable) or table.table is None:
        return make_policy(table, loaded.folder)
    words = {
        name: value
        for name, value in table.given().items()
        if name not in ("kind", "table", "reference")
    }
    measured = QTable.read(loaded.folder / table.table)
    return Guarantee.calibrate(router, measured, table.reference, **words)


def _chain(policies: Sequence[Policy]) -> Policy | None:
    return reduce(or_, policies) if policies else None


def _with_policies(loaded: LoadedConfig, router: Router, made: Mapping[KeyPath, Policy]) -> Router:
    """Return the router with its policies by their places.

    Raises:
        ConfigError: policies do not fit the models, or stand in a wrong place.
    """
    with loaded.at("policies"):
        policy = _chain(list(made.values()))
    try:
        return router if policy is None else router.with_policy(policy)
    except TryageError as error:
        problems = list(_refused(loaded, router, made))
        raise ConfigError.of(*problems or [loaded.problem(("policies",), str(error))]) from error


def _refused(
    loaded: LoadedConfig, router: Router, made: Mapping[KeyPath, Policy]
) -> Iterator[ConfigProblem]:
    """Yield why the router refuses policies by themselves."""
    for place, policy in made.items():
        try:
            router.with_policy(policy)
        except TryageError as error:  # noqa: PERF203 - each is tried
            yield loaded.problem(place, str(error))
