"""Published results of models: ratings, benchmarks, and one index of all of them.

The file is one gzip of JSON, made from public tables by `benchmarks/model_facts/results.py`:

    {"format": 1, "sources": {source: {"url", "licence", "date"}}, "categories": {category: source},
     "results": {model: {effort: {category: value}}}}

`model` is a `name_key`; `effort` is `""` where a table does not state it. Values are in the unit of
their source.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.models.efforts import default_effort, loss_ratio
from tryage.models.names import name_key, parse_model_name
from tryage.models.refresh import current_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

RESULTS_FILE = Path(__file__).with_name("results.json.gz")

INDEX = "index"
"""The category that joins all results of a model; mean 0 and deviation 1 over all models."""

PRIOR_CATEGORIES = (
    *(INDEX, "overall", "hard_prompts", "coding", "math"),
    *("instruction_following", "creative_writing"),
)
"""What a router reads of an expert whose losses nobody measured."""


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One published result of a model.

    Attributes:
        category: Such as "overall" or "coding" (ratings of LMArena), or "epoch/gpqa_diamond".
        value: In the unit of its source.
        source: Whose result it is: a key of `result_sources()`.
        effort: The reasoning effort of the model in that test, None if it is not stated.
    """

    category: str
    value: float
    source: str
    effort: str | None


def published_results(name: str) -> dict[str, float]:
    """Return the published results of the model that a name means, by category; {} without any.

    A result of another effort counts where none of the named effort is published.
    """
    return {result.category: result.value for result in find_results(name)}


def prior_results(name: str) -> dict[str, float]:
    """Return those published results that tell how able a model is, as `Expert.metadata` has them.

    Languages, agents and the like are left out: they are known of too few models.
    """
    results = published_results(name)
    return {name: results[name] for name in PRIOR_CATEGORIES if name in results}


def find_results(name: str) -> tuple[PublishedResult, ...]:
    """Return the published results of the model that a name means, with their sources."""
    model, effort = _identify(name)
    content = _content()
    by_effort = content["results"].get(model, {})
    found: dict[str, PublishedResult] = {}
    for stated in sorted(by_effort, key=lambda one: _effort_distance(one, effort, name)):
        for category, value in by_effort[stated].items():
            source = content["categories"][category]
            found.setdefault(category, PublishedResult(category, value, source, stated or None))
    return tuple(found.values())


def result_sources() -> Mapping[str, Mapping[str, str]]:
    """Return the address, the licence and the date of every source."""
    sources: Mapping[str, Mapping[str, str]] = _content()["sources"]
    return sources


def _identify(name: str) -> tuple[str, str | None]:
    """Return the key of a model in the file, and the effort that its name states."""
    known = current_snapshot().find(name)
    if known is not None:
        return name_key(known.name), known.spelling.effort
    spelling = parse_model_name(name)
    return ("", None) if spelling is None else (name_key(spelling.model), spelling.effort)


def _effort_distance(stated: str, effort: str | None, name: str) -> tuple[bool, float]:
    """Return how far a published effort is from the wanted one; an unstated one is the default."""
    wanted = effort or default_effort(name)
    given = stated or default_effort(name)
    return stated != (effort or ""), abs(loss_ratio(given, wanted) - 1)


@lru_cache(maxsize=1)
def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress(RESULTS_FILE.read_bytes()))
    return content
