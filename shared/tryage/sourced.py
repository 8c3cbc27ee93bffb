"""A router over the models of the Hub: made from the catalogue, and brought up to date from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tryage.errors import InputError
from tryage.experts import Library
from tryage.experts.joining import completed

if TYPE_CHECKING:
    from tryage.hub.client import HubSettings
    from tryage.router import Router

    AnyRouter = TypeVar("AnyRouter", bound="Sourced")


class Sourced:
    """Gives a router `from_hub` and `refresh`."""

    library: Library

    @classmethod
    def from_hub(
        cls: type[AnyRouter],
        task: str | None = None,
        *,
        base: AnyRouter | None = None,
        **query: Any,  # noqa: ANN401 - as in `Library.from_hub`
    ) -> AnyRouter:
        """Return a router over the models of the Hub that fit.

        Models that `base` knows, under any of their names, keep their abilities, and what it knows
        of them completes the facts; all others get the prior of its perception. Routing reads what
        is in memory and never waits for the Hub.

        Args:
            task: The Hub's pipeline tag, such as "text-generation".
            base: Where perception, preferences, constraints and, if it is found, the default come
                from; the bundled router if None.
            query: The other arguments of `Library.from_hub`: `filters`, `limit`, `sort`, `license`,
                `catalogue`, `settings` ...

        Raises:
            InputError, LibraryError, HubError, CatalogueError: as in `Library.from_hub`.
            PerceptionError: the perception of `base` has no prior, and models are new to it.
        """
        library = Library.from_hub(task, **query)
        known = base if base is not None else cls.from_pretrained()  # type: ignore[attr-defined]  # the only class with this base is Router
        return _over(known, _beside(library, known.library))

    def refresh(self: AnyRouter, settings: HubSettings | None = None) -> AnyRouter:
        """Return this router with the library as it is now, all that was learned kept.

        The catalogue is read again; if nobody has brought it up to date since, the Hub is asked
        for what the query finds. When that fails, a warning says so and the catalogue is used as it
        is. This router stays as it was and may go on routing in other threads meanwhile: refresh in
        the background and put the result in its place.

        Raises:
            InputError: the library does not come from `from_hub`, or is a part of such a one.
            LibraryError, HubError, CatalogueError: as in `Library.from_hub`.
        """
        from tryage.hub.supply import supply

        origin = self.library.origin
        if origin is None or origin.query is None:
            raise InputError(
                "Only a router made by Router.from_hub can be refreshed, and not a part of one: "
                "refresh that one and take among() again."
            )
        library = supply(origin.query, origin.path, settings, after=origin.as_of)
        if origin.beside is not None:
            library = _beside(library, origin.beside)
        for name in origin.added:
            if name not in library:
                library = library.with_expert(self.library[name])
        return _over(self, library)


def _over(router: AnyRouter, library: Library) -> AnyRouter:
    """Return a router with another library, all else equal."""
    whole = cast("Router", router)
    return cast("AnyRouter", whole._over(whole.perception, library))  # noqa: SLF001 - our own class


def _beside(library: Library, other: Library) -> Library:
    """Return a library of the Hub completed by another one, which it remembers."""
    joined = completed(library, other)
    if joined.origin is not None:
        joined.origin = replace(joined.origin, beside=other)
    return joined
