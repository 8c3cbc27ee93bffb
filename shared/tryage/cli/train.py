"""Commands that learn from a Q-table: `train` saves a router, `evaluate` cross-validates one."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tryage.cli.evaluate_traffic import POLICIES_HELP, evaluate_log
from tryage.cli.options import (
    CheckpointFolder,
    EncoderPath,
    JsonFile,
    Layers,
    LossColumn,
    MergeNames,
    OptionalQTablePath,
    OutputFolder,
    PoolingNames,
    QTablePath,
    ScoreScale,
    Seed,
    read_jsonl,
    read_table,
    resolve_encoder,
)
from tryage.cli.outputs import check_output_folder, write_json
from tryage.cli.terminal import echo, shows_progress
from tryage.errors import InputError
from tryage.files import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tryage.core.library import Library
    from tryage.core.perception import SecondStage
    from tryage.learning.evaluation.report import Evaluation
    from tryage.learning.training.trainer import FitConfig
    from tryage.perception.encoder import Encoder
    from tryage.perception.model import LearnedPerception
    from tryage.router import Router
    from tryage.scoring.qtable import QTable

FromScratch = Annotated[
    bool,
    typer.Option(
        "--from-scratch", help="Do not start from what the bundled router has learned already."
    ),
]


def train(
    qtable: QTablePath,
    output: OutputFolder,
    encoder_path: EncoderPath = None,
    layers: Layers = None,
    pooling: PoolingNames = None,
    second_encoder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A slower encoder or a language model, to be asked only where two experts are "
            "close and the expected gain is worth its time.",
        ),
    ] = None,
    experts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Facts about the experts, one JSON object per line; also used for experts that "
            "are not in the table.",
        ),
    ] = None,
    score_scale: ScoreScale = 1.0,
    loss: LossColumn = "loss",
    merge_names: MergeNames = False,
    seed: Seed = 0,
    checkpoint: CheckpointFolder = None,
    finetune: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder of a BERT: first train it on the losses end to end, then use it as "
            "the encoder.",
        ),
    ] = None,
    from_scratch: FromScratch = False,
) -> None:
    """Train a router on measured losses and save it.

    The training starts from the bundled router: what it knows of prompts and experts is worth most
    where outcomes are few. With other encoders, or with --from-scratch, it starts from nothing.
    """
    from tryage.learning.training.trainer import FitConfig, check_table

    _check_encoders(encoder_path, second_encoder, finetune, layers, pooling)
    table = read_table(qtable, score_scale, loss, merge_names=merge_names)
    check_table(table)
    library = _read_library(experts or _scored_experts(qtable), table.experts)
    pretrained = _pretrained(encoder_path or finetune, second_encoder, from_scratch=from_scratch)
    with ExitStack() as stack:
        if finetune is not None:
            folder = stack.enter_context(scratch_folder("tryage-train-"))
            encoder = _finetune_encoder(table, finetune, folder, checkpoint, seed)
        elif second_encoder is None:
            encoder = resolve_encoder(encoder_path, layers, pooling)
        else:
            encoder = resolve_encoder(encoder_path)
        second = None
        if second_encoder is not None:
            second = resolve_encoder(second_encoder, layers, pooling)
        config = FitConfig(seed=seed)
        perception = _fit(table, encoder, second, config, pretrained, library, checkpoint)
        _save_router(perception, table, library, output)
    _print_report(perception.report, table, output, pretrained)
    if perception.second_stage is not None:
        _print_second_stage(perception.second_stage)


def _check_encoders(
    encoder: Path | None,
    second_encoder: Path | None,
    finetune: Path | None,
    layers: str | None,
    pooling: str | None,
) -> None:
    """Refuse options that contradict each other."""
    if encoder is not None and finetune is not None:
        raise InputError("--finetune trains an encoder of its own; give it or --encoder, not both")
    if finetune is not None and second_encoder is None and (layers or pooling):
        raise InputError(
            "--layers and --pooling choose what is read of a language model; --finetune has none"
        )


def _fit(
    table: QTable,
    encoder: Encoder,
    second_encoder: Encoder | None,
    config: FitConfig,
    pretrained: Router | None,
    library: Library | None,
    checkpoint: Path | None,
) -> LearnedPerception:
    """Train a perception of one stage, or of two."""
    from tryage.learning.training.trainer import fit
    from tryage.learning.training.two_stage import fit_two_stage

    progress = shows_progress()
    if second_encoder is None:
        return fit(
            table,
            encoder,
            config=config,
            pretrained=pretrained,
            library=library,
            checkpoint=checkpoint,
            progress=progress,
        )
    return fit_two_stage(
        table,
        encoder,
        second_encoder,
        config=config,
        library=library,
        checkpoint=checkpoint,
        progress=progress,
    )


def _pretrained(
    encoder_path: Path | None, second_encoder: Path | None, *, from_scratch: bool
) -> Router | None:
    """Return the bundled router if the training starts from it: one stage, with its encoder."""
    from tryage.router import Router

    has_other_encoder = encoder_path is not None or second_encoder is not None
    return None if from_scratch or has_other_encoder else Router.from_pretrained()


def _scored_experts(qtable: Path) -> Path | None:
    """Return the file in which `tryage score` notes what it knows about the experts, if any."""
    from tryage.scoring.qtable_io import EXPERTS_FILE

    path = qtable / EXPERTS_FILE
    return path if path.is_file() else None


def _read_library(path: Path | None, names: tuple[str, ...]) -> Library | None:
    """Read facts about experts; an expert of the table without facts gets its name alone."""
    from tryage.core.expert import Expert
    from tryage.core.library import Library

    if path is None:
        return None
    library = Library.from_dicts(read_jsonl(path))
    return Library([*library, *(Expert(name) for name in names if name not in library)])


def _finetune_encoder(
    table: QTable, start: Path, folder: Path, checkpoint: Path | None, seed: int
) -> Encoder:
    """Train an encoder and a head end to end, and print how much the error fell."""
    from dataclasses import replace

    from tryage.learning.training.finetune import FinetuneConfig, finetune

    config = replace(FinetuneConfig(), schedule=replace(FinetuneConfig().schedule, seed=seed))
    result = finetune(
        table, start, folder, config=config, checkpoint=checkpoint, progress=shows_progress()
    )
    initial_error, best_error = result.validation_errors[0], min(result.validation_errors)
    echo(
        f"End to end, {len(result.validation_errors) - 1} epochs: the squared error on held-out "
        f"prompts was {initial_error:.4g} before and is {best_error:.4g} now. The figures below "
        "are for prompts that the encoder was trained on."
    )
    return result.encoder


def _save_router(
    perception: LearnedPerception, table: QTable, library: Library | None, output: Path
) -> None:
    """Save a router; its library also holds what the table measured."""
    from tryage.core.library import Library
    from tryage.router import Router
    from tryage.scoring.qtable import with_measurements

    measured_library = with_measurements(library or Library(table.experts), table)
    Router(perception, measured_library).save_pretrained(output)


def _print_report(
    report: Mapping[str, float], table: QTable, output: Path, pretrained: Router | None
) -> None:
    start = "from scratch" if pretrained is None else "starting from the bundled router"
    echo(f"Saved to {output}: {len(table):,} prompts, {len(table.experts):,} experts, {start}.")
    for name, value in report.items():
        echo(f"  {name.replace('_', ' '):<12}{value:>9.4g}")
    echo(f"Try it: tryage explain --router {output} 'your prompt'")


def _print_second_stage(stage: SecondStage) -> None:
    """Say where the second stage is asked, and at what price."""
    from tryage.core.preferences import Preferences
    from tryage.learning.training.two_stage import ALWAYS

    threshold = stage.threshold(Preferences())
    where = (
        "on every prompt"
        if threshold >= ALWAYS
        else f"where the two best experts differ by less than {threshold:.3g}"
        if threshold
        else "nowhere, because it does not pay"
    )
    echo(f"The second stage takes {1e3 * stage.seconds:.3g} ms a prompt. It is asked {where}.")


def evaluate(
    qtable: OptionalQTablePath = None,
    traffic: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Judge policies on this log of traffic instead, such as sqlite:///tryage.db.",
        ),
    ] = None,
    policies: Annotated[
        list[str],
        typer.Option("--policy", metavar="POLICY", help=POLICIES_HELP),
    ] = [],  # noqa: B006 - typer reads the default, and nothing changes it
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of a log: the only feedback that counts as a rating, such as judge.",
        ),
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0, help="Of a log: only the last days, such as 7 or .5.")
    ] = None,
    encoder_path: EncoderPath = None,
    layers: Layers = None,
    pooling: PoolingNames = None,
    score_scale: ScoreScale = 1.0,
    loss: LossColumn = "loss",
    merge_names: MergeNames = False,
    folds: Annotated[
        int, typer.Option(min=2, help="The number of parts; each is tested once.")
    ] = 5,
    seed: Seed = 0,
    from_scratch: FromScratch = False,
    neighbor_encoders: Annotated[
        list[Path],
        typer.Option(
            "--neighbors",
            metavar="DIR",
            help="Also compare with nearest neighbours on this saved encoder. Repeatable.",
        ),
    ] = [],  # noqa: B006 - typer reads the default, and nothing changes it
    with_stack: Annotated[
        bool,
        typer.Option(
            "--stack",
            help="Also compare with a stack of ridge, neighbours, boosted trees and categories.",
        ),
    ] = False,
    as_json: JsonFile = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            callback=check_output_folder,
            help="Draw fronts, calibration and shares into this folder.",
        ),
    ] = None,
) -> None:
    """Judge a router on a Q-table by cross-validation, or policies on a log of traffic.

    On a Q-table it is compared with the best single expert, random choice, prompt length, nearest
    neighbours with and without a guard, TF-IDF ridge, an MLP, matrix factorisation, the category
    table and the oracle, and with the best constant and the cheapest one near it.

    On a log (--traffic), the score of each --policy is estimated from the ratings that the log has,
    with its interval, and refused where the log cannot tell: doubly robust off-policy estimates.
    """
    if traffic is not None:
        if qtable is not None:
            raise InputError("A Q-table and --traffic are both given; give one of them.")
        evaluate_log(traffic, policies, kind=kind, days=days, as_json=as_json)
        return
    if qtable is None or policies or kind is not None or days is not None:
        raise InputError("Give a Q-table to judge a router, or --traffic URL to judge policies.")
    from tryage.learning.evaluation.baselines import encoder_neighbors
    from tryage.learning.evaluation.evaluator import BASELINES
    from tryage.learning.evaluation.evaluator import evaluate as cross_validate
    from tryage.learning.evaluation.splits import EvaluationConfig
    from tryage.learning.evaluation.stacking import STACK, stack
    from tryage.learning.evaluation.trained_router import (
        METHOD_NAME,
        CachingEncoder,
        check_folds,
        make_routing_method,
    )
    from tryage.perception.question import find_questions

    table = read_table(qtable, score_scale, loss, merge_names=merge_names)
    check_folds(table, folds)
    table = replace(table, prompts=find_questions(table.prompts))
    pretrained = _pretrained(encoder_path, None, from_scratch=from_scratch)
    encoder = CachingEncoder(resolve_encoder(encoder_path, layers, pooling))
    others = {
        f"neighbours on {folder.name}": encoder_neighbors(CachingEncoder(resolve_encoder(folder)))
        for folder in neighbor_encoders
    }
    if with_stack:
        others[STACK] = stack
    evaluation = cross_validate(
        table,
        encoder.encode(table.prompts),
        {METHOD_NAME: make_routing_method(encoder, seed, pretrained)},
        name=qtable.stem,
        baselines={**others, **BASELINES},
        config=EvaluationConfig(n_folds=folds, seed=seed),
    )
    echo(evaluation.table())
    if as_json is not None:
        write_json(as_json, evaluation.to_dict())
    if plots is not None:
        _draw_plots(evaluation, plots)


def _draw_plots(evaluation: Evaluation, folder: Path) -> None:
    """Draw calibration and shares, and the front if there are costs."""
    from tryage.learning.evaluation.report import plot_calibration, plot_front, plot_shares

    folder.mkdir(parents=True, exist_ok=True)
    plot_calibration(evaluation, folder / "calibration.png")
    plot_shares(evaluation, folder / "shares.png")
    if any(result.cost for result in evaluation.results):
        plot_front(evaluation, folder / "front.png")
    echo(f"\nDrawn to {folder}")
