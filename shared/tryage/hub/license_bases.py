"""Base models that licences depend on: fetch those that are missing, and say what stays unknown.

The licence of a derived model is known only with the licences of its base models. A listing of the
Hub gives the models that fit, and their bases may be on none of its pages.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from tryage.errors import HubError, HubMissingError
from tryage.hub import catalog_schema, endpoints
from tryage.hub.catalog_query import fact_columns
from tryage.hub.parse import parse_model_or_none

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tryage.hub.catalog import Catalogue
    from tryage.hub.catalog_query import Query
    from tryage.hub.client import HubClient
    from tryage.hub.model import Model

MAX_BASES = 200  # base models that are fetched for one query, the same as in a sync

MAX_UNKNOWN = 1_000  # models without a known licence whose bases are looked for

_MAX_SHOWN = 10  # models that are named for each unknown fact


def missing_bases(catalogue: Catalogue, query: Query) -> list[str]:
    """Return the base models that the catalogue lacks for the licences that the query asks for.

    Those of the first models of the query come first. Bases of bases count as well.
    """
    rows = [
        row
        for license_ in query.license
        for (row,) in catalogue.unknown_rows(_declared(query, license_), ["id"])
    ]
    if not rows:
        return []
    with catalog_schema.wrap_sqlite_errors(catalogue.path):
        bases = catalogue.connection().execute(_SELECT_MISSING_BASES, (json.dumps(rows),))
        return [name for (name,) in bases]


def _declared(query: Query, license_: str) -> Query:
    """Return the query of the models that declare the licence themselves."""
    limit = query.limit or MAX_UNKNOWN
    return replace(
        query, license=(license_,), tags=(*query.tags, f"license:{license_}"), limit=limit
    )


def fetch_missing_bases(
    client: HubClient, catalogue: Catalogue, query: Query, asked_names: Collection[str] = ()
) -> set[str]:
    """Fetch the base models that licences depend on; return the names that were asked for.

    Bases of bases follow, up to `MAX_BASES` models with `asked_names`, which are not asked for.

    Raises:
        HubError: the Hub cannot be asked.
        CatalogueError: the catalogue cannot be written.
    """
    asked = set(asked_names)
    while len(asked) < MAX_BASES:
        names = [name for name in missing_bases(catalogue, query) if name not in asked]
        names = names[: MAX_BASES - len(asked)]
        if not names:
            break
        asked.update(names)
        _fetch_models(client, catalogue, names)
    return asked


def _fetch_models(client: HubClient, catalogue: Catalogue, names: Sequence[str]) -> None:
    """Write those of the models that the Hub has to the catalogue."""
    models, former_names = list["Model"](), dict[str, str]()
    for name, answer in client.iter_models(names, expand=endpoints.DEFAULT_EXPAND):
        if isinstance(answer, HubMissingError):
            continue
        if isinstance(answer, HubError):
            raise answer
        model = parse_model_or_none(answer, datetime.now(timezone.utc))
        if model is not None:
            models.append(model)
            if model.name.casefold() != name.casefold():
                former_names[name] = model.key
    catalogue.put(models, former_names)


def explain_missing(catalogue: Catalogue, query: Query) -> str:
    """Return which models are left out because a fact is unknown, and why, as lines of text.

    A model that is known not to meet a condition is not missing. The models that come first in the
    order of the query are named.
    """
    columns = fact_columns(query)
    rows = catalogue.unknown_rows(replace(query, limit=None), ["name", *columns]) if columns else []
    if not rows:
        return "No model is left out because something about it is unknown."
    lines = [f"Left out because something about them is unknown: {len(rows):,} models."]
    for place, column in enumerate(columns, start=1):
        names = [row[0] for row in rows if row[place] is None]
        if names:
            lines.append(f"{column}: {len(names):,}")
            lines += [
                f"  {name}: {_reason(catalogue, name, column)}" for name in names[:_MAX_SHOWN]
            ]
            if len(names) > _MAX_SHOWN:
                lines.append(f"  and {len(names) - _MAX_SHOWN:,} more")
    return "\n".join(lines)


def _reason(catalogue: Catalogue, name: str, column: str) -> str:
    """Return why a fact of a model is unknown."""
    model = catalogue.get(name)
    fact = None if model is None else model.facts.get(column)
    return f"the Hub does not say its {column}" if fact is None else fact.source


# --- SQL ------------------------------------------------------------------------------------

# The models come in the order of the query; a base has the place of the first model made from it.
_SELECT_MISSING_BASES = """
WITH RECURSIVE needed (id, place) AS (
    SELECT value, key FROM json_each(?)
    UNION
    SELECT lineage.parent, needed.place FROM needed JOIN lineage ON lineage.child = needed.id
    JOIN models ON models.id = lineage.parent WHERE models.license IS NULL
)
SELECT lineage.name FROM needed JOIN lineage ON lineage.child = needed.id
WHERE lineage.parent IS NULL GROUP BY lineage.name ORDER BY min(needed.place), lineage.name
"""
