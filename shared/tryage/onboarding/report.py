"""The page about a test: who is good at what, beside whom, at what price and speed, how sure."""

from __future__ import annotations

import html
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.printable import escape_markdown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage.core.arrays import Float64Array
    from tryage.onboarding.aptitude import AptitudeTestOutcome
    from tryage.onboarding.candidates import Candidate
    from tryage.onboarding.journal import AnswerRecord
    from tryage.onboarding.selection import TypicalChoices
    from tryage.perception.abilities import Gaussian, Link
    from tryage.scoring.measurement import Prompt

Z80 = 1.2816  # the interval of 80% of a normal distribution

_BAR_WIDTH = 100


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What a test found about one model.

    `score` is the expected score on typical prompts, with the interval of 80% from `low` to `high`.
    `share` is the share of typical prompts for which it is the best choice, costs included, against
    the other models and the known experts. `measured` is the plain mean score of its `n_answers`;
    `by_kind` maps a kind of question to its mean score and the number of answers. `cost` (USD of an
    answer), `latency` (seconds) and `output_tokens` are means and medians, None where unknown;
    `spent` is what its test has cost.
    """

    name: str
    score: float
    low: float
    high: float
    share: float
    n_answers: int
    n_failed: int
    measured: float | None
    by_kind: dict[str, tuple[float, int]]
    cost: float | None
    latency: float | None
    output_tokens: float | None
    spent: float


@dataclass(frozen=True, slots=True)
class OnboardingReport:
    """What a test found about all models, the best first, and how it ended.

    `regret` is what choices among the models lose at most on average, in loss, with a probability
    of 95% or as the settings say; `tolerance` is the goal for it. `failed` maps the models that
    could not be asked further to the reason.
    """

    models: tuple[ModelReport, ...]
    is_settled: bool
    out_of_budget: bool
    regret: float | None
    spent: float
    failed: dict[str, str]

    def to_markdown(self) -> str:
        """Return the page as Markdown."""
        lines = ["# What your models are good at", "", escape_markdown(self.summary()), ""]
        lines += _markdown_table(_OVERVIEW, map(_overview_row, self.models))
        kinds = self._kinds()
        if kinds:
            lines += ["", "## By kind of question", "", _KIND_NOTE, ""]
            lines += _markdown_table(("kind", *self._names()), self._kind_rows(kinds))
        if self.failed:
            lines += ["", f"## {_FAILURES_TITLE}", ""]
            lines += [f"- {escape_markdown(line)}" for line in self._failure_lines()]
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """Return the page as one HTML file that needs nothing else."""
        kinds = self._kinds()
        parts = [
            "<!doctype html><html lang='en'><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width'>",
            "<title>What your models are good at</title>",
            f"<style>{_STYLE}</style><h1>What your models are good at</h1>",
            f"<p>{html.escape(self.summary())}</p>",
            self._score_bars(),
            _html_table(_OVERVIEW, map(_overview_row, self.models)),
        ]
        if kinds:
            parts += ["<h2>By kind of question</h2>", f"<p>{html.escape(_KIND_NOTE)}</p>"]
            parts.append(_html_table(("kind", *self._names()), self._kind_rows(kinds)))
        if self.failed:
            parts += [f"<h2>{_FAILURES_TITLE}</h2>"]
            parts += [f"<p>{html.escape(line)}</p>" for line in self._failure_lines()]
        return "\n".join(parts) + "</html>\n"

    def to_rows(self) -> list[list[str]]:
        """Return the overview as rows of text, the header first."""
        return [list(_OVERVIEW), *map(_overview_row, self.models)]

    def summary(self) -> str:
        """Return in a few sentences what was found, and how sure it is."""
        n = sum(one.n_answers for one in self.models)
        text = f"{len(self.models)} models gave {n:,} answers for ${_format_usd(self.spent)}. "
        if self.models:
            best = self.models[0]
            text += (
                f"{best.name} is expected to be the best on typical prompts, with a score of "
                f"{best.score:.2f} ({best.low:.2f} to {best.high:.2f}). "
            )
            if best.name in self.failed:
                text += "It was not tested to the end. "
        if self.regret is None:
            return text.strip()
        if self.is_settled:
            ranking = "The ranking of the other models" if self.failed else "The ranking"
            return text + (
                f"{ranking} is settled: choices among them lose at most "
                f"{self.regret:.3f} of a right answer to the best ones."
            )
        reason = (
            "The budget is used up" if self.out_of_budget else "No model may get more questions"
        )
        return text + (
            f"{reason}, and the ranking is not settled: choices may lose up to "
            f"{self.regret:.3f} of a right answer to the best ones."
        )

    def _names(self) -> list[str]:
        return [one.name for one in self.models]

    def _kinds(self) -> list[str]:
        return sorted({kind for one in self.models for kind in one.by_kind})

    def _kind_rows(self, kinds: Sequence[str]) -> list[list[str]]:
        return [[kind, *(_kind_cell(one, kind) for one in self.models)] for kind in kinds]

    def _failure_lines(self) -> list[str]:
        return [f"{reason} {_ADVICE}" for reason in self.failed.values()]

    def _score_bars(self) -> str:
        """Return a picture of the scores with their intervals."""
        rows = []
        for one in self.models:
            left, width = _BAR_WIDTH * one.low, _BAR_WIDTH * max(one.high - one.low, 0.005)
            title = f"{one.score:.3f} ({one.low:.3f} to {one.high:.3f})"
            rows.append(
                f"<tr><td>{html.escape(one.name)}<td class='bar' title='{title}'>"
                f"<i style='left:{left:.1f}%;width:{width:.1f}%'></i>"
                f"<b style='left:{_BAR_WIDTH * one.score:.1f}%'></b>"
            )
        return f"<table class='bars'>{''.join(rows)}</table>"


_OVERVIEW = (
    *("model", "score", "80% interval", "best choice for", "answers", "their mean score"),
    *("$ per 1,000 answers", "seconds", "tokens"),
)

_KIND_NOTE = "Mean score of the answers, with their number. The questions are not the same for all."

_FAILURES_TITLE = "Not tested to the end"

_ADVICE = "Check its name, key and quota, and run the same test again: what was answered is kept."

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    ".bars td{border:0}.bar{position:relative;width:24em;background:#f2f2f2}"
    ".bar i{position:absolute;top:35%;height:30%;background:#7aa7d9}"
    ".bar b{position:absolute;top:15%;height:70%;width:3px;background:#134a86}"
)


def make_report(  # noqa: PLR0913 - all that a page is made of
    candidates: Sequence[Candidate],
    prompts: Sequence[Prompt],
    records: Sequence[AnswerRecord],
    abilities: Sequence[Gaussian],
    choices: TypicalChoices,
    outcome: AptitudeTestOutcome,
) -> OnboardingReport:
    """Return what a test has found; models without an answer are left out.

    `abilities` are what is known of each candidate after the test.
    """
    kinds = {prompt.id: prompt.category for prompt in prompts}
    means = np.array([ability.mean for ability in abilities])
    losses = choices.link.losses(choices.positions @ means.T, np.zeros((1, 1)))
    totals = losses + choices.costs
    is_best = (totals.min(axis=1, keepdims=True) == totals) & (totals <= choices.rival[:, None])
    reports = []
    for i, one in enumerate(candidates):
        own = [record for record in records if record.model == one.name]
        if any(record.score is not None for record in own):
            score = 1 - float(losses[:, i].mean())
            spread = Z80 * level_std(abilities[i], choices.positions, choices.link)
            share = float(is_best[:, i].mean())
            reports.append(_model_report(one.name, own, kinds, score, spread, share))
    reports.sort(key=lambda one: -one.score)
    return OnboardingReport(
        tuple(reports),
        outcome.is_settled,
        outcome.out_of_budget,
        outcome.regret,
        outcome.spent,
        dict(outcome.failed),
    )


def level_std(ability: Gaussian, positions: Float64Array, link: Link) -> float:
    """Return the standard deviation of a model's mean loss over prompts at `positions` `(n, k)`."""
    y = positions @ ability.mean[:, None]
    slopes = link.std(y, np.ones_like(y), y)[:, 0]
    mean = (positions * slopes[:, None]).mean(axis=0)
    return float(np.sqrt(max(mean @ ability.covariance @ mean, 0.0)))


