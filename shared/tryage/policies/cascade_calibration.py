"""How much the evidence of a cascade's steps tells, measured on labelled answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import InputError
from tryage.policies.cascade_values import fit_odds_ratio
from tryage.policies.likelihood import MIN_ANSWERS, Likelihood

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float64Array
    from tryage.policies.cascade_steps import CascadeStep
    from tryage.policies.evidence import AnswerEvidence
    from tryage.router import Router
    from tryage.scoring.qtable import QTable

_MIN_OWN_ANSWERS = 3 * MIN_ANSWERS


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """An answer with its measured loss in [0, 1], by which a cascade learns what evidence tells.

    `step` is the expert, or the name of an `Ensemble`. `prompt` is what was asked, without flags.
    """

    step: str
    prompt: str
    answer: AnswerEvidence
    loss: float


def check_answers(answers: object) -> list[LabelledAnswer]:
    """Return labelled answers as a list.

    Raises:
        InputError: they are something else.
    """
    found: list[Any] = list(answers) if isinstance(answers, Iterable) else [answers]
    wrong = next((one for one in found if not isinstance(one, LabelledAnswer)), None)
    if wrong is None and isinstance(answers, Iterable):
        return found
    raise InputError(
        f"answers has a {type(wrong).__name__}; expected a list of "
        "LabelledAnswer(step, prompt, answer, loss)."
    )


def fit_likelihoods(
    router: Router, steps: Sequence[CascadeStep], answers: Sequence[LabelledAnswer]
) -> dict[str, Likelihood]:
    """Return how much the evidence of each step tells, by its name.

    A step with fewer than 60 answers, or only right or wrong ones, gets what all answers say.

    Raises:
        InputError: an answer of another step, or answers that cannot be fitted.
        PerceptionError: the prediction fails.
    """
    readings = np.array([_read(steps, one) for one in answers], np.float64)
    right = 1.0 - np.array([one.loss for one in answers], np.float64)
    priors = _labelled_priors(router, steps, answers)
    pooled = Likelihood.fit(readings, right, priors)
    found = {}
    for step in steps:
        own = np.array([one.step == step.name for one in answers]) & ~np.isnan(readings + right)
        is_enough = own.sum() >= _MIN_OWN_ANSWERS and 0 < right[own].mean() < 1
        fitted = Likelihood.fit(readings[own], right[own], priors[own]) if is_enough else pooled
        found[step.name] = fitted
    return found


def fit_odds_ratios(router: Router, steps: Sequence[CascadeStep], table: QTable) -> Float64Array:
    """Return how strongly each pair of steps is right on the same prompts, `(n_steps, n_steps)`.

    Raises:
        PerceptionError: the prediction fails.
    """
    names = [step.experts[0] for step in steps]
    predicted = _predicted_right(router, table.prompts, names)
    columns = [router.library.index(name) for name in names]
    measured = 1.0 - np.asarray(table.losses_for(table.prompts, router.library), np.float64)
    ratios = np.ones((len(names), len(names)))
    for i, j in zip(*np.triu_indices(len(names), 1), strict=True):
        ratios[i, j] = fit_odds_ratio(
            predicted[:, i], predicted[:, j], measured[:, columns[i]], measured[:, columns[j]]
        )
    return ratios


def _read(steps: Sequence[CascadeStep], labelled: LabelledAnswer) -> float:
    """Return the number that the verifier of a step reads, NaN without evidence."""
    step = next((one for one in steps if one.name == labelled.step), None)
    if step is None:
        names = ", ".join(one.name for one in steps)
        raise InputError(f"A labelled answer is of {labelled.step!r}; expected one of {names}.")
    value = step.verifier.read(labelled.answer).value
    return np.nan if value is None else value


def _labelled_priors(
    router: Router, steps: Sequence[CascadeStep], answers: Sequence[LabelledAnswer]
) -> Float64Array:
    """Return P(right) as predicted for each answer's expert, `(n_answers,)`."""
    rows = {prompt: i for i, prompt in enumerate(dict.fromkeys(one.prompt for one in answers))}
    columns = {step.name: i for i, step in enumerate(steps)}
    right = _predicted_right(router, list(rows), [step.experts[0] for step in steps])
    return right[[rows[one.prompt] for one in answers], [columns[one.step] for one in answers]]


def _predicted_right(router: Router, prompts: Sequence[str], names: Sequence[str]) -> Float64Array:
    """Return P(right) of some experts, `(n_prompts, n_names)`, NaN where one is rejected."""
    found = np.full((len(prompts), len(names)), np.nan)
    for i, decision in enumerate(router.with_policy(None).decide_batch(list(prompts))):
        scores = {one.name: 1.0 - one.predicted_loss for one in decision.ranking}
        found[i] = [scores.get(name, np.nan) for name in names]
    return found
