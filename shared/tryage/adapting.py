"""What becomes of a router: over some of its experts, with other wishes, with more learned."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tryage.alignment import Learner
from tryage.errors import InputError, PerceptionError
from tryage.experts import Expert, Library, number
from tryage.reading import check_preferences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Self

    from tryage.alignment import Alignment
    from tryage.decision import Decision
    from tryage.objective import Constraint
    from tryage.perception.base import Perception
    from tryage.preferences import Preferences


class Adaptable:
    """Gives a router `among`, `with_preferences`, `onboard` and `observe`."""

    perception: Perception
    library: Library
    preferences: Preferences
    constraints: dict[str, Constraint]
    default: str | None
    strict: bool
    prompt_flags: bool
    _alignment: Alignment

    def among(self, names: Iterable[str] | Mapping[str, object]) -> Self:
        """Return this router over some of its experts; a mapping (name -> client) works too.

        The default stays if it is among them.

        Raises:
            LibraryError: an unknown name, or none.
        """
        library = self.library.subset(list(names) if isinstance(names, Mapping) else names)
        return self._over(self.perception, library)

    def with_preferences(self, preferences: Preferences | None) -> Self:
        """Return this router with other preferences in place of its own."""
        router = copy.copy(self)
        router.preferences = check_preferences(preferences, self.constraints)
        return router

    def onboard(self, expert: Expert, losses: Mapping[str, float]) -> Self:
        """Return a router that also knows `expert`, from its measured loss per prompt.

        Raises:
            PerceptionError: the perception cannot learn.
        """
        if not isinstance(expert, Expert):
            raise InputError(f"Onboarding takes an Expert, got {type(expert).__name__}.")
        perception = self._learner().onboard(expert, losses)
        return self._over(perception, self.library.with_expert(expert))

    def observe(self, decision: Decision, loss: float) -> None:
        """Tell how badly the chosen expert did: the perception learns from it, in place.

        Raises:
            PerceptionError: the perception cannot learn, or has never seen the expert.
        """
        i = self.library.index(decision.expert.name)
        loss = number("loss", loss, low=-np.inf)
        self._alignment.observe(self._learner(), decision.prompt, i, loss)

    def _over(self, perception: Perception, library: Library) -> Self:
        """Return this router with another perception and library, all else equal."""
        make: Callable[..., Self] = type(self)  # the only class with this base is Router
        return make(
            perception,
            library,
            preferences=self.preferences,
            constraints=self.constraints,
            default=self.default if self.default in library else None,
            strict=self.strict,
            prompt_flags=self.prompt_flags,
        )

    def _learner(self) -> Learner:
        if not isinstance(self.perception, Learner):
            raise PerceptionError(
                f"{type(self.perception).__name__} cannot learn: it has no onboard() and observe()."
            )
        return self.perception
