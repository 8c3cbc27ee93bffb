"""Onboarding: how the estimated quality of models settles as their answers come in.

Of a test of models the journal is replayed: after each answer stands what the test believed. Of
traffic it is the running mean of the ratings.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.expert import Expert
from tryage.errors import InputError
from tryage.learning.charts.chart import Axis, Chart, Line, Panel, Points
from tryage.learning.charts.style import (
    MARKERS,
    MAX_SERIES,
    OTHERS_COLOR,
    Style,
    line_style,
    short_name,
)
from tryage.learning.plots.plot import Plot, count_text
from tryage.learning.traffic_report.intervals import mean_score_anytime
from tryage.learning.traffic_report.table import UNKNOWN, read_table
from tryage.onboarding.belief import AbilityBelief
from tryage.onboarding.candidates import Candidate, with_known_facts
from tryage.onboarding.config import OnboardingConfig
from tryage.onboarding.journal import read_journal
from tryage.onboarding.onboard import check_perception, question_places, typical_prompts
from tryage.onboarding.prompts import collect_prompts
from tryage.onboarding.questions import load_questions
from tryage.onboarding.report import Z80, level_std
from tryage.traffic.traffic import Traffic, check_traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage.core.arrays import Float64Array
    from tryage.learning.charts.chart import Mark
    from tryage.learning.traffic_report.table import TrafficRow
    from tryage.onboarding.journal import AnswerRecord
    from tryage.onboarding.prompts import OwnPrompt, ScoredPrompts
    from tryage.perception.model import LearnedPerception
    from tryage.router import Router

_MAX_STEPS = 60  # estimates of a model that are drawn, of traffic

_SHOWN_FROM = 0.1  # of the answers: the wide intervals before may leave the picture

_JOURNAL_PATTERN = "*.answers.jsonl"


@dataclass(frozen=True, slots=True)
class QualityEstimate:
    """What was believed of a model's score after `answers` answers, with its interval."""

    answers: int
    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ModelLearning:
    """The estimates of one model in their order."""

    name: str
    estimates: tuple[QualityEstimate, ...]

    @property
    def last(self) -> QualityEstimate:
        """The estimate after all answers."""
        return self.estimates[-1]


