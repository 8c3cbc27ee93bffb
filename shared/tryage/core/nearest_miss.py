"""How near the experts come to requirements that leave none of them, in words for an error."""

from __future__ import annotations

from collections import Counter
from difflib import SequenceMatcher
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.preferences import format_value
from tryage.core.validation import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tryage.core.arrays import Float64Array, FloatArray, IndexArray
    from tryage.core.library import Library
    from tryage.core.preferences import Requirement
    from tryage.core.ranking import RequirementCheck

_MAX_COMPARED_LICENSES = 1_000  # difflib compares one by one
_MAX_COMPARED_WORDS = 10  # of required names, for the same reason
_MAX_WORD_DISTANCE = 0.4  # of two licences that may be meant for each other
_MAX_SHOWN_LICENSES = 3


def nearest_miss_lines(library: Library, checks: Sequence[RequirementCheck]) -> Iterator[str]:
    """Yield one line for each requirement that not all experts meet, with its nearest miss.

    The nearest miss is the expert with the value closest to the required one, of those that meet
    everything else if there are any: to loosen this one requirement would be enough. A name that
    no expert has is missed by similar names, if there are any.
    """
    passed = np.array([check.passed for check in checks])  # (n_checks, n_experts)
    n_failed = (~passed).sum(axis=0)
    for check, meets in zip(checks, passed, strict=True):
        if check.requirement is None or meets.all():
            continue
        count = f"{np.count_nonzero(meets):,} of {meets.size:,} experts meet it"
        if check.requirement.field == "name":
            miss = f".{_suggest_names(library, check.requirement.words)}"
        else:
            only_this = np.flatnonzero(~meets & (n_failed == 1))
            rows = only_this if only_this.size else np.flatnonzero(~meets)
            nearest = _describe_nearest(library, check.requirement, rows, check.cost)
            miss = f"; {nearest}{' (everything else is met)' if only_this.size else ''}."
        yield f"{check.requirement.describe()}: {count}{miss}"


def _suggest_names(library: Library, words: Sequence[str]) -> str:
    """Return the experts that may be meant by the first unknown word that resembles a name."""
    unknown_words = islice((word for word in words if word not in library), _MAX_COMPARED_WORDS)
    suggestions = (did_you_mean(word, library.names) for word in unknown_words)
    return next(filter(None, suggestions), "")


def _describe_nearest(
    library: Library, requirement: Requirement, rows: IndexArray, cost: FloatArray | None
) -> str:
    """Return in words which of the experts at `rows`, which all fail, is the nearest."""
    distances = _distances(library, requirement, rows, cost)
    unknown = np.isnan(distances)
    i = int(rows[0 if unknown.all() else np.nanargmin(distances)])
    name, field = library.names[i], requirement.field
    if unknown.all():
        return f"{field} of the others is unknown, such as of {name}"
    if field == "license":
        is_similar = np.nanmin(distances) <= _MAX_WORD_DISTANCE
        return (
            f"the nearest is {name} with {library.licenses[i]}"
            if is_similar
            else (f"the others have {_list_licenses(library, rows)}")
        )
    if field == "capabilities":
        return f"the nearest is {name}, whose {requirement.reason(library, i)}"
    values = library.column(field) if cost is None or field != "cost" else cost
    return f"the nearest is {name} with {format_value(field, float(values[i]))}"


def _list_licenses(library: Library, rows: IndexArray) -> str:
    """Return the most frequent known licences of the experts at `rows`, with their numbers."""
    counts = Counter(known for known in library.licenses[rows] if known is not None)
    common = [f"{known} ({n:,})" for known, n in counts.most_common(_MAX_SHOWN_LICENSES)]
    return ", ".join([*common, *(["..."] if len(counts) > len(common) else [])])


def _distances(
    library: Library, requirement: Requirement, rows: IndexArray, cost: FloatArray | None
) -> Float64Array:
    """Return how far the experts at `rows` are from the requirement, NaN where unknown."""
    field, words = requirement.field, requirement.words
    if field == "capabilities":
        has = np.array([library.capability(word)[rows] for word in words])
        return np.asarray((1 - has).sum(axis=0), dtype=np.float64)
    if field == "license":
        known = library.licenses[rows[:_MAX_COMPARED_LICENSES]]
        compared = [_word_distance(text, words) for text in known]
        return np.array(compared, dtype=np.float64)
    values = cost if field == "cost" and cost is not None else library.column(field)
    return np.asarray(np.abs(values[rows] - requirement.bound), dtype=np.float64)


def _word_distance(text: str | None, words: Sequence[str]) -> float:
    """Return how little a licence resembles the most similar word, 0 to 1."""
    if text is None:
        return float("nan")
    folded = text.casefold()
    ratios = (SequenceMatcher(None, folded, word[:200].casefold()).ratio() for word in words)
    return 1.0 - max(ratios, default=0.0)
