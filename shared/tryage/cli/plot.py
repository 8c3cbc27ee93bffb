"""Commands that draw: `plot latent` shows where prompts lie in the perception's space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tryage.cli.learning import read_lines
from tryage.cli.options import RouterPath, Seed, load_router
from tryage.cli.table import aligned
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tryage.evaluation.latent import LatentMap, Vectors
    from tryage.router import Router

app = typer.Typer(help="Pictures of what a router has learned.", no_args_is_help=True)


@app.callback()
def plot() -> None:
    """Pictures of what a router has learned."""


@app.command()
def latent(
    prompts: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="JSON lines of prompt and category, or a Q-table with a category. "
            "Best such as the router was not trained on.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The picture: .png, .svg, .pdf")
    ] = Path("latent.png"),
    router: RouterPath = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="A language model beside it: a folder, a .gguf file or a Hub id; may be repeated.",
        ),
    ] = None,
    neighbours: Annotated[
        int, typer.Option("--neighbours", "-k", min=1, help="How many are looked at for purity.")
    ] = 10,
    most: Annotated[int, typer.Option(min=1, help="Of more prompts a sample is drawn.")] = 2000,
    seed: Seed = 0,
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures to it.")
    ] = None,
) -> None:
    """Draw where prompts lie in the perception's space, and say how well it tells categories apart.

    Beside it: the embeddings of its encoder, and of the language models given.
    """
    from tryage.evaluation.latent import check_categories, latent_map
    from tryage.evaluation.latent_plot import picture_kind, plot_latent
    from tryage.extras import require

    require("umap", "latent")
    picture_kind(output)
    pairs = sample(read_labelled(prompts), most, seed)
    categories = [category for _, category in pairs]
    check_categories(categories, neighbours)
    spaces = spaces_of(load_router(router), [text for text, _ in pairs], against or ())
    found = latent_map(spaces, categories, neighbours=neighbours, seed=seed)
    plot_latent(found, output)
    for line in told(found):
        typer.echo(line)
    if as_json is not None:
        as_json.write_text(json.dumps(found.to_dict(), indent=1) + "\n", "utf-8")
    typer.echo(f"\nDrawn to {output}")


def read_labelled(path: Path) -> list[tuple[str, str]]:
    """Read prompts and their categories, each text once and with its first category.

    Raises:
        InputError: the file cannot be read, or no prompt has a category.
    """
    first: dict[str, str] = {}
    for text, category in _rows(path):
        if isinstance(text, str) and category is not None:
            first.setdefault(text, str(category))
    if not first:
        raise InputError(
            f"{path} has no prompt with a category; expected the columns prompt and category, as "
            'in {"prompt": "Prove that ...", "category": "maths"}'
        )
    return [*first.items()]


def sample(pairs: list[tuple[str, str]], most: int, seed: int) -> list[tuple[str, str]]:
    """Draw at most so many, and keep their order."""
    import numpy as np

    if len(pairs) <= most:
        return pairs
    drawn = np.random.default_rng(seed).choice(len(pairs), most, replace=False)
    return [pairs[at] for at in sorted(drawn.tolist())]


def spaces_of(router: Router, texts: list[str], models: Iterable[str]) -> dict[str, Vectors]:
    """Place prompts in the perception's space, its encoder's, and those of language models.

    Raises:
        InputError: the perception has no space, or a model cannot be read.
    """
    from tryage.perception.learned import LearnedPerception
    from tryage.scoring.states import mean_states

    perception = router.perception
    if not isinstance(perception, LearnedPerception):
        raise InputError(f"{type(perception).__name__} has no space to draw; train a router")
    spaces: dict[str, Vectors] = {
        "perception": perception.places(texts)[:, 1:],
        "encoder": perception.encoder.encode(texts),
    }
    for source in models:
        name = Path(source).name.removesuffix(".gguf")
        spaces[source if name in spaces else name] = mean_states(source, texts)
    return spaces


def told(found: LatentMap) -> list[str]:
    """Lay the figures out."""
    kinds = len(set(found.categories))
    head = ["space", "numbers", "silhouette [95%]", "purity [95%]"]
    rows = [
        [space.space, f"{space.dim:,}", str(space.silhouette), str(space.purity)]
        for space in found.separations
    ]
    return [
        f"{len(found.categories):,} prompts of {kinds} categories, seed {found.seed}; purity is of "
        f"{found.neighbours} neighbours, {found.chance:.3f} by chance.",
        "",
        *aligned([head, *rows]),
    ]


def _rows(path: Path) -> Iterable[tuple[object, object]]:
    """Yield prompts with their categories, as they stand in the file."""
    if path.suffix == ".jsonl":
        return [(row.get("prompt"), row.get("category")) for row in read_lines(path)]
    from tryage.qtable import QTable

    table = QTable.read(path)
    return zip(table.prompts, table.categories or [None] * len(table), strict=True)
