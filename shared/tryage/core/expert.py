"""Expert: what is known about one candidate model."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tryage.core.validation import (
    NUMBER_RANGES,
    check_field,
    check_number,
    check_words,
    did_you_mean,
    preview,
)
from tryage.errors import InputError

_OBJECT_FIELDS = (
    *("aliases", "license", "capabilities", "metadata"),
    *("effort", "about_as_good_as"),
)


@dataclass(frozen=True, slots=True)
class Expert:
    """What is known about a candidate model, never the client that calls it.

    None means unknown; it never counts as zero or as free. Units: `parameters` and
    `active_parameters` are counts (7e9); prices are USD per million tokens, `cached_input_price`
    that of prompt tokens in the provider's cache; `latency` is the seconds to a typical answer,
    `output_tokens` its length, reasoning included; `readability` is the Flesch reading ease (higher
    is easier); `security` is 1 when every scan passed. `metadata` is JSON-safe.

    `effort` is the reasoning effort with which the model is asked, such as "low": one model with
    two efforts is two experts. `about_as_good_as` names a known model: this one is expected to
    answer as well as that one, until it is measured itself.

    Raises:
        InputError: a value has a wrong type, is not finite, is negative or is out of range.
    """

    name: str
    aliases: tuple[str, ...] = ()
    parameters: float | None = None
    active_parameters: float | None = None
    released: datetime.date | None = None
    license: str | None = None
    security: float | None = None
    input_price: float | None = None
    output_price: float | None = None
    cached_input_price: float | None = None
    latency: float | None = None
    output_tokens: float | None = None
    readability: float | None = None
    downloads: float | None = None
    context_length: int | None = None
    capabilities: frozenset[str] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    effort: str | None = None
    about_as_good_as: str | None = None

    def __post_init__(self) -> None:
        """Check every field and convert it to its standard form (tuple, lower case, float)."""
        if not isinstance(self.name, str) or not self.name.strip():
            raise InputError(
                f"An expert's name must be a non-empty string, got {preview(self.name)}."
            )
        check_words("An expert's name", [self.name])
        for name, (low, high) in NUMBER_RANGES.items():
            value = getattr(self, name)
            if value is not None and name != "released":
                checked = check_number(f"{self.name}: {name}", value, low, high)
                self._set(name, int(checked) if name == "context_length" else checked)
        self._set("released", _check_date(self.released))
        for name in _OBJECT_FIELDS:
            self._set(name, check_field(name, getattr(self, name)))
        self._set("aliases", self.aliases or ())
        self._set("metadata", self.metadata or {})

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """Return the known fields as JSON-safe values, without the unknown ones."""
        result: dict[str, Any] = {}
        for name in FIELDS:
            value = getattr(self, name)
            if value is None or (name in ("aliases", "metadata") and not value):
                continue
            result[name] = _to_json_value(value)
        return result

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Expert:
        """Build an expert from the dict that `to_dict` returned.

        Raises:
            InputError: not a mapping, an unknown field, no name, or a wrong value.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"An expert must be a dict, got {type(data).__name__}.")
        for key in data:
            if key not in FIELDS:
                raise InputError(
                    f"{key!r:.80} is not a field of Expert.{did_you_mean(str(key), FIELDS)}"
                )
        if "name" not in data:
            raise InputError(f"An expert needs a name, got only {sorted(data)}.")
        values = dict(data)
        if isinstance(values.get("released"), str):
            try:
                values["released"] = datetime.date.fromisoformat(values["released"])
            except ValueError as error:
                raise InputError(f"released must be YYYY-MM-DD: {error!s:.120}.") from error
        return cls(**values)


FIELDS = tuple(f.name for f in fields(Expert))


def _check_date(value: object) -> datetime.date | None:
    """Return a date, or None when unknown; the time of a datetime is dropped."""
    if isinstance(value, datetime.datetime):
        return value.date()
    if value is None or isinstance(value, datetime.date):
        return value
    raise InputError(
        f"released must be a datetime.date, got {type(value).__name__} {preview(value)}."
    )


def _to_json_value(value: object) -> object:
    """Return a JSON-safe copy of one field."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, frozenset)):
        return sorted(value) if isinstance(value, frozenset) else list(value)
    return value
