"""The command that trains experts together with their router: `cotrain`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tryage.cli.options import EncoderPath, Seed, Weights, read_preferences
from tryage.cli.train import read_jsonl, resolve_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.learning.cotraining.pipeline import TrainedSystem
    from tryage.learning.cotraining.student import Student
    from tryage.learning.scoring.measurement import Prompt

EXIT_INTERRUPTED = 130  # as of a program that Ctrl-C ended


def cotrain(
    prompts: Annotated[
        Path,
        typer.Argument(
            metavar="PROMPTS",
            help='JSON lines of {"prompt"}, with "category" if you have it: for the report alone.',
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="For the experts and their router."),
    ],
    experts: Annotated[int, typer.Option(min=2, help="How many there are.")] = 8,
    tokens: Annotated[
        float,
        typer.Option(min=1, help="Tokens to learn from, all experts together; one only read: 1/3."),
    ] = 2e6,
    joint: Annotated[
        bool,
        typer.Option(
            "--joint/--decoupled", help="Router and experts in the same step, or by turns."
        ),
    ] = False,
    causal: Annotated[
        bool, typer.Option("--causal/--masked", help="What kind of language models they are.")
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A model of that kind that all begin as; else untrained."),
    ] = None,
    width: Annotated[int, typer.Option(help="Of an untrained expert.")] = 128,
    layers: Annotated[int, typer.Option(help="Of an untrained expert.")] = 2,
    vocabulary: Annotated[int, typer.Option(help="Tokens that untrained experts know.")] = 8192,
    weights: Weights = None,
    slack: Annotated[
        float, typer.Option(min=1, help="The most that one expert gets, in equal shares.")
    ] = 1.5,
    encoder: EncoderPath = None,
    seed: Seed = 0,
) -> None:
    """Train small experts and their router together; the same command goes on where it stopped."""
    from tryage.learning.cotraining.loop import CotrainConfig
    from tryage.learning.cotraining.modes import Decoupled, Joint
    from tryage.learning.cotraining.pipeline import split_prompts, train_system
    from tryage.learning.cotraining.student import CausalStudent, MaskedStudent
    from tryage.learning.scoring.measurement import unique_prompts

    reader, parts = resolve_encoder(encoder), split_prompts(unique_prompts(read_jsonl(prompts)))
    kind = CausalStudent if causal else MaskedStudent
    students = (
        _new_students(kind, parts.expert_train, experts, (width, layers, vocabulary), seed)
        if start is None
        else [
            kind.from_pretrained(start, name=f"expert-{i + 1}", seed=seed + i)
            for i in range(experts)
        ]
    )
    try:
        found = train_system(
            students,
            parts,
            partial(Joint, seed=seed) if joint else Decoupled,
            CotrainConfig(tokens, slack=slack, seed=seed),
            reader,
            preferences=read_preferences(weights, None) if weights else None,
            folder=output / "state",
        )
    except KeyboardInterrupt:
        typer.echo(f"Stopped; all is kept in {output}. The same command goes on.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    found.save(output)
    _print_report(found, output)


def _new_students(
    kind: type[Student],
    prompts: Sequence[Prompt],
    count: int,
    sizes: tuple[int, int, int],
    seed: int,
) -> list[Student]:
    """Return untrained experts with a tokeniser of their own."""
    from tryage.learning.cotraining.pretrain import train_tokenizer

    width, layers, vocabulary = sizes
    tokenizer = train_tokenizer([prompt.text for prompt in prompts], vocabulary)
    return [
        kind.new(f"expert-{i + 1}", tokenizer, width=width, layers=layers, seed=seed + i)
        for i in range(count)
    ]


def _print_report(system: TrainedSystem, output: Path) -> None:
    """Say what became of the experts, and what comes next."""
    history = system.history
    typer.echo(system.specialization.table())
    typer.echo(
        f"Saved to {output}: {history.trained_tokens:,} tokens learned from, {history.evaluated_tokens:,} only read; "
        f"{history.effective_experts(50):.1f} of {len(system.students)} experts at work at the end."
    )
    typer.echo(f"Try it: tryage explain --router {output / 'router'} 'your prompt'")
