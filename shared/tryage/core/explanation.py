"""A decision in words: why this expert, how far behind the others are, what was unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from tryage.core.costs import UNKNOWN_INPUT_PRICE, UNKNOWN_LATENCY, UNKNOWN_OUTPUT_PRICE
from tryage.core.objective import ANSWER_VALUE, LATENCY_VALUE
from tryage.core.preferences import format_value
from tryage.core.printable import escape_line
from tryage.core.ranking import TOLERANCE, RankedExpert, RejectedExpert, Rejections
from tryage.core.uncertainty import LOW_TYPICALITY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from tryage.core.expert import Expert
    from tryage.core.policy_change import PolicyChange
    from tryage.core.preferences import Preferences

# Name of a constraint or requirement -> the fields it reads; any other reads the field of its name.
_INPUT_FIELDS: Mapping[str, tuple[str, ...]] = {
    "size": ("parameters",),
    "recency": ("released",),
    "verbosity": ("output_tokens",),
    "popularity": ("downloads",),
    "cost": ("input_price", "output_price", "output_tokens"),
    "switching": ("input_price", "cached_input_price"),
    ANSWER_VALUE: ("input_price", "cached_input_price", "output_price", "output_tokens"),
    LATENCY_VALUE: ("latency",),
}

# Name of a term in dollars -> what is unknown of an expert, and what it counts as.
_ASSUMED: Mapping[str, tuple[str, str]] = {
    ANSWER_VALUE: (
        "price",
        f"${UNKNOWN_INPUT_PRICE:g} and ${UNKNOWN_OUTPUT_PRICE:g} per million tokens",
    ),
    LATENCY_VALUE: ("latency", f"{UNKNOWN_LATENCY:g} seconds"),
}


EXPLAINED_LEVEL, EXPLAINED_PROMPTS = 0.9, 100  # of the interval in explanations


class ExplainableDecision(Protocol):
    """The part of a `Decision` that an explanation reads; `Decision` documents the fields."""

    @property
    def expert(self) -> Expert: ...  # noqa: D102 - see `Decision`
    @property
    def chosen(self) -> RankedExpert | None: ...  # noqa: D102 - see `Decision`
    @property
    def confidence(self) -> float | None: ...  # noqa: D102 - see `Decision`
    @property
    def ranking(self) -> Sequence[RankedExpert]: ...  # noqa: D102 - see `Decision`
    @property
    def rejected(self) -> Sequence[RejectedExpert]: ...  # noqa: D102 - see `Decision`
    @property
    def preferences(self) -> Preferences: ...  # noqa: D102 - see `Decision`
    @property
    def default_used(self) -> bool: ...  # noqa: D102 - see `Decision`
    @property
    def default_reason(self) -> str | None: ...  # noqa: D102 - see `Decision`
    @property
    def flags(self) -> tuple[str, ...]: ...  # noqa: D102 - see `Decision`
    @property
    def warnings(self) -> tuple[str, ...]: ...  # noqa: D102 - see `Decision`
    @property
    def as_of(self) -> datetime | None: ...  # noqa: D102 - see `Decision`
    @property
    def typicality(self) -> float | None: ...  # noqa: D102 - see `Decision`
    @property
    def explored(self) -> bool: ...  # noqa: D102 - see `Decision`
    @property
    def propensity(self) -> float: ...  # noqa: D102 - see `Decision`
    @property
    def changes(self) -> tuple[PolicyChange, ...]: ...  # noqa: D102 - see `Decision`


def explain(decision: ExplainableDecision, top: int = 3) -> str:
    """Explain which expert is chosen and why, the runners-up, the rejected experts and flags.

    It is for a terminal: what comes from elsewhere, such as sources and flags, cannot control it.
    """
    best = tuple(decision.ranking[: max(top, 1)])
    lines = [
        *_headline(decision),
        *map(_policy_line, decision.changes),
        *(_total_lines(decision, best[0]) if decision.chosen else ()),
        *_typicality_lines(decision),
        *_runner_up_lines(decision, best),
        *_unknown_lines(decision, best),
        *_source_lines(decision),
        *rejection_lines(decision.rejected),
        *(f"Taken from the prompt: {flag}" for flag in decision.flags),
        *(f"Warning: {warning}" for warning in decision.warnings),
        *_as_of_lines(decision),
    ]
    return "\n".join(map(escape_line, lines))


def rejection_lines(rejected: Sequence[RejectedExpert]) -> Iterator[str]:
    """List the rejected experts by the requirement they miss, with a few examples of each."""
    if not len(rejected):
        return
    yield f"Rejected: {_pluralize_experts(len(rejected))}."
    if not isinstance(rejected, Rejections):
        yield from (f"  {one.name}: {'; '.join(one.reasons)}" for one in rejected[:10])
        return
    for label, count, examples in rejected.group_by_check():
        examples_text = "; ".join(
            name if reason == label else f"{name} ({reason})" for name, reason in examples
        )
        more = f"; and {count - len(examples):,} more" if count > len(examples) else ""
        yield f"  {label}, {_pluralize_experts(count)}: {examples_text}{more}"


def _headline(decision: ExplainableDecision) -> Iterator[str]:
    name = decision.expert.name
    if decision.default_used:
        yield f"{name} is used as the declared default: {decision.default_reason}"
        return
    if decision.explored:
        best = decision.ranking[1].name
        yield f"{name} is drawn to explore, with probability {decision.propensity:.2g}, not {best}."
        return
    if any(change.before not in (None, change.after) for change in decision.changes):
        yield f"{name} is chosen by a policy."
    elif decision.chosen is not None and TOLERANCE in decision.chosen.terms:
        tolerance, terms = f"{decision.preferences.tolerance:g}", decision.chosen.terms
        if set(terms) == {TOLERANCE}:
            within = f"that are predicted within {tolerance} of the best"
        else:
            within = f"with a total within {tolerance} of the lowest"
        yield f"{name} is chosen: the cheapest of those {within}."
    elif len(decision.ranking) > 1:
        yield f"{name} is chosen: the lowest total of {_pluralize_experts(len(decision.ranking))}."
    else:
        yield f"{name} is chosen: the only eligible expert."


def _policy_line(change: PolicyChange) -> str:
    """Say what a policy changed, and why."""
    if change.before is None:
        what = "restricts the experts"
    elif change.before == change.after:
        what = f"keeps {change.after}"
    else:
        what = f"takes {change.after} instead of {change.before}"
    return f"  {change.policy} {what}: {change.reason}."


def _total_lines(decision: ExplainableDecision, chosen: RankedExpert) -> Iterator[str]:
    """Write the total as a sum, one term per line."""
    std = "" if chosen.std is None else f" ± {chosen.std:.3f}"
    yield f"  {'predicted loss':<16}{chosen.predicted_loss:>8.3f}{std}{_interval_text(chosen)}"
    for name, term in chosen.terms.items():
        factors = _factors(decision.preferences, name, term)
        yield f"  {'+ ' + in_words(name):<16}{term:>8.3f}{factors and f'   = {factors}'}"
    if chosen.terms:
        yield f"  {'= total':<16}{chosen.total:>8.3f}"
    if chosen.cost is not None and ANSWER_VALUE not in chosen.terms:
        yield f"  expected cost: {format_dollars(chosen.cost)}"


def _interval_text(chosen: RankedExpert) -> str:
    interval = chosen.interval(EXPLAINED_LEVEL, EXPLAINED_PROMPTS)
    if interval is None:
        return ""
    low, high = interval
    mean = f"the mean of {EXPLAINED_PROMPTS} such prompts"
    return f"   {mean}: {low:.3f} to {high:.3f} with {EXPLAINED_LEVEL:.0%}"


def _typicality_lines(decision: ExplainableDecision) -> Iterator[str]:
    """Say it if the prompt is unlike those that the perception was trained on."""
    typicality = decision.typicality
    if decision.chosen is not None and typicality is not None and typicality < LOW_TYPICALITY:
        yield f"{describe_untypical(typicality)}: the predictions are uncertain."


def describe_untypical(typicality: float) -> str:
    """Say that a prompt is unlike the training prompts, without a full stop."""
    return f"The prompt is unlike the training prompts (p = {typicality:.2g})"


def _factors(preferences: Preferences, name: str, term: float) -> str:
    """Return how the value of a term comes about, empty if it says nothing."""
    worth = preferences.answer_value
    if name == ANSWER_VALUE and worth:
        return f"{format_dollars(term * worth)} / {format_dollars(worth)} for a right answer"
    if name == LATENCY_VALUE and worth and preferences.latency_value:
        seconds, price = term * worth / preferences.latency_value, preferences.latency_value
        per_answer = f"{format_dollars(worth)} for a right answer"
        return f"{seconds:.3g} s x {format_dollars(price)} / {per_answer}"
    if name == TOLERANCE and preferences.tolerance is not None:
        return f"all within {preferences.tolerance:g} of the best count alike, the cheapest first"
    weight = preferences.weights.get(name)
    return f"weight {weight:g} x {term / weight:.3f}" if weight else ""


def in_words(name: str) -> str:
    """Return the name of a term as an explanation writes it."""
    return {ANSWER_VALUE: "cost", LATENCY_VALUE: "waiting"}.get(name, name)


def format_dollars(usd: float) -> str:
    """Write dollars with three digits."""
    return format_value("cost", float(f"{usd:.3g}"))


def _runner_up_lines(decision: ExplainableDecision, best: Sequence[RankedExpert]) -> Iterator[str]:
    for rank, other in enumerate(best[1:], start=2):
        terms = "".join(f" + {in_words(name)} {term:.3f}" for name, term in other.terms.items())
        price = "" if other.cost is None else f" ({format_dollars(other.cost)})"
        gap = other.total - best[0].total
        side = "behind" if gap > 0 else "ahead"  # of an expert that a policy or exploration takes
        behind = "equal total" if gap == 0 else f"{abs(gap):.3f} {side}"
        loss = f"predicted loss {other.predicted_loss:.3f}"
        sure = decision.confidence if rank == 2 else None
        measured = "where their answers differ, " if other.uncertainty is not None else ""
        has_terms = bool(measured and (other.terms or best[0].terms))
        wins = "has the lower total" if has_terms else "is better"
        odds = f"; {measured}{best[0].name} {wins} with probability {sure or 0:.0%}"
        odds = "" if sure is None else odds
        yield f"{rank}. {other.name}, {behind}: {loss}{terms}{price}{odds}."


def _unknown_lines(decision: ExplainableDecision, best: Sequence[RankedExpert]) -> Iterator[str]:
    names = {name for one in best for name in one.unknown}
    weighted = names - _ASSUMED.keys()
    gaps = [(one.name, [name for name in one.unknown if name in weighted]) for one in best]
    parts = [f"{', '.join(unknown)} of {name}" for name, unknown in gaps if unknown]
    if parts:
        yield f"Unknown, so counted as the worst: {'; '.join(parts)}."
    for name, (what, assumed) in _ASSUMED.items():
        unknown = [one.name for one in best if name in one.unknown]
        if unknown:
            yield f"Unknown {what}, so counted as {assumed}: {', '.join(unknown)}."
    unpriced = [one.name for one in best if one.cost is None and ANSWER_VALUE not in one.unknown]
    if decision.preferences.tolerance is not None and unpriced:
        what, assumed = _ASSUMED[ANSWER_VALUE]
        yield f"Unknown {what}, so counted as {assumed}: {', '.join(unpriced)}."


def _source_lines(decision: ExplainableDecision) -> Iterator[str]:
    """Name the sources of the chosen expert's facts that the weights and requirements read."""
    sources = decision.expert.metadata.get("sources")
    if not isinstance(sources, Mapping):
        return
    preferences = decision.preferences
    terms = () if decision.chosen is None else decision.chosen.terms
    required = (requirement.field for requirement in preferences.requirements)
    names = [*preferences.weights, *terms, *required]
    fields = (field for name in names for field in _INPUT_FIELDS.get(name, (name,)))
    by_source: dict[str, list[str]] = {}
    for field in dict.fromkeys(fields):
        if field in sources:
            by_source.setdefault(_format_source(sources[field]), []).append(field)
    if by_source:
        parts = (f"{', '.join(known)} from {source}" for source, known in by_source.items())
        yield f"Facts about {decision.expert.name}: {'; '.join(parts)}."


def _format_source(source: object) -> str:
    """Return a source in words; one of the Hub also has the date at which it was read."""
    if isinstance(source, Mapping):
        return f"{source.get('source')} ({str(source.get('seen'))[:10]})"
    return str(source)


def _as_of_lines(decision: ExplainableDecision) -> Iterator[str]:
    if decision.as_of is not None:
        yield f"Facts about all experts: the Hub as of {decision.as_of:%Y-%m-%d %H:%M} UTC."


def _pluralize_experts(count: int) -> str:
    return f"{count:,} expert" + ("" if count == 1 else "s")
