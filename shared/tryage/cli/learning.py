"""Commands that learn from a Q-table: `train` saves a router, `evaluate` tells what it is worth."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from tryage.cli.options import EncoderPath, LossColumn, Output, Scale, Seed, Table
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.evaluation import Evaluation
    from tryage.experts import Library
    from tryage.perception.encoder import Encoder
    from tryage.qtable import QTable


def train(
    qtable: Table,
    output: Output,
    encoder: EncoderPath = None,
    experts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What is known about the experts, one JSON object each; tells of strangers, too.",
        ),
    ] = None,
    score_scale: Scale = 1.0,
    loss: LossColumn = "loss",
    seed: Seed = 0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keeps finished stages, to go on from."),
    ] = None,
    finetune: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A BERT's folder: it is trained on the losses first, end to end, as the encoder.",
        ),
    ] = None,
) -> None:
    """Train a router on measured losses and save it."""
    from tryage.experts import Library
    from tryage.perception.training import Settings, check_table, fit
    from tryage.qtable import QTable
    from tryage.router import Router
    from tryage.scoring.facts import with_measurements
    from tryage.scoring.running import EXPERTS

    if encoder is not None and finetune is not None:
        raise InputError("--finetune trains an encoder of its own; give it or --encoder, not both")
    table = QTable.read(qtable, score_scale=score_scale, loss=loss)
    check_table(table)
    noted = qtable / EXPERTS  # what `tryage score` knows about them
    known = experts or (noted if noted.is_file() else None)
    library = None if known is None else _library(known, table.experts)
    with ExitStack() as until_saved:
        if finetune is None:
            reader = load_reader(encoder)
        else:
            scratch = Path(until_saved.enter_context(TemporaryDirectory()))
            reader = _finetuned(table, finetune, scratch, checkpoint, seed)
        perception = fit(
            table,
            reader,
            settings=Settings(seed=seed),
            library=library,
            checkpoint=checkpoint,
            progress=True,
        )
        facts = with_measurements(library or Library(table.experts), table)
        Router(perception, facts).save_pretrained(output)
    typer.echo(f"Saved to {output}: {len(table):,} prompts, {len(table.experts):,} experts.")
    for name, value in perception.report.items():
        typer.echo(f"  {name.replace('_', ' '):<12}{value:>9.4g}")
    typer.echo(f"Try it: tryage explain --router {output} 'your prompt'")


def evaluate(
    qtable: Table,
    encoder: EncoderPath = None,
    score_scale: Scale = 1.0,
    loss: LossColumn = "loss",
    folds: Annotated[int, typer.Option(min=2, help="Parts, each tested once.")] = 5,
    seed: Seed = 0,
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures to it.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw fronts, calibration and shares.")
    ] = None,
) -> None:
    """Judge a router on a Q-table, by cross-validation.

    Beside it: the best single expert, random, prompt length, nearest neighbours, an MLP, matrix
    factorisation, the category table and the oracle.
    """
    from tryage.cli.trial import ROUTER, ReadOnce, check_folds, trained
    from tryage.evaluation import Settings
    from tryage.evaluation import evaluate as judge
    from tryage.qtable import QTable

    table = QTable.read(qtable, score_scale=score_scale, loss=loss)
    check_folds(table, folds)
    reader = ReadOnce(load_reader(encoder))
    found = judge(
        table,
        reader.encode(table.prompts),
        {ROUTER: trained(reader, seed)},
        name=qtable.stem,
        settings=Settings(n_folds=folds, seed=seed),
    )
    typer.echo(found.table())
    if as_json is not None:
        as_json.write_text(json.dumps(found.to_dict(), indent=1) + "\n", "utf-8")
    if plots is not None:
        _draw(found, plots)


def load_reader(folder: Path | None) -> Encoder:
    """Read an encoder: of its own folder, of a saved router's, or of the bundled router.

    Raises:
        PersistenceError: there is none.
    """
    from tryage.perception.encoder import load_encoder
    from tryage.pretrained import BUNDLED

    folder = BUNDLED if folder is None else folder
    inside = folder / "encoder"
    return load_encoder(inside if inside.is_dir() else folder)


def _finetuned(
    table: QTable, start: Path, folder: Path, checkpoint: Path | None, seed: int
) -> Encoder:
    """Train an encoder and a head end to end, and tell what it has come to."""
    from dataclasses import replace

    from tryage.perception.finetune import Recipe, finetune

    recipe = replace(Recipe(), schedule=replace(Recipe().schedule, seed=seed))
    tuned = finetune(table, start, folder, recipe=recipe, checkpoint=checkpoint, progress=True)
    before, best = tuned.held_out[0], min(tuned.held_out)
    typer.echo(
        f"End to end, {len(tuned.held_out) - 1} epochs: squared error on prompts held out of it "
        f"{before:.4g} before, {best:.4g} now. The figures below are of prompts that it has seen."
    )
    return tuned.encoder


def _library(path: Path, names: tuple[str, ...]) -> Library:
    """Read what is known about experts; those of the table that are not there get their name."""
    from tryage.experts import Expert, Library

    known = Library.from_dicts(read_lines(path))
    return Library([*known, *(Expert(name) for name in names if name not in known)])


def read_lines(path: Path) -> list[dict[str, object]]:
    """Read JSON lines.

    Raises:
        InputError: the file cannot be read, or a line is not a JSON object.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError as error:
            raise InputError(f"{path}, line {number} is not JSON: {error}") from error
        if row is not None and not isinstance(row, dict):
            raise InputError(f"{path}, line {number} is not a JSON object: {line[:60]}")
        rows += [] if row is None else [row]
    return rows


def _draw(found: Evaluation, folder: Path) -> None:
    """Draw what the table has figures for."""
    from tryage.evaluation.plots import plot_calibration, plot_front, plot_shares

    folder.mkdir(parents=True, exist_ok=True)
    plot_calibration(found, folder / "calibration.png")
    plot_shares(found, folder / "shares.png")
    if any(result.cost for result in found.results):
        plot_front(found, folder / "front.png")
    typer.echo(f"\nDrawn to {folder}")
