"""Commands that choose: `route` picks experts, `explain` says why, `pareto` draws trade-offs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tryage.cli.options import (
    AnswerValue,
    ConfigPath,
    Flags,
    JsonFlag,
    LatencyValue,
    ModelNames,
    Preset,
    Prompts,
    Requirements,
    RouterPath,
    RulesFile,
    Strict,
    Tolerance,
    Weights,
    load_router,
    parse_preferences,
    read_prompts,
)
from tryage.cli.outputs import check_picture_file
from tryage.cli.terminal import echo, echo_error, echo_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.decision import Decision
    from tryage.core.pareto import FrontPoint, ParetoFront
    from tryage.core.preferences import Preferences
    from tryage.router import Router

_MAX_ROWS = 16  # breakpoints of a front that are printed; --json prints all

_MAX_NAMED_EXPERTS = 3  # experts named per row


def route(
    prompts: Prompts,
    preset: Preset = None,
    answer_value: AnswerValue = None,
    latency_value: LatencyValue = None,
    tolerance: Tolerance = None,
    weight: Weights = None,
    require: Requirements = None,
    model: ModelNames = None,
    router: RouterPath = None,
    config: ConfigPath = None,
    flags: Flags = False,
    strict: Strict = False,
    rules: RulesFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Choose an expert for every prompt.

    The first word of each line is the name of the expert.
    """
    preferences = parse_preferences(
        weight,
        require,
        answer_value=answer_value,
        latency_value=latency_value,
        tolerance=tolerance,
        preset=preset,
    )
    loaded_router = load_router(router, config, prompt_flags=flags, strict=strict, models=model)
    decisions = _decide(prompts, preferences, loaded_router, rules)
    if as_json:
        for decision in decisions:
            echo_json(decision.to_dict())
        return
    width = max(len(decision.expert.name) for decision in decisions)
    for decision in decisions:
        _print_warnings(decision)
        prompt_text = f"  | {_truncate(decision.prompt)}" if len(decisions) > 1 else ""
        echo(f"{decision.expert.name:<{width}}  {_decision_line(decision)}{prompt_text}")


def explain(
    prompts: Prompts,
    preset: Preset = None,
    answer_value: AnswerValue = None,
    latency_value: LatencyValue = None,
    tolerance: Tolerance = None,
    weight: Weights = None,
    require: Requirements = None,
    model: ModelNames = None,
    router: RouterPath = None,
    config: ConfigPath = None,
    flags: Flags = False,
    strict: Strict = False,
    rules: RulesFile = None,
    top: Annotated[int, typer.Option(min=1, help="The number of experts to show.")] = 3,
) -> None:
    """Explain why an expert is chosen.

    Shows every term of the choice, the runner-up and its distance, and the rejected experts with
    the reasons.
    """
    preferences = parse_preferences(
        weight,
        require,
        answer_value=answer_value,
        latency_value=latency_value,
        tolerance=tolerance,
        preset=preset,
    )
    loaded_router = load_router(router, config, prompt_flags=flags, strict=strict, models=model)
    decisions = _decide(prompts, preferences, loaded_router, rules)
    for i, decision in enumerate(decisions):
        if len(decisions) > 1:
            echo(f"{'' if i == 0 else chr(10)}> {_truncate(decision.prompt, 96)}")
        echo(decision.explain(top))


