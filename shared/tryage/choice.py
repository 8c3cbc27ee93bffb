"""From predictions to decisions: filter by the requirements, add the constraints, choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage.decision import Decision
from tryage.errors import NoExpertError, PerceptionError
from tryage.explanation import rejection_lines
from tryage.memo import remember, remember_last
from tryage.objective import Constraint, Request, expected_cost, needs_request, score
from tryage.ranking import Check, Ranking, Rejections

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tryage.experts import Library
    from tryage.perception.base import Prediction
    from tryage.preferences import Preferences, Requirement
    from tryage.reading import Asked
    from tryage.terms import Terms

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Field:
    """Prompts that share their preferences, with every expert scored for each of them.

    `eligible` and the tables in `prediction` and `terms` are `(batch, n_experts)`; so is `cost`, in
    USD, if a requirement reads it. `passed` has a mask per filter, of that shape or `(n_experts,)`.
    """

    library: Library
    prediction: Prediction
    terms: Terms
    passed: tuple[tuple[Requirement | None, Mask], ...]
    eligible: Mask
    cost: Floats | None = None

    def decision(self, i: int, asked: Asked) -> Decision | None:
        """Return the decision for prompt `i`, None if no expert is eligible."""
        ranking = self.ranking(i)
        if not len(ranking):
            return None
        best = int(ranking.first(1)[0])
        return Decision(
            prompt=asked.text,
            expert=remember(self.library, ("expert", best), lambda: self.library[best]),
            ranking=ranking,
            rejected=self.rejections(i),
            preferences=asked.preferences,
            flags=asked.flags,
            warnings=asked.warnings,
            as_of=self.library.as_of,
        )

    def ranking(self, i: int) -> Ranking:
        """Return how all stand for prompt `i`."""
        return Ranking(
            self.library,
            self.prediction.losses[i],
            self.prediction.std[i],
            self.terms.row(i),
            self.eligible[i],
        )

    def fallback(
        self, i: int, asked: Asked, failure: str | None, *, default: str | None, strict: bool
    ) -> Decision:
        """Return the decision for the default, or raise when it may not step in."""
        rejected = self.rejections(i)
        unpredicted = not np.isfinite(self.prediction.losses[i]).any()
        told = failure or (
            "The perception has no usable prediction for any expert."
            if unpredicted
            else f"None of the {len(self.library)} experts is left to choose."
        )
        if default is None or strict:
            kind = PerceptionError if unpredicted else NoExpertError
            cure = "Strict mode forbids the default." if default else "Declare a default expert."
            raise kind("\n".join([told, *rejection_lines(rejected), cure]))
        return self.last_resort(i, asked, self.library.index(default), told)

    def last_resort(self, i: int, asked: Asked, default: int, told: str) -> Decision:
        """Return the decision for the default expert, by its position, and say why it is used."""
        rejected = self.rejections(i)
        unmet = rejected.unmet(default)
        also = f" It does not meet what was asked: {'; '.join(unmet)}." if unmet else ""
        return Decision(
            prompt=asked.text,
            expert=self.library[default],
            rejected=rejected,
            preferences=asked.preferences,
            default_used=True,
            default_reason=told + also,
            flags=asked.flags,
            warnings=asked.warnings,
            as_of=self.library.as_of,
        )

    def rejections(self, i: int) -> Rejections:
        """Return who is rejected for prompt `i`."""
        cost = None if self.cost is None else self.cost[i]
        checks = [
            Check(requirement, mask if mask.ndim == 1 else mask[i], cost)
            for requirement, mask in self.passed
        ]
        return Rejections(self.library, checks)


def weigh(
    library: Library,
    preferences: Preferences,
    constraints: Mapping[str, Constraint],
    prediction: Prediction,
    request: Callable[[bool], Request],
) -> Field:
    """Score every expert for prompts that share their preferences.

    `request` is told whether tokens count, which they do if a weight or a requirement depends on
    the request: counting them can take longer than all the rest.
    """
    usable: Mask = np.isfinite(prediction.losses)
    if not preferences.weights and not preferences.requirements:
        terms = score(prediction.losses, library, {}, constraints, request(False))
        return Field(library, prediction, terms, ((None, usable),), usable)
    costed = preferences.needs_cost
    asked = request(costed or needs_request(preferences.weights, constraints))
    cost = expected_cost(library, asked) if costed else None
    terms = score(prediction.losses, library, preferences.weights, constraints, asked)
    eligible = usable.copy()
    passed: list[tuple[Requirement | None, Mask]] = [(None, usable)]
    for requirement in preferences.requirements:
        mask = _met(requirement, library, cost)
        passed.append((requirement, mask))
        eligible &= mask
    return Field(library, prediction, terms, tuple(passed), eligible, cost)


def _met(requirement: Requirement, library: Library, cost: Floats | None) -> Mask:
    """Tell who meets a requirement; only that on the cost has to be looked at for every prompt."""
    if requirement.field == "cost":
        return requirement.satisfied(library, cost)
    return remember_last(library, requirement, lambda: requirement.satisfied(library))
