"""What is wrong with a file of settings, in words: from pydantic's errors to sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tryage.config import schema
from tryage.config.policy_schema import KINDS, OWN, POLICY_TABLES
from tryage.config.variables import shown
from tryage.core.validation import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

    from tryage.config.positions import KeyPath
    from tryage.config.table import Table

_TABLES: Mapping[str, type[Table]] = {
    "models": schema.ModelTable,
    "preferences": schema.PreferencesTable,
    "router": schema.RouterTable,
    "rules": schema.RuleTable,
    "exploration": schema.ExplorationTable,
    "traffic": schema.TrafficTable,
    "chat": schema.ChatTable,
    "server": schema.ServerTable,
}

_ARRAYS = frozenset({"models", "rules", "policies"})

# What pydantic calls a wrong type, in the words of TOML.
_EXPECTED: Mapping[str, str] = {
    "string_type": 'a text in quotes, such as "name"',
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "date_type": "a date without quotes, such as 2026-01-31",
    "list_type": "an array, such as [1, 2]",
    "dict_type": "a table, such as {size = 0.2}",
    "finite_number": "a finite number",
    "string_pattern_mismatch": '"module:Class", such as "my_policies:Quota"',
}

_NOT_A_TABLE = frozenset({"model_type", "model_attributes_type", "dataclass_type"})


def schema_problems(
    tables: Mapping[str, Any], errors: Sequence[ErrorDetails], root: type[Table] = schema.Config
) -> list[tuple[KeyPath, str]]:
    """Return where the tables of a file do not fit the schema, and what to do, each place once.

    Args:
        tables: What the file has.
        errors: What pydantic found.
        root: The class of the whole file.
    """
    by_place: dict[KeyPath, list[ErrorDetails]] = {}
    for error in errors:
        by_place.setdefault(_place(tables, error), []).append(error)
    return [(place, _sentence(tables, place, found, root)) for place, found in by_place.items()]


def value_at(tables: Mapping[str, Any], place: KeyPath) -> Any:  # noqa: ANN401 - what a file has
    """Return the value at a place, None if there is none."""
    value: Any = tables
    for part in place:
        value = value[part] if _has(value, part) else None
    return value


def _has(value: object, part: str | int) -> bool:
    """Tell whether a table has a key, or an array a position."""
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, Mapping) and part in value


def _place(tables: Mapping[str, Any], error: ErrorDetails) -> KeyPath:
    """Return where in the file an error is; pydantic's path has the arms of unions, too."""
    place: KeyPath = ()
    value: Any = tables
    for part in error["loc"]:
        if _has(value, part):
            place, value = (*place, part), value[part]
    if error["type"] == "missing":
        place = (*place, error["loc"][-1])
    return place


def _sentence(
    tables: Mapping[str, Any],
    place: KeyPath,
    errors: Sequence[ErrorDetails],
    root: type[Table],
) -> str:
    first, value = errors[0], value_at(tables, place)
    kind = first["type"]
    if kind == "extra_forbidden":
        return _unknown_key(str(place[-1]), _fields(first["loc"], root))
    if kind == "missing":
        return f"it is missing. Write {place[-1]} = ... into this table."
    if kind.startswith("union_tag"):
        return _wrong_kind(value)
    if kind in _NOT_A_TABLE or (kind == "list_type" and place[-1] in _ARRAYS):
        return _wrong_brackets(place, value)
    if kind == "literal_error":
        return _wrong_word(value, first["ctx"]["expected"])
    expected = " or ".join(dict.fromkeys(_expected(one) for one in errors))
    return f"got {shown(value)}; expected {expected}.{_hint(value, errors)}"


def _expected(error: ErrorDetails) -> str:
    known = _EXPECTED.get(error["type"])
    return known or error["msg"].removeprefix("Input should be ")


def _hint(value: object, errors: Sequence[ErrorDetails]) -> str:
    """Return what to do about quotes, the most frequent slip."""
    kinds = {error["type"] for error in errors}
    if isinstance(value, str) and kinds & {"float_type", "int_type", "bool_type", "date_type"}:
        return " Write it without quotes."
    if isinstance(value, (int, float)) and "string_type" in kinds:
        return " Write it in quotes."
    if isinstance(value, str) and "list_type" in kinds:
        return f" Write [{shown(value)}]."
    return ""


def _unknown_key(name: str, known: Sequence[str]) -> str:
    if name == "tool":
        return "tables have no prefix here: write [router] for [tool.tryage.router]."
    near = did_you_mean(name, known)
    if near:
        return f"there is no such key.{near}"
    owners = [table for table, cls in _TABLES.items() if name in cls.model_fields]
    if owners:
        brackets = [f"[[{one}]]" if one in _ARRAYS else f"[{one}]" for one in owners]
        return f"there is no such key here; it belongs into {' or '.join(brackets)}."
    return f"there is no such key. Expected {', '.join(known)}."


def _fields(loc: Sequence[str | int], root: type[Table]) -> list[str]:
    """Return the keys that the table of an unknown key may have."""
    if len(loc) == 1:
        return list(root.model_fields)
    if loc[0] == "policies":
        return list(POLICY_TABLES[str(loc[2])].model_fields)
    cls = schema.RequirementTable if "requirements" in loc else _TABLES[str(loc[0])]
    return list(cls.model_fields)


def _wrong_word(value: object, expected: str) -> str:
    """Say which words there are; `expected` is as pydantic writes them: 'a', 'b' or 'c'."""
    words = [word.strip("' ") for word in expected.replace(" or ", ", ").split(", ")]
    listed = ", ".join(f'"{word}"' for word in words)
    near = did_you_mean(value, words) if isinstance(value, str) else ""
    return f"got {shown(value)}; expected one of {listed}.{near}"


def _wrong_kind(value: object) -> str:
    kinds = ", ".join(f'"{kind}"' for kind in KINDS)
    if not isinstance(value, Mapping):
        return f"got {shown(value)}; expected [[policies]] with two pairs of brackets and a kind."
    kind = value.get("kind")
    if kind is None:
        return f'it has no kind; write kind = "Budget", or another of {kinds}, or "{OWN}".'
    near = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
    return f'kind is {shown(kind)}; expected {kinds}, or "{OWN}" of your own.{near}'


def _wrong_brackets(place: KeyPath, value: object) -> str:
    name = str(place[0])
    if len(place) > 1 and isinstance(place[-1], str):
        return (
            f'got {shown(value)}; expected a table, such as {place[-1]} = {{kind = "Agreement"}}.'
        )
    if name in _ARRAYS:
        return (
            f"got {shown(value)}; expected an array of tables: write [[{name}]] with two pairs of "
            "brackets."
        )
    return f"got {shown(value)}; expected a table: write [{name}] with one pair of brackets."
