"""`score`: measures experts on prompts into a folder; a stopped run continues where it stopped."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tqdm import tqdm

from tryage.checkpoint import graceful_interrupt
from tryage.core.validation import require_extra
from tryage.errors import InputError, MeasurementError, QTableError
from tryage.files import write_text
from tryage.scoring.measurement import Budget, Measurer, Prompt, unique_prompts
from tryage.scoring.qtable_io import (
    EXPERTS_FILE,
    JOURNAL_SUFFIX,
    SHARD_SUFFIX,
    ShardWriter,
    folder_lock,
    read_rows,
    recover_journals,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from tryage.scoring.measurement import Measurement

Engine: TypeAlias = "Callable[[Sequence[Task], Budget], Iterator[Outcome]]"
"""Runs tasks and yields the outcome of each prompt; it writes the rows through the tasks."""


@dataclass(slots=True)
class Report:
    """What a run did: `measured` pairs of prompt and expert now, `previously_measured` earlier.

    `failed` holds the pairs that stay a gap, as `(expert, prompt_id, error)`; `given_up` the
    experts that could not be measured any further, with the reason. `spent` is in USD, earlier runs
    included; `out_of_budget` says that the budget ended the run.
    """

    measured: int = 0
    previously_measured: int = 0
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    given_up: dict[str, str] = field(default_factory=dict)
    spent: float = 0.0
    out_of_budget: bool = False

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
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


def score(  # noqa: PLR0913 - prompts, experts and folder; the rest has defaults
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

    `QTable.read(folder)` reads the result, at any time. Each measurement is written at once: make
    the same call again after a crash, a kill or Ctrl-C, and it continues. The first Ctrl-C lets the
    running requests finish. `budget` is in USD for the whole table, earlier runs included.

    Raises:
        InputError: there is no prompt or no measurer, two measurers have the same name, or a
            measurer rejects its input.
        QTableError: the folder is in use, damaged, or holds other measurements under these names.
        FileWriteError: the disk is full or read-only; what was measured before is kept.
        MissingExtraError: a package that measuring needs is not installed.
        KeyboardInterrupt: after Ctrl-C, when everything is written.
    """
    require_extra("pyarrow", "score")
    prompt_list, folder = unique_prompts(prompts), Path(folder)
    _check_names(measurers)
    with folder_lock(folder):
        recover_journals(folder)
        existing_rows, run_budget = _ExistingMeasurements(folder, prompt_list), Budget(budget)
        run_budget.add_previous_cost(existing_rows.spent)
        tasks = [
            Task(
                measurer, existing_rows.remaining_prompts(measurer, prompt_list), folder, shard_rows
            )
            for measurer in measurers
        ]
        _write_experts(folder, measurers)
        n_remaining = sum(len(task.prompts) for task in tasks)
        report = Report(previously_measured=len(prompt_list) * len(measurers) - n_remaining)
        _run_tasks(engine, tasks, run_budget, report, progress=progress)
    report.spent, report.out_of_budget = run_budget.spent, run_budget.exhausted
    return report


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result on one prompt or, with `prompt_id` None, why the whole expert was given up.

    `error` is None after a success.
    """

    expert: str
    prompt_id: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """The prompts that are left for one expert; `shard_rows` rows make a shard."""

    measurer: Measurer
    prompts: Sequence[Prompt]
    folder: Path
    shard_rows: int

    def run(self, budget: Budget) -> Iterator[Outcome]:
        """Measure, write each row at once, and yield the outcome of each prompt.

        An expert that cannot be measured any further ends its own task and no other.

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
        """Yield a function that writes the measurement of a position and returns the outcome."""
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
        """Return the outcome of an expert that cannot be measured any further."""
        return Outcome(self.measurer.identify().expert.name, None, reason)


