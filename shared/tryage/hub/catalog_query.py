"""`Query`: conditions on the models of the catalogue, and the SQL that finds them by an index."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tryage.core.validation import check_integer, check_number, check_strings, did_you_mean
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The columns to sort by, each with the direction that puts the best first; unknown comes last.
SORTS: Mapping[str, str] = {
    "downloads": "DESC",
    "likes": "DESC",
    "released": "DESC",
    "modified": "DESC",
    "security": "DESC",
    "context_length": "DESC",
    "parameters": "ASC",
    "input_price": "ASC",
    "output_price": "ASC",
    "latency": "ASC",
    "name": "ASC",
}

INDEXED_SORTS = frozenset(("downloads", "likes", "released", "modified", "parameters"))

# Up to this number of models with a tag, sorting them is faster than reading an index in order.
SELECTIVE_TAG_LIMIT = 2_000


@dataclass(frozen=True, slots=True)
class Query:
    """Conditions on models; a model fits when it is known to meet each of them.

    Args:
        task: The Hub's pipeline tag.
        tags: Tags that a model must all have.
        license: Licences; a model must have one of them.
        author: The owner.
        search: A part of the name, ignoring case.
        min_parameters: The least number of parameters, such as 1e9.
        max_parameters: The largest number of parameters, such as 7e9.
        since: The first day of release.
        gated: Only models that ask for an agreement, or only those that do not.
        served: Only models that a provider serves, or only those that no provider serves.
        sort: A column of `SORTS`; ties are sorted by name.
        limit: How many models at most; None is all of them.

    Raises:
        InputError: a wrong type, an unknown `sort`, or limits that exclude every model.
    """

    task: str | None = None
    tags: Sequence[str] = ()
    license: Sequence[str] = ()
    author: str | None = None
    search: str | None = None
    min_parameters: float | None = None
    max_parameters: float | None = None
    since: datetime.date | None = None
    gated: bool | None = None
    served: bool | None = None
    sort: str = "downloads"
    limit: int | None = None

    def __post_init__(self) -> None:
        """Check every condition, and normalize it."""
        for name in ("task", "author", "search"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InputError(f"{name} must be a string, got {value!r:.80}.")
        for name in ("tags", "license"):
            value = getattr(self, name)
            words = check_strings(name, (value,) if isinstance(value, str) else value)
            normalized_words = tuple(word.lower() for word in words) if name == "license" else words
            object.__setattr__(self, name, normalized_words)
        for name in ("min_parameters", "max_parameters"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_number(name, getattr(self, name)))
        self._check()

    def _check(self) -> None:
        low, high = self.min_parameters, self.max_parameters
        if low is not None and high is not None and low > high:
            raise InputError(f"min_parameters {low:g} is above max_parameters {high:g}.")
        if self.since is not None and not isinstance(self.since, datetime.date):
            raise InputError(f"since must be a datetime.date, got {self.since!r:.80}.")
        for name in ("gated", "served"):
            if getattr(self, name) not in (None, True, False):
                raise InputError(f"{name} must be True, False or None (either).")
        if self.sort not in SORTS:
            suggestion = did_you_mean(str(self.sort), SORTS)
            raise InputError(
                f"sort must be one of {', '.join(SORTS)}; got {self.sort!r:.80}.{suggestion}"
            )
        if self.limit is not None:
            check_integer("limit", self.limit, 1)


_TEXT_COLUMNS = frozenset(
    ("name", "key", "author", "task", "license", "capabilities", "gated", "provider")
)


class CatalogRow(NamedTuple):
    """The resolved columns of one model, None where unknown; `Catalogue.get` has the facts.

    `released` is an ordinal day, `modified` and `seen` are seconds since 1970 (UTC), `capabilities`
    are words separated by blanks.
    """

    name: str
    key: str
    author: str | None
    task: str | None
    license: str | None
    parameters: float | None
    active_parameters: float | None
    released: int | None
    security: float | None
    input_price: float | None
    output_price: float | None
    latency: float | None
    context_length: int | None
    capabilities: str | None
    downloads: float | None
    likes: float | None
    gated: str | None
    provider: str | None
    modified: float | None
    seen: float

    def check_types(self) -> None:
        """Check the types of the values, which SQLite does not.

        Raises:
            TypeError, ValueError: a value of the wrong type, or a time out of range.
        """
        for name, value in zip(self._fields, self, strict=True):
            is_valid = isinstance(value, str if name in _TEXT_COLUMNS else (int, float))
            if not is_valid and (value is not None or name in ("name", "key", "seen")):
                raise TypeError(f"{name} is a {type(value).__name__}")
        if self.released is not None:
            datetime.date.fromordinal(self.released)
        for seconds in (self.modified, self.seen):
            datetime.datetime.fromtimestamp(seconds or 0, datetime.timezone.utc)


def build_select(
    query: Query,
    columns: Sequence[str],
    selective_tag: str | None = None,
    *,
    unknown: bool = False,
) -> tuple[str, list[Any]]:
    """Return the SQL that reads these columns of the models that fit, and its parameters.

    `selective_tag` is the one of `query.tags` to look up first, when few models have it. With
    `unknown`, the models of which it is not known whether they fit instead.
    """
    conditions, values = _where(query, unknown=unknown)
    source = f"models {_index_hint(query)}"
    if selective_tag is not None:
        source = "tagged CROSS JOIN models ON models.id = tagged.model"  # CROSS fixes this order
        conditions.append("tagged.tag = (SELECT id FROM tags WHERE tag = ?)")
        values.append(selective_tag)
    for tag in query.tags:
        if tag != selective_tag:
            conditions.append(
                "EXISTS (SELECT 1 FROM tagged t WHERE t.model = models.id"
                " AND t.tag = (SELECT id FROM tags WHERE tag = ?))"
            )
            values.append(tag)
    qualified_columns = (column if "(" in column else f"models.{column}" for column in columns)
    sql = f"SELECT {', '.join(qualified_columns)} FROM {source} WHERE {' AND '.join(conditions)}"  # noqa: S608 - names of columns, no values
    sql += f" ORDER BY {_order_by(query.sort)}"
    if query.limit is not None:
        sql += " LIMIT ?"
        values.append(query.limit)
    return sql, values


def _where(query: Query, *, unknown: bool) -> tuple[list[str], list[Any]]:
    """Return the conditions on columns and their values; NULL fails every condition.

    With `unknown`, NULL meets the conditions on facts, and one of these facts must be NULL.
    """
    conditions, values = _where_certain(query)
    fact_conditions, fact_values = _where_facts(query)
    if unknown:
        columns = fact_columns(query)
        conditions += [
            f"({condition} OR {condition.split()[0]} IS NULL)" for condition in fact_conditions
        ]
        unknown_facts = [f"models.{column} IS NULL" for column in columns]
        conditions.append(f"({' OR '.join(unknown_facts) or 0})")
    else:
        conditions += fact_conditions
    return conditions, values + fact_values


def _where_certain(query: Query) -> tuple[list[str], list[Any]]:
    """Return the conditions on what the record of a model says itself."""
    conditions: list[str] = ["models.live = 1"]
    values: list[Any] = []
    for column, value in (("task", query.task), ("author", query.author)):
        if value is not None:
            conditions.append(f"models.{column} = ?")
            values.append(value)
    if query.search is not None:
        conditions.append(r"models.name LIKE ? ESCAPE '\'")  # LIKE ignores the case of ASCII
        values.append(f"%{_escape_like(query.search)}%")
    if query.served is not None:
        conditions.append(f"models.provider IS {'NOT ' if query.served else ''}NULL")
    return conditions, values


def _where_facts(query: Query) -> tuple[list[str], list[Any]]:
    """Return the conditions on facts, each of which may be unknown."""
    conditions: list[str] = []
    values: list[Any] = []
    comparisons: tuple[tuple[str, object], ...] = (
        ("parameters >= ?", query.min_parameters),
        ("parameters <= ?", query.max_parameters),
        ("released >= ?", None if query.since is None else query.since.toordinal()),
    )
    for condition, value in comparisons:
        if value is not None:
            conditions.append(f"models.{condition}")
            values.append(value)
    if query.license:
        conditions.append(f"models.license IN ({', '.join('?' * len(query.license))})")
        values += query.license
    if query.gated is not None:
        conditions.append(f"models.gated {'!=' if query.gated else '='} 'no'")
    return conditions, values


def fact_columns(query: Query) -> list[str]:
    """Return the columns of the facts that the query has conditions on."""
    return list(
        dict.fromkeys(
            condition.split()[0].removeprefix("models.") for condition in _where_facts(query)[0]
        )
    )


def _escape_like(text: str) -> str:
    """Return the text with the wildcards of LIKE escaped."""
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


def _index_hint(query: Query) -> str:
    """Return the index to read in order; nothing where the models that fit can be sorted.

    The index is named because SQLite would sort all models of a task instead of reading them in
    order and stopping at the limit. Every index contains the columns of most queries, so a model
    that does not fit is skipped without reading its row. Without a limit nothing stops early:
    reading all rows and sorting is twice as fast.
    """
    if query.author is not None:
        return "INDEXED BY by_author"
    if query.served:
        return "INDEXED BY by_served"
    if query.limit is None:
        return "NOT INDEXED"
    if query.sort == "downloads":
        return f"INDEXED BY by_{'downloads' if query.task is None else 'task'}"
    return f"INDEXED BY by_{query.sort}" if query.sort in INDEXED_SORTS else ""


def _order_by(sort: str) -> str:
    """Return the order of the index: SQLite sorts NULL as the smallest value."""
    if sort == "name":
        return "models.name"
    nulls_last = " NULLS LAST" if SORTS[sort] == "ASC" else ""
    return f"models.{sort} {SORTS[sort]}{nulls_last}, models.name"
