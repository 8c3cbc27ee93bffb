"""What a ranker learns from: queries, the tools there were, and those that were of use."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tryage.tools.tool import Tool

_SALT = b"kept apart"  # whoever splits queries by the same hash shall not take all that judge
_MANY = 32  # episodes with the same tools are learned among themselves


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """One query among `tools`; `useful` names those it needs, none if it needs no tool.

    Raises:
        InputError: no tool, or a useful one that is not among them.
    """

    query: str
    tools: Sequence[Tool]
    useful: Collection[str]

    def __post_init__(self) -> None:
        """Check that the useful tools are there."""
        names = {tool.name for tool in self.tools}
        if not names or not set(self.useful) <= names:
            raise InputError(
                f"An episode needs tools, and the useful ones among them; got {len(names)} tools "
                f"and, not among them, {sorted(set(self.useful) - names)[:5]}."
            )


@dataclass(frozen=True, slots=True)
class Group:
    """Episodes learned together, and every tool that one of them has."""

    episodes: tuple[Episode, ...]
    tools: tuple[Tool, ...]


def groups(episodes: Sequence[Episode]) -> tuple[Group, ...]:
    """Group episodes that have the same list of tools; those whose lists are rare, together."""
    same: dict[int, list[Episode]] = defaultdict(list)
    for episode in episodes:
        same[id(episode.tools)].append(episode)
    rest = [one for many in same.values() if len(many) < _MANY for one in many]
    parts = [many for many in same.values() if len(many) >= _MANY] + ([rest] if rest else [])
    return tuple(Group(tuple(part), _tools_of(part)) for part in parts)


def _tools_of(episodes: Sequence[Episode]) -> tuple[Tool, ...]:
    lists = {id(one.tools): one.tools for one in episodes}
    return tuple(dict.fromkeys(tool for tools in lists.values() for tool in tools))


def kept_apart(episode: Episode, one_in: int) -> bool:
    """Tell, by the text of its query, whether an episode is kept from training."""
    digest = blake2b(episode.query.encode("utf-8", "replace"), digest_size=4, salt=_SALT).digest()
    return int.from_bytes(digest, "big") % one_in == 0
