"""One expert's part of the work: what is left to measure, and where its rows go."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tryage.errors import InputError, MeasurementError
from tryage.qtable_shards import ShardWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tryage.scoring.budget import Budget
    from tryage.scoring.measurement import Measurement, Measurer, Prompt


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
        with self.keeping() as keep:
            try:
                for position, measurement in measured(self.measurer, self.prompts, budget):
                    yield keep(position, measurement)
            except MeasurementError as error:
                yield self.given_up(str(error))

    @contextmanager
    def keeping(self) -> Iterator[Callable[[int, Measurement], Outcome]]:
        """Yield what writes a measurement at once, and says what became of its prompt."""
        identity = self.measurer.identify()
        name = identity.expert.name
        with ShardWriter(self.folder, name, self.shard_rows) as writer:

            def keep(position: int, measurement: Measurement) -> Outcome:
                prompt = self.prompts[position]
                if measurement.error is None:
                    writer.write(measurement.row(prompt, identity))
                return Outcome(name, prompt.id, measurement.error)

            yield keep

    def given_up(self, reason: str) -> Outcome:
        """Say that the expert cannot be measured any further."""
        return Outcome(self.measurer.identify().expert.name, None, reason)


def measured(
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


def local(tasks: Sequence[Task], budget: Budget) -> Iterator[Outcome]:
    """Run the tasks in this process, one expert after another: one model at a time in memory."""
    for task in tasks:
        if not budget.stopped:
            yield from task.run(budget)
