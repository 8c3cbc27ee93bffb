"""One rule: which experts it allows or bans, and the conditions under which it applies."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from tryage.core.expert import FIELDS, Expert
from tryage.core.preferences import Preferences, Requirement
from tryage.core.validation import NUMBER_RANGES, check_strings, did_you_mean, preview
from tryage.errors import InputError
from tryage.policies import rule_conditions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tryage.core.library import Library
    from tryage.core.request import RoutingRequest
    from tryage.policies.rule_conditions import Condition

Experts: TypeAlias = str | Sequence[str] | Mapping[str, Any]
"""One expert, several, or what they have: {"license": "mit"}, a field or a key of the metadata."""

_Limit = TypeVar("_Limit", float, datetime.date)

_PREFERENCE_WORDS = tuple(signature(Preferences).parameters)

_CONDITIONS: Mapping[str, Callable[[Any], Condition]] = {
    "pattern": rule_conditions.pattern_condition,
    "language": rule_conditions.language_condition,
    "tag": rule_conditions.tag_condition,
    "key": rule_conditions.key_condition,
    "tool": rule_conditions.tool_condition,
    "min_tokens": rule_conditions.min_tokens_condition,
    "max_tokens": rule_conditions.max_tokens_condition,
}
_TIME_CONDITIONS: Mapping[str, Callable[[Any, str], Condition]] = {
    "time": rule_conditions.time_condition,
    "weekday": rule_conditions.weekday_condition,
    "since": rule_conditions.since_condition,
    "until": rule_conditions.until_condition,
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Allows some experts only, or bans some, where all its conditions hold; without any: always.

    The experts are named, or described by what they have: `{"license": ["mit", "apache-2.0"]}` is
    any of the values, of a field of `Expert` or a key of its metadata. An unknown value is none of
    them. `require` has the words of `Preferences`, such as `{"max_cost": 0.01}`.

    Args:
        only: The experts that are allowed.
        ban: The experts that are not.
        require: Requirements that the experts must meet, as `Preferences` or its keywords.
        name: What records call the rule; its number if None.
        when: A function of the `RoutingRequest` that says whether the rule applies.
        pattern: A regular expression that is found in the prompt, in its first 50,000 characters.
            One that searches longer than .05 seconds counts as found.
        language: The language of the prompt, or several, in ISO 639-1: "de".
        tag: A tag of the request, or several of which it has one.
        key: Values of keys of the request: `{"user_id": ["ann", "bob"]}`.
        tool: The name of a tool that a model may call, or several.
        min_tokens: The conversation has at least so many tokens, by an estimate.
        max_tokens: The conversation has at most so many.
        time: A time of day, such as "22:00-06:00".
        weekday: A day, or several: "sat".
        since: The first date, a `datetime.date` or a text such as "2026-12-24".
        until: The last date.
        timezone: Where the times and dates are, such as "Europe/Berlin".

    Raises:
        InputError: a value is malformed, or the rule neither allows nor bans nor requires.
        MissingExtraError: `pattern` and `language` need the extra `rules`.
    """

    only: Experts | None = None
    ban: Experts | None = None
    require: Preferences | Mapping[str, Any] | None = None
    name: str | None = None
    when: Callable[[RoutingRequest], bool] | None = None
    pattern: str | None = None
    language: str | Sequence[str] | None = None
    tag: str | Sequence[str] | None = None
    key: Mapping[str, str | Sequence[str]] | None = None
    tool: str | Sequence[str] | None = None
    min_tokens: float | None = None
    max_tokens: float | None = None
    time: str | None = None
    weekday: str | Sequence[str] | None = None
    since: datetime.date | str | None = None
    until: datetime.date | str | None = None
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        """Check all values."""
        if self.only is None and self.ban is None and not self.required():
            raise InputError("A rule says what it does: give it only=, ban= or require=.")
        if self.name is not None:
            check_strings("name", [self.name])
        if self.when is not None and not callable(self.when):
            raise InputError(f"when is {preview(self.when)}; expected a function of the request.")
        for side in ("only", "ban"):
            _check_experts(side, getattr(self, side))
        self.required()
        self.conditions()
        _check_ends("min_tokens", self.min_tokens, "max_tokens", self.max_tokens)
        _check_ends("since", _date("since", self.since), "until", _date("until", self.until))

    def conditions(self) -> tuple[Condition, ...]:
        """Return the conditions; the rule applies where all of them hold."""
        zone = rule_conditions.check_timezone(self.timezone)
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        found = [make(given[one]) for one, make in _CONDITIONS.items() if given[one] is not None]
        found += [
            make(given[one], zone)
            for one, make in _TIME_CONDITIONS.items()
            if given[one] is not None
        ]
        when = self.when
        return tuple(found) if when is None else (*found, lambda request, _: bool(when(request)))

    def required(self) -> tuple[Requirement, ...]:
        """Return the requirements of `require`.

        Raises:
            InputError: they are no requirements, or there is more in them than requirements.
        """
        if self.require is None:
            return ()
        preferences = _read_require(self.require)
        if preferences != Preferences(requirements=preferences.requirements):
            raise InputError(
                "require holds more than requirements; weights and values belong into the "
                "preferences of the router or of a call."
            )
        return preferences.requirements

    def requirements(self, library: Library) -> tuple[Requirement, ...]:
        """Return what the rule requires of the experts of a library where it applies."""
        found = list(self.required())
        if self.only is not None:
            found.append(Requirement("name", "in", _select(self.only, library)))
        if self.ban is not None:
            found.append(Requirement("name", "not in", _select(self.ban, library)))
        return tuple(found)

    def check_names(self, library: Library) -> None:
        """Raise unless a library has all that is named, and an expert that is allowed.

        Raises:
            InputError: an unknown name of an expert or of a key of the metadata, or `only`
                describes none of the experts.
        """
        for side in ("only", "ban"):
            experts = getattr(self, side)
            if isinstance(experts, Mapping):
                _check_fields(side, experts, library)
            elif experts is not None:
                _check_known(side, _as_list(experts), library)
        if isinstance(self.only, Mapping) and not _select(self.only, library):
            raise InputError(
                f"only is {_describe_experts(self.only)}, and none of the {len(library)} experts "
                "is known to have it."
            )

    def describe(self) -> str:
        """Return what the rule does: "only a, b; not license mit"."""
        parts = [] if self.only is None else [f"only {_describe_experts(self.only)}"]
        parts += [] if self.ban is None else [f"not {_describe_experts(self.ban)}"]
        return "; ".join([*parts, *(one.describe() for one in self.required())])