def _model_report(  # noqa: PLR0913 - what one row is made of
    name: str,
    records: Sequence[AnswerRecord],
    kinds: dict[str, str | None],
    score: float,
    spread: float,
    share: float,
) -> ModelReport:
    scored = {one.question: one for one in records if one.score is not None}.values()
    scores = [one.score for one in scored if one.score is not None]
    by_kind: dict[str, list[float]] = {}
    for one in scored:
        kind = kinds.get(one.question)
        if kind is not None and one.score is not None:
            by_kind.setdefault(kind, []).append(one.score)
    return ModelReport(
        name=name,
        score=score,
        low=max(score - spread, 0.0),
        high=min(score + spread, 1.0),
        share=share,
        n_answers=len(scores),
        n_failed=sum(one.error is not None for one in records),
        measured=fmean(scores) if scores else None,
        by_kind={kind: (fmean(values), len(values)) for kind, values in by_kind.items()},
        cost=_mean([one.cost for one in scored]),
        latency=_median([one.latency for one in scored]),
        output_tokens=_mean([one.output_tokens for one in scored]),
        spent=sum(one.spent for one in records),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _overview_row(one: ModelReport) -> list[str]:
    return [
        one.name,
        f"{one.score:.2f}",
        f"{one.low:.2f} to {one.high:.2f}",
        f"{one.share:.0%}",
        str(one.n_answers),
        _format(one.measured, 1.0, ".2f"),
        _format(one.cost, 1000.0, ".2f"),
        _format(one.latency, 1.0, ".1f"),
        _format(one.output_tokens, 1.0, ".0f"),
    ]


def _format_usd(usd: float) -> str:
    return f"{usd:.2f}" if usd >= 0.1 or not usd else f"{usd:.2g}"


def _format(value: float | None, factor: float, spec: str) -> str:
    return "-" if value is None else format(value * factor, spec)


def _kind_cell(one: ModelReport, kind: str) -> str:
    if kind not in one.by_kind:
        return "-"
    score, n = one.by_kind[kind]
    return f"{score:.2f} ({n})"


def _markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    escaped = [map(escape_markdown, row) for row in (header, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in escaped]
    return [lines[0], "|---" * len(header) + "|", *lines[1:]]


def _html_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in row) for row in rows)
    return f"<table><tr>{head}{body}</table>"
