"""From `[[rules]]` and `[[policies]]` of `tryage.toml` to the policies of a router."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from tryage.config.code import import_object
from tryage.core.policy import Policy, check_policy
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tryage.config.policy_schema import AnyPolicyTable, VerifierTable
    from tryage.config.schema import RuleTable

_NOT_WORDS = ("kind", "table")  # of the file, not of the class


def make_rule(words: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a Rule, of a room above
    """Return the rule of a table.

    Raises:
        InputError: a value is malformed.
        MissingExtraError: a pattern or a language needs the extra `rules`.
    """
    return _policy_class("Rule")(**words)


def make_rules(tables: list[RuleTable]) -> Policy:
    """Return the policy that applies all rules.

    Raises:
        InputError, MissingExtraError: as in `make_rule`.
    """
    policy: Policy = _policy_class("Rules")([make_rule(one.given()) for one in tables])
    return policy


def make_policy(table: AnyPolicyTable, folder: Path) -> Policy:
    """Return the policy of a table, without what it learns from measured answers.

    Args:
        table: The table.
        folder: Where the file of settings is; paths are relative to it.

    Raises:
        InputError: a value is out of its range, or the user's class cannot be made.
        MissingExtraError: rules of a file need the extra `rules`.
    """
    words = _words(table)
    if table.kind == "Rules":
        policy: Policy = _policy_class("Rules").from_file(folder / words["file"])
        return policy
    if ":" in table.kind:
        cls: Any = import_object(table.kind, folder)
        return check_policy(_called(table.kind, cls, words))
    if table.kind == "Cascade":
        words = _cascade_words(words, folder)
    return check_policy(_policy_class(table.kind)(**words))


def _words(table: Any) -> dict[str, Any]:  # noqa: ANN401 - a table with or without other keys
    """Return the arguments of the class: what the file says, with the keys that no class has."""
    extra = table.model_extra or {}
    given = {name: value for name, value in table.given().items() if name not in _NOT_WORDS}
    return {**given, **extra}


def _cascade_words(words: dict[str, Any], folder: Path) -> dict[str, Any]:
    ensemble = _policy_class("Ensemble")
    steps = [one if isinstance(one, str) else ensemble(one) for one in words["steps"]]
    return {**words, "steps": steps, "verify": _make_verifier(words["verify"], folder)}


def _make_verifier(table: VerifierTable, folder: Path) -> object:
    is_own = ":" in table.kind
    cls: Any = import_object(table.kind, folder) if is_own else _policy_class(table.kind)
    return _called(table.kind, cls, _words(table)) if isinstance(cls, type) else cls


def _called(name: str, cls: Any, words: Mapping[str, Any]) -> object:  # noqa: ANN401 - code of the user
    """Return what a class or a function makes of the other keys of its table.

    Raises:
        InputError: it does not take them.
    """
    if not callable(cls):
        raise InputError(f"{name} is a {type(cls).__name__}; expected a class or a function.")
    try:
        made: object = cls(**words)
    except TypeError as error:
        raise InputError(f"{name} does not take these keys: {error}.") from error
    return made


def _policy_class(name: str) -> Any:  # noqa: ANN401 - a class of a room above
    """Return a class of `tryage.policies`.

    It is found by its name when it is needed: the policies stand above the router, which reads its
    settings from this room, and an import would make a circle of the two.

    Raises:
        InputError: there is no such class.
    """
    try:
        return resolve_name(f"tryage.policies:{name}")
    except (AttributeError, ValueError) as error:  # the latter if it is no name of Python at all
        raise InputError(
            f'there is no {name}; expected a class of tryage.policies, or "module:name".'
        ) from error
