"""The test itself: asks batches of questions, learns from the answers, and says when to stop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from tqdm import tqdm

from tryage.checkpoint import graceful_interrupt
from tryage.core.redaction import describe_error
from tryage.core.token_estimate import estimate_tokens
from tryage.errors import FileWriteError, MeasurementError
from tryage.onboarding.journal import AnswerRecord
from tryage.onboarding.selection import choose_questions, expected_regret, representative_order
from tryage.scoring.answers import GenerationMeasurer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tryage.core.arrays import BoolArray
    from tryage.onboarding.belief import AbilityBelief
    from tryage.onboarding.candidates import Candidate
    from tryage.onboarding.config import OnboardingConfig
    from tryage.onboarding.journal import AnswerJournal
    from tryage.onboarding.selection import TypicalChoices
    from tryage.scoring.measurement import Budget, Measurement, Prompt
    from tryage.scoring.scorers import Scorer

_EXPECTED_TOKENS = 700.0  # of an answer of a model of which nothing else is known

_COST_MARGIN = 1.5  # a next answer may cost this much more than the dearest one so far

_NEVER_CHOSEN = 1e6  # in loss

MAX_FAILURES = 5  # questions in a row that fail before a model is given up

_SMALL_SHARE = 0.2  # of the tolerance: a model that may matter less than that is not asked further


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The questions of a test, what is sent for each, and what scores the answers.

    `method` names the scorer in the journal: an answer that another method scored is asked again.
    """

    prompts: Sequence[Prompt]
    scorer: Scorer
    ask: Callable[[Prompt], str] = lambda prompt: prompt.text

    def method(self, prompt: Prompt) -> str:
        """Return how the answer to a prompt is scored."""
        method: Callable[[Prompt], str] | None = getattr(self.scorer, "method", None)
        name: str = getattr(self.scorer, "__name__", type(self.scorer).__name__)
        return name if method is None else method(prompt)


@dataclass(slots=True)
class AptitudeTestOutcome:
    """Why the test ended, what it left unmeasured, and how sure its ranking is.

    `is_settled` says that further answers change little; `regret` is what the choices may lose at
    most, with the probability `1 - risk`, None if no model answered. `failed` are the models that
    could not be asked any further, with the reason. `spent` is in USD, earlier runs included.
    """

    is_settled: bool = False
    out_of_budget: bool = False
    interrupted: bool = False
    regret: float | None = None
    spent: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)


_Event: TypeAlias = "tuple[int, int, Measurement] | tuple[int, None, Exception | None]"
"""The measurement of a model on a question, or the end of a model's batch with its error."""


