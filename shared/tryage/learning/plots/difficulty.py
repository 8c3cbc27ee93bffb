"""Difficulty: how hard a router expects prompts to be, and which models it chooses for them.

The difficulty of a prompt is its mean predicted loss over all experts: what classical test theory
calls the difficulty of an item, the share of those that fail it, predicted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.validation import check_integer, check_strings
from tryage.errors import InputError
from tryage.learning.charts.chart import Axis, Bars, Chart, Panel, Points
from tryage.learning.charts.style import (
    MAX_SERIES,
    OTHERS_STYLE,
    PALETTE,
    TEXT_COLOR,
    Style,
    fill_style,
    short_name,
    shorten,
)
from tryage.learning.plots.plot import Plot, count_text
from tryage.perception.wrappers import AlignedPerception

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.arrays import Float64Array, IndexArray
    from tryage.learning.charts.chart import Mark
    from tryage.router import Router

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_MAX_CATEGORIES = 20

_N_BARS = 24  # of the histogram, without categories

_MIN_BIN = 5  # prompts

_NO_CATEGORY = "without a category"


@dataclass(frozen=True, slots=True)
class CategoryDifficulty:
    """The distribution of the difficulty in one category: the 5, 25, 50, 75 and 95% quantiles."""

    name: str
    n: int
    quantiles: tuple[float, ...]

    @property
    def median(self) -> float:
        """The difficulty that half of the prompts exceed."""
        return self.quantiles[2]


@dataclass(frozen=True, slots=True)
class DifficultyBin:
    """`n` prompts with a difficulty from `low` to `high`, and the share of each chosen model."""

    low: float
    high: float
    n: int
    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DifficultyPlot(Plot):
    """The difficulty of prompts, `(n_prompts,)`, by category and by the model that gets them.

    `categories` are sorted from easy to hard; there is none if the prompts have no categories.
    """

    difficulties: tuple[float, ...]
    categories: tuple[CategoryDifficulty, ...]
    bins: tuple[DifficultyBin, ...]
    n_experts: int
    name: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values for JSON."""
        return asdict(self)

    def title(self) -> str:
        """Return in one sentence what was found: who gets more of the hard prompts."""
        prefix = f"{self.name}: " if self.name else ""
        easiest, hardest = self.bins[0], self.bins[-1]
        names = {name for one in self.bins for name in one.shares}
        if len(names) == 1:
            return f"{prefix}All prompts, easy or hard, go to {short_name(names.pop())}"
        if len(self.bins) == 1:
            return f"{prefix}{len(names)} models share the prompts, which are few or equally hard"

        def rise(name: str) -> float:
            return hardest.shares.get(name, 0.0) - easiest.shares.get(name, 0.0)

        most = max(sorted(names), key=rise)
        easy, hard = easiest.shares.get(most, 0.0), hardest.shares.get(most, 0.0)
        return (
            f"{prefix}{short_name(most)} gets {hard:.0%} of the hardest prompts and {easy:.0%} of "
            "the easiest"
        )

    def chart(self) -> Chart:
        """Return the picture."""
        first = self._categories_panel() if self.categories else self._histogram_panel()
        rows = min(len(self.categories), _MAX_CATEGORIES)
        median = float(np.median(self.difficulties))
        return Chart(
            self.title(),
            (first, self._choices_panel()),
            f"The median difficulty of {count_text(len(self.difficulties), 'prompt')} is "
            f"{median:.3f}. "
            + " ".join(
                f"{one.name}: {one.median:.3f}." for one in self.categories[:_MAX_CATEGORIES]
            ),
            note=f"{count_text(len(self.difficulties), 'prompt')}; difficulty is the predicted "
            f"loss, mean of {count_text(self.n_experts, 'model')}, from 0 (all are right) to 1 "
            "(all fail)." + (" Lines hold 90%, bars 50% of a category." if self.categories else ""),
            size=(11.4, max(5.0, 2.4 + 0.3 * rows)),
            columns=2,
            weights=(1.15, 1.0),
            legend="below",
        )

    def _categories_panel(self) -> Panel:
        shown = self._shown()
        middle = list(map(float, range(len(shown))))
        q = np.array([one.quantiles for one in shown])
        box = Bars("_half", middle, (q[:, 3] - q[:, 1]).tolist(), Style(PALETTE[5]),
                   q[:, 1].tolist(), 0.5, is_horizontal=True)  # fmt: skip
        thin = Style(TEXT_COLOR, "circle", size=6)
        medians = Points("_median", q[:, 2].tolist(), middle, thin, x_low=q[:, 0].tolist(),
                         x_high=q[:, 4].tolist(), names=[one.name for one in shown])  # fmt: skip
        ticks = tuple((float(i), f"{shorten(one.name)} ({one.n:,})") for i, one in enumerate(shown))
        y = Axis(limits=(-0.6, len(shown) - 0.4), ticks=ticks, is_reversed=True)
        return Panel(Axis("difficulty"), y, (box, medians), "Difficulty by category")

    def _shown(self) -> list[CategoryDifficulty]:
        """Return the largest categories, from easy to hard."""
        largest = sorted(self.categories, key=lambda one: -one.n)[:_MAX_CATEGORIES]
        return [one for one in self.categories if one in largest]

    def _histogram_panel(self) -> Panel:
        counts, edges = np.histogram(self.difficulties, bins=_N_BARS)
        middles = ((edges[:-1] + edges[1:]) / 2).tolist()
        width = float(edges[1] - edges[0])
        bars = Bars("_prompts", middles, counts.tolist(), Style(PALETTE[5]), width=width)
        y = Axis("prompts", limits=(0.0, 1.06 * float(counts.max())))
        return Panel(Axis("difficulty"), y, (bars,), "Difficulty")

    def _choices_panel(self) -> Panel:
        """Stack the shares of the models that are chosen, by bins of difficulty."""
        totals: Counter[str] = Counter()
        for one in self.bins:
            totals.update({name: share * one.n for name, share in one.shares.items()})
        named = [name for name, _ in totals.most_common(MAX_SERIES)]
        middle = list(map(float, range(len(self.bins))))
        low = np.zeros(len(self.bins))
        marks: list[Mark] = []
        for i, name in enumerate(named):
            share = np.array([one.shares.get(name, 0.0) for one in self.bins])
            marks.append(
                Bars(short_name(name), middle, share.tolist(), fill_style(i), low.tolist())
            )
            low = low + share
        if (low < 0.995).any():
            rest = np.maximum(1 - low, 0.0).tolist()
            marks.append(Bars("others", middle, rest, OTHERS_STYLE, low.tolist()))
        edges = [*(one.low for one in self.bins), self.bins[-1].high]
        digits = 2 if len({f"{edge:.2f}" for edge in edges}) == len(edges) else 3
        ticks = tuple((i - 0.5, f"{edge:.{digits}f}") for i, edge in enumerate(edges))
        x = Axis("difficulty, bins of equal size", limits=(-0.6, len(self.bins) - 0.4), ticks=ticks)
        y = Axis("share of the prompts", "percent", limits=(0.0, 1.0))
        return Panel(x, y, tuple(marks), "Who is chosen")


