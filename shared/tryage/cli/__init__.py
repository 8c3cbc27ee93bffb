"""The `tryage` command: `score` measures, `train` trains, `route` chooses; and more commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import tryage
from tryage.cli import (
    assign,
    config,
    cotrain,
    experts,
    hub,
    models,
    onboard,
    playground,
    plot,
    report,
    route,
    score,
    serve,
    simulate,
    traffic,
    train,
)
from tryage.cli.options import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_NO_EXPERT
from tryage.cli.outputs import describe_os_error
from tryage.cli.terminal import echo_error, one_line_messages
from tryage.errors import ConfigError, NoExpertError, TryageError

_EPILOG = (
    "Exit codes: 0 done; 1 not finished, the same command goes on; 2 a wrong argument, or a file "
    "or a server that fails; 3 no expert meets the requirements; 130 stopped by Ctrl-C."
)


class OneLineErrorGroup(TyperGroup):
    """Runs commands; prints an error as one line, and a mistake in the program with its place."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the context's class differs between versions of typer
        """Run the command that the arguments name."""
        if ctx.params.get("debug"):
            return super().invoke(ctx)
        try:
            with one_line_messages():
                return super().invoke(ctx)
        except NoExpertError as error:
            echo_error(str(error))
            raise typer.Exit(EXIT_NO_EXPERT) from error
        except ConfigError as error:
            for line in str(error).splitlines():
                echo_error(line)
            raise typer.Exit(EXIT_FAILED) from error
        except TryageError as error:
            echo_error(str(error))
            raise typer.Exit(EXIT_FAILED) from error
        except BrokenPipeError:  # the reader, such as `head`, has enough; typer handles it
            raise
        except OSError as error:
            echo_error(describe_os_error(error))
            raise typer.Exit(EXIT_FAILED) from error
        except KeyboardInterrupt:
            echo_error("Stopped.")
            raise typer.Exit(EXIT_INTERRUPTED) from None


app = typer.Typer(
    cls=OneLineErrorGroup,
    help="Send every prompt to the right language model.",
    epilog=_EPILOG,
    no_args_is_help=True,
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
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from, with a traceback.")
    ] = False,
) -> None:
    """Send every prompt to the right language model."""


for command in (
    route.route,
    route.explain,
    route.pareto,
    assign.assign,
    score.score,
    train.train,
    train.evaluate,
    simulate.simulate,
    cotrain.cotrain,
    report.report,
    experts.experts,
    onboard.onboard,
    playground.playground,
    serve.serve,
    experts.tools,
    experts.train_tools,
):
    app.command()(command)
app.add_typer(config.app, name="config")
app.add_typer(hub.app, name="hub")
app.add_typer(models.app, name="models")
app.add_typer(plot.app, name="plot")
app.add_typer(traffic.app, name="traffic")
