"""The command that measures: `score` puts prompts to experts and writes a Q-table."""

from __future__ import annotations

import re
import sys
from enum import Enum
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tryage.cli.train import read_jsonl
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.learning.scoring.language_model import LanguageModel
    from tryage.learning.scoring.measurement import Measurer
    from tryage.learning.scoring.run import Engine, Report

EXIT_UNFINISHED = 1  # what the shell sees when some losses are missing

EXIT_INTERRUPTED = 130  # as of a program that Ctrl-C ended


class EngineName(str, Enum):
    """Where to measure."""

    LOCAL = "local"
    RAY = "ray"


def score(
    prompts: Annotated[
        Path,
        typer.Argument(
            metavar="PROMPTS",
            help='JSON lines of {"prompt"}, with "reference", "choices", "category" if you have.',
        ),
    ],
    expert: Annotated[
        list[str],
        typer.Option(
            "--expert",
            "-e",
            metavar="MODEL",
            help="A folder with safetensors, a .gguf file, a Hub id, or MODULE:NAME of a measurer "
            "in Python; repeat it.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The folder of the Q-table.")
    ],
    budget: Annotated[
        float | None,
        typer.Option(metavar="USD", help="Stop before the table has cost more than this."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help='Where models run, such as "cuda"; "cpu" by default.'),
    ] = None,
    engine: Annotated[
        EngineName,
        typer.Option(help="In this process, or in many on Ray: on this machine or a cluster."),
    ] = EngineName.LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With Ray: how many processes measure, each with one expert in memory; as many "
            "as there are processors for by default.",
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="With Ray: the cluster; one of this machine's own without it."
        ),
    ] = None,
    worker_cpus: Annotated[
        float | None, typer.Option(min=0, help="With Ray: processors per worker; 1 by default.")
    ] = None,
    worker_gpus: Annotated[
        float | None, typer.Option(min=0, help="With Ray: GPUs per worker; 0 by default.")
    ] = None,
) -> None:
    """Measure experts on prompts; the same command goes on where it was stopped."""
    from tryage.learning.scoring.run import score as measure

    settings: dict[str, str | float | None] = {"workers": workers, "address": ray_address}
    settings |= {"num_cpus": worker_cpus, "num_gpus": worker_gpus}
    run = _make_engine(engine, {k: v for k, v in settings.items() if v is not None})
    measurers = [found for given in expert for found in _make_measurers(given, device)]
    try:
        report = measure(read_jsonl(prompts), measurers, output, budget=budget, engine=run)
    except KeyboardInterrupt:
        typer.echo(f"Stopped; what is measured is in {output}. The same command goes on.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    _print_report(report, output)


def _make_engine(name: EngineName, settings: dict[str, Any]) -> Engine:
    """Return what runs the measurements."""
    if name is EngineName.RAY:
        from tryage.learning.scoring.ray_engine import Ray

        return Ray(**settings)
    if settings:
        raise InputError(
            "--workers, --ray-address, --worker-cpus and --worker-gpus are for Ray: add --engine "
            "ray, or leave them out."
        )
    from tryage.learning.scoring.run import run_locally

    return run_locally


def _make_measurers(given: str, device: str | None) -> list[Measurer]:
    """Return who measures an expert: an object in Python, or a checkpoint by its architecture."""
    if re.fullmatch(r"[\w.]+:\w+", given) and not Path(given).exists():
        found = _import_object(*given.split(":"))
        several: list[Any] = list(found) if isinstance(found, (list, tuple)) else [found]
        if not all(hasattr(one, "measure") and hasattr(one, "identify") for one in several):
            raise InputError(
                f"{given} is a {type(found).__name__}; expected a measurer, such as "
                "tryage.learning.scoring.answers.Answers, or a list of them."
            )
        return several
    from tryage.learning.scoring.losses import CausalLM, MaskedLM, Seq2SeqLM, measurer_for

    choices: dict[str, type[LanguageModel]] = {
        "ForMaskedLM": MaskedLM,
        "ForCausalLM": CausalLM,
        "LMHeadModel": CausalLM,
        "ForConditionalGeneration": Seq2SeqLM,
        "MTModel": Seq2SeqLM,
    }
    return [
        measurer_for(
            given,
            {word: partial(kind.from_pretrained, device=device) for word, kind in choices.items()},
        )
    ]


def _import_object(module: str, name: str) -> object:
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` has it; a console script has not
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{module}:{name} cannot be imported: {error}") from error
    finally:
        sys.path.remove(str(Path.cwd()))


def _print_report(report: Report, output: Path) -> None:
    """Say what was measured, what was not and why, and what comes next."""
    typer.echo(
        f"Saved to {output}: {report.measured:,} losses, {report.previously_measured:,} from before."
    )
    if report.spent:
        typer.echo(f"Cost so far: ${report.spent:.4f}.")
    for name, reason in report.given_up.items():
        typer.echo(f"{name} was given up: {reason}", err=True)
    for name, prompt, reason in report.failed[:3]:
        typer.echo(f"{name} has a gap at prompt {prompt}: {reason}", err=True)
    if len(report.failed) > 3:
        typer.echo(f"... and {len(report.failed) - 3:,} more gaps.", err=True)
    if report.out_of_budget:
        typer.echo("The budget is used up; the same command with a larger one goes on.", err=True)
    if report.given_up or report.failed or report.out_of_budget:
        raise typer.Exit(EXIT_UNFINISHED)
    typer.echo(f"Learn from it: tryage train {output} --output my-router")
