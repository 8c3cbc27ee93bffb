"""Commands that learn from a Q-table: `train` saves a router, `evaluate` tells what it is worth."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from tryage.cli.options import EncoderPath, LossColumn, OutputFolder, QTablePath, ScoreScale, Seed
from tryage.errors import InputError, QTableError
from tryage.learning.evaluation.splits import MethodPrediction, RoutingMethod, min_train_size
from tryage.learning.training.trainer import MIN_PROMPTS, FitConfig, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.core.library import Library
    from tryage.learning.evaluation.report import Evaluation
    from tryage.learning.qtable import QTable
    from tryage.perception.encoder import Encoder

METHOD_NAME = "tryage"


def train(
    qtable: QTablePath,
    output: OutputFolder,
    encoder: EncoderPath = None,
    experts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What is known about the experts, one JSON object each; tells of strangers, too.",
        ),
    ] = None,
    score_scale: ScoreScale = 1.0,
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
    from tryage.core.library import Library
    from tryage.learning.qtable import QTable, with_measurements
    from tryage.learning.scoring.run import EXPERTS_FILE
    from tryage.learning.training.trainer import FitConfig, check_table, fit
    from tryage.router import Router

    if encoder is not None and finetune is not None:
        raise InputError("--finetune trains an encoder of its own; give it or --encoder, not both")
    table = QTable.read(qtable, score_scale=score_scale, loss=loss)
    check_table(table)
    noted = qtable / EXPERTS_FILE  # what `tryage score` knows about them
    known = experts or (noted if noted.is_file() else None)
    library = None if known is None else _read_library(known, table.experts)
    with ExitStack() as until_saved:
        if finetune is None:
            reader = resolve_encoder(encoder)
        else:
            scratch = Path(until_saved.enter_context(TemporaryDirectory()))
            reader = _finetune_encoder(table, finetune, scratch, checkpoint, seed)
        perception = fit(
            table,
            reader,
            config=FitConfig(seed=seed),
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
    qtable: QTablePath,
    encoder: EncoderPath = None,
    score_scale: ScoreScale = 1.0,
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
    from tryage.learning.evaluation.evaluator import evaluate as judge
    from tryage.learning.evaluation.splits import EvaluationConfig
    from tryage.learning.qtable import QTable

    table = QTable.read(qtable, score_scale=score_scale, loss=loss)
    check_folds(table, folds)
    reader = CachingEncoder(resolve_encoder(encoder))
    found = judge(
        table,
        reader.encode(table.prompts),
        {METHOD_NAME: make_routing_method(reader, seed)},
        name=qtable.stem,
        config=EvaluationConfig(n_folds=folds, seed=seed),
    )
    typer.echo(found.table())
    if as_json is not None:
        as_json.write_text(json.dumps(found.to_dict(), indent=1) + "\n", "utf-8")
    if plots is not None:
        _draw_plots(found, plots)


def resolve_encoder(folder: Path | None) -> Encoder:
    """Read an encoder: of its own folder, of a saved router's, or of the bundled router.

    Raises:
        PersistenceError: there is none.
    """
    from tryage.perception.persistence import load_encoder
    from tryage.perception.pretrained import BUNDLED_FOLDER

    folder = BUNDLED_FOLDER if folder is None else folder
    inside = folder / "encoder"
    return load_encoder(inside if inside.is_dir() else folder)


def _finetune_encoder(
    table: QTable, start: Path, folder: Path, checkpoint: Path | None, seed: int
) -> Encoder:
    """Train an encoder and a head end to end, and tell what it has come to."""
    from dataclasses import replace

    from tryage.learning.training.finetune import FinetuneConfig, finetune

    recipe = replace(FinetuneConfig(), schedule=replace(FinetuneConfig().schedule, seed=seed))
    tuned = finetune(table, start, folder, config=recipe, checkpoint=checkpoint, progress=True)
    before, best = tuned.validation_errors[0], min(tuned.validation_errors)
    typer.echo(
        f"End to end, {len(tuned.validation_errors) - 1} epochs: squared error on prompts held out of it "
        f"{before:.4g} before, {best:.4g} now. The figures below are of prompts that it has seen."
    )
    return tuned.encoder


def _read_library(path: Path, names: tuple[str, ...]) -> Library:
    """Read what is known about experts; those of the table that are not there get their name."""
    from tryage.core.expert import Expert
    from tryage.core.library import Library

    known = Library.from_dicts(read_jsonl(path))
    return Library([*known, *(Expert(name) for name in names if name not in known)])


def read_jsonl(path: Path) -> list[dict[str, object]]:
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


def _draw_plots(found: Evaluation, folder: Path) -> None:
    """Draw what the table has figures for."""
    from tryage.learning.evaluation.report import plot_calibration, plot_front, plot_shares

    folder.mkdir(parents=True, exist_ok=True)
    plot_calibration(found, folder / "calibration.png")
    plot_shares(found, folder / "shares.png")
    if any(result.cost for result in found.results):
        plot_front(found, folder / "front.png")
    typer.echo(f"\nDrawn to {folder}")


class CachingEncoder:
    """An encoder that reads every prompt once; the folds ask for the same ones many times."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._cache: dict[str, NDArray[np.float32]] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else the encoder offers
        """Pass everything but `encode` on to the encoder."""
        return getattr(self._encoder, name)

    def encode(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Embed prompts `(batch, dim)`, only the new ones by the encoder."""
        new = list(dict.fromkeys(text for text in prompts if text not in self._cache))
        if new:
            self._cache.update(zip(new, self._encoder.encode(new), strict=True))
        return np.array([self._cache[text] for text in prompts], dtype=np.float32)


def check_folds(table: QTable, n_folds: int) -> None:
    """Refuse so few prompts that no router can be trained in every fold.

    Raises:
        QTableError: it tells how many there are, and how many are needed.
    """
    usable = table.groups[table.measured.any(axis=1)]
    n_train = min_train_size(usable, n_folds)
    if n_train < MIN_PROMPTS:
        raise QTableError(
            f"{len(set(usable.tolist()))} different prompts in {n_folds} folds leave {n_train} to "
            f"train on, and at least {MIN_PROMPTS} are needed: measure more, or try more folds"
        )


def make_routing_method(encoder: Encoder, seed: int = 0) -> RoutingMethod:
    """Make the method that does what `tryage train` does, and predicts the unseen prompts."""

    def method(
        train: QTable,
        train_embeddings: NDArray[np.float32],
        test_prompts: Sequence[str],
        test_embeddings: NDArray[np.float32],  # noqa: ARG001 - the encoder is asked again
    ) -> MethodPrediction:
        perception = fit(
            train,
            encoder,
            config=FitConfig(seed=seed),
            embeddings=train_embeddings,
            progress=False,
        )
        x = perception.extract_features(test_prompts)
        predicted = perception.predict_from_features(x)
        return MethodPrediction(
            predicted.losses,
            predicted.std,
            perception.forecast("costs", perception.head.prepare(x)),
        )

    return method
