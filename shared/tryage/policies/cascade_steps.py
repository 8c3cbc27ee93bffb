"""The steps of a cascade: an expert or an ensemble, and the check of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.policy_change import CallStep, Verdict
from tryage.core.validation import check_strings
from tryage.errors import InputError
from tryage.policies.agreement import same_answer
from tryage.policies.evidence import Agree, Agreement, AnswerEvidence, Verifier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.library import Library
    from tryage.policies.likelihood import Likelihood


class Ensemble:
    """A step of a cascade that asks several experts at once: if they agree, the first one answers.

    The first one's answer is the one that is kept, so its predicted loss counts. All are billed.

    Args:
        experts: Two or more names, the best one first.
        agree: Says whether two answers say the same, as in `Agreement`.

    Raises:
        InputError: fewer than two names, or a name twice.
    """

    def __init__(self, experts: Sequence[str], agree: Agree = same_answer) -> None:
        self.experts = check_strings("experts", experts)
        if len(self.experts) < 2 or len(set(self.experts)) < len(self.experts):
            raise InputError(
                f"Ensemble got {experts!r:.80}; expected two different experts or more. For two "
                "answers of one expert use verify=Agreement()."
            )
        self.verifier = Agreement(len(self.experts), agree)

    @property
    def name(self) -> str:
        """The names of all, which `calibrate` knows the step by."""
        return " + ".join(self.experts)

    def __repr__(self) -> str:
        """Show the names."""
        return f"Ensemble({list(self.experts)})"


@dataclass(frozen=True, slots=True)
class CascadeStep:
    """One step of a cascade: the expert whose answer counts, and how the answer is checked.

    `experts` are that one and, in an ensemble, those asked beside it.
    """

    name: str
    experts: tuple[str, ...]
    verifier: Verifier
    is_ensemble: bool

    @classmethod
    def make(cls, step: str | Ensemble, verifier: Verifier) -> CascadeStep:
        """Return the step; an ensemble has a verifier of its own."""
        if isinstance(step, Ensemble):
            return cls(step.name, step.experts, step.verifier, is_ensemble=True)
        return cls(step, (step,), verifier, is_ensemble=False)

    @property
    def n_resampled(self) -> int:
        """How many more answers of the expert itself are asked for."""
        return 0 if self.is_ensemble else self.verifier.samples

    def renamed(self, library: Library) -> CascadeStep:
        """Return the step with the names of a library."""
        names = tuple(library[name].name for name in self.experts)
        return CascadeStep(" + ".join(names), names, self.verifier, self.is_ensemble)

    def call(
        self, likelihoods: Mapping[str, Likelihood | None], prior: float, threshold: float
    ) -> CallStep:
        """Return the call for one prompt; without a threshold the answer is kept unseen."""
        likelihood = likelihoods[self.name]
        if likelihood is None or np.isnan(threshold):
            return CallStep(self.experts[0])
        check = StepCheck(self.verifier, likelihood, prior, threshold)
        beside = self.experts[1:] if self.is_ensemble else self.experts * self.verifier.samples
        return CallStep(
            self.experts[0],
            beside,
            self.verifier.needs_log_probabilities,
            check,
            check.is_certain,
        )


@dataclass(frozen=True, slots=True)
class StepCheck:
    """Decides about the answer of one step for one prompt, as `CallStep.verify`.

    `prior` is P(right) before the evidence, and the answer is kept from `threshold` on.
    """

    verifier: Verifier
    likelihood: Likelihood
    prior: float
    threshold: float

    def __call__(self, answer: AnswerEvidence) -> Verdict:
        """Read the evidence of an answer and decide."""
        reading = self.verifier.read(answer)
        verdict = self.decide(reading.value)
        return verdict._replace(cost=reading.cost)

    def decide(self, evidence: float | None) -> Verdict:
        """Decide by the number that the verifier has read, None if it has none."""
        posterior = self.likelihood.posterior(self.prior, evidence)
        word = "no evidence, " if evidence is None else ""
        limit = "kept from" if posterior >= self.threshold else "asked on below"
        reason = f"{word}right with {posterior:.0%}, {limit} {self.threshold:.0%}"
        return Verdict(posterior >= self.threshold, reason)

    def is_certain(self, beginning: AnswerEvidence) -> bool:
        """Return whether the beginning of an answer tells already that it is kept."""
        return self.verifier.is_complete(beginning) and self(beginning).is_kept