@dataclass(frozen=True, slots=True)
class OnboardingPlot(Plot):
    """The estimates of all models, the best first.

    `basis` says what an estimate is of, `level` how likely its interval is, and `n_skipped` counts
    the answers to questions that are not known.
    """

    models: tuple[ModelLearning, ...]
    basis: str
    level: float
    n_skipped: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values for JSON."""
        return asdict(self)

    def title(self) -> str:
        """Return in one sentence who is ahead, and whether that is settled."""
        best = self.models[0]
        text = f"{short_name(best.name)} scores {best.last.score:.2f}"
        text += f" after {count_text(best.last.answers, 'answer')}"
        if len(self.models) == 1:
            return f"{text}, {best.last.low:.2f} to {best.last.high:.2f}"
        second = self.models[1]
        if best.last.low > second.last.high:
            return f"{text}, clearly ahead of {short_name(second.name)}"
        return f"{text}; its interval overlaps with that of {short_name(second.name)}"

    def chart(self) -> Chart:
        """Return the picture: the best models in color with their intervals, the others in gray."""
        marks: list[Mark] = [self._gray(one, i) for i, one in enumerate(self.models[MAX_SERIES:])]
        colored = self.models[:MAX_SERIES]
        marks += [self._colored(one, i) for i, one in enumerate(colored)]
        marks.append(self._names())
        most = max(one.last.answers for one in self.models)
        n = sum(one.last.answers for one in self.models)
        skipped = f" {self.n_skipped:,} answers to unknown questions are left out." * bool(
            self.n_skipped
        )
        x = Axis("answers of the model", limits=(0.0, 1.24 * most + 1))
        y = Axis("score", limits=self._limits())
        return Chart(
            self.title(),
            (Panel(x, y, tuple(marks)),),
            " ".join(map(_describe, self.models[:20])),
            note=f"{count_text(n, 'answer')} of {count_text(len(self.models), 'model')}; "
            f"{self.basis}; bands are {self.level:.0%} intervals.{skipped}",
            size=(9.4, 5.4),
            legend="right",
        )

    def _limits(self) -> tuple[float, float]:
        shown = [
            one
            for model in self.models[:MAX_SERIES]
            for one in model.estimates
            if one.answers >= _SHOWN_FROM * model.last.answers
        ]
        low = min([one.low for one in shown] + [one.last.score for one in self.models])
        return max(low - 0.03, -0.02), min(max(one.high for one in shown) + 0.03, 1.02)

    def _colored(self, model: ModelLearning, i: int) -> Line:
        x, y = _curve(model)
        low, high = [one.low for one in model.estimates], [one.high for one in model.estimates]
        few = len(x) <= 1
        look = line_style(i)
        style = Style(look.color, MARKERS[i % len(MARKERS)] if few else None, look.dash)
        return Line(short_name(model.name), x, y, style, low, high)

    def _gray(self, model: ModelLearning, i: int) -> Line:
        x, y = _curve(model)
        return Line("_other" if i else "other models", x, y, Style(OTHERS_COLOR, width=1.0))

    def _names(self) -> Points:
        """Name the lines at their ends."""
        ends = [model.last for model in self.models]
        names = [short_name(model.name) for model in self.models]
        x, y = [float(one.answers) for one in ends], [one.score for one in ends]
        return Points(
            "_ends", x, y, Style(OTHERS_COLOR, "circle", size=4), names=names, labels=names
        )


def _curve(model: ModelLearning) -> tuple[list[float], list[float]]:
    return [float(one.answers) for one in model.estimates], [one.score for one in model.estimates]


def _describe(model: ModelLearning) -> str:
    last = model.last
    return (
        f"{model.name}: {last.score:.3f} ({last.low:.3f} to {last.high:.3f}) after "
        f"{count_text(last.answers, 'answer')}."
    )


# A test of models ------------------------------------------------------------------------------


def onboarding_of_journal(
    router: Router,
    journal: str | Path,
    *,
    prompts: Iterable[OwnPrompt] | None = None,
    config: OnboardingConfig | None = None,
) -> OnboardingPlot:
    """Replay the answers of a test of models: the expected score on typical prompts after each.

    A model begins with what its facts tell. The intervals are those of 80% of the test's page.

    Args:
        router: The one that was taught, as it was before the test.
        journal: The file that keeps the answers, or the one folder that holds it.
        prompts: Your own prompts of the test.
        config: The settings of the test; only its questions and typical prompts count.

    Raises:
        InputError: there is no journal, no answer in it, or no question is known.
        PerceptionError: the router cannot learn from answers.
    """
    learned = check_perception(router.perception)
    path = find_journal(Path(journal))
    records = [one for one in read_journal(path) if one.score is not None]
    if not records:
        raise InputError(f"{path} has no scored answer, so there is nothing to draw.")
    config = config or OnboardingConfig()
    asked = _asked(config, prompts)
    numbers = {prompt.id: i for i, prompt in enumerate(asked.prompts)}
    known = [one for one in records if one.question in numbers]
    if not known:
        raise InputError(
            f"None of the {len(records):,} answers in {path} is to a question of the package or to "
            "one of the given prompts; give the prompts of the test."
        )
    typical = learned.latent_positions(list(typical_prompts(config, learned, asked.prompts)))
    models = _replay(router, learned, asked, known, np.asarray(typical, np.float64))
    skipped = len(records) - len(known)
    return OnboardingPlot(models, "expected score on typical prompts", 0.8, skipped)


def find_journal(path: Path) -> Path:
    """Return the journal of a test: the file itself, or the only one of a folder.

    Raises:
        InputError: there is none, or several.
    """
    if path.is_file():
        return path
    found = sorted(path.glob(_JOURNAL_PATTERN)) if path.is_dir() else []
    if len(found) != 1:
        what = f"{len(found)} journals ({_JOURNAL_PATTERN})" if path.is_dir() else "no file"
        raise InputError(f"{path} holds {what}; give the file with the answers of the test.")
    return found[0]


def _asked(config: OnboardingConfig, prompts: Iterable[OwnPrompt] | None) -> ScoredPrompts:
    """Return all questions that the test may have asked; nobody is asked now."""
    questions = load_questions() if config.questions is None else config.questions
    nobody = Candidate(Expert("nobody"), lambda text: text)
    return collect_prompts(questions, prompts, nobody, sandbox=True)


def _replay(
    router: Router,
    learned: LearnedPerception,
    asked: ScoredPrompts,
    records: Sequence[AnswerRecord],
    typical: Float64Array,
) -> tuple[ModelLearning, ...]:
    """Return the estimates of each model, before its first answer and after each."""
    names = list(dict.fromkeys(one.model for one in records))
    priors = [learned.ability(with_known_facts(Expert(name), router.library)) for name in names]
    numbers = {prompt.id: i for i, prompt in enumerate(asked.prompts)}
    places = question_places(learned, [asked.ask(one) for one in asked.prompts], priors)
    belief = AbilityBelief(priors, places)
    estimates = [[_estimate(belief, i, learned, typical)] for i in range(len(names))]
    for record in records:
        model, question = names.index(record.model), numbers[record.question]
        if question in belief.answers(model):
            continue  # the test counts the first answer
        belief.update(question, {model: 1.0 - float(record.score or 0.0)})
        estimates[model].append(_estimate(belief, model, learned, typical))
    for i, own in enumerate(estimates):  # later answers of other models tell of the questions, too
        own[-1] = _estimate(belief, i, learned, typical)
    models = [ModelLearning(name, tuple(own)) for name, own in zip(names, estimates, strict=True)]
    return tuple(sorted(models, key=lambda one: -one.last.score))


def _estimate(
    belief: AbilityBelief, model: int, learned: LearnedPerception, typical: Float64Array
) -> QualityEstimate:
    """Return what is believed of a model's score on typical prompts, as the test's page says it."""
    ability = belief.calibrated_ability(model, learned.link)
    losses = learned.link.losses(typical @ ability.mean[:, None], np.zeros((1, 1)))
    score = 1.0 - float(losses.mean())
    spread = Z80 * level_std(ability, typical, learned.link)
    n = len(belief.answers(model))
    return QualityEstimate(n, score, max(score - spread, 0.0), min(score + spread, 1.0))


# Traffic ---------------------------------------------------------------------------------------


def onboarding_of_traffic(
    traffic: Traffic,
    since: float | None = None,
    until: float | None = None,
    *,
    kind: str | None = None,
) -> OnboardingPlot:
    """Return the running mean rating of each model of a log.

    The intervals of 95% hold at all numbers of answers together (Waudby-Smith et al., 2024), so one
    may look at any time.

    Args:
        traffic: The log.
        since: Only decisions from this time on, in seconds since 1970 (UTC).
        until: Only decisions before this time.
        kind: The only kind of feedback that counts as a rating, such as "judge".

    Raises:
        InputError: no answer was rated in this period, or `traffic` is no log.
        TrafficError: the log cannot be read.
    """
    check_traffic(traffic)
    return running_ratings(traffic.decisions(since, until), kind=kind)


def running_ratings(rows: Iterable[TrafficRow], *, kind: str | None = None) -> OnboardingPlot:
    """Return the running mean rating of each model of some decisions.

    Raises:
        InputError: no answer was rated.
    """
    table = read_table(rows, kind=kind, keep_records=False)
    rated = np.flatnonzero((table.served != UNKNOWN) & ~np.isnan(table.scores))
    if not rated.size:
        raise InputError("No answer in this period has a rating, so there is nothing to draw.")
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row in rated.tolist():
        rows_of[int(table.served[row])].append(row)
    models = []
    for model, own in rows_of.items():
        counts = np.unique(np.linspace(1, len(own), _MAX_STEPS).round().astype(int))
        steps = [_running(table.scores[own[:n]], table.clusters[own[:n]]) for n in counts.tolist()]
        models.append(ModelLearning(table.experts[model], tuple(steps)))
    models.sort(key=lambda one: -one.last.score)
    return OnboardingPlot(tuple(models), "mean rating, at all numbers of answers together", 0.95)


def _running(scores: Float64Array, clusters: Any) -> QualityEstimate:  # noqa: ANN401 - integers of either size
    found = mean_score_anytime(scores, clusters)
    if found is None:
        raise InputError("No answer has a rating.")
    return QualityEstimate(found.n, found.value, found.low, found.high)
