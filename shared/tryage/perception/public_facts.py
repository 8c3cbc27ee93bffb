"""Numbers of experts of which the library says little: from public tables, or from the name.

An expert that is given by its name alone is no stranger: its price, its release and its published
results stand in public tables. Where they do not, its family tells what to expect of it.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.models.lookup import look_up
from tryage.models.relatives import expected_facts
from tryage.models.results import prior_results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tryage.core.arrays import BoolArray
    from tryage.core.expert import Expert
    from tryage.core.library import Library
    from tryage.models.snapshot import KnownModel

MAX_EXPERTS = 2_000
"""A larger library comes from a catalogue, which has facts of its own."""

PUBLISHED_KEY = "published"
"""In the metadata of an expert: what is published of its model, where its own facts differ."""

_PUBLISHED_FIELDS = ("output_price", "context_length")

PublicFacts = dict[str, float]
"""The facts of an expert: "released" (ordinal day), "output_price", "context_length", "index", and
"overall"; an unknown one is absent."""


def add_public_facts(library: Library, facts: Mapping[str, np.ndarray[Any, Any]]) -> BoolArray:
    """Fill the gaps of `facts` in place, each `(n,)` with NaN for what the library does not say.

    Return the experts of which part is only expected from their names, `(n,)`.
    """
    is_expected = np.zeros(len(library), np.bool_)
    if len(library) > MAX_EXPERTS:
        return is_expected
    for i, (name, metadata) in enumerate(zip(library.names, library.metadata, strict=True)):
        for field, value in _published_values(metadata):
            facts[field][i] = value
        if metadata and "hub" in metadata:
            continue
        gaps = [field for field, column in facts.items() if np.isnan(column[i])]
        known = _known_facts(name) if gaps else {}
        is_named_only = {"released", "output_price"}.issubset(gaps) and not (
            {"released", "output_price", "index"} & known.keys()
        )
        if is_named_only and (expected := _expected_facts(name)):
            known, is_expected[i] = expected | known, True
        for field in gaps:
            facts[field][i] = known.get(field, np.nan)
    return is_expected


def with_published_facts(expert: Expert, published: Expert) -> Expert:
    """Return an expert that remembers what is published of its model and differs from its facts.

    A price agreed with a provider, or a server's smaller window, tells nothing of how able it is.
    """
    values = {
        field: value
        for field in _PUBLISHED_FIELDS
        if (value := getattr(published, field)) and value != getattr(expert, field)
    }
    if not values:
        return expert
    return replace(expert, metadata={**expert.metadata, PUBLISHED_KEY: values})


def _published_values(metadata: object) -> Iterator[tuple[str, float]]:
    """Yield the published numbers in metadata, which may be of any origin."""
    published = metadata.get(PUBLISHED_KEY) if isinstance(metadata, Mapping) else None
    if not isinstance(published, Mapping):
        return
    for field in _PUBLISHED_FIELDS:
        value = published.get(field)
        if isinstance(value, (int, float)) and 0 < value < _MAX_PUBLISHED:
            yield field, float(value)


_MAX_PUBLISHED = 1e12


def _known_facts(name: str) -> PublicFacts:
    """Return what public tables say of the model that a name means."""
    model = look_up(name)
    facts = {} if model is None else _facts_of_model(model)
    results = prior_results(name)
    return facts | {field: results[field] for field in ("index", "overall") if field in results}


def _facts_of_model(model: KnownModel) -> PublicFacts:
    """Return numbers of a known model; a price of zero is that of a server, not of the model."""
    facts: PublicFacts = {}
    if released := model.value("released"):
        full_date = released + {4: "-07-01", 7: "-15"}.get(len(released), "")
        facts["released"] = float(datetime.date.fromisoformat(full_date).toordinal())
    for field in ("output_price", "context_length"):
        if value := model.value(field):
            facts[field] = float(value)
    return facts


def _expected_facts(name: str) -> PublicFacts:
    """Return what the family of a model lets one expect of it."""
    expected = expected_facts(name)
    if expected is None:
        return {}
    values = {
        "released": expected.released,
        "output_price": expected.output_price,
        "context_length": expected.context_length,
    }
    return {field: value for field, value in values.items() if value is not None}