class AptitudeTest:
    """Asks models questions until their ranking is settled, or the budget is used up.

    Args:
        candidates: The models.
        questions: What they are asked.
        belief: The belief about the models, in their order; it changes in place.
        choices: The choices that the answers are for.
        journal: Holds the answers of earlier runs, and takes those of this one.
        budget: The limit in USD.
        config: When to stop, and how requests are sent.
    """

    def __init__(  # noqa: PLR0913 - the parts of a test, one each
        self,
        candidates: Sequence[Candidate],
        questions: QuestionSet,
        belief: AbilityBelief,
        choices: TypicalChoices,
        journal: AnswerJournal,
        budget: Budget,
        config: OnboardingConfig,
    ) -> None:
        self._candidates, self._questions, self._config = candidates, questions, config
        self._belief, self._choices = belief, choices
        self._journal, self._budget = journal, budget
        shape = (len(questions.prompts), len(candidates))
        self._is_open = np.ones(shape, np.bool_)  # neither answered nor failed
        self._order = representative_order([one.category for one in questions.prompts])
        self._n_answers = np.zeros(len(candidates), np.intp)
        self._n_failures = np.zeros(len(candidates), np.intp)  # in a row
        self._outcome = AptitudeTestOutcome()
        self._restore()

    def run(self, *, progress: bool = True) -> AptitudeTestOutcome:
        """Ask until the test ends; after Ctrl-C the running requests finish first.

        Raises:
            KeyboardInterrupt: after Ctrl-C, when everything is written.
        """
        total = self._config.max_prompts * len(self._candidates)
        bar = tqdm(total=total, unit="answer", disable=not progress, dynamic_ncols=True)
        with bar, graceful_interrupt(self._budget.stop):
            bar.update(int(self._n_answers.sum()))
            while plan := self._plan_batch(bar):
                n_open, n_failed = self._is_open.sum(), len(self._outcome.failed)
                for model, question, measurement in self._ask(plan):
                    self._learn(model, question, measurement)
                    bar.update(measurement.error is None)
                if (n_open, n_failed) == (self._is_open.sum(), len(self._outcome.failed)):
                    break  # the budget allowed no request
            bar.set_postfix_str(self._describe())
        self._outcome.spent = self._budget.spent
        self._outcome.interrupted = self._budget.stopped
        self._outcome.out_of_budget |= self._budget.exhausted
        return self._outcome

    def _restore(self) -> None:
        """Learn from the answers of earlier runs, and count what they have cost."""
        models = {one.name: i for i, one in enumerate(self._candidates)}
        prompts = {prompt.id: i for i, prompt in enumerate(self._questions.prompts)}
        for record in self._journal.records:
            self._budget.add_previous_cost(record.spent)
            model, question = models.get(record.model), prompts.get(record.question)
            if model is None or question is None or record.score is None:
                continue
            same = record.method == self._questions.method(self._questions.prompts[question])
            if same and self._is_open[question, model]:
                self._update(model, question, 1.0 - record.score)

    def _plan_batch(self, bar: tqdm[Any]) -> dict[int, list[int]]:
        """Return the questions to ask each model next, empty when the test ends."""
        if self._budget.stopped:
            return {}
        regret = expected_regret(self._belief, self._choices)
        self._outcome.regret = regret.quantile(1 - self._config.risk)
        is_settled = regret.exceeds(self._config.tolerance) <= self._config.risk
        is_short = self._can_be_asked() & (self._n_answers < self._config.min_prompts)
        self._outcome.is_settled = is_settled and not is_short.any()
        bar.set_postfix_str(self._describe())
        if self._outcome.is_settled:
            return {}
        matters = regret.by_model > _SMALL_SHARE * self._config.tolerance
        is_asked = is_short | (self._can_be_asked() & matters & (not is_settled))
        can_answer = self._is_open & is_asked
        n = min(self._config.batch_size, self._config.max_prompts)
        questions = choose_questions(self._belief, self._choices, can_answer, n, self._order)
        return self._within_budget(questions, can_answer)

    def _can_be_asked(self) -> BoolArray:
        """Return which models may get another question, `(n_models,)`."""
        failed = self._outcome.failed
        is_alive = np.array([one.name not in failed for one in self._candidates])
        has_question = self._is_open.any(axis=0)
        return np.asarray(is_alive & has_question & (self._n_answers < self._config.max_prompts))

    def _within_budget(self, questions: list[int], can_answer: BoolArray) -> dict[int, list[int]]:
        """Return the questions for each model, as many as the rest of the budget surely pays."""
        plan: dict[int, list[int]] = {}
        limit = self._budget.limit
        left = np.inf if limit is None else limit - self._budget.spent
        room = self._config.max_prompts - self._n_answers
        for question in questions:
            models = np.flatnonzero(can_answer[question] & (room > 0)).tolist()
            cost = sum(self._expected_cost(m, question) for m in models)
            if limit is not None and cost > left:
                self._outcome.out_of_budget = True
                break
            left -= cost
            for m in models:
                plan.setdefault(m, []).append(question)
                room[m] -= 1
        return plan

    def _expected_cost(self, model: int, question: int) -> float:
        """Return what an answer costs at most in all likelihood, in USD; 0 if that is unknown."""
        expert = self._candidates[model].expert
        highest = self._budget.max_price(expert.name)
        if highest is not None:
            return _COST_MARGIN * highest
        prompt = self._questions.prompts[question]
        tokens = estimate_tokens(self._questions.ask(prompt))
        output = expert.output_tokens or _EXPECTED_TOKENS
        usd = tokens * (expert.input_price or 0.0) + output * (expert.output_price or 0.0)
        return usd / 1e6

    def _ask(self, plan: dict[int, list[int]]) -> Iterator[tuple[int, int, Measurement]]:
        """Ask all models of a batch at once, and yield each answer as it comes."""
        events: SimpleQueue[_Event] = SimpleQueue()
        with ThreadPoolExecutor(len(plan)) as pool:
            for model, questions in plan.items():
                pool.submit(self._ask_model, model, questions, events)
            running = len(plan)
            while running:
                model, question, result = events.get()
                if question is not None:
                    yield model, question, result  # type: ignore[misc]  # mypy cannot tell the two tuples apart
                    continue
                running -= 1
                if result is not None:
                    self._give_up(model, result)  # type: ignore[arg-type]  # an error, as above

    def _ask_model(self, model: int, questions: list[int], events: SimpleQueue[_Event]) -> None:
        """Ask one model its questions of a batch; runs in a thread of its own."""
        prompts = [self._questions.prompts[question] for question in questions]
        error: Exception | None = None
        try:
            for position, measurement in self._measurer(model).measure(prompts, self._budget):
                question = questions[position]
                self._keep(model, question, measurement)  # before the next one is paid for
                events.put((model, question, measurement))
        except Exception as caught:  # noqa: BLE001 - a client raises anything, and others go on
            error = caught
        events.put((model, None, error))

    def _measurer(self, model: int) -> GenerationMeasurer:
        candidate, config = self._candidates[model], self._config
        return GenerationMeasurer(
            candidate.expert,
            candidate.client,
            self._questions.scorer,
            ask=self._questions.ask,
            concurrency=config.concurrency,
            retries=config.retries,
            keep_output=False,
            measures_readability=False,
        )

    def _give_up(self, model: int, error: Exception) -> None:
        """Ask a model no further; the others go on.

        Raises:
            FileWriteError: its answers cannot be written down, nor can those of others.
        """
        if isinstance(error, FileWriteError):
            raise error
        name = self._candidates[model].name
        is_described = isinstance(error, MeasurementError)
        reason = str(error) if is_described else f"{name} failed: {describe_error(error)}"
        self._exclude(model, reason)

    def _exclude(self, model: int, reason: str) -> None:
        """Keep why a model is given up; no choice falls on it."""
        self._outcome.failed.setdefault(self._candidates[model].name, reason)
        costs = self._choices.costs.copy()
        costs[:, model] = _NEVER_CHOSEN
        self._choices = replace(self._choices, costs=costs)

    def _keep(self, model: int, question: int, measurement: Measurement) -> None:
        """Write an answer down; runs in the thread of its model.

        Raises:
            FileWriteError: the disk is full.
        """
        prompt = self._questions.prompts[question]
        record = AnswerRecord(
            self._candidates[model].name,
            prompt.id,
            self._questions.method(prompt),
            measurement.score,
            measurement.latency,
            measurement.output_tokens,
            measurement.cost,
            measurement.scoring_cost,
            measurement.error,
        )
        try:
            self._journal.append(record)
        except FileWriteError:
            self._budget.stop()  # what is answered from now on would be paid for and lost
            raise

    def _learn(self, model: int, question: int, measurement: Measurement) -> None:
        """Learn from an answer."""
        if measurement.score is not None:
            self._n_failures[model] = 0
            self._update(model, question, 1.0 - measurement.score)
            return
        self._is_open[question, model] = False
        self._n_failures[model] += 1
        if self._n_failures[model] >= MAX_FAILURES:
            name = self._candidates[model].name
            self._exclude(
                model,
                f"{name} cannot be measured: {MAX_FAILURES} questions in a row have failed: "
                f"{measurement.error}",
            )

    def _update(self, model: int, question: int, loss: float) -> None:
        self._belief.update(question, {model: loss})
        self._is_open[question, model] = False
        self._n_answers[model] += 1

    def _describe(self) -> str:
        """Return the state of the test for the progress bar."""
        regret, tolerance = self._outcome.regret, self._config.tolerance
        if regret is None:
            return ""
        spent = f", ${self._budget.spent:.2f}" if self._budget.spent else ""
        if self._outcome.is_settled:
            return f"the ranking is settled: choices lose at most {regret:.3f}{spent}"
        return f"choices may lose {regret:.3f}, goal {tolerance:g}{spent}"