def pareto(
    prompts: Prompts,
    constraint: Annotated[
        str,
        typer.Option(
            "--constraint", "-c", metavar="NAME", help="The constraint: size, cost, latency ..."
        ),
    ] = "size",
    weight: Weights = None,
    require: Requirements = None,
    model: ModelNames = None,
    router: RouterPath = None,
    config: ConfigPath = None,
    flags: Flags = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            callback=check_picture_file,
            help="Draw the front to this file: .png, .svg, .pdf or .html",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the front of loss against a constraint.

    Every line is a breakpoint: from this weight of the constraint on, some prompt goes to another
    expert.
    """
    texts = read_prompts(prompts)
    loaded_router = load_router(router, config, prompt_flags=flags, models=model)
    preferences = parse_preferences(weight, require)
    front = loaded_router.pareto(texts, constraint, preferences=preferences)
    unknown_experts: list[str] = []
    if plot is not None:
        from tryage.learning.plots.pareto import pareto_plot

        drawn = pareto_plot(loaded_router, texts, front, preferences)
        drawn.save(plot)
        unknown_experts = drawn.experts_without_constraint
    if as_json:
        echo_json(front.to_dict())
        return
    for line in _front_lines(front):
        echo(line)
    if plot is not None:
        echo(f"\nDrawn to {plot}")
    if unknown_experts:
        echo(_unknown_line(unknown_experts, constraint))


def _decide(
    prompts: list[str], preferences: Preferences, router: Router, rules: Path | None
) -> list[Decision]:
    from tryage.policies.rules import Rules

    texts = read_prompts(prompts)
    if rules is not None:
        of_file = Rules.from_file(rules)
        router = router.with_policy(of_file if router.policy is None else of_file | router.policy)
    return router.route_batch(texts, preferences)


def _decision_line(decision: Decision) -> str:
    """Write the terms of the choice in one line."""
    from tryage.core.explanation import format_dollars, in_words

    expert = decision.chosen
    if expert is None:
        reason = " ".join((decision.default_reason or "").split())
        return f"the declared default: {reason}"
    std_text = "" if expert.std is None else f" ± {expert.std:.3f}"
    line = f"predicted loss {expert.predicted_loss:.3f}{std_text}"
    line += "".join(f" + {in_words(name)} {term:.3f}" for name, term in expert.terms.items())
    if expert.cost is not None:
        line += f" ({format_dollars(expert.cost)})"
    if decision.margin is None:
        return line
    return f"{line}, {decision.margin:.3f} ahead of {decision.ranking[1].name}"


def _print_warnings(decision: Decision) -> None:
    for warning in decision.warnings:
        echo_error(warning)


def _truncate(text: str, length: int = 48) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _front_lines(front: ParetoFront) -> list[str]:
    """Write the breakpoints; of a long front the first, the last and some in between."""
    points = list(front)
    shown_points = _downsample(points)
    lines = [f"{'weight from':>11}  {'loss':>6}  {front.constraint:>10}  goes to"]
    lines += [
        f"{point.weight:>11.4g}  {point.loss:>6.3f}  {point.constraint:>10.3f}  "
        f"{_format_shares(point)}"
        for point in shown_points
    ]
    if len(shown_points) < len(points):
        lines.append(f"{len(shown_points)} of {len(points)} breakpoints; --json prints all.")
    return lines


def _downsample(points: Sequence[FrontPoint]) -> list[FrontPoint]:
    last_index = len(points) - 1
    if last_index < _MAX_ROWS:
        return list(points)
    return [points[round(i * last_index / (_MAX_ROWS - 1))] for i in range(_MAX_ROWS)]


def _format_shares(point: FrontPoint) -> str:
    """Name the experts that get the prompts, the largest share first."""
    shares = sorted(point.share.items(), key=lambda item: -item[1])
    if len(shares) == 1:
        return shares[0][0]
    return _join_names([f"{name} {share:.0%}" for name, share in shares])


def _unknown_line(unknown_experts: Sequence[str], constraint: str) -> str:
    """Say which experts are drawn apart, and how the front counts them."""
    return (
        f"Of {_join_names(unknown_experts)} the {constraint} is unknown: drawn apart, and "
        "counted as 1, the worst, in the front."
    )


def _join_names(names: Sequence[str]) -> str:
    n_more = len(names) - _MAX_NAMED_EXPERTS
    return ", ".join(names[:_MAX_NAMED_EXPERTS]) + (f" and {n_more} more" if n_more > 0 else "")
