"""Writes the findings as Markdown tables, and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from figures import DomainWorth, Worth

BAR_OPTIMAL, BAR_GAIN, BAR_ASKED = 0.75, 0.97, 2.0


@dataclass
class Findings:
    """The findings on one library of experts; worths are means and deviations over seeds."""

    library: str
    experts: dict[str, float]  # parameters
    passages: tuple[int, int]  # for training (each seed draws a part), and held out
    seeds: int
    choices: dict[str, tuple[Worth, Worth]] = field(default_factory=dict)
    asked_on: int = 0
    asked: dict[str, tuple[Worth, Worth]] = field(default_factory=dict)
    free: tuple[int, int, int] | None = None
    inside: list[DomainWorth] = field(default_factory=list)
    encoders: dict[str, tuple[Worth, Worth]] = field(default_factory=dict)
    walk: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    alone: dict[str, tuple[float, float]] = field(default_factory=dict)

    def bars(self, router: str) -> str:
        """Say whether the bars are reached."""
        own = self.choices[router][0]
        asked = [mean.optimal for name, (mean, _) in self.asked.items() if name.startswith(ASKED)]
        reached = own.optimal >= BAR_OPTIMAL or own.gain >= BAR_GAIN
        text = f"Bar of {BAR_OPTIMAL:.0%} optimal or {BAR_GAIN:.0%} of the gain: {_yes(reached)}."
        if asked:
            times = self.asked[router][0].optimal / max(*asked, 1e-9)
            text += (
                f" Bar of twice the language model: {_yes(times >= BAR_ASKED)}, {times:.1f} times."
            )
        return text


ASKED = "SmolLM2"


def markdown(found: Findings, router: str) -> str:
    """Write all findings on a library."""
    parts = [
        f"### {found.library}",
        f"{found.passages[0]:,} passages to learn from, {found.passages[1]:,} held out, "
        f"{len(found.experts)} experts; {found.seeds} seeds. {found.bars(router)}",
        _worths("chosen by", found.choices),
    ]
    if found.asked:
        sample = f"On {found.asked_on} of the held-out passages for each seed, the same for all:"
        parts += [sample, _worths("chosen by", found.asked)]
    if found.free:
        readable, right, total = found.free
        parts.append(
            f"Free to write anything, it named exactly one expert in {readable} of {total} "
            f"answers, and the best one in {right}."
        )
    parts += [_domains(found.inside), _worths("the router reads with", found.encoders)]
    parts.append(_front(found.walk))
    return "\n\n".join(part for part in parts if part) + "\n"


def write_report(found: Sequence[Findings], router: str, folder: Path) -> str:
    """Write `report.md` and `figures.json` into a folder, and return the report."""
    text = "\n".join(markdown(one, router) for one in found)
    (folder / "report.md").write_text(text, "utf-8")
    rows = json.dumps([asdict(one) for one in found], indent=1, ensure_ascii=False)
    (folder / "figures.json").write_text(rows + "\n", "utf-8")
    return text


def _worths(head: str, found: dict[str, tuple[Worth, Worth]]) -> str:
    if not found:
        return ""
    rows = [
        (
            name,
            _percent(mean.optimal, spread.optimal),
            f"{mean.loss:.3f}{_sd(spread.loss, '.3f')}",
            _percent(mean.gain, spread.gain),
        )
        for name, (mean, spread) in found.items()
    ]
    return table((head, "optimal expert", "loss, nats per character", "of the oracle's gain"), rows)


def _domains(found: Sequence[DomainWorth]) -> str:
    if not found:
        return ""
    rows = [
        (
            one.domain,
            str(one.prompts),
            one.majority,
            f"{one.majority_optimal:.0%}",
            f"{one.router.optimal:.0%}",
            _percent(one.router.gain, math.nan),
        )
        for one in found
    ]
    head = ("domain", "passages", "most often best", "is best in", "Tryage optimal")
    return table((*head, "of the gain over the domain's best single expert"), rows)


def _front(found: Sequence[tuple[float, float, float, float, float]]) -> str:
    if not found:
        return ""
    rows = [
        (f"{w:g}", f"{loss:.3f}", f"{size / 1e6:.1f}M", f"{best:.3f}", f"{least / 1e6:.1f}M")
        for w, loss, size, best, least in found
    ]
    head = ("weight of size", "loss", "parameters", "oracle's loss", "oracle's parameters")
    return table(head, rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _percent(value: float, deviation: float) -> str:
    return "" if math.isnan(value) else f"{value:.1%}{_sd(deviation, '.1%')}"


def _sd(deviation: float, form: str) -> str:
    return "" if math.isnan(deviation) or deviation < 1e-9 else f" ± {deviation:{form}}"


def _yes(reached: bool) -> str:
    return "reached" if reached else "**not reached**"
