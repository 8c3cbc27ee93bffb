"""The command `onboard`: it tests new models and saves a router that knows them."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tryage.cli.options import (
    EXIT_INTERRUPTED,
    EXIT_UNFINISHED,
    ConfigPath,
    OutputFolder,
    RouterPath,
    load_router,
    read_json,
    read_jsonl,
)
from tryage.cli.outputs import check_output_file
from tryage.cli.terminal import echo, echo_table, shows_progress
from tryage.config.code import import_object
from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.files import write_text

if TYPE_CHECKING:
    from tryage.config.load import LoadedConfig
    from tryage.config.schema import ModelTable
    from tryage.core.expert import Expert
    from tryage.onboarding.candidates import Candidate
    from tryage.onboarding.report import OnboardingReport
    from tryage.router import Router

_EXAMPLE = '[[models]] with model = "openai:gpt-5.4-mini", or name = "mine" and client = "mod:func"'


def onboard(
    models: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODELS]",
            help="A TOML or JSON file of models; with --losses an expert's name, or a JSON file "
            "with facts about it.",
        ),
    ] = None,
    *,
    output: OutputFolder,
    config_file: ConfigPath = None,
    router: RouterPath = None,
    losses: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Ask nothing: learn one expert from JSON lines of prompt, and loss or score.",
        ),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="USD", help="What all answers may cost together.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Your own prompts: JSON lines of "prompt" and "answer", "choices", "tests" or '
            '"schema".',
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The model that rates answers to prompts without one."),
    ] = None,
    only_own: Annotated[
        bool, typer.Option("--only-own", help="Ask your own prompts alone.")
    ] = False,
    max_prompts: Annotated[
        int, typer.Option(min=1, help="How many questions each model gets at most.")
    ] = 50,
    run_code: Annotated[
        bool,
        typer.Option("--run-code", help="Run code that the models write on this machine."),
    ] = False,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keeps each answer; MODELS.answers.jsonl by default."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            callback=check_output_file,
            help="Write the report here, as .html or .md.",
        ),
    ] = None,
) -> None:
    """Teach a router new models: ask them the fewest prompts that settle who is good at what.

    The same command resumes a stopped test and pays for no answer twice.
    """
    models = _one_of(models, config_file)
    if config_file is not None and router is None:
        router = _saved_router(config_file)
    if losses is not None:
        _learn_losses(models, losses, router, output)
        return
    from tryage.onboarding.config import OnboardingConfig

    path, known = Path(models), load_router(router)
    kept = path.with_name(f"{path.stem}.answers.jsonl") if journal is None else journal
    config = OnboardingConfig(
        max_prompts=max_prompts,
        questions=() if only_own else None,
        sandbox=run_code,
        rivals=router is not None,
    )
    try:
        taught, report = known.onboard_models(
            read_candidates(path),
            budget=budget,
            prompts=None if prompts is None else read_jsonl(prompts),
            judge=judge,
            journal=kept,
            config=config,
            progress=shows_progress(),
        )
    except KeyboardInterrupt:
        echo(f"Stopped; the answers so far are in {kept}. The same command resumes.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if router is None:  # of the bundled router, only the user's own models stay
        taught = taught.subset([one.name for one in report.models])
    _finish(taught, report, output, page)


def _finish(router: Router, report: OnboardingReport, output: Path, page: Path | None) -> None:
    """Save the router and the page, and print what was found."""
    router.save_pretrained(output)
    if page is not None:
        is_html = page.suffix.lower() in (".html", ".htm")
        write_text(page, report.to_html() if is_html else report.to_markdown())
    echo_table(report.to_rows())
    echo(report.summary())
    for reason in report.failed.values():
        echo(reason, err=True)
    echo(f"Saved to {output}. Try it: tryage route 'your prompt' --router {output}")
    if report.out_of_budget:
        echo("The same command with a larger budget resumes.", err=True)
    if report.failed or report.out_of_budget:
        raise typer.Exit(EXIT_UNFINISHED)
    if not report.is_settled:
        echo("The same command with a larger --max-prompts goes on.", err=True)


def _one_of(models: str | None, config_file: str | None) -> str:
    """Return the file that is given.

    Raises:
        InputError: both are, or none.
    """
    given = [one for one in (models, config_file) if one is not None]
    if len(given) != 1:
        raise InputError("Give a file of models, or a file of settings to --config, and not both.")
    return given[0]


def _saved_router(config_file: str) -> str | None:
    """Return the router that a file of settings names."""
    from tryage.chat.configured import router_path
    from tryage.config.load import load_config

    return router_path(load_config(config_file))


def read_candidates(path: Path) -> list[Candidate]:
    """Read the models of a file of settings, TOML or JSON, and make their clients.

    Raises:
        ConfigError: the file cannot be read, or is wrong; the error has all problems.
        InputError: there are no models.
        MissingExtraError: a model is a string for LangChain, which is not installed.
    """
    from tryage.chat.configured import model_names
    from tryage.config.load import load_config

    loaded = load_config(path)
    if not loaded.config.models:
        raise InputError(f"{path} has no models; expected {_EXAMPLE}.")
    candidates = []
    for i, table in enumerate(loaded.config.models):
        with loaded.at("models", i):
            client = _make_client(loaded, i)
            candidates += [_candidate(table, name, client) for name in model_names(table)]
    return candidates


def _candidate(table: ModelTable, name: str, client: object) -> Candidate:
    """Return a model under one of its names, which may end with a reasoning effort."""
    from tryage.chat.efforts import split_effort
    from tryage.config.values import make_expert
    from tryage.onboarding.candidates import Candidate, with_known_facts

    expert, effort = make_expert(table), split_effort(name)[1] if table.efforts else None
    if effort is not None:
        expert = replace(expert, name=name, effort=effort)
        # by name, because the library imports no framework
        client = import_module("tryage_langchain._clients").client_with_effort(client, effort)
    return Candidate(with_known_facts(expert, None, table.model), client)


def _make_client(loaded: LoadedConfig, i: int) -> object:
    """Make the client of a model; the key of a string comes from the environment.

    Raises:
        InputError: the model has a name alone, or its client cannot be made.
    """
    table = loaded.config.models[i]
    if table.client is not None:
        return import_object(table.client, loaded.folder_of("models", i))
    if table.model is None:
        raise InputError(f"a name alone cannot be asked; expected {_EXAMPLE}.")
    require_extra("langchain.chat_models", "agents")
    # by name, because the library imports no framework
    made = import_module("tryage_langchain._configured").make_client(table, loaded, i)
    if isinstance(made, str):
        return import_module("langchain.chat_models").init_chat_model(made)
    return made


def _learn_losses(expert: str, losses: Path, router: str | None, output: Path) -> None:
    """Teach a router one expert from measured losses."""
    new_expert, measured_losses = _read_expert(expert), _read_losses(losses)
    new_router = load_router(router).onboard(new_expert, measured_losses)
    new_router.save_pretrained(output)
    echo(
        f"Saved to {output}: {new_expert.name} learned from {len(measured_losses):,} prompts, "
        f"{len(new_router.library):,} experts."
    )


def _read_expert(name_or_path: str) -> Expert:
    """Read an expert from a file named .json; any other text is an expert's name."""
    from tryage.core.expert import Expert

    if not name_or_path.endswith(".json"):
        return Expert(name_or_path)
    return Expert.from_dict(read_json(Path(name_or_path)))


def _read_losses(path: Path) -> dict[str, float]:
    """Read the loss of each prompt; a score becomes the loss 1 - score."""
    losses: dict[str, float] = {}
    for row in read_jsonl(path):
        prompt, loss, score = row.get("prompt"), row.get("loss"), row.get("score")
        value = 1.0 - score if loss is None and isinstance(score, (int, float)) else loss
        if not isinstance(prompt, str) or not isinstance(value, (int, float)):
            raise InputError(
                f"{path} has a row {json.dumps(row)[:80]}; "
                'expected {"prompt": "...", "loss": 0.3}, or a score from 0 to 1 instead of a loss.'
            )
        losses[prompt] = float(value)
    return losses
