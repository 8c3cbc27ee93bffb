"""One expert's part of the work: what is left to measure, and where its rows go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tryage.errors import InputError, MeasurementError
from tryage.qtable_shards import ShardWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tryage.scoring.budget import Budget
    from tryage.scoring.measurement import Measurer, Prompt


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
        identity = self.measurer.identify()
        name, left = identity.expert.name, set(range(len(self.prompts)))
        with ShardWriter(self.folder, name, self.shard_rows) as writer:
            try:
                for position, measurement in self.measurer.measure(self.prompts, budget):
                    nothing = measurement.loss is None and measurement.error is None
                    if nothing or position not in left:
                        raise InputError(
                            f"The measurer of {name} yielded {measurement} for position {position}."
                            " Expected each position once, with a loss or an error."
                        )
                    left.remove(position)
                    prompt = self.prompts[position]
                    if measurement.error is None:
                        writer.write(measurement.row(prompt, identity))
                    yield Outcome(name, prompt.id, measurement.error)
            except MeasurementError as error:
                yield Outcome(name, None, str(error))


Engine: TypeAlias = "Callable[[Sequence[Task], Budget], Iterator[Outcome]]"
"""Runs tasks and yields what became of each prompt; each task writes its own shards."""


def local(tasks: Sequence[Task], budget: Budget) -> Iterator[Outcome]:
    """Run the tasks in this process, one expert after another: one model at a time in memory."""
    for task in tasks:
        if not budget.stopped:
            yield from task.run(budget)
