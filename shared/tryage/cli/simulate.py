"""`tryage simulate`: what policies would cost and bring on measured prompts or on a log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tryage.cli.options import (
    AnswerValue,
    ConfigPath,
    JsonFile,
    LossColumn,
    MergeNames,
    OptionalQTablePath,
    Preset,
    RouterPath,
    ScoreScale,
    Seed,
    load_router,
    parse_preferences,
    read_table,
)
from tryage.cli.outputs import check_picture_file, write_json
from tryage.cli.policy_words import POLICY_HELP, Calibration, needs_calibration, parse_policy
from tryage.cli.terminal import echo, echo_table
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import FloatArray
    from tryage.core.policy import Policy
    from tryage.router import Router
    from tryage.scoring.qtable import QTable
    from tryage.simulation.result import Simulation


def simulate(
    qtable: OptionalQTablePath = None,
    traffic: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Simulate on this log instead, such as sqlite:///x.db."),
    ] = None,
    policies: Annotated[
        list[str], typer.Option("--policy", "-p", metavar="POLICY", help=POLICY_HELP)
    ] = [],  # noqa: B006 - typer reads the default, and nothing changes it
    router: RouterPath = None,
    config: ConfigPath = None,
    preset: Preset = None,
    answer_value: AnswerValue = None,
    order: Annotated[
        str, typer.Option(help="given, shuffled, 'easy first' or 'hard first'.")
    ] = "given",
    requests_per_day: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="How many requests come a day; by default all."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="How many requests are decided at the same time.")
    ] = 1,
    evidence: Annotated[
        float | None,
        typer.Option(
            metavar="AUC",
            help="Simulate how well answers tell whether they are right: 0.5 not at all, 0.8 well.",
        ),
    ] = None,
    score_scale: ScoreScale = 1.0,
    loss: LossColumn = "loss",
    merge_names: MergeNames = False,
    seed: Seed = 0,
    as_json: JsonFile = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            callback=check_picture_file,
            help="Draw score over cost to this file: .png, .svg, .pdf or .html",
        ),
    ] = None,
) -> None:
    """Show what policies would cost and bring on your own data.

    Beside them stand plain routing, thresholds of costs at every height, each model alone, an equal
    share for each, and the best answer to each prompt. No model is asked.

    A guarantee and a cascade learn from one half of the table, and all are run on the other.
    """
    preferences = parse_preferences(None, None, answer_value=answer_value, preset=preset)
    loaded = load_router(router, config)
    named = _policy_of_config(loaded, config)
    if not policies and not named:
        raise InputError(
            'No policy is given; give one, such as --policy "budget usd_per_day=5", or a file with '
            "[[policies]] to --config."
        )
    loaded = loaded.with_preferences(loaded.preferences.overridden(preferences))
    if (traffic is None) == (qtable is None):
        raise InputError("Give a Q-table, or a log with --traffic, and not both.")
    if traffic is not None and evidence is not None:
        raise InputError(
            "--evidence is for a Q-table: of the answers in a log it is not known which are right."
        )
    if qtable is not None:
        table = read_table(qtable, score_scale, loss, merge_names=merge_names)
        parts = _divide(table, loaded, policies, evidence, seed)
    else:
        parsed = {text: parse_policy(text, Calibration(loaded)) for text in policies}
        parts = _Parts(parsed, traffic or "")
    found = loaded.simulate(
        named | parts.policies,
        parts.data,
        order=order,
        seed=seed,
        batch_size=batch_size,
        requests_per_day=requests_per_day,
        evidence=parts.evidence,
    )
    if parts.note is not None:
        echo(parts.note)
    _report(found, as_json, plot)


def _policy_of_config(router: Router, config: str | None) -> dict[str, Policy]:
    """Return the policies of a file of settings under its name; none of a router without them."""
    if config is None or router.policy is None:
        return {}
    return {Path(config).name: router.policy}


@dataclass(frozen=True, eq=False)
class _Parts:
    """The policies, the table or log that they are run on, and the evidence of its answers."""

    policies: dict[str, Policy]
    data: QTable | str
    evidence: FloatArray | None = None
    note: str | None = None


def _divide(
    table: QTable, router: Router, texts: Sequence[str], auc: float | None, seed: int
) -> _Parts:
    """Return the policies; those that learn do so from one half of the prompts."""
    from tryage.simulation.evidence import simulated_evidence

    evidence = None if auc is None else simulated_evidence(table.losses, auc, seed)
    if not any(map(needs_calibration, texts)):
        named = {text: parse_policy(text, Calibration(router)) for text in texts}
        return _Parts(named, table, evidence)
    from tryage.learning.evaluation.splits import folds

    (learned, judged), _ = folds(table.groups, 2, seed)
    known = None if evidence is None else evidence[learned]
    calibration = Calibration(router, table.take(learned), known)
    named = {text: parse_policy(text, calibration) for text in texts}
    note = f"Calibrated on {len(learned):,} prompts, and run on {len(judged):,} others."
    rest = None if evidence is None else evidence[judged]
    return _Parts(named, table.take(judged), rest, note)


def _report(found: Simulation, as_json: Path | None, plot: Path | None) -> None:
    """Print a simulation, and write and draw it where that is asked."""
    echo_table(found.rows())
    for line in found.sentences():
        echo(line)
    if as_json is not None:
        write_json(as_json, found.to_dict())
    if plot is not None:
        from tryage.learning.plots.front import FrontPlot

        FrontPlot(found).save(plot)
        echo(f"\nDrawn to {plot}")
