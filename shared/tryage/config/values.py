"""From the tables of `tryage.toml` to the objects of the library, which check the values."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

from tryage.core.constraints import DEFAULT_CONSTRAINTS
from tryage.core.expert import FIELDS, Expert
from tryage.core.exploration import Exploration
from tryage.core.preferences import Preferences, Requirement
from tryage.core.request import check_preferences
from tryage.errors import InputError, TryageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from tryage.config.schema import (
        ExplorationTable,
        ModelTable,
        PreferencesTable,
        RequirementTable,
    )

T = TypeVar("T")


def model_name(table: ModelTable) -> str | None:
    """Return what a model is called; None if it says neither a name, nor a model, nor a client."""
    return table.name or table.model or table.client


def make_expert(table: ModelTable) -> Expert:
    """Return what the file tells about a model.

    Raises:
        InputError: a value is out of its range.
    """
    facts = {name: value for name, value in table.given().items() if name in FIELDS}
    return Expert.from_dict({**facts, "name": model_name(table)})


def make_preferences(table: PreferencesTable) -> Preferences:
    """Return the preferences of a table; its words replace what its preset says.

    Raises:
        InputError: a value is out of its range, or two contradict each other.
    """
    words = {name: value for name, value in table.given().items() if name != "preset"}
    requirements = [_make_requirement(one) for one in words.pop("requirements", None) or ()]
    said = Preferences(requirements=requirements, **words)
    try:
        check_preferences(said, DEFAULT_CONSTRAINTS)
    except InputError as error:
        raise InputError(f"weights: {error}") from error
    return said if table.preset is None else Preferences.preset(table.preset).overridden(said)


def _make_requirement(table: RequirementTable) -> Requirement:
    value: Any = table.value
    if isinstance(value, date):
        value = value.isoformat()
    return Requirement.from_dict({**table.given(), "value": value})


def make_exploration(table: ExplorationTable) -> Exploration:
    """Return the exploration of a table.

    Raises:
        InputError: a value is out of its range.
    """
    return Exploration(**table.given())


def value_problems(
    make: Callable[[Mapping[str, Any]], object],
    given: Mapping[str, Any],
    required: Collection[str] = (),
) -> Iterator[tuple[str | None, str]]:
    """Yield what is wrong with the values of a table: the key, if the message names it, and why.

    The class of the library stops at the first wrong value, so a value that it names is left out
    and the others are tried again. `make` makes the object of the values, never without the
    `required` ones.
    """
    left, is_first = dict(given), True
    while True:
        try:
            make(left)
        except (TryageError, TypeError) as error:
            message = str(error)
        else:
            return
        key = _named_key(message, left)
        if key is None:  # it may be due to what was left out
            if is_first:
                yield None, message
            return
        yield key, message.removeprefix(f"{key}: ")
        if key in required:
            return
        del left[key]
        is_first = False


def _named_key(message: str, given: Mapping[str, Any]) -> str | None:
    """Return the key that a message names first, None if it names none."""
    places = {}
    for key in given:
        match = re.search(rf"(?<![\w.]){re.escape(key)}(?!\w)", message)
        if match:
            places[key] = match.start()
    return min(places, key=places.__getitem__, default=None)
