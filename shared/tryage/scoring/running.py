"""Measuring experts on prompts into a folder, which can be stopped at any moment and goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tryage.errors import InputError, QTableError
from tryage.extras import require
from tryage.interrupts import stopping
from tryage.qtable_shards import JOURNAL, SHARD, locked, read_rows, recover
from tryage.scoring.budget import Budget
from tryage.scoring.measurement import Measurer, Prompt, distinct
from tryage.scoring.tasks import Engine, Outcome, Task, local

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa

EXPERTS = "experts.jsonl"


@dataclass(slots=True)
class Report:
    """What a run did: `measured` pairs of prompt and expert now, `before` by earlier runs.

    `failed` holds the pairs that stay a gap, as `(expert, prompt_id, error)`; `given_up` the
    experts that could not be measured any further, with the reason. `spent` is in USD, earlier runs
    included; `out_of_budget` says that it ended the run.
    """

    measured: int = 0
    before: int = 0
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    given_up: dict[str, str] = field(default_factory=dict)
    spent: float = 0.0
    out_of_budget: bool = False

    def add(self, outcome: Outcome) -> None:
        """Count what became of a prompt."""
        if outcome.prompt_id is None:
            self.given_up[outcome.expert] = outcome.error or ""
        elif outcome.error is not None:
            self.failed.append((outcome.expert, outcome.prompt_id, outcome.error))
        else:
            self.measured += 1


def score(  # noqa: PLR0913 - what, by whom, where to; the rest has defaults
    prompts: Iterable[Prompt | str | Mapping[str, Any]],
    measurers: Sequence[Measurer],
    folder: str | Path,
    *,
    budget: float | None = None,
    engine: Engine = local,
    shard_rows: int = 4096,
    progress: bool = True,
) -> Report:
    """Measure every expert on every prompt that the folder does not hold yet.

    `QTable.read(folder)` reads the result, at any time. Each measurement is kept at once: run the
    same again after a crash, a kill or Ctrl-C, and it goes on. The first Ctrl-C lets the requests
    that run finish. `budget` is in USD for the whole table, earlier runs included.

    Raises:
        InputError: no prompt, no measurer, two of one name, or what a measurer refuses.
        QTableError: the folder is in use, damaged, or holds other measurements under these names.
        MissingExtraError: a package that measuring needs is not installed.
        KeyboardInterrupt: after Ctrl-C, when all is kept.
    """
    require("pyarrow", "score")
    wanted, names, place = distinct(prompts), _names(measurers), Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with locked(place):
        recover(place)
        held, allowed = _Held(place, wanted), Budget(budget)
        allowed.spent_before(held.spent)
        left = [held.left(measurer, wanted) for measurer in measurers]
        tasks = [
            Task(measurer, todo, place, shard_rows)
            for measurer, todo in zip(measurers, left, strict=True)
            if todo
        ]
        _note_experts(place, measurers)
        total = len(wanted) * len(names)
        report = Report(before=total - sum(map(len, left)))
        bar = tqdm(total=total, initial=report.before, unit="loss", disable=not progress)
        with bar, stopping(allowed.stop):
            for outcome in engine(tasks, allowed):
                report.add(outcome)
                bar.set_postfix_str(_said(outcome, allowed), refresh=False)
                bar.update(outcome.prompt_id is not None)
    report.spent, report.out_of_budget = allowed.spent, allowed.exhausted
    return report


class _Held:
    """What the folder holds already: who was measured on what, how, and for how much."""

    def __init__(self, folder: Path, prompts: Sequence[Prompt]) -> None:
        self._folder = folder
        self._done: dict[str, set[str]] = {}
        self._methods: dict[str, str] = {}
        self.spent = 0.0
        if any(folder.glob(f"*{SHARD}")) or any(folder.glob(f"*{JOURNAL}")):
            self._read(read_rows(folder), {prompt.id: prompt.text for prompt in prompts})

    def left(self, measurer: Measurer, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return the prompts that this expert has still to be measured on."""
        identity = measurer.identify()
        name, method = identity.expert.name, identity.method
        before = self._methods.get(name, method)
        if before != method:
            raise QTableError(
                f"{self._folder} holds {name} measured by {before!r}, not by {method!r}. A table "
                "does not mix the two: give another folder, or the expert another name."
            )
        done = self._done.get(name, set())
        return [prompt for prompt in prompts if prompt.id not in done]

    def _read(self, rows: pa.Table, texts: Mapping[str, str]) -> None:
        import pyarrow.compute as pc

        for name in ("cost", "scoring_cost"):
            self.spent += pc.sum(rows[name]).as_py() or 0.0
        names = ("expert", "prompt_id", "prompt", "method")
        for expert, key, text, method in zip(*(rows[n].to_pylist() for n in names), strict=True):
            self._done.setdefault(expert, set()).add(key)
            self._methods[expert] = method
            if texts.get(key, text) != text:
                raise QTableError(
                    f"{self._folder} holds another prompt with the id {key!r}. Give each its own, "
                    "or another folder."
                )


def _names(measurers: Sequence[Measurer]) -> list[str]:
    names = [measurer.identify().expert.name for measurer in measurers]
    if not names or len(set(names)) != len(names):
        raise InputError(f"Experts to measure need a name each, at least one; got {names}.")
    return names


def _note_experts(folder: Path, measurers: Sequence[Measurer]) -> None:
    """Write what is known about the experts beside the losses, for `tryage train`."""
    path = folder / EXPERTS
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    known = {row["name"]: row for row in map(json.loads, lines)}
    for measurer in measurers:
        expert = measurer.identify().expert
        known[expert.name] = known.get(expert.name, {}) | expert.to_dict()
    partial = path.with_suffix(".partial")
    partial.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in known.values()), "utf-8"
    )
    partial.replace(path)


def _said(outcome: Outcome, budget: Budget) -> str:
    return f"{outcome.expert}, ${budget.spent:.2f}" if budget.spent else outcome.expert
