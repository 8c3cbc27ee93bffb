"""Why a query found nothing: words that no model of the catalogue has, and what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.experts.values import did_you_mean

if TYPE_CHECKING:
    from tryage.hub.catalogue.keeping import Catalogue
    from tryage.hub.catalogue.query import Query


def hint(catalogue: Catalogue, query: Query) -> str:
    """Return a sentence for each word of a query that the catalogue does not have, or ""."""
    said = []
    for column, words in (
        ("task", (query.task,)),
        ("tag", query.tags),
        ("license", query.license),
        ("author", (query.author,)),
    ):
        for word in filter(None, words):
            known = catalogue.words(column)
            if word not in known:
                said.append(f" None has the {column} {word!r:.80}.{did_you_mean(word, known)}")
    return "".join(said)
