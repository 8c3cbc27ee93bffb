"""`onboard_models`: learns from few prompts what new models are good at, beside the known ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.costs import assumed_costs, expected_costs
from tryage.core.library import Library
from tryage.core.preferences import Preferences
from tryage.core.request_batch import RequestBatch
from tryage.core.token_estimate import estimate_tokens
from tryage.errors import InputError, MeasurementError, PerceptionError
from tryage.onboarding.aptitude import AptitudeTest
from tryage.onboarding.belief import AbilityBelief, QuestionPlaces
from tryage.onboarding.candidates import Candidate, check_prices, find_candidates
from tryage.onboarding.config import OnboardingConfig
from tryage.onboarding.journal import open_journal
from tryage.onboarding.prompts import collect_prompts
from tryage.onboarding.report import OnboardingReport, make_report
from tryage.onboarding.selection import TypicalChoices
from tryage.perception.model import LearnedPerception
from tryage.perception.wrappers import AlignedPerception
from tryage.scoring.measurement import Budget

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tryage.core.arrays import Float64Array
    from tryage.core.expert import Expert
    from tryage.core.perception import Perception
    from tryage.onboarding.candidates import ClientFactory, ModelSource
    from tryage.onboarding.journal import AnswerRecord
    from tryage.onboarding.prompts import OwnPrompt
    from tryage.onboarding.questions import Question
    from tryage.perception.abilities import Gaussian
    from tryage.scoring.measurement import Prompt

MAX_TYPICAL = 128  # prompts; more would only take longer

MIN_ANSWERS = 3  # of which the latency and the length are taken over as facts


@dataclass(frozen=True, slots=True)
class OnboardingResult:
    """What came of a test: a `perception` and a `library` that know the models, and a `report`.

    All other experts are as before, bit for bit. Models that gave no answer are in `report.failed`
    and not in the library.
    """

    perception: LearnedPerception
    library: Library
    report: OnboardingReport


def onboard_models(  # noqa: PLR0913 - what is asked, whom, and for how much; all but three have defaults
    perception: Perception,
    library: Library | None,
    models: Mapping[str, ModelSource] | Iterable[ModelSource],
    *,
    budget: float | None = None,
    prompts: Iterable[OwnPrompt] | None = None,
    judge: str | Candidate | None = None,
    journal: str | Path | None = None,
    make_client: ClientFactory | None = None,
    config: OnboardingConfig | None = None,
    progress: bool = True,
) -> OnboardingResult:
    """Test models with the fewest prompts that settle who is best at what.

    Args:
        perception: A learned perception, such as the bundled router's.
        library: The experts that the models compete with, and facts about all of them. None: the
            models compete among themselves.
        models: Clients by name, or a list of LangChain models, LlamaIndex LLMs, functions from text
            to text, `Candidate`s, or strings for `make_client`.
        budget: What may be spent, in USD, on answers and judge, earlier runs included.
        prompts: Your own prompts, with answers or for the judge; they are asked beside the
            package's questions.
        judge: Rates answers to prompts without a checked answer: a `Candidate`, or the name of one
            of the models.
        journal: A file that keeps each answer; the same call resumes from there, and pays for no
            answer twice.
        make_client: Makes a client from a string, such as `init_chat_model` of LangChain.
        config: Settings that few need, such as how many questions a model gets at most.
        progress: Whether to show a progress bar.

    Raises:
        InputError: a model, a prompt or a setting is wrong, or a budget needs unknown prices; then
            no request was sent.
        PerceptionError: the perception cannot learn from scored answers.
        MeasurementError: no model gave an answer, or another process uses the journal.
        KeyboardInterrupt: after Ctrl-C, when everything is written.
    """
    config = _check_config(config)
    if journal is not None and not isinstance(journal, (str, Path)):
        raise InputError(f"The journal is {journal!r:.80}; expected the path of a file, or None.")
    learned = check_perception(perception)
    candidates = find_candidates(models, library, make_client)
    run_budget = Budget(budget)
    if budget is not None:
        check_prices(candidates)
    rater = _find_judge(judge, candidates, library, make_client)
    asked = collect_prompts(_questions(config), prompts, rater, sandbox=config.sandbox)
    question_set = asked.question_set()
    typical = typical_prompts(config, learned, asked.prompts)
    priors = [learned.ability(one.expert) for one in candidates]
    places = question_places(learned, [asked.ask(one) for one in asked.prompts], priors)
    rivals = library if config.rivals else None
    choices = typical_choices(learned, rivals, candidates, typical, config.preferences)
    belief = AbilityBelief(priors, places)
    with open_journal(None if journal is None else Path(journal)) as records:
        test = AptitudeTest(candidates, question_set, belief, choices, records, run_budget, config)
        outcome = test.run(progress=progress)
    tested = [i for i in range(len(candidates)) if belief.answers(i)]
    if not tested:
        reasons = "; ".join(outcome.failed.values()) or _missing_answers(records.records)
        raise MeasurementError(f"No model gave an answer: {reasons}")
    new_perception, new_library = (
        learned,
        library or Library([candidates[i].expert for i in tested]),
    )
    abilities = [belief.calibrated_ability(i, learned.link) for i in range(len(candidates))]
    for i in tested:
        expert = with_measured_facts(candidates[i].expert, records.records)
        new_perception = new_perception.with_ability(expert.name, abilities[i])
        if new_perception.second_stage is not None:  # in a space of its own
            texts = [asked.ask(asked.prompts[question]) for question in belief.answers(i)]
            losses = dict(zip(texts, belief.answers(i).values(), strict=True))
            stage = new_perception.second_stage.onboard(expert, losses)
            new_perception = new_perception.replace(second_stage=stage)
        new_library = new_library.with_expert(expert)
    report = make_report(candidates, asked.prompts, records.records, abilities, choices, outcome)
    return OnboardingResult(new_perception, new_library, report)


def _missing_answers(records: Sequence[AnswerRecord]) -> str:
    """Say why there is no answer although no model was given up."""
    errors = [one.error for one in records if one.error is not None]
    return errors[-1] if errors else "the budget pays for no question"


def question_places(
    perception: LearnedPerception, texts: Sequence[str], priors: Sequence[Gaussian]
) -> QuestionPlaces:
    """Return where questions lie in the perception's space, and the noise of answers to them."""
    positions = np.asarray(perception.latent_positions(list(texts)), np.float64)
    return QuestionPlaces.from_text(positions, perception.link, perception.abilities.noise, priors)


