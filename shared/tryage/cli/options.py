"""What the commands share: their options, how they read their inputs, and how they write values."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from tryage.cli.outputs import check_output_file, check_output_folder
from tryage.cli.terminal import shows_progress
from tryage.errors import FlagError, InputError
from tryage.files import folder_exists, path_exists, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tryage.core.preferences import Preferences, Requirement
    from tryage.perception.encoder import Encoder
    from tryage.perception.hidden_state import HiddenStateEncoder
    from tryage.router import Router
    from tryage.scoring.qtable import QTable

STDIN = "-"

# The exit codes.
EXIT_UNFINISHED = 1  # some results are missing; the same command goes on
EXIT_FAILED = 2  # the same as for a wrong option
EXIT_NO_EXPERT = 3  # no expert meets the requirements
EXIT_INTERRUPTED = 130  # a program that Ctrl-C stopped

Prompts: TypeAlias = Annotated[
    list[str],
    typer.Argument(metavar="PROMPT", help="The prompts; '-' reads one per line from stdin."),
]

Weights: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--weight", "-w", metavar="NAME=NUMBER", help="How much a constraint counts: cost=0.3"
    ),
]

AnswerValue: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="USD", help="What a right answer is worth, such as 0.05."),
]

LatencyValue: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="USD", help="What a second of waiting costs; with --answer-value."),
]

Tolerance: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="LOSS",
        help="Take the cheapest that is predicted within this loss of the best: 0.02",
    ),
]

Preset: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="best, balanced (a right answer is worth $1) or thrifty."),
]

Requirements: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        "-r",
        metavar="ITEM",
        help="What an expert must satisfy, as in a flag: 'size<3B', 'license=mit|apache-2.0'",
    ),
]

Flags: TypeAlias = Annotated[
    bool, typer.Option("--flags", help="Obey flags such as [Flag: smallest model] in the prompts.")
]

RouterPath: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--router", metavar="PATH", help="A saved router or a Hub id; the bundled one by default."
    ),
]

ModelNames: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="A model to choose among, such as gpt-5.6; more with -m again. All by default.",
    ),
]

ConfigPath: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A file of settings, tryage.toml or pyproject.toml: models, preferences, policies.",
    ),
]

JsonFlag: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON for programs, one object per line.")
]

QTablePath: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="QTABLE",
        help="Rows of prompt, expert, and loss or score: a .parquet, .csv or .jsonl file, or a "
        "folder of shards.",
    ),
]

OptionalQTablePath: TypeAlias = Annotated[
    Path | None,
    typer.Argument(metavar="QTABLE", help="As of `tryage train`; not with --traffic."),
]

LossColumn: TypeAlias = Annotated[
    str,
    typer.Option(
        "--loss",
        metavar="COLUMN",
        help="The column of the losses; loss_per_char compares models with different tokenizers.",
    ),
]

MergeNames: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--merge-names",
        help="Make one expert of those whose names differ in case alone, with their mean loss.",
    ),
]

ScoreScale: TypeAlias = Annotated[
    float, typer.Option("--score-scale", metavar="MAX", help="The best possible score.")
]

EncoderPath: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--encoder",
        metavar="DIR",
        help="A saved encoder or router, or a language model (a folder or a Hub id) whose hidden "
        "states are read; the bundled encoder by default.",
    ),
]

Layers: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBERS",
        help="The layers of a language model to read, such as 15,22 or -1; by default those at "
        "half and three quarters of its depth.",
    ),
]

PoolingNames: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--pooling",
        metavar="NAMES",
        help="How the states of a language model are pooled: mean, last, or both (the default).",
    ),
]

Seed: TypeAlias = Annotated[int, typer.Option(help="The same seed gives the same result.")]

OutputFolder: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        callback=check_output_folder,
        help="The folder to save the result to.",
    ),
]

CheckpointFolder: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="DIR",
        callback=check_output_folder,
        help="Save finished stages here; the same command resumes from them.",
    ),
]

JsonFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--json", metavar="FILE", callback=check_output_file, help="Write all figures to this file."
    ),
]

RulesFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--rules", metavar="FILE", help="A TOML file with [[rules]] that pin and ban experts."
    ),
]

Strict: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Fail where a default or a dropped flag would answer: exit code 3 or 2.",
    ),
]


def read_prompts(arguments: list[str]) -> list[str]:
    """Return the prompts; the lines of stdin that are not blank replace '-'.

    Raises:
        InputError: there is no prompt.
    """
    prompts: list[str] = []
    for prompt in arguments:
        prompts += _read_stdin() if prompt == STDIN else [prompt]
    if not prompts:
        raise InputError("No prompt was given. Write one in quotes, or one per line to stdin.")
    return prompts


def _read_stdin() -> list[str]:
    text = sys.stdin.read().removeprefix("\ufeff")  # as of files: editors of Windows write it
    return [line for line in text.splitlines() if line.strip()]


def read_json(path: Path) -> Any:  # noqa: ANN401 - a JSON value of any type
    """Read a JSON file.

    Raises:
        InputError: the file cannot be read, or it is not JSON.
    """
    return _parse_json(read_text(path), str(path))


def read_jsonl(path: Path) -> list[dict[str, object]]:
    """Read JSON lines.

    Raises:
        InputError: the file cannot be read, or a line is not a JSON object.
    """
    lines = read_text(path).split("\n")  # other separators of lines may stand in a text of JSON
    rows = [_parse_row(path, number, line) for number, line in enumerate(lines, start=1)]
    return [row for row in rows if row is not None]


def _parse_row(path: Path, number: int, line: str) -> dict[str, object] | None:
    """Parse a line; a blank one and the JSON value null are no row."""
    row = _parse_json(line, f"{path}, line {number}") if line.strip() else None
    if row is not None and not isinstance(row, dict):
        raise InputError(f"{path}, line {number} is not a JSON object: {line[:60]}")
    return row


def _parse_json(text: str, place: str) -> Any:  # noqa: ANN401 - a JSON value of any type
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{place} is not JSON: {error}.") from error
    except RecursionError as error:
        raise InputError(f"{place} is JSON that is nested too deeply.") from error


def parse_preferences(
    weights: Iterable[str] | None,
    requirements: Iterable[str] | None,
    *,
    answer_value: float | None = None,
    latency_value: float | None = None,
    tolerance: float | None = None,
    preset: str | None = None,
) -> Preferences:
    """Read `--weight`, `--require` and the options in dollars; those replace what a preset says.

    Raises:
        InputError: a weight is not NAME=NUMBER, an item is not a requirement, there is no such
            preset, or two options contradict each other.
    """
    from tryage.core.preferences import Preferences

    said = Preferences(
        dict(map(_parse_weight, weights or ())),
        map(_parse_requirement, requirements or ()),
        answer_value=answer_value,
        latency_value=latency_value,
        tolerance=tolerance,
    )
    return said if preset is None else Preferences.preset(preset).overridden(said)


def _parse_weight(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError as error:
        raise InputError(f"--weight {text!r:.80} is not NAME=NUMBER, such as cost=0.3.") from error


def _parse_requirement(text: str) -> Requirement:
    """Read an item with the grammar of flags: the command line has no grammar of its own."""
    from tryage.core.flag_items import closest_form, parse_item

    item = parse_item(text)
    if item is not None and item.weight is not None:
        name, weight = item.weight
        raise FlagError(f"--require {text!r:.80} is a weight; write --weight {name}={weight:g}.")
    if item is None or item.requirement is None:
        raise FlagError(
            f"--require {text!r:.80} is not a requirement. "
            f"The nearest valid form is {closest_form(text)!r}."
        )
    return item.requirement


def read_table(path: Path, score_scale: float, loss: str, *, merge_names: bool) -> QTable:
    """Read a Q-table; with `merge_names`, names that differ in case alone are one expert.

    Raises:
        QTableError: the file or a column is missing or wrong.
        MissingExtraError: pyarrow is not installed.
    """
    from tryage.scoring.qtable import QTable

    table = QTable.read(path, score_scale=score_scale, loss=loss)
    return table.merge_experts() if merge_names else table


def load_router(
    path: str | None,
    config: str | None = None,
    *,
    prompt_flags: bool = False,
    strict: bool = False,
    models: Sequence[str] | None = None,
) -> Router:
    """Load the router of a file of settings, or of a folder or a Hub id, or the bundled one.

    Options replace what the settings say of the same. With `models` it chooses among these.

    Raises:
        ConfigError: the settings are wrong.
        InputError: both a file of settings and models, or a malformed name.
        PersistenceError: there is no router.
    """
    from tryage.router import Router

    if models:
        if config is not None:
            raise InputError("Give models with --model, or a file with --config, and not both.")
        base = None if path is None else load_router(path)
        router = Router.from_models(models, router=base)
        router.prompt_flags |= prompt_flags  # either option keeps what a saved router says
        router.strict |= strict
        return router
    if config is not None:
        said = {"path": path, "prompt_flags": prompt_flags or None, "strict": strict or None}
        return Router.from_config(config, overrides={"router": said_only(said)})
    hide_downloads(path)
    # None keeps what the router was saved with.
    return Router.from_pretrained(path, prompt_flags=prompt_flags or None, strict=strict or None)


def said_only(options: Mapping[str, object]) -> dict[str, object]:
    """Return the options that are given; a folder by its full path, whoever reads it."""
    given = {name: value for name, value in options.items() if value is not None}
    path = given.get("path")
    if isinstance(path, str) and folder_exists(Path(path)):
        given["path"] = str(Path(path).absolute())
    return given


def hide_downloads(name_or_path: str | None) -> None:
    """Show no progress bars of a download from the Hub in a log or a pipe."""
    if name_or_path is None or folder_exists(Path(name_or_path)) or shows_progress():
        return
    from tryage.hub.repository import hide_progress_bars

    hide_progress_bars()


def resolve_encoder(
    folder: Path | None, layers: str | None = None, pooling: str | None = None
) -> Encoder:
    """Load the encoder of an encoder's or a router's folder, or make one of a language model.

    None means the bundled encoder. Whatever holds no saved encoder is a language model: a folder,
    or an id of the Hub.

    Raises:
        PersistenceError: there is no encoder.
        InputError: `layers` or `pooling` is malformed, or the encoder is a saved one.
    """
    from tryage.perception.persistence import load_encoder
    from tryage.perception.pretrained import BUNDLED_FOLDER

    place = BUNDLED_FOLDER if folder is None else folder
    if _is_language_model(place):
        return _make_hidden_state_encoder(place, layers, pooling)
    if layers is not None or pooling is not None:
        raise InputError(
            f"--layers and --pooling choose what is read of a language model, and {place} holds a "
            "saved encoder: leave them out, or give a language model to --encoder"
        )
    encoder_folder = place / "encoder"
    return load_encoder(encoder_folder if encoder_folder.is_dir() else place)


def _is_language_model(place: Path) -> bool:
    """Tell whether a place is the folder of a model of transformers, or the id of one."""
    if not path_exists(place):
        return (
            not place.is_absolute() and len(place.parts) == 2 and place.parts[0] not in (".", "..")
        )
    has_encoder = (place / "encoder.json").exists() or (place / "encoder").is_dir()
    return (place / "config.json").exists() and not has_encoder


def _make_hidden_state_encoder(
    place: Path, layers: str | None, pooling: str | None
) -> HiddenStateEncoder:
    from tryage.perception.hidden_state import HiddenStateEncoder
    from tryage.perception.language_model import POOLINGS

    poolings = POOLINGS if pooling is None else [name.strip() for name in pooling.split(",")]
    hide_downloads(place.as_posix())
    return HiddenStateEncoder(place.as_posix(), _parse_layers(layers), poolings)


def _parse_layers(layers: str | None) -> list[int] | None:
    try:
        return None if layers is None else [int(number) for number in layers.split(",")]
    except ValueError as error:
        raise InputError(f"--layers {layers!r} is not a list of numbers, such as 15,22.") from error


def format_count(value: float | None) -> str:
    """Abbreviate a count: 7B, 1.2M, 32k; an unknown one is "-"."""
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value is not None and value >= size:
            return f"{value / size:.3g}{suffix}"
    return format_value(value)


def format_value(value: object) -> str:
    """Write a value; an unknown one is "-"."""
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)
