"""Chat models of `tryage.toml`: the same for every framework, which makes the clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pydantic import ValidationError

from tryage.chat.configured import ConfiguredRouter, configure, is_same_router, model_names
from tryage.config.code import import_object
from tryage.config.load import LoadedConfig, load_config
from tryage.config.schema import ModelTable
from tryage.config.values import model_name
from tryage.config.variables import describe_variable
from tryage.config.watch import ConfigWatch
from tryage.core.preferences import Preferences
from tryage.errors import ConfigError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from tryage.chat.settings import RoutingFields
    from tryage.config.document import Overrides

M = TypeVar("M", bound="RoutingFields")

ClientMaker: TypeAlias = Callable[[ModelTable, LoadedConfig, int], Any]
"""Makes the client of a framework, or what makes it, from a table, the settings and its number."""


def model_of_config(  # noqa: PLR0913 - the chat model, and its file
    cls: type[M],
    field: str,
    make: ClientMaker,
    path: str | Path | None,
    *,
    watch: bool,
    overrides: Overrides | None = None,
) -> M:
    """Return the chat model of a file of settings.

    Args:
        cls: The class of the chat model.
        field: Its field that holds what makes the clients, by the names of the models.
        make: Makes a client.
        path: The file, as for `find_config`.
        watch: Whether the chat model follows changes of the file.
        overrides: As for `load_config`.

    Raises:
        ConfigError: there is no file, or it is wrong.
        MissingExtraError: something needs an extra that is not installed.
    """
    if not watch:
        return _model(cls, field, make, load_config(path, overrides=overrides), None)
    build = partial(_model, cls, field, make)
    watched: ConfigWatch[M] = ConfigWatch(path, build, overrides)
    model: M = watched.current.model_copy()
    model._watch = watched  # noqa: SLF001 - a field of this package
    return model


def middleware_arguments(make: ClientMaker, path: str | Path | None) -> dict[str, Any]:
    """Return the arguments of a middleware of a file of settings.

    Raises:
        ConfigError, MissingExtraError: as in `model_of_config`.
    """
    configured = configure(load_config(path))
    fields = _fields(configured)
    del fields["default_exempt"]
    sources = _sources(configured, make, {})
    return {"models": {name: source for name, (_, source) in sources.items()}, **fields}


def client_settings(table: ModelTable, loaded: LoadedConfig, i: int) -> dict[str, Any]:
    """Return the arguments of a client that the table of a model tells, with its key.

    Raises:
        InputError: the variable that holds the key is not set.
        ConfigError: one in the address is not.
    """
    settings = dict(table.settings)
    if table.base_url is not None:
        settings["base_url"] = loaded.expanded("models", i, "base_url", text=table.base_url)
    if table.api_key_env is not None:
        key = loaded.environment.get(table.api_key_env)
        if not key:
            where = describe_variable(table.api_key_env)
            raise InputError(f"{model_name(table)} needs its key in {where}: set it.")
        settings["api_key"] = key
    return settings


def _model(
    cls: type[M], field: str, make: ClientMaker, loaded: LoadedConfig, earlier: M | None
) -> M:
    """Return the chat model of settings, with all that the one before remembers."""
    before: ConfiguredRouter | None = None if earlier is None else earlier._configured  # noqa: SLF001 - a field of this package
    configured = configure(loaded, before)
    sources = _sources(configured, make, {} if earlier is None else earlier._sources)  # noqa: SLF001 - a field of this package
    try:
        clients = {name: source for name, (_, source) in sources.items()}
        model = cls(**(_fields(configured) | {field: clients}))
    except ValidationError as error:
        messages = [one["msg"].removeprefix("Value error, ") for one in error.errors()]
        raise ConfigError.of(*(loaded.problem((), one) for one in messages)) from None
    model._configured, model._sources = configured, sources
    with loaded.at():
        router = model._chat_router
    if earlier is not None:
        model._savings_counter = earlier._savings_counter  # noqa: SLF001 - a field of this package
        if is_same_router(configured, before):
            router.continue_from(earlier._chat_router)  # noqa: SLF001 - a field of this package
    return model


def _fields(configured: ConfiguredRouter) -> dict[str, Any]:
    """Return the fields of a chat model of some settings, but for its models.

    Raises:
        ConfigError: the judge cannot be imported.
    """
    parts, loaded = configured.parts, configured.loaded
    fields = loaded.config.chat.given()
    if "judge" in fields:
        with loaded.at("chat", "judge"):
            fields["judge"] = import_object(fields["judge"], loaded.folder)
    nothing_said = parts.preferences == Preferences()
    return {
        **fields,
        "router": parts.base,
        "experts": parts.experts,
        "preferences": None if nothing_said else parts.preferences,
        "default": parts.default,
        "default_exempt": parts.default_exempt,
        "traffic": parts.traffic,
        "exploration": parts.exploration,
        "policy": configured.policy,
    }


def _sources(
    configured: ConfiguredRouter,
    make: ClientMaker,
    earlier: Mapping[str, tuple[ModelTable, Any]],
) -> dict[str, tuple[ModelTable, Any]]:
    """Return the client of each model, or what makes one, by its names, with its table.

    Args:
        configured: The settings.
        make: Makes a client of a framework from the table of a model and its position.
        earlier: What this function has returned for the settings before; a model that is described
            in the same words keeps its client.

    Raises:
        ConfigError: a client cannot be made, or there is no model.
    """
    loaded = configured.loaded
    if not loaded.config.models:
        raise ConfigError.of(
            loaded.problem((), 'there are no models to ask; write [[models]] with model = "...".')
        )
    sources: dict[str, tuple[ModelTable, Any]] = {}
    for i, table in enumerate(loaded.config.models):
        names = model_names(table)
        known, source = earlier.get(names[0], (None, None))
        if known != table:
            with loaded.at("models", i):
                source = make(table, loaded, i)
        sources |= dict.fromkeys(names, (table, source))
    return sources