def checked_measurements(
    measurer: Measurer, prompts: Sequence[Prompt], budget: Budget
) -> Iterator[tuple[int, Measurement]]:
    """Yield what a measurer yields, and check that it follows the protocol.

    Raises:
        InputError: it yields no loss, or one prompt twice.
        MeasurementError: the expert cannot be measured any further.
    """
    remaining_positions = set(range(len(prompts)))
    for position, measurement in measurer.measure(prompts, budget):
        is_empty = measurement.loss is None and measurement.error is None
        if is_empty or position not in remaining_positions:
            raise InputError(
                f"The measurer of {measurer.identify().expert.name} yielded {measurement} for "
                f"position {position}. Expected each position once, with a loss or an error."
            )
        remaining_positions.remove(position)
        yield position, measurement


class _ExistingMeasurements:
    """What the folder holds already: the prompts and the method of each expert, and the cost."""

    def __init__(self, folder: Path, prompts: Sequence[Prompt]) -> None:
        self._folder = folder
        self._measured_ids: dict[str, set[str]] = {}
        self._methods: dict[str, str] = {}
        self.spent = 0.0
        if any(folder.glob(f"*{SHARD_SUFFIX}")) or any(folder.glob(f"*{JOURNAL_SUFFIX}")):
            self._load(read_rows(folder), {prompt.id: prompt.text for prompt in prompts})

    def remaining_prompts(self, measurer: Measurer, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return the prompts on which this expert has not been measured yet.

        Raises:
            QTableError: the folder holds the expert, measured by another method.
        """
        identity = measurer.identify()
        name, method = identity.expert.name, identity.method
        previous_method = self._methods.get(name, method)
        if previous_method != method:
            raise QTableError(
                f"{self._folder} holds {name} measured by {previous_method!r}, not by {method!r}. "
                "A table does not mix the two: give another folder, or the expert another name."
            )
        measured_ids = self._measured_ids.get(name, set())
        return [prompt for prompt in prompts if prompt.id not in measured_ids]

    def _load(self, rows: pa.Table, texts: Mapping[str, str]) -> None:
        import pyarrow.compute as pc

        for name in ("cost", "scoring_cost"):
            self.spent += pc.sum(rows[name]).as_py() or 0.0
        names = ("expert", "prompt_id", "prompt", "method")
        for expert, prompt_id, text, method in zip(
            *(rows[n].to_pylist() for n in names), strict=True
        ):
            self._measured_ids.setdefault(expert, set()).add(prompt_id)
            self._methods[expert] = method
            if texts.get(prompt_id, text) != text:
                raise QTableError(
                    f"{self._folder} holds another prompt with the id {prompt_id!r:.80}. Give each "
                    "its own, or another folder."
                )


def _run_tasks(
    engine: Engine, tasks: Sequence[Task], budget: Budget, report: Report, *, progress: bool
) -> None:
    """Let the engine measure, and count the outcomes in the report and on a progress bar."""
    n_done = report.previously_measured
    total = n_done + sum(len(task.prompts) for task in tasks)
    bar = tqdm(total=total, initial=n_done, unit="loss", disable=not progress)
    with bar, graceful_interrupt(budget.stop):
        for outcome in engine([task for task in tasks if task.prompts], budget):
            report.add(outcome)
            bar.set_postfix_str(_progress_text(outcome, budget), refresh=False)
            bar.update(outcome.prompt_id is not None)


def _check_names(measurers: Sequence[Measurer]) -> None:
    names = [measurer.identify().expert.name for measurer in measurers]
    if not names or len(set(names)) != len(names):
        raise InputError(
            f"Give at least one expert to measure, and each its own name; got {names}."
        )


def _write_experts(folder: Path, measurers: Sequence[Measurer]) -> None:
    """Write what is known about the experts next to the losses, for `tryage train`."""
    path = folder / EXPERTS_FILE
    lines = path.read_bytes().splitlines() if path.exists() else []  # bytes: at \n alone
    rows_by_name = {row["name"]: row for row in map(json.loads, lines)}
    for measurer in measurers:
        expert = measurer.identify().expert
        rows_by_name[expert.name] = rows_by_name.get(expert.name, {}) | expert.to_dict()
    rows = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows_by_name.values()]
    write_text(path, "".join(rows))


def _progress_text(outcome: Outcome, budget: Budget) -> str:
    return f"{outcome.expert}, ${budget.spent:.2f}" if budget.spent else outcome.expert
