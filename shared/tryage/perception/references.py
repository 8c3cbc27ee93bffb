"""Experts that are about as good as a known model: predicted from that model's ability.

A user says it of a model (`Expert.about_as_good_as`), and it holds for a measured model that is
asked with another reasoning effort, whose loss is then larger or smaller by a known ratio.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from tryage.core.library import Library
from tryage.core.validation import did_you_mean
from tryage.errors import InputError
from tryage.models.efforts import default_effort, loss_ratio
from tryage.models.lookup import look_up, to_expert
from tryage.models.names import parse_model_name
from tryage.models.refresh import current_snapshot
from tryage.perception.abilities import Gaussian
from tryage.perception.metadata import metadata_features

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tryage.core.arrays import FloatArray
    from tryage.perception.abilities import Abilities
    from tryage.perception.metadata_prior import MetadataPrior, PriorAbilities

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reference:
    """The model that an unmeasured expert is about as good as.

    `known` is the column of a measured expert, or the belief about one that nobody measured.
    `ratio` is the expert's loss divided by that of the reference.
    """

    known: int | Gaussian
    ratio: float = 1.0

    def ability(self, abilities: Abilities, spread: FloatArray, slope: float) -> Gaussian:
        """Return the belief about the expert.

        `spread` `(k, k)` is the covariance between models of the same facts. Two models that are
        equally good on average differ about as much from prompt to prompt. `slope` is that of the
        logit of the loss over the linear prediction.
        """
        known = self.known if isinstance(self.known, Gaussian) else abilities.ability(self.known)
        # A loss is multiplied by a ratio if its logit grows by log(ratio) where it is small, and by
        # somewhat less than twice as much where it is one half: a line in the linear prediction.
        shift = math.log(self.ratio) / slope
        scale = 1 + 1.5 * shift
        mean = known.mean * scale
        mean[0] += shift
        return Gaussian(mean, known.covariance * scale**2 + spread)


def find_references(
    library: Library,
    measured: Sequence[str],
    prior: MetadataPrior,
    prior_abilities: Callable[[], PriorAbilities],
) -> dict[str, Reference]:
    """Return the reference of each expert that has one and was not measured, by its name.

    Args:
        library: The experts.
        measured: The names of the measured experts, in the order of their abilities.
        prior: The belief about experts by their facts.
        prior_abilities: Returns what it says about the experts of the library.

    Raises:
        InputError: a reference is neither measured nor known to public tables.
    """
    references: dict[str, Reference] = {}
    measured_names = set(measured)
    for i, reference in library.references.items():
        if (name := library.names[i]) in measured_names:
            message = "about_as_good_as=%.80r of %.80r does not count: the expert was measured."
            _log.info(message, reference, name)
            continue
        found = _find_measured(reference, library, tuple(measured))
        references[name] = found or _find_prior(i, reference, library, prior, prior_abilities)
    return references


def _find_measured(reference: str, library: Library, measured: tuple[str, ...]) -> Reference | None:
    """Return a measured reference: by its exact name, by that in the library, or the same model."""
    spellings = [reference]
    if reference in library:
        known = library[reference]
        spellings += [known.name, *known.aliases]
    for spelling in spellings:
        if spelling in measured:
            return Reference(measured.index(spelling))
    effort = default_effort(reference)
    columns = _columns_by_model(measured).get(_model_key(reference) or "", ())
    if not columns:
        return None
    column = min(columns, key=lambda i: _effort_distance(measured[i], effort))
    return Reference(column, loss_ratio(effort, default_effort(measured[column])))


def _find_prior(
    i: int,
    reference: str,
    library: Library,
    prior: MetadataPrior,
    prior_abilities: Callable[[], PriorAbilities],
) -> Reference:
    """Return a reference that nobody measured, from its facts in the library or public tables.

    Raises:
        InputError: nothing is known of it.
    """
    name, spelling = library.names[i], parse_model_name(reference)
    effort = None if spelling is None else spelling.effort
    # Facts tell how good models are as most people publish them: with some reasoning.
    ratio = 1.0 if effort is None else loss_ratio(effort, "medium")
    is_itself = _model_key(reference) == _model_key(name)
    if is_itself or reference in library:
        row = i if is_itself else library.index(reference)
        return Reference(prior_abilities()[row], ratio)
    known = look_up(reference)
    if known is None:
        near = did_you_mean(reference, library.names)
        if suggestions := current_snapshot().suggest(reference):
            near = f" Did you mean {', '.join(suggestions)}?"
        raise InputError(
            f"about_as_good_as={reference!r:.80} of {name!r:.80} is no known model.{near} Name a "
            "measured expert, or a model that `tryage models show` knows."
        )
    features = metadata_features(Library([to_expert(known)]))
    return Reference(prior.predict(features)[0], ratio)


def _effort_distance(name: str, effort: str) -> float:
    """Return how far the effort of a measured expert is from another one."""
    return abs(math.log(loss_ratio(default_effort(name), effort)))


def _model_key(name: str) -> str | None:
    known = current_snapshot().find(name)
    if known is not None:
        return known.name
    spelling = parse_model_name(name)
    return None if spelling is None else spelling.key


@lru_cache(maxsize=16)
def _columns_by_model(measured: tuple[str, ...]) -> dict[str, list[int]]:
    """Map each model to the columns at which it was measured, the newest build first."""
    columns: dict[str, list[int]] = {}
    for i, name in enumerate(measured):
        if (key := _model_key(name)) is not None:
            columns.setdefault(key, []).append(i)
    return {
        key: sorted(found, key=lambda i: _date_of(measured[i]), reverse=True)
        for key, found in columns.items()
    }


def _date_of(name: str) -> str:
    spelling = parse_model_name(name)
    return (spelling.date if spelling is not None else None) or ""
