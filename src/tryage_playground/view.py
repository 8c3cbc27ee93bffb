"""A decision as the page shows it: rows, bars as numbers, and why the winner wins, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.explanation import (
    EXPLAINED_LEVEL,
    EXPLAINED_PROMPTS,
    format_dollars,
    in_words,
)
from tryage.core.objective import ANSWER_VALUE, LATENCY_VALUE
from tryage.core.ranking import TOLERANCE
from tryage.core.uncertainty import LOW_TYPICALITY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.arrays import FloatArray
    from tryage.core.decision import Decision
    from tryage.core.ranking import RankedExpert

FEW_ROWS = 12  # of a table, until the visitor asks for all

LOSS = "loss"  # the name of the first part of a bar

LABELS: Mapping[str, str] = {
    LOSS: "predicted loss",
    ANSWER_VALUE: "dollars",
    LATENCY_VALUE: "waiting",
    "latency": "slow",
    "size": "large",
    "recency": "old",
    "security": "unsafe",
    "verbosity": "long answers",
    "readability": "hard to read",
    TOLERANCE: "tolerance",
}
"""What each part of a total stands for: all of them count against a model."""

_EASY, _HARD = 0.2, 0.45  # predicted loss of the median model

_EQUAL = 5e-4  # of quality: what no percentage with one digit shows


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a stacked bar: where it begins and how wide it is, in % of the longest bar.

    `share` is its share of the model's total, in [0, 1].
    """

    name: str
    label: str
    value: float
    share: float
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Row:
    """One model of the table; quality is 1 - loss, and `interval` its 90% interval."""

    rank: int
    name: str
    quality: float
    interval: tuple[float, float] | None
    cost: str
    total: float
    segments: tuple[Segment, ...]
    unknown: tuple[str, ...]
    measured: tuple[float, int] | None
    is_winner: bool

    @property
    def shares(self) -> str:
        """The parts of the total in words, for those that do not see the bar."""
        parts = [f"{one.label} {one.value:.3f} ({one.share:.0%})" for one in self.segments]
        return f"{self.name}: total {self.total:.3f} = {' + '.join(parts)}"


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """What is seen in a prompt: flags, kind, typicality and difficulty in words."""

    flags: tuple[str, ...]
    dropped_flags: tuple[str, ...]
    warnings: tuple[str, ...]
    difficulty: float | None
    difficulty_text: str
    typicality_text: str


def make_rows(
    decision: Decision,
    *,
    limit: int | None = FEW_ROWS,
    measured: Mapping[str, tuple[float, int]] | None = None,
) -> tuple[Row, ...]:
    """Return the rows of the best models; `measured` are quality and count of prompts by name."""
    ranked = decision.ranking[: len(decision.ranking) if limit is None else limit]
    longest = max((_length(one) for one in ranked), default=0.0)
    return tuple(
        Row(
            rank=rank,
            name=one.name,
            quality=1.0 - one.predicted_loss,
            interval=_quality_interval(one),
            cost="unknown" if one.cost is None else format_dollars(one.cost),
            total=one.total,
            segments=make_segments(one, longest),
            unknown=tuple(LABELS.get(name, name) for name in one.unknown),
            measured=(measured or {}).get(one.name),
            is_winner=one.name == decision.expert.name,
        )
        for rank, one in enumerate(ranked, start=1)
    )


def _quality_interval(one: RankedExpert) -> tuple[float, float] | None:
    found = one.interval(EXPLAINED_LEVEL, EXPLAINED_PROMPTS)
    return None if found is None else (max(0.0, 1.0 - found[1]), min(1.0, 1.0 - found[0]))


def _parts(one: RankedExpert) -> dict[str, float]:
    """Return the parts of a total by name; a part below zero has no bar."""
    parts = {LOSS: one.predicted_loss, **one.terms}
    return {name: max(value, 0.0) for name, value in parts.items()}


def _length(one: RankedExpert) -> float:
    return sum(_parts(one).values())


def make_segments(one: RankedExpert, longest: float) -> tuple[Segment, ...]:
    """Return the stacked bar of a model, on the scale of the longest bar of the table."""
    parts, total = _parts(one), _length(one)
    segments, start = [], 0.0
    for name, value in parts.items():
        width = 100.0 * value / longest if longest > 0 else 0.0
        share = value / total if total > 0 else 0.0
        segments.append(Segment(name, LABELS.get(name, name), value, share, start, width))
        start += width
    return tuple(segments)


def legend(rows: Sequence[Row]) -> tuple[tuple[str, str], ...]:
    """Return the name and the label of every part that some bar has, in the order of the bars."""
    found: dict[str, str] = {}
    for row in rows:
        found.update({one.name: one.label for one in row.segments})
    return tuple(found.items())


# In words --------------------------------------------------------------------------------------


def explain_plainly(decision: Decision, policy: str = "") -> tuple[str, ...]:
    """Return why the winner wins, in sentences without a formula; `policy` is that in force."""
    if decision.default_used or decision.chosen is None:
        return (f"{decision.expert.name} is the declared default: {decision.default_reason}",)
    chosen = decision.chosen
    return tuple(
        sentence
        for sentence in (
            _what_is_expected(chosen),
            *_policy_sentences(decision, policy),
            _against_best(decision, chosen),
            _against_second(decision, chosen),
            _rejected_sentence(len(decision.rejected)),
        )
        if sentence
    )


