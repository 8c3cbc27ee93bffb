"""The settings of a test of models that few need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.core.validation import check_number
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.preferences import Preferences
    from tryage.onboarding.questions import Question


@dataclass(frozen=True, slots=True)
class OnboardingConfig:
    """How long a test goes on, what is asked, and which choices it is for.

    Args:
        max_prompts: How many questions each model gets at most.
        min_prompts: How many it gets at least, as far as the budget allows.
        batch_size: How many are asked before the next ones are chosen.
        tolerance: The test ends when the choices among the models lose no more than this to the
            best ones, in loss with costs included, but for a probability of `risk`.
        risk: As for `tolerance`.
        concurrency: How many requests run at once for each model.
        retries: How often a request is tried again after a transient error.
        questions: Those of the package that may be asked; all by default, an empty list for none.
        typical_prompts: They stand for what will be routed: by default your own prompts, else
            everyday ones of many kinds.
        sandbox: Let code that the models write run on this machine (see
            `tryage.scoring.PassesTests`). Without it no question of the package needs that.
        preferences: What a right answer is worth; by default a dollar.
        rivals: Whether the other experts of the library compete with the models. Otherwise they
            compete among themselves.

    Raises:
        InputError: a number is out of range, or there are no typical prompts.
    """

    max_prompts: int = 50
    min_prompts: int = 10
    batch_size: int = 5
    tolerance: float = 0.01
    risk: float = 0.05
    concurrency: int = 4
    retries: int = 3
    questions: Sequence[Question] | None = None
    typical_prompts: Sequence[str] | None = None
    sandbox: bool = False
    preferences: Preferences | None = None
    rivals: bool = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("max_prompts", "batch_size", "concurrency"):
            check_number(name, getattr(self, name), 1)
        for name in ("min_prompts", "retries"):
            check_number(name, getattr(self, name), 0)
        check_number("tolerance", self.tolerance, 0, 1)
        check_number("risk", self.risk, 0, 1)
        prompts = self.typical_prompts
        if prompts is not None and (isinstance(prompts, str) or not prompts):
            raise InputError(f"typical_prompts are {prompts!r:.80}; give a list of them, or None.")
