"""When a rule applies: conditions on the text, its language and length, keys, tags, tools, time."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from tryage.core.token_estimate import estimate_tokens
from tryage.core.validation import check_number, check_strings, preview, require_extra
from tryage.errors import InputError
from tryage.policies.language import LANGUAGES, detect_language
from tryage.policies.periods import parse_zone

if TYPE_CHECKING:
    from tryage.core.request import RoutingRequest

MAX_READ = 50_000
"""Characters of a prompt that a pattern reads."""

PATTERN_SECONDS = 0.05
"""How long a pattern may search. A slower one counts as found, so that no prompt evades it."""

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Moment:
    """What conditions read beside the request: the time, seconds since 1970."""

    seconds: float

    def local(self, timezone: str) -> datetime.datetime:
        """Return the date and the time of day in a time zone."""
        return datetime.datetime.fromtimestamp(self.seconds, parse_zone(timezone))


Condition: TypeAlias = Callable[["RoutingRequest", Moment], bool]


def pattern_condition(value: object) -> Condition:
    """Return whether a regular expression is found in the prompt, in its first `MAX_READ` letters.

    Raises:
        InputError: it is no regular expression.
        MissingExtraError: the extra `rules` is not installed; Python's own `re` has no time limit.
    """
    require_extra("regex", "rules")
    import regex

    (text,) = check_strings("pattern", [value])
    try:
        compiled = regex.compile(text)
    except regex.error as error:
        raise InputError(
            f"pattern is {preview(text)}; expected a regular expression: {error}."
        ) from error

    def is_found(request: RoutingRequest, _: Moment) -> bool:
        try:
            return bool(compiled.search(request.text[:MAX_READ], timeout=PATTERN_SECONDS))
        except TimeoutError:
            return True

    return is_found


def language_condition(value: object) -> Condition:
    """Return whether the prompt is in one of some languages; one in no clear language is not.

    Raises:
        InputError: a language is not in `LANGUAGES`.
        MissingExtraError: the extra `rules` is not installed.
    """
    wanted = _check_words("language", value)
    for word in wanted:
        if word not in LANGUAGES:
            raise InputError(
                f"language is {preview(word)}; expected codes of ISO 639-1 such as 'de', of "
                f"{', '.join(LANGUAGES)}."
            )
    require_extra("py3langid", "rules")
    return lambda request, _: detect_language(request.text) in wanted


def tag_condition(value: object) -> Condition:
    """Return whether the request has one of some tags.

    Raises:
        InputError: the tags are no words.
    """
    wanted = set(_check_words("tag", value))
    return lambda request, _: request.context is not None and bool(wanted & {*request.context.tags})


def tool_condition(value: object) -> Condition:
    """Return whether a model may call one of some tools, by their names.

    Raises:
        InputError: the tools are no words.
    """
    wanted = set(_check_words("tool", value))
    return lambda request, _: (
        request.context is not None and bool(wanted & {*request.context.tools})
    )


def key_condition(value: object) -> Condition:
    """Return whether the request has each of some keys with one of its values.

    Raises:
        InputError: it is no table of keys and values.
    """
    if not isinstance(value, Mapping) or not value:
        raise InputError(f"key is {preview(value)}; expected a table such as {{user_id = 'ann'}}.")
    wanted = {
        name: _check_words(f"key {name}", str(one) if isinstance(one, int) else one)
        for name, one in value.items()
    }
    return lambda request, _: (
        request.context is not None
        and all(request.context.keys.get(name) in values for name, values in wanted.items())
    )


def min_tokens_condition(value: object) -> Condition:
    """Return whether the conversation has at least so many tokens, by an estimate."""
    limit = check_number("min_tokens", value)
    return lambda request, _: _tokens(request) >= limit


def max_tokens_condition(value: object) -> Condition:
    """Return whether the conversation has at most so many tokens, by an estimate."""
    limit = check_number("max_tokens", value)
    return lambda request, _: _tokens(request) <= limit


def _tokens(request: RoutingRequest) -> float:
    """Return the tokens of the conversation, of the prompt alone where they are unknown."""
    known = None if request.context is None else request.context.tokens
    return known or estimate_tokens(request.text)


def time_condition(value: object, timezone: str) -> Condition:
    """Return whether it is a time of day, such as "09:00-17:30"; it may go over midnight.

    The first minute counts, and the last one does not.

    Raises:
        InputError: it is no time of day.
    """
    try:
        start, end = (_read_time(part) for part in str(value).split("-"))
    except ValueError as error:
        raise InputError(
            f"time is {preview(value)}; expected two times of day such as '09:00-17:30', in the "
            "timezone of the rule."
        ) from error

    def is_between(_: RoutingRequest, moment: Moment) -> bool:
        now = moment.local(timezone).time()
        return start <= now < end if start < end else now >= start or now < end

    return is_between


def _read_time(text: str) -> datetime.time:
    """Return a time of day, or raise `ValueError`."""
    return datetime.datetime.strptime(text.strip(), "%H:%M").time()  # noqa: DTZ007 - the time zone is that of the rule


def weekday_condition(value: object, timezone: str) -> Condition:
    """Return whether it is one of some days of the week, such as "sat".

    Raises:
        InputError: a word is not in `WEEKDAYS`.
    """
    wanted = _check_words("weekday", value)
    for word in wanted:
        if word not in WEEKDAYS:
            raise InputError(f"weekday is {preview(word)}; expected {', '.join(WEEKDAYS)}.")
    return lambda _, moment: WEEKDAYS[moment.local(timezone).weekday()] in wanted


def since_condition(value: object, timezone: str) -> Condition:
    """Return whether it is a date or later."""
    first = read_date("since", value)
    return lambda _, moment: moment.local(timezone).date() >= first


def until_condition(value: object, timezone: str) -> Condition:
    """Return whether it is a date or earlier."""
    last = read_date("until", value)
    return lambda _, moment: moment.local(timezone).date() <= last


def check_timezone(value: object) -> str:
    """Return the name of a time zone, such as "Europe/Berlin".

    Raises:
        InputError: there is none of that name.
    """
    (name,) = check_strings("timezone", [value])
    parse_zone(name)
    return name


def read_date(name: str, value: Any) -> datetime.date:  # noqa: ANN401 - whatever a user gives
    """Return a date, or one that a text such as "2026-12-24" names.

    Raises:
        InputError: it is neither.
    """
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    try:
        return datetime.datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007 - as above
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} is {preview(value)}; expected a date such as 2026-12-24."
        ) from error


def _check_words(name: str, value: Any) -> tuple[str, ...]:  # noqa: ANN401 - as above
    """Return one word or several as a tuple, at least one."""
    words = check_strings(name, [value] if isinstance(value, str) else value)
    if not words:
        raise InputError(f"{name} is empty; expected a word, or a list of words.")
    return words
