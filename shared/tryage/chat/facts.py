"""Whom clients call, by name: the names they have, the bundled ones, and who is whose twin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tryage.errors import InputError
from tryage.experts import Library
from tryage.pretrained import BUNDLED, HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tryage.experts import Expert

# Where clients keep the name of what they call.
_NAMES = ("model_name", "model", "model_id", "deployment_name", "azure_deployment", "repo_id")


@lru_cache(maxsize=1)
def bundled_library() -> Library:
    """Return the experts of the bundled router, without its perception."""
    return Library.from_dicts(json.loads((BUNDLED / HEADER).read_text("utf-8"))["library"])


def called(*holders: object) -> str | None:
    """Return the name of the model that the first of these clients has one for; None without."""
    for holder in holders:
        for attribute in _NAMES:
            name = getattr(holder, attribute, None)
            if isinstance(name, str) and name.strip():
                return name
    return None


def named(models: object, name_of: Callable[[Any], str | None]) -> dict[str, Any]:
    """Return the models by name: the keys given, or else what each model calls itself.

    Raises:
        InputError: neither a dict nor a list, a model without a name, or two with the same.
    """
    if isinstance(models, Mapping):
        return dict(models)
    if isinstance(models, (str, bytes)) or not isinstance(models, Sequence):
        raise InputError(
            f"The models are a {type(models).__name__}. Expected a list of chat models, or a dict "
            "with a name for each."
        )
    found: dict[str, Any] = {}
    for model in models:
        name = name_of(model)
        if name is None:
            raise InputError(f"A {type(model).__name__} has no name. Use a dict: {{name: model}}.")
        if name in found:
            raise InputError(f"Two models are called {name!r}. Use a dict: {{name: model}}.")
        found[name] = model
    return found


def twins(experts: Iterable[Expert]) -> tuple[list[Expert], dict[str, str]]:
    """Return the experts with every alias once, and who equals whom: one model, two providers."""
    owners: dict[str, str] = {}
    twin: dict[str, str] = {}
    alone: list[Expert] = []
    experts = list(experts)
    owners.update({expert.name.casefold(): expert.name for expert in experts})
    for expert in experts:
        alias = expert.aliases[0] if expert.aliases else expert.name
        owner = owners.setdefault(alias.casefold(), expert.name)
        if owner != expert.name:
            twin[expert.name] = owner
            expert = replace(expert, aliases=())  # noqa: PLW2901 - the same expert, with less
        alone.append(expert)
    return alone, twin