def _what_is_expected(chosen: RankedExpert) -> str:
    cost = "an unknown price" if chosen.cost is None else format_dollars(chosen.cost)
    interval = _quality_interval(chosen)
    known = "" if interval is None else f" ({interval[0]:.0%} to {interval[1]:.0%})"
    quality = f"{1 - chosen.predicted_loss:.1%}{known}"
    return f"{chosen.name} answers: a quality of {quality} is expected, for {cost}."


def _policy_sentences(decision: Decision, policy: str) -> list[str]:
    if policy and not decision.changes:
        return [f"The policy {policy} changes nothing here."]
    return [f"The policy {one.policy} decides: {one.reason}." for one in decision.changes]


def _against_best(decision: Decision, chosen: RankedExpert) -> str:
    """Compare the winner with the model of the best predicted quality."""
    best = min(decision.ranking, key=lambda one: one.predicted_loss)
    gain = chosen.predicted_loss - best.predicted_loss
    if best.name == chosen.name or gain < _EQUAL:
        return "No other model is expected to answer better."
    counted, others = _counted_against(best, chosen)
    text = f"{best.name} is expected to be {gain:.1%} better"
    if best.cost is not None and chosen.cost is not None and best.cost > chosen.cost:
        text += f" and costs {format_dollars(best.cost - chosen.cost)} more"
        worth = decision.preferences.answer_value
        if worth is not None:
            text += f", which counts as {counted:.1%} at {format_dollars(worth)} for a right answer"
    text += "."
    if others > _EQUAL:
        text += f" Other weights count {others:.1%} against it."
    if decision.preferences.tolerance and counted + others < gain and not decision.changes:
        text += " The rest is within the tolerance, so the cheaper one answers."
    return text


def _counted_against(best: RankedExpert, chosen: RankedExpert) -> tuple[float, float]:
    """Return how much more dollars, and all other weights, add to one total than to another."""
    differences = {
        name: best.terms[name] - chosen.terms.get(name, 0.0)
        for name in best.terms
        if name != TOLERANCE
    }
    dollars = differences.pop(ANSWER_VALUE, 0.0)
    return dollars, sum(differences.values())


def _against_second(decision: Decision, chosen: RankedExpert) -> str:
    if len(decision.ranking) < 2:
        return f"{chosen.name} is the only model that can be chosen."
    second, margin = decision.ranking[1], decision.margin or 0.0
    side = "behind" if margin >= 0 else "ahead, but for the policy"
    text = f"Second is {second.name}, {abs(margin):.3f} {side}"
    sure = decision.confidence
    if sure is None or decision.changes:
        return f"{text}."
    return f"{text}: {chosen.name} is the better choice with a probability of {sure:.0%}."


def _rejected_sentence(count: int) -> str:
    if not count:
        return ""
    return f"{count:,} {'model does' if count == 1 else 'models do'} not meet the requirements."


def prompt_facts(decision: Decision, losses: FloatArray | None) -> PromptFacts:
    """Return what is seen in the prompt; `losses` are predicted for all measured models."""
    difficulty = None
    if losses is not None and np.isfinite(losses).any():
        difficulty = float(np.nanmedian(losses))
    count = 0 if losses is None else int(np.isfinite(losses).sum())
    return PromptFacts(
        flags=decision.flags,
        dropped_flags=decision.dropped_flags,
        warnings=decision.warnings,
        difficulty=difficulty,
        difficulty_text=_difficulty_text(difficulty, count),
        typicality_text=_typicality_text(decision.typicality),
    )


def _difficulty_text(difficulty: float | None, count: int) -> str:
    if difficulty is None:
        return "unknown"
    word = (
        "easy" if difficulty < _EASY else "hard" if difficulty > _HARD else "of medium difficulty"
    )
    fails = f"{difficulty:.0%} of such prompts"
    return f"{word}: the middle one of {count:,} measured models fails on {fails}"


def _typicality_text(typicality: float | None) -> str:
    if typicality is None:
        return "unknown"
    if typicality < LOW_TYPICALITY:
        return f"unlike the prompts of the training (p = {typicality:.2g}): do not rely on this"
    return f"like the prompts of the training (p = {typicality:.2g})"


def compare_in_words(first: Decision, second: Decision) -> str:
    """Return in one sentence how two ways to decide differ on a prompt."""
    one, other = first.chosen, second.chosen
    if one is None or other is None or one.name == other.name:
        return (
            f"Both choose {first.expert.name}."
            if first.expert.name == second.expert.name
            else (f"A chooses {first.expert.name}, B chooses {second.expert.name}.")
        )
    text = f"A chooses {one.name}, B chooses {other.name}: B's quality is expected to be "
    gain = one.predicted_loss - other.predicted_loss
    text += (
        "the same" if abs(gain) < _EQUAL else f"{abs(gain):.1%} {'higher' if gain > 0 else 'lower'}"
    )
    if one.cost is None or other.cost is None:
        return f"{text}; a price is unknown."
    extra = other.cost - one.cost
    more = "more" if extra > 0 else "less"
    price = "the same price" if extra == 0 else f"{format_dollars(abs(extra))} {more} per request"
    return f"{text}, for {price}."


def term_label(name: str) -> str:
    """Return what a part of a total stands for."""
    return LABELS.get(name, in_words(name))
