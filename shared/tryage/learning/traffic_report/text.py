"""The text of a report: its headline, the cells of its tables, and what its numbers rest on."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tryage.learning.traffic_report.comparison import Comparison
    from tryage.learning.traffic_report.intervals import Estimate
    from tryage.learning.traffic_report.summary import ExpertUse, TrafficReport

Rows: TypeAlias = "list[list[str]]"
"""The cells of a table; the first row is the header, and the first cell of a row its name."""

NOTHING = "-"
_MAX_TEXT = 90  # characters of a prompt in a table
_FEW_RATINGS = 30

_BASES = {
    "split": "split traffic",
    "shadow": "shadow",
    "frozen": "shadow",
}


def headline(report: TrafficReport) -> list[str]:
    """Return the sentences that a reader needs first."""
    return [
        f"{describe_period(report)}: {count(report.decisions, 'request')}.",
        *_spending_sentences(report),
        _quality_sentence(report),
        *_trouble_sentences(report),
    ]


def describe_period(report: TrafficReport) -> str:
    """Return from when to when, in UTC."""
    start, end = time(report.start), time(report.end)
    return f"{start} UTC" if start == end else f"{start} to {end} UTC"


def _spending_sentences(report: TrafficReport) -> list[str]:
    spending = report.spending
    if spending.total is None:
        return ["What the requests cost is unknown: no model has a known price."]
    basis = "cost" if spending.billed == spending.known else "cost, partly as expected,"
    basis = basis if spending.billed else "were expected to cost"
    all_known = spending.known == report.decisions
    known = "The requests" if all_known else f"{spending.known:,} of the requests"
    sentences = [f"{known} {basis} {dollars(spending.total)}."]
    if spending.saved is not None and spending.best_single is not None:
        name = spending.best_single_name or "the best single model"
        share = "" if spending.saved_share is None else f" ({abs(spending.saved_share):.0%})"
        less = "less than" if spending.saved >= 0 else "more than"
        sentences.append(
            f"That is {dollars(abs(spending.saved))}{share} {less} {name} alone would have cost, "
            f"{dollars(spending.best_single)}."
        )
    if spending.dearest is not None:
        sentences.append(f"The dearest model alone would have cost {dollars(spending.dearest)}.")
    return sentences


def _quality_sentence(report: TrafficReport) -> str:
    quality = report.quality
    if quality is None:
        return "No answer has been rated, so nothing is known of the quality."
    predicted = report.predicted_score
    expected = "" if predicted is None else f" The router expected {score(predicted)}."
    few = " These are few." if quality.n < _FEW_RATINGS else ""
    return (
        f"The answers were rated {score(quality.value)} of 1 on average "
        f"({score(quality.low)} to {score(quality.high)} with 95% confidence, "
        f"{count(quality.n, 'rated answer')}).{few}{expected}"
    )


def _trouble_sentences(report: TrafficReport) -> list[str]:
    sentences = []
    if report.alarms:
        last = report.alarms[-1]
        number = _were(len(report.alarms), "alarm or event", "alarms and events")
        said = last.text or " ".join(filter(None, (last.kind, last.expert)))
        sentences.append(
            f"There {number}, the last one at {time(last.time)}: {shorten(said).rstrip('.')}."
        )
    if report.failed:
        sentences.append(f"In {count(report.failed, 'request')} a model failed.")
    if report.defaults:
        sentences.append(f"{count(report.defaults, 'request')} went to the default model.")
    return sentences


def spending_rows(report: TrafficReport) -> Rows:
    """Return what was spent beside what one model alone would have cost."""
    spending = report.spending
    single = spending.best_single_name
    return [
        ["spending", "USD"],
        ["this router", dollars(spending.total)],
        [f"{single} alone" if single else "the best single model", dollars(spending.best_single)],
        ["the dearest model", dollars(spending.dearest)],
    ]


def expert_rows(report: TrafficReport) -> Rows:
    """Return who got what."""
    header = [
        "model",
        "answers",
        "share",
        "USD",
        "USD of 1,000",
        "rating [95%]",
        "ratings",
        "median s",
        "95% s",
    ]
    return [header, *(_expert_row(use) for use in report.experts)]


def _expert_row(use: ExpertUse) -> list[str]:
    return [
        use.name,
        f"{use.answers:,}",
        f"{use.share:.1%}",
        dollars(use.spending),
        dollars(None if use.cost is None else 1_000 * use.cost),
        interval(use.quality),
        f"{use.quality.n:,}" if use.quality else "0",
        seconds(use.latency),
        seconds(use.slow_latency),
    ]


def bucket_rows(report: TrafficReport) -> Rows:
    """Return what happened in each part of the period."""
    header = ["from (UTC)", "requests", "USD", "best single USD", "rating [95%]", "most used"]
    rows = [
        [
            time(one.time),
            f"{one.decisions:,}",
            dollars(one.spending),
            dollars(one.best_single),
            interval(one.quality),
            max(one.answers, key=lambda name: one.answers[name], default=NOTHING),
        ]
        for one in report.buckets
    ]
    return [header, *rows]


def front_sentences(report: TrafficReport) -> list[str]:
    """Return where the router stands on its front, in text."""
    front = report.front
    if front is None:
        return []
    now, points = front.present, front.points
    best = min(points, key=lambda point: point.loss)
    cheapest = min(points, key=lambda point: point.cost)
    return [
        f"Now 1,000 answers cost {dollars(1_000 * now.cost)} and the predicted loss is "
        f"{score(now.loss)}.",
        f"The best that these models can do has a loss of {score(best.loss)} for "
        f"{dollars(1_000 * best.cost)}, the cheapest one of {score(cheapest.loss)} for "
        f"{dollars(1_000 * cheapest.cost)}.",
    ]


def front_rows(report: TrafficReport) -> Rows:
    """Return today and each model alone by predicted loss and cost."""
    if report.front is None:
        return []
    points = [report.front.present, *sorted(report.front.experts, key=lambda one: one.loss)]
    rows = [
        [one.name if i else "now", score(one.loss), dollars(1_000 * one.cost)]
        for i, one in enumerate(points)
    ]
    return [["alone", "predicted loss", "USD of 1,000"], *rows]


def comparison_rows(report: TrafficReport) -> Rows:
    """Return how the routers compare."""
    header = [
        "router",
        "against",
        "by",
        "rating, difference [95%]",
        "USD of 1,000, difference [95%]",
        "saves",
        "same choice",
    ]
    return [header, *(_comparison_row(one) for one in report.comparisons)]


def _comparison_row(one: Comparison) -> list[str]:
    return [
        one.name,
        one.reference,
        _BASES[one.basis],
        interval(one.quality, sign=True),
        _dollar_interval(one.cost),
        NOTHING if one.saved_share is None else f"{one.saved_share:.0%}",
        NOTHING if one.agreement is None else f"{one.agreement:.0%}",
    ]


def comparison_sentences(report: TrafficReport) -> list[str]:
    """Return what each comparison says, in a sentence or two."""
    return [" ".join(_comparison_parts(one)) for one in report.comparisons]


def _comparison_parts(one: Comparison) -> list[str]:
    title = f"{one.name} against {one.reference} ({_BASES[one.basis]})"
    parts = [f"{title[0].upper()}{title[1:]}: {one.verdict}"]
    if one.saved_share is not None and one.cost is not None:
        word, more = ("saves", "") if one.cost.value <= 0 else ("costs", " more")
        sure = "" if one.cost.low > 0 or one.cost.high < 0 else ", which may be chance"
        parts.append(
            f"A switch {word} {dollars(abs(1_000 * one.cost.value))}{more} in 1,000 answers "
            f"({abs(one.saved_share):.0%}){sure}."
        )
    return parts


def alarm_rows(report: TrafficReport) -> Rows:
    """Return the alarms and other events, in the order of time."""
    rows = [
        [time(alarm.time), alarm.kind, alarm.expert or NOTHING, alarm.text or NOTHING]
        for alarm in report.alarms
    ]
    return [["time (UTC)", "what", "model", "why"], *rows]


def surprise_rows(report: TrafficReport) -> Rows:
    """Return the ratings farthest from their predictions; their prompts if any is kept."""
    has_prompts = any(one.prompt is not None for one in report.surprises)
    header = ["time (UTC)", "model", "kind", "decision"]
    rows = [
        [
            time(one.time),
            one.expert,
            one.kind or NOTHING,
            one.decision_id,
            *([shorten(one.prompt or NOTHING)] if has_prompts else []),
            score(one.predicted),
            score(one.score),
        ]
        for one in report.surprises
    ]
    return [[*header, *(["prompt"] if has_prompts else []), "expected score", "score"], *rows]


def notes(report: TrafficReport) -> list[str]:
    """Return what the numbers rest on."""
    lines = [
        f"Ratings: {_counts(report.ratings) or 'none'}. Only rated answers count in a rating; its "
        "interval treats a thread or a user as one.",
        "The models answered different requests, so their ratings do not rank them.",
    ]
    if report.signals:
        lines.append(f"Signs of bad answers: {_counts(report.signals)}; they are in no rating.")
    if report.comparisons:
        lines.append(
            "Intervals of differences hold at all times together: read them as often as you like."
        )
    if report.explored:
        lines.append(f"{count(report.explored, 'request')} could have gone to more than one model.")
    if report.latency is not None:
        lines.append(
            f"An answer took {seconds(report.latency)} s (median), and one of 20 took "
            f"{seconds(report.slow_latency)} s or more."
        )
    lost = _counts(report.lost)
    lines.append(f"Lost by the log: {lost}." if lost else "The log reports no losses.")
    return lines


# Values ----------------------------------------------------------------------------------------


def dollars(usd: float | None) -> str:
    """Write USD with at least three digits that mean something, such as $12.30 and $0.00123."""
    if usd is None:
        return NOTHING
    size = abs(usd)
    digits = 2 if size >= 1 or size == 0 else min(10, 2 - math.floor(math.log10(size)))
    return f"{'-' if usd < 0 else ''}${size:,.{digits}f}"


def score(value: float) -> str:
    """Write a rating with three decimals."""
    return f"{value:.3f}"


def seconds(value: float | None) -> str:
    """Write seconds with two digits that mean something."""
    return NOTHING if value is None else f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def interval(estimate: Estimate | None, *, sign: bool = False) -> str:
    """Write a value with the bounds of its interval."""
    if estimate is None:
        return NOTHING
    plus = "+" if sign else ""
    return f"{estimate.value:{plus}.3f} [{estimate.low:{plus}.3f}, {estimate.high:{plus}.3f}]"


def _dollar_interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOTHING
    value, low, high = (
        dollars(1_000 * one) for one in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def time(value: float) -> str:
    """Write a time in seconds since 1970 as date and time of the day in UTC."""
    return datetime.fromtimestamp(value, timezone.utc).strftime("%Y-%m-%d %H:%M")


def count(number: int, word: str) -> str:
    """Write a number with its noun."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def shorten(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _MAX_TEXT else line[: _MAX_TEXT - 1] + "…"


def _were(number: int, singular: str, plural: str) -> str:
    return f"was 1 {singular}" if number == 1 else f"were {number:,} {plural}"


def _counts(values: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in values.items())
