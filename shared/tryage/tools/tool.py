"""A tool that an agent may call, and what is known about it; read from every framework's schema."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from tryage.core.expert import Expert
from tryage.core.validation import check_number, check_strings
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_./:\-]+")

_SCHEMA_KEYS = ("parameters", "input_schema", "inputSchema", "args_schema")

_MAX_VALUES = {"cost": float("inf"), "latency": float("inf"), "risk": 1.0}

_METADATA_FIELDS = (*_MAX_VALUES, "permissions")


@dataclass(frozen=True, slots=True)
class Tool:
    """What an agent's model reads about a tool, and what a call costs and risks.

    `arguments` maps the name of each argument to its description. `cost` is in USD per call,
    `latency` in seconds, `risk` from 0, harmless, to 1; None means unknown. `permissions` are those
    that the caller must be granted. `server` is the server that offers the tool, such as one of
    MCP, "" if there is none; it distinguishes tools of one name.

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
    server: str = ""

    def __post_init__(self) -> None:
        """Check every field and convert it to its own type."""
        self._check_texts()
        object.__setattr__(self, "arguments", {str(k): str(v) for k, v in self.arguments.items()})
        for name, maximum in _MAX_VALUES.items():
            value = getattr(self, name)
            if value is not None:
                number = check_number(f"{self.name}: {name}", value, 0.0, maximum)
                object.__setattr__(self, name, number)
        permissions = frozenset(check_strings(f"{self.name}: permissions", self.permissions))
        object.__setattr__(self, "permissions", permissions)

    def _check_texts(self) -> None:
        for name in ("name", "description", "server"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"A tool's {name} is a string, got {getattr(self, name)!r:.80}.")
        if not self.name.strip():
            raise InputError("A tool needs a name, got an empty one.")
        if not isinstance(self.arguments, Mapping):
            raise InputError(
                f"{self.name}: arguments map names to descriptions, got {self.arguments!r:.80}."
            )

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any], **metadata: Any) -> Tool:  # noqa: ANN401 - the other fields of Tool
        """Read the schema that a model gets: OpenAI's, Anthropic's, MCP's or a bare function's.

        `metadata` are `cost`, `latency`, `risk`, `permissions` and `server`, which no schema holds.

        Raises:
            InputError: not a mapping, or one without a name.
        """
        if not isinstance(schema, Mapping):
            raise InputError(f"A tool's schema is a dict, got {type(schema).__name__}.")
        function = schema.get("function")
        if not isinstance(function, Mapping):
            function = schema
        if not isinstance(function.get("name"), str):
            raise InputError(
                f"A tool's schema needs a name, got the keys {sorted(map(str, function))[:8]}; "
                'expected {"name", "description", "parameters"} or {"type": "function", ...}.'
            )
        return cls(
            name=function["name"],
            description=str(function.get("description") or function.get("title") or ""),
            arguments=_parse_arguments(function),
            **metadata,
        )

    @property
    def title(self) -> str:
        """The name in words and what it does: `searchWeb`, "Finds pages" -> "search Web. Finds".

        The name of the server, if any, comes first.
        """
        name = identifier_to_words(f"{self.server} {self.name}")
        return f"{name}. {self.description}"

    @property
    def arguments_text(self) -> str:
        """The arguments in words."""
        return "; ".join(
            f"{identifier_to_words(name)}: {description}"
            for name, description in self.arguments.items()
        )

    @property
    def full_text(self) -> str:
        """The title and the arguments in words."""
        return f"{self.title} {self.arguments_text}"

    @property
    def fingerprint(self) -> int:
        """A number below 2**64 that identifies the tool: a hash of its title."""
        digest = blake2b(self.title.encode("utf-8", "replace"), digest_size=8).digest()
        return int.from_bytes(digest, "big")

    def with_metadata(self, source: Tool | None) -> Tool:
        """Return the tool with the cost, latency, risk and permissions of `source`."""
        if source is None:
            return self
        return replace(self, **{name: getattr(source, name) for name in _METADATA_FIELDS})

    def as_expert(self, name: str | None = None) -> Expert:
        """Return the tool as an expert, so that one objective scores experts and tools.

        `name` distinguishes it from other tools; None is its own name.

        A call has one price, whatever the query: the price of one output token stands for it.
        """
        return Expert(
            name or self.name,
            security=None if self.risk is None else 1.0 - self.risk,
            latency=self.latency,
            input_price=None if self.cost is None else 0.0,
            output_price=None if self.cost is None else self.cost * 1e6,
            output_tokens=1.0,
        )


def check_tools(tools: Iterable[Tool]) -> tuple[Tool, ...]:
    """Return the tools as a tuple.

    Raises:
        InputError: not a list of tools.
    """
    if isinstance(tools, (str, bytes, Mapping)) or not isinstance(tools, Iterable):
        raise InputError(f"Tools are a list of Tool, got {tools!r:.80}.")
    checked_tools = tuple(tools)
    for tool in checked_tools:
        if not isinstance(tool, Tool):
            raise InputError(
                f"Tools are a list of Tool, got a {type(tool).__name__} in it; "
                "read a schema with Tool.from_schema(...)."
            )
    return checked_tools


def unique_names(tools: Sequence[Tool]) -> tuple[str, ...]:
    """Return a name for each tool that no other has, whatever its case.

    A name that one tool has stays. Tools that share a name get that of their server before it,
    "github/search", and otherwise their position in the list behind it, "search#2".
    """
    own_names = [tool.name for tool in tools]
    shared = _shared_names(own_names)
    names = [
        f"{tool.server}/{tool.name}"
        if tool.server and tool.name.casefold() in shared
        else tool.name
        for tool in tools
    ]
    shared |= _shared_names(names)
    while shared:
        names = [
            f"{name}#{position}" if name.casefold() in shared else name
            for position, name in enumerate(names)
        ]
        shared = _shared_names(names)
    return tuple(names)


def _shared_names(names: Iterable[str]) -> set[str]:
    counts = Counter(name.casefold() for name in names)
    return {name for name, count in counts.items() if count > 1}


def check_tool_names(parameter: str, names: Iterable[str], available: Collection[str]) -> None:
    """Check that an argument, `parameter`, names only available tools.

    Raises:
        InputError: a name that no tool has.
    """
    if unknown_names := sorted(set(names) - set(available)):
        raise InputError(
            f"{parameter} names {unknown_names}, which no tool has; available are "
            f"{sorted(available)[:20]}."
        )


def identifier_to_words(name: str) -> str:
    """Split an identifier into words: `getUserName`, `get_user_name`, `user.name/get`."""
    return " ".join(_WORD_BOUNDARY.sub(" ", name).split())


def _parse_arguments(function: Mapping[str, Any]) -> dict[str, str]:
    """Return the properties of the first JSON schema in a function, with their descriptions."""
    schemas = (function.get(key) for key in _SCHEMA_KEYS)
    schema = next((candidate for candidate in schemas if isinstance(candidate, Mapping)), {})
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {
        str(name): str(value.get("description") or "") if isinstance(value, Mapping) else ""
        for name, value in properties.items()
    }