def typical_choices(
    perception: LearnedPerception,
    library: Library | None,
    candidates: Sequence[Candidate],
    prompts: Sequence[str],
    preferences: Preferences | None = None,
) -> TypicalChoices:
    """Return the choices among the models, and the library's other experts, on typical prompts."""
    positions = np.asarray(perception.latent_positions(list(prompts)), np.float64)
    value = (preferences or Preferences.preset("balanced")).answer_value
    own = Library([one.expert for one in candidates])
    costs = _costs_in_loss(own, prompts, value)
    rival = np.full(len(prompts), np.inf)
    others = [] if library is None else [name for name in library.names if name not in own]
    if library is not None and others:
        rest = library.subset(others)
        losses = AlignedPerception(perception, rest).predict(list(prompts)).losses
        rival = np.asarray((losses + _costs_in_loss(rest, prompts, value)).min(axis=1), np.float64)
    return TypicalChoices(positions, costs, rival, perception.link)


def _costs_in_loss(
    library: Library, prompts: Sequence[str], answer_value: float | None
) -> Float64Array:
    """Return the expected USD of an answer divided by the value of a right one, `(n, n_experts)`.

    Without any known price, costs do not count.
    """
    request = RequestBatch(np.array([estimate_tokens(prompt) for prompt in prompts], np.float64))
    usd = expected_costs(library, request)
    if answer_value is None or not np.isfinite(usd).any():
        return np.zeros_like(usd)
    return np.where(np.isnan(usd), assumed_costs(request)[:, None], usd) / answer_value


def _check_config(config: OnboardingConfig | None) -> OnboardingConfig:
    if config is not None and not isinstance(config, OnboardingConfig):
        raise InputError(f"config is a {type(config).__name__}; expected an OnboardingConfig.")
    return config or OnboardingConfig()


def check_perception(perception: Perception) -> LearnedPerception:
    """Return the perception if it can learn from scored answers.

    Raises:
        PerceptionError: it is of another kind, or predicts real-valued losses.
    """
    if not isinstance(perception, LearnedPerception):
        raise PerceptionError(
            f"A {type(perception).__name__} cannot learn from answers; expected a router that was "
            "trained, such as Router.from_pretrained()."
        )
    if perception.loss_range() != (0.0, 1.0):
        raise PerceptionError(
            "This router was trained on real-valued losses, and answers are scored from 0 to 1. "
            "Take one that was trained on scores, such as Router.from_pretrained(), or measure the "
            "losses and call Router.onboard()."
        )
    return perception


def _questions(config: OnboardingConfig) -> Sequence[Question]:
    if config.questions is not None:
        return config.questions
    from tryage.onboarding.questions import load_questions

    return load_questions(runs_code=config.sandbox)


def _find_judge(
    judge: str | Candidate | None,
    candidates: Sequence[Candidate],
    library: Library | None,
    make_client: ClientFactory | None,
) -> Candidate | None:
    """Return the model that rates answers: one of the candidates, or another one."""
    if judge is None or isinstance(judge, Candidate):
        return judge
    if not isinstance(judge, str):
        return find_candidates({"judge": judge}, library, make_client)[0]
    for one in candidates:
        if judge.casefold() in {name.casefold() for name in (one.name, *one.expert.aliases)}:
            return one
    if make_client is None:
        names = ", ".join(one.name for one in candidates)
        raise InputError(f"The judge {judge!r:.80} is none of the models: {names}.")
    return find_candidates([judge], library, make_client)[0]


def typical_prompts(
    config: OnboardingConfig, perception: LearnedPerception, asked: Sequence[Prompt]
) -> Sequence[str]:
    """Return prompts that stand for those that will be routed."""
    own = [prompt.text for prompt in asked if prompt.source != "tryage"]
    typical = list(config.typical_prompts or own or perception.typical_prompts())
    rows = np.linspace(0, len(typical) - 1, min(len(typical), MAX_TYPICAL)).round().astype(int)
    return [typical[row] for row in rows.tolist()]


def with_measured_facts(expert: Expert, records: Sequence[AnswerRecord]) -> Expert:
    """Return an expert with the latency and the answer length of a test, if there were a few."""
    own = [one for one in records if one.model == expert.name and one.score is not None]
    latencies = [one.latency for one in own if one.latency is not None]
    tokens = [one.output_tokens for one in own if one.output_tokens is not None]
    facts: dict[str, Any] = {}
    if len(latencies) >= MIN_ANSWERS:
        facts["latency"] = median(latencies)
    if len(tokens) >= MIN_ANSWERS:
        facts["output_tokens"] = fmean(tokens)
    return replace(expert, **facts)
