"""What is known about a tool that an agent may call, whatever framework it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from tryage.core.expert import Expert
from tryage.core.validation import check_number, check_strings
from tryage.errors import InputError

_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_./:\-]+")

_SCHEMA_KEYS = ("parameters", "input_schema", "inputSchema", "args_schema")


@dataclass(frozen=True, slots=True)
class Tool:
    """What an agent's model is told about a tool, and what calling it takes.

    `arguments` maps the name of each argument to its description. None means unknown: `cost` in USD
    per call, `latency` in seconds, `risk` from 0, harmless, to 1. `permissions` are what the caller
    must be granted.

    Raises:
        InputError: no name, a wrong type, or a number out of range.
    """

    name: str
    description: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict, hash=False)
    cost: float | None = None
    latency: float | None = None
    risk: float | None = None
    permissions: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Check every field and bring it to its one form."""
        for what in ("name", "description"):
            if not isinstance(getattr(self, what), str):
                raise InputError(f"A tool's {what} is a string, got {getattr(self, what)!r:.80}.")
        if not self.name.strip():
            raise InputError("A tool needs a name, got an empty one.")
        if not isinstance(self.arguments, Mapping):
            raise InputError(
                f"{self.name}: arguments map names to descriptions, got {self.arguments!r:.80}."
            )
        object.__setattr__(self, "arguments", {str(k): str(v) for k, v in self.arguments.items()})
        for what, high in (("cost", float("inf")), ("latency", float("inf")), ("risk", 1.0)):
            value = getattr(self, what)
            if value is not None:
                object.__setattr__(
                    self, what, check_number(f"{self.name}: {what}", value, 0.0, high)
                )
        granted = frozenset(check_strings(f"{self.name}: permissions", self.permissions))
        object.__setattr__(self, "permissions", granted)

    @property
    def title(self) -> str:
        """The name in words and what it does: `searchWeb`, "Finds pages" -> "search Web. Finds"."""
        return f"{identifier_to_words(self.name)}. {self.description}"

    @property
    def arguments_text(self) -> str:
        """The arguments in words."""
        return "; ".join(
            f"{identifier_to_words(name)}: {told}" for name, told in self.arguments.items()
        )

    @property
    def fingerprint(self) -> int:
        """A number below 2**64 by which a tool is known again: a hash of its title."""
        digest = blake2b(self.title.encode("utf-8", "replace"), digest_size=8).digest()
        return int.from_bytes(digest, "big")

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any], **known: Any) -> Tool:  # noqa: ANN401 - the other fields of Tool
        """Read the schema that a model is given: OpenAI's, Anthropic's, MCP's or a bare function's.

        `known` are `cost`, `latency`, `risk` and `permissions`, which no schema tells.

        Raises:
            InputError: no mapping, or one without a name.
        """
        if not isinstance(schema, Mapping):
            raise InputError(f"A tool's schema is a dict, got {type(schema).__name__}.")
        inner = schema.get("function")
        function: Mapping[str, Any] = inner if isinstance(inner, Mapping) else schema
        if not isinstance(function.get("name"), str):
            raise InputError(
                f"A tool's schema needs a name, got the keys {sorted(map(str, function))[:8]}; "
                'expected {"name", "description", "parameters"} or {"type": "function", ...}.'
            )
        return cls(
            name=function["name"],
            description=str(function.get("description") or function.get("title") or ""),
            arguments=_parse_arguments(function),
            **known,
        )

    def with_metadata(self, known: Tool | None) -> Tool:
        """Add what no schema tells: the cost, latency, risk and permissions of `known`."""
        if known is None:
            return self
        beside = ("cost", "latency", "risk", "permissions")
        return replace(self, **{what: getattr(known, what) for what in beside})

    def as_expert(self) -> Expert:
        """Say it in the words of a candidate, so that one objective weighs experts and tools.

        A call has one price, whatever the query: it is written as the price of one answer token.
        """
        return Expert(
            self.name,
            security=None if self.risk is None else 1.0 - self.risk,
            latency=self.latency,
            input_price=None if self.cost is None else 0.0,
            output_price=None if self.cost is None else self.cost * 1e6,
            output_tokens=1.0,
        )


def identifier_to_words(name: str) -> str:
    """Split a name as programmers join it: `getUserName`, `get_user_name`, `user.name/get`."""
    return " ".join(_WORD_BOUNDARY.sub(" ", name).split())


def _parse_arguments(function: Mapping[str, Any]) -> dict[str, str]:
    """Find the properties of the first JSON schema there is, with their descriptions."""
    schemas = (function.get(key) for key in _SCHEMA_KEYS)
    schema = next((found for found in schemas if isinstance(found, Mapping)), {})
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {
        str(name): str(told.get("description") or "") if isinstance(told, Mapping) else ""
        for name, told in properties.items()
    }
