"""What an evaluation found: a text table for people, a dictionary for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tryage.evaluation.costs import CostResult
    from tryage.evaluation.metrics import Calibration, Interval
    from tryage.evaluation.pairs import PairResult


@dataclass(frozen=True, slots=True)
class ExpertPoint:
    """An expert on its own: mean score and mean cost (USD per request, None = unknown).

    `coverage` is the part of the prompts it was measured on: of a small part, the mean says little.
    """

    name: str
    score: float
    cost: float | None
    coverage: float


@dataclass(frozen=True, slots=True)
class MethodResult:
    """One method on one table, over the prompts of all test parts.

    `lead` is the router's score minus this method's, paired; `optimal_rate` how often an expert
    that ties for best was chosen; `pairs` is filled for tables of two experts, per source and for
    "all"; `shares` is category -> expert -> share of its prompts, the largest category first.
    """

    name: str
    score: Interval
    lead: Interval | None
    optimal_rate: float
    regret: float
    calibration: Calibration | None = None
    pairs: Mapping[str, PairResult] = field(default_factory=dict)
    by_source: Mapping[str, float] = field(default_factory=dict)
    by_category: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    cost: CostResult | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All methods on one table; `router` names the method the leads are of."""

    name: str
    router: str | None
    n_prompts: int
    n_experts: int
    n_folds: int
    seed: int
    results: tuple[MethodResult, ...]
    experts: tuple[ExpertPoint, ...] = ()
    notes: tuple[str, ...] = ()

    def __getitem__(self, method: str) -> MethodResult:
        """Find the result of a method by its name (KeyError if it was not run)."""
        for result in self.results:
            if result.name == method:
                return result
        raise KeyError(f"{method!r} was not run; there are {[r.name for r in self.results]}")

    def table(self) -> str:
        """Lay the figures out in aligned columns, leaving out columns nobody has a figure for."""
        columns = [(head, [show(result) for result in self.results]) for head, show in _COLUMNS]
        filled = [(head, cells) for head, cells in columns if any(cells)]
        rows = [[head for head, _ in filled], *zip(*(cells for _, cells in filled), strict=True)]
        lines = [self._headline(), "", *_align(rows)]
        notes = [*self.notes, *self._parts()]
        return "\n".join([*lines, *([""] if notes else []), *(f"- {note}" for note in notes)])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return asdict(self)

    def markdown_row(self, methods: Sequence[str]) -> str:
        """Write the scores of some methods as one row of a Markdown table; a dash if not run."""
        scores = {result.name: f"{result.score.value:.3f}" for result in self.results}
        size = f"{self.n_prompts:,} x {self.n_experts:,}"
        return "| " + " | ".join([self.name, size, *(scores.get(m, "-") for m in methods)]) + " |"

    def _parts(self) -> list[str]:
        """Explain the order of the figures of a pair that has several sources."""
        pairs = next((result.pairs for result in self.results if result.pairs), {})
        if len(pairs) < 2:
            return []
        strong = next(iter(pairs.values())).strong
        return [f"APGR and CPT are of {' / '.join(pairs)}; the strong expert is {strong}."]

    def _headline(self) -> str:
        size = f"{self.n_prompts:,} prompts x {self.n_experts:,} experts"
        named = f"{self.name}: " if self.name else ""
        return f"{named}{size}, {self.n_folds} folds grouped by prompt, seed {self.seed}"


def _pair(result: MethodResult, show: Callable[[PairResult], str]) -> str:
    """Show the pair figures of the whole table and, in brackets, of each source."""
    if "all" not in result.pairs:
        return ""
    return " / ".join(show(pair) for pair in result.pairs.values())


def _parity(result: MethodResult) -> str:
    if result.cost is None:
        return ""
    parity = result.cost.parity
    mark = "" if parity.kept else " (missed)"
    return f"{parity.relative_cost.value:.0%} at {parity.score_difference.value:+.3f}{mark}"


def _hindsight(result: MethodResult) -> str:
    if result.cost is None:
        return ""
    cost = result.cost.parity.hindsight
    return "none keeps it" if cost is None else f"{cost:.0%}"


def _lead(result: MethodResult) -> str:
    if result.lead is None:
        return ""
    return f"{result.lead.value:+.3f} [{result.lead.low:+.3f}, {result.lead.high:+.3f}]"


_COLUMNS: tuple[tuple[str, Callable[[MethodResult], str]], ...] = (
    ("method", lambda r: r.name),
    ("score [95%]", lambda r: str(r.score)),
    ("router ahead by [95%]", _lead),
    ("optimal", lambda r: f"{r.optimal_rate:.3f}"),
    ("regret", lambda r: f"{round(r.regret, 3) + 0.0:.3f}"),  # never "-0.000"
    ("Brier", lambda r: f"{r.calibration.brier:.3f}" if r.calibration else ""),
    ("ECE", lambda r: f"{r.calibration.ece:.3f}" if r.calibration else ""),
    ("optimism", lambda r: f"{r.calibration.optimism:+.3f}" if r.calibration else ""),
    ("APGR", lambda r: _pair(r, lambda p: f"{p.apgr:.3f}")),
    ("CPT50", lambda r: _pair(r, lambda p: f"{p.cpt50:.1%}")),
    ("CPT80", lambda r: _pair(r, lambda p: f"{p.cpt80:.1%}")),
    ("AIQ", lambda r: f"{r.cost.aiq:.3f}" if r.cost else ""),
    ("cost at parity", _parity),
    ("in hindsight", _hindsight),
)


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the first column left and the others right, with a rule under the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
