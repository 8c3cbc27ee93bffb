"""The command `cotrain`: it trains small experts together with their router."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tryage.cli.options import (
    EXIT_INTERRUPTED,
    EncoderPath,
    OutputFolder,
    Seed,
    Weights,
    parse_preferences,
    read_jsonl,
    resolve_encoder,
)
from tryage.cli.terminal import echo, shows_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.learning.cotraining.pipeline import TrainedSystem
    from tryage.learning.cotraining.student import Student
    from tryage.scoring.measurement import Prompt


def cotrain(
    prompts: Annotated[
        Path,
        typer.Argument(
            metavar="PROMPTS",
            help='JSON lines of {"prompt"}, optionally with "category", used only in the report.',
        ),
    ],
    output: OutputFolder,
    experts: Annotated[int, typer.Option(min=2, help="The number of experts.")] = 8,
    tokens: Annotated[
        float,
        typer.Option(
            min=1,
            help="The tokens to train on, over all experts; a token that is only evaluated counts "
            "one third.",
        ),
    ] = 2e6,
    joint: Annotated[
        bool,
        typer.Option(
            "--joint/--decoupled", help="Update router and experts in the same step, or in turns."
        ),
    ] = False,
    causal: Annotated[
        bool, typer.Option("--causal/--masked", help="The kind of language models to train.")
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A model of that kind from which every expert starts; by default they start "
            "untrained.",
        ),
    ] = None,
    width: Annotated[int, typer.Option(help="The hidden size of an untrained expert.")] = 128,
    layers: Annotated[int, typer.Option(help="The number of layers of an untrained expert.")] = 2,
    vocabulary: Annotated[
        int, typer.Option(help="The size of the vocabulary of untrained experts.")
    ] = 8192,
    weights: Weights = None,
    slack: Annotated[
        float,
        typer.Option(
            min=1, help="The most prompts that one expert may get, as a multiple of an equal share."
        ),
    ] = 1.5,
    encoder_path: EncoderPath = None,
    seed: Seed = 0,
) -> None:
    """Train small experts and their router together.

    The same command resumes a stopped run.
    """
    from tryage.learning.cotraining.loop import CotrainConfig
    from tryage.learning.cotraining.modes import Decoupled, Joint
    from tryage.learning.cotraining.pipeline import split_prompts, train_system
    from tryage.learning.cotraining.student import CausalStudent, MaskedStudent
    from tryage.scoring.measurement import unique_prompts

    encoder = resolve_encoder(encoder_path)
    splits = split_prompts(unique_prompts(read_jsonl(prompts)))
    student_class = CausalStudent if causal else MaskedStudent
    if start is None:
        sizes = (width, layers, vocabulary)
        students = _new_students(student_class, splits.expert_train, experts, sizes, seed)
    else:
        students = _pretrained_students(student_class, start, experts, seed)
    try:
        system = train_system(
            students,
            splits,
            partial(Joint, seed=seed) if joint else Decoupled,
            CotrainConfig(tokens, slack=slack, seed=seed),
            encoder,
            preferences=parse_preferences(weights, None) if weights else None,
            folder=output / "state",
            progress=shows_progress(),
        )
    except KeyboardInterrupt:
        echo(f"Stopped; everything is kept in {output}. The same command resumes.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    system.save(output)
    _print_report(system, output)


def _new_students(
    student_class: type[Student],
    prompts: Sequence[Prompt],
    count: int,
    sizes: tuple[int, int, int],
    seed: int,
) -> list[Student]:
    """Return untrained experts that share a tokenizer trained on the prompts.

    `sizes` are the width, the number of layers and the size of the vocabulary.
    """
    from tryage.learning.cotraining.pretrain import train_tokenizer

    width, layers, vocabulary = sizes
    tokenizer = train_tokenizer(
        [prompt.text for prompt in prompts], vocabulary, progress=shows_progress()
    )
    return [
        student_class.new(f"expert-{i + 1}", tokenizer, width=width, layers=layers, seed=seed + i)
        for i in range(count)
    ]


def _pretrained_students(
    student_class: type[Student], folder: Path, count: int, seed: int
) -> list[Student]:
    """Return experts that all start as the saved model."""
    return [
        student_class.from_pretrained(folder, name=f"expert-{i + 1}", seed=seed + i)
        for i in range(count)
    ]


def _print_report(system: TrainedSystem, output: Path) -> None:
    """Print what the experts learned, and the next command."""
    history = system.history
    echo(system.specialization.table())
    echo(
        f"Saved to {output}: {history.trained_tokens:,} tokens learned from, "
        f"{history.evaluated_tokens:,} only read; "
        f"{history.effective_experts(50):.1f} of {len(system.students)} experts at work at the end."
    )
    echo(f"Try it: tryage explain --router {output / 'router'} 'your prompt'")
