"""Commands that draw: `plot front`, `calibration`, `difficulty`, `shares` and others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from tryage.cli.options import (
    AnswerValue,
    JsonFile,
    LossColumn,
    MergeNames,
    Preset,
    QTablePath,
    RouterPath,
    ScoreScale,
    Seed,
    load_router,
    parse_preferences,
    read_jsonl,
    read_table,
)
from tryage.cli.outputs import check_picture_file, write_json
from tryage.cli.report import Days, RatingKind, Since, Until, read_period
from tryage.cli.terminal import echo, format_table
from tryage.errors import InputError
from tryage.files import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tryage.core.arrays import FloatArray
    from tryage.core.preferences import Preferences
    from tryage.learning.evaluation.latent_space import LatentMap
    from tryage.learning.plots.plot import Plot
    from tryage.router import Router
    from tryage.traffic.traffic import Traffic

app = typer.Typer(
    help="Pictures of what a router does and has learned: PNG, SVG, PDF or interactive HTML.",
    no_args_is_help=True,
)

_OUTPUT_HELP = "The picture: .png, .svg, .pdf, or .html for an interactive page."

PictureFile: TypeAlias = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", callback=check_picture_file, help=_OUTPUT_HELP),
]

Transparent: TypeAlias = Annotated[bool, typer.Option("--transparent", help="Draw no background.")]

Name: TypeAlias = Annotated[
    str, typer.Option("--name", metavar="TEXT", help="What the title says the picture is about.")
]

TrafficUrl: TypeAlias = Annotated[
    str, typer.Option("--traffic", metavar="URL", help="The log of the traffic.")
]

_DEFAULT_URL = "sqlite:///tryage.db"


@app.callback()
def plot() -> None:
    """Pictures of what a router does and has learned: PNG, SVG, PDF or interactive HTML."""


@app.command()
def front(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A Q-table with costs; or prompts that nobody has answered, of which all is "
            "predicted: a .txt file with one per line, or JSON lines of prompt.",
        ),
    ],
    output: PictureFile = Path("front.png"),
    router: RouterPath = None,
    preset: Preset = None,
    answer_value: AnswerValue = None,
    score_scale: ScoreScale = 1.0,
    loss: LossColumn = "loss",
    merge_names: MergeNames = False,
    name: Name = "",
    seed: Seed = 0,
    transparent: Transparent = False,
    as_json: JsonFile = None,
) -> None:
    """Draw score over cost: routing at every weight of costs, each model alone, and now."""
    from tryage.learning.plots.front import front_of_prompts, front_of_table

    preferences = parse_preferences(None, None, answer_value=answer_value, preset=preset)
    if _has_outcomes(data):
        table = read_table(data, score_scale, loss, merge_names=merge_names)
        found = front_of_table(_load_router(router, preferences), table, name=name, seed=seed)
    else:
        prompts = [text for text, _ in _read_prompts(data)]
        found = front_of_prompts(_load_router(router, preferences), prompts, name=name, seed=seed)
    _finish(found, output, as_json, transparent)


@app.command()
def calibration(
    qtable: QTablePath,
    output: PictureFile = Path("calibration.png"),
    router: RouterPath = None,
    by_model: Annotated[
        bool, typer.Option("--by-model", help="Draw a panel for each model, at most twelve.")
    ] = False,
    bins: Annotated[int, typer.Option(min=1, help="How many bins of equal size.")] = 10,
    score_scale: ScoreScale = 1.0,
    loss: LossColumn = "loss",
    merge_names: MergeNames = False,
    name: Name = "",
    transparent: Transparent = False,
    as_json: JsonFile = None,
) -> None:
    """Draw measured over predicted losses, by bins and by model, and how much intervals hold.

    Take prompts that the router was not trained on; others make it look too good.
    """
    from tryage.learning.charts.pictures import save_chart
    from tryage.learning.plots.calibration import calibration_plot

    table = read_table(qtable, score_scale, loss, merge_names=merge_names)
    found = calibration_plot(load_router(router), table, name=name, n_bins=bins)
    if by_model:
        save_chart(found.models_chart(), output, transparent=transparent)
        _report(found.models_chart().title, output, found, as_json)
        return
    _finish(found, output, as_json, transparent)


@app.command()
def difficulty(
    prompts: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A .txt file with a prompt per line, JSON lines of prompt and perhaps category, "
            "or a Q-table.",
        ),
    ],
    output: PictureFile = Path("difficulty.png"),
    router: RouterPath = None,
    preset: Preset = None,
    answer_value: AnswerValue = None,
    bins: Annotated[int, typer.Option(min=1, help="How many bins of equal size.")] = 6,
    name: Name = "",
    transparent: Transparent = False,
    as_json: JsonFile = None,
) -> None:
    """Draw how hard the router expects prompts to be, and which models it chooses for them."""
    from tryage.learning.plots.difficulty import difficulty_plot

    preferences = parse_preferences(None, None, answer_value=answer_value, preset=preset)
    texts, categories = zip(*_read_prompts(prompts), strict=True)
    loaded = _load_router(router, preferences)
    found = difficulty_plot(loaded, texts, categories, name=name, n_bins=bins)
    _finish(found, output, as_json, transparent)


@app.command()
def shares(
    traffic: TrafficUrl = _DEFAULT_URL,
    output: PictureFile = Path("shares.png"),
    by: Annotated[
        str, typer.Option(metavar="WORD", help="How long each part is: hour, day, week or auto.")
    ] = "auto",
    days: Days = None,
    since: Since = None,
    until: Until = None,
    transparent: Transparent = False,
    as_json: JsonFile = None,
) -> None:
    """Draw which models answered over time and what that cost, from a log of traffic."""
    from tryage.learning.plots.shares import shares_plot

    first, last = read_period(days, since, until)
    with _open(traffic) as log:
        _finish(shares_plot(log, first, last, by=by), output, as_json, transparent)


@app.command()
def onboarding(
    journal: Annotated[
        Path | None,
        typer.Argument(
            metavar="JOURNAL",
            help="The answers of `tryage onboard`: MODELS.answers.jsonl, or its folder; not with "
            "--traffic.",
        ),
    ] = None,
    output: PictureFile = Path("onboarding.png"),
    router: RouterPath = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your own prompts of the test, as `tryage onboard` had."),
    ] = None,
    traffic: Annotated[
        str | None, typer.Option(metavar="URL", help="Draw the ratings of this log instead.")
    ] = None,
    days: Days = None,
    since: Since = None,
    until: Until = None,
    kind: RatingKind = None,
    transparent: Transparent = False,
    as_json: JsonFile = None,
) -> None:
    """Draw how the estimated quality of models settles as their answers come in."""
    from tryage.learning.plots.onboarding import onboarding_of_journal, onboarding_of_traffic

    first, last = read_period(days, since, until)
    if (journal is None) == (traffic is None):
        raise InputError(
            "Give the journal of a test, such as models.answers.jsonl, or a log with --traffic, "
            "and not both."
        )
    if traffic is not None:
        if prompts is not None or router is not None:
            raise InputError("--prompts and --router are for the journal of a test.")
        with _open(traffic) as log:
            found = onboarding_of_traffic(log, first, last, kind=kind)
    elif journal is not None:
        if kind is not None or first is not None or last is not None:
            raise InputError("--kind, --days, --since and --until are for --traffic.")
        own = None if prompts is None else read_jsonl(prompts)
        found = onboarding_of_journal(load_router(router), journal, prompts=own)
    _finish(found, output, as_json, transparent)


def _finish(found: Plot, output: Path, as_json: Path | None, transparent: bool) -> None:
    """Draw a plot, and print what it found."""
    found.save(output, transparent=transparent)
    _report(found.chart().title, output, found, as_json)


def _report(title: str, output: Path, found: Plot, as_json: Path | None) -> None:
    echo(title)
    if as_json is not None:
        write_json(as_json, found.to_dict())
    echo(f"\nDrawn to {output}")


def _open(url: str) -> Traffic:
    from tryage.traffic.traffic import Traffic

    return Traffic(url, create=False)


def _load_router(path: str | None, preferences: Preferences) -> Router:
    """Return a router whose preferences are replaced where options say so."""
    loaded = load_router(path)
    return loaded.with_preferences(loaded.preferences.overridden(preferences))


def _has_outcomes(path: Path) -> bool:
    """Return whether a file is a Q-table, not a list of prompts."""
    if path.suffix == ".txt":
        return False
    return path.suffix != ".jsonl" or any("expert" in row for row in read_jsonl(path)[:1])


def _read_prompts(path: Path) -> list[tuple[str, str | None]]:
    """Read prompts, each text once, with their categories if there are any.

    Raises:
        InputError: the file cannot be read, or has no prompt.
    """
    if path.suffix == ".txt":
        rows: Iterable[tuple[object, object]] = [
            (line.strip(), None) for line in read_text(path).splitlines() if line.strip()
        ]
    else:
        rows = _read_rows(path)
    category_by_text: dict[str, str | None] = {}
    for text, category in rows:
        if isinstance(text, str):
            category_by_text.setdefault(text, None if category is None else str(category))
    if not category_by_text:
        raise InputError(
            f'{path} has no prompt; expected one per line in a .txt file, or {{"prompt": "..."}} '
            "in a .jsonl file."
        )
    return [*category_by_text.items()]


@app.command()
def latent(
    prompts: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="JSON lines of prompt and category, or a Q-table with a category; prompts that "
            "the router was not trained on are best.",
        ),
    ],
    output: PictureFile = Path("latent.png"),
    router: RouterPath = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="A language model to compare with: a folder, a .gguf file or a Hub id; may be "
            "repeated.",
        ),
    ] = None,
    neighbours: Annotated[
        int, typer.Option("--neighbours", "-k", min=1, help="The number of neighbours for purity.")
    ] = 10,
    most: Annotated[
        int, typer.Option(min=1, help="The most prompts; a larger file is sampled.")
    ] = 2000,
    seed: Seed = 0,
    transparent: Transparent = False,
    as_json: JsonFile = None,
) -> None:
    """Draw where prompts lie in the perception's space, and say how well it separates categories.

    It is compared with the embeddings of its encoder, and with the given language models.
    """
    from tryage.core.validation import require_extra
    from tryage.learning.evaluation.latent_space import (
        check_categories,
        latent_map,
        plot_latent,
    )

    require_extra("umap", "latent")
    pairs = _sample(_read_labeled(prompts), most, seed)
    categories = [category for _, category in pairs]
    check_categories(categories, neighbours)
    spaces = _embedding_spaces(load_router(router), [text for text, _ in pairs], against or ())
    computed_map = latent_map(spaces, categories, n_neighbors=neighbours, seed=seed)
    plot_latent(computed_map, output, transparent=transparent)
    for line in _report_lines(computed_map):
        echo(line)
    if as_json is not None:
        write_json(as_json, computed_map.to_dict())
    echo(f"\nDrawn to {output}")


def _read_labeled(path: Path) -> list[tuple[str, str]]:
    """Read prompts and their categories, each text once and with its first category."""
    category_by_text: dict[str, str] = {}
    for text, category in _read_rows(path):
        if isinstance(text, str) and category is not None:
            category_by_text.setdefault(text, str(category))
    if not category_by_text:
        raise InputError(
            f"{path} has no prompt with a category; expected the columns prompt and category, as "
            'in {"prompt": "Prove that ...", "category": "maths"}'
        )
    return [*category_by_text.items()]


def _read_rows(path: Path) -> Iterable[tuple[object, object]]:
    """Return every prompt of the file with its category."""
    if path.suffix == ".jsonl":
        return [(row.get("prompt"), row.get("category")) for row in read_jsonl(path)]
    from tryage.scoring.qtable import QTable

    table = QTable.read(path)
    return zip(table.prompts, table.categories or [None] * len(table), strict=True)


def _sample(pairs: list[tuple[str, str]], n: int, seed: int) -> list[tuple[str, str]]:
    """Draw at most `n` pairs at random, and keep their order."""
    import numpy as np

    if len(pairs) <= n:
        return pairs
    indices = np.random.default_rng(seed).choice(len(pairs), n, replace=False)
    return [pairs[i] for i in sorted(indices.tolist())]


def _embedding_spaces(
    router: Router, texts: list[str], models: Iterable[str]
) -> dict[str, FloatArray]:
    """Embed prompts with the perception, with its encoder and with language models.

    Raises:
        InputError: the perception has no latent space, or a model cannot be read.
    """
    from tryage.perception.model import LearnedPerception
    from tryage.scoring.language_model import mean_hidden_states

    perception = router.perception
    if not isinstance(perception, LearnedPerception):
        raise InputError(f"{type(perception).__name__} has no space to draw; train a router")
    spaces: dict[str, FloatArray] = {
        "perception": perception.latent_positions(texts)[:, 1:],
        "encoder": perception.encoder.encode(texts),
    }
    for source in models:
        name = Path(source).name.removesuffix(".gguf")
        spaces[source if name in spaces else name] = mean_hidden_states(source, texts)
    return spaces


def _report_lines(computed_map: LatentMap) -> list[str]:
    """Write the figures of every space as a table."""
    n_categories = len(set(computed_map.categories))
    header = ["space", "numbers", "silhouette [95%]", "purity [95%]"]
    rows = [
        [space.space, f"{space.dim:,}", str(space.silhouette), str(space.purity)]
        for space in computed_map.scores
    ]
    return [
        f"{len(computed_map.categories):,} prompts of {n_categories} categories, "
        f"seed {computed_map.seed}; purity is of {computed_map.n_neighbors} neighbours, "
        f"{computed_map.chance:.3f} by chance.",
        "",
        *format_table([header, *rows]),
    ]
