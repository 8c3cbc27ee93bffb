"""The command `score`: it measures experts on prompts and writes a Q-table."""

from __future__ import annotations

import re
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tryage.cli.options import (
    EXIT_INTERRUPTED,
    EXIT_UNFINISHED,
    OutputFolder,
    read_jsonl,
)
from tryage.cli.terminal import echo, shows_progress
from tryage.config.code import import_object
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.scoring.language_model import LanguageModel
    from tryage.scoring.measurement import Measurer
    from tryage.scoring.run import Engine, Report


class EngineName(str, Enum):
    """What runs the measurements."""

    LOCAL = "local"
    RAY = "ray"


def score(
    prompts: Annotated[
        Path,
        typer.Argument(
            metavar="PROMPTS",
            help='JSON lines of {"prompt"}, optionally with "reference", "choices" and "category".',
        ),
    ],
    expert: Annotated[
        list[str],
        typer.Option(
            "--expert",
            "-e",
            metavar="MODEL",
            help="A folder with safetensors, a .gguf file, a Hub id, or MODULE:NAME of a measurer "
            "in Python; may be repeated.",
        ),
    ],
    output: OutputFolder,
    budget: Annotated[
        float | None,
        typer.Option(metavar="USD", help="Stop before the table's total cost exceeds this."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE", help='The device for models, such as "cuda"; "cpu" by default.'
        ),
    ] = None,
    engine: Annotated[
        EngineName,
        typer.Option(
            help="Measure in this process, or with Ray in many processes of this machine or of a "
            "cluster."
        ),
    ] = EngineName.LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With Ray: the number of processes, each with one expert in memory; by default "
            "as many as the processors allow.",
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="With Ray: the address of a cluster; by default one starts on this machine.",
        ),
    ] = None,
    worker_cpus: Annotated[
        float | None, typer.Option(min=0, help="With Ray: processors per worker; 1 by default.")
    ] = None,
    worker_gpus: Annotated[
        float | None, typer.Option(min=0, help="With Ray: GPUs per worker; 0 by default.")
    ] = None,
) -> None:
    """Measure experts on prompts into a Q-table.

    The same command resumes a stopped run.
    """
    from tryage.scoring.run import score as run_measurers

    settings: dict[str, str | float | None] = {"workers": workers, "address": ray_address}
    settings |= {"num_cpus": worker_cpus, "num_gpus": worker_gpus}
    ray_options = {name: value for name, value in settings.items() if value is not None}
    run_engine = _make_engine(engine, ray_options)
    measurers = [measurer for model in expert for measurer in _make_measurers(model, device)]
    try:
        report = run_measurers(
            read_jsonl(prompts),
            measurers,
            output,
            budget=budget,
            engine=run_engine,
            progress=shows_progress(),
        )
    except KeyboardInterrupt:
        echo(f"Stopped; the losses so far are in {output}. The same command resumes.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    _print_report(report, output)


def _make_engine(name: EngineName, settings: dict[str, Any]) -> Engine:
    """Return the function that runs the measurements."""
    if name is EngineName.RAY:
        from tryage.scoring.ray_engine import Ray

        return Ray(**settings)
    if settings:
        raise InputError(
            "--workers, --ray-address, --worker-cpus and --worker-gpus are for Ray: add --engine "
            "ray, or leave them out."
        )
    from tryage.scoring.run import run_locally

    return run_locally


def _make_measurers(source: str, device: str | None) -> list[Measurer]:
    """Return the measurers of MODULE:NAME, or of a checkpoint's architecture."""
    if re.fullmatch(r"[\w.]+:\w+", source) and not Path(source).exists():
        return _import_measurers(source)
    from tryage.scoring.losses import CausalLM, MaskedLM, Seq2SeqLM, measurer_for

    measurer_classes: dict[str, type[LanguageModel]] = {
        "ForMaskedLM": MaskedLM,
        "ForCausalLM": CausalLM,
        "LMHeadModel": CausalLM,
        "ForConditionalGeneration": Seq2SeqLM,
        "MTModel": Seq2SeqLM,
    }
    return [
        measurer_for(
            source,
            {
                architecture: partial(measurer_class.from_pretrained, device=device)
                for architecture, measurer_class in measurer_classes.items()
            },
        )
    ]


def _import_measurers(location: str) -> list[Measurer]:
    """Import a measurer, or a list of measurers, by MODULE:NAME."""
    value = import_object(location, Path.cwd())
    measurers: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value]
    if not all(
        hasattr(measurer, "measure") and hasattr(measurer, "identify") for measurer in measurers
    ):
        raise InputError(
            f"{location} is a {type(value).__name__}; expected a measurer, such as "
            "tryage.scoring.GenerationMeasurer, or a list of them."
        )
    return measurers


def _print_report(report: Report, output: Path) -> None:
    """Print what was measured, what was not and why, and the next command."""
    echo(
        f"Saved to {output}: {report.measured:,} losses, "
        f"{report.previously_measured:,} from before."
    )
    if report.spent:
        echo(f"Cost so far: ${report.spent:.4f}.")
    for name, reason in report.given_up.items():
        echo(f"{name} was given up: {reason}", err=True)
    for name, prompt, reason in report.failed[:3]:
        echo(f"{name} has a gap at prompt {prompt}: {reason}", err=True)
    if len(report.failed) > 3:
        echo(f"... and {len(report.failed) - 3:,} more gaps.", err=True)
    if report.out_of_budget:
        echo("The budget is used up; the same command with a larger one resumes.", err=True)
    if report.given_up or report.failed or report.out_of_budget:
        raise typer.Exit(EXIT_UNFINISHED)
    echo(f"Learn from it: tryage train {output} --output my-router")