def difficulty_plot(
    router: Router,
    prompts: Sequence[str],
    categories: Sequence[str | None] | None = None,
    *,
    name: str = "",
    n_bins: int = 6,
) -> DifficultyPlot:
    """Return how hard a router expects prompts to be, and which models it chooses for them.

    Args:
        router: Its experts and its preferences count.
        prompts: The prompts, at least one.
        categories: What kind each prompt is, `(n_prompts,)`.
        name: What the picture says it is about.
        n_bins: Into how many bins of equal size the prompts are divided; fewer of few prompts.

    Raises:
        InputError: there is no prompt, or the categories do not fit.
        NoExpertError: no expert meets the requirements of the router.
        PerceptionError: the prediction fails.
    """
    check_integer("n_bins", n_bins, 1)
    check_strings("prompts", prompts)
    if not prompts:
        raise InputError("There is no prompt; give at least one.")
    if categories is not None and len(categories) != len(prompts):
        raise InputError(f"{len(categories)} categories for {len(prompts)} prompts; give one each.")
    prediction = AlignedPerception(router.perception, router.library).predict(prompts)
    difficulties = np.asarray(prediction.losses, np.float64).mean(axis=1)
    chosen = [decision.expert.name for decision in router.route_batch(list(prompts))]
    return DifficultyPlot(
        tuple(difficulties.tolist()),
        _by_category(difficulties, categories),
        _by_difficulty(difficulties, chosen, n_bins),
        len(router.library),
        name,
    )


def _by_category(
    difficulties: Float64Array, categories: Sequence[str | None] | None
) -> tuple[CategoryDifficulty, ...]:
    """Return the categories from easy to hard; none if no prompt has one."""
    if categories is None or not any(categories):
        return ()
    names = np.array([one or _NO_CATEGORY for one in categories], dtype=object)
    found = []
    for name in sorted(set(names.tolist())):
        own = difficulties[names == name]
        quantiles = tuple(np.quantile(own, _QUANTILES).tolist())
        found.append(CategoryDifficulty(name, len(own), quantiles))
    return tuple(sorted(found, key=lambda one: one.median))


def _by_difficulty(
    difficulties: Float64Array, chosen: Sequence[str], n_bins: int
) -> tuple[DifficultyBin, ...]:
    """Return bins of nearly equal size, the easiest first; equal difficulties are in one bin."""
    order = np.argsort(difficulties, kind="stable")
    n = int(np.clip(len(order) // _MIN_BIN, 1, n_bins))
    values = difficulties[order]
    edges = np.linspace(0, len(order), n + 1).astype(np.intp)[1:-1]
    parts = np.split(order, np.unique(np.searchsorted(values, values[edges])))
    return tuple(_bin(difficulties, rows, chosen) for rows in parts if rows.size)


def _bin(difficulties: Float64Array, rows: IndexArray, chosen: Sequence[str]) -> DifficultyBin:
    counts = Counter(chosen[row] for row in rows.tolist())
    shares = {name: count / len(rows) for name, count in counts.most_common()}
    own = difficulties[rows]
    return DifficultyBin(float(own.min()), float(own.max()), len(rows), shares)
