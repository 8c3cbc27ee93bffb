"""What the user's own catalogue of the Hub knows of a model; nobody is asked over the network."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from tryage.errors import CatalogueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tryage.experts import Expert
    from tryage.hub.catalogue import Catalogue

_ID = re.compile(r"[\w.-]+/[\w.-]+")


class Shelf:
    """The catalogue that `tryage hub sync` has filled, if there is one.

    One that cannot be read is left alone, with a warning: the models can be asked without it. One
    that is `closed` is not looked at.
    """

    def __init__(self, *, closed: bool = False) -> None:
        from tryage.hub.catalogue import Catalogue

        found = Catalogue()
        there = not closed and found.path.is_file()
        self._catalogue: Catalogue | None = found if there else None

    def find(self, names: Iterable[str]) -> Expert | None:
        """Return what is known of the first of these names that is a model's, each fact sourced.

        A repository is meant by its id, with or without a provider around it.
        """
        if self._catalogue is None:
            return None
        from tryage.hub.facts import to_expert

        try:
            for repository in dict.fromkeys(_ids(names)):
                if (model := self._catalogue.get(repository)) is not None:
                    return to_expert(model)
        except CatalogueError as error:
            warnings.warn(f"No facts are taken from the catalogue: {error}", stacklevel=2)
            self._catalogue = None
        return None

    def close(self) -> None:
        """Close the file."""
        if self._catalogue is not None:
            self._catalogue.close()


def _ids(names: Iterable[str]) -> Iterator[str]:
    """Yield the repositories that names may mean: "together:org/name", "org/name:free".

    A name without a slash is nobody's id: "llama3:8b" is no model of an owner called llama3.
    """
    for name in names:
        for spelling in (name, name.partition(":")[2], name.rpartition(":")[0]):
            repository = "/".join(spelling.strip().split("/")[-2:])
            if _ID.fullmatch(repository):
                yield repository
