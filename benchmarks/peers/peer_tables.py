"""The tables of the comparison in Markdown, from the files of predictions and of times."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from methods import LABELS, PEERS, TRYAGE
from peer_figures import set_figures
from predictions import read_facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from figures import ParityFigures, SetFigures
    from tasks import Task

    from tryage.simulation.metrics import Interval

_SPEED_HEAD = (
    *("p50 ms", "p99 ms", "decisions/s", "cold start s", "import s", "resident MB"),
    *("installed MB", "models"),
)

SUMMARY = (
    *(TRYAGE, "argrouter", "knn", "avengers_pro", "paretobandit", "llmrouter_mf"),
    *("llmrouter_knn", "semantic_router", "best_single"),
)

SUMMARY_SETS = ("coderouter_id", "llmrouter_uiuc", "zeroeval", "routellm_pair")


def write_tables(tasks: Sequence[Task], out: Path, failures: Mapping[str, str]) -> Path:
    """Write `tables.md`, `summary.md` and `figures.json` into `out`, and return the first."""
    by_set: dict[str, list[Task]] = {}
    for task in tasks:
        by_set.setdefault(task.outcomes.name, []).append(task)
    names = list(LABELS)
    found = [set_figures(ones, names, out / "results") for ones in by_set.values()]
    figures = [one for one in found if one is not None]
    speeds = {
        name: read_facts(path)
        for name in PEERS
        if (path := out / "results" / name / "speed.json").exists()
    }
    summarized = [one for one in figures if one.name in SUMMARY_SETS]
    (out / "summary.md").write_text(summary_table(summarized, speeds) + "\n", "utf-8")
    parts = [quality_table(figures), gap_table(figures), parity_table(figures),
             speed_table(speeds), fit_table(figures), failure_list(failures)]  # fmt: skip
    path = out / "tables.md"
    path.write_text("\n\n".join(part for part in parts if part) + "\n", "utf-8")
    (out / "figures.json").write_text(_as_json(figures), "utf-8")
    return path


def quality_table(figures: Sequence[SetFigures]) -> str:
    """Write scores of Tryage, and of the others their lead over it in points.

    A lead stands with half of its 95% interval, bold where the interval excludes zero.
    """
    pairs = [one for one in figures if one.apgr]
    rows = [["method", "", *(one.name for one in figures), *("APGR" for _ in pairs)]]
    for name in _present(figures):
        label, kind = LABELS[name]
        cells = [_quality_cell(one, name) for one in figures]
        rows.append([label, kind, *cells, *(_number(one.apgr.get(name), ".3f") for one in pairs)])
    sizes = [f"{one.n_prompts:,} x {one.n_experts}" for one in figures]
    rows.insert(1, ["prompts x models", "", *sizes, *("" for _ in pairs)])
    return markdown(rows)


def summary_table(figures: Sequence[SetFigures], speeds: Mapping[str, Mapping[str, float]]) -> str:
    """Write the table of the README: some methods, with the time of a decision and the size."""
    sizes = {TRYAGE: speeds.get("tryage_bundled", {}), **speeds}
    shown = [name for name in SUMMARY if any(name in one.scores for one in figures)]
    rows = [["router", *(one.name for one in figures), "a decision, ms", "installed, MB"]]
    for name in shown:
        facts = sizes.get(name, {})
        cells = [_quality_cell(one, name) for one in figures]
        times = [_number(facts.get("p50_ms"), ".1f"), _number(facts.get("installed_mb"), ",.0f")]
        rows.append([LABELS[name][0], *cells, *times])
    return markdown(rows)


def _quality_cell(figures: SetFigures, name: str) -> str:
    if name == TRYAGE:
        return f"{figures.scores[name].value:.4f}"
    return lead_cell(figures.leads.get(name))


def lead_cell(lead: Interval | None) -> str:
    """Write a lead in points with half of its interval; bold if zero is outside."""
    if lead is None:
        return "-"
    text = f"{100 * lead.value:+.2f} ± {50 * (lead.high - lead.low):.2f}"
    return f"**{text}**" if lead.low > 0 or lead.high < 0 else text


def gap_table(figures: Sequence[SetFigures]) -> str:
    """Write the shares of the gap between best single expert and oracle that methods close."""
    rows = [["method", *(one.name for one in figures)]]
    for name in _present(figures):
        shares = [one.gap_closed.get(name) for one in figures]
        if any(share is not None for share in shares):
            rows.append([LABELS[name][0], *map(_share_cell, shares)])
    return markdown(rows)


def _share_cell(share: Interval | None) -> str:
    if share is None:
        return "-"
    return f"{share.value:.1%} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def parity_table(figures: Sequence[SetFigures]) -> str:
    """Write cost at parity, the cheapest first, set by set."""
    rows = [["set", "method", "cost", "score difference", "kept"]]
    for one in figures:
        ordered = sorted(one.parity.items(), key=lambda item: item[1].relative_cost.value)
        rows += [[one.name, LABELS[name][0], *_parity_cells(found)] for name, found in ordered]
    return markdown(rows) if len(rows) > 1 else ""


def _parity_cells(found: ParityFigures) -> list[str]:
    cost, difference = found.relative_cost, found.score_difference
    return [
        f"{cost.value:.1%} [{100 * cost.low:.1f}, {100 * cost.high:.1f}]",
        f"{100 * difference.value:+.2f} ± {50 * (difference.high - difference.low):.2f}",
        "yes" if found.kept else "no",
    ]


def speed_table(speeds: Mapping[str, Mapping[str, float]]) -> str:
    """Write times of decisions in processor time, and sizes; the fastest first."""
    rows = [["router", *_SPEED_HEAD]]
    for name, facts in sorted(speeds.items(), key=lambda item: item[1]["p50_ms"]):
        rows.append(
            [
                PEERS[name].label,
                f"{facts['p50_ms']:.2f}",
                f"{facts['p99_ms']:.2f}",
                f"{facts['per_second']:,.0f}",
                f"{facts['cold_seconds']:.2f}",
                _number(facts.get("import_seconds"), ".2f"),
                f"{facts['resident_mb']:,.0f}",
                _number(facts.get("installed_mb"), ",.0f"),
                _number(facts.get("experts"), ".0f"),
            ]
        )
    return markdown(rows) if len(rows) > 1 else ""


def fit_table(figures: Sequence[SetFigures]) -> str:
    """Write the processor seconds of learning (with predicting, for methods of this process)."""
    rows = [["seconds to learn", *(one.name for one in figures)]]
    for name in _present(figures):
        cells = [_number(one.fit_seconds.get(name), ".1f") for one in figures]
        rows.append([LABELS[name][0], *cells])
    return markdown(rows)


def failure_list(failures: Mapping[str, str]) -> str:
    """Write which peers failed, and the last line of why."""
    lines = [
        f"- {LABELS[name][0]} failed: {reason.strip().splitlines()[-1]}"
        for name, reason in failures.items()
    ]
    return "\n".join(lines)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Write rows, the first of which is the head, as a table."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _present(figures: Sequence[SetFigures]) -> list[str]:
    """Return the methods that some set has, in the order of `LABELS`."""
    return [name for name in LABELS if any(name in one.scores for one in figures)]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _as_json(figures: Sequence[SetFigures]) -> str:
    facts = [
        {
            "set": one.name,
            "seeds": one.n_seeds,
            "scores": {name: [s.value, s.low, s.high] for name, s in one.scores.items()},
            "leads": {name: [s.value, s.low, s.high] for name, s in one.leads.items()},
            "apgr": dict(one.apgr),
        }
        for one in figures
    ]
    return json.dumps(facts, indent=1) + "\n"