def _read_require(require: object) -> Preferences:
    """Return preferences that are given as such, or by their keywords; else raise `InputError`."""
    if isinstance(require, Preferences):
        return require
    if not isinstance(require, Mapping):
        raise InputError(
            f"require is {preview(require)}; expected Preferences, or its keywords as a table."
        )
    for word in require:
        if word not in _PREFERENCE_WORDS:
            near = did_you_mean(str(word), _PREFERENCE_WORDS)
            raise InputError(f"require has {preview(word)}, no word of Preferences.{near}")
    return Preferences(**require)


def _date(name: str, value: datetime.date | str | None) -> datetime.date | None:
    return None if value is None else rule_conditions.read_date(name, value)


def _check_ends(first: str, low: _Limit | None, second: str, high: _Limit | None) -> None:
    """Raise `InputError` where no request is within two limits, both by their names."""
    if low is not None and high is not None and low > high:
        raise InputError(
            f"{first} is {low} and {second} is {high}, so the rule would never apply; expected "
            f"{second} to be at least {first}."
        )


def _check_experts(side: str, experts: object) -> None:
    """Raise `InputError` unless experts are named, or described by fields and values."""
    if experts is None:
        return
    names = tuple(experts) if isinstance(experts, Mapping) else _as_list(experts)
    if names and not isinstance(experts, Mapping):
        check_strings(side, names)
        return
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{side} is {preview(experts)}; expected names, or fields with their values such as "
            "{license = ['mit']}."
        )
    for name in names:
        if name in NUMBER_RANGES:
            raise InputError(
                f"{side} has {name}, a number, which hardly equals another one; expected a limit "
                "such as require = {max_parameters = 7e9}."
            )


def _check_known(side: str, names: Iterable[str], library: Library) -> None:
    """Raise `InputError` unless a library has all experts that are named."""
    for name in names:
        if name not in library:
            raise InputError(
                f"{side} has {preview(name)}, and the router has no such expert."
                f"{did_you_mean(name, library.names)}"
            )


def _check_fields(side: str, experts: Mapping[str, Any], library: Library) -> None:
    """Raise `InputError` for what is no field, nor a key of the metadata of any expert."""
    known = {*FIELDS, *(key for one in library for key in one.metadata)} - {"metadata"}
    for name in experts:
        if name not in known:
            raise InputError(
                f"{side} has {preview(name)}, which is no field of Expert and no key of the "
                f"metadata of any of the {len(library)} experts.{did_you_mean(name, known)}"
            )


def _select(experts: Experts, library: Library) -> tuple[str, ...]:
    """Return the names of the experts that are named, or that have what is described."""
    if not isinstance(experts, Mapping):
        return _as_list(experts)
    return tuple(one.name for one in library if _has_values(one, experts))


def _has_values(expert: Expert, wanted: Mapping[str, Any]) -> bool:
    """Tell whether an expert is known to have one of the values of each field."""
    for name, values in wanted.items():
        known = getattr(expert, name) if name in FIELDS else expert.metadata.get(name)
        if known is None or not {*map(_fold, _as_list(known))} & {*map(_fold, _as_list(values))}:
            return False
    return True


def _describe_experts(experts: Experts) -> str:
    if not isinstance(experts, Mapping):
        return ", ".join(_as_list(experts))
    fields_and_values = [
        f"{name} {' or '.join(map(str, _as_list(values)))}" for name, values in experts.items()
    ]
    return " and ".join(fields_and_values)


def _fold(value: object) -> str:
    """Return a value as a text in which case does not count."""
    return str(value).strip().casefold()


def _as_list(values: Any) -> tuple[Any, ...]:  # noqa: ANN401 - one value of any type, or several
    """Return one value or several as a tuple."""
    is_several = isinstance(values, (list, tuple, set, frozenset))
    return tuple(values) if is_several else (values,)
