"""What the name of an unknown model tells of it: facts of its family, one generation after another.

Nobody has written down anything about "gpt-7-mini" before it is out. But it follows the models of
its family in time, and costs about what the small ones of them cost.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.cache import get_or_compute
from tryage.models.families import TIER_LEVELS, may_tell_family
from tryage.models.names import parse_model_name
from tryage.models.refresh import current_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tryage.models.names import ModelName
    from tryage.models.snapshot import KnownModel, ModelSnapshot

    Floats = NDArray[np.float64]

_FIRST_GENERATION_DAYS = 90.0  # at least so long after the newest known one

_MAX_PACE = 365.0  # days for one whole version, such as from 5 to 6; families differ much

_DISTANCE_SCALE = 3.0  # a relative one version away counts e**3 times less

_UNKNOWN_DISTANCE = 1.5  # versions, between models of which one has no version


@dataclass(frozen=True, slots=True)
class ExpectedFacts:
    """What is expected of a model of which only the name is known; None where the name is mute.

    Attributes:
        released: The ordinal day of its release.
        output_price: USD per million tokens.
        context_length: Tokens.
    """

    released: float | None = None
    output_price: float | None = None
    context_length: float | None = None


def expected_facts(
    name: str, *, is_usable: Callable[[str], bool] | None = None
) -> ExpectedFacts | None:
    """Return what the family of a model lets one expect of it; None if its name tells no family.

    Args:
        name: In any spelling.
        is_usable: Whether a relative counts, by its name; all do by default.
    """
    spelling = parse_model_name(name)
    family = None if spelling is None else spelling.family
    if spelling is None or family is None:
        return None
    snapshot = current_snapshot()
    relatives = get_or_compute(
        snapshot, (expected_facts, family), lambda: _find_relatives(snapshot, family)
    )
    used = [one for one in relatives if is_usable is None or is_usable(one.name)]
    if not used:
        return None
    weights = np.exp(-_DISTANCE_SCALE * _distances(spelling, used))
    return ExpectedFacts(
        _day_in_name(spelling)
        or _expected_day(_version(spelling), used, snapshot.made.toordinal()),
        _weighted(weights, [one.output_price for one in used]),
        _weighted(weights, [one.context_length for one in used]),
    )


@dataclass(frozen=True, slots=True)
class _Relative:
    """A known model of a family, with NaN for what is unknown of it."""

    name: str
    version: float
    tier: float
    log10_size: float
    released: float
    output_price: float
    context_length: float


def _find_relatives(snapshot: ModelSnapshot, family: str) -> list[_Relative]:
    """Return the known models of a family; only names that can be of it are read."""
    models = {name: snapshot.find(name) for name in snapshot if may_tell_family(name, family)}
    return [
        _as_relative(name, model)
        for name, model in models.items()
        if model is not None and model.spelling.family == family
    ]


def _as_relative(name: str, model: KnownModel) -> _Relative:
    spelling = model.spelling
    return _Relative(
        name,
        _version(spelling),
        tier_level(spelling.tier),
        _log10_size(spelling),
        _ordinal(model.value("released")),
        model.value("output_price") or np.nan,
        model.value("context_length") or np.nan,
    )


def tier_level(words: Sequence[str]) -> float:
    """Return how large a model is in its generation: the sum over the words of its tier."""
    return sum(TIER_LEVELS.get(word, 0.0) for word in words)


def _version(spelling: ModelName) -> float:
    """Return the generation as one number: 5.4 of "gpt-5.4", NaN if the name has none."""
    first, *rest = (*spelling.generation, np.nan, np.nan)[:2]
    minor = rest[0]
    return float(first) + (0.0 if np.isnan(minor) else min(float(minor), 9.0) / 10)


def _log10_size(spelling: ModelName) -> float:
    return float(np.log10(spelling.size)) if spelling.size else np.nan


def _ordinal(date: str | None) -> float:
    """Return the day of an ISO date, or the middle of a month or a year."""
    if date is None:
        return np.nan
    return float(
        datetime.date.fromisoformat(date + {4: "-07-01", 7: "-15"}.get(len(date), "")).toordinal()
    )


def _distances(spelling: ModelName, relatives: Sequence[_Relative]) -> Floats:
    """Return how far relatives are: a version, a level and a power of ten of size are as far."""
    versions = np.array([one.version for one in relatives]) - _version(spelling)
    tiers = np.array([one.tier for one in relatives]) - tier_level(spelling.tier)
    sizes = np.array([one.log10_size for one in relatives]) - _log10_size(spelling)
    distances = np.nan_to_num(np.abs(versions), nan=_UNKNOWN_DISTANCE) + np.abs(tiers)
    return np.asarray(distances + np.nan_to_num(np.abs(sizes), nan=0.5))


def _weighted(weights: Floats, prices: Sequence[float]) -> float | None:
    """Return the weighted geometric mean of the known ones, None if all are unknown."""
    values = np.array(prices)
    known = ~np.isnan(values)
    if not known.any():
        return None
    shares = weights[known] + 1e-12
    return float(np.exp(shares @ np.log(values[known]) / shares.sum()))


def _day_in_name(spelling: ModelName) -> float | None:
    """Return the day that a name states with its year, None without one."""
    date = spelling.date or ""
    return _ordinal(date) if date.startswith("20") else None


def _expected_day(version: float, relatives: Sequence[_Relative], today: int) -> float | None:
    """Return the day on which a version was or will be out; a future day counts as `today`.

    Versions between two known ones are out between them; later ones follow at the family's pace.
    None without a version: the name may mean the oldest or the newest.
    """
    first_days: dict[float, float] = {}
    for one in relatives:
        if not np.isnan(one.released):
            day = first_days.get(one.version, np.inf)
            first_days[one.version] = min(day, one.released)
    versions = np.array(sorted(one for one in first_days if not np.isnan(one)))
    if np.isnan(version) or not len(versions):
        return None
    days = np.array([first_days[v] for v in versions])
    if version <= versions[-1]:
        return float(np.interp(version, versions, days))
    recent = slice(max(len(versions) - 4, 0), None)
    span = versions[recent][-1] - versions[recent][0]
    pace = (days[recent][-1] - days[recent][0]) / span if span else _MAX_PACE
    later = (
        days[-1] + _FIRST_GENERATION_DAYS + np.clip(pace, 0, _MAX_PACE) * (version - versions[-1])
    )
    return float(min(later, max(today, days[-1])))
