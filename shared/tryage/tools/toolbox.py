"""The tools that one agent has, read once: vectors, words, and a library that rules apply to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import InputError, NoExpertError
from tryage.experts import Library, strings
from tryage.ranking import Rejected
from tryage.tools.tool import Tool
from tryage.tools.words import WordIndex

if TYPE_CHECKING:
    from typing import TypeAlias

    from tryage.perception.encoder import Encoder
    from tryage.tools.fit import Fit, Floats

    _Granted: TypeAlias = "tuple[Toolbox, tuple[Rejected, ...]]"


class Toolbox:
    """Tools with different names, as `ToolRanker.toolbox` reads them.

    `vectors` are unit rows `(n_tools, dim)`, `handicaps` `(n_tools,)` what is taken off the scores,
    and `words` the index of what they say; `library` holds the same tools in the same order, for
    constraints and requirements. `unsure` is `(1, n_tools)` of NaN: no score comes with a standard
    deviation.
    """

    def __init__(
        self, tools: tuple[Tool, ...], vectors: Floats, handicaps: Floats, library: Library
    ) -> None:
        self.tools, self.vectors, self.handicaps, self.library = tools, vectors, handicaps, library
        self.words = WordIndex(tools)
        self.unsure: Floats = np.full((1, len(tools)), np.nan, np.float32)
        self._granted: dict[frozenset[str], _Granted] = {}

    def __len__(self) -> int:
        """Count the tools."""
        return len(self.tools)

    def __repr__(self) -> str:
        """Show the size and the first names."""
        some = ", ".join(tool.name for tool in self.tools[:3])
        return f"Toolbox({len(self)} tools: {some}{', ...' if len(self) > 3 else ''})"

    def granted(self, permissions: Iterable[str] | None) -> _Granted:
        """Leave out the tools that need another permission, and say who they are; None grants all.

        Raises:
            InputError: not a list of permissions.
            NoExpertError: none is left.
        """
        if permissions is None:
            return self, ()
        given = frozenset(strings("granted", permissions))
        if given not in self._granted:
            self._granted[given] = self._without(given)
        return self._granted[given]

    def _without(self, given: frozenset[str]) -> _Granted:
        lacking = [sorted(tool.permissions - given) for tool in self.tools]
        refused = tuple(
            Rejected(tool.name, (f"needs the permission {', '.join(lacks)}, which is not granted",))
            for tool, lacks in zip(self.tools, lacking, strict=True)
            if lacks
        )
        if not refused:
            return self, ()
        if len(refused) == len(self):
            raise NoExpertError(
                f"Every one of the {len(self)} tools needs a permission that is not granted; "
                f"{refused[0].name} {refused[0].reasons[0]}. Granted: {sorted(given) or 'nothing'}."
            )
        kept = np.array([not lacks for lacks in lacking])
        tools = tuple(tool for tool, lacks in zip(self.tools, lacking, strict=True) if not lacks)
        # what a word tells is counted anew, among the tools that are left
        library = self.library.subset(kept)
        return Toolbox(tools, self.vectors[kept], self.handicaps[kept], library), refused


def read_tools(tools: Iterable[Tool], encoder: Encoder, fit: Fit) -> Toolbox:
    """Embed tools once, `(n_tools, dim)`.

    Raises:
        InputError: not a list of tools.
        LibraryError: none, or two of one name, whatever its case.
    """
    read = checked(tools)
    titles = encoder.encode([tool.title for tool in read])
    whole = encoder.encode([f"{tool.title} {tool.details}" for tool in read])
    library = Library(tool.as_expert() for tool in read)
    return Toolbox(read, fit.tools(titles, whole), fit.handicaps(read), library)


def checked(tools: Iterable[Tool]) -> tuple[Tool, ...]:
    """Return the tools as a tuple.

    Raises:
        InputError: not a list of tools.
    """
    if isinstance(tools, (str, bytes, Mapping)) or not isinstance(tools, Iterable):
        raise InputError(f"Tools are a list of Tool, got {tools!r:.80}.")
    read = tuple(tools)
    for tool in read:
        if not isinstance(tool, Tool):
            raise InputError(
                f"Tools are a list of Tool, got a {type(tool).__name__} in it; "
                "read a schema with Tool.from_schema(...)."
            )
    return read
