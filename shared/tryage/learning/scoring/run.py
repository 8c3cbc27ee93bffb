"""Measuring experts on prompts into a folder, which can be stopped at any moment and goes on."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tqdm import tqdm

from tryage.core.validation import require_extra
from tryage.errors import InputError, MeasurementError, QTableError
from tryage.learning.checkpoint import graceful_interrupt
from tryage.learning.qtable_io import (
    EXPERTS_FILE,
    JOURNAL_SUFFIX,
    SHARD_SUFFIX,
    ShardWriter,
    folder_lock,
    read_rows,
    recover_journals,
)
from tryage.learning.scoring.measurement import Budget, Measurer, Prompt, unique_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from tryage.learning.scoring.measurement import Measurement


@dataclass(slots=True)
class Report:
    """What a run did: `measured` pairs of prompt and expert now, `before` by earlier runs.

    `failed` holds the pairs that stay a gap, as `(expert, prompt_id, error)`; `given_up` the
    experts that could not be measured any further, with the reason. `spent` is in USD, earlier runs
    included; `out_of_budget` says that it ended the run.
    """

    measured: int = 0
    previously_measured: int = 0
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


def run_locally(tasks: Sequence[Task], budget: Budget) -> Iterator[Outcome]:
    """Run the tasks in this process, one expert after another: one model at a time in memory."""
    for task in tasks:
        if not budget.stopped:
            yield from task.run(budget)


def score(  # noqa: PLR0913 - what, by whom, where to; the rest has defaults
    prompts: Iterable[Prompt | str | Mapping[str, Any]],
    measurers: Sequence[Measurer],
    folder: str | Path,
    *,
    budget: float | None = None,
    engine: Engine = run_locally,
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
    require_extra("pyarrow", "score")
    wanted, names, place = unique_prompts(prompts), _expert_names(measurers), Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with folder_lock(place):
        recover_journals(place)
        existing, run_budget = _ExistingMeasurements(place, wanted), Budget(budget)
        run_budget.add_previous_cost(existing.spent)
        left = [existing.remaining_prompts(measurer, wanted) for measurer in measurers]
        tasks = [
            Task(measurer, todo, place, shard_rows)
            for measurer, todo in zip(measurers, left, strict=True)
            if todo
        ]
        _write_experts(place, measurers)
        total = len(wanted) * len(names)
        report = Report(previously_measured=total - sum(map(len, left)))
        bar = tqdm(
            total=total, initial=report.previously_measured, unit="loss", disable=not progress
        )
        with bar, graceful_interrupt(run_budget.stop):
            for outcome in engine(tasks, run_budget):
                report.add(outcome)
                bar.set_postfix_str(_progress_text(outcome, run_budget), refresh=False)
                bar.update(outcome.prompt_id is not None)
    report.spent, report.out_of_budget = run_budget.spent, run_budget.exhausted
    return report


class _ExistingMeasurements:
    """What the folder holds already: who was measured on what, how, and for how much."""

    def __init__(self, folder: Path, prompts: Sequence[Prompt]) -> None:
        self._folder = folder
        self._done: dict[str, set[str]] = {}
        self._methods: dict[str, str] = {}
        self.spent = 0.0
        if any(folder.glob(f"*{SHARD_SUFFIX}")) or any(folder.glob(f"*{JOURNAL_SUFFIX}")):
            self._load(read_rows(folder), {prompt.id: prompt.text for prompt in prompts})

    def remaining_prompts(self, measurer: Measurer, prompts: Sequence[Prompt]) -> list[Prompt]:
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

    def _load(self, rows: pa.Table, texts: Mapping[str, str]) -> None:
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


def _expert_names(measurers: Sequence[Measurer]) -> list[str]:
    names = [measurer.identify().expert.name for measurer in measurers]
    if not names or len(set(names)) != len(names):
        raise InputError(f"Experts to measure need a name each, at least one; got {names}.")
    return names


def _write_experts(folder: Path, measurers: Sequence[Measurer]) -> None:
    """Write what is known about the experts beside the losses, for `tryage train`."""
    path = folder / EXPERTS_FILE
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


def _progress_text(outcome: Outcome, budget: Budget) -> str:
    return f"{outcome.expert}, ${budget.spent:.2f}" if budget.spent else outcome.expert


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one prompt, or with `prompt_id` None of the whole expert."""

    expert: str
    prompt_id: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """Prompts that one expert has still to be measured on; `shard_rows` rows make a shard."""

    measurer: Measurer
    prompts: Sequence[Prompt]
    folder: Path
    shard_rows: int

    def run(self, budget: Budget) -> Iterator[Outcome]:
        """Measure, write each row at once, and yield what became of each prompt.

        An expert that cannot be measured ends its own task and no other.

        Raises:
            InputError: the measurer yields no loss, or one prompt twice.
        """
        with self.open_writer() as write:
            try:
                for position, measurement in checked_measurements(
                    self.measurer, self.prompts, budget
                ):
                    yield write(position, measurement)
            except MeasurementError as error:
                yield self.failed_outcome(str(error))

    @contextmanager
    def open_writer(self) -> Iterator[Callable[[int, Measurement], Outcome]]:
        """Yield what writes a measurement at once, and says what became of its prompt."""
        identity = self.measurer.identify()
        name = identity.expert.name
        with ShardWriter(self.folder, name, self.shard_rows) as writer:

            def write(position: int, measurement: Measurement) -> Outcome:
                prompt = self.prompts[position]
                if measurement.error is None:
                    writer.write(measurement.to_row(prompt, identity))
                return Outcome(name, prompt.id, measurement.error)

            yield write

    def failed_outcome(self, reason: str) -> Outcome:
        """Say that the expert cannot be measured any further."""
        return Outcome(self.measurer.identify().expert.name, None, reason)


def checked_measurements(
    measurer: Measurer, prompts: Sequence[Prompt], budget: Budget
) -> Iterator[tuple[int, Measurement]]:
    """Yield what a measurer finds, and hold it to its promise.

    Raises:
        InputError: it yields no loss, or one prompt twice.
        MeasurementError: the expert cannot be measured any further.
    """
    left = set(range(len(prompts)))
    for position, measurement in measurer.measure(prompts, budget):
        nothing = measurement.loss is None and measurement.error is None
        if nothing or position not in left:
            raise InputError(
                f"The measurer of {measurer.identify().expert.name} yielded {measurement} for "
                f"position {position}. Expected each position once, with a loss or an error."
            )
        left.remove(position)
        yield position, measurement


Engine: TypeAlias = "Callable[[Sequence[Task], Budget], Iterator[Outcome]]"
"""Runs tasks and yields what became of each prompt; each task writes its own shards."""
