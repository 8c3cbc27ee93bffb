"""Cascade: a cheap expert answers first, and a dearer one is asked if the answer does not hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.choice import NO_EXPERT
from tryage.core.policy import Policy, PolicyChoice, PolicyStage
from tryage.core.policy_change import CallPlan
from tryage.core.validation import check_integer, check_number, check_strings, preview
from tryage.errors import InputError
from tryage.policies.cascade_calibration import (
    check_answers,
    fit_likelihoods,
    fit_odds_ratios,
)
from tryage.policies.cascade_steps import CascadeStep, Ensemble, StepCheck
from tryage.policies.cascade_values import (
    DEFAULT_MAX_CALLS,
    NO_STEP,
    CascadePaths,
    CascadeSteps,
    best_paths,
)
from tryage.policies.evidence import Verifier
from tryage.policies.inputs import check_router, check_table, expected_names
from tryage.policies.likelihood import Likelihood

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage.core.arrays import Float64Array, IndexArray
    from tryage.core.decision import Decision
    from tryage.core.library import Library
    from tryage.core.policy import PolicyBatch
    from tryage.core.simulated_answer import Ask, SimulatedAnswer
    from tryage.policies.cascade_calibration import LabelledAnswer
    from tryage.router import Router
    from tryage.scoring.qtable import QTable

DEFAULT_MIN_GAIN = 0.003  # right answers; less is within the error of predictions

DEFAULT_ANSWER_VALUE = 1.0  # USD, that of the preset "balanced"

DEFAULT_ODDS_RATIO = 6.0  # two experts on the same prompt, given their predictions; see benchmarks

_MAX_BATCH = 4096  # prompts whose values are computed at once: some hundred MB for ten steps


class Cascade(Policy):
    """Asks cheap experts first where that is worth more than the expert that is chosen without it.

    The predicted loss says how probably an expert is right before it answers, and the evidence of
    the answer turns that into a posterior by Bayes' rule. The answer is kept if that is worth more
    than asking the next expert, which a dynamic program computes (`best_paths`). So a prompt that
    the cheap expert fails anyway goes to a dearer one at once, and an answer that is surely right
    is not checked. A verifier that says nothing, such as log probabilities from a client that gives
    none, leaves the prediction as it is.

    What a call costs is what the preferences say: dollars in relation to `answer_value`, and their
    other terms. Where an earlier policy, such as a budget, has chosen a cheaper expert than the
    preferences would, the steps may not cost more than that one on average. It has no state.

    Args:
        steps: Names of experts or `Ensemble`s, in the order in which they may be asked. Each prompt
            may leave out any.
        verify: What reads evidence from the answers of all steps but the last.
        answer_value: What a right answer is worth, in USD; by default that of the preferences, and
            1 USD if they say nothing of dollars.
        likelihoods: How much the evidence of each step tells, by name, or one for all steps. By
            default that of the verifier; `calibrate` measures it.
        odds_ratios: How strongly two steps are right on the same prompts, given their predictions:
            one number, or `(n_steps, n_steps)`. `calibrate` measures it.
        max_calls: How many steps are asked at most for one prompt. With more than two, evidence of
            several answers is counted as if it were independent, which is too much.
        min_gain: How much more steps have to be worth than the expert that is chosen without them,
            in right answers.

    Raises:
        InputError: fewer than two steps, a name twice, or a value of the wrong kind.
    """

    stage = PolicyStage.CASCADE

    def __init__(  # noqa: PLR0913 - what a cascade consists of; only two are required
        self,
        steps: Sequence[str | Ensemble],
        *,
        verify: Verifier,
        answer_value: float | None = None,
        likelihoods: Likelihood | Mapping[str, Likelihood] | None = None,
        odds_ratios: float | Float64Array = DEFAULT_ODDS_RATIO,
        max_calls: int = DEFAULT_MAX_CALLS,
        min_gain: float = DEFAULT_MIN_GAIN,
    ) -> None:
        self.steps = tuple(CascadeStep.make(one, verify) for one in _check_steps(steps))
        self.answer_value = answer_value
        if answer_value is not None:
            self.answer_value = check_number("answer_value", answer_value, 1e-9)
        self.verifier = _check_verifier(verify)
        self.likelihoods = _check_likelihoods(likelihoods, self.steps)
        self.odds_ratios = _check_odds_ratios(odds_ratios, len(self.steps))
        self.max_calls = check_integer("max_calls", max_calls, 2)
        self.min_gain = check_number("min_gain", min_gain)
        self._is_bound = False

    def calibrate(
        self, router: Router, answers: Iterable[LabelledAnswer], table: QTable | None = None
    ) -> Cascade:
        """Return a cascade that knows how much the evidence of its steps tells.

        The router should not have learned from these prompts: what it knows by heart leaves nothing
        for the evidence. A step with fewer than 60 answers gets what all answers together say.

        Args:
            router: Predicts P(right) before the evidence.
            answers: Answers of the steps with their losses. A judge is asked for each of them.
            table: Measured losses of the experts, which say how strongly they are right together.

        Raises:
            InputError: fewer than 20 answers with evidence, or all are right or all wrong; or an
                argument of another type.
            PerceptionError: the prediction fails.
        """
        router, labelled = check_router(router), check_answers(answers)
        calibrated = self._copy(likelihoods=fit_likelihoods(router, self.steps, labelled))
        if table is not None:
            calibrated.odds_ratios = fit_odds_ratios(router, self.steps, check_table(table))
        return calibrated

    def bind(self, library: Library, traffic: Any) -> Cascade:  # noqa: ANN401, ARG002 - as in the base class
        """Return the cascade with the names of the library.

        Raises:
            InputError: the library lacks an expert, or it is unknown how much the evidence tells.
        """
        unknown = [n for step in self.steps for n in step.experts if n not in library]
        if unknown and not self._is_bound:
            raise InputError(
                f"Cascade has the experts {', '.join(unknown)}, which the router does not know."
                f"{expected_names(unknown, library)}"
            )
        if any(self.likelihoods[step.name] is None for step in self.steps[:-1]):
            raise InputError(
                f"It is unknown how much {type(self.verifier).__name__} tells: use "
                "Cascade(...).calibrate(router, answers) with labelled answers, or give "
                "likelihoods=."
            )
        # A part of a router may lack steps that the whole one has: the others go on.
        kept = [i for i, step in enumerate(self.steps) if not set(step.experts) & set(unknown)]
        steps = tuple(self.steps[i].renamed(library) for i in kept)
        likelihoods = {
            step.name: self.likelihoods[self.steps[i].name]
            for i, step in zip(kept, steps, strict=True)
        }
        ratios = self.odds_ratios[np.ix_(kept, kept)]
        return self._copy(steps=steps, likelihoods=likelihoods, odds_ratios=ratios, _is_bound=True)

    def choose(self, batch: PolicyBatch) -> PolicyChoice:
        """Choose the first expert, and the steps after it, where that is worth more."""
        experts = batch.choice.copy()
        calls: list[CallPlan | None] = [None] * len(experts)
        if len(self.steps) > 1:
            inputs = self._inputs(batch)
            for start in range(0, len(experts), _MAX_BATCH):
                rows = slice(start, start + _MAX_BATCH)
                calls[rows] = self._plans(inputs.rows(rows))
        for i, plan in enumerate(calls):
            if plan is not None:
                experts[i] = batch.library.index(plan.steps[0].expert)
        reasons = [None if plan is None else _reason(plan) for plan in calls]
        return PolicyChoice(experts, reasons, calls)

    def _plans(self, inputs: _Inputs) -> list[CallPlan | None]:
        """Return how each prompt's experts are called, None where the chosen one is worth more."""
        paths = best_paths(inputs.steps, self.max_calls)
        is_better = paths.values > inputs.chosen_values + self.min_gain
        is_better &= paths.steps[:, 1] != NO_STEP
        is_better &= paths.expected_costs(inputs.costs, inputs.check_costs) <= inputs.max_costs
        return [self._plan(paths, i) if flag else None for i, flag in enumerate(is_better.tolist())]

    def _inputs(self, batch: PolicyBatch) -> _Inputs:
        """Return what the dynamic program and the comparison with the chosen expert read."""
        prices, dollar_price, second_price = self._prices(batch)
        losses = np.clip(np.asarray(batch.losses, np.float64), 0.0, 1.0)
        right = np.where(batch.eligible, 1.0 - losses, np.nan)
        columns = [[batch.library.index(name) for name in step.experts] for step in self.steps]
        first = [one[0] for one in columns]
        is_eligible = np.stack([batch.eligible[:, one].all(axis=1) for one in columns], axis=1)
        check_costs = self._check_costs(batch, columns)
        seconds = np.array([step.verifier.seconds for step in self.steps])
        steps = CascadeSteps(
            priors=np.where(is_eligible, right[:, first], np.nan),
            prices=prices[:, first],
            check_prices=check_costs * dollar_price + seconds * second_price,
            likelihoods=[self.likelihoods[step.name] for step in self.steps],
            odds_ratios=self.odds_ratios,
        )
        at = np.where(batch.choice == NO_EXPERT, 0, batch.choice)[:, None]
        values = np.take_along_axis(right - prices, at, axis=1)[:, 0]
        # No path is worth more where no expert is chosen.
        values = np.where((batch.choice == NO_EXPERT) | np.isnan(values), np.inf, values)
        costs = batch.counted_costs
        return _Inputs(steps, values, costs[:, first], check_costs, _max_costs(batch, at))

    def _check_costs(self, batch: PolicyBatch, columns: Sequence[Sequence[int]]) -> Float64Array:
        """Return the USD of checking the answer of each step, `(batch, n_steps)`."""
        costs = batch.counted_costs
        return np.stack(
            [
                costs[:, one[1:]].sum(axis=1)
                + costs[:, one[0]] * step.n_resampled
                + step.verifier.cost
                for one, step in zip(columns, self.steps, strict=True)
            ],
            axis=1,
        )

    def _prices(self, batch: PolicyBatch) -> tuple[Float64Array, float, float]:
        """Return what calls cost, `(batch, n_experts)`, a dollar and a second, in right answers."""
        prices = np.asarray(batch.totals - batch.losses, np.float64)
        preferences = batch.requests[0].preferences
        stated = preferences.answer_value
        value = self.answer_value or stated or DEFAULT_ANSWER_VALUE
        correction = 1 / value - (0.0 if stated is None else 1 / stated)
        if correction:
            prices = prices + batch.counted_costs * correction
        return prices, 1 / value, (preferences.latency_value or 0.0) / value

    def _plan(self, paths: CascadePaths, i: int) -> CallPlan:
        """Return how the experts of path i are called."""
        calls = []
        for place, s in enumerate(paths.steps[i].tolist()):
            if s == NO_STEP:
                break
            prior, threshold = paths.priors[i, place], paths.thresholds[i, place]
            calls.append(self.steps[s].call(self.likelihoods, float(prior), float(threshold)))
        return CallPlan(tuple(calls))

    def serve(self, decision: Decision, expert: str, ask: Ask) -> SimulatedAnswer:
        """Ask the steps of the decision until an answer is kept, and bill all that were asked."""
        steps = () if decision.calls is None else decision.calls.steps
        if not steps or steps[0].expert != expert:
            return ask(expert)
        earlier: list[SimulatedAnswer] = []
        for step in steps:
            answer = ask(step.expert)
            samples = [ask(name) for name in step.samples]
            check = step.verify
            if not isinstance(check, StepCheck) or check.decide(answer.evidence).is_kept:
                outcome = "escalated" if earlier else None
                return answer.after(*earlier, *samples, outcome=outcome)
            earlier += [answer, *samples]
        return earlier[-1]

    def _copy(self, **changes: Any) -> Cascade:  # noqa: ANN401 - the attributes of the class
        other = type(self).__new__(type(self))
        vars(other).update(vars(self), **changes)
        return other

    def __repr__(self) -> str:
        """Show the steps and the verifier."""
        names = " -> ".join(step.name for step in self.steps)
        return f"Cascade({names}, verify={type(self.verifier).__name__})"


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What a cascade reads for the prompts of a batch.

    `chosen_values` `(batch,)` is what the chosen expert is worth, in right answers. `costs` and
    `check_costs` `(batch, n_steps)` are USD, and `max_costs` `(batch,)` is how much a path may
    cost on average.
    """

    steps: CascadeSteps
    chosen_values: Float64Array
    costs: Float64Array
    check_costs: Float64Array
    max_costs: Float64Array

    def rows(self, prompts: slice) -> _Inputs:
        """Return the inputs for some prompts."""
        parts = self.chosen_values, self.costs, self.check_costs, self.max_costs
        return _Inputs(self.steps.rows(prompts), *(part[prompts] for part in parts))


def _max_costs(batch: PolicyBatch, chosen: IndexArray) -> Float64Array:
    """Return what a path may cost on average, in USD, `(batch,)`; `chosen` is `(batch, 1)`.

    An expert that is chosen although another one has a lower total, by more than the tolerance, was
    chosen by an earlier policy to save money, such as a budget: a path may not cost more than it.
    """
    totals = np.where(batch.eligible, batch.totals, np.inf)
    best = totals.argmin(axis=1)[:, None]
    gaps, costs = (
        np.take_along_axis(part, chosen, axis=1) - np.take_along_axis(part, best, axis=1)
        for part in (batch.totals, batch.counted_costs)
    )
    is_saving = (gaps > (batch.scored.tolerance or 0.0)) & (costs < 0)
    allowed = np.take_along_axis(batch.counted_costs, chosen, axis=1)
    return np.where(is_saving, allowed, np.inf)[:, 0]


def _reason(plan: CallPlan) -> str:
    """Return why a prompt is asked in steps."""
    first, check = plan.steps[0], plan.steps[0].verify
    limit = f"{check.threshold:.0%}" if isinstance(check, StepCheck) else "enough"
    prior = f"{check.prior:.0%}" if isinstance(check, StepCheck) else "unknown"
    return (
        f"{first.expert} is right with {prior}; {plan.steps[1].expert} is asked if its answer is "
        f"right with less than {limit}"
    )


def _check_steps(steps: object) -> tuple[str | Ensemble, ...]:
    if isinstance(steps, (str, Mapping)) or not hasattr(steps, "__iter__"):
        raise InputError(f"steps is {preview(steps)}; expected a list of names of experts.")
    items = tuple(steps)
    for one in items:
        if not isinstance(one, Ensemble):
            check_strings("steps", [one])
    names = [one.name if isinstance(one, Ensemble) else one for one in items]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"steps is {names}; expected two steps or more, each of them once.")
    return items


def _check_verifier(verify: object) -> Verifier:
    if isinstance(verify, Verifier):
        return verify
    raise InputError(
        f"verify is {preview(verify)}; expected a verifier, such as LogProbability(), Agreement(), "
        "FormatCheck('json') or AnswerTest(function)."
    )


def _check_likelihoods(
    given: Likelihood | Mapping[str, Likelihood] | None, steps: Sequence[CascadeStep]
) -> dict[str, Likelihood | None]:
    """Return the likelihood of each step, None where it is unknown."""
    by_name = given if isinstance(given, Mapping) else {}
    values = list(by_name.values()) if given is by_name else [given]
    if wrong := [one for one in values if one is not None and not isinstance(one, Likelihood)]:
        raise InputError(f"likelihoods has {preview(wrong[0])}; expected Likelihood(...).")
    names = [step.name for step in steps]
    if unknown := [name for name in by_name if name not in names]:
        raise InputError(f"likelihoods has {unknown}; expected names of steps: {names}.")
    shared = given if isinstance(given, Likelihood) else None
    return {step.name: by_name.get(step.name, shared or step.verifier.likelihood) for step in steps}


def _check_odds_ratios(given: float | Float64Array, n: int) -> Float64Array:
    try:
        ratios = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        ratios = np.zeros(0)
    ratios = np.full((n, n), ratios) if ratios.ndim == 0 else ratios
    if ratios.shape != (n, n) or not ((ratios > 0) & np.isfinite(ratios)).all():
        raise InputError(
            f"odds_ratios is {preview(given)}; expected a number above 0, or one for each pair of "
            f"the {n} steps."
        )
    return ratios
