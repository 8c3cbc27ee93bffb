"""What two libraries know of the same experts, brought together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.experts.values import NUMBER_RANGES

if TYPE_CHECKING:
    from tryage.experts.library import Library


def completed(library: Library, other: Library) -> Library:
    """Return `library` with what `other` knows of its experts, whatever they are called there.

    Names of both find them, unless they already mean somebody else. A number that is known here
    stays; of nobody more is known than before, unless `other` has the expert.
    """
    pairs = _same(library, other)
    if not pairs:
        return library
    aliases = library.aliases.copy()
    taken: set[str] = set()
    for here, there in pairs.items():
        expert = other[there]
        own = list(aliases[here] or ())
        for name in (expert.name, *expert.aliases):
            if name not in library and name.casefold() not in taken:
                own.append(name)
                taken.add(name.casefold())
        aliases[here] = tuple(own) or None
    rows, others = (np.array(side, dtype=np.intp) for side in zip(*pairs.items(), strict=True))
    numbers: dict[str, Any] = {}
    for name in NUMBER_RANGES:
        column = library.column(name).copy()
        known = column[rows]
        column[rows] = np.where(np.isnan(known), other.column(name)[others], known)
        numbers[name] = column
    return library.with_columns(aliases=aliases, **numbers)


def _same(library: Library, other: Library) -> dict[int, int]:
    """Return, by position here, the position there of the experts that both have."""
    pairs: dict[int, int] = {}
    for there, name in enumerate(other.names):
        names = (name, *(other.aliases[there] or ()))
        here = next((library.index(one) for one in names if one in library), None)
        if here is not None:
            pairs.setdefault(here, there)
    return pairs
