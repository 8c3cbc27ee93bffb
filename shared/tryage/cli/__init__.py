"""The `tryage` command: `score` measures, `train` trains, `route` chooses; and more commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import tryage
from tryage.cli import cotrain, experts, hub, plot, route, score, train
from tryage.errors import TryageError

EXIT_FAILED = 2  # the exit code, the same as for a wrong option


class OneLineErrorGroup(TyperGroup):
    """Runs commands; prints an error of Tryage as one line, without a traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the context's class differs between versions of typer
        """Run the command that the arguments name."""
        try:
            return super().invoke(ctx)
        except TryageError as error:
            typer.echo(f"tryage: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(EXIT_FAILED) from error


app = typer.Typer(
    cls=OneLineErrorGroup,
    help="Send every prompt to the right language model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help, because importing rich takes longer than a decision
    pretty_exceptions_enable=False,
)


def _print_version(is_set: bool) -> None:
    if is_set:
        typer.echo(f"tryage {tryage.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Send every prompt to the right language model."""


for command in (
    route.route,
    route.explain,
    route.pareto,
    score.score,
    train.train,
    train.evaluate,
    cotrain.cotrain,
    experts.experts,
    experts.onboard,
    experts.tools,
    experts.train_tools,
):
    app.command()(command)
app.add_typer(hub.app, name="hub")
app.add_typer(plot.app, name="plot")
