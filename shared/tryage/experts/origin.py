"""Where the facts of a library come from, and how old they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping

    from tryage.experts.library import Library


@dataclass(frozen=True, slots=True)
class Origin:
    """The catalogue that a library was read from.

    `as_of` is the moment (UTC) at which the Hub was asked, None if that is not known. `query` are
    the arguments of `Library.from_hub`, None if the library is only a part of what they find.
    `path` is the catalogue's file; a token is never kept. `beside` completes what the catalogue
    knows; the experts `added` were onboarded later.
    """

    path: str
    as_of: datetime.datetime | None = None
    query: Mapping[str, Any] | None = field(default=None, hash=False)
    beside: Library | None = None
    added: tuple[str, ...] = ()
