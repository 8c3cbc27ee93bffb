"""Episodes that a ToolRanker learns from: queries, their tools, and which of these were useful."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import InputError
from tryage.tools.tool import unique_names

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from tryage.tools.tool import Tool

_MIN_GROUP_SIZE = 32  # episodes that share their tools; smaller groups are joined

# Another split of queries by the same hash must not contain all held-out ones, hence the salt.
_HELD_OUT_SALT = b"kept apart"


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """One query among `tools`; `useful` names the tools that it needs, if any.

    A name that several tools have stands for all of them; a name of `unique_names` for one.

    Raises:
        InputError: no tools, or a useful one that is not among them.
    """

    query: str
    tools: Sequence[Tool]
    useful: Collection[str]

    def __post_init__(self) -> None:
        """Check that the useful tools are among the tools."""
        unknown_names = set(self.useful) - {tool.name for tool in self.tools}
        if unknown_names:  # unique names are looked up last, because they take time to make
            unknown_names -= set(unique_names(self.tools))
        if not self.tools or unknown_names:
            raise InputError(
                "An episode needs tools, and the useful ones among them; got "
                f"{len(self.tools)} tools and, not among them, {sorted(unknown_names)[:5]}."
            )

    def useful_rows(self) -> NDArray[np.intp]:
        """Return the positions of the useful tools among the tools, in their order."""
        is_useful = np.array([tool.name in self.useful for tool in self.tools])
        if is_useful.sum() < len(self.useful):  # some names are unique names
            is_useful |= [name in self.useful for name in unique_names(self.tools)]
        return np.flatnonzero(is_useful)


def is_held_out(episode: Episode, one_in: int) -> bool:
    """Tell, by the text of its query, whether an episode is kept from training the maps."""
    text = episode.query.encode("utf-8", "replace")
    digest = blake2b(text, digest_size=4, salt=_HELD_OUT_SALT).digest()
    return int.from_bytes(digest, "big") % one_in == 0


@dataclass(frozen=True, slots=True)
class EpisodeGroup:
    """Episodes that one step may compare, and every tool that one of them has."""

    episodes: tuple[Episode, ...]
    tools: tuple[Tool, ...]


def group_by_toolset(episodes: Sequence[Episode]) -> tuple[EpisodeGroup, ...]:
    """Group episodes that have the same list of tools; those with rare lists form one group."""
    by_toolset: dict[int, list[Episode]] = defaultdict(list)
    for episode in episodes:
        by_toolset[id(episode.tools)].append(episode)
    groups = [group for group in by_toolset.values() if len(group) >= _MIN_GROUP_SIZE]
    small_groups = [group for group in by_toolset.values() if len(group) < _MIN_GROUP_SIZE]
    if small_groups:
        groups.append([episode for group in small_groups for episode in group])
    return tuple(EpisodeGroup(tuple(group), _union_of_tools(group)) for group in groups)


def _union_of_tools(episodes: Sequence[Episode]) -> tuple[Tool, ...]:
    lists = {id(episode.tools): episode.tools for episode in episodes}
    return tuple(dict.fromkeys(tool for tools in lists.values() for tool in tools))
